"""A write that is done once for each idempotency key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Depends, Request, Response

from data.canonical import sha256_hex
from data.errors import Problem
from dso.api.problems import Refusal
from dso.store.access import AnswerConflict, answer_once

if TYPE_CHECKING:
    from dso.api.market import Market
    from dso.api.tokens import Caller
    from dso.store import Connection

# What a write may be refused with.
WRITE: Final = (400, 401, 403, 409, 413, 422, 429)


async def raw_body(request: Request) -> bytes:
    """Return the request as it came."""
    return await request.body()


RawBody = Annotated[bytes, Depends(raw_body)]


def once(
    market: Market,
    caller: Caller,
    request: Request,
    body: bytes,
    key: str | None,
    work: Callable[[Connection, datetime], tuple[int, str]],
) -> Response:
    """Do a write once for each idempotency key; 409 where the key was for another request."""
    content = sha256_hex(f"{request.method} {request.url.path}\n".encode() + body)
    try:
        answer = answer_once(
            market.services.store, work, party=caller.party, key=key, content_sha256=content
        )
    except AnswerConflict as error:
        remedy = "draw a new key for a new request"
        what = "was used for another request"
        problem = Problem(where="Idempotency-Key", what=what, remedy=remedy)
        raise Refusal(HTTPStatus.CONFLICT, [problem]) from error
    headers = {"Idempotent-Replay": "true"} if answer.repeated else None
    return Response(
        answer.body, status_code=answer.status, media_type="application/json", headers=headers
    )
