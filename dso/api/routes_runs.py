"""Runs: cycles asked for and their states; why prices and orders are as they are; the grid."""

from __future__ import annotations

import csv
import json
from http import HTTPStatus
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response

from data.errors import Problem
from data.periods import format_utc
from data.results import SUMMARY_FILE
from dso.api.models import Bus, CycleAnswer, CycleRequest, Explanation, Instant, Page
from dso.api.once import WRITE, RawBody, once
from dso.api.paging import LARGEST, Cursor, Limit, page_by_number, read_number
from dso.api.problems import Refusal, not_found, problem_responses
from dso.api.rights import (
    AsAnybody,
    AsGridReader,
    AsOperator,
    AsReader,
    InMarket,
    RequestKey,
    own_only,
)
from dso.api.routes_orders import OrderId
from dso.api.run_files import NoSuchRun, PublishedRuns, clearing_folder, clearing_of
from dso.store.access import add_actions
from dso.store.due import find_state, insert_due
from dso.store.market_reads import RunRow, orders_run, page_cycles

if TYPE_CHECKING:
    from datetime import datetime

    from dso.api.market import Market
    from dso.store import Connection, DueCycle
    from opf.explanations.published import Published

router: Final = APIRouter(tags=["runs"])
RUNS: Final = PublishedRuns()
RunNumber = Annotated[int, Path(alias="run", ge=1, le=LARGEST)]
READ_RUN: Final = (401, 403, 404, 409, 422, 429)
SEES_ORDERS: Final = ("operator", "auditor", "planner")


def _ask_for_cycle(
    market: InMarket,
    caller: AsOperator,
    request: Request,
    body: RawBody,
    wanted: CycleRequest,
    key: RequestKey = None,
) -> Response:
    """Insert a cycle of a delivery day into the queue; workers perform it in its lane's order."""
    cycles = market.calendar.timetable(wanted.feeder, wanted.delivery_day)
    fitting = [each for each in cycles if each.cycle == wanted.cycle]
    if wanted.first_period is not None:
        fitting = [each for each in fitting if each.first_period == wanted.first_period]
    if len(fitting) != 1:
        remedy = "state first_period, the start of its first period" if fitting else ""
        what = f"the day has {len(fitting)} such cycles"
        problem = Problem(where="cycle", what=what, remedy=remedy)
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, [problem])
    due = fitting[0]

    def work(connection: Connection, at: datetime) -> tuple[int, str]:
        if due.due_at > at:
            what = f"is due at {format_utc(due.due_at)}, and that is still to come"
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, [Problem(where="cycle", what=what)])
        new = insert_due(connection, [due])
        done = [("request", f"cycle {due}", wanted.reason)]
        add_actions(connection, done, actor=caller.party, role=caller.role, at=at)
        status = HTTPStatus.CREATED if new else HTTPStatus.OK
        return status, _cycle_answer(connection, due).model_dump_json()

    return once(market, caller, request, body, key, work)


def _cycle_answer(connection: Connection, due: DueCycle) -> CycleAnswer:
    return CycleAnswer.model_validate(find_state(connection, due))


for path in ("/runs", "/grid/balance"):
    router.add_api_route(
        path, _ask_for_cycle, methods=["POST"], status_code=HTTPStatus.CREATED,
        response_model=CycleAnswer,
        responses={200: {"model": CycleAnswer, "description": "It stood in the queue before"},
                   **problem_responses(*WRITE)},
        name=f"request_{path.strip('/').replace('/', '_')}",
        summary="Ask for a cycle: it goes through the queue like every other",
    )  # fmt: skip


