"""A congested winter day of the running market: what it does not solve is bought and settled."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.records.settlement import SettlementLine
from data.units import energy_wh
from dso.cli.main import main
from dso.config import load_feeder, load_market
from dso.cycles.bought import settle_bought
from dso.cycles.bought_files import read_bought
from dso.cycles.grid_replay import AssetPower, broken_limits, replay
from dso.cycles.plan import DayPlan, plan_day
from dso.cycles.schedule import final_schedule
from dso.cycles.settlement_case import settlement_case
from dso.settlement import settle_folder, write_settlement_case
from tests.support.small_market import FEEDER, hashed_files, write_tight_configs

DAY = "2016-01-20"
POINT = "ea1.2026-01.grid.example:end"
SETTINGS = f"""
[flexibility]
messages = "messages"
[[congestion_points]]
id = "{POINT}"
name = "End of the feeder"
elements = ["bus:16", "bus:17"]
bus = 17
"""


def _offer(name: str, load: int, *options: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {
        "message": "FlexOffer", "message_id": name, "congestion_point": POINT,
        "participant": "default-supplier", "period": DAY, "connection": f"load:{load}",
        "expiration_date_time": f"{DAY}T10:00:00Z", "penalty_eur_per_mwh": 50,
        "options": list(options),
    } | changed  # fmt: skip


NOON = {
    "price_eur_per_mwh": 150, "min_activation_factor": 0.5,
    "isps": [{"power_w": -60000, "start": 38, "duration": 8}],
}  # fmt: skip
EVENING = NOON | {
    "min_activation_factor": 1,
    "isps": [{"power_w": -15000, "start": 76, "duration": 9}],
}
# Of a load that the market clears, too: more than it was left with by the day ahead.
OWN = {
    "price_eur_per_mwh": 100,
    "isps": [{"power_w": -19000, "start": 77, "duration": 7}],
}  # fmt: skip
FILES: dict[str, object] = {
    "20160119T1300Z-supplier.json": [
        _offer("noon", 14, NOON),
        _offer("evening", 15, EVENING),
        _offer("own", 16, OWN, participant="aggregator-north"),
        _offer("dear", 13, EVENING | {"price_eur_per_mwh": 1500}),
        _offer("foreign", 10, EVENING, participant="aggregator-north"),
    ],
    "20160119T1301Z-broken.json": [_offer("broken", 9, EVENING | {"isps": "evening"})],
    "20160119T1501Z-late.json": [_offer("late", 11, EVENING | {"price_eur_per_mwh": 1})],
}


def _configs(folder: Path) -> Path:
    configs = write_tight_configs(folder, SETTINGS)
    place = configs / "feeders/messages" / DAY
    place.mkdir(parents=True)
    for name, messages in FILES.items():
        (place / name).write_text(json.dumps(messages))
    return configs


def _simulate(folder: Path, configs: Path) -> int:
    return main(
        ["simulate", "--from", DAY, "--days", "1", "--feeder", FEEDER, "--configs", str(configs),
         "--out", str(folder / "out"), "--keys", str(folder / "keys"), "--quiet"]
    )  # fmt: skip


def _plan(market: Path) -> DayPlan:
    day, configs = date.fromisoformat(DAY), market / "configs"
    feeder = load_feeder(FEEDER, day, folder=configs)
    rules = load_market(feeder.market, day, folder=configs)
    return plan_day(day=day, out=_day(market), feeder=feeder, rules=rules)


@pytest.fixture(scope="module")
def plan(market: Path) -> DayPlan:
    return _plan(market)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("market")
    assert _simulate(folder, _configs(folder / "configs")) == 0
    return folder


def _day(market: Path) -> Path:
    return market / "out" / FEEDER / DAY


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_what_the_day_ahead_market_left_is_bought_at_least_cost(market: Path) -> None:
    place = _day(market) / "flexibility"
    told = json.loads((place / "purchase.json").read_text())
    assert told["decided_at"] == "2016-01-19T15:00:00Z"
    assert told["state"] == "yellow"
    assert told["missing_before"]
    assert (told["missing"], told["fallbacks"]) == ([], [])
    orders = json.loads((place / "orders.json").read_text())
    assert [order["flex_offer_message_id"] for order in orders] == ["noon", "evening", "own"]
    rejected = {each["message_id"]: each["rejection_reasons"] for each in told["rejections"]}
    assert set(rejected) == {"foreign"}  # and the late one was not looked at
    assert "load:10 is held by default-supplier" in rejected["foreign"][0]
    assert any("20160119T1301Z-broken.json: left out" in each for each in told["remarks"])


def test_the_settlement_of_the_day_picks_the_orders_up(market: Path) -> None:
    place = _day(market) / "settlement"
    orders = json.loads((_day(market) / "flexibility/orders.json").read_text())
    rows = _rows(place / "activations.csv")
    for order in orders:
        (isps,) = order["isps"]
        mine = [row for row in rows if row["connection"] == order["connection"]]
        assert {row["participant"] for row in mine} == {order["participant"]}
        assert len(mine) == isps["duration"]
        watt = -order["activation_factor"] * isps["power_w"]
        assert all(float(row["ordered_mw"]) == pytest.approx(watt / 1e6, abs=1e-6) for row in mine)
    assert len(rows) == sum(isp["duration"] for order in orders for isp in order["isps"])
    positions = {
        (row["connection"], row["period_start"]): row for row in _rows(place / "positions.csv")
    }
    for row in rows:  # the baseline is what the last gate before the period left
        sold = positions[row["connection"], row["period_start"]]
        assert float(row["baseline_mw"]) == pytest.approx(-4 * float(sold["id_mwh"]), abs=1e-6)
        assert float(row["meter_mw"]) == pytest.approx(-4 * float(sold["meter_mwh"]), abs=1e-6)
    balance: dict[str, int] = defaultdict(int)
    paid: dict[str, int] = defaultdict(int)
    for line in _rows(place / "lines.csv"):
        balance[line["period_start"]] += int(line["amount_micro_eur"])
        if line["participant"] == "default-supplier":
            paid[line["kind"]] += int(line["amount_micro_eur"])
    assert set(balance.values()) == {0}
    # nobody told the load; what its meter shows is not what was ordered
    assert paid["penalty"] < 0 <= paid["flexibility"]


ROUND = "clearing/intraday/20160119T2300Z"


def test_the_round_after_the_purchase_knows_what_was_bought(market: Path, plan: DayPlan) -> None:
    """Its own limits hold with it, by another power flow; the day ahead, without it, broke them."""
    states = [
        json.loads((_day(market) / folder / "summary.json").read_text())
        for folder in ("clearing", ROUND)
    ]
    assert [state["status"] for state in states] == ["certified_with_slack", "certified"]
    schedule = final_schedule(plan)
    held = [
        AssetPower(
            asset=str(order.asset),
            bus=order.buses[0][0],
            injection_mw=schedule.position_mw[row],
            injection_mvar=schedule.position_mvar[row],
        )
        for row, order in enumerate(schedule.orders)
    ]
    bought = [
        AssetPower(
            asset=order.reference,
            bus=int(order.connection.removeprefix("load:")) + 1,
            injection_mw=order.ordered_mw,
            injection_mvar=np.zeros(len(plan.periods)),
        )
        for order in read_bought(plan)
    ]

    def broken(assets: list[AssetPower]) -> tuple[object, ...]:
        return broken_limits(replay(plan.network, plan.limits, schedule.fixed, assets))

    assert broken(held + bought) == ()
    assert len(broken(held)) > 10  # what was bought carries the round


def test_what_was_bought_is_no_trade_of_the_round_and_can_be_delivered(
    market: Path, plan: DayPlan
) -> None:
    place = _day(market)
    (own,) = [order for order in read_bought(plan) if order.connection == "load:16"]
    sold = {
        row["period_start"]: -float(row["injection_mw"])
        for row in _rows(place / ROUND / "awards.csv")
        if row["order"] == "load-0016"
    }
    before = {
        row["period_start"]: -float(row["injection_mw"])
        for row in _rows(place / "clearing/awards.csv")
        if row["order"] == "load-0016"
    }
    labels = [plan.periods.labels()[k] for k in np.flatnonzero(own.ordered_mw)]
    reduced = float(own.ordered_mw.max())
    assert all(sold[label] >= reduced for label in labels)
    assert all(before[label] < reduced for label in labels)  # the day ahead left it with less
    trades = _rows(place / ROUND / "trades.csv")
    assert {row["order"].partition("-")[0] for row in trades} == {"load"}
    notes = json.loads((place / "forecast/intraday/20160119T2300Z.json").read_text())
    assert notes["bought"] == [order.reference for order in read_bought(plan)]
    # the load does as it was told: what it sold less what was bought
    delivered = {
        row["period_start"]: -float(row["delivered_mw"])
        for row in _rows(place / "dispatch/delivery.csv")
        if row["asset"] == "load:16"
    }
    for label in labels:
        assert delivered[label] == pytest.approx(sold[label] - reduced, abs=2e-4)
    balance: dict[tuple[str, str], int] = defaultdict(int)
    for line in _rows(place / "settlement/lines.csv"):
        balance[line["market"], line["period_start"]] += int(line["amount_micro_eur"])
    assert {"da", "id/1", "imbalance"} <= {name for name, _ in balance}
    assert set(balance.values()) == {0}


def test_an_auditor_clears_the_round_again_from_its_folder_alone(market: Path) -> None:
    place = _day(market)
    assert main(
        ["audit", "replay", str(place / "bundle"), "--key", str(place / "operator.vkey"),
         "--run", "intraday-20160119T2300Z"]
    ) == 0  # fmt: skip


def test_the_same_days_again_change_nothing(market: Path) -> None:
    before = hashed_files(market / "out")
    assert _simulate(market, market / "configs") == 0
    assert hashed_files(market / "out") == before


def test_what_is_delivered_is_paid_as_bid_and_is_no_imbalance(
    plan: DayPlan, tmp_path: Path
) -> None:
    """Meters that show what was sold less what was ordered earn the price of the orders."""
    bought = read_bought(plan)
    sold = {position.connection: position.id_wh for position in settlement_case(plan).positions}
    readings = {
        order.connection: {
            int(period): sold[order.connection][period]
            + energy_wh(float(order.ordered_mw[period]), 15)
            for period in np.flatnonzero(order.ordered_mw)
        }
        for order in bought
    }
    case = settle_bought(plan, settlement_case(plan, readings), bought, {})
    write_settlement_case(case, tmp_path / "in")
    lines = settle_folder(tmp_path / "in", tmp_path / "out").result.lines
    assert sum(line.amount_micro_eur for line in lines) == 0
    paid = sum(
        line.amount_micro_eur
        for line in lines
        if line.kind == "flexibility" and not line.participant.startswith("account:")
    )
    assert paid == pytest.approx(sum(order.price_micro_eur for order in bought), rel=1e-4)
    assert not [line for line in lines if line.kind == "penalty"]
    ordered = {
        (order.connection, plan.periods.starts[period])
        for order in bought
        for period in np.flatnonzero(order.ordered_mw)
    }
    assert not [line for line in _imbalances(lines) if _place(line) in ordered]
    write_settlement_case(settlement_case(plan, readings), tmp_path / "bare")
    bare = settle_folder(tmp_path / "bare", tmp_path / "unbought").result.lines
    assert {_place(line) for line in _imbalances(bare)} >= ordered


def _imbalances(lines: Sequence[SettlementLine]) -> list[SettlementLine]:
    return [line for line in lines if line.kind == "imbalance" and line.quantity_wh]


def _place(line: SettlementLine) -> tuple[str, datetime]:
    return line.connection, line.period_start
