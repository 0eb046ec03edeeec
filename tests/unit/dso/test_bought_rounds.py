"""What a round makes of the flexibility bought before its gate: its grid, orders and storages."""

from __future__ import annotations

import csv
import dataclasses
import json
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from data.periods import DeliveryDay
from data.readers.simbench import NetworkProfiles
from data.records.order import DemandOrder, Order, PriceStep, StorageOrder
from data.results import write_result
from dso.cycles.booked_orders import Booked
from dso.cycles.bought import Bought, bought_before, free_what_is_ordered
from dso.cycles.bought_rounds import keep_bought, standing_at, with_bought
from dso.cycles.case import Book
from dso.cycles.reserved import NO_UPDATES, reserve_round
from dso.cycles.schedule import Schedule
from flexibility.procurement.records import FlexOrder, ReservationUpdate
from opf.clearing import clear_case
from tests.support.cases import generation, library_network, make_case, storage
from tests.support.flexibility_records import POINT_ID

if TYPE_CHECKING:
    from dso.cycles.plan import DayPlan, Round
    from dso.cycles.stages import Desk

DELIVERY = DeliveryDay(day=date(2026, 6, 1), timezone="Europe/Berlin", mtu_minutes=15)
COUNT = 96
NETWORK = library_network("case33bw")


def ordered(connection: str, power_mw: Any, **changed: Any) -> FlexOrder:
    fields: dict[str, Any] = {
        "reference": f"order/{connection}", "participant": "P", "congestion_point": POINT_ID,
        "connection": connection, "buses": (), "offer": "o", "contract": None, "option": "1",
        "factor": 1.0, "price_micro_eur": 1, "offered_mw": np.array(power_mw, dtype=float),
        "rule": "usef", "penalty_micro_eur_per_mwh": 0,
    }  # fmt: skip
    return FlexOrder(**(fields | changed))


def plan_of(tmp_path: Path | None = None, *contracts: dict[str, Any]) -> DayPlan:
    files: tuple[Path, ...] = ()
    if tmp_path is not None and contracts:
        path = tmp_path / "contracts.json"
        path.write_text(json.dumps(list(contracts)))
        files = (path,)
    feeder = SimpleNamespace(contract_files=files, message_folder=None, congestion_points=())
    return cast(
        "DayPlan",
        SimpleNamespace(
            feeder=feeder, network=NETWORK, periods=DELIVERY.periods, delivery=DELIVERY,
            day_ahead_gate=DELIVERY.periods.start - timedelta(hours=10),
        ),
    )  # fmt: skip


def round_at(first: int) -> Round:
    return cast("Round", SimpleNamespace(first=first, periods=DELIVERY.periods.from_index(first)))


def schedule_of(*orders: Order, **powers: np.ndarray) -> Schedule:
    """A day whose storages hold the powers given by name, everybody else nothing."""
    nothing = np.zeros((len(orders), COUNT))
    charge, discharge = nothing.copy(), nothing.copy()
    for name, power in powers.items():
        row = [order.id for order in orders].index(name)
        charge[row], discharge[row] = np.maximum(-power, 0.0), np.maximum(power, 0.0)
    fixed = np.zeros((COUNT, 0))
    return Schedule(
        periods=DELIVERY.periods, orders=orders, position_mw=discharge - charge,
        position_mvar=nothing, charge_mw=charge, discharge_mw=discharge,
        fixed=NetworkProfiles(
            load_p_mw=fixed, load_q_mvar=fixed, sgen_p_mw=fixed, sgen_q_mvar=fixed
        ),
        source=np.zeros(COUNT, dtype=np.int64),
    )  # fmt: skip


def load(p_mw: float, must_take: float, count: int = COUNT) -> DemandOrder:
    ones = np.ones(count)
    return DemandOrder(
        id="load-0016", participant="P", buses=((17, 1.0),), asset="load:16",
        steps=(PriceStep(p_mw=p_mw * ones, price_eur_per_mwh=500.0 * ones),),
        p_mw_min=must_take * ones,
    )  # fmt: skip


CONTRACT = {
    "id": "ready", "participant": "P", "connection": "load:16", "asset": "load:16", "bus": 17,
    "congestion_point": POINT_ID, "direction": "inject", "power_mw": 0.02,
    "first_day": "2026-06-01", "last_day": "2026-06-01", "from": "00:00", "to": "00:00",
    "availability_eur_per_mw_h": 5, "utilisation_eur_per_mwh": 90,
}  # fmt: skip


