"""What the API answers is what the store and the files hold, to the last digit."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from data.canonical import sha256_hex
from dso.store.records import StageKey
from ledger_adapter.verify.disclosure import verify_disclosure
from ledger_adapter.verify.receipt import TrustPolicy
from tests.support.api_market import DAY, NOW, Desk, make_desk
from tests.support.api_run import FIRST_PERIOD, add_run

SPAN = {"from": "2026-11-22T22:00:00Z", "to": "2026-11-23T22:00:00Z"}
HOURS = ("2026-11-22T23:00:00Z", "2026-11-23T00:00:00Z")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, cleared: Path) -> Iterator[Desk]:
    made = make_desk(None, tmp_path_factory.mktemp("market"))
    with closing(made.market.services):
        made.run = add_run(made, cleared)
        made.files = cleared
        for feeder, watts in (("village", 1000), ("town", 70)):
            add_forecast(made, feeder, watts)
        yield made


def add_forecast(desk: Desk, feeder: str, watts: int) -> None:
    """Two runs of a feeder's forecast; the second, for the later hour alone, is the newest."""
    store = desk.market.services.store
    for number, hours in enumerate((HOURS, HOURS[1:])):
        key = StageKey(market="test", feeder=feeder, kind=f"forecast{number}",
                       first_period=NOW.replace(hour=23))  # fmt: skip
        store.begin_stage(key, input_sha256="0" * 64)
        rows = [
            (series, hour, level, sign * (watts + level) * (1 + number))
            for series, sign in (("load:3", 3), ("load:4", 1), ("sgen:3", 2))
            for hour in hours
            for level in (100, 500, 900)
        ]
        with store.transaction() as connection:
            store.finish_stage(
                key, sha256_hex(feeder.encode()), rows={"forecast": rows}, connection=connection
            )


