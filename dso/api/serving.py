"""The API of a market in operation, and its timers: actions to the ledger, studies by request."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

import structlog

from dso.api.limits import ApiLimits
from dso.api.market import Market, OperationCalendar
from dso.api.routes_ledger import post_waiting_actions
from dso.api.study_runner import run_waiting_study
from dso.api.tokens import TokenRing
from dso.clock import SystemClock
from dso.store import DATABASE_GONE

if TYPE_CHECKING:
    from apscheduler.schedulers.background import BackgroundScheduler

    from dso.scheduler.operation import Operation

POST_EVERY_S: Final = 10.0
STUDY_EVERY_S: Final = 2.0


def operated_market(
    operation: Operation, *, today: date, limits: ApiLimits | None = None
) -> Market:
    """Return what the API of an operated market stands on.

    Parameters
    ----------
    operation : Operation
        What is operated.
    today : date
        A day whose configuration names the feeders.
    limits : ApiLimits, optional
        What one caller may do.
    """
    services = operation.services
    machine = SystemClock()
    return Market(
        services=services,
        calendar=OperationCalendar(operation, today),
        tokens=TokenRing(services.keys.folder, issuer=services.keys.signer.key.name, clock=machine),
        machine=machine,
        limits=limits or ApiLimits(),
    )


def start_posting(scheduler: BackgroundScheduler, market: Market) -> None:
    """Post actions to the action log every few seconds, in any number of processes."""

    def post() -> None:
        try:
            while post_waiting_actions(market):
                pass
        except DATABASE_GONE as error:
            said = str(error).partition("\n")[0]
            structlog.get_logger().warning("actions wait for the database", error=said)

    scheduler.add_job(post, "interval", seconds=POST_EVERY_S, coalesce=True, max_instances=1)


def start_studies(scheduler: BackgroundScheduler, market: Market, worker: str) -> None:
    """Run studies by request, one at a time in a process of its own, in any number of servers."""

    def run() -> None:
        try:
            while run_waiting_study(market.services.store, market.machine, worker):
                pass
        except DATABASE_GONE as error:
            said = str(error).partition("\n")[0]
            structlog.get_logger().warning("studies wait for the database", error=said)

    scheduler.add_job(run, "interval", seconds=STUDY_EVERY_S, coalesce=True, max_instances=1)
