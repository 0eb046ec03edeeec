"""Requests, offers, revocations and orders of flexibility over HTTP, on each database."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.periods import DeliveryDay, format_utc
from data.study.order_fields import OrderContext
from dso.cycles.timetable import FLEXIBILITY_PURCHASE, MARKET_LANE
from dso.flexibility.buy import Tray
from dso.store import DueCycle, DueQueue, Ending
from dso.store.book import pass_gate
from dso.store.flexibility_messages import messages_before
from flexibility.procurement.acceptance import Desk as Judges
from flexibility.procurement.acceptance import judge_offers
from flexibility.procurement.border import LocalIsps
from flexibility.procurement.read_messages import read_messages
from flexibility.procurement.records import FlexRequest
from flexibility.procurement.write_messages import message_uuid, request_to_plain
from tests.support.api_market import DAY, NORTH, NOW, Desk

PERIODS = DeliveryDay(day=date.fromisoformat(DAY)).periods
ISPS = LocalIsps.of(PERIODS, "Europe/Berlin")
REQUEST_ID = message_uuid("request", 1)


def request_message(**changed: Any) -> dict[str, Any]:
    """A request as `dso flexibility request` writes it: 8 kW of injection for an hour at noon."""
    requested = np.zeros(96, dtype=bool)
    requested[48:52] = True
    request = FlexRequest(
        message_id=REQUEST_ID, congestion_point=NORTH.id, revision=1,
        expires_at=NOW + timedelta(hours=8), requested=requested,
        injection_mw_min=np.where(requested, 0.0, -0.02),
        injection_mw_max=np.where(requested, 0.008, 0.01),
    )  # fmt: skip
    return {**request_to_plain(request, ISPS), **changed}


def offer_message(number: int, **changed: Any) -> dict[str, Any]:
    option = {
        "option_reference": "a", "price_eur": 12.5, "min_activation_factor": 0.1,
        "isps": [{"power_w": -5000, "start": 49, "duration": 4}],
    }  # fmt: skip
    return {
        "message_id": message_uuid("offer", number), "flex_request_message_id": REQUEST_ID,
        "congestion_point": NORTH.id, "connection": "village/sgen:3", "period": DAY,
        "expiration_date_time": "2026-11-22T20:00:00Z", "options": [option], **changed,
    }  # fmt: skip


def say(desk: Desk, party: str, path: str, body: dict[str, Any], status: int = 201) -> Any:
    method = "PUT" if path == "/grid/demand" else "POST"
    answer = desk.ask(party, method, path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def seen(desk: Desk, party: str, **query: Any) -> list[dict[str, Any]]:
    answer = desk.ask(party, "GET", "/flexibility/messages", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def test_from_request_to_order(desk_on_each: Desk, tmp_path: Path) -> None:
    desk = desk_on_each
    published = say(desk, "op", "/grid/demand", request_message())
    assert published["feeder"] == "village"
    # those who may trade on the feeder read it: by a connection of their own or by a mandate
    for party in ("pro", "rival", "agg", "op", "aud"):
        assert [each["content"] for each in seen(desk, party, day=DAY)] == [published["content"]]
    assert seen(desk, "sup") == []
    unseen = desk.ask("sup", "GET", f"/flexibility/messages/{REQUEST_ID}")
    assert unseen.status_code == 404

    mine = say(desk, "agg", "/flexibility/offers", offer_message(1))
    assert mine["content"]["participant"] == "agg"
    assert mine["content"]["received_at"] == "2026-11-22T10:00:00Z"
    assert mine["content"]["bus"] == 3
    other = say(desk, "rival", "/flexibility/offers", offer_message(2, connection="village/sgen:4"))
    assert [each["kind"] for each in seen(desk, "rival")] == ["FlexRequest", "FlexOffer"]
    assert [each["message_id"] for each in seen(desk, "agg", kind="FlexOffer")] == [
        mine["message_id"]
    ]

    # what the operator reads is what `dso flexibility buy` takes
    path = tmp_path / "messages.json"
    path.write_text(json.dumps([each["content"] for each in seen(desk, "op")]), encoding="utf-8")
    context = OrderContext(period_count=96, bus_of_asset=None, running_buses=None)
    points = {NORTH.id: NORTH}
    inbox = read_messages([path], context, PERIODS, "Europe/Berlin", points)
    requests = {each.message_id: each for each in inbox.requests}
    judges = Judges(points=points, requests=requests, contracts={}, at=NOW)
    counting, rejected = judge_offers(inbox.offers, inbox.revocations, judges)
    assert [each.participant for each in Tray(offers=counting).offers] == ["agg", "rival"]
    assert rejected == ()
    assert counting[0].options[0].injection_mw[48:52] == pytest.approx(0.005)
    assert counting[0].buses == ((3, 1.0),)

    # a quarter of the option is ordered, at a quarter of its price; only its party reads it
    order = say(desk, "op", "/flexibility/orders", {
        "flex_offer_message_id": mine["message_id"], "option_reference": "a",
        "activation_factor": 0.25,
    })  # fmt: skip
    assert order["participant"] == "agg"
    assert order["content"]["price_eur"] == 3.125
    assert order["content"]["isps"] == [{"power_w": -5000, "start": 49, "duration": 4}]
    place = f"/flexibility/messages/{order['message_id']}"
    assert desk.ask("agg", "GET", place).json()["content"]["activation_factor"] == 0.25
    for party in ("rival", "pro", "sup"):
        assert desk.ask(party, "GET", place).status_code == 404
    # ordered is ordered: it cannot be taken back; what was taken back cannot be ordered
    said = say(desk, "agg", "/flexibility/revocations", {
        "message_id": message_uuid("back", 1), "flex_offer_message_id": mine["message_id"],
    }, status=409)  # fmt: skip
    assert said["problems"][0]["what"] == "was ordered or taken back before"
    say(desk, "rival", "/flexibility/revocations", {
        "message_id": message_uuid("back", 2), "flex_offer_message_id": other["message_id"],
    })  # fmt: skip
    say(desk, "op", "/flexibility/orders", {
        "flex_offer_message_id": other["message_id"], "option_reference": "a",
        "activation_factor": 1.0,
    }, status=409)  # fmt: skip
    verbs = [row["verb"] for row in desk.ask("agg", "GET", "/actions").json()["items"]]
    assert verbs == ["flexibility"]


def test_the_same_message_again_and_another_under_its_id(desk: Desk) -> None:
    first = say(desk, "op", "/grid/demand", request_message())
    desk.set_now(NOW + timedelta(minutes=5))
    assert say(desk, "op", "/grid/demand", request_message()) == first
    said = say(desk, "op", "/grid/demand", request_message(revision=2), status=409)
    assert said["problems"][0]["where"] == "message_id"
    mine = say(desk, "agg", "/flexibility/offers", offer_message(1))
    desk.set_now(NOW + timedelta(minutes=10))
    assert say(desk, "agg", "/flexibility/offers", offer_message(1)) == mine
    # the prosumer may trade for the same asset and is another sender
    say(desk, "pro", "/flexibility/offers", offer_message(1), status=409)
    assert len(seen(desk, "op")) == 2


def test_every_problem_of_a_message_is_listed_and_nothing_kept(desk: Desk) -> None:
    say(desk, "op", "/grid/demand", request_message())
    before = seen(desk, "op")
    options = [
        {"option_reference": "a", "price_eur": 1.0, "isps": [{"power_w": 0, "start": 1}]},
        {"option_reference": "a", "price_eur": 1.0,
         "isps": [{"power_w": -70_000, "start": 96, "duration": 2},
                  {"power_w": 90_000, "start": 3}]},
    ]  # fmt: skip
    wrong = offer_message(
        3, options=options, expiration_date_time="2026-11-22T09:00:00Z",
        connection="village/sgen:4", flex_request_message_id=message_uuid("nothing"),
    )  # fmt: skip
    found = {
        each["what"] for each in say(desk, "agg", "/flexibility/offers", wrong, 422)["problems"]
    }
    assert found == {
        "is unknown", "ISPs Out Of Bounds: 96 to 97", "Expiration DateTime Out Of Bounds",
        "Option references are not unique", "An option offers no power", "Unknown Reference",
    }  # fmt: skip
    wide = offer_message(4, options=[{**options[1], "isps": [{"power_w": 60_001, "start": 49}]}])
    (problem,) = say(desk, "agg", "/flexibility/offers", wide, 422)["problems"]
    assert "more than the connection's contract" in problem["what"]
    elsewhere = offer_message(5, congestion_point="ea1.2026-01.grid.example:south")
    (problem,) = say(desk, "agg", "/flexibility/offers", elsewhere, 422)["problems"]
    assert problem["where"] == "congestion_point"
    late = request_message(
        message_id=message_uuid("request", 2), expiration_date_time="2026-11-22T09:00:00Z",
        isp_duration="PT5M", time_zone="UTC",
    )  # fmt: skip
    what = [each["what"] for each in say(desk, "op", "/grid/demand", late, 422)["problems"]]
    assert what == [
        "ISP Duration Rejected: PT5M", "TimeZone Rejected: UTC", "is not in the future",
    ]  # fmt: skip
    assert seen(desk, "op") == before


def test_an_order_keeps_to_its_offer(desk: Desk) -> None:
    """Factor, option and expiry are those of the offer; nobody else's offer can be taken back."""
    mine = say(desk, "agg", "/flexibility/offers", offer_message(1, flex_request_message_id=None))
    wanted = {"flex_offer_message_id": mine["message_id"], "option_reference": "a",
              "activation_factor": 0.055}  # fmt: skip
    problems = say(desk, "op", "/flexibility/orders", wanted, 422)["problems"]
    assert [each["what"] for each in problems] == [
        "is no whole hundredth", "is below the least of the option, 0.1",
    ]  # fmt: skip
    no_option = {**wanted, "option_reference": "b", "activation_factor": 0.5}
    assert say(desk, "op", "/flexibility/orders", no_option, 422)["problems"][0]["where"] == (
        "option_reference"
    )
    back = {"message_id": message_uuid("back"), "flex_offer_message_id": mine["message_id"]}
    assert say(desk, "rival", "/flexibility/revocations", back, 404)["problems"][0]["what"] == (
        "is unknown"
    )
    desk.set_now(NOW + timedelta(hours=11))
    late = say(desk, "op", "/flexibility/orders", {**wanted, "activation_factor": 0.5}, 422)
    assert [each["what"] for each in late["problems"]] == ["has expired"]


