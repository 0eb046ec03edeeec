"""`dso simulate`: a market of past days on a simulated clock, as fast as it goes."""

from __future__ import annotations

import argparse
from typing import Final

from dso.cli.market_options import (
    add_market_options,
    add_worker_options,
    iso_day,
    make_alarms,
    make_worker_rules,
    open_operation,
    set_up_log,
)

DESCRIPTION: Final = """\
Run delivery days of the market on a simulated clock: the scheduler inserts due cycles, a worker
performs them, and the clock jumps from one to the next. It is the path of `dso serve` and
`dso worker`; only the clock differs."""

EPILOG: Final = """\
examples:
  dso simulate --from 2016-07-25 --days 1 --feeder 1-LV-rural1--2-sw --out out/market
  dso simulate --from 2016-07-25 --days 7 --feeder 1-LV-rural1--2-sw --out out/week \\
      --store postgresql+psycopg://user@host/gridclear
  dso simulate --from 2016-07-25 --days 1 --out out/market --no-work    others work: dso worker

Stopped half-way, the same command goes on where it stopped and ends with the same ledger root. The
same days with the same keys leave equal files on SQLite and on PostgreSQL.

exit codes:
  0  done; 1 a cycle failed and had no fallback; 2 bad input, all problems listed"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso simulate`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("--from", dest="first", type=iso_day, required=True, metavar="DAY",
                        help="first delivery day, YYYY-MM-DD")  # fmt: skip
    parser.add_argument("--days", type=int, default=1, metavar="N", help="how many (default 1)")
    parser.add_argument("--no-work", action="store_true", help="leave the cycles to dso worker")
    add_market_options(parser)
    add_worker_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the days and say what came out; 1 where a cycle failed without a fallback."""
    from data.errors import InputError, Problem
    from dso.cli.day import check_anchor
    from dso.scheduler.simulate import simulate
    from dso.scheduler.worker import Worker
    from dso.store.due import StoreClock

    if arguments.days < 1:
        raise InputError([Problem(where="--days", what=f"{arguments.days} is not positive")])
    set_up_log(quiet=arguments.quiet)
    alarms = make_alarms(arguments)
    check_anchor(arguments)
    with open_operation(arguments) as operation:
        worker = None
        if not arguments.no_work:
            clock = StoreClock(operation.services.store)
            rules = make_worker_rules(arguments)
            worker = Worker(operation, clock=clock, rules=rules, alarms=alarms)
        done = simulate(operation, first=arguments.first, days=arguments.days, worker=worker)
        head = operation.services.ledger.head()
    print(f"{arguments.days} days: {done.cycles} cycles; {_count(done.outcomes)}")
    print(f"Lights: {_count(done.lights)}")
    print(f"Ledger: {head.size} leaves, root {head.root.hex()}")
    print(f"Market: {arguments.out}")
    return 1 if done.outcomes.get("failed") else 0


def _count(found: object) -> str:
    assert isinstance(found, dict)
    return ", ".join(f"{count} {name}" for name, count in found.items())