def items(desk: Desk, party: str | None, path: str, **query: Any) -> list[dict[str, Any]]:
    answer = desk.ask(party, "GET", path, params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def table(desk: Desk, name: str) -> list[dict[str, str]]:
    with (desk.files / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_trades_are_those_of_the_clearing_and_ones_own(desk: Desk) -> None:
    posted = [
        (row["trade"], row["participant"], int(row["energy_wh"]),
         int(row["price_micro_eur_per_mwh"]), row["period_start"])
        for row in table(desk, "trades.csv")
    ]  # fmt: skip
    assert posted

    def told(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        names = ("trade_id", "participant", "energy_wh", "price_micro_eur_per_mwh", "period_start")
        return [tuple(row[name] for name in names) for row in rows]

    assert sorted(told(items(desk, "op", "/trades"))) == sorted(posted)
    for party in ("pro", "rival"):
        mine = [row for row in posted if row[1] == party]
        assert sorted(told(items(desk, party, "/trades/history", run=desk.run))) == sorted(mine)
    assert items(desk, "pro", "/trades", run=desk.run + 100) == []
    first = items(desk, "op", "/trades", **{"from": FIRST_PERIOD, "to": HOURS[1]})
    assert {row["period_start"] for row in first} <= {FIRST_PERIOD}


def test_prices_are_those_of_the_clearing_and_their_parts_add_up(desk: Desk) -> None:
    published = {
        (int(row["bus"]), row["period_start"]): round(float(row["dlmp_p_eur_per_mwh"]) * 1e6)
        for row in table(desk, "prices.csv")
    }
    rows = items(desk, "plan", "/prices", limit=1000)
    told = {(r["bus"], r["period_start"]): r["dlmp_p_micro_eur_per_mwh"] for r in rows}
    assert told == published
    for row in rows:
        parts = sum(row[f"{part}_micro_eur_per_mwh"]
                    for part in ("energy", "loss", "congestion", "voltage"))  # fmt: skip
        assert abs(parts - row["dlmp_p_micro_eur_per_mwh"]) <= 4
    assert {row["bus"] for row in items(desk, "pro", "/prices", bus=17)} == {17}


def test_the_grid_as_forecast_sums_the_newest_of_each_period(desk: Desk) -> None:
    def level(rows: list[dict[str, Any]], hour: str, permille: int) -> int:
        (found,) = [r for r in rows if (r["period_start"], r["level_permille"]) == (hour, permille)]
        return int(found["power_w"])

    demand = items(desk, "pro", "/grid/demand", feeder="village", **SPAN)
    supply = items(desk, "pro", "/grid/supply", feeder="village", **SPAN)
    balance = items(desk, "pro", "/grid/balance", feeder="village", **SPAN)
    for hour, newest in zip(HOURS, (1, 2), strict=True):
        assert level(demand, hour, 500) == 4 * 1500 * newest
        assert level(demand, hour, 900) == 4 * 1900 * newest
        assert level(supply, hour, 100) == 2 * 1100 * newest
        assert level(balance, hour, 500) == -2 * 1500 * newest
    both = items(desk, "pro", "/grid/demand", **SPAN)
    assert level(both, HOURS[0], 500) == 4 * 1500 + 4 * 570
    mine = items(desk, "pro", "/production/forecast", connection_point="cp-pro", **SPAN)
    assert [r["power_w"] for r in mine if r["level_permille"] == 500] == [3000, 6000]
    assert {row["series"] for row in mine} == {"sgen:3"}


def test_the_grid_of_a_run_is_that_of_its_files(desk: Desk) -> None:
    hour = HOURS[1]
    told = items(desk, "plan", f"/runs/{desk.run}/grid", period_start=hour)
    volts = {row["bus"]: row["vm_pu"] for row in told if "bus" in row}
    assert volts == {
        int(row["bus"]): float(row["vm_pu"])
        for row in table(desk, "buses.csv") if row["period_start"] == hour
    }  # fmt: skip
    (limits,) = items(desk, "aud", f"/runs/{desk.run}/limits")
    assert limits["status"] == "certified"
    assert limits["vm_pu_max"] == max(float(row["vm_pu"]) for row in table(desk, "buses.csv"))
    assert limits["violations"] == []
    missing = desk.ask("plan", "GET", f"/runs/{desk.run}/grid",
                       params={"period_start": "2027-01-01T00:00:00Z"})  # fmt: skip
    assert missing.status_code == 422


def test_an_order_and_a_price_are_explained_as_dso_explain_does(desk: Desk) -> None:
    from dso.explain.answer import answer_order
    from dso.explain.find import read_run
    from opf.explanations.published import publish

    answer = desk.ask("rival", "GET", f"/runs/{desk.run}/orders/o-rival/explanation").json()
    words = answer_order(publish(*read_run(desk.files, desk.files)), "o-rival")
    assert answer["sentences"] == list(words.sentences)
    assert answer["details"]["order"] == "o-rival"
    states = {row["order"]: row for row in table(desk, "orders.csv")}
    assert answer["details"]["status"] == states["o-rival"]["status"]
    price = desk.ask("pro", "GET", f"/runs/{desk.run}/prices/explanation",
                     params={"bus": 17, "period_start": HOURS[1]}).json()  # fmt: skip
    parts = price["details"]["parts"]
    total = price["details"]["dlmp_p_eur_per_mwh"]
    assert sum(part["part_eur_per_mwh"] for part in parts) == pytest.approx(total, abs=1e-6)
    assert any(part.get("element_kind") == "bus" for part in parts)  # the voltage limit
    status = desk.ask("plan", "GET", f"/runs/{desk.run}/explanation").json()
    assert status["kind"] == "status"
    for bad in ({"bus": 999, "period_start": HOURS[1]}, {"bus": 17, "period_start": DAY}):
        answer = desk.ask("pro", "GET", f"/runs/{desk.run}/prices/explanation", params=bad)
        assert answer.status_code == 422


def test_readings_come_back_as_they_went_in_with_their_revisions(desk: Desk) -> None:
    def reading(start: str, **values: int) -> dict[str, Any]:
        return {"connection_point": "cp-pro", "period_start": start, "import_wh": 0,
                "export_wh": 0, **values}  # fmt: skip

    one = reading("2026-11-22T08:00:00Z", import_wh=40, export_wh=7, voltage_mv=231_000)
    bare = desk.ask("meter", "POST", "/meters/reading", json=one)
    assert (bare.status_code, bare.json()) == (201, {"accepted": 1, "known": 0})
    many = {"readings": [one, reading("2026-11-22T08:15:00+00:00", export_wh=900)]}
    taken = desk.ask("meter", "POST", "/meters/reading", json=many)
    assert taken.json() == {"accepted": 1, "known": 1}
    text = ("connection_point,period_start,import_wh,export_wh,quality\n"
            "cp-pro,2026-11-22T08:15:00Z,0,901,substituted\n")  # fmt: skip
    head = {"content-type": "text/csv"}
    assert desk.ask("meter", "POST", "/meters/reading", content=text, headers=head).json() == {
        "accepted": 1, "known": 0,
    }  # fmt: skip
    span = {"from": "2026-11-22T08:00:00Z", "to": "2026-11-22T09:00:00Z"}
    history = items(desk, "pro", "/meters/cp-pro/history", **span)
    assert [(r["import_wh"], r["export_wh"], r["revision"], r["quality"]) for r in history] == [
        (40, 7, 0, "measured"), (0, 901, 1, "substituted"),
    ]  # fmt: skip
    assert history[0]["voltage_mv"] == 231_000
    produced = items(desk, "agg", "/meters/cp-pro/production", **span)  # by its mandate
    assert [row["export_wh"] for row in produced] == [7, 901]
    consumed = items(desk, "aud", "/meters/cp-pro/consumption", **span)
    assert [row["import_wh"] for row in consumed] == [40, 0]
    of_point = {"connection_point": "cp-pro", **span}
    assert items(desk, "pro", "/production/history", **of_point) == produced
    assert items(desk, "pro", "/production/current", **of_point) == produced[-1:]
    assert items(desk, "pro", "/production/analytics", **of_point) == [
        {"periods_read": 2, "sum_wh": 908, "largest_wh": 901}
    ]


@pytest.mark.parametrize("naive", ["2026-11-22T08:00:00", "2026-11-22", "1763798400"])
def test_an_instant_without_an_offset_is_refused(desk: Desk, naive: str) -> None:
    reading = {"connection_point": "cp-pro", "period_start": naive, "import_wh": 1, "export_wh": 1}
    assert desk.ask("meter", "POST", "/meters/reading", json=reading).status_code == 422
    text = f"connection_point,period_start,import_wh,export_wh\ncp-pro,{naive},1,1\n"
    head = {"content-type": "text/csv"}
    answer = desk.ask("meter", "POST", "/meters/reading", content=text, headers=head)
    assert answer.status_code == 422
    for path in ("/grid/demand", "/public/trades", "/meters/cp-pro/history", "/trades", "/prices"):
        answer = desk.ask("pro", "GET", path, params={"from": naive, "to": "2026-11-23T00:00:00Z"})
        assert answer.status_code == 422, path
    number = {**reading, "period_start": 1763798400}
    assert desk.ask("meter", "POST", "/meters/reading", json=number).status_code == 422


def test_the_market_tells_its_gates_and_rules(desk: Desk) -> None:
    said = desk.ask(None, "GET", "/market", params={"day": DAY}).json()
    assert said["now"] == "2026-11-22T10:00:00Z"
    (feeder,) = said["feeders"]
    assert (feeder["gate"], feeder["periods"]) == ("2026-11-22T12:30:00Z", 96)
    assert feeder["last_round_gate"] == "2026-11-23T16:30:00Z"
    assert set(said["kinds"]) == {"generation", "demand", "storage", "shift", "curtail", "block",
                                  "bilateral"}  # fmt: skip


def test_a_disclosure_proves_what_it_shows_and_no_more(desk: Desk) -> None:
    trade = items(desk, "pro", "/trades")[0]
    path = f"/runs/{desk.run}/disclosure"
    wanted = {"record": trade["trade_id"], "fields": ["participant", "energy_wh"]}
    text = desk.ask("pro", "POST", path, json=wanted).json()["text"]
    policy = TrustPolicy(key=desk.market.services.ledger.key)
    opened, _ = verify_disclosure(text.encode(), policy)
    assert opened.fields["energy_wh"][1] == str(trade["energy_wh"])
    assert set(opened.fields) == {"participant", "energy_wh"}
    assert "price_micro_eur_per_mwh" not in text
    assert trade["trade_id"] not in text
    wrong = desk.ask("pro", "POST", path, json={**wanted, "fields": ["name"]})
    assert wrong.status_code == 422
    assert desk.ask("rival", "POST", path, json=wanted).status_code == 404


def test_public_numbers_need_three_parties(desk: Desk) -> None:
    assert items(desk, None, "/public/trades", **SPAN) == []  # two traded
    assert items(desk, None, "/public/book", day=DAY) == []
    status: dict[str, int] = defaultdict(int)
    for row in items(desk, "pro", "/grid/stability"):
        status[row["light"]] += row["cycles"]
    assert status == {}
