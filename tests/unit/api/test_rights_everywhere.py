"""Every endpoint of the OpenAPI x every role x objects of somebody else: nothing is told.

Whoever adds an endpoint must say here which roles it is for, and whose objects its path names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_market import DAY, NORTH, ROLES, Desk, make_desk
from tests.support.api_run import add_run

TRADERS = {"aggregator", "prosumer", "supplier"}
READERS = TRADERS | {"operator", "auditor"}
GRID = {"operator", "auditor", "planner"}
ALL = READERS | GRID | {"meter_data"}
# None: for everybody, without a token.
ALLOWED: dict[tuple[str, str], set[str] | None] = {
    ("post", "/token"): None,
    ("post", "/registrations/parties"): None,
    ("post", "/registrations"): ALL,
    ("get", "/registrations"): ALL,
    ("get", "/registrations/{number}"): ALL,
    ("post", "/registrations/{number}/decision"): {"operator"},
    ("get", "/market"): None,
    ("get", "/public/book"): None,
    ("get", "/public/trades"): None,
    ("post", "/orders"): TRADERS,
    ("post", "/trades/offer"): TRADERS,
    ("post", "/orders/bulk"): TRADERS,
    ("get", "/orders"): READERS,
    ("get", "/trades/available"): READERS,
    ("get", "/orders/export"): {"operator", "auditor"},
    ("get", "/orders/{order_id}"): READERS,
    ("post", "/orders/{order_id}/cancel"): TRADERS,
    ("post", "/deposits"): {"operator"},
    ("get", "/collateral/{party}"): READERS,
    ("get", "/trades"): READERS,
    ("get", "/trades/history"): READERS,
    ("get", "/prices"): ALL,
    ("get", "/statements"): READERS,
    ("get", "/forecasts"): GRID,
    ("post", "/forecasts"): TRADERS | {"operator"},
    ("post", "/production/forecast"): TRADERS | {"operator"},
    ("get", "/production/forecast"): READERS,
    ("get", "/forecasts/received"): READERS,
    ("get", "/forecasts/received/{number}"): READERS,
    ("get", "/runs"): ALL,
    ("post", "/runs"): {"operator"},
    ("post", "/grid/balance"): {"operator"},
    ("get", "/cycles"): GRID,
    ("get", "/runs/{run}/orders/{order_id}/explanation"): READERS,
    ("get", "/runs/{run}/prices/explanation"): ALL,
    ("get", "/runs/{run}/explanation"): GRID,
    ("get", "/runs/{run}/grid"): GRID,
    ("get", "/runs/{run}/limits"): GRID,
    ("post", "/runs/{run}/disclosure"): READERS,
    ("get", "/grid/demand"): ALL,
    ("put", "/grid/demand"): {"operator"},
    ("post", "/flexibility/offers"): TRADERS,
    ("post", "/flexibility/revocations"): TRADERS,
    ("post", "/flexibility/orders"): {"operator"},
    ("get", "/flexibility/messages"): READERS,
    ("get", "/flexibility/messages/{message_id}"): READERS,
    ("get", "/grid/supply"): ALL,
    ("get", "/grid/balance"): ALL,
    ("get", "/grid/status"): ALL,
    ("get", "/grid/stability"): ALL,
    ("post", "/studies"): {"operator", "planner"},
    ("get", "/studies"): GRID,
    ("get", "/studies/{number}"): GRID,
    ("get", "/studies/{number}/result"): GRID,
    ("post", "/meters/reading"): {"meter_data"},
    ("get", "/meters/{connection_point}/history"): READERS,
    ("get", "/meters/{connection_point}/production"): READERS,
    ("get", "/meters/{connection_point}/consumption"): READERS,
    ("get", "/production/history"): READERS,
    ("get", "/production/current"): READERS,
    ("get", "/production/analytics"): READERS,
    ("get", "/ledger/{log}/head"): None,
    ("get", "/ledger/{log}/inclusion/{index}"): None,
    ("get", "/ledger/{log}/consistency"): None,
    ("get", "/actions"): ALL,
    ("post", "/actions/{action}/disclosure"): ALL,
}
WRITES = ("post", "put")
SPAN = {
    "from": "2026-11-22T00:00:00Z", "to": "2026-11-23T00:00:00Z", "day": DAY, "old": 1,
    "connection_point": "cp-pro", "bus": 17, "period_start": "2026-11-23T00:00:00Z",
}  # fmt: skip
OFFER: dict[str, Any] = {
    "message_id": "6b1f4c9a-1f5e-4b42-9a0e-000000000001", "connection": "village/sgen:3",
    "congestion_point": NORTH.id, "period": DAY, "expiration_date_time": "2026-11-22T20:00:00Z",
    "options": [{"option_reference": "a", "price_eur": 4.56789,
                 "isps": [{"power_w": -5000, "start": 49, "duration": 4}]}],
}  # fmt: skip
OTHER_ID = "6b1f4c9a-1f5e-4b42-9a0e-000000000002"
# What of `pro` stands in no answer to anybody else: readings, prices of orders, secrets.
MARKS = ("987654", "4.56789", "weather-service-of-pro", OFFER["message_id"])
STUDY = {"name": "secret-study", "files": {"study.toml": "x", "orders.json": "[]"}}


class World:
    """A market in which `pro` (and the operator) have one of everything."""

    def __init__(self, desk: Desk, run: int) -> None:
        self.desk = desk
        made = self._make
        order = made("pro", "/orders", desk.order(
            terms={"p_mw_max": 0.02, "price_eur_per_mwh": 4.56789}))  # fmt: skip
        mandate = {"kind": "mandate", "agent": "agg", "connection_point": "cp-pro", "scope": "read"}
        registration = made("pro", "/registrations", mandate)
        reading = {"connection_point": "cp-pro", "period_start": "2026-11-22T09:00:00Z",
                   "import_wh": 0, "export_wh": 987_654}  # fmt: skip
        made("meter", "/meters/reading", reading)
        forecast = made("pro", "/forecasts", {
            "source": "weather-service-of-pro", "asset": "village/sgen:3",
            "issued_at": "2026-11-22T09:00:00Z",
            "values": [{"period_start": "2026-11-23T09:00:00Z", "q50_w": 9876}],
        })  # fmt: skip
        made("pro", "/flexibility/offers", OFFER)
        study = made("op", "/studies", STUDY)
        actions = desk.ask("pro", "GET", "/actions").json()["items"]
        self.order = order["id"]
        self.ids = {
            "order_id": order["id"], "connection_point": "cp-pro", "party": "pro", "run": run,
            "log": "records", "index": 0, "message_id": OFFER["message_id"],
            "action": actions[0]["action"],
            "/registrations": registration["id"], "/forecasts/received": forecast["id"],
            "/studies": study["id"],
        }  # fmt: skip

    def _make(self, party: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.desk.ask(party, "POST", path, json=body)
        assert answer.status_code == 201, answer.text
        said: dict[str, Any] = answer.json()
        return said

    def fill(self, path: str) -> str:
        """Put the ids of `pro` into a path; an unknown name in it fails."""
        if "{number}" in path:
            return path.format(number=self.ids[path.split("/{number}")[0]])
        if path.startswith("/runs/{run}/orders"):
            return path.format(run=self.ids["run"], order_id="o-pro")
        return path.format(**self.ids)

    def body(self, path: str) -> dict[str, Any]:
        """Return what a write to a path says of `pro`'s things; an unknown path fails."""
        foreign = self.desk.order(terms={"p_mw_max": 0.01, "price_eur_per_mwh": 1.0})
        cycle = {"feeder": "village", "cycle": "day_ahead", "delivery_day": DAY, "reason": "x"}
        bodies: dict[str, dict[str, Any]] = {
            "/token": {"json": {}},
            "/registrations/parties": {"json": {}},
            "/registrations": {"json": {"kind": "mandate", "agent": "agg", "scope": "trade",
                                        "connection_point": "cp-pro"}},
            "/registrations/{number}/decision": {"json": {"approve": True, "reason": "x"}},
            "/orders": {"json": foreign},
            "/trades/offer": {"json": foreign},
            "/orders/bulk": {"json": {"orders": [foreign]}},
            "/orders/{order_id}/cancel": {"json": {"reason": "x"}},
            "/deposits": {"json": {"party": "pro", "amount_micro_eur": 5, "reason": "x"}},
            "/forecasts": {"json": {
                "source": "x", "asset": "village/sgen:3", "issued_at": "2026-11-22T09:00:00Z",
                "values": [{"period_start": "2026-11-23T09:00:00Z", "q50_w": 1}]}},
            "/grid/demand": {"json": {}},
            "/flexibility/offers": {"json": {**OFFER, "message_id": OTHER_ID}},
            "/flexibility/revocations": {"json": {
                "message_id": OTHER_ID, "flex_offer_message_id": OFFER["message_id"]}},
            "/flexibility/orders": {"json": {
                "flex_offer_message_id": OFFER["message_id"], "option_reference": "a",
                "activation_factor": 1.0}},
            "/runs": {"json": cycle},
            "/grid/balance": {"json": cycle},
            "/runs/{run}/disclosure": {"json": {"record": self.desk.trade, "fields": ["bus"]}},
            "/studies": {"json": {**STUDY, "name": "mine"}},
            "/meters/reading": {"json": {
                "connection_point": "cp-pro", "period_start": "2026-11-22T08:00:00Z",
                "import_wh": 0, "export_wh": 0}},
            "/actions/{action}/disclosure": {"json": {"fields": ["verb"]}},
        }  # fmt: skip
        bodies["/production/forecast"] = bodies["/forecasts"]
        return bodies[path]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, cleared: Path) -> Iterator[World]:
    desk = make_desk(None, tmp_path_factory.mktemp("market"))
    with closing(desk.market.services):
        run = add_run(desk, cleared)
        desk.trade = next(
            row["trade_id"] for row in desk.ask("pro", "GET", "/trades").json()["items"]
        )
        yield World(desk, run)


