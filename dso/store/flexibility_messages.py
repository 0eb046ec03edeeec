"""Messages of flexibility procurement as they were published, handed in and ordered."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import date

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from dso.store.bulk import insert_missing
from dso.store.tables_api import FLEXIBILITY_MESSAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class FlexMessage:
    """A message; ``content`` is canonical JSON in UFTP's words.

    ``party`` sent it; ``participant`` is whom an order is for, else None. ``settles`` is the offer
    that an order or a revocation settles: each offer has at most one of them.
    """

    message_id: str
    kind: str
    party: str
    participant: str | None
    feeder: str
    congestion_point: str
    day: str
    received_at: str
    settles: str | None
    sha256: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What of the messages somebody may see: their own, those for them, requests of feeders."""

    party: str
    feeders: Collection[str]


_COLUMNS = [
    column for column in FLEXIBILITY_MESSAGE.columns if column.name in FlexMessage.__slots__
]


def add_message(connection: Connection, new: FlexMessage) -> FlexMessage | None:
    """Keep a message in the caller's transaction and return what is kept under its id.

    None: its offer is settled by another message.
    """
    insert_missing(connection, FLEXIBILITY_MESSAGE, [asdict(new)])
    return find_message(connection, new.message_id)


def find_message(
    connection: Connection, message_id: str, sight: Sight | None = None
) -> FlexMessage | None:
    """Return a message that somebody may see, or None; without ``sight`` any message."""
    table = FLEXIBILITY_MESSAGE.c
    query = select(*_COLUMNS).where(table.message_id == message_id)
    if sight is not None:
        query = query.where(_seen_by(sight))
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else FlexMessage(**row)


def page_messages(
    connection: Connection,
    *,
    sight: Sight | None,
    day: date | None,
    kind: str | None,
    after: int,
    limit: int,
) -> tuple[tuple[int, FlexMessage], ...]:
    """Return messages that somebody may see with their numbers, in the order of receipt."""
    table = FLEXIBILITY_MESSAGE.c
    query = select(table.id, *_COLUMNS).where(table.id > after)
    if sight is not None:
        query = query.where(_seen_by(sight))
    if day is not None:
        query = query.where(table.day == day.isoformat())
    if kind is not None:
        query = query.where(table.kind == kind)
    found = []
    for row in connection.execute(query.order_by(table.id).limit(limit)).mappings():
        plain = dict(row)
        found.append((int(plain.pop("id")), FlexMessage(**plain)))
    return tuple(found)


def _seen_by(sight: Sight) -> ColumnElement[bool]:
    table = FLEXIBILITY_MESSAGE.c
    return or_(
        table.party == sight.party,
        table.participant == sight.party,
        and_(table.kind == "FlexRequest", table.feeder.in_(sorted(sight.feeders))),
    )
