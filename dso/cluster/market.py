"""Due cycles of a running market, performed by the workers of a cluster.

Here workers write to the store themselves, because a cycle is leased, performed and finished there
in any case (`dso worker` does the same). So the store is a PostgreSQL that every worker reaches, or
an SQLite file where all of them are on this machine. A worker that is lost loses its lease, and its
cycle is taken again.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from concurrent import futures
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import structlog

from data.errors import InputError, Problem
from dso.bootstrap import STORE_FILE, open_services
from dso.cluster.driver import Rules, connect
from dso.cluster.open import Cluster
from dso.cluster.tally import Tally
from dso.cluster.versions import Versions, differences, installed_versions
from dso.scheduler.alarms import Alarms
from dso.scheduler.operation import Operation, Site
from dso.scheduler.worker import Worker, WorkerRules
from dso.store import DATABASE_GONE
from dso.store.due import StoreClock

SQLITE: Final = "sqlite"
ROUND_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketPlace:
    """How a worker opens the market, all by reference.

    Parameters
    ----------
    site : Site
        What is operated.
    store_url : str
        Its database.
    keys : Path
        Its key folder.
    lease_s : float
        How long a cycle is held without a sign of life [s].
    clearing_s_max : float or None
        How long one clearing may take [s].
    alarms : Alarms
        Who hears of what went wrong.
    """

    site: Site
    store_url: str
    keys: Path
    lease_s: float
    clearing_s_max: float | None
    alarms: Alarms


def store_url_for(cluster: Cluster, store_url: str | None, out: Path) -> str:
    """Return the database that the workers use.

    Raises
    ------
    InputError
        If it is an SQLite file and workers may be on other machines.
    """
    url = store_url or f"sqlite:///{(out / STORE_FILE).resolve()}"
    if url.startswith(SQLITE) and not cluster.local:
        what = "is SQLite, which workers of other machines cannot share"
        remedy = "name a PostgreSQL, e.g. postgresql+psycopg://user@host/name"
        raise InputError([Problem(where="--store", what=what, remedy=remedy)])
    return url


def perform_due(place: MarketPlace, expected: Versions | None) -> int:
    """Perform cycles that are due until none is left; return how many. Runs on a worker."""
    if expected is not None and (unlike := differences(expected, installed_versions())):
        raise InputError([Problem(where="versions", what="; ".join(unlike))])
    worker = _worker(place)
    done = 0
    try:
        while worker.run_one():
            done += 1
    except DATABASE_GONE:
        _worker.cache_clear()
    return done


@lru_cache(maxsize=1)
def _worker(place: MarketPlace) -> Worker:
    """Open the market once in a worker process; its grids stay loaded."""
    # What a worker has to say goes beside its results: warnings, as JSON lines.
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    services = open_services(place.store_url, out=place.site.out, keys=place.keys)
    rules = WorkerRules(
        name=f"{socket.gethostname()}:{os.getpid()}",
        lease_s=place.lease_s,
        clearing_s_max=place.clearing_s_max,
    )
    operation = Operation(place.site, services)
    return Worker(operation, clock=StoreClock(services.store), rules=rules, alarms=place.alarms)


class ClusterWorker:
    """Performs due cycles as `dso.scheduler.worker.Worker` does, with all workers of a cluster.

    Parameters
    ----------
    cluster : Cluster
        Where.
    place : MarketPlace
        What.
    rules : Rules
        How patient it is.
    """

    def __init__(self, cluster: Cluster, place: MarketPlace, rules: Rules) -> None:
        self._cluster, self._place, self._rules = cluster, place, rules
        self._expected = None if cluster.local else dict(installed_versions())
        self._round = 0

    def run_one(self) -> bool:
        """Let every worker perform what is due; False where nothing was.

        Raises
        ------
        ClusterLost
            If scheduler or workers stay away.
        InputError
            If a worker cannot open the market.
        """
        client = connect(self._cluster, self._rules, Tally(total=0), None)
        try:
            workers = tuple(client.scheduler_info(n_workers=-1)["workers"])
            if not workers:
                client.wait_for_workers(1, timeout=self._rules.patience_s)
                return True
            self._round += 1
            asked = [self._ask(client, address) for address in workers]
            return sum(self._answer(each) for each in asked) > 0
        except (OSError, TimeoutError, futures.CancelledError):
            self._cluster.drop()
            return True  # look again: what was begun is in the store

    def _ask(self, client: Any, address: str) -> Any:  # noqa: ANN401 - Dask has no types here
        key = f"cycles-{id(self)}-{self._round}-{address}"
        return client.submit(
            perform_due, self._place, self._expected, key=key, workers=[address],
            allow_other_workers=True, pure=False,
        )  # fmt: skip

    def _answer(self, future: Any) -> int:  # noqa: ANN401 - as above
        from distributed.scheduler import KilledWorker

        try:
            done: int = future.result(timeout=ROUND_S)
        except KilledWorker:
            return 1  # its leases end, others take its cycles
        return done
