"""A congested winter day whose parties speak over HTTP: requests, offers, orders and a forecast."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from dso.api.app import make_api
from dso.api.client import MarketClient, MarketRefused
from dso.api.credentials import add_party_client
from dso.api.serving import operated_market
from dso.bootstrap import Services, open_services
from dso.clock import ReplayClock
from dso.cycles import past_coverage
from dso.scheduler.alarms import Alarms
from dso.scheduler.operation import Operation, Site
from dso.scheduler.worker import Worker, WorkerRules
from dso.store.due import set_simulated_now
from dso.store.told import newest_setpoints
from flexibility.procurement.write_messages import message_uuid
from tests.support.api_server import served_app
from tests.support.small_market import FEEDER, write_tight_configs

DAY = date(2016, 1, 20)
START = datetime(2016, 1, 19, 23, tzinfo=UTC)
OPENING = datetime(2016, 1, 19, 10, tzinfo=UTC)
GATE = datetime(2016, 1, 19, 12, 30, tzinfo=UTC)
PURCHASE = datetime(2016, 1, 19, 15, tzinfo=UTC)
POINT = "ea1.2026-01.grid.example:end"
SETTINGS = f"""
[forecast_sources.by_connection]
"{FEEDER}/load:1" = "mandate"
[[congestion_points]]
id = "{POINT}"
name = "End of the feeder"
elements = ["bus:16", "bus:17"]
bus = 17
"""
OWNER, RIVAL = "default-supplier", "aggregator-north"
FORECAST_W = 55_000


def _offer(name: str, load: int, eur: float, start: int, duration: int) -> dict[str, Any]:
    option = {
        "option_reference": "a", "price_eur": eur, "min_activation_factor": 0.1,
        "isps": [{"power_w": -60_000, "start": start, "duration": duration}],
    }  # fmt: skip
    return {
        "message_id": message_uuid(name), "congestion_point": POINT, "period": DAY.isoformat(),
        "connection": f"{FEEDER}/load:{load}", "expiration_date_time": "2016-01-20T10:00:00Z",
        "penalty_eur_per_mwh": 50, "options": [option],
    }  # fmt: skip


OFFERS = {
    "noon": _offer("noon", 14, 18.0, 38, 8),
    "evening": _offer("evening", 15, 20.25, 76, 9),
    "dear": _offer("dear", 13, 202.5, 76, 9),
    "back": _offer("back", 11, 1.0, 76, 9),
    "ready": _offer("ready", 10, 202.5, 76, 9),
}
# Of a load that has a position in the market, by the party that holds it.
RIVALS = _offer("later", 16, 8.0, 78, 4) | {"expiration_date_time": "2016-01-20T17:00:00Z"}
RIVALS["options"][0]["isps"][0]["power_w"] = -5_000
LATE = _offer("late", 17, 1.0, 76, 9)


class Stand:
    """A market, its server and its parties; what was said on the way."""

    def __init__(self, folder: Path, services: Services, stack: ExitStack) -> None:
        self.services = services
        site = Site(
            feeders=(FEEDER,),
            out=folder / "out",
            configs=write_tight_configs(folder / "configs", SETTINGS),
        )
        self.operation = Operation(site, services)
        self.day = site.out / FEEDER / DAY.isoformat()
        self.at(OPENING)
        market = operated_market(self.operation, today=DAY)
        self.url = stack.enter_context(served_app(make_api(market)))
        self.clients: dict[str, MarketClient] = {}
        for party, role in ((OWNER, "supplier"), (RIVAL, "aggregator"), ("room", "operator")):
            said = add_party_client(services.store, party, role)  # type: ignore[arg-type]
            client = MarketClient(
                self.url, client_id=said.client_id, client_secret=said.client_secret
            )
            self.clients[party] = stack.enter_context(closing(client))

    def at(self, now: datetime) -> None:
        """Move the market's time and perform what is due."""
        set_simulated_now(self.services.store, now)
        self.operation.insert_due(now, since=DAY, until=DAY)
        worker = Worker(
            self.operation, clock=ReplayClock(at=now), rules=WorkerRules(name="w"), alarms=Alarms()
        )
        while worker.run_one():
            pass

    def messages(self, party: str, kind: str) -> list[dict[str, Any]]:
        return list(self.clients[party].rows("/flexibility/messages", kind=kind))

    def refused(self, party: str, offer: dict[str, Any]) -> tuple[int, list[str]]:
        with pytest.raises(MarketRefused) as error:
            self.clients[party].offer_flexibility(offer)
        return error.value.status, [problem.what for problem in error.value.problems]


