"""The queue of due cycles: inserted once by key, leased by one worker at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, and_, delete, func, insert, or_, select, update
from sqlalchemy.orm import aliased

from data.periods import format_utc, parse_utc
from dso.clock import Clock, SystemClock
from dso.store.bulk import insert_missing
from dso.store.due_records import DueCycle, Ending, LeasedCycle, Signature
from dso.store.store import Store
from dso.store.tables import ATTEMPT, CLOCK, DUE_CYCLE, FALLBACK, SIGNATURE

UNFINISHED: Final = ("due", "leased", "held")


class StoreClock:
    """The market's time: that of a simulated market where the store has one, else the machine's.

    Parameters
    ----------
    store : Store
        Where `set_simulated_now` puts the time.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._machine = SystemClock()

    def now(self) -> datetime:
        """Return the current instant of the market in UTC."""
        with self._store.transaction() as connection:
            simulated = connection.execute(select(CLOCK.c.simulated_now)).scalar()
        return self._machine.now() if simulated is None else parse_utc(simulated)


def set_simulated_now(store: Store, at: datetime) -> None:
    """Set the time of a simulated market."""
    with store.transaction() as connection:
        connection.execute(delete(CLOCK))
        connection.execute(insert(CLOCK).values(id=1, simulated_now=format_utc(at)))