def operations(desk: Desk) -> list[tuple[str, str]]:
    paths = desk.http.get("/api/v1/openapi.json").json()["paths"]
    return [(m, path.removeprefix("/api/v1")) for path, found in paths.items() for m in found]


def test_the_table_names_every_endpoint_and_no_other(world: World) -> None:
    assert set(operations(world.desk)) == set(ALLOWED)


def ask(world: World, party: str | None, method: str, path: str) -> Any:
    more = world.body(path) if method in WRITES else {}
    return world.desk.ask(party, method.upper(), world.fill(path), params=SPAN, **more)


def test_every_endpoint_admits_its_roles_and_no_other(world: World) -> None:
    checked = 0
    for (method, path), roles in ALLOWED.items():
        for party in (None, *ROLES):
            if party in ("op", "pro") and method in WRITES:
                continue  # whose writes would have effects; tested one by one elsewhere
            answer = ask(world, party, method, path)
            assert answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR, (path, party)
            if roles is None:
                assert answer.status_code not in (401, 403), (path, party, answer.text)
            elif party is None:
                assert answer.status_code == 401, (path, party)
            else:
                refused = answer.status_code == 403
                assert refused == (ROLES[party] not in roles), (path, party, answer.text)
            checked += 1
    assert checked >= 9 * len(ALLOWED) - 60


