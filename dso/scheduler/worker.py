"""A worker: leases one cycle after the other, performs it and keeps how that ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from dso.clock import Clock, Stopwatch
from dso.cycles.perform import CycleResult, perform_cycle
from dso.cycles.real_time import tell_setpoints
from dso.cycles.stage_droops import NO_DROOPS
from dso.cycles.stage_forecast import LAST_FORECAST
from dso.cycles.stage_purchase import NO_PURCHASE
from dso.cycles.stages import Approve, NeedsRelease, working_among_others
from dso.cycles.timetable import (
    CLEARINGS,
    DROOPS,
    FLEXIBILITY_PURCHASE,
    FLEXIBILITY_REQUEST,
    FORECAST_UPDATE,
    POSTING,
    REAL_TIME,
)
from dso.scheduler.alarms import Alarms
from dso.scheduler.operation import Operation
from dso.store import DATABASE_GONE, Ending, Fallback, LeasedCycle
from ledger_adapter.outbox import drain_outbox

REMARK_LENGTH_MAX: Final = 2000
LEASE_S: Final = 15.0
LAST_REQUEST: Final = "last_request"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRules:
    """How a worker works.

    Parameters
    ----------
    name : str
        Unique among workers, e.g. host and process.
    lease_s : float
        How long a cycle is held without a sign of life [s].
    clearing_s_max : float or None
        How long one clearing may take until its fallback is taken [s]; None: as long as it takes.
    """

    name: str
    lease_s: float = LEASE_S
    clearing_s_max: float | None = None


class Worker:
    """Performs cycles of one operation; any number of them share a store.

    Parameters
    ----------
    operation : Operation
        What is operated.
    clock : Clock
        The market's time.
    rules : WorkerRules
        How this one works.
    alarms : Alarms
        Who hears of what went wrong.
    """

    def __init__(
        self, operation: Operation, *, clock: Clock, rules: WorkerRules, alarms: Alarms
    ) -> None:
        self._operation = operation
        self._clock = clock
        self._rules = rules
        self._alarms = alarms
        self._log = structlog.get_logger(worker=rules.name)

    @property
    def name(self) -> str:
        """Its name, unique among workers."""
        return self._rules.name

    def run_one(self) -> bool:
        """Lease and perform one cycle; False where nothing may run now.

        Raises
        ------
        sqlalchemy.exc.OperationalError
            While the database is away (`dso.store.DATABASE_GONE`): what was begun is taken again
            later and leaves the same bytes.
        """
        now = self._clock.now()
        queue = self._operation.queue
        leased = queue.lease(self._rules.name, now=now, lease_s=self._rules.lease_s)
        if leased is None:
            return False
        self.run_leased(leased, now)
        return True

    def run_leased(self, leased: LeasedCycle, now: datetime) -> Ending:
        """Perform a cycle that this worker holds, keep how it ended, and post what waits."""
        log = self._log.bind(cycle=str(leased.due), attempt=leased.attempt)
        log.info("begun")
        watch = Stopwatch.start()
        with self._heartbeat(leased):
            ending = self._attempt(leased, now)
        kept = self._operation.queue.finish(leased, ending)
        log.info(
            "ended", outcome=ending.outcome, light=ending.light, remark=ending.remark,
            fallbacks=[each.name for each in ending.fallbacks], duration_s=watch.elapsed_s(),
            kept=kept,
        )  # fmt: skip
        if kept:
            self._alarms.hear(leased, ending)
        services = self._operation.services
        drain_outbox(services.store.engine, services.ledger)
        if leased.due.cycle == POSTING and ending.outcome == "done":
            self._anchor(log)
        return ending

    def _anchor(self, log: structlog.typing.FilteringBoundLogger) -> None:
        """Publish heads outside; what cannot be now is tried again after the next posting."""
        anchored = self._operation.anchor_heads()
        if anchored is not None:
            tell = log.warning if anchored.reason else log.info
            tell(
                "anchored", heads=len(anchored.receipts), waiting=len(anchored.waiting),
                reason=anchored.reason,
            )  # fmt: skip

    def _attempt(self, leased: LeasedCycle, now: datetime) -> Ending:
        due = leased.due
        late = _late(leased, now)
        skipped = due.skip_after is not None and now >= due.skip_after
        if skipped and due.cycle in (DROOPS, REAL_TIME):
            return Ending(outcome="skipped", remark="skipped: its period was over")
        if skipped and due.cycle == FLEXIBILITY_REQUEST:
            return Ending(outcome="skipped", remark="skipped: the next one was due")
        if skipped and due.cycle == FLEXIBILITY_PURCHASE:
            why = "skipped: delivery had begun"
            return Ending(
                outcome="skipped", light="orange", remark=why, fallbacks=(_no_purchase(why),)
            )
        if skipped and due.cycle == FORECAST_UPDATE:
            why = "skipped: the next one was due"
            return Ending(outcome="skipped", remark=why, fallbacks=(_last_forecast(why),))
        withheld = ""
        try:
            rules = self._operation.rules_of(due).cycles
            withheld = _why_withheld(leased, skipped=skipped, attempts_max=rules.attempts_max)
            desk = self._operation.desk(
                due,
                approve=_approval(leased, rules.release_signatures),
                out_of_time=self._time_limit(),
            )
            with working_among_others(desk.out):
                if due.cycle == REAL_TIME:
                    result = tell_setpoints(desk, due)
                else:
                    result = perform_cycle(desk, due, withheld=withheld)
        except NeedsRelease as waiting:
            return Ending(
                outcome="held", remark=f"waits for the release of {waiting.output_sha256}"
            )
        except DATABASE_GONE:
            raise
        except Exception as error:  # noqa: BLE001 - a worker outlives any fault of one cycle
            return self._failed(leased, error, withheld=withheld)
        return _ended(result, withheld=withheld, late=late)

    def _failed(self, leased: LeasedCycle, error: Exception, *, withheld: str) -> Ending:
        """Keep a failure; a clearing gets its fallback next, everything else is a red light."""
        limit = self._operation.rules_of(leased.due).cycles.attempts_max
        tried_all = leased.failures + 1 >= limit
        has_fallback = leased.due.cycle in CLEARINGS and not withheld
        final = tried_all and not has_fallback
        remark = f"{type(error).__name__}: {error}"[:REMARK_LENGTH_MAX]
        if final and leased.due.cycle == FORECAST_UPDATE:
            fallbacks = (_last_forecast(remark),)
            return Ending(outcome="failed", light="orange", remark=remark, fallbacks=fallbacks)
        if final and leased.due.cycle == FLEXIBILITY_REQUEST:
            text = f"{LAST_REQUEST}: {remark}; the one before holds"
            kept = (Fallback(name=LAST_REQUEST, text=text),)
            return Ending(outcome="failed", light="orange", remark=remark, fallbacks=kept)
        if final and leased.due.cycle == DROOPS:
            text = f"{NO_DROOPS}: {remark}; plants keep those of the day before"
            kept = (Fallback(name=NO_DROOPS, text=text),)
            return Ending(outcome="failed", light="orange", remark=remark, fallbacks=kept)
        if final and leased.due.cycle == FLEXIBILITY_PURCHASE:
            unbought = (_no_purchase(remark),)
            return Ending(outcome="failed", light="orange", remark=remark, fallbacks=unbought)
        return Ending(outcome="failed", final=final, light="red" if final else None, remark=remark)

    def _time_limit(self) -> _TimeLimit | None:
        limit = self._rules.clearing_s_max
        return None if limit is None else _TimeLimit(limit)

    @contextmanager
    def _heartbeat(self, leased: LeasedCycle) -> Iterator[None]:
        """Renew the lease from a thread of its own while the cycle runs."""
        done = threading.Event()
        lease_s = self._rules.lease_s

        def beat() -> None:
            while not done.wait(lease_s / 3.0):
                try:
                    if not self._operation.queue.renew(leased, lease_s=lease_s):
                        return
                except DATABASE_GONE:
                    continue  # it may be back before the lease ends

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


class _TimeLimit:
    """Says when the time of a clearing is over; the time begins with the first question."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._watch: Stopwatch | None = None

    def __call__(self) -> bool:
        if self._watch is None:
            self._watch = Stopwatch.start()
        return self._watch.elapsed_s() >= self._limit_s


