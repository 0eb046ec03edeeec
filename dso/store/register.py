"""The register: versions of parties and things, appended and never changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Connection, Row, Table, func, insert, select

from data.periods import format_utc, parse_utc
from dso.store.register_records import (
    Asset,
    CalendarEntry,
    ConnectionPoint,
    Mandate,
    NetworkVersion,
    Party,
    RuleSetVersion,
    Versioned,
)
from dso.store.tables import (
    ASSET,
    ASSET_CALENDAR,
    CONNECTION_POINT,
    MANDATE,
    NETWORK,
    PARTY,
    RULE_SET,
)

V = TypeVar("V", bound=Versioned)
_TABLES: Final[dict[type[Versioned], Table]] = {
    Party: PARTY,
    Mandate: MANDATE,
    ConnectionPoint: CONNECTION_POINT,
    Asset: ASSET,
    CalendarEntry: ASSET_CALENDAR,
    NetworkVersion: NETWORK,
    RuleSetVersion: RULE_SET,
}


class Register(Generic[V]):
    """All versions of one kind of thing.

    Parameters
    ----------
    kind : type
        A record of `dso.store.register_records`.
    """

    def __init__(self, kind: type[V]) -> None:
        self._kind = kind
        self._table = _TABLES[kind]
        self._fields = [field.name for field in dataclasses.fields(kind)]

    def add(self, connection: Connection, records: Iterable[V]) -> int:
        """Append versions in the caller's transaction; return how many were new.

        A record that says what the newest version of its id says, of the same time or a later one,
        is no new version.
        """
        added = 0
        for record in records:
            cells = {name: _cell(getattr(record, name)) for name in self._fields}
            newest = self._newest(connection, record.id)
            if newest is not None:
                said = [name for name in self._fields if name not in ("known_at", "valid_from")]
                same = all(cells[name] == newest[name] for name in said)
                if same and str(cells["valid_from"]) >= newest["valid_from"]:
                    continue
            version = 1 if newest is None else newest["version"] + 1
            connection.execute(insert(self._table).values(version=version, **cells))
            added += 1
        return added

    def in_force(
        self, connection: Connection, *, at: datetime, known_at: datetime
    ) -> tuple[V, ...]:
        """Return what holds at an instant as far as it was known at another, sorted by id.

        Of the versions known by then, the one with the latest ``valid_from`` not after ``at``
        counts, and of two with the same the later one. What was ended is left out.
        """
        table = self._table.c
        query = (
            select(self._table)
            .where(table.valid_from <= format_utc(at), table.known_at <= format_utc(known_at))
            .order_by(table.id, table.valid_from, table.version)
        )
        last = {row.id: row for row in connection.execute(query)}
        return tuple(self._record(row) for row in last.values() if not row.ended)

    def history(self, connection: Connection, name: str) -> tuple[V, ...]:
        """Return every version of one thing, first to last, the ended ones included."""
        query = select(self._table).where(self._table.c.id == name)
        rows = connection.execute(query.order_by(self._table.c.version)).all()
        return tuple(self._record(row) for row in rows)

    def ids(self, connection: Connection) -> frozenset[str]:
        """Return every id that has a version, ended or not."""
        return frozenset(connection.execute(select(self._table.c.id).distinct()).scalars())

    def _newest(self, connection: Connection, name: str) -> Any:  # noqa: ANN401 - a row
        latest = select(func.max(self._table.c.version)).where(self._table.c.id == name)
        query = select(self._table).where(
            self._table.c.id == name, self._table.c.version == latest.scalar_subquery()
        )
        return connection.execute(query).mappings().one_or_none()

    def _record(self, row: Row[Any]) -> V:
        instants = {"valid_from", "known_at", "starts_at", "ends_at"}
        values = {
            name: parse_utc(getattr(row, name)) if name in instants else getattr(row, name)
            for name in self._fields
        }
        make: Callable[..., V] = self._kind
        return make(**values)


def _cell(value: object) -> object:
    return format_utc(value) if isinstance(value, datetime) else value
