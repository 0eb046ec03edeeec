"""`dso worker`: processes that lease due cycles and perform them."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Final

from dso.cli.market_options import (
    add_market_options,
    add_worker_options,
    iso_day,
    make_alarms,
    make_site,
    make_worker_rules,
    open_operation,
    set_up_log,
    worker_name,
)

if TYPE_CHECKING:
    from data.readers.simbench import SimbenchGrid

POLL_S: Final = 0.2

DESCRIPTION: Final = """\
Lease due cycles and perform them, until the process is told to end. Any number of workers share a
store, on any number of machines that share OUT; cycles of one feeder run one after the other."""

EPILOG: Final = """\
examples:
  dso worker --out out/market
  dso worker --processes 2 --out out/market --store postgresql+psycopg://user@host/gridclear \\
      --alarm-file out/alarms.jsonl --clearing-s-max 300

A worker that is killed leaves nothing half-done: its cycle is taken again and ends with the same
bytes. With --processes a parent replaces those that die; it has loaded grids and solvers, so a new
one starts in milliseconds.

exit codes:
  0  told to end, or nothing is due with --until-idle; 2 bad input, all problems listed"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso worker`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="worker processes (default 1)"
    )
    parser.add_argument(
        "--until-idle", action="store_true", help="end when nothing is due any more"
    )
    parser.add_argument(
        "--preload", type=iso_day, default=None, metavar="DAY",
        help="load the grids in force on this day before the processes start",
    )  # fmt: skip
    add_market_options(parser)
    add_worker_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Work until told to end."""
    from data.errors import InputError, Problem
    from dso.bootstrap import load_grid
    from dso.cli.day import check_anchor
    from dso.scheduler.supervisor import Supervisor

    if arguments.processes < 1:
        raise InputError([Problem(where="--processes", what="must be positive")])
    set_up_log(quiet=arguments.quiet)
    make_alarms(arguments)  # refuses wrong options before anything starts
    check_anchor(arguments)
    grids: dict[str, SimbenchGrid] = {}
    if arguments.preload is not None:
        site = make_site(arguments)
        for name in site.feeders:
            feeder, _ = site.rules(name, arguments.preload)
            grids[feeder.network] = load_grid(feeder)
    _load_engines()
    Supervisor(
        work=lambda _: _work(arguments, grids),
        processes=arguments.processes,
        bury=lambda _, process: _bury(arguments, process),
    ).run()
    return 0


def _work(arguments: argparse.Namespace, grids: dict[str, SimbenchGrid]) -> None:
    """Run one worker process."""
    from dso.scheduler.worker import Worker
    from dso.store import DATABASE_GONE
    from dso.store.due import StoreClock

    with open_operation(arguments, grids) as operation:
        worker = Worker(
            operation,
            clock=StoreClock(operation.services.store),
            rules=make_worker_rules(arguments),
            alarms=make_alarms(arguments),
        )
        while True:
            try:
                if worker.run_one():
                    continue
                if arguments.until_idle and operation.queue.next_due_at() is None:
                    return
            except DATABASE_GONE:
                pass  # it comes back, or whoever stopped it stops us too
            time.sleep(POLL_S)


def _bury(arguments: argparse.Namespace, process: int) -> None:
    """Give back what a dead worker held, so that nobody waits for its lease to end."""
    from contextlib import closing

    from dso.bootstrap import STORE_FILE
    from dso.clock import SystemClock
    from dso.store import DATABASE_GONE, DueQueue, Store
    from dso.store.store import make_engine

    url = arguments.store or f"sqlite:///{(arguments.out / STORE_FILE).resolve()}"
    with closing(Store(make_engine(url), clock=SystemClock())) as store:
        try:
            DueQueue(store).free(worker_name(process))
        except DATABASE_GONE:
            return  # then the lease ends by itself


def _load_engines() -> None:
    """Import what cycles need, once, before processes are forked."""
    import ledger_adapter.sql_log  # noqa: F401 - for the processes to come
