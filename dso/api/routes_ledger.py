"""The ledger: heads and proofs. Leaves are salted commitments, so everybody may look."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Path, Query

from data.errors import Problem
from dso.api.market import Market
from dso.api.models import Head, Proof
from dso.api.problems import Refusal, not_found, problem_responses
from dso.api.rights import InMarket, anonymous
from dso.store.access import post_actions
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import ACTION_TABLES

router: Final = APIRouter(tags=["ledger"], dependencies=[Depends(anonymous)])
LARGEST: Final = 2**53
LogName = Annotated[Literal["records", "actions"], Path()]
Count = Annotated[int, Query(ge=0, le=LARGEST)]


def action_log(market: Market) -> SqlLog:
    """Open the action log of a market."""
    return SqlLog(market.services.store.engine, market.services.keys.actions, ACTION_TABLES)


def post_waiting_actions(market: Market) -> int:
    """Post what parties did to the ledger's action log; return how many actions."""
    services = market.services
    return post_actions(action_log(market), services.ledger, services.keys.subjects)


def _log(market: Market, name: str) -> SqlLog:
    return market.services.ledger if name == "records" else action_log(market)


@router.get(
    "/ledger/{log}/head", responses=problem_responses(422, 429), summary="Newest signed head"
)
def read_head(market: InMarket, log: LogName) -> Head:
    """Return size, root and signed checkpoint of a log."""
    head = _log(market, log).head()
    return Head(size=head.size, root=head.root.hex(), checkpoint=head.checkpoint)


@router.get(
    "/ledger/{log}/inclusion/{index}",
    responses=problem_responses(404, 422, 429),
    summary="Proof that a leaf is in the log",
)
def prove_inclusion(
    market: InMarket, log: LogName, index: Annotated[int, Path(ge=0, le=LARGEST)]
) -> Proof:
    """Return a leaf and its inclusion proof in the newest head."""
    opened = _log(market, log)
    size = opened.head().size
    if index >= size:
        raise not_found(f"leaf {index}")
    leaf = next(iter(opened.entries(index, index + 1)))
    path = [each.hex() for each in opened.inclusion(index, size)]
    return Proof(leaf=leaf.hex(), size=size, path=path)


@router.get(
    "/ledger/{log}/consistency",
    responses=problem_responses(422, 429),
    summary="Proof that an older head is a prefix of the newest",
)
def prove_consistency(market: InMarket, log: LogName, old: Count) -> Proof:
    """Return the consistency proof between a size and the newest head."""
    opened = _log(market, log)
    size = opened.head().size
    if not 1 <= old <= size:
        problem = Problem(where="old", what=f"must be 1 to {size}")
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, [problem])
    path = [each.hex() for each in opened.consistency(old, size)]
    return Proof(leaf=None, size=size, path=path)
