"""Flexibility procurement: requests published, offers handed in and taken back, orders read."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response

from data.errors import Problem
from dso.api.flexibility_checks import (
    check_offer,
    check_request,
    ground_of,
    offer_of,
    order_message,
    refuse_rejected,
    refuse_while_bought,
    sight_of,
)
from dso.api.flexibility_models import (
    FlexMessageAnswer,
    FlexOfferMessage,
    FlexOrderRequest,
    FlexRequestMessage,
    FlexRevocationMessage,
    Kind,
    MessageId,
)
from dso.api.models import Day, Page
from dso.api.once import WRITE, RawBody, once
from dso.api.paging import Cursor, Limit, page_by_number, read_number
from dso.api.problems import Refusal, not_found, problem_responses
from dso.api.rights import AsOperator, AsParticipant, AsReader, InMarket, RequestKey
from dso.api.routes_results import READ
from dso.store.access import add_actions
from dso.store.book import hold_gates, market_now
from dso.store.flexibility_messages import (
    FlexMessage,
    add_message,
    find_message,
    new_message,
    page_messages,
)

if TYPE_CHECKING:
    from dso.api.tokens import Caller
    from dso.store import Connection

router: Final = APIRouter(tags=["flexibility"])


@router.put(
    "/grid/demand",
    status_code=HTTPStatus.CREATED,
    response_model=FlexMessageAnswer,
    responses=problem_responses(*WRITE),
    summary="Publish what a congestion point needs of a local day: a flexibility request",
)
def publish_request(
    market: InMarket,
    caller: AsOperator,
    request: Request,
    body: RawBody,
    message: FlexRequestMessage,
    key: RequestKey = None,
) -> Response:
    """Keep a request; whoever may trade on the feeder of the point reads it."""

    def work(connection: Connection, at: datetime) -> tuple[int, str]:
        ground = ground_of(market, message.congestion_point, message.period)
        entry = message.model_dump(mode="json", exclude_none=True)
        check_request(ground, entry, at)
        new = new_message(entry, party=caller.party, feeder=ground.feeder, at=at)
        return HTTPStatus.CREATED, _keep(connection, caller, new, at)

    return once(market, caller, request, body, key, work)


@router.post(
    "/flexibility/offers",
    status_code=HTTPStatus.CREATED,
    response_model=FlexMessageAnswer,
    responses=problem_responses(*WRITE),
    summary="Offer flexibility at a connection, for a request or unasked",
)
def hand_in_offer(
    market: InMarket,
    caller: AsParticipant,
    request: Request,
    body: RawBody,
    message: FlexOfferMessage,
    key: RequestKey = None,
) -> Response:
    """Keep an offer that counts; one that does not is refused with all of UFTP's reasons."""

    def work(connection: Connection, _at: datetime) -> tuple[int, str]:
        ground = ground_of(market, message.congestion_point, message.period)
        received = hold_gates(connection, [ground.book])
        entry = check_offer(connection, caller, ground, message, received)
        new = new_message(entry, party=caller.party, feeder=ground.feeder, at=received)
        return HTTPStatus.CREATED, _keep(connection, caller, new, received)

    return once(market, caller, request, body, key, work)


@router.post(
    "/flexibility/revocations",
    status_code=HTTPStatus.CREATED,
    response_model=FlexMessageAnswer,
    responses=problem_responses(*WRITE, 404),
    summary="Take back an offer of one's own that was not ordered",
)
def take_back(
    market: InMarket,
    caller: AsParticipant,
    request: Request,
    body: RawBody,
    message: FlexRevocationMessage,
    key: RequestKey = None,
) -> Response:
    """Keep a revocation; 409 where the offer was ordered, taken back or is being decided about."""

    def work(connection: Connection, _at: datetime) -> tuple[int, str]:
        kept = offer_of(connection, message.flex_offer_message_id, caller.party)
        ground = ground_of(market, kept.congestion_point, date.fromisoformat(kept.day))
        received = hold_gates(connection, [ground.book])
        refuse_while_bought(connection, ground, received, before=False)
        entry = {"message": "FlexOfferRevocation", **message.model_dump(mode="json")}
        new = new_message(
            entry, party=caller.party, feeder=kept.feeder, at=received,
            settles=kept.message_id, offer=kept,
        )  # fmt: skip
        return HTTPStatus.CREATED, _keep(connection, caller, new, received)

    return once(market, caller, request, body, key, work)


