"""Orders: single, many, withdrawn, listed, exported. Nobody but the clearing executes them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from datetime import date, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from data.canonical import sha256_hex
from data.errors import Problem
from data.periods import format_utc
from dso.api.collateral import free_collateral
from dso.api.market import Market
from dso.api.models import (
    BulkAnswer,
    BulkOrders,
    CancelRequest,
    Day,
    OrderAnswer,
    OrderRequest,
    Page,
)
from dso.api.once import WRITE, RawBody, once
from dso.api.order_checks import Known, check_order
from dso.api.paging import Cursor, Limit, read_cursor, write_cursor
from dso.api.problems import Refusal, not_found, problem_responses
from dso.api.rights import AsParticipant, AsReader, AsRegulator, InMarket, RequestKey, own_only
from dso.api.tokens import Caller
from dso.store.access import actions_by_object, add_actions
from dso.store.book import (
    DAY_AHEAD,
    BookKey,
    BookOrder,
    NewOrder,
    NoSuchOrder,
    add_orders,
    cancel_order,
    find_order,
    page_orders,
)
from dso.store.market_reads import page_awards_of

if TYPE_CHECKING:
    from dso.store import Connection

router: Final = APIRouter(tags=["orders"])
CSV_MEDIA_TYPE: Final = "text/csv"
CSV_PLAIN: Final = ("asset", "delivery_day", "market", "kind")
OrderId = Annotated[str, Path(pattern=r"^[a-zA-Z0-9._:-]{1,100}$")]


def _hand_in(
    market: InMarket,
    caller: AsParticipant,
    request: Request,
    body: RawBody,
    order: OrderRequest,
    key: RequestKey = None,
) -> Response:
    """Take one order."""

    def work(connection: Connection, at: datetime) -> tuple[int, str]:
        taken = _take(connection, market, caller, [order], at)
        return HTTPStatus.CREATED, taken[0].model_dump_json()

    return once(market, caller, request, body, key, work)


for path in ("/orders", "/trades/offer"):
    router.add_api_route(
        path, _hand_in, methods=["POST"], status_code=HTTPStatus.CREATED,
        response_model=OrderAnswer, responses=problem_responses(*WRITE),
        name=f"hand_in_{path.strip('/').replace('/', '_')}",
        summary="Hand in an order; in the book if its commit precedes the gate",
    )  # fmt: skip


@router.post(
    "/orders/bulk",
    status_code=HTTPStatus.CREATED,
    response_model=BulkAnswer,
    responses=problem_responses(*WRITE),
    summary="Hand in many orders as JSON or CSV; all are taken or none",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/BulkOrders"}},
                CSV_MEDIA_TYPE: {"schema": {"type": "string"}, "example": (
                    "asset,delivery_day,kind,p_mw_max,price_eur_per_mwh\n"
                    "village/sgen:17,2026-11-23,generation,0.02,5\n"
                )},
            },
        }
    },
)  # fmt: skip
def hand_in_many(
    market: InMarket,
    caller: AsParticipant,
    request: Request,
    body: RawBody,
    key: RequestKey = None,
) -> Response:
    """Take many orders."""
    orders = read_bulk(request, body, market.limits.items_max)

    def work(connection: Connection, at: datetime) -> tuple[int, str]:
        taken = _take(connection, market, caller, orders, at)
        return HTTPStatus.CREATED, BulkAnswer(orders=taken).model_dump_json()

    return once(market, caller, request, body, key, work)


def read_bulk(request: Request, body: bytes, items_max: int) -> list[OrderRequest]:
    """Return the orders of a bulk request, JSON or CSV."""
    if request.headers.get("content-type", "").startswith(CSV_MEDIA_TYPE):
        orders = BulkOrders.model_validate({"orders": [_csv_order(row) for row in csv_rows(body)]})
    else:
        orders = BulkOrders.model_validate_json(body)
    if len(orders.orders) > items_max:
        problem = Problem(where="orders", what=f"are more than {items_max}")
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, [problem])
    return orders.orders


def csv_rows(body: bytes) -> list[dict[str, str]]:
    """Return the rows of a CSV request; raises `Refusal` 422 where it is none."""
    try:
        rows = list(csv.DictReader(io.StringIO(body.decode("utf-8")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        problem = Problem(where="body", what=f"is no CSV: {str(error)[:80]}")
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, [problem]) from error
    wrong = [
        Problem(where=f"row {number}", what="has another number of cells than the header")
        for number, row in enumerate(rows, start=2)
        if None in row or None in row.values()
    ]
    if wrong:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, wrong)
    return rows


def _csv_order(row: dict[str, str]) -> dict[str, Any]:
    terms = {name: _cell(text) for name, text in row.items() if name not in CSV_PLAIN and text}
    return {**{name: row[name] for name in CSV_PLAIN if row.get(name)}, "terms": terms}


def _cell(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _take(
    connection: Connection, market: Market, caller: Caller, orders: list[OrderRequest], at: datetime
) -> list[OrderAnswer]:
    """Check all, then write all; books in one order, so that no two writers wait crosswise."""
    problems: list[Problem] = []
    known: Known = {}
    books: dict[tuple[str, str], tuple[BookKey, list[tuple[int, NewOrder]]]] = {}
    for place, order in enumerate(orders):
        where = "order" if len(orders) == 1 else f"orders[{place}]"
        found = check_order(connection, market, caller, order, where=where, at=at, known=known)
        if isinstance(found, list):
            problems += found
            continue
        key, new = found
        books.setdefault((key.feeder, key.day), (key, []))[1].append((place, new))
    if not problems:
        problems = _uncovered(connection, caller, books.values(), at)
    if problems:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, problems)
    taken: dict[int, BookOrder] = {}
    gates: dict[int, datetime | None] = {}
    for _, (key, several) in sorted(books.items()):
        written = add_orders(connection, key, [new for _, new in several])
        for (place, _), order_written in zip(several, written, strict=True):
            taken[place], gates[place] = order_written, key.gate_of(order_written.market)
    what = [("submit", order_object(taken[place]), "") for place in sorted(taken)]
    add_actions(connection, what, actor=caller.party, role=caller.role, at=at)
    return [order_answer(taken[place], gates[place]) for place in sorted(taken)]


def _uncovered(
    connection: Connection,
    caller: Caller,
    books: Iterable[tuple[BookKey, list[tuple[int, NewOrder]]]],
    at: datetime,
) -> list[Problem]:
    """Return what the collateral of a party does not cover, where the rules ask for any."""
    asked = sum(new.exposure_micro_eur or 0 for _, several in books for _, new in several)
    if not asked:
        return []
    free = free_collateral(connection, caller.party, at).free_micro_eur
    if asked <= free:
        return []
    what = f"may cost up to {asked} micro-EUR, {free} micro-EUR of your collateral are free"
    return [Problem(where="collateral", what=what, remedy="raise the deposit or offer less")]


def order_object(order: BookOrder) -> str:
    """Return how the action log names an order: digest of its terms and its number included."""
    terms = sha256_hex(order.terms.encode())
    return f"order {order.feeder}/{order.day}/{order.number} {order.id} terms {terms}"


def order_answer(
    order: BookOrder, gate: datetime | None = None, awards: list[dict[str, Any]] | None = None
) -> OrderAnswer:
    """Return an order as its party sees it."""
    kept = json.loads(order.terms)
    return OrderAnswer(
        id=order.id,
        asset=kept.get("asset"),
        portfolio=kept.get("portfolio"),
        delivery_day=order.day,
        market=order.market,
        exposure_micro_eur=order.exposure_micro_eur,
        kind=kept["kind"],
        terms=kept["terms"],
        state=order.state,
        in_book=order.state == "booked",
        received_at=order.received_at,
        gate=None if gate is None else format_utc(gate),
        cancelled_at=order.cancelled_at,
        cancel_reason=order.cancel_reason,
        awards=awards,
    )


@router.get(
    "/orders",
    response_model=Page,
    responses=problem_responses(401, 403, 422, 429),
    summary="Own orders by day, feeder and number; the operator and auditors see all",
)
def list_orders(
    market: InMarket,
    caller: AsReader,
    state: Annotated[Literal["booked", "late", "cancelled"] | None, Query()] = None,
    day: Annotated[Day | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page:
    """Return a page of orders."""
    after = read_cursor(cursor, (str, str, int))
    with market.services.store.transaction() as connection:
        found = page_orders(
            connection,
            participant=own_only(caller),
            after=after,
            limit=limit,
            state=state,
            day=None if day is None else day.isoformat(),
        )
    return Page(
        items=[order_answer(each).model_dump() for each in found],
        next=_next_place(found, limit),
    )


def _next_place(found: tuple[BookOrder, ...], limit: int) -> str | None:
    last = found[-1] if len(found) == limit else None
    return None if last is None else write_cursor([last.day, last.feeder, last.number])


@router.get(
    "/orders/export",
    response_model=Page,
    responses=problem_responses(401, 403, 422, 429),
    summary="For a regulator: every order with number, times, actors, reasons, place in the log",
)
def export_orders(
    market: InMarket,
    caller: AsRegulator,
    day: Annotated[Day, Query()],
    cursor: Cursor = None,
    limit: Limit = 1000,
) -> Page:
    """Return orders of a day with the actions that the ledger's action log holds of them."""
    del caller
    after = read_cursor(cursor, (str, str, int))
    with market.services.store.transaction() as connection:
        found = page_orders(
            connection, participant=None, after=after,
            limit=limit, day=day.isoformat(),
        )  # fmt: skip
        actions = {
            place: action
            for feeder in sorted({order.feeder for order in found})
            for place, action in actions_by_object(
                connection, f"order {feeder}/{day.isoformat()}/"
            ).items()
        }
    items = []
    for order in found:
        mine = {
            verb: actions[verb, order_object(order)]
            for verb in ("submit", "cancel")
            if (verb, order_object(order)) in actions
        }
        items.append(
            {name: getattr(order, name) for name in BookOrder.__dataclass_fields__}
            | {
                "terms": json.loads(order.terms),
                "actions": {
                    verb: {"action": a.action, "at_utc": a.at_utc, "role": a.role,
                           "reason": a.reason, "batch_key": a.batch_key, "leaf": a.leaf}
                    for verb, a in mine.items()
                },
            }
        )  # fmt: skip
    return Page(items=items, next=_next_place(found, limit))


