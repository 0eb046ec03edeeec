"""What came out: trades, prices with their parts, forecasts, statements, runs, the grid's state."""

from __future__ import annotations

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query

from data.errors import Problem
from data.periods import format_utc
from dso.api.market import Market
from dso.api.models import Bus, Instant, Name, Page
from dso.api.paging import (
    LARGEST,
    Cursor,
    Limit,
    page_by_number,
    read_cursor,
    read_number,
    write_cursor,
)
from dso.api.problems import Refusal, problem_responses
from dso.api.rights import (
    AsAnybody,
    AsGridReader,
    AsReader,
    InMarket,
    anonymous,
    own_only,
)
from dso.store.market_reads import (
    forecast_sums_w,
    key_of,
    latest_cycles,
    page_results,
    page_runs,
    public_trades,
)

router: Final = APIRouter(tags=["results"])
READ: Final = (401, 403, 422, 429)
KEYS: Final[dict[str, tuple[type, ...]]] = {
    "trade": (int, str, str),
    "price": (int, int, str),
    "forecast": (int, str, str, int),
    "settlement_line": (int, int),
}
# Below this many participants in a period a sum would tell what one of them did.
PARTICIPANTS_MIN: Final = 3
SPAN_MAX: Final = timedelta(days=31)
CYCLES_SHOWN: Final = 20
PAGE_OF_LIGHTS: Final = 200
MEDIAN_PERMILLE: Final = 500
From = Annotated[Instant | None, Query(alias="from", description="first period, with offset")]
To = Annotated[Instant | None, Query(description="end (exclusive), with offset")]


def _page(
    market: Market,
    name: str,
    where: dict[str, object],
    span: tuple[datetime | None, datetime | None],
    cursor: str | None,
    limit: int,
) -> Page:
    start, end = (None if at is None else format_utc(at) for at in span)
    after = read_cursor(cursor, KEYS[name])
    with market.services.store.transaction() as connection:
        rows = page_results(
            connection, name, where=where, start=start, end=end, after=after, limit=limit
        )
    following = write_cursor(key_of(name, rows[-1])) if len(rows) == limit else None
    return Page(items=list(rows), next=following)