@dataclass
class Said:
    stand: Stand
    request_seen: list[dict[str, Any]]
    late: tuple[int, list[str]]
    again: dict[str, Any]
    first: dict[str, Any]
    taken_back: int
    by_hand: int


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Said]:
    folder = tmp_path_factory.mktemp("market")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(past_coverage, "PAST_DAYS", 2)  # each a forecast of its own
        cheap = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
        patch.setattr("dso.api.credentials._hasher", lambda: cheap)
        services = open_services(None, out=folder / "out", keys=folder / "keys")
        stack.enter_context(closing(services))
        yield _have_the_day(Stand(folder, services, stack))


def _have_the_day(stand: Stand) -> Said:
    owner, room = stand.clients[OWNER], stand.clients["room"]
    values = [
        {"period_start": (START + k * timedelta(minutes=15)).strftime("%Y-%m-%dT%H:%M:%SZ"),
         "q50_w": FORECAST_W}
        for k in range(96)
    ]  # fmt: skip
    owner.hand_in_forecast(f"{FEEDER}/load:1", "own model", OPENING, values)
    stand.at(GATE)
    seen = stand.messages(OWNER, "FlexRequest")
    stand.at(GATE + timedelta(minutes=30))
    kept = {name: owner.offer_flexibility(offer) for name, offer in OFFERS.items()}
    stand.clients[RIVAL].offer_flexibility(RIVALS)
    by_hand = _status(lambda: room.order_flexibility(OFFERS["dear"]["message_id"], "a", 1.0))
    owner.take_back_offer(message_uuid("back", 1), OFFERS["back"]["message_id"])
    set_simulated_now(stand.services.store, PURCHASE)  # the gate, before anything is decided
    late = stand.refused(OWNER, LATE)
    again = owner.offer_flexibility(OFFERS["noon"])
    taken_back = _status(
        lambda: owner.take_back_offer(message_uuid("back", 2), OFFERS["dear"]["message_id"])
    )
    stand.at(PURCHASE)
    return Said(
        stand=stand, request_seen=seen, late=late, again=again, first=kept["noon"],
        taken_back=taken_back, by_hand=by_hand,
    )  # fmt: skip


def _status(ask: Any) -> int:
    with pytest.raises(MarketRefused) as error:
        ask()
    return error.value.status


def test_the_cycle_publishes_its_request_to_those_on_the_feeder(said: Said) -> None:
    (request,) = said.request_seen
    path = said.stand.day / "forecast/requests/20160119T1230Z/requests.json"
    assert [request["content"]] == json.loads(path.read_text())
    assert request["received_at"] == "2016-01-19T12:30:00Z"
    assert (request["party"], request["feeder"]) == ("Gridclear demonstration operator", FEEDER)
    assert said.stand.messages(RIVAL, "FlexRequest")[0]["message_id"] == request["message_id"]


def test_what_was_offered_over_http_is_bought_at_least_cost(said: Said) -> None:
    place = said.stand.day / "flexibility"
    told = json.loads((place / "purchase.json").read_text())
    assert told["decided_at"] == "2016-01-19T15:00:00Z"
    assert told["state"] == "yellow"
    assert told["missing_before"]
    assert (told["missing"], told["fallbacks"]) == ([], [])
    orders = json.loads((place / "orders.json").read_text())
    bought = [order["flex_offer_message_id"] for order in orders]
    assert bought == [OFFERS[name]["message_id"] for name in ("noon", "evening")]
    rejected = {each["message_id"]: each["rejection_reasons"] for each in told["rejections"]}
    assert rejected == {OFFERS["back"]["message_id"]: ["Reference Message Revoked"]}
    # what was read is beside the purchase, as `dso flexibility buy --messages` takes it
    read = json.loads((place / "messages.json").read_text())
    kinds = [each["message"] for each in read]
    assert kinds == ["FlexRequest"] + (len(OFFERS) + 1) * ["FlexOffer"] + ["FlexOfferRevocation"]


def test_an_order_is_read_by_its_party_and_nobody_elses(said: Said) -> None:
    stand = said.stand
    orders = json.loads((stand.day / "flexibility/orders.json").read_text())
    mine = stand.messages(OWNER, "FlexOrder")
    assert [each["content"] for each in mine] == orders
    assert {each["participant"] for each in mine} == {OWNER}
    assert [each["message_id"] for each in stand.messages("room", "FlexOrder")] == [
        each["message_id"] for each in mine
    ]
    assert stand.messages(RIVAL, "FlexOrder") == []
    for each in mine:
        assert _status(
            lambda each=each: stand.clients[RIVAL].flexibility_message(each["message_id"])
        ) == 404  # fmt: skip


