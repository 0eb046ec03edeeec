"""Studies: a planner hands in a study folder and fetches what the clearing makes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response

from data.canonical import sha256_hex
from data.errors import Problem
from data.results import SUMMARY_FILE
from dso.api.models import Page, StudyAnswer, StudyRequest
from dso.api.once import WRITE, RawBody, once
from dso.api.paging import LARGEST, Cursor, Limit, page_by_number, read_number
from dso.api.problems import Refusal, not_found, problem_responses
from dso.api.rights import AsGridReader, AsPlanner, InMarket, RequestKey, own_only
from dso.api.study_files import ZIP_MEDIA_TYPE, check_files, pack, read_member, unpack
from dso.store.access import add_actions
from dso.store.study_requests import (
    NewStudy,
    add_study,
    count_unfinished,
    find_study,
    page_studies,
    result_of_study,
)

if TYPE_CHECKING:
    from dso.api.market import Market
    from dso.api.tokens import Caller
    from dso.store import Connection

router: Final = APIRouter(tags=["studies"])
WAITING_MAX: Final = 20
Number = Annotated[int, Path(ge=1, le=LARGEST)]
ARCHIVE: Final = {ZIP_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
StudyName = Annotated[
    str,
    Query(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=200, description="Of a study sent as ZIP"),
]


@router.post(
    "/studies",
    status_code=HTTPStatus.CREATED,
    response_model=StudyAnswer,
    responses=problem_responses(*WRITE),
    summary="Hand in a study folder as JSON or ZIP; it is cleared as soon as a runner is free",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/StudyRequest"}},
                **ARCHIVE,
            },
        }
    },
)
def hand_in_study(
    market: InMarket,
    caller: AsPlanner,
    request: Request,
    body: RawBody,
    name: StudyName = "study",
    key: RequestKey = None,
) -> Response:
    """Keep a study; its content is checked when it is cleared."""
    if request.headers.get("content-type", "").startswith(ZIP_MEDIA_TYPE):
        title, files = name, unpack(body)
    else:
        said = StudyRequest.model_validate_json(body)
        title = said.name
        files = {each: text.encode("utf-8", "replace") for each, text in said.files.items()}
    check_files(files)
    content = pack(files)

    def work(connection: Connection, at: datetime) -> tuple[int, str]:
        if count_unfinished(connection, caller.party) >= WAITING_MAX:
            problem = Problem(where="studies", what=f"{WAITING_MAX} of yours are not done yet")
            raise Refusal(HTTPStatus.CONFLICT, [problem])
        digest = sha256_hex(content)
        study = NewStudy(
            party=caller.party, actor=caller.client, name=title, sha256=digest, content=content
        )
        number = add_study(connection, study, at)
        done = [("study", f"study {number} sha256 {digest}", "")]
        add_actions(connection, done, actor=caller.party, role=caller.role, at=at)
        found = find_study(connection, number)
        assert found is not None
        return HTTPStatus.CREATED, _answer(found).model_dump_json()

    return once(market, caller, request, body, key, work)


@router.get(
    "/studies",
    responses=problem_responses(401, 403, 422, 429),
    summary="Own studies by number; the operator and auditors see all",
)
def list_studies(
    market: InMarket, caller: AsGridReader, cursor: Cursor = None, limit: Limit = 100
) -> Page:
    """Return studies and where they stand."""
    after = read_number(cursor)
    with market.services.store.transaction() as connection:
        rows = page_studies(connection, party=own_only(caller), after=after, limit=limit)
    return page_by_number([(row["id"], _answer(row).model_dump()) for row in rows], limit)


@router.get(
    "/studies/{number}",
    responses=problem_responses(401, 403, 404, 422, 429),
    summary="One study: where it stands, its problems or its summary",
)
def read_study(market: InMarket, caller: AsGridReader, number: Number) -> StudyAnswer:
    """Return a study of one's own."""
    found, result = _visible(market, caller, number)
    summary: dict[str, Any] | None = None
    if result is not None:
        summary = json.loads(read_member(result, SUMMARY_FILE))
    return _answer(found).model_copy(update={"summary": summary})


@router.get(
    "/studies/{number}/result",
    response_class=Response,
    responses={200: {"content": ARCHIVE}, **problem_responses(401, 403, 404, 409, 422, 429)},
    summary="The result folder of a study as ZIP",
)
def read_study_result(market: InMarket, caller: AsGridReader, number: Number) -> Response:
    """Return what `dso clear` wrote: prices, awards, trades, certificate."""
    found, result = _visible(market, caller, number)
    if result is None:
        problem = Problem(where=f"study {number}", what=f"is {found['state']}, it has no result")
        raise Refusal(HTTPStatus.CONFLICT, [problem])
    return Response(result, media_type=ZIP_MEDIA_TYPE)


def _visible(market: Market, caller: Caller, number: int) -> tuple[Mapping[str, Any], bytes | None]:
    with market.services.store.transaction() as connection:
        found = find_study(connection, number)
        if found is None or own_only(caller) not in (None, found["party"]):
            raise not_found(f"study {number}")
        return found, result_of_study(connection, number)


def _answer(row: Mapping[str, Any]) -> StudyAnswer:
    plain = {name: row[name] for name in StudyAnswer.model_fields if name in row}
    return StudyAnswer(**{**plain, "said": row["said"].splitlines()})
