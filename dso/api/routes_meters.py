"""Meters: readings in, single or many; series out to whom they belong."""

from __future__ import annotations

import json
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response

from data.canonical import sha256_hex
from data.errors import Problem
from data.periods import format_utc
from dso.api.market import ConnectionPoint, Market, current, visible_point
from dso.api.models import (
    BulkReadings,
    Name,
    Page,
    ReadingAnswer,
    ReadingRequest,
)
from dso.api.once import RawBody, once
from dso.api.problems import Refusal, not_found, problem_responses
from dso.api.rights import AsMeterData, AsReader, InMarket, RequestKey, own_only
from dso.api.routes_orders import CSV_MEDIA_TYPE, csv_rows
from dso.api.routes_results import READ, End, Start, check_span
from dso.api.tokens import Caller
from dso.store.access import add_actions
from dso.store.book import market_now
from dso.store.readings import MeterReading, latest_revisions, read_readings
from dso.store.settle_again import take_in_readings

if TYPE_CHECKING:
    from dso.store import Connection

router: Final = APIRouter(tags=["meters"])
VALUES: Final = (
    "period_minutes", "import_wh", "export_wh", "import_varh", "export_varh", "voltage_mv",
    "frequency_mhz", "quality",
)  # fmt: skip
Point = Annotated[Name, Path(alias="connection_point")]
AskedPoint = Annotated[Name, Query(alias="connection_point")]


@router.post(
    "/meters/reading",
    status_code=HTTPStatus.CREATED,
    response_model=ReadingAnswer,
    responses=problem_responses(400, 401, 403, 409, 413, 422, 429),
    summary="Hand in one reading or many, as JSON or CSV; all are taken or none",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"anyOf": [
                    {"$ref": "#/components/schemas/BulkReadings"},
                    {"$ref": "#/components/schemas/ReadingRequest"},
                ]}},
                CSV_MEDIA_TYPE: {"schema": {"type": "string"}, "example": (
                    "connection_point,period_start,import_wh,export_wh\n"
                    "cp-17,2026-11-22T12:00:00Z,0,3500\n"
                )},
            },
        }
    },
)  # fmt: skip
def take_readings(
    market: InMarket,
    caller: AsMeterData,
    request: Request,
    body: RawBody,
    key: RequestKey = None,
) -> Response:
    """Take readings; another value for a known period is a new revision, the same is known."""
    if request.headers.get("content-type", "").startswith(CSV_MEDIA_TYPE):
        rows = [{name: text for name, text in row.items() if text} for row in csv_rows(body)]
        readings = BulkReadings.model_validate({"readings": rows}).readings
    else:
        readings = _json_readings(body)

    def work(connection: Connection, at: datetime) -> tuple[int, str]:
        answer = _keep(connection, market, caller, readings, at)
        what = [("read", f"readings {answer.accepted} sha256 {sha256_hex(body)}", "")]
        add_actions(connection, what, actor=caller.party, role=caller.role, at=at)
        return HTTPStatus.CREATED, answer.model_dump_json()

    return once(market, caller, request, body, key, work)


