"""Results of the market for whoever asks, by page: rows in an order that never changes.

A page goes on behind the last row's key. Keys begin with the number of the stage run, and a run's
rows are written once, so nothing enters in the middle of what was read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Subquery, Table, and_, func, select, tuple_

from dso.store.tables import (
    AWARD,
    BOOK_ORDER,
    CYCLE_RUN,
    DUE_CYCLE,
    FALLBACK,
    FORECAST,
    MARKET_ORDER,
    ORDER_BOOK,
    PRICE,
    SETTLEMENT_LINE,
    TRADE,
)

READABLE: Final[Mapping[str, Table]] = {
    table.name: table for table in (AWARD, FORECAST, PRICE, SETTLEMENT_LINE, TRADE)
}


def page_results(
    connection: Connection,
    name: str,
    *,
    where: Mapping[str, object],
    start: str | None,
    end: str | None,
    after: Sequence[object] | None,
    limit: int,
) -> tuple[dict[str, Any], ...]:
    """Return rows of a result table by its key, from behind a place on.

    Parameters
    ----------
    connection : Connection
        With a transaction begun.
    name : str
        One of `READABLE`.
    where : mapping
        Values that columns must have; None values are left out.
    start, end : str or None
        Periods of ``[start, end)``, UTC text.
    after : sequence or None
        Key of the last row known.
    limit : int
        How many at most.
    """
    table = READABLE[name]
    keys = list(table.primary_key.columns)
    query = select(table)
    for column, value in where.items():
        if value is not None:
            query = query.where(table.c[column] == value)
    if start is not None:
        query = query.where(table.c.period_start >= start)
    if end is not None:
        query = query.where(table.c.period_start < end)
    if after is not None:
        query = query.where(tuple_(*keys) > tuple(after))
    rows = connection.execute(query.order_by(*keys).limit(limit)).mappings()
    return tuple(dict(row) for row in rows)


def key_of(name: str, row: Mapping[str, Any]) -> list[Any]:
    """Return the key of a row, for the next page."""
    return [row[column.name] for column in READABLE[name].primary_key.columns]


def page_awards_of(
    connection: Connection, participant: str | None, order_id: str
) -> tuple[dict[str, Any], ...]:
    """Return the awards of an order, if the participant may see it (None: may see all)."""
    owner = select(MARKET_ORDER.c.order_id).where(MARKET_ORDER.c.order_id == order_id)
    if participant is not None:
        owner = owner.where(MARKET_ORDER.c.participant == participant)
    query = select(AWARD).where(AWARD.c.order_id == order_id, owner.exists())
    rows = connection.execute(query.order_by(AWARD.c.run_id, AWARD.c.period_start)).mappings()
    return tuple(dict(row) for row in rows)


def page_runs(
    connection: Connection, *, kind: str | None, after: int, limit: int
) -> tuple[dict[str, Any], ...]:
    """Return stage runs that are done, by number."""
    query = select(CYCLE_RUN).where(CYCLE_RUN.c.id > after, CYCLE_RUN.c.state == "done")
    if kind is not None:
        query = query.where(CYCLE_RUN.c.kind == kind)
    rows = connection.execute(query.order_by(CYCLE_RUN.c.id).limit(limit)).mappings()
    return tuple(dict(row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A finished stage run; instants are UTC text."""

    id: int
    market: str
    feeder: str
    kind: str
    first_period: str
    revision: int
    output_sha256: str


def find_run(connection: Connection, number: int) -> RunRow | None:
    """Return a stage run that is done, or None."""
    query = select(CYCLE_RUN).where(CYCLE_RUN.c.id == number, CYCLE_RUN.c.state == "done")
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else RunRow(**{name: row[name] for name in RunRow.__annotations__})


def orders_run(connection: Connection, run: RunRow, order_id: str) -> str | None:
    """Return whose an order of a clearing's day is, or None where the day has no such order.

    Orders are kept with the stage that made the day's book.
    """
    book = select(MARKET_ORDER.c.participant).join(
        CYCLE_RUN, CYCLE_RUN.c.id == MARKET_ORDER.c.run_id
    )
    query = book.where(
        MARKET_ORDER.c.order_id == order_id,
        CYCLE_RUN.c.market == run.market,
        CYCLE_RUN.c.feeder == run.feeder,
        CYCLE_RUN.c.first_period <= run.first_period,
    ).order_by(CYCLE_RUN.c.first_period.desc())
    found = connection.execute(query.limit(1)).scalar()
    return None if found is None else str(found)


CYCLE_COLUMNS: Final = (
    "id", "market", "feeder", "cycle", "first_period", "revision", "day", "due_at", "state",
    "light", "remark", "attempt", "finished_at",
)  # fmt: skip


def page_cycles(
    connection: Connection, *, state: str | None, after: int, limit: int
) -> tuple[dict[str, Any], ...]:
    """Return cycles by number, whatever has become of them."""
    query = select(*(DUE_CYCLE.c[name] for name in CYCLE_COLUMNS)).where(DUE_CYCLE.c.id > after)
    if state is not None:
        query = query.where(DUE_CYCLE.c.state == state)
    rows = connection.execute(query.order_by(DUE_CYCLE.c.id).limit(limit)).mappings()
    return tuple(dict(row) for row in rows)


