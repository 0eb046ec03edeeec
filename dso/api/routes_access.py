"""Tokens, and registration: application, checks, decision."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, Form, Header, Path

from data.errors import Problem
from dso.api.credentials import (
    BadSecret,
    Locked,
    NewCredentials,
    add_credentials,
    check_secret,
    draw_credentials,
)
from dso.api.limits import too_many
from dso.api.market import (
    Asset,
    ConnectionPoint,
    Market,
    Party,
    current,
    mandate_id,
    may_act,
)
from dso.api.models import (
    AssetContent,
    Content,
    Decision,
    MandateContent,
    Page,
    PartyAnswer,
    PartyApplication,
    PointContent,
    RegistrationAnswer,
    TokenAnswer,
)
from dso.api.paging import LARGEST, Cursor, Limit, page_by_number, read_number
from dso.api.problems import Refusal, not_found, problem_responses
from dso.api.rights import AsAnybody, AsOperator, InMarket, anonymous, own_only
from dso.api.tokens import LIFETIME, Caller
from dso.store.access import (
    Registration,
    add_actions,
    add_registration,
    decide_registration,
    find_registration,
    page_registrations,
)
from dso.store.book import market_now
from dso.store.register import Register
from dso.store.register_records import Mandate

if TYPE_CHECKING:
    from dso.store import Connection

router: Final = APIRouter(tags=["access"])
CHECKS_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "party": ("identity", "certification"),
    "connection_point": ("identity", "grid"),
    "asset": ("certification", "product", "grid"),
    "mandate": ("identity",),
}
SECRET_LENGTH_MAX: Final = 200
Number = Annotated[int, Path(ge=1, le=LARGEST)]


@router.post(
    "/token",
    dependencies=[Depends(anonymous)],
    responses=problem_responses(400, 401, 413, 422, 429),
    summary="A token for client id and secret (OAuth2 client credentials)",
)
def make_token(
    market: InMarket,
    grant_type: Annotated[str, Form(pattern="^client_credentials$")],
    client_id: Annotated[str | None, Form(max_length=SECRET_LENGTH_MAX)] = None,
    client_secret: Annotated[str | None, Form(max_length=SECRET_LENGTH_MAX)] = None,
    authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> TokenAnswer:
    """Check the secret and sign a token that lives for minutes."""
    name, secret = _basic(authorization) or (client_id or "", client_secret or "")
    del grant_type
    problem = Problem(where="client", what="client or secret are wrong, or not approved yet")
    refusal = Refusal(HTTPStatus.UNAUTHORIZED, [problem], {"WWW-Authenticate": "Basic"})
    if not name.isprintable():
        raise refusal
    store = market.services.store
    try:
        client = check_secret(store, name, secret, now=market.machine.now())
    except Locked as locked:
        raise too_many(locked.wait_s) from locked
    except BadSecret as error:
        raise refusal from error
    with store.transaction() as connection:
        party = current(connection, Party, client.party, market_now(connection))
    if party is None:
        raise refusal
    token = market.tokens.sign(Caller(client=client.id, party=party.id, role=party.role))
    return TokenAnswer(access_token=token, expires_in=int(LIFETIME.total_seconds()))


def _basic(header: str | None) -> tuple[str, str] | None:
    if header is None or not header.lower().startswith("basic "):
        return None
    try:
        text = base64.b64decode(header[6:], validate=True).decode()
    except (binascii.Error, ValueError):
        return "", ""
    name, _, secret = text.partition(":")
    return name, secret


@router.post(
    "/registrations/parties",
    status_code=HTTPStatus.CREATED,
    dependencies=[Depends(anonymous)],
    responses=problem_responses(400, 413, 422, 429),
    summary="Apply to take part; the credentials work once the operator approved",
)
def apply_as_party(market: InMarket, application: PartyApplication) -> PartyAnswer:
    """Keep the application and draw credentials, shown this once."""
    drawn: tuple[NewCredentials, str] = draw_credentials()
    party = f"p-{secrets.token_hex(8)}"
    with market.services.store.transaction() as connection:
        at = market_now(connection)
        content = {"id": party, **application.model_dump()}
        number = add_registration(connection, "party", party, content, at)
        add_credentials(connection, party, drawn, at)
        what = [("apply", f"registration {number}", "")]
        add_actions(connection, what, actor=party, role="applicant", at=at)
    return PartyAnswer(registration=number, party=party, **_plain(drawn[0]))


def _plain(credentials: NewCredentials) -> dict[str, str]:
    return asdict(credentials)


@router.post(
    "/registrations",
    status_code=HTTPStatus.CREATED,
    responses=problem_responses(400, 401, 403, 413, 422, 429),
    summary="Apply for a connection point, an asset or a mandate",
)
def apply_for(market: InMarket, caller: AsAnybody, content: Content) -> RegistrationAnswer:
    """Check what can be checked at once and keep the application."""
    with market.services.store.transaction() as connection:
        at = market_now(connection)
        problems = _content_problems(connection, market, caller, content, at)
        if problems:
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, problems)
        plain = content.model_dump(exclude={"kind"})
        number = add_registration(connection, content.kind, caller.party, plain, at)
        what = [("apply", f"registration {number}", "")]
        add_actions(connection, what, actor=caller.party, role=caller.role, at=at)
        found = find_registration(connection, number)
    assert found is not None
    return _answer(found)


def _content_problems(
    connection: Connection,
    market: Market,
    caller: Caller,
    content: PointContent | AssetContent | MandateContent,
    at: datetime,
) -> list[Problem]:
    if isinstance(content, PointContent):
        feeders = market.calendar.feeders()
        problems = []
        if content.feeder not in feeders:
            problems.append(Problem(where="feeder", what="is not operated here"))
        if caller.role != "operator" and content.party != caller.party:
            problems.append(Problem(where="party", what="must be the applicant"))
        known = current(connection, ConnectionPoint, content.id, at)
        if known is not None and known.party != content.party:
            problems.append(Problem(where="id", what="is taken", remedy="name another"))
        return problems
    point = current(connection, ConnectionPoint, content.connection_point, at)
    unknown = Problem(where="connection_point", what="is unknown")
    if isinstance(content, MandateContent):
        if point is None or point.party != caller.party:
            return [unknown]  # only the one who is connected there gives a mandate
        return []
    if point is None or not may_act(connection, caller.party, point, ("trade",), at):
        return [unknown]
    problems = []
    if content.id.partition("/")[0] != point.feeder:
        what = f"does not begin with {point.feeder}/, the feeder of its connection"
        problems.append(Problem(where="id", what=what))
    for direction in ("import", "export"):
        wanted = getattr(content, f"{direction}_w_max")
        allowed = getattr(point, f"{direction}_w_max")
        if wanted > allowed:
            what = f"is {wanted} W, the connection's contract {allowed} W"
            problems.append(Problem(where=f"{direction}_w_max", what=what))
    taken = current(connection, Asset, content.id, at)
    # One that stands at a point of its own name is the grid's entry: a party's takes its place.
    if taken is not None and taken.connection_point not in (point.id, taken.id):
        problems.append(Problem(where="id", what="is taken", remedy="name another"))
    return problems


@router.get(
    "/registrations",
    responses=problem_responses(401, 403, 422, 429),
    summary="Own applications; the operator and auditors see all",
)
def list_registrations(
    market: InMarket, caller: AsAnybody, cursor: Cursor = None, limit: Limit = 100
) -> Page:
    """Return applications by number."""
    after = read_number(cursor)
    with market.services.store.transaction() as connection:
        found = page_registrations(connection, applicant=own_only(caller), after=after, limit=limit)
    return page_by_number([(each.id, _answer(each).model_dump()) for each in found], limit)


@router.get(
    "/registrations/{number}",
    responses=problem_responses(401, 403, 404, 422, 429),
    summary="One application",
)
def read_registration(market: InMarket, caller: AsAnybody, number: Number) -> RegistrationAnswer:
    """Return an application of one's own."""
    with market.services.store.transaction() as connection:
        found = find_registration(connection, number)
    if found is None or own_only(caller) not in (None, found.applicant):
        raise not_found(f"registration {number}")
    return _answer(found)


