"""OpenAPI keeps its promises for requests that a machine thinks up, as every role and anonymous."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.api_market import ROLES, Desk, make_desk
from tests.support.api_run import add_run

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_schema_conformance,
]  # fmt: skip
EXAMPLES = 3
EXAMPLES_LONG = 60
# One party of each role, and nobody.
CALLERS = (None, "op", "aud", "plan", "meter", "agg", "pro", "sup")
OPERATIONS_MIN = 63
# What is looked at is what is said, not how soon: a busy machine takes its time.
TIMEOUT_S = 120.0


def check_contract(desk: Desk, examples: int, *, again: bool = True) -> int:
    """Send each request that is thought up as every role; return how many were answered.

    Without ``again`` a role that an endpoint refused is not sent there another time: whoever is
    refused is refused whatever he says (test_rights_everywhere).
    """
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", desk.app, timeout=TIMEOUT_S)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= OPERATIONS_MIN
    answered = 0

    def check(operation: Any, client: Any) -> None:
        refused: set[str | None] = set()

        @settings(
            max_examples=examples, derandomize=True, deadline=None, database=None,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def holds(case: Any) -> None:
            nonlocal answered
            for party in CALLERS:
                if party in refused:
                    continue
                head = {} if party is None else desk.headers(party)
                answer = case.call_and_validate(
                    headers=head, checks=CHECKS, timeout=TIMEOUT_S, session=client
                )
                if not again and answer.status_code in (401, 403):
                    refused.add(party)
                answered += 1

        holds()

    # one client for all: each request of its own would start an event loop of its own
    with asgi.get_client(desk.app) as client:
        client.trust_env = False  # no proxy leads to an application in this process
        for operation in operations:
            check(operation, client)
    return answered


@pytest.fixture
def furnished(desk: Desk, cleared: Path) -> Desk:
    """A market with an order, a reading and a clearing, so that not every list is empty."""
    add_run(desk, cleared)
    assert desk.ask("agg", "POST", "/orders", json=desk.order()).status_code == 201
    return desk


def test_every_endpoint_keeps_its_contract(furnished: Desk) -> None:
    answered = check_contract(furnished, EXAMPLES, again=False)
    assert answered >= OPERATIONS_MIN * len(CALLERS) * EXAMPLES / 3


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def furnished_on_each(
    request: pytest.FixtureRequest, tmp_path: Path, cleared: Path
) -> Iterator[Desk]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    made = make_desk(url, tmp_path)
    with closing(made.market.services):
        add_run(made, cleared)
        yield made


@pytest.mark.long
def test_every_endpoint_keeps_its_contract_for_long(furnished_on_each: Desk) -> None:
    answered = check_contract(furnished_on_each, EXAMPLES_LONG)
    assert answered >= OPERATIONS_MIN * len(CALLERS) * EXAMPLES_LONG / 4


def test_all_roles_are_tried() -> None:
    assert {ROLES[name] for name in CALLERS if name} == set(ROLES.values())