def test_what_begins_is_not_ordered_any_more(desk: Desk) -> None:
    """An order counts if its commit precedes what it is about; said again, it is as before."""
    expires = "2026-11-24T00:00:00Z"
    offers = [
        say(desk, "agg", "/flexibility/offers",
            offer_message(number, flex_request_message_id=None, expiration_date_time=expires))
        for number in (1, 2)
    ]  # fmt: skip
    wanted = [
        {"flex_offer_message_id": each["message_id"], "option_reference": "a",
         "activation_factor": 1.0}
        for each in offers
    ]  # fmt: skip
    begins = PERIODS.starts[48]
    desk.set_now(begins - timedelta(seconds=1))
    kept = say(desk, "op", "/flexibility/orders", wanted[0])
    assert kept["received_at"] == format_utc(begins - timedelta(seconds=1))
    desk.set_now(begins)
    assert say(desk, "op", "/flexibility/orders", wanted[0]) == kept
    (problem,) = say(desk, "op", "/flexibility/orders", wanted[1], 422)["problems"]
    assert problem["what"] == f"begins at {format_utc(begins)}; it is too late to order it"


BOUGHT_AT = NOW + timedelta(hours=5)
OFFERS, SENDERS = 40, 4


def decide(desk: Desk) -> None:
    """Let the purchase of the day end."""
    due = DueCycle(
        market="test", feeder="village", cycle=FLEXIBILITY_PURCHASE, first_period=PERIODS.start,
        lane=MARKET_LANE, day=date.fromisoformat(DAY), due_at=BOUGHT_AT, late_after=BOUGHT_AT,
    )  # fmt: skip
    queue = DueQueue(desk.market.services.store)
    queue.add([due])
    leased = queue.lease("w", now=BOUGHT_AT, lease_s=60.0)
    assert leased is not None
    assert queue.finish(leased, Ending(outcome="done", light="green"))


