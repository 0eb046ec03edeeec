"""The replay of awards finds what is broken: hand-made awards, good ones and one of each fault."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandapower as pp
import pytest

from data.readers.pandapower_net import network_from_pandapower
from data.records.clearing import Award, ClearingCase
from data.records.order import (
    BilateralOrder,
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    PriceStep,
    ReactiveRange,
    ShiftOrder,
    StorageOrder,
)
from tests.support.cases import make_case, storage
from tests.support.order_simulator import broken_rules

PERIODS = 4
ONES = np.ones(PERIODS)


def case_of(*orders: Order) -> ClearingCase:
    """Two buses, a load of 1 MW and 0.2 Mvar at the second, four quarter-hours."""
    net = pp.create_empty_network()
    first, second = (pp.create_bus(net, vn_kv=20.0) for _ in range(2))
    pp.create_ext_grid(net, first)
    pp.create_line_from_parameters(
        net, first, second, length_km=1.0, r_ohm_per_km=0.3, x_ohm_per_km=0.3, c_nf_per_km=0.0,
        max_i_ka=0.3,
    )  # fmt: skip
    pp.create_load(net, second, p_mw=1.0, q_mvar=0.2)
    network = network_from_pandapower(net, "two buses")
    return make_case(network, list(orders), periods=PERIODS, mtu_minutes=15)


def award_of(order: Order, injection: Any, **columns: Any) -> Award:
    """An award that injects what is stated at the order's only bus, without reactive power."""
    total = np.array(injection, dtype=float)
    values: dict[str, Any] = {
        "order": order.id,
        "participant": order.participant,
        "buses": tuple(bus for bus, _ in order.buses),
        "injection_mw": np.array([share * total for _, share in order.buses]),
        "injection_mvar": np.zeros((len(order.buses), PERIODS)),
        "accepted_share": np.where(total != 0.0, 1.0, 0.0),
    }
    for name, value in columns.items():
        values[name] = np.array(value, dtype=float) if name != "buses" else value
    return Award(**values)


def rules(*pairs: tuple[Order, Award]) -> list[tuple[str, int]]:
    """(rule, period) of every breach."""
    case = case_of(*(order for order, _ in pairs))
    return [(b.rule, b.period) for b in broken_rules(case, [award for _, award in pairs])]


def plant(**changes: Any) -> GenerationOrder:
    steps = tuple(
        PriceStep(p_mw=0.5 * ONES, price_eur_per_mwh=price * ONES) for price in (10.0, 20.0)
    )
    order = GenerationOrder(
        id="plant", participant="A", buses=((1, 1.0),), steps=steps, p_mw_min=0.1 * ONES
    )
    return dataclasses.replace(order, **changes)


def ramped() -> GenerationOrder:
    return plant(ramp_mw_per_h=1.0, p_mw_before=0.3)


@pytest.mark.parametrize(
    ("order", "injection", "broken"),
    [
        (plant(), [0.1, 1.0, 0.5, 0.7], []),
        (plant(), [0.099999, 1.0, 0.5, 1.000001], [("bound", 0), ("bound", 3)]),
        (plant(), [0.1, 0.5, 0.5000005, 0.7], [("tick", 2), ("place", 2)]),
        (plant(), [0.1, float("nan"), 0.5, 0.7], [("tick", 1), ("place", 1), ("bound", 1)]),
        (ramped(), [0.55, 0.3, 0.3, 0.3], []),
        (ramped(), [0.550002, 0.5, 0.249, 0.3], [("ramp", 0), ("ramp", 2)]),
        (plant(buses=((0, 0.4), (1, 0.6))), [0.1, 1.0, 0.5, 0.7], []),
    ],
)
def test_steps_and_ramps(
    order: GenerationOrder, injection: list[float], broken: list[tuple[str, int]]
) -> None:
    assert rules((order, award_of(order, injection))) == broken


def test_portfolio_keeps_its_key() -> None:
    order = plant(buses=((0, 0.4), (1, 0.6)))
    award = award_of(order, 0.5 * ONES)
    award.injection_mw[0, 2] += 0.1
    award.injection_mw[1, 2] -= 0.1
    assert rules((order, award)) == [("place", 2), ("place", 2)]


def test_demand_draws_and_keeps_the_power_factor_of_its_load() -> None:
    step = PriceStep(p_mw=ONES, price_eur_per_mwh=30.0 * ONES)
    order = DemandOrder(
        id="heat", participant="A", buses=((1, 1.0),), asset="load:0", steps=(step,),
        p_mw_min=0.0 * ONES,
    )  # fmt: skip
    good = award_of(order, -0.5 * ONES, injection_mvar=[-0.1 * ONES])
    assert rules((order, good)) == []
    assert rules((order, award_of(order, -0.5 * ONES))) == [("reactive", t) for t in range(4)]
    assert ("bound", 0) in rules((order, award_of(order, 0.5 * ONES)))