@router.get(
    "/cycles",
    responses=problem_responses(401, 403, 422, 429),
    summary="Cycles by number: due, at work, done, and what they rest on",
)
def list_cycles(
    market: InMarket,
    _caller: AsGridReader,
    state: Annotated[str | None, Query(pattern="^(due|leased|held|done|skipped|failed)$")] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page:
    """Return cycles with state, light and remark."""
    after = read_number(cursor)
    with market.services.store.transaction() as connection:
        rows = page_cycles(connection, state=state, after=after, limit=limit)
    return page_by_number([(row["id"], row) for row in rows], limit)


def _open_run(market: Market, number: int) -> RunRow:
    try:
        with market.services.store.transaction() as connection:
            return clearing_of(connection, number)
    except NoSuchRun as error:
        raise not_found(f"run {number}") from error


@router.get(
    "/runs/{run}/orders/{order_id}/explanation",
    responses=problem_responses(*READ_RUN),
    summary="Why an order was accepted or not, and what would have been",
)
def explain_order(
    market: InMarket, caller: AsReader, number: RunNumber, order_id: OrderId
) -> Explanation:
    """Explain an order of one's own: share, price with parts, binding limit, threshold, size."""
    run = _open_run(market, number)
    with market.services.store.transaction() as connection:
        owner = orders_run(connection, run, order_id)
    if owner is None or own_only(caller) not in (None, owner):
        raise not_found(f"order {order_id}")
    with RUNS.opened(run, lambda: clearing_folder(market, run)) as published:
        from dso.explain.answer import answer_order

        if order_id not in {order.id for order in published.case.orders}:
            raise not_found(f"order {order_id}")
        return _explanation(answer_order(published, order_id).json())


@router.get(
    "/runs/{run}/prices/explanation",
    responses=problem_responses(*READ_RUN),
    summary="Why a price is what it is: its parts by limit",
)
def explain_price(
    market: InMarket,
    caller: AsAnybody,
    number: RunNumber,
    bus: Annotated[Bus, Query()],
    period_start: Annotated[Instant, Query(examples=["2026-11-23T12:00:00Z"])],
) -> Explanation:
    """Explain the price of a bus in a period; orders of others are not named to participants."""
    run = _open_run(market, number)
    with RUNS.opened(run, lambda: clearing_folder(market, run)) as published:
        from dso.explain.answer import answer_price

        period = _place_of_price(published, bus, period_start)
        named = caller.role in SEES_ORDERS
        return _explanation(answer_price(published, bus, period, names_orders=named).json())


def _place_of_price(published: Published, bus: int, start: datetime) -> int:
    """Return the number of a period; raises `Refusal` 422 for what the clearing does not have."""
    starts, buses = list(published.case.periods.starts), published.case.network.buses
    problems = []
    if start not in starts:
        first, last = format_utc(starts[0]), format_utc(starts[-1])
        remedy = f"a start from {first} to {last}"
        problems.append(
            Problem(where="period_start", what="is no period of the run", remedy=remedy)
        )
    if bus not in buses.index[buses.in_service]:
        problems.append(Problem(where="bus", what="is no bus in service"))
    if published.result.status == "infeasible":
        problems.append(Problem(where="run", what="is infeasible and has no prices"))
    if problems:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, problems)
    return starts.index(start)


@router.get(
    "/runs/{run}/explanation",
    responses=problem_responses(*READ_RUN),
    summary="What a clearing could not do, by how much, and what could have helped",
)
def explain_run(market: InMarket, _caller: AsGridReader, number: RunNumber) -> Explanation:
    """Explain the status of a clearing."""
    run = _open_run(market, number)
    with RUNS.opened(run, lambda: clearing_folder(market, run)) as published:
        from dso.explain.answer import answer_status

        return _explanation(answer_status(published).json())


def _explanation(text: str) -> Explanation:
    said = json.loads(text)
    named = {name: said.pop(name) for name in ("schema", "sentences", "notes", "kind", "run")}
    return Explanation(format=named.pop("schema"), details=said, **named)


@router.get(
    "/runs/{run}/grid",
    responses=problem_responses(*READ_RUN),
    summary="Voltages and loadings of a period, as cleared",
)
def read_run_grid(
    market: InMarket,
    _caller: AsGridReader,
    number: RunNumber,
    period_start: Annotated[Instant, Query(examples=["2026-11-23T12:00:00Z"])],
) -> Page:
    """Return every bus [pu] and branch [MW, %] of one period."""
    folder = clearing_folder(market, _open_run(market, number))
    label = format_utc(period_start)
    buses = _rows(folder / "buses.csv", label, ("bus", "vm_pu"))
    branches = _rows(
        folder / "branches.csv", label, ("element_kind", "element", "p_from_mw", "loading_percent")
    )
    if not buses:
        problem = Problem(where="period_start", what="is no period of the run")
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, [problem])
    return Page(items=[*buses, *branches], next=None)


@router.get(
    "/runs/{run}/limits",
    responses=problem_responses(*READ_RUN),
    summary="Status of a clearing, its violations and the largest loading and voltages",
)
def read_run_limits(market: InMarket, _caller: AsGridReader, number: RunNumber) -> Page:
    """Return one item: status, violations with MW short, and how near the grid came to limits."""
    folder = clearing_folder(market, _open_run(market, number))
    summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    loadings = _column(folder / "branches.csv", "loading_percent")
    voltages = _column(folder / "buses.csv", "vm_pu")
    item = {
        "status": summary["status"],
        "violations": summary["violations"],
        "loading_percent_max": max(loadings, default=None),
        "vm_pu_min": min(voltages, default=None),
        "vm_pu_max": max(voltages, default=None),
    }
    return Page(items=[item], next=None)


def _rows(path: FilePath, label: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return some columns of the rows of one period; numbers where they are numbers."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [
            {"period_start": label, **{name: _value(row[name]) for name in names}}
            for row in csv.DictReader(stream)
            if row["period_start"] == label
        ]


def _value(text: str) -> str | int | float | None:
    if not text:
        return None
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _column(path: FilePath, name: str) -> list[float]:
    with path.open(encoding="utf-8", newline="") as stream:
        return [float(row[name]) for row in csv.DictReader(stream) if row[name]]
