"""OpenAPI keeps its promises for requests that a machine thinks up, as every role and anonymous."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.api_market import ROLES, Desk

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_schema_conformance,
]  # fmt: skip
EXAMPLES = 3


@pytest.mark.parametrize("party", [None, "op", "aud", "plan", "meter", "agg", "pro", "sup"])
def test_every_endpoint_keeps_its_contract(desk: Desk, party: str | None) -> None:
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", desk.app)
    head = {} if party is None else desk.headers(party)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 30

    def check(operation: Any) -> None:
        @settings(
            max_examples=EXAMPLES, derandomize=True, deadline=None, database=None,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def holds(case: Any) -> None:
            case.call_and_validate(headers=head, checks=CHECKS)

        holds()

    for operation in operations:
        check(operation)


def test_all_roles_are_tried() -> None:
    assert {ROLES[name] for name in ("op", "aud", "plan", "meter", "agg", "pro", "sup")} == set(
        ROLES.values()
    )