@router.get(
    "/trades/available",
    response_model=Page,
    responses=problem_responses(401, 403, 422, 429),
    summary="Own orders that stand in a book",
)
def list_standing_orders(
    market: InMarket, caller: AsReader, cursor: Cursor = None, limit: Limit = 100
) -> Page:
    """Return booked orders; what everybody may know of a book is under /public/book."""
    return list_orders(market, caller, state="booked", cursor=cursor, limit=limit)


@router.get(
    "/orders/{order_id}",
    response_model=OrderAnswer,
    responses=problem_responses(401, 403, 404, 422, 429),
    summary="One order, with what it was awarded",
)
def read_order(market: InMarket, caller: AsReader, order_id: OrderId) -> OrderAnswer:
    """Return an order of one's own."""
    with market.services.store.transaction() as connection:
        order = _visible(connection, caller, order_id)
        awards = page_awards_of(connection, own_only(caller), order_id)
    return order_answer(order, _gate(market, order), list(awards))


@router.post(
    "/orders/{order_id}/cancel",
    response_model=OrderAnswer,
    responses=problem_responses(*WRITE, 404),
    summary="Withdraw an order before the gate; after it 409",
)
def withdraw(
    market: InMarket,
    caller: AsParticipant,
    request: Request,
    body: RawBody,
    order_id: OrderId,
    why: CancelRequest,
    key: RequestKey = None,
) -> Response:
    """Withdraw an order of one's own."""

    def key_of(feeder: str, day: str) -> BookKey:
        delivery_day = date.fromisoformat(day)
        return market.calendar.trading_day(feeder, delivery_day).book(feeder, delivery_day)

    def work(connection: Connection, at: datetime) -> tuple[int, str]:
        _visible(connection, caller, order_id)
        order, changed = cancel_order(
            connection, order_id, actor=caller.client, reason=why.reason, key_of=key_of
        )
        if not changed:
            what = "is withdrawn already" if order.state == "cancelled" else "the gate is passed"
            problem = Problem(where=f"order {order_id}", what=what)
            raise Refusal(HTTPStatus.CONFLICT, [problem])
        done = [("cancel", order_object(order), why.reason)]
        add_actions(connection, done, actor=caller.party, role=caller.role, at=at)
        return HTTPStatus.OK, order_answer(order, _gate(market, order)).model_dump_json()

    return once(market, caller, request, body, key, work)


def _visible(connection: Connection, caller: Caller, order_id: str) -> BookOrder:
    try:
        order = find_order(connection, order_id)
    except NoSuchOrder as error:
        raise not_found(f"order {order_id}") from error
    if own_only(caller) not in (None, order.participant):
        raise not_found(f"order {order_id}")
    return order


def _gate(market: Market, order: BookOrder) -> datetime | None:
    day = market.calendar.trading_day(order.feeder, date.fromisoformat(order.day))
    return day.gate if order.market == DAY_AHEAD else day.last_round_gate
