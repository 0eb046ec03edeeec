"""The ledger: heads and proofs. Leaves are salted commitments, so everybody may look."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Path, Query

from data.errors import Problem
from dso.api.disclosures import RUN_KINDS, disclose_action, disclose_record
from dso.api.market import Market
from dso.api.models import (
    Disclosure,
    DisclosureRequest,
    Head,
    Page,
    Proof,
    RecordDisclosureRequest,
)
from dso.api.paging import LARGEST as LARGEST_NUMBER
from dso.api.paging import Cursor, Limit, page_by_number, read_number
from dso.api.problems import Refusal, not_found, problem_responses
from dso.api.rights import AsAnybody, AsReader, InMarket, anonymous, own_only
from dso.store.access import find_action, page_actions, post_actions
from dso.store.market_reads import find_run
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import ACTION_TABLES

router: Final = APIRouter(tags=["ledger"])
OPEN: Final = [Depends(anonymous)]
LARGEST: Final = 2**53
LogName = Annotated[Literal["records", "actions"], Path()]
ActionName = Annotated[str, Path(alias="action", pattern="^[0-9a-f]{32}$")]
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
    "/ledger/{log}/head",
    dependencies=OPEN,
    responses=problem_responses(422, 429),
    summary="Newest signed head",
)
def read_head(market: InMarket, log: LogName) -> Head:
    """Return size, root and signed checkpoint of a log."""
    head = _log(market, log).head()
    return Head(size=head.size, root=head.root.hex(), checkpoint=head.checkpoint)


@router.get(
    "/ledger/{log}/inclusion/{index}",
    dependencies=OPEN,
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
    dependencies=OPEN,
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


@router.get(
    "/actions",
    responses=problem_responses(401, 403, 422, 429),
    summary="What one did, by number, with its place in the action log",
)
def list_actions(
    market: InMarket, caller: AsAnybody, cursor: Cursor = None, limit: Limit = 100
) -> Page:
    """Return own actions; operator and auditors see everybody's."""
    after = read_number(cursor)
    with market.services.store.transaction() as connection:
        rows = page_actions(connection, actor=own_only(caller), after=after, limit=limit)
    return page_by_number([(row["id"], row) for row in rows], limit)


@router.post(
    "/actions/{action}/disclosure",
    responses=problem_responses(400, 401, 403, 404, 409, 413, 422, 429),
    summary="Show some fields of an action of one's own, and prove the others without them",
)
def show_action(
    market: InMarket, caller: AsAnybody, name: ActionName, wanted: DisclosureRequest
) -> Disclosure:
    """Return a disclosure file that `gridclear-verify` checks without us."""
    with market.services.store.transaction() as connection:
        action = find_action(connection, name)
    if action is None or own_only(caller) not in (None, action.actor):
        raise not_found(f"action {name}")
    return Disclosure(text=disclose_action(market, action_log(market), action, wanted.fields))


@router.post(
    "/runs/{run}/disclosure",
    responses=problem_responses(400, 401, 403, 404, 409, 413, 422, 429),
    summary="Show some fields of a trade or statement of one's own, and prove the rest",
)
def show_record(
    market: InMarket,
    caller: AsReader,
    number: Annotated[int, Path(alias="run", ge=1, le=LARGEST_NUMBER)],
    wanted: RecordDisclosureRequest,
) -> Disclosure:
    """Return a disclosure of a trade (by its id) or of a statement (by its participant)."""
    with market.services.store.transaction() as connection:
        run = find_run(connection, number)
    if run is None or run.kind not in RUN_KINDS:
        raise not_found(f"run {number}")
    text = disclose_record(market, run, wanted.record, own_only(caller), wanted.fields)
    return Disclosure(text=text)
