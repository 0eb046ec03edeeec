"""Order books: an order is in its book if and only if its transaction commits before the gate's.

Whoever writes into a book first takes the book's row, so that numbers, commits and readings have
one order: numbers have no gaps, and a page read once is never added to in the middle. The gate is
a transaction, too (`close_book`): it waits for those that hold the row, and whoever gets the row
after it finds the book closed. An order that arrives after the gate's instant is late even if
nobody has closed the book yet.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from data.periods import format_utc, parse_utc
from dso.clock import SystemClock
from dso.store.tables import BOOK_ORDER, CLOCK, ORDER_BOOK

ORDER_ID_BYTES: Final = 10
# The simulated market moves in whole seconds; an arrival is told to the microsecond.
EXACT_UTC: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


def market_now(connection: Connection) -> datetime:
    """Return the market's time as the transaction sees it: simulated, else the machine's."""
    simulated = connection.execute(select(CLOCK.c.simulated_now)).scalar()
    return SystemClock().now() if simulated is None else parse_utc(simulated)


class NoSuchOrder(Exception):
    """No order of this id that the asker may know of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BookKey:
    """A book: feeder and local delivery day (ISO), and its gate."""

    feeder: str
    day: str
    gate: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BookOrder:
    """An order as it came; ``terms`` is canonical JSON, instants are UTC text."""

    feeder: str
    day: str
    number: int
    id: str
    participant: str
    actor: str
    terms: str
    received_at: str
    state: str
    cancelled_number: int | None
    cancelled_at: str | None
    cancel_actor: str | None
    cancel_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """What a party hands in: whose order, sent by which client, its terms as canonical JSON."""

    participant: str
    actor: str
    terms: str


def add_orders(
    connection: Connection, key: BookKey, orders: Sequence[NewOrder]
) -> tuple[BookOrder, ...]:
    """Write orders into their book in the caller's transaction, late ones marked as such."""
    book, now = _take_book(connection, key)
    late = book.closed_at is not None or now >= key.gate
    rows = [
        {
            "feeder": key.feeder,
            "day": key.day,
            "number": book.last_number + place,
            "id": f"o-{secrets.token_hex(ORDER_ID_BYTES)}",
            "participant": order.participant,
            "actor": order.actor,
            "terms": order.terms,
            "received_at": now.strftime(EXACT_UTC),
            "state": "late" if late else "booked",
            "cancelled_number": None,
            "cancelled_at": None,
            "cancel_actor": None,
            "cancel_reason": None,
        }
        for place, order in enumerate(orders, start=1)
    ]
    if rows:
        connection.execute(insert(BOOK_ORDER), rows)
        _count_on(connection, key.feeder, key.day, book.last_number + len(rows))
    return tuple(_order_of(row) for row in rows)


def cancel_order(
    connection: Connection,
    order_id: str,
    *,
    actor: str,
    reason: str,
    gate_of: Callable[[str, str], datetime],
) -> tuple[BookOrder, bool]:
    """Withdraw an order in the caller's transaction.

    Parameters
    ----------
    connection : Connection
        With a transaction begun.
    order_id : str
        The order.
    actor, reason : str
        Which client withdraws it, and why.
    gate_of : callable
        Gate of a feeder and day.

    Returns
    -------
    (order, changed)
        ``changed`` is False where it was withdrawn before, came late or the gate is passed.

    Raises
    ------
    NoSuchOrder
        If there is none.
    """
    found = find_order(connection, order_id)
    key = BookKey(feeder=found.feeder, day=found.day, gate=gate_of(found.feeder, found.day))
    book, now = _take_book(connection, key)
    found = find_order(connection, order_id)  # as it is now that we hold the book
    if found.state != "booked" or book.closed_at is not None or now >= key.gate:
        return found, False
    number = book.last_number + 1
    connection.execute(
        update(BOOK_ORDER)
        .where(BOOK_ORDER.c.id == order_id)
        .values(
            state="cancelled",
            cancelled_number=number,
            cancelled_at=now.strftime(EXACT_UTC),
            cancel_actor=actor,
            cancel_reason=reason,
        )
    )
    _count_on(connection, key.feeder, key.day, number)
    return find_order(connection, order_id), True