def test_reactive_range_and_power_factor() -> None:
    reach = ReactiveRange(q_mvar_min=-0.2 * ONES, q_mvar_max=0.3 * ONES, power_factor_min=0.9)
    order = plant(reactive=reach)
    award = award_of(order, 0.5 * ONES, injection_mvar=[[0.24, 0.25, -0.21, 0.0]])
    assert rules((order, award)) == [("reactive", 1), ("reactive", 2)]
    wide = dataclasses.replace(order, reactive=dataclasses.replace(reach, power_factor_min=None))
    assert rules((wide, award_of(order, 0.5 * ONES, injection_mvar=[0.31 * ONES]))) == [
        ("reactive", t) for t in range(4)
    ]


def battery(**changes: Any) -> StorageOrder:
    order = storage("battery", 1, p_mw=1.0, energy_mwh=0.4, periods=PERIODS, efficiency=1.0)
    return dataclasses.replace(order, **changes)


def session(order: StorageOrder, power: list[float], soc: list[float]) -> Award:
    """Award of a storage: + discharge, - charge."""
    p = np.array(power)
    into, out = np.maximum(-p, 0.0), np.maximum(p, 0.0)
    return award_of(order, p, charge_mw=into, discharge_mw=out, soc_mwh=soc)


CAR = battery(
    availability=np.array([1.0, 0.5, 0.0, 0.0]), energy_mwh_departure_min=0.3,
    energy_mwh_end_min=0.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("order", "power", "soc", "broken"),
    [
        (battery(), [-0.8, 0.8, 0.8, -0.8], [0.4, 0.2, 0.0, 0.2], []),
        (battery(), [-0.9, 0.9, 0.8, -0.8], [0.425, 0.2, 0.0, 0.2], [("soc", 0)]),
        (battery(), [0.8, 0.4, -0.4, -0.8], [0.0, -0.1, 0.0, 0.2], [("soc", 1)]),
        (battery(), [-0.8, 0.8, 0.8, -0.4], [0.4, 0.2, 0.0, 0.1], [("end", 3)]),
        (battery(), [-0.8, 0.8, 0.8, -0.8], [0.4, 0.2, 0.1, 0.2], [("column", 2)]),
        (battery(efficiency_charge=0.5), [-0.8, 0.4, 0, 0], [0.3, 0.2, 0.2, 0.2], []),
        (battery(efficiency_discharge=0.5), [-0.8, 0.4, 0, 0], [0.4, 0.2, 0.2, 0.2], []),
        (CAR, [-0.4, 0, 0, 0], [0.3, 0.3, 0.3, 0.3], []),
        (CAR, [-0.2, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [("departure", 1)]),
        (CAR, [0, -0.8, 0, 0], [0.2, 0.4, 0.4, 0.4], [("bound", 1)]),
        (CAR, [-0.4, 0, 0.4, 0], [0.3, 0.3, 0.2, 0.2], [("bound", 2)]),
    ],
)
def test_state_of_charge(
    order: StorageOrder, power: list[float], soc: list[float], broken: list[tuple[str, int]]
) -> None:
    assert rules((order, session(order, power, soc))) == broken


def test_storage_leaks_and_does_not_burn_energy() -> None:
    leaky = battery(self_discharge_per_day=0.5, energy_mwh_end_min=0.0)
    kept = 0.2 * 0.5 ** (np.arange(1, 5) / 96.0)
    assert rules((leaky, session(leaky, [0.0] * 4, kept.tolist()))) == []
    assert ("column", 3) in rules((leaky, session(leaky, [0.0] * 4, [0.2] * 4)))
    burning = battery(efficiency_charge=0.5, energy_mwh_end_min=0.0)
    award = award_of(
        burning, [-0.4, 0, 0, 0], charge_mw=[0.8, 0, 0, 0], discharge_mw=[0.4, 0, 0, 0],
        soc_mwh=[0.2] * 4,
    )  # fmt: skip
    assert rules((burning, award)) == [("direction", 0)]
    assert ("column", -1) in rules((burning, award_of(burning, [0.0] * 4, soc_mwh=[0.2] * 4)))


def test_shift_keeps_its_energy_in_every_window() -> None:
    order = ShiftOrder(
        id="wash", participant="A", buses=((0, 1.0),), baseline_mw=np.array([0.2, 0.2, 0.4, 0.0]),
        p_mw_min=0.1 * ONES, p_mw_max=0.3 * ONES, window_periods=2, price_eur_per_mwh=ONES,
    )  # fmt: skip
    assert rules((order, award_of(order, [-0.1, -0.3, -0.3, -0.1]))) == []
    assert rules((order, award_of(order, [-0.3, -0.3, -0.1, -0.1]))) == [
        ("window", 0), ("window", 2),
    ]  # fmt: skip
    assert rules((order, award_of(order, [-0.05, -0.35, -0.3, -0.1]))) == [
        ("bound", 0), ("bound", 1),
    ]  # fmt: skip


def test_bilateral_draws_what_it_feeds_in() -> None:
    order = BilateralOrder(
        id="swap", participant="A", buses=((0, 1.0),), bus_to=1, participant_to="B",
        p_mw=0.5 * ONES, price_eur_per_mwh=ONES,
    )  # fmt: skip
    both = {"buses": (0, 1), "injection_mvar": np.zeros((2, PERIODS))}
    good = award_of(order, 0.2 * ONES, injection_mw=[0.2 * ONES, -0.2 * ONES], **both)
    assert rules((order, good)) == []
    lossy = award_of(order, 0.2 * ONES, injection_mw=[0.2 * ONES, -0.1 * ONES], **both)
    assert rules((order, lossy)) == [("place", t) for t in range(4)]
    big = award_of(order, 0.6 * ONES, injection_mw=[0.6 * ONES, -0.6 * ONES], **both)
    assert rules((order, big)) == [("bound", t) for t in range(4)]


def curtail(**changes: Any) -> CurtailOrder:
    order = CurtailOrder(
        id="off", participant="A", buses=((0, 1.0),), p_mw_max=0.4 * ONES, p_mw_min_on=0.2 * ONES,
        price_eur_per_mwh=10.0 * ONES,
    )  # fmt: skip
    return dataclasses.replace(order, **changes)


@pytest.mark.parametrize(
    ("order", "injection", "broken"),
    [
        (curtail(), [0.4, 0.2, 0.0, 0.3], []),
        (curtail(), [0.5, 0.1, 0.0, 0.3], [("bound", 0), ("bound", 1)]),
        (curtail(duration_periods_min=2), [0.4, 0.2, 0.0, 0.3], [("duration", 3)]),
        (curtail(duration_periods_min=2), [0.4, 0.2, 0.0, 0.0], []),
        (curtail(duration_periods_max=1), [0.4, 0.2, 0.0, 0.3], [("duration", 1)]),
        (curtail(cooldown_periods=2), [0.4, 0.2, 0.0, 0.3], [("cooldown", 3)]),
        (curtail(cooldown_periods=2), [0.4, 0.0, 0.0, 0.3], []),
        (curtail(activations_max=1), [0.4, 0.0, 0.2, 0.3], [("activations", 2)]),
        (curtail(activations_max=2), [0.4, 0.0, 0.2, 0.3], []),
    ],
)
def test_curtail_counts_runs(
    order: CurtailOrder, injection: list[float], broken: list[tuple[str, int]]
) -> None:
    assert rules((order, award_of(order, injection))) == broken


HALF = curtail(rebound_share=0.5, rebound_periods=2)


@pytest.mark.parametrize(
    ("injection", "on", "broken"),
    [
        ([0.4, -0.1, -0.1, 0.0], [1, 0, 0, 0], []),
        ([0.4, 0.4, -0.2, -0.2], [1, 1, 0, 0], []),
        ([0.4, -0.1, 0.1, -0.05], [1, 0, 1, 0], [("horizon", 4)]),
        ([0.4, 0.0, 0.0, 0.0], [1, 0, 0, 0], [("rebound", 1), ("rebound", 2)]),
        ([0.4, -0.2, 0.0, 0.0], [1, 0, 0, 0], [("rebound", 1), ("rebound", 2)]),
        ([0.4, -0.1, -0.1, -0.1], [1, 0, 0, 0], [("rebound", 3)]),
        ([0.0, 0.4, 0.4, -0.2], [0, 1, 1, 0], [("horizon", 4)]),
        ([0.4, -0.1, 0.0, 0.0], [1, 0, 1, 0], [("bound", 2), ("horizon", 4), ("rebound", 3)]),
    ],
)
def test_rebound_follows_every_run(
    injection: list[float], on: list[int], broken: list[tuple[str, int]]
) -> None:
    award = award_of(HALF, injection, accepted_share=on)
    assert sorted(rules((HALF, award))) == sorted(broken)


def test_curtail_reduces_no_more_than_its_load_draws() -> None:
    order = curtail(asset="load:0", buses=((1, 1.0),), p_mw_max=1.5 * ONES)
    q = [0.2 * np.array([1.0, 1.2, 0.0, 0.0])]
    award = award_of(order, [1.0, 1.2, 0.0, 0.0], injection_mvar=q)
    assert rules((order, award)) == [("load", 1)]
    without = award_of(order, [1.0, 0.0, 0.0, 0.0])
    assert rules((order, without)) == [("reactive", 0)]


def block(name: str, profile: list[float], **changes: Any) -> BlockOrder:
    order = BlockOrder(
        id=name, participant="A", buses=((1, 1.0),), profile_mw=np.array(profile),
        price_eur_per_mwh=10.0 * ONES,
    )  # fmt: skip
    return dataclasses.replace(order, **changes)


@pytest.mark.parametrize(
    ("acceptance", "injection", "share", "broken"),
    [
        (1.0, [0.0, 0.4, 0.8, 0.0], 1.0, []),
        (1.0, [0.0, 0.0, 0.0, 0.0], 0.0, []),
        (1.0, [0.0, 0.2, 0.4, 0.0], 0.5, [("acceptance", -1)]),
        (0.5, [0.0, 0.2, 0.4, 0.0], 0.5, []),
        (0.5, [0.0, 0.4, 0.5, 0.0], 0.75, [("ratio", 1), ("ratio", 2)]),
        (0.5, [0.1, 0.4, 0.8, 0.0], 1.0, [("ratio", 0), ("ratio", 1), ("ratio", 2)]),
        (0.5, [0.0, 0.44, 0.88, 0.0], 1.1, [("bound", -1)]),
        (0.5, [0.0, -0.4, -0.8, 0.0], -1.0, [("bound", -1)]),
        (0.5, [0.0, 0.2, 0.4, 0.0], 0.6, [("share", 1), ("share", 2)]),
    ],
)
def test_block_has_one_ratio(
    acceptance: float, injection: list[float], share: float, broken: list[tuple[str, int]]
) -> None:
    order = block("whole", [0.0, 0.4, 0.8, 0.0], acceptance_min=acceptance)
    award = award_of(order, injection, accepted_share=share * ONES)
    found = [b for b in rules((order, award)) if injection[0] == 0.0 or b[0] == "ratio"]
    assert found == broken


def test_withdrawal_block() -> None:
    order = block("draws", [-0.4, -0.2, 0.0, 0.0], acceptance_min=0.3)
    award = award_of(order, [-0.2, -0.1, 0.0, 0.0], accepted_share=0.5 * ONES)
    assert rules((order, award)) == []


@pytest.mark.parametrize(
    ("first", "second", "broken"), [(1.0, 1.0, []), (1.0, 0.4, []), (0.4, 0.5, ["link"])]
)
def test_child_is_accepted_no_more_than_its_parent(
    first: float, second: float, broken: list[str]
) -> None:
    above = block("above", [0.4, 0.4, 0.4, 0.4], acceptance_min=0.1)
    below = block("below", [0.2, 0.2, 0.2, 0.2], acceptance_min=0.1, parent="above")
    pairs = [
        (order, award_of(order, ratio * order.profile_mw, accepted_share=ratio * ONES))
        for order, ratio in ((above, first), (below, second))
    ]
    assert [rule for rule, _ in rules(*pairs)] == broken


@pytest.mark.parametrize(("second", "broken"), [(0.0, []), (0.4, []), (0.5, ["group"])])
def test_ratios_of_a_group_sum_to_one(second: float, broken: list[str]) -> None:
    members = [
        block(name, [0.4, 0.4, 0.4, 0.4], acceptance_min=0.1, exclusive_group="one of")
        for name in ("a", "b")
    ]
    pairs = [
        (order, award_of(order, ratio * order.profile_mw, accepted_share=ratio * ONES))
        for order, ratio in zip(members, (0.6, second), strict=True)
    ]
    assert [rule for rule, _ in rules(*pairs)] == broken


def test_every_order_has_one_award() -> None:
    order = plant()
    award = award_of(order, 0.5 * ONES)
    case = case_of(order)
    assert [b.text for b in broken_rules(case, [])] == ["no award"]
    assert [b.text for b in broken_rules(case, [award, award])] == ["two awards of one order"]
    other = dataclasses.replace(award, order="other")
    assert len(broken_rules(case, [award, other])) == 1
    elsewhere = dataclasses.replace(award, buses=(0,))
    assert rules((order, elsewhere)) == [("place", -1)]