def test_the_purchase_has_a_gate(desk: Desk) -> None:
    """Offers come before it; from then on until its result nobody takes back or orders by hand."""
    desk.calendar.purchase_gate = BOUGHT_AT
    said = desk.ask(None, "GET", "/market", params={"day": DAY}).json()["feeders"][0]
    assert said["purchase_gate"] == format_utc(BOUGHT_AT)
    say(desk, "op", "/grid/demand", request_message())
    mine = say(desk, "agg", "/flexibility/offers", offer_message(1))
    other = say(desk, "agg", "/flexibility/offers", offer_message(2))
    wanted = {"flex_offer_message_id": mine["message_id"], "option_reference": "a",
              "activation_factor": 1.0}  # fmt: skip
    say(desk, "op", "/flexibility/orders", wanted, 409)
    desk.set_now(BOUGHT_AT)
    (problem,) = say(desk, "agg", "/flexibility/offers", offer_message(3), 422)["problems"]
    assert problem["what"] == f"comes after the gate of the purchase, {format_utc(BOUGHT_AT)}"
    assert say(desk, "agg", "/flexibility/offers", offer_message(1)) == mine
    back = {"message_id": message_uuid("back"), "flex_offer_message_id": other["message_id"]}
    (problem,) = say(desk, "agg", "/flexibility/revocations", back, 409)["problems"]
    assert problem["what"].startswith("is decided about by the purchase")
    say(desk, "op", "/flexibility/orders", wanted, 409)
    decide(desk)
    say(desk, "agg", "/flexibility/revocations", back)
    say(desk, "op", "/flexibility/orders", wanted)


