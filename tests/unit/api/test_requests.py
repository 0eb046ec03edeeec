"""Writes beyond orders: forecasts, studies, cycles, collateral, kinds of orders, disclosures."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from data.periods import parse_utc
from dso.api.routes_ledger import post_waiting_actions
from dso.api.study_files import BYTES_MAX, pack
from dso.api.study_runner import run_waiting_study
from dso.settlement.collateral import CollateralRules
from dso.store.book import BookKey, close_book, close_round, pass_gate
from dso.store.register import Register
from dso.store.register_records import Asset, ConnectionPoint
from ledger_adapter.verify.disclosure import verify_disclosure
from ledger_adapter.verify.receipt import TrustPolicy
from tests.support.api_market import DAY, GATE, NOW, Desk
from tests.support.cases import library_network

ROUND = parse_utc("2026-11-23T04:30:00Z")


def whats(answer: Any) -> dict[str, str]:
    return {each["where"]: each["what"] for each in answer.json()["problems"]}


def forecast(**more: Any) -> dict[str, Any]:
    hours = [f"2026-11-23T{hour:02}:00:00Z" for hour in range(8, 12)]
    values = [{"period_start": at, "q10_w": 500, "q50_w": 900, "q90_w": 1500} for at in hours]
    return {"source": "X", "asset": "village/sgen:3", "issued_at": "2026-11-22T09:00:00Z",
            "values": values, **more}  # fmt: skip


def test_a_forecast_is_kept_with_source_time_digest_and_what_was_left_out(
    desk_on_each: Desk,
) -> None:
    desk = desk_on_each
    said = forecast()
    said["values"][1]["q90_w"] = 20_001  # more than the plant can do
    taken = desk.ask("agg", "POST", "/forecasts", json=said)
    assert taken.status_code == 201, taken.text
    kept = taken.json()
    assert (kept["periods"], kept["left_out"], kept["source"]) == (3, 1, "X")
    assert (kept["issued_at"], kept["received_at"]) == (
        "2026-11-22T09:00:00Z", "2026-11-22T10:00:00Z",
    )  # fmt: skip
    assert len(kept["sha256"]) == 64
    again = desk.ask("agg", "POST", "/production/forecast", json=said).json()
    assert again == kept  # the same content is the same forecast
    read = desk.ask("agg", "GET", f"/forecasts/received/{kept['id']}").json()
    assert [value["q50_w"] for value in read["values"]] == [900] * 3
    assert read["comparison"] is None  # we have none of that day
    listed = desk.ask("agg", "GET", "/forecasts/received").json()["items"]
    assert [row["id"] for row in listed] == [kept["id"]]
    assert desk.ask("rival", "GET", f"/forecasts/received/{kept['id']}").status_code == 404


def test_no_forecast_is_received_before_a_gate_that_was_read(desk_on_each: Desk) -> None:
    """Also where the clock that stamps it lags behind the one that read."""
    desk = desk_on_each
    book = BookKey(feeder="village", day=DAY, gate=GATE)
    desk.set_now(GATE)
    with desk.market.services.store.transaction() as connection:
        pass_gate(connection, book, GATE)
    desk.set_now(GATE - timedelta(minutes=1))
    late = desk.ask("agg", "POST", "/forecasts", json=forecast()).json()
    assert late["received_at"] == "2026-11-22T12:30:00Z"
    elsewhere = [{"period_start": "2026-11-25T08:00:00Z", "q50_w": 900}]
    other = desk.ask("agg", "POST", "/forecasts", json=forecast(values=elsewhere)).json()
    assert other["received_at"] == "2026-11-22T12:29:00Z"  # about a day whose gate is to come


def test_a_forecast_lists_all_that_is_wrong(desk: Desk) -> None:
    said = forecast(issued_at="2026-11-22T10:00:01Z")
    said["values"][0]["period_start"] = "2026-11-23T08:07:00Z"
    said["values"][1]["q10_w"] = 901
    said["values"][3]["period_start"] = said["values"][2]["period_start"]
    found = whats(desk.ask("agg", "POST", "/forecasts", json=said))
    assert found == {
        "issued_at": "is in the future",
        "values[0].period_start": "begins no period",
        "values[1]": "its quantiles cross",
        "values[3].period_start": "states a period twice",
    }
    foreign = desk.ask("rival", "POST", "/forecasts", json=forecast())
    assert whats(foreign) == {"asset": "is unknown"}
    body = json.dumps(forecast()).replace("900", "NaN", 1)
    head = {"content-type": "application/json"}
    assert desk.ask("agg", "POST", "/forecasts", content=body, headers=head).status_code == 422


def archive(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return target.getvalue()


def study_files(cleared: Path) -> dict[str, bytes]:
    names = ("study.toml", "orders.json", "profiles.csv", "import_price.csv")
    return {name: (cleared / name).read_bytes() for name in names}


def test_a_study_is_cleared_and_gives_what_dso_clear_gives(desk: Desk, cleared: Path) -> None:
    files = study_files(cleared)
    zipped = archive({f"my-study/{name}": content for name, content in files.items()})
    head = {"content-type": "application/zip"}
    first = desk.ask(
        "plan", "POST", "/studies", params={"name": "pv"}, content=zipped, headers=head
    )
    assert (first.status_code, first.json()["state"]) == (201, "waiting")
    broken = {"name": "b", "files": {"study.toml": "name = 3", "orders.json": "[]"}}
    second = desk.ask("plan", "POST", "/studies", json=broken).json()["id"]
    number = first.json()["id"]
    assert desk.ask("plan", "GET", f"/studies/{number}/result").status_code == 409
    store, machine = desk.market.services.store, desk.clock
    while run_waiting_study(store, machine, "runner"):
        pass
    done = desk.ask("plan", "GET", f"/studies/{number}").json()
    assert (done["state"], done["exit_code"], done["summary"]["status"]) == ("done", 0, "certified")
    result = desk.ask("plan", "GET", f"/studies/{number}/result")
    with zipfile.ZipFile(io.BytesIO(result.content)) as made:
        for name in ("prices.csv", "awards.csv", "trades.csv", "summary.json"):
            assert made.read(name) == (cleared / name).read_bytes(), name
    refused = desk.ask("plan", "GET", f"/studies/{second}").json()
    assert (refused["state"], refused["exit_code"]) == ("refused", 2)
    assert any("start" in line for line in refused["said"])
    assert "/tmp" not in " ".join(refused["said"])
    assert [row["state"] for row in desk.ask("aud", "GET", "/studies").json()["items"]] == [
        "done", "refused",
    ]  # fmt: skip
    assert desk.ask("agg", "GET", "/studies").status_code == 403


@pytest.mark.parametrize(
    "files",
    [
        {"../study.toml": b"x", "orders.json": b"[]"},
        {"study.toml": b"x", "orders.json": b"[]", "/etc/passwd": b"x"},
        {"study.toml": b"x", "orders.json": b"[]", "run.py": b"x"},
        {"orders.json": b"[]"},
        {f"{k}.csv": b"" for k in range(30)},
        {"study.toml": b"0" * (BYTES_MAX + 1), "orders.json": b"[]"},
    ],
)
def test_an_archive_that_is_no_study_is_refused(desk: Desk, files: dict[str, bytes]) -> None:
    head = {"content-type": "application/zip"}
    content = archive(files)
    assert len(content) < 1_000_000
    assert desk.ask("plan", "POST", "/studies", content=content, headers=head).status_code == 422
    cut = desk.ask("plan", "POST", "/studies", content=content[:-30], headers=head)
    assert cut.status_code == 422


def test_a_runner_that_dies_is_followed_by_another_and_at_last_named(desk_on_each: Desk) -> None:
    from dso.store.study_requests import ATTEMPTS_MAX, StudyEnding, end_study, lease_study

    desk = desk_on_each
    content = pack({"study.toml": b"x", "orders.json": b"[]"})
    head = {"content-type": "application/zip"}
    number = desk.ask("plan", "POST", "/studies", content=content, headers=head).json()["id"]
    store, at = desk.market.services.store, NOW
    first = lease_study(store, "a", machine=at, lease_s=10)
    assert first is not None
    assert lease_study(store, "b", machine=at, lease_s=10) is None
    for _ in range(ATTEMPTS_MAX - 1):
        at += timedelta(seconds=20)
        assert lease_study(store, "b", machine=at, lease_s=10) is not None
    done = StudyEnding(state="done", exit_code=0, said="")
    assert not end_study(store, first, done, machine=at)  # another has it
    assert lease_study(store, "b", machine=at + timedelta(seconds=20), lease_s=10) is None
    assert desk.ask("plan", "GET", f"/studies/{number}").json()["state"] == "failed"


def test_a_cycle_that_is_asked_for_stands_in_the_queue_once(desk_on_each: Desk) -> None:
    desk = desk_on_each
    wanted = {"feeder": "village", "cycle": "day_ahead", "delivery_day": DAY, "reason": "again"}
    early = desk.ask("op", "POST", "/runs", json=wanted)
    assert early.status_code == 422
    assert "still to come" in early.text
    desk.set_now(GATE)
    first = desk.ask("op", "POST", "/runs", json=wanted)
    assert (first.status_code, first.json()["state"]) == (201, "due")
    again = desk.ask("op", "POST", "/grid/balance", json=wanted)
    assert (again.status_code, again.json()) == (200, first.json())
    rows = desk.ask("aud", "GET", "/cycles", params={"state": "due"}).json()["items"]
    assert [(row["cycle"], row["feeder"]) for row in rows] == [("day_ahead", "village")]
    several = desk.ask("op", "POST", "/runs", json={**wanted, "cycle": "intraday"})
    assert "24 such cycles" in several.text
    unknown = desk.ask("op", "POST", "/runs", json={**wanted, "cycle": "lottery"})
    assert unknown.status_code == 422


def test_collateral_bounds_what_is_booked(desk_on_each: Desk) -> None:
    desk = desk_on_each
    desk.calendar.collateral = CollateralRules(
        price_cap_micro_eur_per_mwh=3_000_000_000, shortfall_micro_eur_per_mwh=100_000_000
    )
    none = desk.ask("agg", "POST", "/orders", json=desk.order())
    assert none.status_code == 422
    assert "0 micro-EUR of your collateral are free" in whats(none)["collateral"]
    # 0.02 MW x 24 h x 100 EUR/MWh that may fail to come
    exposure = 48_000_000
    paid = {"party": "agg", "amount_micro_eur": exposure, "reason": "account statement 7"}
    assert desk.ask("op", "POST", "/deposits", json=paid).status_code == 201
    assert desk.ask("agg", "POST", "/deposits", json=paid).status_code == 403
    taken = desk.ask("agg", "POST", "/orders", json=desk.order())
    assert (taken.status_code, taken.json()["exposure_micro_eur"]) == (201, exposure)
    said = desk.ask("agg", "GET", "/collateral/agg").json()
    assert said == {
        "party": "agg", "deposit_micro_eur": exposure, "owed_micro_eur": 0,
        "booked_micro_eur": exposure, "free_micro_eur": 0,
    }  # fmt: skip
    assert desk.ask("agg", "POST", "/orders", json=desk.order()).status_code == 422
    desk.ask("agg", "POST", f"/orders/{taken.json()['id']}/cancel", json={"reason": "other"})
    assert desk.ask("agg", "POST", "/orders", json=desk.order()).status_code == 201
    assert desk.ask("rival", "GET", "/collateral/agg").status_code == 404


def add_units(desk: Desk) -> None:
    since = {"valid_from": NOW - timedelta(days=1), "known_at": NOW - timedelta(days=1)}
    with desk.market.services.store.transaction() as connection:
        for number, owner in ((1, "pro"), (2, "pro"), (3, "rival")):
            name = f"cp-{owner}"
            Register(Asset).add(connection, [
                Asset(id=f"village/unit:{number}", connection_point=name, technology="chp",
                      import_w_max=10_000, export_w_max=20_000, **since)])  # fmt: skip
        for number, (bus, name) in enumerate(((7, "cp-a"), (8, "cp-b"))):
            Register(ConnectionPoint).add(connection, [
                ConnectionPoint(id=name, feeder="village", bus=bus, party="pro",
                                import_w_max=30_000, export_w_max=30_000, **since)])  # fmt: skip
            Register(Asset).add(connection, [
                Asset(id=f"village/unit:{7 + number}", connection_point=name, technology="chp",
                      import_w_max=10_000, export_w_max=20_000, **since)])  # fmt: skip


def test_every_kind_is_taken_and_checked_as_a_study(desk: Desk) -> None:
    add_units(desk)
    flat = [0.01] * 96

    def hand_in(kind: str, asset: str | None = "village/unit:7", **more: Any) -> Any:
        terms = more.pop("terms")
        said = {"delivery_day": DAY, "kind": kind, "terms": terms, "asset": asset, **more}
        return desk.ask("pro", "POST", "/orders", json=said)

    good = {
        "shift": {"baseline_mw": 0.005, "p_mw_max": 0.01, "window_periods": 96,
                  "price_eur_per_mwh": 2},
        "curtail": {"p_mw_max": 0.01, "price_eur_per_mwh": 50, "duration_periods_max": 4},
        "block": {"profile_mw": flat, "price_eur_per_mwh": -3},
        "bilateral": {"asset_to": "village/unit:8", "p_mw": 0.01, "price_eur_per_mwh": 4},
    }  # fmt: skip
    ids = {}
    for kind, terms in good.items():
        answer = hand_in(kind, terms=terms)
        assert answer.status_code == 201, (kind, answer.text)
        ids[kind] = answer.json()["id"]
    child = {**good["block"], "parent": ids["block"]}
    assert hand_in("block", terms=child).status_code == 201
    units = {"village/unit:7": 0.5, "village/unit:8": 0.5}
    portfolio = hand_in("generation", None, portfolio=units,
                        terms={"p_mw_max": 0.04, "price_eur_per_mwh": 1})  # fmt: skip
    assert portfolio.status_code == 201, portfolio.text
    assert portfolio.json()["portfolio"] == units
    bad: list[tuple[str, dict[str, Any], str]] = [
        ("shift", {**good["shift"], "baseline_mw": 0.02}, "cannot be met"),
        ("curtail", {**good["curtail"], "duration_periods_min": 5}, "above duration_periods_max"),
        ("curtail", {**good["curtail"], "rebound_share": 0.5}, "rebound_periods"),
        ("block", {**good["block"], "profile_mw": [*flat[:95], -0.01]}, "mixes signs"),
        ("block", {**good["block"], "profile_mw": flat[:92]}, "92 values"),
        ("block", {**child, "exclusive_group": "g"}, "states parent and exclusive_group"),
        ("block", {**child, "parent": ids["shift"]}, "is no block of yours"),
        ("block", {**child, "parent": "o-nothing"}, "is no block of yours"),
        ("bilateral", {**good["bilateral"], "asset_to": "village/unit:3"}, "is unknown"),
        ("bilateral", {**good["bilateral"], "asset_to": "village/unit:7"}, "also the bus"),
        ("bilateral", {**good["bilateral"], "p_mw": 0.011}, "prequalified for 10000 W"),
        ("generation", {"p_mw_max": 0.021, "price_eur_per_mwh": 1}, "prequalified for 20000 W"),
        ("storage", {"charge_mw_max": 0.02}, "energy_mwh_max"),
    ]
    for kind, terms, part in bad:
        answer = hand_in(kind, terms=terms)
        assert answer.status_code == 422, (kind, terms)
        assert part in answer.text, (part, answer.text)
    for shares in ({"village/unit:7": 0.5, "village/unit:8": 0.6}, {"village/sgen:3": 1.0}):
        answer = hand_in("generation", None, portfolio=shares,
                         terms={"p_mw_max": 0.01, "price_eur_per_mwh": 1})  # fmt: skip
        assert answer.status_code == 422, shares


def test_the_network_in_force_is_what_an_order_is_checked_on(desk: Desk) -> None:
    network = library_network("case33bw")
    sgens = network.sgens
    assert len(sgens.index) == 0
    desk.calendar.networks["village"] = network
    answer = desk.ask("agg", "POST", "/orders", json=desk.order())
    assert "asset 'sgen:3' is unknown or out of service" in answer.text
    off = dataclasses.replace(network.buses, in_service=network.buses.index < 0)
    desk.calendar.networks["village"] = dataclasses.replace(network, buses=off)
    assert "bus 3 is unknown" in desk.ask("agg", "POST", "/orders", json=desk.order()).text


def test_an_intraday_order_stands_for_rounds_after_it_and_before_its_withdrawal(
    desk_on_each: Desk,
) -> None:
    desk = desk_on_each
    intraday = desk.order(market="intraday")
    day_ahead = desk.ask("agg", "POST", "/orders", json=desk.order()).json()["id"]
    desk.set_now(GATE)
    key = BookKey(feeder="village", day=DAY, gate=GATE,
                  last_round_gate=parse_utc("2026-11-23T16:30:00Z"))  # fmt: skip
    store = desk.market.services.store

    def stand(gate: Any) -> list[str]:
        with store.transaction() as connection:
            return [order.id for order in close_round(connection, key, gate)]

    first_gate = ROUND - timedelta(hours=6)
    desk.set_now(first_gate)
    assert stand(first_gate) == []
    taken = desk.ask("agg", "POST", "/orders", json=intraday)
    assert (taken.json()["in_book"], taken.json()["gate"]) == (True, "2026-11-23T16:30:00Z")
    # received in the very second of a gate that was read: it counts from the next one on
    assert taken.json()["received_at"] >= "2026-11-22T22:30:00.000000Z"
    with store.transaction() as connection:
        assert [order.id for order in close_book(connection, key)] == [day_ahead]
    with pytest.raises(ValueError, match="is open until"):
        stand(ROUND)
    desk.set_now(ROUND)
    assert stand(ROUND) == [taken.json()["id"]]
    desk.set_now(ROUND + timedelta(hours=1))
    path = f"/orders/{taken.json()['id']}/cancel"
    assert desk.ask("agg", "POST", path, json={"reason": "outage"}).status_code == 200
    desk.set_now(ROUND + timedelta(hours=6))
    assert stand(ROUND + timedelta(hours=6)) == []
    assert stand(ROUND) == [taken.json()["id"]]  # read again, the same
    assert stand(first_gate) == []
    foreign = desk.ask("rival", "POST", "/orders", json=desk.order(
        asset="village/sgen:4", market="intraday"))  # fmt: skip
    assert "to restate" in foreign.text
    desk.set_now(parse_utc("2026-11-23T16:30:00Z"))
    late = desk.ask("agg", "POST", "/orders", json=intraday).json()
    assert (late["state"], late["in_book"]) == ("late", False)


def test_ones_own_action_is_disclosed_and_proven(desk: Desk) -> None:
    desk.ask("agg", "POST", "/orders", json=desk.order())
    (action,) = desk.ask("agg", "GET", "/actions").json()["items"]
    path = f"/actions/{action['action']}/disclosure"
    wanted = {"fields": ["verb", "at_utc"]}
    assert desk.ask("agg", "POST", path, json=wanted).status_code == 409  # not posted yet
    post_waiting_actions(desk.market)
    text = desk.ask("agg", "POST", path, json=wanted).json()["text"]
    key = desk.market.services.keys.actions.key
    opened, _ = verify_disclosure(text.encode(), TrustPolicy(key=key))
    assert {name: value for name, (_, value) in opened.fields.items()} == {
        "verb": "submit", "at_utc": "2026-11-22T10:00:00Z",
    }  # fmt: skip
    assert desk.ask("rival", "POST", path, json=wanted).status_code == 404


def test_files_that_are_gone_are_named(desk: Desk, cleared: Path) -> None:
    from tests.support.api_run import add_run

    run = add_run(desk, cleared)
    shutil.rmtree(desk.calendar.day_folder("village", NOW.replace(hour=23)))
    answer = desk.ask("plan", "GET", f"/runs/{run}/limits")
    assert answer.status_code == 409
    assert "its files are not here" in answer.text
