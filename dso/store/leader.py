"""One elected process for a role: an advisory lock on PostgreSQL, a row with a lease on SQLite."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from sqlalchemy import Connection, delete, insert, select, text

from data.periods import format_utc
from dso.clock import Clock, SystemClock
from dso.store.store import DATABASE_GONE, Store
from dso.store.tables import LEADER


class Election:
    """Candidacy of one process for a role; it leads while `lead` says so.

    On PostgreSQL the lock is held by a connection of its own and ends with it, so a killed leader
    is followed at once. On SQLite the row has to be renewed by calling `lead` again before it ends.

    Parameters
    ----------
    store : Store
        Where it is held.
    role : str
        What for, e.g. ``scheduler``.
    holder : str
        Unique among candidates.
    lease_s : float
        How long the row holds on SQLite [s].
    machine : Clock
        By which the row ends.
    """

    def __init__(
        self,
        store: Store,
        *,
        role: str,
        holder: str,
        lease_s: float = 30.0,
        machine: Clock | None = None,
    ) -> None:
        self._store = store
        self._role = role
        self._holder = holder
        self._lease_s = lease_s
        self._machine = machine or SystemClock()
        self._lock: Connection | None = None

    def lead(self) -> bool:
        """Become or stay the leader; False where another process is."""
        if self._store.engine.dialect.name == "postgresql":
            return self._hold_lock()
        return self._hold_row()

    def resign(self) -> None:
        """Let another process lead."""
        if self._lock is not None:
            self._lock.invalidate()  # the lock ends with its connection
            self._lock.close()
            self._lock = None
            return
        if self._store.engine.dialect.name != "postgresql":
            with self._store.transaction() as connection:
                connection.execute(
                    delete(LEADER).where(
                        LEADER.c.role == self._role, LEADER.c.holder == self._holder
                    )
                )

    def _hold_lock(self) -> bool:
        if self._lock is not None:
            try:
                self._lock.execute(text("SELECT 1"))
                return True
            except DATABASE_GONE:
                self._lock.close()
                self._lock = None
        connection = self._store.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        # A number that follows from the role and from the schema, which tests have of their own.
        schema = connection.execute(text("SELECT current_schema()")).scalar()
        key = int.from_bytes(
            hashlib.sha256(f"{schema}/{self._role}".encode()).digest()[:8], "big", signed=True
        )
        if connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar():
            self._lock = connection
            return True
        connection.close()
        return False

    def _hold_row(self) -> bool:
        now = self._machine.now()
        until = format_utc(now + timedelta(seconds=self._lease_s))
        with self._store.transaction() as connection:
            row = connection.execute(select(LEADER).where(LEADER.c.role == self._role)).first()
            if row is not None and row.holder != self._holder and row.held_until > format_utc(now):
                return False
            connection.execute(delete(LEADER).where(LEADER.c.role == self._role))
            connection.execute(
                insert(LEADER).values(role=self._role, holder=self._holder, held_until=until)
            )
        return True
