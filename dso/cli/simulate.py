"""`dso simulate`: a market of past days on a simulated clock, as fast as it goes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from dso.cli.cluster_options import add_cluster_options
from dso.cli.market_options import (
    add_market_options,
    add_worker_options,
    iso_day,
    make_alarms,
    make_site,
    make_worker_rules,
    open_operation,
    set_up_log,
)

if TYPE_CHECKING:
    from dso.scheduler.alarms import Alarms
    from dso.scheduler.operation import Operation
    from dso.scheduler.simulate import Performs

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
  dso simulate --from 2016-07-25 --days 1 --feeder A --feeder B --out /shared/market \\
      --store postgresql+psycopg://user@host/gridclear --cluster tcp://10.0.0.5:8786

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
    parser.add_argument("--workers", type=int, metavar="N",
                        help="with --cluster local: processes (default: one per core)")  # fmt: skip
    add_market_options(parser)
    add_worker_options(parser)
    add_cluster_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the days and say what came out; 1 where a cycle failed without a fallback."""
    from data.errors import InputError, Problem
    from dso.cli.day import check_anchor
    from dso.scheduler.simulate import simulate

    if arguments.days < 1:
        raise InputError([Problem(where="--days", what=f"{arguments.days} is not positive")])
    set_up_log(quiet=arguments.quiet)
    alarms = make_alarms(arguments)
    check_anchor(arguments)
    with ExitStack() as stack:
        make = None if arguments.no_work else _performer(arguments, alarms, stack)
        operation = stack.enter_context(open_operation(arguments))
        worker = None if make is None else make(operation)
        done = simulate(operation, first=arguments.first, days=arguments.days, worker=worker)
        head = operation.services.ledger.head()
    print(f"{arguments.days} days: {done.cycles} cycles; {_count(done.outcomes)}")
    print(f"Lights: {_count(done.lights)}")
    print(f"Ledger: {head.size} leaves, root {head.root.hex()}")
    print(f"Market: {arguments.out}")
    return 1 if done.outcomes.get("failed") else 0


def _performer(
    arguments: argparse.Namespace, alarms: Alarms, stack: ExitStack
) -> Callable[[Operation], Performs]:
    """Return what makes the worker: of this process, or all of the cluster that is named."""
    if arguments.cluster is None:
        from dso.scheduler.worker import Worker
        from dso.store.due import StoreClock

        rules = make_worker_rules(arguments)
        return lambda operation: Worker(
            operation, clock=StoreClock(operation.services.store), rules=rules, alarms=alarms
        )
    from data.errors import InputError, Problem
    from dso.cli.cluster_options import open_named_cluster
    from dso.cli.day import default_keys
    from dso.cluster.market import ClusterWorker, MarketPlace, store_url_for

    if arguments.anchor is not None:
        what = "is not for the workers of a cluster"
        remedy = "anchor afterwards: dso chain anchor"
        raise InputError([Problem(where="--anchor", what=what, remedy=remedy)])
    cluster, patience = stack.enter_context(open_named_cluster(arguments))
    place = MarketPlace(
        site=make_site(arguments),
        store_url=store_url_for(cluster, arguments.store, arguments.out),
        keys=(arguments.keys or default_keys()).resolve(),
        lease_s=arguments.lease_s,
        clearing_s_max=arguments.clearing_s_max,
        alarms=alarms,
    )
    return lambda _: ClusterWorker(cluster, place, patience)


def _count(found: object) -> str:
    assert isinstance(found, dict)
    return ", ".join(f"{count} {name}" for name, count in found.items())
