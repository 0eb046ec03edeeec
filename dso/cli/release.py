"""`dso release`: sign a clearing that waits for people."""

from __future__ import annotations

import argparse
from typing import Final

from dso.cli.market_options import add_market_options, instant, open_operation

DESCRIPTION: Final = """\
Sign a clearing that waits, where the rule set asks for signatures ([cycles] release_signatures).
Nothing of it binds anybody before enough different people have signed the very same output."""

EPILOG: Final = """\
examples:
  dso release --list --out out/market
  dso release day_ahead --first-period 2016-07-24T22:00:00Z --output SHA256 \\
      --actor "A. Lovelace" --out out/market
  dso release day_ahead --first-period 2016-07-24T22:00:00Z --output SHA256 \\
      --actor "A. Lovelace" --verdict override --reason "B. ill, checked by phone" --out out/market

What waits lies in OUT/FEEDER/DAY/.held for people to look at. Every signature stands in the action
log of the ledger, an override and its reason included.

exit codes:
  0  listed or signed; 2 nothing such waits, its output is another, or a reason is missing"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso release`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("cycle", nargs="?", choices=("day_ahead", "intraday"), metavar="CYCLE")
    parser.add_argument("--list", action="store_true", help="show what waits")
    parser.add_argument("--first-period", type=instant, metavar="T", help="its first period")
    parser.add_argument("--output", metavar="SHA256", help="digest of what was looked at")
    parser.add_argument("--actor", metavar="NAME", help="who signs")
    parser.add_argument("--role", default="operator", metavar="ROLE", help="default: operator")
    parser.add_argument(
        "--verdict", choices=("release", "override", "withhold"), default="release",
        help="override: bind without the other signatures; withhold: never bind",
    )  # fmt: skip
    parser.add_argument("--reason", default="", metavar="TEXT", help="why")
    add_market_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """List what waits, or sign it."""
    from data.errors import Problem, refuse_if_any
    from data.periods import format_utc
    from dso.scheduler.release import find_waiting, sign_clearing
    from dso.store import Signature
    from dso.store.due import StoreClock

    with open_operation(arguments) as operation:
        waiting = find_waiting(operation)
        if arguments.list:
            for due, output in waiting:
                first = format_utc(due.first_period)
                print(f"{due.feeder} {due.cycle} --first-period {first} --output {output}")
            print(f"{len(waiting)} wait")
            return 0
        needed = {"CYCLE": arguments.cycle, "--first-period": arguments.first_period,
                  "--output": arguments.output, "--actor": arguments.actor}  # fmt: skip
        refuse_if_any(
            Problem(where=name, what="is missing") for name, given in needed.items() if not given
        )
        found = [
            due
            for due, _ in waiting
            if (due.cycle, due.first_period) == (arguments.cycle, arguments.first_period)
        ]
        refuse_if_any(
            [] if found else [Problem(where="CYCLE", what="does not wait", remedy="see --list")]
        )
        signature = Signature(
            actor=arguments.actor,
            verdict=arguments.verdict,
            output_sha256=arguments.output,
            reason=arguments.reason,
        )
        clock = StoreClock(operation.services.store)
        signed = sign_clearing(operation, found[0], signature, role=arguments.role, clock=clock)
    print(f"{arguments.verdict} stands at leaf {signed.receipt.first + 1} of the action log")
    print(f"{signed.missing} signatures missing" if signed.missing else "it goes on")
    return 0
