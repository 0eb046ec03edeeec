"""Forecasts: what others hand in, checked and compared with ours; ours of one's own connection."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response

from data.canonical import canonical_json, sha256_hex
from data.errors import Problem
from data.periods import format_utc
from dso.api.market import Asset, books_ahead, traded_asset, visible_point
from dso.api.models import (
    ForecastAnswer,
    ForecastComparison,
    ForecastRequest,
    Name,
    Page,
    ReceivedForecastAnswer,
)
from dso.api.once import WRITE, RawBody, once
from dso.api.paging import LARGEST, Cursor, Limit, page_by_number, read_number
from dso.api.problems import Refusal, not_found, problem_responses
from dso.api.rights import AsForecaster, AsReader, InMarket, RequestKey, own_only
from dso.api.routes_results import READ, End, Start, check_span
from dso.store.access import add_actions
from dso.store.book import hold_gates, market_now
from dso.store.market_reads import forecast_of_series
from dso.store.received_forecasts import (
    NewForecast,
    ReceivedForecast,
    add_received_forecast,
    find_received_forecast,
    page_received_forecasts,
)
from dso.store.register import Register

if TYPE_CHECKING:
    from dso.api.market import Market
    from dso.api.tokens import Caller
    from dso.store import Connection

router: Final = APIRouter(tags=["forecasts"])
LEVELS: Final = (("q10_w", 100), ("q50_w", 500), ("q90_w", 900))
Number = Annotated[int, Path(ge=1, le=LARGEST)]


def _take_forecast(
    market: InMarket,
    caller: AsForecaster,
    request: Request,
    body: RawBody,
    forecast: ForecastRequest,
    key: RequestKey = None,
) -> Response:
    """Keep a forecast; values that the asset cannot reach are left out and counted."""

    def work(connection: Connection, at: datetime) -> tuple[int, str]:
        new = _checked(connection, market, caller, forecast, at)
        kept = add_received_forecast(connection, new)
        thing = f"forecast {kept.id} of {kept.asset} sha256 {kept.sha256}"
        done = [("forecast", thing, "")]
        add_actions(connection, done, actor=caller.party, role=caller.role, at=at)
        return HTTPStatus.CREATED, _answer(kept).model_dump_json()

    return once(market, caller, request, body, key, work)


for path in ("/forecasts", "/production/forecast"):
    router.add_api_route(
        path, _take_forecast, methods=["POST"], status_code=HTTPStatus.CREATED,
        response_model=ForecastAnswer, responses=problem_responses(*WRITE),
        name=f"take_{path.strip('/').replace('/', '_')}",
        summary="Hand in a forecast of an asset, with its source and issue time",
    )  # fmt: skip


def _checked(
    connection: Connection,
    market: Market,
    caller: Caller,
    forecast: ForecastRequest,
    at: datetime,
) -> NewForecast:
    """Return a forecast with what is plausible of it; raises `Refusal` with all problems.

    The books of its days are held, so that it precedes a gate if and only if its commit does.
    """
    party = None if caller.role == "operator" else caller.party
    found = traded_asset(connection, forecast.asset, party, at)
    kind = forecast.asset.partition("/")[2].partition(":")[0]
    if found is None or kind not in ("load", "sgen"):
        remedy = "name a load or generator that you may trade for"
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            [Problem(where="asset", what="is unknown", remedy=remedy)],
        )
    asset, point = found
    problems = _time_problems(forecast, at)
    for place, value in enumerate(forecast.values):
        stated = [getattr(value, name) for name, _ in LEVELS if getattr(value, name) is not None]
        if stated != sorted(stated):
            problems.append(Problem(where=f"values[{place}]", what="its quantiles cross"))
    if problems:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, problems)
    largest = asset.import_w_max if kind == "load" else asset.export_w_max
    plausible = [
        value
        for value in forecast.values
        if all(0 <= (getattr(value, name) or 0) <= largest for name, _ in LEVELS)
    ]
    starts = [value.period_start for value in forecast.values]
    received = hold_gates(connection, books_ahead(market, point.feeder, starts, at))
    said = forecast.model_dump(mode="json")
    content = {**said, "values": [value.model_dump(mode="json") for value in plausible]}
    return NewForecast(
        party=caller.party,
        source=forecast.source,
        asset=forecast.asset,
        issued_at=format_utc(forecast.issued_at),
        received_at=format_utc(received),
        sha256=sha256_hex(canonical_json(said)),
        periods=len(plausible),
        left_out=len(forecast.values) - len(plausible),
        content=canonical_json(content).decode(),
    )


def _time_problems(forecast: ForecastRequest, at: datetime) -> list[Problem]:
    problems = []
    if forecast.issued_at > at:
        problems.append(Problem(where="issued_at", what="is in the future"))
    seen: set[datetime] = set()
    for place, value in enumerate(forecast.values):
        where = f"values[{place}].period_start"
        if value.period_start in seen:
            problems.append(Problem(where=where, what="states a period twice"))
        seen.add(value.period_start)
        if value.period_start.timestamp() % (forecast.period_minutes * 60):
            problems.append(Problem(where=where, what="begins no period"))
        if value.period_start < forecast.issued_at:
            problems.append(Problem(where=where, what="begins before the forecast was issued"))
    return problems


def _answer(kept: ReceivedForecast) -> ForecastAnswer:
    plain = asdict(kept)
    return ForecastAnswer(**{name: plain[name] for name in ForecastAnswer.model_fields})


@router.get(
    "/forecasts/received",
    responses=problem_responses(*READ),
    summary="Forecasts that were handed in, by number, with source, issue time and digest",
)
def list_received(
    market: InMarket, caller: AsReader, cursor: Cursor = None, limit: Limit = 100
) -> Page:
    """Return own forecasts without their values; operator and auditors see all."""
    after = read_number(cursor)
    with market.services.store.transaction() as connection:
        rows = page_received_forecasts(connection, party=own_only(caller), after=after, limit=limit)
    return page_by_number([(row["id"], row) for row in rows], limit)


@router.get(
    "/forecasts/received/{number}",
    responses=problem_responses(*READ, 404),
    summary="A forecast that was handed in, beside ours",
)
def read_received(market: InMarket, caller: AsReader, number: Number) -> ReceivedForecastAnswer:
    """Return a forecast of one's own, its values and how they compare with ours."""
    with market.services.store.transaction() as connection:
        kept = find_received_forecast(connection, number)
        if kept is None or own_only(caller) not in (None, kept.party):
            raise not_found(f"forecast {number}")
        values: list[dict[str, Any]] = json.loads(kept.content)["values"]
        comparison = _compare(connection, kept, values)
    return ReceivedForecastAnswer(
        **_answer(kept).model_dump(), values=values, comparison=comparison
    )