def test_the_gate_is_the_commit_and_decides_once(said: Said) -> None:
    status, what = said.late
    assert (status, what) == (422, ["comes after the gate of the purchase, 2016-01-19T15:00:00Z"])
    assert said.again == said.first  # said again after the gate: it was kept before
    assert (said.taken_back, said.by_hand) == (409, 409)
    owner, room = said.stand.clients[OWNER], said.stand.clients["room"]
    # what the purchase left is free again: people may order it, its sender may take it back
    back = owner.take_back_offer(message_uuid("back", 3), OFFERS["dear"]["message_id"])
    assert back["kind"] == "FlexOfferRevocation"
    assert _status(lambda: room.order_flexibility(OFFERS["noon"]["message_id"], "a", 1.0)) == 409
    stand = said.stand
    before = (stand.day / "flexibility/orders.json").read_bytes()
    (due,) = [row for row in stand.operation.queue.states() if row["cycle"].endswith("purchase")]
    assert (due["state"], due["light"]) == ("done", "yellow")
    assert (stand.day / "flexibility/orders.json").read_bytes() == before


def test_a_forecast_over_http_serves_in_the_market(said: Said) -> None:
    with (said.stand.day / "forecast/forecast.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["series"] == "load:1"]
    assert {float(row["q50"]) for row in rows} == {FORECAST_W / 1e6}
    with (said.stand.day / "clearing/profiles.csv").open(newline="") as stream:
        profiles = [row for row in csv.DictReader(stream) if row["id"] == "1"]
    loads = [row for row in profiles if row["element"] == "load"]
    assert {float(row["p_mw"]) for row in loads} == {FORECAST_W / 1e6}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_what_people_order_after_the_purchase_is_dispatched_and_settled(said: Said) -> None:
    """One before the round's gate, one after it; the last test, for it lets the day pass."""
    stand, room = said.stand, said.stand.clients["room"]
    before = stand.day / "flexibility/orders.json"
    bought = before.read_bytes()
    back = _status(
        lambda: room.order_flexibility(OFFERS["back"]["message_id"], "a", 1.0)
    )  # the purchase rejected it: it was taken back
    assert back == 422
    ready = room.order_flexibility(OFFERS["ready"]["message_id"], "a", 0.5)
    stand.at(START - timedelta(minutes=30))
    set_simulated_now(stand.services.store, START + timedelta(hours=12))
    later = room.order_flexibility(RIVALS["message_id"], "a", 1.0)
    assert before.read_bytes() == bought
    evening = START + timedelta(hours=19, minutes=15)
    stand.at(evening)
    with stand.services.store.transaction() as connection:
        told = newest_setpoints(
            connection, market="four-rounds", feeder=FEEDER,
            after=evening - timedelta(minutes=1), until=evening,
        )  # fmt: skip
    (said_w,) = [each.p_w for each in told if each.asset == "load:16"]
    stand.at(START + timedelta(days=1, hours=6))

    (label,) = [path.name for path in (stand.day / "clearing/intraday").iterdir()]
    book = json.loads((stand.day / f"clearing/intraday/{label}/orders.json").read_text())
    by_hand = [order for order in book if ready["content"]["order_reference"] in order["id"]]
    assert [(order["kind"], order["bus"]) for order in by_hand] == [("generation", 11)]
    assert max(by_hand[0]["p_mw_min"]) == 0.03
    notes = json.loads((stand.day / f"forecast/intraday/{label}.json").read_text())
    references = [order["order_reference"] for order in json.loads(bought)]
    assert notes["bought"] == [*references, ready["content"]["order_reference"]]

    rows = _rows(stand.day / "settlement/activations.csv")
    mine = {load: [row for row in rows if row["connection"] == f"load:{load}"] for load in (16, 10)}
    assert [len(mine[10]), len(mine[16])] == [9, 4]
    assert {float(row["ordered_mw"]) for row in mine[10]} == {0.03}
    assert {float(row["ordered_mw"]) for row in mine[16]} == {0.005}
    assert [{row["participant"] for row in mine[load]} for load in (10, 16)] == [{OWNER}, {RIVAL}]
    # told and dispatched: 5 kW less than the market left it with, which settlement has in Wh
    position_mw = -float(mine[16][0]["baseline_mw"])
    assert said_w == pytest.approx(1e6 * (position_mw + 0.005), abs=2)
    setpoints = {
        row["period_start"]: float(row["setpoint_mw"])
        for row in _rows(stand.day / "dispatch/delivery.csv")
        if row["asset"] == "load:16"
    }
    for row in mine[16]:
        sold_mw = -float(row["baseline_mw"])
        assert setpoints[row["period_start"]] == pytest.approx(sold_mw + 0.005, abs=2e-6)
    paid = {
        line["participant"]
        for line in _rows(stand.day / "settlement/lines.csv")
        if line["kind"] == "flexibility" and line["connection"] == "load:16"
    }
    assert RIVAL in paid
    assert stand.messages(OWNER, "FlexOrder")[-1]["message_id"] == ready["message_id"]
    assert [each["message_id"] for each in stand.messages(RIVAL, "FlexOrder")] == [
        later["message_id"]
    ]
    states = {row["cycle"]: row["state"] for row in stand.operation.queue.states()}
    assert (states["dispatch"], states["settlement"]) == ("done", "done")