def test_what_is_anothers_is_like_what_is_not_there(world: World) -> None:
    """Own things are found; to those who may not know of them they do not exist."""
    foreign = [
        ("get", path)
        for (method, path) in ALLOWED
        if method == "get" and "{" in path and not path.startswith(("/ledger", "/runs/{run}/"))
    ]
    foreign += [("get", "/runs/{run}/orders/{order_id}/explanation"),
                ("post", "/runs/{run}/disclosure"), ("post", "/flexibility/revocations"),
                ("post", "/orders/{order_id}/cancel"),
                ("post", "/actions/{action}/disclosure")]  # fmt: skip
    seen = set()
    for method, path in foreign:
        roles = ALLOWED[method, path]
        assert roles is not None
        for party, role in ROLES.items():
            if role not in roles or role in ("operator", "auditor") or party in ("pro", "agg"):
                continue
            answer = ask(world, party, method, path)
            assert answer.status_code == 404, (path, party, answer.text)
            said = answer.json()["problems"][0]
            assert said["what"] == "is unknown"
            seen.add((path, party))
    assert len(seen) >= 2 * len(foreign) - 6
    for _, path in foreign:
        owner = "op" if path.startswith("/studies") else "pro"
        if path.endswith(("/cancel", "/result", "/disclosure", "/revocations")):
            continue
        assert ask(world, owner, "get", path).status_code == 200, path


def test_nothing_of_others_stands_in_any_answer(world: World) -> None:
    for method, path in ALLOWED:
        for party in (None, "rival", "sup", "plan", "meter"):
            shown = ask(world, party, method, path)
            if shown.status_code < 400:
                for mark in (*MARKS, world.order, "secret-study", '"o-pro"'):
                    assert mark not in shown.text, (path, party, mark)


def test_the_seeds_endpoints_are_all_here(world: World) -> None:
    """Each path that the projects before us named, and ours."""
    here = set(operations(world.desk))
    seeds = {
        ("post", "/orders"): ("post", "/orders"),
        ("get", "/orders/{id}"): ("get", "/orders/{order_id}"),
        ("post", "/orders/{id}/cancel"): ("post", "/orders/{order_id}/cancel"),
        ("get", "/trades"): ("get", "/trades"),
        ("get", "/grid/status"): ("get", "/grid/status"),
        ("get", "/grid/demand"): ("get", "/grid/demand"),
        ("put", "/grid/demand"): ("put", "/grid/demand"),
        ("get", "/grid/supply"): ("get", "/grid/supply"),
        ("post", "/grid/balance"): ("post", "/grid/balance"),
        ("get", "/grid/stability"): ("get", "/grid/stability"),
        ("post", "/meters/reading"): ("post", "/meters/reading"),
        ("get", "/meters/{id}/history"): ("get", "/meters/{connection_point}/history"),
        ("get", "/meters/{id}/production"): ("get", "/meters/{connection_point}/production"),
        ("get", "/meters/{id}/consumption"): ("get", "/meters/{connection_point}/consumption"),
        ("post", "/trades/offer"): ("post", "/trades/offer"),
        ("get", "/trades/available"): ("get", "/trades/available"),
        ("get", "/trades/history"): ("get", "/trades/history"),
        ("get", "/production/current"): ("get", "/production/current"),
        ("get", "/production/history"): ("get", "/production/history"),
        ("get", "/production/analytics"): ("get", "/production/analytics"),
        ("post", "/production/forecast"): ("post", "/production/forecast"),
        ("get", "/market"): ("get", "/market"),
        ("get", "/measurements"): ("get", "/meters/{connection_point}/history"),
        ("get", "/forecasts"): ("get", "/forecasts"),
    }
    missing = {seed: ours for seed, ours in seeds.items() if ours not in here}
    assert not missing
    # nobody executes a trade but the clearing
    for method in ("put", "post", "get"):
        answer = world.desk.ask("op", method.upper(), "/trades/execute")
        assert answer.status_code in (404, 405), method