def _approval(leased: LeasedCycle, needed: int) -> Approve:
    """Return who approves: enough people who signed the very bytes, or one who overrides."""

    def approve(output_sha256: str) -> bool:
        if needed == 0 or any(each.verdict == "override" for each in leased.signatures):
            return True
        people = {
            each.actor
            for each in leased.signatures
            if each.verdict == "release" and each.output_sha256 == output_sha256
        }
        return len(people) >= needed

    return approve


def _why_withheld(leased: LeasedCycle, *, skipped: bool, attempts_max: int) -> str:
    """Return why a clearing is not made, or nothing; the words depend on no clock."""
    if leased.due.cycle not in CLEARINGS:
        return ""
    if any(each.verdict == "withhold" for each in leased.signatures):
        return "withheld: by decision of the operator"
    if skipped and leased.attempt > 1 and leased.failures == 0:
        return "not_released: its delivery began before it was released"
    if skipped:
        return "skipped: its delivery began before it did"
    if leased.failures >= attempts_max:
        return f"failed: {leased.failures} attempts failed"
    return ""


def _last_forecast(why: str) -> Fallback:
    return Fallback(name=LAST_FORECAST, text=f"{LAST_FORECAST}: {why}; the one before holds")


def _no_purchase(why: str) -> Fallback:
    return Fallback(name=NO_PURCHASE, text=f"{NO_PURCHASE}: {why}; nothing is bought")


def _late(leased: LeasedCycle, now: datetime) -> str:
    due = leased.due
    if now <= due.late_after:
        return ""
    return f"late: began {(now - due.due_at).total_seconds():.0f} s after it was due"


def _ended(result: CycleResult, *, withheld: str, late: str) -> Ending:
    names = {each.name for each in result.fallbacks}
    skipped = bool(withheld) and names & {"skipped", "not_released"}
    said = (late, withheld if skipped else "", *result.notes)
    remark = "; ".join(each for each in said if each)[:REMARK_LENGTH_MAX]
    return Ending(
        outcome="skipped" if skipped else "done",
        light=result.light,
        remark=remark,
        fallbacks=result.fallbacks,
    )
