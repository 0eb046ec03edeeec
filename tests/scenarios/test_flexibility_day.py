"""A congested winter evening on a SimBench feeder: tender, request, purchase, delivery, money."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.canonical import csv_bytes
from data.readers.result_folder import read_result
from data.records.clearing import ClearingCase
from data.records.settlement import (
    BusPrices,
    ConnectionPosition,
    SettlementCase,
    SettlementRules,
    SubstationSeries,
)
from data.study import read_study
from data.study.order_fields import context_of
from data.units import energy_wh
from dso.cli.main import main
from dso.flexibility.activations import (
    Metered,
    activations_of,
    availabilities_of,
    with_flexibility,
)
from dso.flexibility.buy import Purchase, Tray, buy
from dso.settlement import settle_folder, write_settlement_case
from flexibility.baselines import (
    BaselineInputs,
    LoadHistory,
    LocalTable,
    NominatedSchedule,
    evaluate_baseline,
    freeze_baseline,
)
from flexibility.baselines.methods import Nomination
from flexibility.procurement.acceptance import Desk
from flexibility.procurement.read_messages import read_contracts, read_messages, read_points
from opf.problems.held_positions import held_case

POINT = "ea1.2026-01.grid.example:rural"
STUDY = """
name = "winter evening on a rural low-voltage feeder"
start = 2016-01-19T23:00:00Z
periods = 96
mtu_minutes = 15
timezone = "Europe/Berlin"
network = "simbench:1-LV-rural1--0-sw"
formulation = "ac"
[profiles]
source = "simbench"
day = 2016-01-20
[import_price]
eur_per_mwh = 60.0
[limits]
trafo_loading_percent_max = 20.0
"""
POINTS = [{"id": POINT, "name": "Rural", "elements": ["trafo:0"], "bus": 9}]
BIDS = [
    {
        "id": name, "participant": "north", "congestion_point": POINT, "connection": "load:3",
        "asset": "load:3", "bus": 12, "direction": "inject", "power_mw": 0.002,
        "first_day": "2016-01-01", "last_day": "2016-03-31", "from": "18:00", "to": "20:00",
        "availability_eur_per_mw_h": fee, "utilisation_eur_per_mwh": price,
        "penalty_eur_per_mwh": 30,
    }
    for name, fee, price in (("evening", 5, 90), ("dear", 50, 400))
]  # fmt: skip


def _offer(name: str, connection: str, bus: int, *options: dict[str, Any]) -> dict[str, Any]:
    return {
        "message": "FlexOffer", "message_id": name, "congestion_point": POINT,
        "participant": "south", "period": "2016-01-20", "connection": connection, "bus": bus,
        "expiration_date_time": "2016-01-20T10:00:00Z", "penalty_eur_per_mwh": 50,
        "options": list(options),
    }  # fmt: skip


OFFERS = [
    _offer("noon", "load:5", 8, {"price_eur": 0.4, "isps": [{"power_w": -3000, "start": 55}]}),
    _offer(
        "evening", "load:7", 0,
        {"option_reference": "a", "price_eur_per_mwh": 150, "min_activation_factor": 0.1,
         "isps": [{"power_w": -8000, "start": 72, "duration": 13}]},
        {"option_reference": "b", "price_eur_per_mwh": 120,
         "isps": [{"power_w": -4000, "start": 72, "duration": 13},
                  {"power_w": 1000, "start": 93, "duration": 4}]},
    ),
    _offer("late", "load:2", 13, {"price_eur": 0.9, "min_activation_factor": 0.2,
                                  "isps": [{"power_w": -6000, "start": 85, "duration": 4}]}),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("flexibility")
    (place / "study").mkdir()
    (place / "study/study.toml").write_text(STUDY)
    (place / "study/orders.json").write_text("[]\n")
    for name, value in (("points", POINTS), ("bids", BIDS), ("offers", OFFERS)):
        (place / f"{name}.json").write_text(json.dumps(value))
    assert main(["clear", str(place / "study"), "--out", str(place / "cleared")]) in (3, 4)
    return place


def _dso(*words: object) -> int:
    return main(["flexibility", *map(str, words)])


def test_a_tender_concludes_the_contract_that_costs_least(folder: Path) -> None:
    rows = [(f"2016-01-20T{hour:02d}:00:00Z", 90, 0.0015, 0.0002) for hour in (17, 18)]
    (folder / "season.csv").write_bytes(
        csv_bytes(("period_start", "hours", "need_mw", "expected_mw"), rows)
    )
    code = _dso(
        "tender", folder / "season.csv", "--bids", folder / "bids.json", "--direction", "inject",
        "--study", folder / "study", "--points", folder / "points.json",
        "--out", folder / "tender",
    )  # fmt: skip
    assert code == 0
    told = json.loads((folder / "tender/tender.json").read_text())
    assert told["accepted"] == ["evening"]
    # 2 kW x 180 h x 5 EUR/(MW h), and 0.0002 MW x 180 h at 90 EUR/MWh over its effect
    assert told["fee_eur"] == pytest.approx(1.8)
    assert told["utilisation_eur"] == pytest.approx(3.24, rel=0.1)
    assert (folder / "tender/index.html").stat().st_size > 10_000


def _buy(folder: Path) -> int:
    return _dso(
        "buy", folder / "study", "--result", folder / "cleared", "--points",
        folder / "points.json", "--contracts", folder / "tender/contracts.json", "--messages",
        folder / "offers.json", "--at", "2016-01-20T08:00:00Z", "--out", folder / "bought",
    )  # fmt: skip


def test_what_the_market_does_not_solve_is_bought_and_keeps_every_limit(folder: Path) -> None:
    assert _buy(folder) == 0
    told = json.loads((folder / "bought/purchase.json").read_text())
    assert told["state"] == "yellow"
    assert (told["missing"], told["fallbacks"]) == ([], [])
    assert len(told["missing_before"]) == 14
    assert told["search"]["proven"]
    orders = json.loads((folder / "bought/orders.json").read_text())
    by_contract = {order.get("contract_id", order.get("flex_offer_message_id")) for order in orders}
    assert {"evening", "noon", "late"} <= by_contract
    again = {path.name: path.read_bytes() for path in (folder / "bought").iterdir()}
    assert _buy(folder) == 0
    assert {path.name: path.read_bytes() for path in (folder / "bought").iterdir()} == again
    assert _dso("show", folder / "bought") == 0


def test_a_request_asks_for_what_is_missing_and_tells_the_room(folder: Path) -> None:
    missing = json.loads((folder / "bought/purchase.json").read_text())["missing_before"]
    header = (
        "element_kind", "element", "side", "period_start", "limit", "expected_value", "unit",
        "probability", "need_mw_mean", "need_mw_q90",
    )  # fmt: skip
    rows = [
        (m["element_kind"], m["element"], m["side"], m["period_start"], 20, m["value"] / 5,
         "percent", 1, m["mw_missing"], m["mw_missing"])
        for m in missing
    ]  # fmt: skip
    (folder / "outlook.csv").write_bytes(csv_bytes(header, rows))
    code = _dso(
        "request", folder / "study", "--outlook", folder / "outlook.csv", "--points",
        folder / "points.json", "--out", folder / "request",
    )  # fmt: skip
    assert code == 0
    (request,) = json.loads((folder / "request/requests.json").read_text())
    asked = {
        isp["start"] + k: -isp["min_power_w"]
        for isp in request["isps"]
        if isp["disposition"] == "Requested"
        for k in range(isp["duration"])
    }
    # what is below a kilowatt is not worth a message
    worth = [each for each in missing if each["mw_missing"] > 1.05e-3]
    assert len(worth) <= len(asked) <= len(missing)
    worst = max(each["mw_missing"] for each in missing)
    assert max(asked.values()) == pytest.approx(1e6 * worst, rel=0.1)
    room = [isp for isp in request["isps"] if isp["disposition"] == "Available"]
    assert all(isp["min_power_w"] <= 0 <= isp["max_power_w"] for isp in room)
    assert max(isp["max_power_w"] for isp in room) > 10_000


def test_bad_files_are_refused_with_every_problem(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = _offer("bad", "load:2", 99, {"price_eur": -1, "isps": [
        {"power_w": 0.5, "start": 96, "duration": 2}, {"power_w": -1, "start": 4, "duration": 2},
        {"power_w": -1, "start": 5}]})  # fmt: skip
    (tmp_path / "bad.json").write_text(json.dumps([bad | {"period": "2016-01-21", "extra": 1}]))
    code = _dso(
        "buy", folder / "study", "--result", folder / "cleared", "--points",
        folder / "points.json", "--messages", tmp_path / "bad.json", "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 2
    told = capsys.readouterr().err
    for said in ("bus 99", "price_eur is -1", "ISPs Out Of Bounds: 96 to 97", "ISP Conflict: 5",
                 "Period Out Of Bounds: 2016-01-21", "unknown field 'extra'"):  # fmt: skip
        assert said in told
    assert not (tmp_path / "out").exists()
    for price in ("nan", "-1", "0"):
        words = ("buy", folder / "study", "--points", folder / "points.json",
                 "--shortage-price", price, "--out", tmp_path / "out")  # fmt: skip
        assert _dso(*words) == 2
        assert "--shortage-price" in capsys.readouterr().err


def _purchase(folder: Path, held: ClearingCase) -> tuple[Purchase, tuple[Any, ...]]:
    context = context_of(held.network, len(held.periods))
    points = {each.id: each for each in read_points(folder / "points.json", context)}
    contracts = read_contracts(folder / "tender/contracts.json", context)
    inbox = read_messages([folder / "offers.json"], context, held.periods, held.timezone, points)
    desk = Desk(
        points=points, requests={}, contracts={each.id: each for each in contracts},
        at=datetime(2016, 1, 20, 8, tzinfo=UTC),
    )  # fmt: skip
    tray = Tray(contracts=contracts, offers=tuple(inbox.offers))
    return buy(held, tray, desk), contracts


def _metered(case: ClearingCase, orders: Any, delivered: float) -> dict[str, Metered]:
    """Nominate what the market sold as the baseline, and meter a share of what was ordered."""
    gate = case.periods.start - timedelta(hours=1)
    ordered: dict[str, Any] = defaultdict(lambda: np.zeros(len(case.periods)))
    owner = {}
    for order in orders:
        ordered[order.connection] += order.ordered_mw
        owner[order.connection] = order.participant
    found = {}
    for connection, power in ordered.items():
        column = int(connection.split(":")[1])
        sold = case.load_p_mw[:, column]
        table = LocalTable.of(
            LoadHistory(
                connection=connection, periods=case.periods,
                withdrawal_mw=np.full(len(case.periods), np.nan),
                received_s=np.zeros(len(case.periods), dtype=np.int64),
            ),
            case.timezone,
        )  # fmt: skip
        announced = Nomination(received_at=gate, withdrawal_mw=sold)
        late = Nomination(received_at=gate + timedelta(minutes=1), withdrawal_mw=2.0 * sold)
        frozen = freeze_baseline(
            NominatedSchedule(), BaselineInputs(table=table, nominations=(announced, late)),
            case.periods, gate,
        )  # fmt: skip
        found[connection] = Metered(
            participant=owner[connection],
            baseline_mw=evaluate_baseline(frozen, table, case.periods.end).withdrawal_mw,
            meter_mw=sold - delivered * power,
        )
    return found


def _settlement(case: ClearingCase, result: Any, metered: dict[str, Metered]) -> SettlementCase:
    """The energy side of the day: every load of its own party, sold day-ahead."""
    mtu = case.periods.mtu_minutes

    def wh(power: Any) -> tuple[int, ...]:
        return tuple(energy_wh(round(float(p), 6), mtu) for p in power)

    positions = []
    for column, (index, bus) in enumerate(
        zip(case.network.loads.index, case.network.loads.bus, strict=True)
    ):
        connection = f"load:{index}"
        sold = -case.load_p_mw[:, column]
        known = metered.get(connection)
        positions.append(
            ConnectionPosition(
                participant=known.participant if known else f"home-{index}",
                connection=connection, bus=int(bus), da_wh=wh(sold), id_wh=wh(sold),
                meter_wh=wh(-known.meter_mw if known else sold),
            )
        )  # fmt: skip
    price = tuple([60_000_000] * len(case.periods))
    return SettlementCase(
        periods=case.periods,
        rules=SettlementRules(),
        positions=tuple(positions),
        prices=tuple(
            BusPrices(
                bus=bus, dlmp_da_micro_eur_per_mwh=price, dlmp_id_micro_eur_per_mwh=price,
                imbalance_micro_eur_per_mwh=price,
            )
            for bus in sorted({position.bus for position in positions})
        ),
        substation=SubstationSeries(
            import_wh=wh(result.grid.import_mw), import_price_micro_eur_per_mwh=price
        ),
    )  # fmt: skip


@pytest.mark.parametrize("delivered", [1.0, 0.5, 0.0])
def test_orders_are_paid_as_bid_and_leave_the_energy_lines(
    folder: Path, tmp_path: Path, delivered: float
) -> None:
    case = read_study(folder / "study")
    held = held_case(case, read_result(folder / "cleared", case))
    purchase, contracts = _purchase(folder, held)
    metered = _metered(case, purchase.orders, delivered)
    activations = activations_of(purchase.orders, metered, case.periods)
    fees = availabilities_of(contracts, case.periods, case.timezone)
    settled = with_flexibility(_settlement(case, purchase.after, metered), activations, fees)
    write_settlement_case(settled, tmp_path / "in")
    lines = settle_folder(tmp_path / "in", tmp_path / "out").result.lines
    paid: dict[str, int] = defaultdict(int)
    for line in lines:
        if not line.participant.startswith("account:"):
            paid[line.kind] += line.amount_micro_eur
    # a price is spread over whole Wh and rounded in every period
    assert paid["flexibility"] == pytest.approx(delivered * purchase.cost_micro_eur, rel=2e-3)
    assert paid["availability"] == 2 * 2 * 5 * 1000  # 2 kW for 2 h at 5 EUR/(MW h)
    assert (paid["penalty"] < 0) == (delivered < 1.0)
    # what the operator bought is no imbalance of the party: nothing is paid twice
    assert abs(paid["imbalance"]) <= 60 * len(activations)
    assert sum(line.amount_micro_eur for line in lines) == 0
    changed = dataclasses.replace(settled, activations=())
    write_settlement_case(changed, tmp_path / "without")
    bare = settle_folder(tmp_path / "without", tmp_path / "bare").result.lines
    imbalance = sum(
        line.amount_micro_eur
        for line in bare
        if line.kind == "imbalance" and not line.participant.startswith("account:")
    )
    assert (imbalance > 1000) == (delivered > 0.0)
