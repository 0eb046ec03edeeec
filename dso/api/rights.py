"""Who may do what: roles at the endpoint, then the object itself.

A role that an endpoint is not for is told so (403): that the endpoint exists is public. An object
of somebody else is answered like one that does not exist (404).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import Depends, Header, Request
from fastapi.openapi.models import OAuthFlowClientCredentials, OAuthFlows
from fastapi.security import OAuth2

from data.errors import Problem
from dso.api.market import Market
from dso.api.problems import Refusal
from dso.api.tokens import BadToken, Caller

PREFIX: Final = "/api/v1"
PARTICIPANTS: Final = ("aggregator", "prosumer", "supplier")
SEES_ALL: Final = ("operator", "auditor")
READERS: Final = (*PARTICIPANTS, *SEES_ALL)
EVERYBODY: Final = (*READERS, "planner", "meter_data")
SCHEME: Final = OAuth2(
    flows=OAuthFlows(
        clientCredentials=OAuthFlowClientCredentials(tokenUrl=f"{PREFIX}/token", scopes={})
    ),
    scheme_name="client_credentials",
    auto_error=False,
)
Bearer = Annotated[str | None, Depends(SCHEME)]
BEARER: Final = re.compile(r"[Bb]earer ([A-Za-z0-9_=.-]{1,4000})")
KEY_PATTERN: Final = r"^[A-Za-z0-9._:-]{1,100}$"


def market_of(request: Request) -> Market:
    """Return what the application stands on."""
    market: Market = request.app.state.market
    return market


InMarket = Annotated[Market, Depends(market_of)]
RequestKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=KEY_PATTERN,
        description="The same key with the same request gives the same answer.",
    ),
]


def anonymous(request: Request, market: InMarket) -> None:
    """Count a request without a token by its network address."""
    market.addresses.admit(request.client.host if request.client else "unknown")


def caller_as(*roles: str) -> Callable[..., Caller]:
    """Return the dependency that admits some roles."""

    def admit(request: Request, market: InMarket, authorization: Bearer = None) -> Caller:
        stated = BEARER.fullmatch(authorization or "")
        try:
            if stated is None:
                raise BadToken("missing")  # noqa: TRY301 - one answer for all bad tokens
            caller = market.tokens.verify(stated.group(1))
        except BadToken as error:
            anonymous(request, market)
            problem = Problem(where="token", what=str(error), remedy=f"POST {PREFIX}/token")
            headers = {"WWW-Authenticate": "Bearer"}
            raise Refusal(HTTPStatus.UNAUTHORIZED, [problem], headers) from error
        market.parties.admit(caller.party)
        request.state.caller = caller
        if caller.role not in roles:
            what = f"is not for the role {caller.role}"
            raise Refusal(HTTPStatus.FORBIDDEN, [Problem(where="endpoint", what=what)])
        return caller

    return admit


def own_only(caller: Caller) -> str | None:
    """Return whose rows a caller may see: a party's own, or everybody's (None)."""
    return None if caller.role in SEES_ALL else caller.party


AsOperator = Annotated[Caller, Depends(caller_as("operator"))]
AsRegulator = Annotated[Caller, Depends(caller_as(*SEES_ALL))]
AsParticipant = Annotated[Caller, Depends(caller_as(*PARTICIPANTS))]
AsReader = Annotated[Caller, Depends(caller_as(*READERS))]
AsAnybody = Annotated[Caller, Depends(caller_as(*EVERYBODY))]
AsGridReader = Annotated[Caller, Depends(caller_as(*SEES_ALL, "planner"))]
AsForecaster = Annotated[Caller, Depends(caller_as(*PARTICIPANTS, "operator"))]
AsPlanner = Annotated[Caller, Depends(caller_as("planner", "operator"))]
AsMeterData = Annotated[Caller, Depends(caller_as("meter_data"))]