def _trades(
    market: InMarket,
    caller: AsReader,
    start: From = None,
    to: To = None,
    order_id: Annotated[Name | None, Query()] = None,
    run: Annotated[int | None, Query(ge=1, le=LARGEST)] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page:
    """Return own trades with the pool [Wh, micro-EUR/MWh]; operator and auditors see all."""
    where: dict[str, object] = {
        "participant": own_only(caller),
        "order_id": order_id,
        "run_id": run,
    }
    return _page(market, "trade", where, (start, to), cursor, limit)


for path in ("/trades", "/trades/history"):
    router.add_api_route(
        path, _trades, methods=["GET"], response_model=Page, responses=problem_responses(*READ),
        name=path.strip("/").replace("/", "_"), summary="Own trades with the pool",
    )  # fmt: skip


@router.get("/prices", responses=problem_responses(*READ), summary="Prices with their parts")
def read_prices(
    market: InMarket,
    _caller: AsAnybody,
    start: From = None,
    to: To = None,
    bus: Annotated[Bus | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page:
    """Return prices by run, bus and period: energy, loss, congestion, voltage [micro-EUR/MWh]."""
    return _page(market, "price", {"bus": bus}, (start, to), cursor, limit)


@router.get("/statements", responses=problem_responses(*READ), summary="Own settlement lines")
def read_statements(
    market: InMarket,
    caller: AsReader,
    start: From = None,
    to: To = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page:
    """Return settlement lines [micro-EUR]; operator and auditors see all."""
    where: dict[str, object] = {"participant": own_only(caller)}
    return _page(market, "settlement_line", where, (start, to), cursor, limit)


@router.get("/forecasts", responses=problem_responses(*READ), summary="Forecasts by series")
def read_forecasts(
    market: InMarket,
    _caller: AsGridReader,
    start: From = None,
    to: To = None,
    series: Annotated[Name | None, Query(examples=["load:3"])] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page:
    """Return levels of the forecast power [W]."""
    return _page(market, "forecast", {"series": series}, (start, to), cursor, limit)


@router.get("/runs", responses=problem_responses(*READ), summary="Finished runs and their digests")
def read_runs(
    market: InMarket,
    _caller: AsAnybody,
    kind: Annotated[Name | None, Query(examples=["day_ahead"])] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page:
    """Return runs by number."""
    after = read_number(cursor)
    with market.services.store.transaction() as connection:
        rows = page_runs(connection, kind=kind, after=after, limit=limit)
    return page_by_number([(row["id"], row) for row in rows], limit)


def check_span(start: datetime, to: datetime) -> tuple[str, str]:
    """Return a span as UTC text; raises `Refusal` 422 where it is empty or too long."""
    if not start < to <= start + SPAN_MAX:
        problem = Problem(where="to", what=f"must be after from by at most {SPAN_MAX.days} days")
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, [problem])
    return format_utc(start), format_utc(to)


Start = Annotated[Instant, Query(alias="from", examples=["2026-11-22T00:00:00Z"])]
End = Annotated[Instant, Query(examples=["2026-11-23T00:00:00Z"])]
OfFeeder = Annotated[Name | None, Query(description="One feeder; else all together")]


def _sums(
    market: Market, prefix: str, span: tuple[str, str], feeder: str | None
) -> dict[tuple[str, int], int]:
    with market.services.store.transaction() as connection:
        rows = forecast_sums_w(connection, prefix, start=span[0], end=span[1], feeder=feeder)
    return {(period, level): power for period, level, power in rows}


def _sum_page(sums: dict[tuple[str, int], int]) -> Page:
    items = [
        {"period_start": period, "level_permille": level, "power_w": power}
        for (period, level), power in sorted(sums.items())
    ]
    return Page(items=items, next=None)


@router.get(
    "/grid/demand", responses=problem_responses(*READ), summary="Forecast demand of the grid"
)
def grid_demand(
    market: InMarket, _caller: AsAnybody, start: Start, to: End, feeder: OfFeeder = None
) -> Page:
    """Return the summed forecast of all loads [W]."""
    return _sum_page(_sums(market, "load:", check_span(start, to), feeder))


@router.get(
    "/grid/supply", responses=problem_responses(*READ), summary="Forecast supply in the grid"
)
def grid_supply(
    market: InMarket, _caller: AsAnybody, start: Start, to: End, feeder: OfFeeder = None
) -> Page:
    """Return the summed forecast of all generators [W]."""
    return _sum_page(_sums(market, "sgen:", check_span(start, to), feeder))


@router.get(
    "/grid/balance", responses=problem_responses(*READ), summary="Forecast supply less demand"
)
def grid_balance(
    market: InMarket, _caller: AsAnybody, start: Start, to: End, feeder: OfFeeder = None
) -> Page:
    """Return median supply less median demand [W]; negative: the grid imports."""
    span = check_span(start, to)
    supply, demand = (_sums(market, kind, span, feeder) for kind in ("sgen:", "load:"))
    both = sorted({key for key in (*supply, *demand) if key[1] == MEDIAN_PERMILLE})
    return _sum_page({key: supply.get(key, 0) - demand.get(key, 0) for key in both})


@router.get(
    "/grid/status", responses=problem_responses(*READ), summary="Newest cycles and their lights"
)
def grid_status(market: InMarket, _caller: AsAnybody) -> Page:
    """Return the traffic light of the newest cycles, newest first, with their fallbacks."""
    with market.services.store.transaction() as connection:
        rows = latest_cycles(connection, limit=CYCLES_SHOWN)
    names = ("feeder", "cycle", "first_period", "light", "fallbacks", "finished_at")
    return Page(items=[{name: row[name] for name in names} for row in rows], next=None)


@router.get(
    "/grid/stability",
    responses=problem_responses(*READ),
    summary="How often the newest cycles were green, yellow, orange, red",
)
def grid_stability(market: InMarket, _caller: AsAnybody) -> Page:
    """Return counts of lights among the newest cycles of each feeder."""
    with market.services.store.transaction() as connection:
        rows = latest_cycles(connection, limit=PAGE_OF_LIGHTS)
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        place = (row["feeder"], row["light"] or "none")
        counts[place] = counts.get(place, 0) + 1
    items: list[dict[str, Any]] = [
        {"feeder": feeder, "light": light, "cycles": count}
        for (feeder, light), count in sorted(counts.items())
    ]
    return Page(items=items, next=None)


@router.get(
    "/public/trades",
    dependencies=[Depends(anonymous)],
    responses=problem_responses(422, 429),
    summary="Traded energy and price range by period, for everybody",
)
def read_public_trades(market: InMarket, start: Start, to: End) -> Page:
    """Return periods in which at least three parties traded [Wh, micro-EUR/MWh]."""
    span = check_span(start, to)
    with market.services.store.transaction() as connection:
        rows = public_trades(
            connection, start=span[0], end=span[1], participants_min=PARTICIPANTS_MIN
        )
    return Page(items=list(rows), next=None)
