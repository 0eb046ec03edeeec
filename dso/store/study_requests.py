"""Studies by request: handed in, leased by one runner at a time, ended with a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, and_, func, insert, or_, select, update

from data.periods import format_utc
from dso.store.store import Store
from dso.store.tables import STUDY_REQUEST

UNFINISHED: Final = ("waiting", "running")
# A study whose runner died this often is not tried again.
ATTEMPTS_MAX: Final = 3
SHOWN: Final = (
    "id", "party", "name", "sha256", "submitted_at", "state", "attempt", "ended_at", "exit_code",
    "said",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStudy:
    """A study as it comes in; ``content`` is a ZIP archive of its files."""

    party: str
    actor: str
    name: str
    sha256: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedStudy:
    """A study that a runner has; ``attempt`` counts from 1."""

    id: int
    content: bytes
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyEnding:
    """How a study ended: exit code of the clearing, what it said, a ZIP archive of its result."""

    state: str
    exit_code: int | None
    said: str
    result: bytes | None = None


def add_study(connection: Connection, study: NewStudy, at: datetime) -> int:
    """Keep a study in the caller's transaction and return its number."""
    values = {
        "party": study.party, "actor": study.actor, "name": study.name, "sha256": study.sha256,
        "submitted_at": format_utc(at), "state": "waiting", "attempt": 0, "said": "",
        "content": study.content,
    }  # fmt: skip
    query = insert(STUDY_REQUEST).values(values).returning(STUDY_REQUEST.c.id)
    return int(connection.execute(query).scalar_one())


def count_unfinished(connection: Connection, party: str) -> int:
    """Return how many studies of a party wait or run."""
    table = STUDY_REQUEST.c
    query = select(func.count()).where(table.party == party, table.state.in_(UNFINISHED))
    return int(connection.execute(query).scalar_one())


def find_study(connection: Connection, number: int) -> Mapping[str, Any] | None:
    """Return a study without its content and result, or None."""
    query = select(*(STUDY_REQUEST.c[name] for name in SHOWN))
    row = connection.execute(query.where(STUDY_REQUEST.c.id == number)).mappings().one_or_none()
    return None if row is None else dict(row)


def result_of_study(connection: Connection, number: int) -> bytes | None:
    """Return the result of a study, a ZIP archive, or None."""
    found = connection.execute(
        select(STUDY_REQUEST.c.result).where(STUDY_REQUEST.c.id == number)
    ).scalar()
    return None if found is None else bytes(found)


def page_studies(
    connection: Connection, *, party: str | None, after: int, limit: int
) -> tuple[dict[str, Any], ...]:
    """Return studies by number; of one party, or of all with None."""
    query = select(*(STUDY_REQUEST.c[name] for name in SHOWN)).where(STUDY_REQUEST.c.id > after)
    if party is not None:
        query = query.where(STUDY_REQUEST.c.party == party)
    rows = connection.execute(query.order_by(STUDY_REQUEST.c.id).limit(limit)).mappings()
    return tuple(dict(row) for row in rows)


def lease_study(
    store: Store, worker: str, *, machine: datetime, lease_s: float
) -> LeasedStudy | None:
    """Take the study that waits longest, or one whose runner died; None where there is none.

    Parameters
    ----------
    store : Store
        Where they are kept.
    worker : str
        Who takes it.
    machine : datetime
        The machine's time, by which leases end.
    lease_s : float
        How long it is held [s].
    """
    table = STUDY_REQUEST.c
    now = format_utc(machine)
    lost = and_(table.state == "running", table.leased_until < now)
    with store.transaction() as connection:
        connection.execute(
            update(STUDY_REQUEST)
            .where(lost, table.attempt >= ATTEMPTS_MAX)
            .values(
                state="failed", leased_until=None, ended_at=now,
                said=f"its runner died {ATTEMPTS_MAX} times",
            )
        )  # fmt: skip
        query = select(table.id, table.content, table.attempt).where(
            or_(table.state == "waiting", lost)
        )
        row = connection.execute(
            query.order_by(table.id).limit(1).with_for_update(skip_locked=True)
        ).first()
        if row is None:
            return None
        until = format_utc(machine + timedelta(seconds=lease_s + 1.0))
        connection.execute(
            update(STUDY_REQUEST)
            .where(table.id == row.id)
            .values(state="running", worker=worker, leased_until=until, attempt=row.attempt + 1)
        )
    return LeasedStudy(id=row.id, content=bytes(row.content), attempt=row.attempt + 1)


def end_study(store: Store, leased: LeasedStudy, ending: StudyEnding, *, machine: datetime) -> bool:
    """Keep how a study ended; False where another runner has it by now."""
    table = STUDY_REQUEST.c
    with store.transaction() as connection:
        changed = connection.execute(
            update(STUDY_REQUEST)
            .where(
                table.id == leased.id, table.state == "running", table.attempt == leased.attempt
            )
            .values(
                state=ending.state, exit_code=ending.exit_code, said=ending.said,
                result=ending.result, leased_until=None, ended_at=format_utc(machine),
            )
        )  # fmt: skip
    return changed.rowcount == 1