def test_power_that_was_bought_acts_in_the_grid_and_is_not_traded(tmp_path: Path) -> None:
    """Beside generation at the same bus and price, which shares one column with it."""
    first, rest = 88, 8
    beside = dataclasses.replace(generation("pv", 17, 0.3, 0.0, rest), p_mw_min=np.full(rest, 0.1))
    up, down = np.zeros(COUNT), np.zeros(COUNT)
    up[88:92], down[92:] = 0.0123457, -0.05
    book = Book(
        orders=(beside,), position_mw=np.full((1, rest), 0.2), position_mvar=np.zeros((1, rest))
    )
    bought = [
        ordered("load:16", up), ordered("load:16", down, reference="order/b"),
        ordered("load:3", np.where(np.arange(COUNT) < first, 0.1, 0.0)),  # all over
    ]  # fmt: skip
    found = with_bought(book, round_at(first), NETWORK, schedule_of(), bought)
    assert [(order.id, order.buses) for order in found.orders[1:]] == [
        ("bought/order/load:16/inject", ((17, 1.0),)), ("bought/order/b/withdraw", ((17, 1.0),)),
    ]  # fmt: skip
    plain = make_case(NETWORK, [beside], periods=rest, price=40.0)
    case = dataclasses.replace(
        plain,
        orders=found.orders,
        position_mw=found.position_mw,
        position_mvar=found.position_mvar,
    )
    result, without = clear_case(case), clear_case(plain)
    assert result.status == "certified"
    awards = {award.order: award.injection_mw[0] for award in result.awards}
    np.testing.assert_allclose(awards["bought/order/load:16/inject"][:4], 0.012346, atol=1e-12)
    np.testing.assert_allclose(awards["bought/order/b/withdraw"][4:], -0.05)
    np.testing.assert_allclose(awards["pv"], 0.3)
    # the grid carries it: the import is less by what is bought, and by the losses that saves
    saved = without.grid.import_mw - result.grid.import_mw
    assert np.all(saved[:4] > 0.0123)
    assert np.all(saved[4:] < -0.05)
    write_result(result, case, tmp_path)
    with (tmp_path / "trades.csv").open(newline="") as stream:
        trades = list(csv.DictReader(stream))
    assert {(trade["order"], trade["energy_wh"]) for trade in trades} == {("pv", "100000")}


def test_capacity_called_under_a_contract_is_not_kept_free_twice(tmp_path: Path) -> None:
    plan, at = plan_of(tmp_path, CONTRACT), round_at(90)
    call = ordered("load:16", np.full(COUNT, 0.015), offer="", contract="ready", option="")
    spot = ordered("load:16", np.full(COUNT, 0.004))

    def taken(*bought: FlexOrder, updates: Any = NO_UPDATES, restated: Booked | None = None) -> Any:
        free = load(0.05, 0.0, 6)
        own = restated or Booked()
        reserved = reserve_round(
            plan, at.periods, [own.orders[0] if own.orders else free], updates, own
        )
        kept = keep_bought(plan, at, reserved.orders, bought, own, updates)
        assert kept.remarks == ()
        (order,) = kept.orders
        assert isinstance(order, DemandOrder)
        return order.p_mw_min

    np.testing.assert_allclose(taken(), 0.02)
    np.testing.assert_allclose(taken(call), 0.02)
    np.testing.assert_allclose(taken(call, spot), 0.024)
    np.testing.assert_allclose(taken(spot), 0.024)
    released = ReservationUpdate(
        contract="ready", congestion_point=POINT_ID, message_id="u",
        reserved_mw=np.full(COUNT, 0.001),
    )  # fmt: skip
    # what was called stays deliverable, even where the rest was given back since
    np.testing.assert_allclose(taken(call, updates={"ready": released}), 0.015, atol=1e-12)
    # what a party states for the round is limited like what the round makes itself
    again = Booked(orders=(dataclasses.replace(load(0.05, 0.0, 6), id="o-1"),))
    np.testing.assert_allclose(taken(restated=again), 0.02)
    np.testing.assert_allclose(taken(call, spot, restated=again), 0.024)


