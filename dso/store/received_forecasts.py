"""Forecasts that others handed in: source, issue time and digest are kept with the values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, select

from data.periods import format_utc
from dso.store.bulk import insert_missing
from dso.store.tables import RECEIVED_FORECAST

# Names in one question to the database.
NAMES_MAX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class NewForecast:
    """A forecast as it enters; ``content`` is canonical JSON, instants are UTC text.

    ``periods`` counts the values that are kept, ``left_out`` those that were not plausible.
    """

    party: str
    source: str
    asset: str
    issued_at: str
    received_at: str
    sha256: str
    periods: int
    left_out: int
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedForecast(NewForecast):
    """A forecast as it is kept."""

    id: int


def add_received_forecast(connection: Connection, new: NewForecast) -> ReceivedForecast:
    """Keep a forecast in the caller's transaction; the same content again is the one of before."""
    insert_missing(connection, RECEIVED_FORECAST, [asdict(new)])
    table = RECEIVED_FORECAST.c
    query = select(RECEIVED_FORECAST).where(table.party == new.party, table.sha256 == new.sha256)
    return ReceivedForecast(**connection.execute(query).mappings().one())


def find_received_forecast(connection: Connection, number: int) -> ReceivedForecast | None:
    """Return a forecast, or None."""
    query = select(RECEIVED_FORECAST).where(RECEIVED_FORECAST.c.id == number)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else ReceivedForecast(**row)


def page_received_forecasts(
    connection: Connection, *, party: str | None, after: int, limit: int
) -> tuple[dict[str, Any], ...]:
    """Return forecasts by number without their values; of one party, or of all with None."""
    columns = [column for column in RECEIVED_FORECAST.columns if column.name != "content"]
    query = select(*columns).where(RECEIVED_FORECAST.c.id > after)
    if party is not None:
        query = query.where(RECEIVED_FORECAST.c.party == party)
    rows = connection.execute(query.order_by(RECEIVED_FORECAST.c.id).limit(limit)).mappings()
    return tuple(dict(row) for row in rows)


def newest_forecasts(
    connection: Connection, parties_of: Mapping[str, Collection[str]], *, gate: datetime
) -> dict[str, ReceivedForecast]:
    """Return of each asset the newest forecast of certain parties that a gate may use.

    Parameters
    ----------
    connection : Connection
        With a transaction begun.
    parties_of : mapping
        By asset, whose forecasts count.
    gate : datetime
        Neither issued nor received at the gate or later; UTC.

    Returns
    -------
    dict of asset to ReceivedForecast
        The one issued last, of two the one received last; assets without one are not in it.
    """
    table = RECEIVED_FORECAST.c
    assets: Sequence[str] = sorted(parties_of)
    found: dict[str, tuple[str, int]] = {}
    for first in range(0, len(assets), NAMES_MAX):
        query = select(table.id, table.asset, table.party, table.issued_at).where(
            table.asset.in_(assets[first : first + NAMES_MAX]),
            table.received_at < format_utc(gate),
            table.issued_at < format_utc(gate),
        )
        for number, asset, party, issued_at in connection.execute(query):
            if party in parties_of[asset]:
                found[asset] = max(found.get(asset, ("", 0)), (issued_at, number))
    kept: dict[str, ReceivedForecast] = {}
    numbers = sorted(number for _, number in found.values())
    for first in range(0, len(numbers), NAMES_MAX):
        query_all = select(RECEIVED_FORECAST).where(
            table.id.in_(numbers[first : first + NAMES_MAX])
        )
        for row in connection.execute(query_all).mappings():
            kept[row["asset"]] = ReceivedForecast(**row)
    return kept