@router.post(
    "/flexibility/orders",
    status_code=HTTPStatus.CREATED,
    response_model=FlexMessageAnswer,
    responses=problem_responses(*WRITE, 404),
    summary="Order an option of an offer, for the party that made it",
)
def order_option(
    market: InMarket,
    caller: AsOperator,
    request: Request,
    body: RawBody,
    order: FlexOrderRequest,
    key: RequestKey = None,
) -> Response:
    """Keep an order: the option as offered, its price scaled with the activation factor.

    Where the market buys by itself, people order what its purchase left. The order takes part in
    every round whose gate it precedes, in dispatch and in settlement.
    """

    def work(connection: Connection, _at: datetime) -> tuple[int, str]:
        kept = offer_of(connection, order.flex_offer_message_id, None)
        ground = ground_of(market, kept.congestion_point, date.fromisoformat(kept.day))
        received = hold_gates(connection, [ground.book])
        refuse_while_bought(connection, ground, received, before=True)
        refuse_rejected(market, ground, kept)
        entry = order_message(connection, kept, ground, order, received)
        new = new_message(
            entry, party=caller.party, feeder=kept.feeder, at=received, settles=kept.message_id
        )
        return HTTPStatus.CREATED, _keep(connection, caller, new, received)

    return once(market, caller, request, body, key, work)


def _keep(connection: Connection, caller: Caller, new: FlexMessage, at: datetime) -> str:
    """Keep a message with its action, once, and return the answer; raises `Refusal` 409."""
    before = find_message(connection, new.message_id)
    kept = add_message(connection, new)
    if kept is None:
        remedy = "an offer is ordered once or taken back once"
        problem = Problem(where="offer", what="was ordered or taken back before", remedy=remedy)
        raise Refusal(HTTPStatus.CONFLICT, [problem])
    if (kept.party, kept.sha256) != (new.party, new.sha256):
        what = "was used for another message"
        remedy = "draw a new UUID for a new message"
        problem = Problem(where="message_id", what=what, remedy=remedy)
        raise Refusal(HTTPStatus.CONFLICT, [problem])
    if before is None:
        thing = f"{new.kind} {new.message_id} for {new.congestion_point} sha256 {new.sha256}"
        done = [("flexibility", thing, "")]
        add_actions(connection, done, actor=caller.party, role=caller.role, at=at)
    return _answer(kept).model_dump_json()


def _answer(kept: FlexMessage) -> FlexMessageAnswer:
    plain = asdict(kept) | {"content": json.loads(kept.content)}
    return FlexMessageAnswer(**{name: plain[name] for name in FlexMessageAnswer.model_fields})


@router.get(
    "/flexibility/messages",
    responses=problem_responses(*READ),
    summary="Requests, offers, revocations and orders in the order of receipt",
)
def list_messages(
    market: InMarket,
    caller: AsReader,
    day: Annotated[Day | None, Query(examples=["2026-11-23"])] = None,
    kind: Kind | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page:
    """Return requests of the feeders one may trade on, own messages, and orders for oneself.

    The operator and auditors see all of them; ``content`` is what `dso flexibility buy` reads.
    """
    after = read_number(cursor)
    with market.services.store.transaction() as connection:
        sight = sight_of(connection, caller, market_now(connection))
        rows = page_messages(connection, sight=sight, day=day, kind=kind, after=after, limit=limit)
    return page_by_number([(number, _answer(kept).model_dump()) for number, kept in rows], limit)


@router.get(
    "/flexibility/messages/{message_id}",
    responses=problem_responses(*READ, 404),
    summary="A message of flexibility procurement",
)
def read_message(
    market: InMarket, caller: AsReader, message_id: Annotated[MessageId, Path()]
) -> FlexMessageAnswer:
    """Return a message that one may see."""
    with market.services.store.transaction() as connection:
        sight = sight_of(connection, caller, market_now(connection))
        kept = find_message(connection, message_id, sight)
    if kept is None:
        raise not_found(f"message {message_id}")
    return _answer(kept)