def test_a_storage_begins_with_what_was_delivered() -> None:
    store = dataclasses.replace(
        storage("store", 17, p_mw=0.5, energy_mwh=2.0, periods=COUNT, efficiency=0.8),
        asset="storage:0",
    )
    power, bought = np.zeros(COUNT), np.zeros(COUNT)
    power[4:8], bought[6:10] = -0.2, 0.3
    schedule = schedule_of(store, store=power)
    plain = standing_at(plan_of(), schedule, 20, ())
    assert plain.orders == (store,)
    assert plain.energy_mwh["store"] == pytest.approx(1.0 + 0.8 * 0.2)
    stands = standing_at(plan_of(), schedule, 20, [ordered("storage:0", bought)])
    # half an hour of charging 0.2 MW; then 0.1 and 0.3 MW are discharged, half an hour each
    own = 1.0 + 0.8 * 0.1 - 0.5 * 0.1 / 0.8 - 0.5 * 0.3 / 0.8
    assert stands.energy_mwh["store"] == pytest.approx(own)
    # what was sold need not be bought back: the energy asked for at the end is less by it
    (order,) = stands.orders
    assert isinstance(order, StorageOrder)
    assert order.energy_mwh_end_min == pytest.approx(1.0 + own - 1.16)
    # only what lies before the round has been delivered
    early = standing_at(plan_of(), schedule, 6, [ordered("storage:0", bought)])
    assert early.energy_mwh["store"] == pytest.approx(1.08)
    assert early.orders == (store,)


def test_energy_kept_for_a_call_is_there_for_it(tmp_path: Path) -> None:
    """A storage of the book under contract; delivering the call goes below what was kept."""
    store = dataclasses.replace(
        storage("store", 17, p_mw=0.5, energy_mwh=2.0, periods=COUNT, efficiency=1.0, start=0.2),
        asset="storage:0", energy_mwh_min=0.3, energy_mwh_end_min=0.3,
    )  # fmt: skip
    limits = CONTRACT | {"connection": "storage:0", "power_mw": 0.3, "duration_h_max": 1.0}
    plan = plan_of(tmp_path, {k: v for k, v in limits.items() if k != "asset"})
    bought = np.zeros(COUNT)
    bought[0:4] = 0.3
    call = ordered("storage:0", bought, offer="", contract="ready", option="")
    stands = standing_at(plan, schedule_of(store), 8, [call])
    assert stands.cuts == ()
    assert stands.energy_mwh["store"] == pytest.approx(0.1)
    (order,) = stands.orders
    assert isinstance(order, StorageOrder)
    assert order.energy_mwh_min == pytest.approx(0.0)


def test_a_load_may_do_what_was_ordered_of_it() -> None:
    bought = np.zeros(COUNT)
    bought[:8], bought[8:16] = 0.03, -0.01
    known = np.arange(COUNT) >= 12
    narrowed = dataclasses.replace(
        load(0.05, 0.04),
        steps=(
            PriceStep(
                p_mw=np.where(known & (bought < 0.0), 0.04, 0.05),
                price_eur_per_mwh=np.full(COUNT, 500.0),
            ),
        ),
    )
    (order,) = free_what_is_ordered(
        plan_of(),
        [ordered("load:16", bought)],
        [narrowed],
        {"order/load:16": known},
    )
    assert isinstance(order, DemandOrder)
    np.testing.assert_allclose(order.p_mw_min, np.where(bought > 0.0, 0.01, 0.04))
    np.testing.assert_allclose(np.sum([step.p_mw for step in order.steps], axis=0), 0.05)


def test_only_a_gate_after_the_purchase_knows_it() -> None:
    gate = DELIVERY.periods.start - timedelta(minutes=30)
    rules = SimpleNamespace(
        timezone="Europe/Berlin", mtu_minutes=15, day_ahead_days_before=1,
        day_ahead_result_by=DELIVERY.periods.start.replace(hour=11).time(),
    )  # fmt: skip
    at = gate.replace(hour=23, minute=30).time()  # the local clock of that gate
    feeder = SimpleNamespace(purchase_at=at, congestion_points=())
    plan = SimpleNamespace(feeder=feeder, rules=rules, delivery=DELIVERY, out=Path("/nowhere"))
    asked: list[str] = []

    def is_done(kind: str) -> bool:
        asked.append(kind)
        return False

    desk = cast("Desk", SimpleNamespace(plan=plan, is_done=is_done))
    assert bought_before(desk, gate) == Bought()
    assert asked == []  # not even asked for: the purchase comes after the round
    assert bought_before(desk, gate + timedelta(minutes=15)) == Bought()
    assert asked == ["flexibility_purchase"]