def test_an_offer_counts_if_and_only_if_its_commit_precedes_the_gate(desk_on_each: Desk) -> None:
    """Offers arrive while the gate is read; the clock that stamps them lags behind it."""
    desk = desk_on_each
    store = desk.market.services.store
    desk.calendar.purchase_gate = BOUGHT_AT
    desk.set_now(BOUGHT_AT - timedelta(seconds=1))
    head, half, read = desk.headers("agg"), threading.Semaphore(0), []
    passed = threading.Event()

    def send(number: int) -> int:
        if number >= OFFERS * 3 // 4:
            passed.wait(60)  # the last ones come after it for sure
        body = offer_message(number, flex_request_message_id=None)
        answer = desk.http.post("/api/v1/flexibility/offers", json=body, headers=head)
        half.release()
        return int(answer.status_code)

    def gate() -> None:
        for _ in range(OFFERS // 2):
            half.acquire()
        desk.set_now(BOUGHT_AT)
        day = date.fromisoformat(DAY)
        book = desk.calendar.trading_day("village", day).book("village", day)
        with store.transaction() as connection:
            pass_gate(connection, book, BOUGHT_AT)
            rows = messages_before(connection, feeder="village", day=day, gate=BOUGHT_AT)
            read.extend(row.message_id for row in rows)
        desk.set_now(BOUGHT_AT - timedelta(seconds=1))  # a clock that lags
        passed.set()

    reader = threading.Thread(target=gate)
    reader.start()
    with ThreadPoolExecutor(SENDERS) as pool:
        statuses = dict(enumerate(pool.map(send, range(OFFERS))))
    reader.join()
    kept = {message_uuid("offer", number) for number, code in statuses.items() if code == 201}
    assert set(statuses.values()) == {201, 422}  # each is answered, none is in doubt
    assert set(read) == kept
    assert len(kept) >= OFFERS // 2
