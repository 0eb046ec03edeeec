"""Collateral: deposits entered by the operator, and what of a party's is free."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Path, Request, Response

from data.errors import Problem
from dso.api.collateral import FreeCollateral, free_collateral
from dso.api.market import Party, current
from dso.api.models import CollateralAnswer, DepositAnswer, DepositRequest, Name
from dso.api.once import WRITE, RawBody, once
from dso.api.problems import Refusal, not_found, problem_responses
from dso.api.rights import AsOperator, AsReader, InMarket, RequestKey, own_only
from dso.store.access import add_actions
from dso.store.book import market_now
from dso.store.deposits import add_deposit

if TYPE_CHECKING:
    from datetime import datetime

    from dso.store import Connection

router: Final = APIRouter(tags=["collateral"])


@router.post(
    "/deposits",
    status_code=HTTPStatus.CREATED,
    response_model=DepositAnswer,
    responses=problem_responses(*WRITE),
    summary="Enter what a party left as collateral; a negative amount is given back",
)
def enter_deposit(
    market: InMarket,
    caller: AsOperator,
    request: Request,
    body: RawBody,
    deposit: DepositRequest,
    key: RequestKey = None,
) -> Response:
    """Keep a deposit; the reason is read by auditors."""

    def work(connection: Connection, at: datetime) -> tuple[int, str]:
        if current(connection, Party, deposit.party, at) is None:
            raise Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY, [Problem(where="party", what="is unknown")]
            )
        kept = add_deposit(
            connection, party=deposit.party, actor=caller.client,
            amount_micro_eur=deposit.amount_micro_eur, reason=deposit.reason, at=at,
        )  # fmt: skip
        amount = f"deposit {kept.id} of {deposit.party} micro-EUR {deposit.amount_micro_eur}"
        done = [("deposit", amount, deposit.reason)]
        add_actions(connection, done, actor=caller.party, role=caller.role, at=at)
        return HTTPStatus.CREATED, DepositAnswer(**asdict(kept)).model_dump_json()

    return once(market, caller, request, body, key, work)


@router.get(
    "/collateral/{party}",
    responses=problem_responses(401, 403, 404, 422, 429),
    summary="What a party left, owes and has booked, and what is free",
)
def read_collateral(
    market: InMarket, caller: AsReader, party: Annotated[Name, Path()]
) -> CollateralAnswer:
    """Return the collateral of one's own [micro-EUR]; operator and auditors see everybody's."""
    with market.services.store.transaction() as connection:
        at = market_now(connection)
        if own_only(caller) not in (None, party) or current(connection, Party, party, at) is None:
            raise not_found(f"party {party}")
        found: FreeCollateral = free_collateral(connection, party, at)
    return CollateralAnswer(party=party, free_micro_eur=found.free_micro_eur, **asdict(found))