def latest_cycles(connection: Connection, *, limit: int) -> tuple[dict[str, Any], ...]:
    """Return the newest finished cycles with their lights and fallbacks, newest first."""
    query = select(DUE_CYCLE).where(DUE_CYCLE.c.state == "done").order_by(DUE_CYCLE.c.id.desc())
    rows = [dict(row) for row in connection.execute(query.limit(limit)).mappings()]
    for row in rows:
        names = select(FALLBACK.c.name).where(FALLBACK.c.due_id == row["id"])
        row["fallbacks"] = list(connection.execute(names.order_by(FALLBACK.c.number)).scalars())
    return tuple(rows)


def _newest_forecasts(start: str, end: str, feeder: str | None) -> Subquery:
    """Return the number of the newest run that forecasts each series of a feeder and period."""
    query = (
        select(
            CYCLE_RUN.c.feeder,
            FORECAST.c.series,
            FORECAST.c.period_start,
            func.max(FORECAST.c.run_id).label("run_id"),
        )
        .join(CYCLE_RUN, CYCLE_RUN.c.id == FORECAST.c.run_id)
        .where(FORECAST.c.period_start >= start, FORECAST.c.period_start < end)
    )
    if feeder is not None:
        query = query.where(CYCLE_RUN.c.feeder == feeder)
    return query.group_by(CYCLE_RUN.c.feeder, FORECAST.c.series, FORECAST.c.period_start).subquery()


def _is_newest(newest: Subquery) -> ColumnElement[bool]:
    return and_(
        newest.c.run_id == FORECAST.c.run_id,
        newest.c.series == FORECAST.c.series,
        newest.c.period_start == FORECAST.c.period_start,
    )


def forecast_sums_w(
    connection: Connection, prefix: str, *, start: str, end: str, feeder: str | None = None
) -> tuple[tuple[str, int, int], ...]:
    """Return (period, level in permille, sum of power [W]) of a kind of series, newest forecasts.

    Sums of medians are exact in expectation only for symmetric errors; other levels are sums of
    levels, which is what would happen if all errors went together.
    """
    newest = _newest_forecasts(start, end, feeder)
    query = (
        select(FORECAST.c.period_start, FORECAST.c.level_permille, func.sum(FORECAST.c.power_w))
        .join(newest, _is_newest(newest))
        .where(FORECAST.c.series.startswith(prefix, autoescape=True))
        .group_by(FORECAST.c.period_start, FORECAST.c.level_permille)
        .order_by(FORECAST.c.period_start, FORECAST.c.level_permille)
    )
    return tuple((row[0], int(row[1]), int(row[2])) for row in connection.execute(query))


def forecast_of_series(
    connection: Connection, feeder: str, series: Sequence[str], *, start: str, end: str
) -> tuple[dict[str, Any], ...]:
    """Return the newest forecast of some series of a feeder, by series, period and level [W]."""
    newest = _newest_forecasts(start, end, feeder)
    query = (
        select(FORECAST)
        .join(newest, _is_newest(newest))
        .where(FORECAST.c.series.in_(series))
        .order_by(FORECAST.c.series, FORECAST.c.period_start, FORECAST.c.level_permille)
    )
    return tuple(dict(row) for row in connection.execute(query).mappings())


def public_trades(
    connection: Connection, *, start: str, end: str, participants_min: int
) -> tuple[dict[str, Any], ...]:
    """Return traded energy and price range of each period in which enough parties traded.

    A period with fewer participants than ``participants_min`` is left out: nobody's trade can be
    told from the sum.
    """
    parties = func.count(TRADE.c.participant.distinct())
    query = (
        select(
            TRADE.c.period_start,
            func.sum(func.abs(TRADE.c.energy_wh)).label("traded_wh"),
            func.min(TRADE.c.price_micro_eur_per_mwh).label("lowest"),
            func.max(TRADE.c.price_micro_eur_per_mwh).label("highest"),
        )
        .where(TRADE.c.period_start >= start, TRADE.c.period_start < end)
        .group_by(TRADE.c.period_start)
        .having(parties >= participants_min)
        .order_by(TRADE.c.period_start)
    )
    return tuple(
        {
            "period_start": row.period_start,
            "traded_wh": int(row.traded_wh),
            "price_micro_eur_per_mwh_min": int(row.lowest),
            "price_micro_eur_per_mwh_max": int(row.highest),
        }
        for row in connection.execute(query)
    )


def public_book(
    connection: Connection, day: str, *, participants_min: int
) -> tuple[dict[str, Any], ...]:
    """Return counts of the closed day-ahead books of a day with enough parties in them."""
    order, book = BOOK_ORDER.c, ORDER_BOOK.c
    parties = func.count(order.participant.distinct())
    query = (
        select(order.feeder, func.count().label("orders"), parties.label("parties"))
        .join(ORDER_BOOK, and_(book.feeder == order.feeder, book.day == order.day))
        .where(
            order.day == day,
            order.state == "booked",
            order.market == "day_ahead",
            book.closed_at.is_not(None),
        )
        .group_by(order.feeder)
        .having(parties >= participants_min)
        .order_by(order.feeder)
    )
    return tuple(dict(row) for row in connection.execute(query).mappings())