@router.post(
    "/registrations/{number}/decision",
    responses=problem_responses(400, 401, 403, 404, 409, 413, 422, 429),
    summary="Approve or refuse, with the checks that were made",
)
def decide(
    market: InMarket, caller: AsOperator, number: Number, decision: Decision
) -> RegistrationAnswer:
    """Decide an application; an approval enters the register at once."""
    with market.services.store.transaction() as connection:
        at = market_now(connection)
        found = find_registration(connection, number)
        if found is None:
            raise not_found(f"registration {number}")
        checks = decision.checks.model_dump()
        missing = [name for name in CHECKS_NEEDED[found.kind] if not checks[name]]
        if decision.approve and missing:
            problems = [Problem(where=f"checks.{name}", what="is not made") for name in missing]
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, problems)
        state = "approved" if decision.approve else "refused"
        done = decide_registration(
            connection, number, state=state, checks=checks, reason=decision.reason, at=at
        )
        if not done:
            problem = Problem(where=f"registration {number}", what=f"is {found.state} already")
            raise Refusal(HTTPStatus.CONFLICT, [problem])
        if decision.approve:
            _enter(connection, found, at)
        what = [(state, f"registration {number}", decision.reason)]
        add_actions(connection, what, actor=caller.party, role=caller.role, at=at)
        found = find_registration(connection, number)
    assert found is not None
    return _answer(found)


def _enter(connection: Connection, found: Registration, at: datetime) -> None:
    """Write what was approved into the register."""
    said: dict[str, Any] = {**found.content, "valid_from": at, "known_at": at}
    if found.kind == "party":
        Register(Party).add(connection, [Party(**said)])
    elif found.kind == "connection_point":
        Register(ConnectionPoint).add(connection, [ConnectionPoint(**said)])
    elif found.kind == "asset":
        Register(Asset).add(connection, [Asset(**said)])
    else:
        said["grantor"] = found.applicant
        said["id"] = mandate_id(
            found.applicant, said["agent"], said["connection_point"], said["scope"]
        )
        Register(Mandate).add(connection, [Mandate(**said)])


def _answer(found: Registration) -> RegistrationAnswer:
    return RegistrationAnswer.model_validate(asdict(found))