def _json_readings(body: bytes) -> list[ReadingRequest]:
    """Return the readings of a JSON request: one bare reading, or many under ``readings``."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict) and "connection_point" in said:
        return [ReadingRequest.model_validate_json(body)]
    return BulkReadings.model_validate_json(body).readings


def _keep(
    connection: Connection,
    market: Market,
    caller: Caller,
    readings: list[ReadingRequest],
    at: datetime,
) -> ReadingAnswer:
    problems = []
    if len(readings) > market.limits.items_max:
        problems.append(Problem(where="readings", what=f"are more than {market.limits.items_max}"))
    seen: set[tuple[str, datetime]] = set()
    points: dict[str, bool] = {}
    for place, reading in enumerate(readings):
        where = f"readings[{place}]"
        name = reading.connection_point
        if name not in points:
            points[name] = current(connection, ConnectionPoint, name, at) is not None
        if not points[name]:
            problems.append(Problem(where=f"{where}.connection_point", what="is unknown"))
        if (name, reading.period_start) in seen:
            problems.append(Problem(where=where, what="states a period twice"))
        seen.add((name, reading.period_start))
        if reading.period_start.timestamp() % (reading.period_minutes * 60):
            problems.append(Problem(where=f"{where}.period_start", what="begins no period"))
        if reading.period_start > at:
            problems.append(Problem(where=f"{where}.period_start", what="is in the future"))
    if problems:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, problems)
    known = latest_revisions(
        connection, [(r.connection_point, format_utc(r.period_start)) for r in readings]
    )
    fresh = []
    for reading in readings:
        last = known.get((reading.connection_point, format_utc(reading.period_start)))
        values = {name: getattr(reading, name) for name in VALUES}
        if last is not None and values == {name: getattr(last, name) for name in VALUES}:
            continue
        fresh.append(
            MeterReading(
                connection_point=reading.connection_point,
                period_start=format_utc(reading.period_start),
                revision=0 if last is None else last.revision + 1,
                known_at=format_utc(at),
                **values,
            )
        )
    take_in_readings(connection, fresh, at=at)  # what was settled without them is settled again
    del caller
    return ReadingAnswer(accepted=len(fresh), known=len(readings) - len(fresh))


def _series(
    market: Market, caller: Caller, name: str, span: tuple[datetime, datetime]
) -> tuple[MeterReading, ...]:
    check_span(*span)
    with market.services.store.transaction() as connection:
        at = market_now(connection)
        if visible_point(connection, name, own_only(caller), at) is None:
            raise not_found(f"meter {name}")
        return read_readings(connection, [name], start=span[0], end=span[1], known_at=at)


@router.get(
    "/meters/{connection_point}/history",
    responses=problem_responses(*READ, 404),
    summary="All registers of a connection",
)
def read_history(market: InMarket, caller: AsReader, name: Point, start: Start, to: End) -> Page:
    """Return the newest revision of each period [Wh, varh, mV, mHz]."""
    rows = _series(market, caller, name, (start, to))
    return Page(items=[_plain(row) for row in rows], next=None)


@router.get(
    "/meters/{connection_point}/production",
    responses=problem_responses(*READ, 404),
    summary="Energy given to the grid",
)
def read_production(market: InMarket, caller: AsReader, name: Point, start: Start, to: End) -> Page:
    """Return energy out of a connection by period [Wh]."""
    return _register(market, caller, name, (start, to), "export_wh")


@router.get(
    "/meters/{connection_point}/consumption",
    responses=problem_responses(*READ, 404),
    summary="Energy taken from the grid",
)
def read_consumption(
    market: InMarket, caller: AsReader, name: Point, start: Start, to: End
) -> Page:
    """Return energy into a connection by period [Wh]."""
    return _register(market, caller, name, (start, to), "import_wh")


@router.get(
    "/production/history",
    responses=problem_responses(*READ, 404),
    summary="Production of a connection by period",
)
def production_history(
    market: InMarket, caller: AsReader, name: AskedPoint, start: Start, to: End
) -> Page:
    """Return energy out of a connection by period [Wh]."""
    return _register(market, caller, name, (start, to), "export_wh")


@router.get(
    "/production/current",
    responses=problem_responses(*READ, 404),
    summary="Newest production of a connection",
)
def production_current(
    market: InMarket, caller: AsReader, name: AskedPoint, start: Start, to: End
) -> Page:
    """Return the last period that was read in a span [Wh]."""
    items = _register(market, caller, name, (start, to), "export_wh").items
    return Page(items=items[-1:], next=None)


@router.get(
    "/production/analytics",
    responses=problem_responses(*READ, 404),
    summary="Sum, largest and missing periods of production",
)
def production_analytics(
    market: InMarket, caller: AsReader, name: AskedPoint, start: Start, to: End
) -> Page:
    """Return the sum of a span and its largest period [Wh]."""
    rows = _series(market, caller, name, (start, to))
    values = [row.export_wh for row in rows if row.export_wh is not None]
    item = {
        "periods_read": len(values),
        "sum_wh": sum(values),
        "largest_wh": max(values, default=None),
    }
    return Page(items=[item], next=None)


def _plain(row: MeterReading) -> dict[str, Any]:
    return {name: getattr(row, name) for name in MeterReading.__dataclass_fields__}


def _register(
    market: Market, caller: Caller, name: str, span: tuple[datetime, datetime], register: str
) -> Page:
    """Return one register of a connection by period [Wh]."""
    names = ("period_start", "period_minutes", register, "quality", "revision")
    rows = _series(market, caller, name, span)
    return Page(items=[{each: getattr(row, each) for each in names} for row in rows], next=None)
