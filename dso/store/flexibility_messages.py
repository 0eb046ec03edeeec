"""Messages of flexibility procurement as they were published, handed in and ordered."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from data.canonical import canonical_json, sha256_hex
from data.periods import format_utc
from dso.store.bulk import insert_missing
from dso.store.tables_api import FLEXIBILITY_MESSAGE
from dso.store.tables_cycles import DUE_CYCLE

ENDED: Final = ("done", "skipped", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlexMessage:
    """A message; ``content`` is canonical JSON in UFTP's words.

    ``party`` sent it; ``participant`` is whom an order is for, else None. ``settles`` is the offer
    that an order or a revocation settles, or the call of a contract on a day: each has at most one
    of them. ``received_at`` is in whole seconds, so a gate counts what is before it.
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


def new_message(
    entry: Mapping[str, Any],
    *,
    party: str,
    feeder: str,
    at: datetime,
    settles: str | None = None,
    offer: FlexMessage | None = None,
) -> FlexMessage:
    """Return a message as it is kept, from an entry as a file of messages states it.

    Parameters
    ----------
    entry : mapping
        The message.
    party, feeder : str
        Its sender, and the feeder of its congestion point.
    at : datetime
        When it was received.
    settles : str, optional
        What an order or a revocation settles.
    offer : FlexMessage, optional
        The offer that a revocation is about: it names neither point nor day.
    """
    # of what the sender said: said again later, it is the same
    said = {name: value for name, value in entry.items() if name != "received_at"}
    return FlexMessage(
        message_id=entry["message_id"],
        kind=entry["message"],
        party=party,
        participant=entry["participant"] if entry["message"] == "FlexOrder" else None,
        feeder=feeder,
        congestion_point=entry["congestion_point"] if offer is None else offer.congestion_point,
        day=entry["period"] if offer is None else offer.day,
        received_at=format_utc(at),
        settles=settles,
        sha256=sha256_hex(canonical_json(said)),
        content=canonical_json(entry).decode(),
    )


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


def messages_before(
    connection: Connection, *, feeder: str, day: date, gate: datetime
) -> tuple[FlexMessage, ...]:
    """Return what was received about a feeder's day before a gate, in the order of receipt."""
    table = FLEXIBILITY_MESSAGE.c
    query = select(*_COLUMNS).where(
        table.feeder == feeder,
        table.day == day.isoformat(),
        table.received_at < format_utc(gate),
    )
    rows = connection.execute(query.order_by(table.received_at, table.id)).mappings()
    return tuple(FlexMessage(**row) for row in rows)


def is_purchase_over(connection: Connection, *, feeder: str, day: date) -> bool:
    """Tell whether the purchase of a feeder's day has ended, whatever came of it."""
    due = DUE_CYCLE.c
    query = select(due.id).where(
        due.feeder == feeder,
        due.cycle == "flexibility_purchase",
        due.day == day.isoformat(),
        due.state.in_(ENDED),
    )
    return connection.execute(query.limit(1)).one_or_none() is not None


def _seen_by(sight: Sight) -> ColumnElement[bool]:
    table = FLEXIBILITY_MESSAGE.c
    return or_(
        table.party == sight.party,
        table.participant == sight.party,
        and_(table.kind == "FlexRequest", table.feeder.in_(sorted(sight.feeders))),
    )
