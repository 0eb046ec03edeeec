"""Results of the market for whoever asks, by page: rows in an order that never changes.

A page goes on behind the last row's key. Keys begin with the number of the stage run, and a run's
rows are written once, so nothing enters in the middle of what was read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Table, func, select, tuple_

from dso.store.tables import (
    AWARD,
    CYCLE_RUN,
    DUE_CYCLE,
    FALLBACK,
    FORECAST,
    MARKET_ORDER,
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


def latest_cycles(connection: Connection, *, limit: int) -> tuple[dict[str, Any], ...]:
    """Return the newest finished cycles with their lights and fallbacks, newest first."""
    query = select(DUE_CYCLE).where(DUE_CYCLE.c.state == "done").order_by(DUE_CYCLE.c.id.desc())
    rows = [dict(row) for row in connection.execute(query.limit(limit)).mappings()]
    for row in rows:
        names = select(FALLBACK.c.name).where(FALLBACK.c.due_id == row["id"])
        row["fallbacks"] = list(connection.execute(names.order_by(FALLBACK.c.number)).scalars())
    return tuple(rows)


def forecast_sums_w(
    connection: Connection, prefix: str, *, start: str, end: str
) -> tuple[tuple[str, int, int], ...]:
    """Return (period, level in permille, sum of power [W]) of a kind of series, newest forecast.

    Sums of medians are exact in expectation only for symmetric errors; other levels are sums of
    levels, which is what would happen if all errors went together.
    """
    newest = select(func.max(FORECAST.c.run_id)).scalar_subquery()
    query = (
        select(FORECAST.c.period_start, FORECAST.c.level_permille, func.sum(FORECAST.c.power_w))
        .where(
            FORECAST.c.run_id == newest,
            FORECAST.c.series.startswith(prefix, autoescape=True),
            FORECAST.c.period_start >= start,
            FORECAST.c.period_start < end,
        )
        .group_by(FORECAST.c.period_start, FORECAST.c.level_permille)
        .order_by(FORECAST.c.period_start, FORECAST.c.level_permille)
    )
    return tuple((row[0], int(row[1]), int(row[2])) for row in connection.execute(query))


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
