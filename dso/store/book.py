"""Order books: an order is in its book if and only if its transaction commits before the gate's.

Whoever writes into a book first takes the book's row, so that numbers, commits and readings have
one order: numbers have no gaps, and a page read once is never added to in the middle. The gate is
a transaction, too (`close_book`): it waits for those that hold the row, and whoever gets the row
after it finds the book closed. An order that arrives after the gate's instant is late even if
nobody has closed the book yet.

Orders of the intraday market stand in the book of their delivery day, too. They take part in every
round whose gate they precede, until they are withdrawn; each round's gate is a transaction that
holds the row, and no order is received before a gate that was read already. Forecasts and messages
of flexibility procurement keep to the same row (`hold_gates`, `pass_gate`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Connection, Row, and_, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from data.periods import format_utc, parse_utc
from dso.clock import SystemClock
from dso.store.tables import BOOK_ORDER, CLOCK, ORDER_BOOK

ORDER_ID_BYTES: Final = 10
MarketName = Literal["day_ahead", "intraday"]
DAY_AHEAD: Final = "day_ahead"
INTRADAY: Final = "intraday"
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
    """A book: feeder and local delivery day (ISO), the gate after which nothing enters it any more.

    ``last_round_gate`` is that of the day's last intraday round, None where there are none.
    """

    feeder: str
    day: str
    gate: datetime
    last_round_gate: datetime | None = None

    def gate_of(self, market: MarketName) -> datetime | None:
        """Return the last gate of one of the two markets."""
        return self.gate if market == DAY_AHEAD else self.last_round_gate


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
    market: MarketName = "day_ahead"
    exposure_micro_eur: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """What a party hands in: whose order, sent by which client, its terms as canonical JSON.

    ``exposure_micro_eur`` is the most it may cost, where collateral is asked for.
    """

    participant: str
    actor: str
    terms: str
    market: MarketName = "day_ahead"
    exposure_micro_eur: int | None = None


def add_orders(
    connection: Connection, key: BookKey, orders: Sequence[NewOrder]
) -> tuple[BookOrder, ...]:
    """Write orders into their book in the caller's transaction, late ones marked as such."""
    book, now = _take_book(connection, key)
    rows = [
        {
            "feeder": key.feeder,
            "day": key.day,
            "number": book.last_number + place,
            "id": f"o-{secrets.token_hex(ORDER_ID_BYTES)}",
            "participant": order.participant,
            "actor": order.actor,
            "terms": order.terms,
            "received_at": _received_at(book, order.market, now),
            "state": "booked" if _is_open(book, key, order.market, now) else "late",
            "cancelled_number": None,
            "cancelled_at": None,
            "cancel_actor": None,
            "cancel_reason": None,
            "market": order.market,
            "exposure_micro_eur": order.exposure_micro_eur,
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
    key_of: Callable[[str, str], BookKey],
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
    key_of : callable
        Book of a feeder and day.

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
    key = key_of(found.feeder, found.day)
    book, now = _take_book(connection, key)
    found = find_order(connection, order_id)  # as it is now that we hold the book
    if found.state != "booked" or not _is_open(book, key, found.market, now):
        return found, False
    number = book.last_number + 1
    connection.execute(
        update(BOOK_ORDER)
        .where(BOOK_ORDER.c.id == order_id)
        .values(
            state="cancelled",
            cancelled_number=number,
            cancelled_at=_received_at(book, found.market, now),
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
        BOOK_ORDER.c.market == DAY_AHEAD,
        BOOK_ORDER.c.state == "booked",
    )
    rows = connection.execute(query.order_by(BOOK_ORDER.c.number)).all()
    return tuple(_order_of(row._mapping) for row in rows)  # noqa: SLF001 - SQLAlchemy's public name


def close_round(connection: Connection, key: BookKey, gate: datetime) -> tuple[BookOrder, ...]:
    """Close the gate of an intraday round and return the orders that stand for it, by number.

    Closing again, also after later gates, returns the same orders.

    Raises
    ------
    ValueError
        If the gate is still to come.
    """
    pass_gate(connection, key, gate)
    at = gate.strftime(EXACT_UTC)
    order = BOOK_ORDER.c
    query = select(BOOK_ORDER).where(
        order.feeder == key.feeder,
        order.day == key.day,
        order.market == INTRADAY,
        order.received_at < at,
        or_(order.state == "booked", and_(order.state == "cancelled", order.cancelled_at >= at)),
    )
    rows = connection.execute(query.order_by(order.number)).all()
    return tuple(_order_of(row._mapping) for row in rows)  # noqa: SLF001


def pass_gate(connection: Connection, key: BookKey, gate: datetime) -> None:
    """Pass a gate of a book's day in the caller's transaction: nothing is received before it later.

    Raises
    ------
    ValueError
        If the gate is still to come.
    """
    book, now = _take_book(connection, key)
    at = gate.strftime(EXACT_UTC)
    if book.round_closed_at is not None and book.round_closed_at >= at:
        return
    if now < gate:
        raise ValueError(f"the gate of {key.feeder} at {gate} is open until then")
    connection.execute(
        update(ORDER_BOOK)
        .where(ORDER_BOOK.c.feeder == key.feeder, ORDER_BOOK.c.day == key.day)
        .values(round_closed_at=at)
    )


def hold_gates(connection: Connection, keys: Sequence[BookKey]) -> datetime:
    """Hold books until the transaction ends; return when what is said of their days is received.

    So it precedes a gate (`pass_gate`) if and only if its commit does, as with orders.
    """
    received = market_now(connection)
    for key in sorted(keys, key=lambda key: (key.feeder, key.day)):
        book, now = _take_book(connection, key)
        received = max(received, parse_utc(_received_at(book, INTRADAY, now)))
    return received


def booked_exposure_micro_eur(connection: Connection, participant: str, *, since_day: str) -> int:
    """Return what the booked orders of a party may cost, of delivery days from one on [micro-EUR].

    An order that another one replaced counts until it is withdrawn.
    """
    order = BOOK_ORDER.c
    query = select(func.coalesce(func.sum(order.exposure_micro_eur), 0)).where(
        order.participant == participant, order.state == "booked", order.day >= since_day
    )
    return int(connection.execute(query).scalar_one())


def latest_order_for(
    connection: Connection, feeder: str, day: str, participant: str, terms_asset: str
) -> BookOrder | None:
    """Return a party's last day-ahead order in the book for an asset, or None."""
    order = BOOK_ORDER.c
    query = select(BOOK_ORDER).where(
        order.feeder == feeder,
        order.day == day,
        order.participant == participant,
        order.market == DAY_AHEAD,
        order.state == "booked",
        order.terms.contains(terms_asset, autoescape=True),
    )
    row = connection.execute(query.order_by(order.number.desc()).limit(1)).one_or_none()
    return None if row is None else _order_of(row._mapping)  # noqa: SLF001


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


def _is_open(book: Row[Any], key: BookKey, market: MarketName, now: datetime) -> bool:
    """Tell whether an order of a market may enter or leave a book that is held."""
    gate = key.gate_of(market)
    if gate is None or now >= gate:
        return False
    if market == DAY_AHEAD:
        return book.closed_at is None
    return book.round_closed_at is None or book.round_closed_at < gate.strftime(EXACT_UTC)


def _received_at(book: Row[Any], market: MarketName, now: datetime) -> str:
    """Return when an order counts as received: never before a gate that was read already."""
    at = now.strftime(EXACT_UTC)
    return at if market == DAY_AHEAD else max(at, book.round_closed_at or at)


def _count_on(connection: Connection, feeder: str, day: str, number: int) -> None:
    connection.execute(
        update(ORDER_BOOK)
        .where(ORDER_BOOK.c.feeder == feeder, ORDER_BOOK.c.day == day)
        .values(last_number=number)
    )


def _order_of(row: Any) -> BookOrder:  # noqa: ANN401 - the mapping of a row
    return BookOrder(**{name: row[name] for name in BookOrder.__dataclass_fields__})