def _compare(
    connection: Connection, kept: ReceivedForecast, values: list[dict[str, Any]]
) -> ForecastComparison | None:
    """Compare the medians with our newest forecast of the same periods; None without any."""
    feeder, _, series = kept.asset.partition("/")
    starts = sorted(value["period_start"] for value in values)
    ours: dict[str, dict[int, int]] = {}
    if starts:
        end = starts[-1][:-1] + "~"  # behind the last of them, whatever follows in text
        for row in forecast_of_series(connection, feeder, [series], start=starts[0], end=end):
            ours.setdefault(row["period_start"], {})[row["level_permille"]] = row["power_w"]
    both = [value for value in values if 500 in ours.get(value["period_start"], {})]
    if not both:
        return None
    apart = sum(
        not band.get(100, -1) <= value["q50_w"] <= band.get(900, 10**12)
        for value in both
        for band in [ours[value["period_start"]]]
    )
    difference = sum(abs(value["q50_w"] - ours[value["period_start"]][500]) for value in both)
    return ForecastComparison(
        periods=len(both),
        outside_our_band=apart,
        mean_difference_w=round(difference / len(both)),
    )


@router.get(
    "/production/forecast",
    responses=problem_responses(*READ, 404),
    summary="Our forecast of the generators behind a connection",
)
def production_forecast(
    market: InMarket,
    caller: AsReader,
    name: Annotated[Name, Query(alias="connection_point")],
    start: Start,
    to: End,
) -> Page:
    """Return power by generator, period and level [W] of the newest forecast."""
    return _forecast_behind(market, caller, name, (start, to), "sgen:")


def _forecast_behind(
    market: Market, caller: Caller, name: str, span: tuple[datetime, datetime], kind: str
) -> Page:
    start, end = check_span(*span)
    with market.services.store.transaction() as connection:
        at = market_now(connection)
        point = visible_point(connection, name, own_only(caller), at)
        if point is None:
            raise not_found(f"meter {name}")
        series = [
            asset.id.partition("/")[2]
            for asset in Register(Asset).in_force(connection, at=at, known_at=at)
            if asset.connection_point == name
        ]
        wanted = [each for each in series if each.startswith(kind)]
        rows = forecast_of_series(connection, point.feeder, wanted, start=start, end=end)
    names = ("series", "period_start", "level_permille", "power_w")
    return Page(items=[{each: row[each] for each in names} for row in rows], next=None)
