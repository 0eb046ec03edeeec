"""`dso baseline`: the baseline laboratory."""

from __future__ import annotations

import argparse
from datetime import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import date

DESCRIPTION: Final = """\
Measure baseline methods: error and bias of each on days without event, and how surely load that is
raised before events or shifted out of them is flagged, at a stated false-alarm rate."""

EPILOG: Final = """\
examples:
  dso baseline compare readings.csv --out out/baselines
  dso baseline compare readings.csv --out out/late --start 18:00 --hours 3 --country NL
  dso baseline compare readings.csv --events events.csv --out out/judged
  dso baseline compare readings.csv --methods mid-8-of-10,rolling-5 --out out/few

readings.csv has period_start (UTC) and one column per connection with its withdrawal [Wh]; the
method is explained in docs/baselines.md.

exit codes:
  0  measured; tables and index.html are in DIR
  2  bad input: every problem is listed and nothing is written"""

COMPARE_EPILOG: Final = EPILOG


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso baseline`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")
    compare = actions.add_parser(
        "compare",
        help="compare methods on readings",
        description=DESCRIPTION,
        epilog=COMPARE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    compare.add_argument("readings", type=Path, metavar="READINGS", help="table of load")
    compare.add_argument("--out", type=Path, required=True, metavar="DIR", help="where it goes")
    compare.add_argument("--timezone", default="Europe/Berlin", metavar="ZONE", help="IANA zone")
    compare.add_argument(
        "--country", metavar="CC", help="public holidays of this country are no working days"
    )
    compare.add_argument("--methods", metavar="A,B", help="methods; left out: all")
    compare.add_argument("--start", default="17:00", metavar="HH:MM", help="start of the events")
    compare.add_argument("--hours", type=float, default=2.0, metavar="H", help="their length [h]")
    compare.add_argument(
        "--gate", default="12:00", metavar="HH:MM", help="gate closure on the day before"
    )
    compare.add_argument(
        "--received-after", type=float, default=6.0, metavar="H", help="readings are known after H"
    )
    compare.add_argument("--temperature", type=Path, metavar="FILE", help="period_start,degC")
    compare.add_argument(
        "--events", type=Path, metavar="FILE", help="real events: connection,start"
    )
    compare.add_argument(
        "--false-alarm", type=float, default=0.05, metavar="SHARE", help="rate of false alarms"
    )
    compare.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="trials per connection"
    )
    compare.add_argument("--force", action="store_true", help="write into DIR all the same")


def run(arguments: argparse.Namespace) -> int:
    """Measure and write; return the exit code."""
    from dso.baselines import compare_baselines, write_comparison
    from dso.cli.output_folder import refuse_foreign_folder, staged_output

    marker = "laboratory.json"
    refuse_foreign_folder(arguments.out, marker=marker, force=arguments.force)
    rules = _rules(arguments)
    found = compare_baselines(
        arguments.readings, rules, temperature=arguments.temperature, events=arguments.events
    )
    with staged_output(arguments.out, marker=marker, force=arguments.force) as folder:
        write_comparison(found, folder)
    print(f"{found.connections} connections, {found.events} working days without event")
    print(f"{'method':<28} {'error':>7} {'bias':>7} {'sum: error':>11} {'bias':>7}")
    for score in sorted(found.scores, key=lambda score: score.error_median):
        print(
            f"{score.method:<28} {score.error_median:>7.1%} {score.bias_median:>+7.1%} "
            f"{score.portfolio_error:>11.1%} {score.portfolio_bias:>+7.1%}"
        )
    _print_judged(found)
    for note in found.notes:
        print(f"note: {note}")
    print(f"Page: {arguments.out / 'index.html'}")
    return 0


def _print_judged(found: Comparison) -> None:
    from flexibility.baselines.gaming import flagged_among_all

    surely = flagged_among_all(found.gaming, found.rules.gaming)
    for judged in found.gaming:
        if judged.raised_before:
            among = f", also among all {len(found.gaming)}" if judged.connection in surely else ""
            print(
                f"flagged: {judged.connection} (raised before, chance {judged.before_p:.1%}{among})"
            )
        if judged.shifted:
            print(f"flagged: {judged.connection} (shifted, chance {judged.after_p:.1%})")


def _rules(arguments: argparse.Namespace) -> CompareRules:
    from dso.baselines.compare import METHODS, CompareRules
    from flexibility.baselines.gaming import GamingRules
    from flexibility.baselines.laboratory import LabRules

    _refuse_bad_options(arguments)
    named = arguments.methods
    return CompareRules(
        timezone=arguments.timezone,
        methods=METHODS if named is None else tuple(named.split(",")),
        lab=LabRules(
            start=_clock_time(arguments.start),
            event_h=arguments.hours,
            gate=_clock_time(arguments.gate),
        ),
        gaming=GamingRules(false_alarm_rate=arguments.false_alarm),
        received_after_h=arguments.received_after,
        holidays=_holidays(arguments.country),
        repeats=arguments.repeats,
    )


def _refuse_bad_options(arguments: argparse.Namespace) -> None:
    from zoneinfo import ZoneInfo

    from data.errors import Problem, refuse_if_any

    problems = []
    for name, low, high in (("hours", 0.0, 12.0), ("false_alarm", 0.0, 0.5), ("repeats", 0, 1_000)):
        value = getattr(arguments, name)
        if not low < value <= high:
            where = f"--{name.replace('_', '-')}"
            problems.append(Problem(where=where, what=f"{value} is not in ({low}, {high}]"))
    if not 0 <= arguments.received_after <= 24 * 30:
        problems.append(Problem(where="--received-after", what="is not in [0, 720] h"))
    for name in ("start", "gate"):
        try:
            _clock_time(getattr(arguments, name))
        except ValueError:
            text = getattr(arguments, name)
            problems.append(Problem(where=f"--{name}", what=f"{text!r} is no time such as 17:00"))
    try:
        ZoneInfo(arguments.timezone)
    except (KeyError, ValueError, OSError):
        problems.append(Problem(where="--timezone", what=f"{arguments.timezone!r} is unknown"))
    refuse_if_any(problems)


def _clock_time(text: str) -> time:
    return time.fromisoformat(text)


def _holidays(country: str | None) -> frozenset[date]:
    if country is None:
        return frozenset()
    import holidays

    from data.errors import InputError, Problem

    try:
        found = holidays.country_holidays(country, years=range(2005, 2036))
    except NotImplementedError as error:
        problem = Problem(where="--country", what=str(error), remedy="a code such as NL")
        raise InputError([problem]) from error
    return frozenset(found)


if TYPE_CHECKING:
    from dso.baselines import CompareRules, Comparison