class DueQueue:
    """Due cycles in the store; every call is one transaction.

    Two instants are told apart: the market's, which decides what is due, late or skipped and may be
    simulated, and the machine's, by which leases end.

    Parameters
    ----------
    store : Store
        Where they are kept.
    machine : Clock
        By which leases end.
    """

    def __init__(self, store: Store, *, machine: Clock | None = None) -> None:
        self._store = store
        self._machine = machine or SystemClock()

    def add(self, cycles: Iterable[DueCycle]) -> int:
        """Insert cycles; those that are there stay as they are. Return how many were new."""
        rows = list(cycles)
        if not rows:
            return 0
        with self._store.transaction() as connection:
            return insert_due(connection, rows)

    def lease(
        self,
        worker: str,
        *,
        now: datetime,
        lease_s: float,
        only: DueCycle | None = None,
    ) -> LeasedCycle | None:
        """Take the next cycle that may run: the first of its lane that is not finished.

        Parameters
        ----------
        worker : str
            Who takes it; what the same worker held before is lost and may be taken again.
        now : datetime
            The market's time.
        lease_s : float
            How long it is held without `renew` [s].
        only : DueCycle, optional
            Take this one or none.

        Returns
        -------
        LeasedCycle or None
            None where nothing may run now.
        """
        with self._store.transaction() as connection:
            machine = self._machine.now()
            query = _eligible(now, format_utc(machine), worker)
            if only is not None:
                query = query.where(*_is(only))
            # Another worker's choice is skipped, not waited for; SQLite has one writer anyway.
            row = connection.execute(query.with_for_update(skip_locked=True)).first()
            if row is None:
                return None
            connection.execute(
                update(ATTEMPT)
                .where(ATTEMPT.c.due_id == row.id, ATTEMPT.c.ended_at.is_(None))
                .values(outcome="lost", ended_at=format_utc(machine))
            )
            attempt = row.attempt + 1
            connection.execute(
                update(DUE_CYCLE)
                .where(DUE_CYCLE.c.id == row.id)
                .values(
                    state="leased",
                    attempt=attempt,
                    worker=worker,
                    leased_until=_later(machine, lease_s),
                )
            )
            connection.execute(
                insert(ATTEMPT).values(
                    due_id=row.id, attempt=attempt, worker=worker, begun_at=format_utc(machine),
                    reason="",
                )
            )  # fmt: skip
            return _leased(connection, row, worker, attempt)

    def renew(self, leased: LeasedCycle, *, lease_s: float) -> bool:
        """Hold a cycle for longer; False where another worker has it by now."""
        until = _later(self._machine.now(), lease_s)
        with self._store.transaction() as connection:
            changed = connection.execute(
                update(DUE_CYCLE).where(*_held_by(leased)).values(leased_until=until)
            )
        return changed.rowcount == 1

    def finish(self, leased: LeasedCycle, ending: Ending) -> bool:
        """Keep how an attempt ended; False where another worker has the cycle by now."""
        state = ending.outcome if ending.final or ending.outcome == "held" else "due"
        at = format_utc(self._machine.now())
        with self._store.transaction() as connection:
            changed = connection.execute(
                update(DUE_CYCLE)
                .where(*_held_by(leased))
                .values(
                    state=state,
                    light=ending.light,
                    remark=ending.remark,
                    leased_until=None,
                    finished_at=at if state in ("done", "skipped", "failed") else None,
                )
            )
            if changed.rowcount != 1:
                return False
            connection.execute(
                update(ATTEMPT)
                .where(ATTEMPT.c.due_id == leased.number, ATTEMPT.c.attempt == leased.attempt)
                .values(outcome=ending.outcome, ended_at=at, reason=ending.remark)
            )
            connection.execute(delete(FALLBACK).where(FALLBACK.c.due_id == leased.number))
            for number, fallback in enumerate(ending.fallbacks):
                connection.execute(
                    insert(FALLBACK).values(
                        due_id=leased.number, number=number, name=fallback.name, text=fallback.text
                    )
                )
        return True

    def free(self, worker: str) -> None:
        """Give back what a worker that has died held."""
        with self._store.transaction() as connection:
            connection.execute(
                update(DUE_CYCLE)
                .where(DUE_CYCLE.c.worker == worker, DUE_CYCLE.c.state == "leased")
                .values(state="due", leased_until=None)
            )

    def sign(self, due: DueCycle, signature: Signature, *, needed: int) -> int:
        """Keep a signature under a held clearing; it runs again once ``needed`` are there.

        Returns
        -------
        int
            Signatures that are missing still.

        Raises
        ------
        LookupError
            If no such clearing is held.
        """
        with self._store.transaction() as connection:
            row = connection.execute(select(DUE_CYCLE).where(*_is(due)).with_for_update()).first()
            if row is None or row.state != "held":
                raise LookupError(f"{due} is {'unknown' if row is None else row.state}, not held")
            held = _signatures(connection, row.id)
            if not any((s.actor, s.verdict) == (signature.actor, signature.verdict) for s in held):
                connection.execute(
                    insert(SIGNATURE).values(
                        due_id=row.id, actor=signature.actor, verdict=signature.verdict,
                        output_sha256=signature.output_sha256, reason=signature.reason,
                        signed_at=format_utc(self._machine.now()),
                    )
                )  # fmt: skip
                held = _signatures(connection, row.id)
            decided = any(each.verdict in ("override", "withhold") for each in held)
            missing = 0 if decided else max(0, needed - len({each.actor for each in held}))
            if missing == 0:
                connection.execute(
                    update(DUE_CYCLE).where(DUE_CYCLE.c.id == row.id).values(state="due")
                )
        return missing

    def held(self) -> tuple[tuple[DueCycle, str], ...]:
        """Return every cycle that waits for signatures, with its remark."""
        query = select(DUE_CYCLE).where(DUE_CYCLE.c.state == "held").order_by(*_ORDER)
        with self._store.transaction() as connection:
            return tuple((_due(row), row.remark) for row in connection.execute(query))

    def machine_now(self) -> datetime:
        """Return the instant by which leases end and attempts are timed."""
        return self._machine.now()

    def next_due_at(self) -> datetime | None:
        """Return when the first cycle that is not finished is due; None where all are."""
        query = select(func.min(DUE_CYCLE.c.due_at)).where(DUE_CYCLE.c.state.in_(UNFINISHED))
        with self._store.transaction() as connection:
            found = connection.execute(query).scalar()
        return None if found is None else parse_utc(found)

    def states(self, *, day: date | None = None) -> tuple[dict[str, Any], ...]:
        """Return every due cycle as the table has it, in the order in which they are due."""
        query = select(DUE_CYCLE).order_by(*_ORDER)
        if day is not None:
            query = query.where(DUE_CYCLE.c.day == day.isoformat())
        with self._store.transaction() as connection:
            return tuple(dict(row) for row in connection.execute(query).mappings())

    def attempts(self) -> tuple[dict[str, Any], ...]:
        """Return every attempt as the table has it, oldest first."""
        with self._store.transaction() as connection:
            rows = connection.execute(select(ATTEMPT).order_by(ATTEMPT.c.id)).mappings()
            return tuple(dict(row) for row in rows)

    def fallbacks(self) -> dict[tuple[str, str], int]:
        """Return how often each cycle rested on each named fallback."""
        query = (
            select(DUE_CYCLE.c.cycle, FALLBACK.c.name, func.count())
            .join(FALLBACK, FALLBACK.c.due_id == DUE_CYCLE.c.id)
            .group_by(DUE_CYCLE.c.cycle, FALLBACK.c.name)
        )
        with self._store.transaction() as connection:
            return {(row[0], row[1]): row[2] for row in connection.execute(query)}


