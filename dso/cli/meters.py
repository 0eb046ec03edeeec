"""`dso meters`: validate readings, compare them with feeder meters, import Green Button feeds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

    from data.periods import Periods
    from data.records.metering import MeterFiles
    from dso.metering import ValidationRules

DESCRIPTION: Final = """\
Validate meter readings (gaps, spikes, registers, tamper flags), fill what is missing by a named
method, and find theft, wrong mapping and dead meters against the feeder meters."""

EPILOG: Final = """\
examples:
  dso meters validate meters --out out/validated
  dso meters validate meters --out out/then --known-at 2026-07-03T12:00:00Z
  dso meters check meters --out out/sums
  dso meters import feed.xml --meter M7 --connection house-7 --feeder A --limit-kw 17.25 --out m7

A meter folder holds points.csv, readings.csv and, optionally, registers.csv, exchanges.csv,
tampers.csv and feeders.csv; docs/metering.md tells their columns.

exit codes:
  0  done; findings are written and printed
  2  bad input: every problem is listed and nothing is written"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso meters`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")

    def action(name: str, summary: str) -> argparse.ArgumentParser:
        found = actions.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        found.add_argument("--out", type=Path, required=True, metavar="DIR", help="where it goes")
        found.add_argument("--force", action="store_true", help="write into DIR all the same")
        found.add_argument(
            "--mtu-minutes", type=int, default=15, metavar="MIN", help="length of the periods"
        )
        return found

    validate = action("validate", "make billable values of everything received, each with its mark")
    check = action("check", "compare connection points with the feeder meters of feeders.csv")
    for one in (validate, check):
        one.add_argument("folder", type=Path, metavar="FOLDER", help="the meter folder")
        one.add_argument("--timezone", default="Europe/Berlin", metavar="ZONE", help="IANA zone")
        one.add_argument("--known-at", metavar="T", help="use only what was received by then")
    feed = action("import", "read a Green Button feed into a meter folder")
    feed.add_argument("feed", type=Path, metavar="FEED", help="Atom XML")
    feed.add_argument("--meter", required=True, metavar="ID", help="name of the meter")
    feed.add_argument("--connection", required=True, metavar="ID", help="where it stands")
    feed.add_argument("--feeder", required=True, metavar="ID", help="its feeder meter")
    feed.add_argument("--limit-kw", type=float, required=True, metavar="KW", help="main fuse [kW]")
    feed.add_argument("--direction", choices=("import", "export"), help="for feeds that state none")


def run(arguments: argparse.Namespace) -> int:
    """Do the action; return the exit code."""
    actions = {"validate": _validate, "check": _check, "import": _import}
    return actions[arguments.action](arguments)


def _read(
    arguments: argparse.Namespace,
) -> tuple[MeterFiles, Periods, datetime, ValidationRules]:
    """Return files, periods, the instant they are known at, and the rules."""
    from zoneinfo import ZoneInfo

    from data.errors import InputError, Problem
    from data.periods import parse_utc
    from data.readers.meter_csv import read_meter_folder
    from dso.metering import ValidationRules
    from dso.metering.files import covered_periods

    try:
        ZoneInfo(arguments.timezone)
        known_at = None if arguments.known_at is None else parse_utc(arguments.known_at)
    except (KeyError, ValueError, OSError) as error:
        problem = Problem(where="--timezone or --known-at", what=str(error))
        raise InputError([problem]) from error
    files = read_meter_folder(arguments.folder, arguments.mtu_minutes)
    if not files.batches:
        raise InputError([Problem(where="readings.csv", what="holds no readings")])
    latest = max(batch.received_at for batch in files.batches)
    rules = ValidationRules(timezone=arguments.timezone)
    return files, covered_periods(files), known_at or latest, rules


def _validate(arguments: argparse.Namespace) -> int:
    from dso.cli.output_folder import staged_output
    from dso.metering import validate_meters
    from dso.metering.files import write_validated

    files, periods, known_at, rules = _read(arguments)
    meters = validate_meters(files, periods, known_at, rules)
    with staged_output(arguments.out, marker="meters.json", force=arguments.force) as folder:
        write_validated(meters, folder)
    substituted = sum(int(meter.substituted.sum()) for meter in meters)
    unresolved = sum(int(meter.unresolved.sum()) for meter in meters)
    for meter in meters:
        for series in meter.series:
            for finding in series.findings:
                print(finding.words)
    print(
        f"{len(meters)} connections, {periods.count} periods: {substituted} values substituted, "
        f"{unresolved} open; values and findings in {arguments.out}"
    )
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from data.canonical import write_atomically
    from data.readers.meter_csv import read_feeders
    from dso.cli.output_folder import staged_output
    from dso.metering import FeederSeries, check_sums, validate_meters
    from dso.metering.files import write_sum_checks
    from dso.metering.page import render_sum_checks

    files, periods, known_at, rules = _read(arguments)
    feeders = [
        FeederSeries(feeder=name, energy_wh=energy_wh)
        for name, energy_wh in read_feeders(arguments.folder / "feeders.csv", periods).items()
    ]
    meters = validate_meters(files, periods, known_at, rules)
    mapping = {point.connection: point.feeder for point in files.points}
    checks = check_sums(meters, mapping, feeders, arguments.timezone)
    page = render_sum_checks(checks, periods, arguments.folder.name)
    with staged_output(arguments.out, marker="sum_check.json", force=arguments.force) as folder:
        write_atomically(folder / "index.html", page)
        write_sum_checks(checks, folder)
    for check in checks:
        print(
            f"{check.feeder}: {check.energy_wh / 1e6:.2f} MWh, losses about "
            f"{check.loss_share:.1%}, {len(check.findings)} findings"
        )
        for finding in check.findings:
            print(f"  {finding.kind}: {finding.words}")
    print(f"Page: {arguments.out / 'index.html'}")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from data.errors import InputError, Problem
    from data.readers.green_button import read_green_button
    from data.records.metering import MeterFiles, MeterPoint
    from dso.cli.output_folder import staged_output
    from dso.metering.files import write_meter_folder

    try:
        content = arguments.feed.read_bytes()
    except OSError as error:
        problem = Problem(where=str(arguments.feed), what=f"cannot be read: {error.strerror}")
        raise InputError([problem]) from error
    found = read_green_button(
        content,
        meter=arguments.meter,
        connection=arguments.connection,
        source=arguments.feed.name,
        mtu_minutes=arguments.mtu_minutes,
        assume_direction=arguments.direction,
    )
    point = MeterPoint(
        connection=arguments.connection,
        feeder=arguments.feeder,
        limit_w=round(arguments.limit_kw * 1e3),
    )
    files = MeterFiles(points=(point,), batches=found.batches, registers=found.registers)
    with staged_output(arguments.out, marker="points.csv", force=arguments.force) as folder:
        write_meter_folder(files, folder)
    for words in found.assumed:
        print(f"assumed: {words}")
    print(
        f"{len(found.batches)} blocks and {len(found.registers)} register readings in "
        f"{arguments.out}"
    )
    return 0
