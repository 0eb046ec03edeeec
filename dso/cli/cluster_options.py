"""Options that all commands with work for a cluster share, and how they open one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dso.cluster import Cluster, Rules, Tally
    from dso.studies.variants import Clearer

LINE_EVERY_S: Final = 10.0


def add_cluster_options(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """Declare which cluster works, and how stubborn the run is."""
    without = "" if default is None else f" (default {default})"
    parser.add_argument(
        "--cluster", default=default, metavar="local|ADDRESS",
        help="work as tasks of Dask: workers of this machine, or those of the scheduler at "
        f"ADDRESS, e.g. tcp://10.0.0.5:8786; all must see the same files{without}",
    )  # fmt: skip
    parser.add_argument(
        "--worker-memory", default="auto", metavar="SIZE",
        help="of each local worker, e.g. 2GiB; one above 95 %% of it is ended and costs its task "
        "an attempt (default: an equal share of the machine's)",
    )  # fmt: skip
    parser.add_argument(
        "--attempts", type=int, default=3, metavar="N",
        help="attempts at a task that loses its worker or meets a fault there (default 3); "
        "a scheduler at ADDRESS counts lost workers by its own --attempts",
    )  # fmt: skip
    parser.add_argument(
        "--patience-s", type=float, default=120.0, metavar="S",
        help="how long to wait for a scheduler or workers that went away [s] (default 120)",
    )  # fmt: skip


@contextmanager
def open_named_cluster(arguments: argparse.Namespace) -> Iterator[tuple[Cluster, Rules]]:
    """Open the cluster that the options name.

    Raises
    ------
    InputError
        As `dso.cluster.open_cluster`, and for numbers out of range.
    """
    from data.errors import Problem, refuse_if_any
    from dso.cluster import Rules, open_cluster

    problems = []
    if arguments.attempts < 1:
        problems.append(Problem(where="--attempts", what=f"is {arguments.attempts}",
                                remedy="at least 1"))  # fmt: skip
    if not 0.0 <= arguments.patience_s < float("inf"):
        problems.append(Problem(where="--patience-s", what=f"is {arguments.patience_s}",
                                remedy="seconds, at least 0"))  # fmt: skip
    refuse_if_any(problems)
    rules = Rules(
        attempts_max=arguments.attempts,
        patience_s=arguments.patience_s,
        retry_failed=getattr(arguments, "retry_failed", False),
    )
    with open_cluster(
        arguments.cluster,
        workers=arguments.workers,
        memory=arguments.worker_memory,
        attempts_max=arguments.attempts,
    ) as cluster:
        yield cluster, rules


@contextmanager
def clearer_on_cluster(arguments: argparse.Namespace) -> Iterator[Clearer | None]:
    """Give what clears variants on the cluster that the options name; None where they name none."""
    if arguments.cluster is None:
        yield None
        return
    from dso.cluster.sweeps import make_clearer

    with open_named_cluster(arguments) as (cluster, rules):
        yield make_clearer(cluster, rules, listen=say_tally(quiet=arguments.quiet))


def say_tally(*, quiet: bool) -> Callable[[Tally], None]:
    """Return a listener that writes how a run stands, one line every ten seconds."""
    from dso.clock import Stopwatch

    watch = Stopwatch.start()
    said_s = -LINE_EVERY_S

    def listen(tally: Tally) -> None:
        nonlocal said_s
        now = watch.elapsed_s()
        if not quiet and now - said_s >= LINE_EVERY_S:
            said_s = now
            sys.stderr.write(f"{tally}\n")
            sys.stderr.flush()

    return listen