def insert_due(connection: Connection, cycles: Sequence[DueCycle]) -> int:
    """Insert cycles in the caller's transaction, as `DueQueue.add`."""
    count = select(func.count()).select_from(DUE_CYCLE)
    before = connection.execute(count).scalar_one()
    insert_missing(connection, DUE_CYCLE, [_row(due) for due in cycles])
    return int(connection.execute(count).scalar_one() - before)


def find_state(connection: Connection, due: DueCycle) -> dict[str, Any] | None:
    """Return a cycle as the table has it, or None where it was never inserted."""
    row = connection.execute(select(DUE_CYCLE).where(*_is(due))).mappings().one_or_none()
    return None if row is None else dict(row)


_ORDER: Final = (DUE_CYCLE.c.due_at, DUE_CYCLE.c.day, DUE_CYCLE.c.id)


def _eligible(now: datetime, machine: str, worker: str) -> Select[Any]:
    """Select what may run: due, or lost by its worker, or held too long; lanes in their order."""
    mine, at = DUE_CYCLE.c, format_utc(now)
    other = aliased(DUE_CYCLE)
    earlier = or_(
        other.c.due_at < mine.due_at,
        and_(other.c.due_at == mine.due_at, other.c.day < mine.day),
        and_(other.c.due_at == mine.due_at, other.c.day == mine.day, other.c.id < mine.id),
    )
    blocked = (
        select(other.c.id)
        .where(
            other.c.market == mine.market,
            other.c.feeder == mine.feeder,
            other.c.lane == mine.lane,
            other.c.state.in_(UNFINISHED),
            earlier,
        )
        .exists()
    )
    lost = and_(mine.state == "leased", or_(mine.leased_until < machine, mine.worker == worker))
    expired = and_(mine.state == "held", mine.skip_after <= at)
    return (
        select(DUE_CYCLE)
        .where(mine.due_at <= at, or_(mine.state == "due", lost, expired), ~blocked)
        .order_by(*_ORDER)
        .limit(1)
    )


def _held_by(leased: LeasedCycle) -> tuple[Any, ...]:
    mine = DUE_CYCLE.c
    return (
        mine.id == leased.number,
        mine.state == "leased",
        mine.worker == leased.worker,
        mine.attempt == leased.attempt,
    )


def _is(due: DueCycle) -> tuple[Any, ...]:
    mine = DUE_CYCLE.c
    return (
        mine.market == due.market,
        mine.feeder == due.feeder,
        mine.cycle == due.cycle,
        mine.first_period == format_utc(due.first_period),
        mine.revision == due.revision,
    )


def _row(due: DueCycle) -> dict[str, object]:
    return {
        "market": due.market,
        "feeder": due.feeder,
        "cycle": due.cycle,
        "first_period": format_utc(due.first_period),
        "revision": due.revision,
        "lane": due.lane,
        "day": due.day.isoformat(),
        "due_at": format_utc(due.due_at),
        "late_after": format_utc(due.late_after),
        "skip_after": None if due.skip_after is None else format_utc(due.skip_after),
        "state": "due",
        "remark": "",
        "attempt": 0,
    }


def _due(row: Row[Any]) -> DueCycle:
    return DueCycle(
        market=row.market,
        feeder=row.feeder,
        cycle=row.cycle,
        first_period=parse_utc(row.first_period),
        revision=row.revision,
        lane=row.lane,
        day=date.fromisoformat(row.day),
        due_at=parse_utc(row.due_at),
        late_after=parse_utc(row.late_after),
        skip_after=None if row.skip_after is None else parse_utc(row.skip_after),
    )


def _leased(connection: Connection, row: Row[Any], worker: str, attempt: int) -> LeasedCycle:
    failed = select(func.count()).where(ATTEMPT.c.due_id == row.id, ATTEMPT.c.outcome == "failed")
    return LeasedCycle(
        number=row.id,
        due=_due(row),
        worker=worker,
        attempt=attempt,
        failures=connection.execute(failed).scalar_one(),
        signatures=_signatures(connection, row.id),
    )


def _signatures(connection: Connection, number: int) -> tuple[Signature, ...]:
    query = select(SIGNATURE).where(SIGNATURE.c.due_id == number).order_by(SIGNATURE.c.id)
    return tuple(
        Signature(
            actor=row.actor,
            verdict=row.verdict,
            output_sha256=row.output_sha256,
            reason=row.reason,
        )
        for row in connection.execute(query)
    )


def _later(machine: datetime, lease_s: float) -> str:
    # Text holds whole seconds: one more, so that a lease is never shorter than asked for.
    return format_utc(machine + timedelta(seconds=lease_s + 1.0))
