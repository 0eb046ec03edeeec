"""`dso run`: one cycle of a market, now."""

from __future__ import annotations

import argparse
from typing import Final

from dso.cli.market_options import (
    add_market_options,
    add_worker_options,
    instant,
    make_alarms,
    make_worker_rules,
    open_operation,
    set_up_log,
)

CYCLES: Final = (
    "forecast", "day_ahead", "flexibility_purchase", "intraday", "droops", "real_time",
    "dispatch", "settlement", "posting", "report",
)  # fmt: skip

DESCRIPTION: Final = """\
Run one cycle of the market as if it were the instant T: the one of its kind that is due then or was
due last. It is the path of a worker; a cycle that is done is not run again."""

EPILOG: Final = """\
examples:
  dso run forecast --at 2016-07-24T13:30:00+02:00 --out out/market
  dso run day_ahead --at 2016-07-24T13:30:00+02:00 --out out/market
  dso run intraday --at 2016-07-25T12:30:00+02:00 --out out/market

Cycles of a feeder run in their order: those due before T must be done.

exit codes:
  0  done, now or before, or waiting for signatures; 1 failed; 2 bad input, or it is not its turn"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso run`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("cycle", choices=CYCLES, metavar="CYCLE", help=", ".join(CYCLES))
    parser.add_argument(
        "--at", type=instant, required=True, metavar="T", help="instant with its UTC offset"
    )
    add_market_options(parser)
    add_worker_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the cycle for every feeder named and say how it ended."""
    from dso.cli.day import check_anchor
    from dso.clock import ReplayClock
    from dso.scheduler.one_cycle import run_cycle_at
    from dso.scheduler.worker import Worker

    set_up_log(quiet=arguments.quiet)
    alarms, code = make_alarms(arguments), 0
    check_anchor(arguments)
    with open_operation(arguments) as operation:
        worker = Worker(
            operation,
            clock=ReplayClock(at=arguments.at),
            rules=make_worker_rules(arguments),
            alarms=alarms,
        )
        for feeder in operation.site.feeders:
            due, state = run_cycle_at(
                operation, worker, feeder, arguments.cycle, arguments.at,
                lease_s=arguments.lease_s,
            )  # fmt: skip
            light = f", light {state['light']}" if state["light"] else ""
            remark = f": {state['remark']}" if state["remark"] else ""
            print(f"{due}: {state['state']}{light}{remark}")
            code = max(code, 1 if state["state"] in ("failed", "due") else 0)
    return code