def close_book(connection: Connection, key: BookKey) -> tuple[BookOrder, ...]:
    """Close a book in the caller's transaction and return what is in it, by number.

    Closing twice returns the same orders, for nothing enters or leaves a closed book.

    Raises
    ------
    ValueError
        If the gate is still to come.
    """
    book, now = _take_book(connection, key)
    if book.closed_at is None:
        if now < key.gate:
            raise ValueError(f"the book of {key.feeder} {key.day} is open until {key.gate}")
        connection.execute(
            update(ORDER_BOOK)
            .where(ORDER_BOOK.c.feeder == key.feeder, ORDER_BOOK.c.day == key.day)
            .values(closed_at=now.strftime(EXACT_UTC))
        )
    query = select(BOOK_ORDER).where(
        BOOK_ORDER.c.feeder == key.feeder,
        BOOK_ORDER.c.day == key.day,
        BOOK_ORDER.c.state == "booked",
    )
    rows = connection.execute(query.order_by(BOOK_ORDER.c.number)).all()
    return tuple(_order_of(row._mapping) for row in rows)  # noqa: SLF001 - SQLAlchemy's public name


def find_order(connection: Connection, order_id: str) -> BookOrder:
    """Return an order by its id; raises `NoSuchOrder`."""
    row = connection.execute(select(BOOK_ORDER).where(BOOK_ORDER.c.id == order_id)).one_or_none()
    if row is None:
        raise NoSuchOrder(order_id)
    return _order_of(row._mapping)  # noqa: SLF001


def page_orders(
    connection: Connection,
    *,
    participant: str | None,
    after: tuple[str, str, int] | None,
    limit: int,
    state: str | None = None,
    day: str | None = None,
) -> tuple[BookOrder, ...]:
    """Return orders by (day, feeder, number), from behind a place on.

    Parameters
    ----------
    connection : Connection
        With a transaction begun.
    participant : str or None
        Whose; None: everybody's.
    after : tuple or None
        (day, feeder, number) of the last one known.
    limit : int
        How many at most.
    state, day : str or None
        Only these.
    """
    table = BOOK_ORDER.c
    query = select(BOOK_ORDER)
    if participant is not None:
        query = query.where(table.participant == participant)
    if state is not None:
        query = query.where(table.state == state)
    if day is not None:
        query = query.where(table.day == day)
    if after is not None:
        last_day, feeder, number = after
        query = query.where(
            or_(
                table.day > last_day,
                (table.day == last_day) & (table.feeder > feeder),
                (table.day == last_day) & (table.feeder == feeder) & (table.number > number),
            )
        )
    rows = connection.execute(
        query.order_by(table.day, table.feeder, table.number).limit(limit)
    ).all()
    return tuple(_order_of(row._mapping) for row in rows)  # noqa: SLF001


def _take_book(connection: Connection, key: BookKey) -> tuple[Row[Any], datetime]:
    """Hold the book's row until the transaction ends; the time is read once it is held."""
    make: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    values = {
        "feeder": key.feeder, "day": key.day, "gate": format_utc(key.gate), "last_number": 0,
    }  # fmt: skip
    query = (
        select(ORDER_BOOK)
        .where(ORDER_BOOK.c.feeder == key.feeder, ORDER_BOOK.c.day == key.day)
        .with_for_update()
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        connection.execute(make(ORDER_BOOK).values(values).on_conflict_do_nothing())
        row = connection.execute(query).one()
    return row, market_now(connection)


def _count_on(connection: Connection, feeder: str, day: str, number: int) -> None:
    connection.execute(
        update(ORDER_BOOK)
        .where(ORDER_BOOK.c.feeder == feeder, ORDER_BOOK.c.day == day)
        .values(last_number=number)
    )


def _order_of(row: Any) -> BookOrder:  # noqa: ANN401 - the mapping of a row
    return BookOrder(**{name: row[name] for name in BookOrder.__dataclass_fields__})
