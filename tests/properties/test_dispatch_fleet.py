"""Whatever the market says: devices keep their physics, and say the same thing twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.canonical import canonical_json
from dispatch.simulated_fleet import FleetBehaviour, simulate_fleet
from flexibility.battery import (
    Battery,
    energy_path_mwh,
    next_energy_mwh,
    power_limits_mw,
    reachable_energy_mwh,
)
from tests.support.devices import DAY, demand, generation, storage, told

POWERS = st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=24)
SHARE = st.floats(0.0, 1.0)
EFFICIENCY = st.floats(0.05, 1.0)
ASSET = st.integers(0, 400)
RULES = st.builds(
    FleetBehaviour, generation_error=st.floats(0.0, 0.3), demand_error=st.floats(0.0, 0.3),
    storage_error=st.floats(0.0, 0.3), ramp_share_per_period=st.floats(0.05, 1.0),
    late_share=st.sampled_from([0.0, 0.5, 1.0]), dead_band_share=st.sampled_from([0.0, 0.5, 1.0]),
    dead_band=st.floats(0.0, 0.2),
)  # fmt: skip


@given(POWERS, ASSET, RULES, SHARE, EFFICIENCY, st.floats(0.0, 0.5))
def test_state_of_charge_and_power_never_leave_their_bounds(
    powers: list[float],
    asset: int,
    rules: FleetBehaviour,
    filled: float,
    efficiency: float,
    self_discharge: float,
) -> None:
    name, low, high = f"storage:{asset}", 0.0, 1.3
    order = storage(
        name, len(powers), p_mw=0.9, energy_mwh=(low, low + filled * (high - low), high),
        efficiency=efficiency, self_discharge_per_day=self_discharge,
    )  # fmt: skip
    (delivery,) = simulate_fleet(
        setpoints=(told(name, powers),), orders=(order,), recorded_mw={}, day=DAY, behaviour=rules
    )
    assert delivery.soc_mwh is not None
    assert ((delivery.soc_mwh >= low) & (delivery.soc_mwh <= high)).all()
    assert (np.abs(delivery.injection_mw) <= 0.9).all()
    # The meter and the state of charge tell the same story.
    charge, discharge = np.maximum(-delivery.injection_mw, 0), np.maximum(delivery.injection_mw, 0)
    path = energy_path_mwh(Battery.of_order(order), order.energy_mwh_start, charge, discharge, 0.25)
    np.testing.assert_allclose(path, delivery.soc_mwh, atol=1e-12)


def test_own_consumption_ends_with_the_calm() -> None:
    """A plant that drew 8 kW in a calm is not held there by its ramp."""
    rules = FleetBehaviour(
        generation_error=0.0, late_share=0.0, dead_band_share=0.0, ramp_share_per_period=1.0
    )
    (delivery,) = simulate_fleet(
        setpoints=(told("sgen:0", [0.0, 0.0]),), orders=(generation("sgen:0", 2),),
        recorded_mw={"sgen:0": np.array([-0.008, 0.0])}, day=DAY, behaviour=rules,
    )  # fmt: skip
    assert delivery.injection_mw.tolist() == [-0.008, 0.0]


@given(st.data(), POWERS, ASSET, RULES)
def test_generation_never_exceeds_what_was_available(
    data: st.DataObject, powers: list[float], asset: int, rules: FleetBehaviour
) -> None:
    name = f"sgen:{asset}"
    available = np.array(
        data.draw(st.lists(st.floats(-0.01, 3.0), min_size=len(powers), max_size=len(powers)))
    )
    q_mvar = [0.3 * p for p in powers]
    (delivery,) = simulate_fleet(
        setpoints=(told(name, powers, q_mvar),), orders=(generation(name, len(powers)),),
        recorded_mw={name: available}, day=DAY, behaviour=rules,
    )  # fmt: skip
    assert (delivery.injection_mw <= available).all()
    assert (np.abs(delivery.injection_mvar) <= np.abs(q_mvar) * (1 + 1e-9) + 1e-6).all() or min(
        powers
    ) < 0
    assert (delivery.injection_mw[available >= 0.0] >= 0.0).all()


@given(st.data(), st.integers(1, 24), ASSET, RULES)
def test_demand_stays_between_must_take_and_what_is_wanted(
    data: st.DataObject, count: int, asset: int, rules: FleetBehaviour
) -> None:
    name = f"load:{asset}"

    def draw() -> np.ndarray:
        values = data.draw(st.lists(st.floats(0.0, 2.0), min_size=count, max_size=count))
        return np.round(np.array(values), 6)

    must, flexible, wanted = draw(), draw(), draw()
    bought = must + flexible * data.draw(SHARE)
    order = demand(name, must.tolist(), flexible.tolist())
    (delivery,) = simulate_fleet(
        setpoints=(told(name, (-bought).tolist()),), orders=(order,), recorded_mw={name: wanted},
        day=DAY, behaviour=rules,
    )  # fmt: skip
    size = must + flexible
    share = np.where(size > 0, must / np.where(size > 0, size, 1.0), 1.0)
    withdrawn = -delivery.injection_mw
    assert (withdrawn <= wanted + 1e-9).all()
    assert (withdrawn >= share * wanted - 1e-6).all()


@given(POWERS, st.lists(ASSET, min_size=1, max_size=5, unique=True))
def test_same_inputs_give_the_same_bytes_in_any_order(
    powers: list[float], assets: list[int]
) -> None:
    setpoints = [told(f"storage:{a}", powers) for a in assets]
    orders = [storage(f"storage:{a}", len(powers)) for a in assets]
    one = simulate_fleet(setpoints=setpoints, orders=orders, recorded_mw={}, day=DAY)
    two = simulate_fleet(setpoints=setpoints[::-1], orders=orders[::-1], recorded_mw={}, day=DAY)
    assert canonical_json(one) == canonical_json(two)


@given(SHARE, EFFICIENCY, EFFICIENCY, st.floats(0.0, 0.9), st.sampled_from([0.25, 0.5, 1.0]))
def test_limits_are_exactly_what_fills_and_empties(
    filled: float, charging: float, discharging: float, self_discharge: float, mtu_h: float
) -> None:
    battery = Battery(
        energy_mwh_min=0.0, energy_mwh_max=2.0, efficiency_charge=charging,
        efficiency_discharge=discharging, self_discharge_per_day=self_discharge,
    )  # fmt: skip
    energy = 2.0 * filled
    charge, discharge = power_limits_mw(battery, energy, mtu_h)
    assert next_energy_mwh(battery, energy, charge, 0.0, mtu_h) == pytest.approx(2.0)
    assert next_energy_mwh(battery, energy, 0.0, discharge, mtu_h) == pytest.approx(0.0, abs=1e-12)


@given(SHARE, EFFICIENCY, st.integers(1, 24))
def test_no_schedule_ends_fuller_than_the_reachable_energy(
    filled: float, efficiency: float, count: int
) -> None:
    order = storage("storage:0", count, energy_mwh=(0.0, 3.0 * filled, 3.0), efficiency=efficiency)
    reachable = reachable_energy_mwh(order, 0.25)
    assert order.energy_mwh_start - 1e-12 <= reachable <= 3.0 + 1e-12
    best = energy_path_mwh(
        Battery.of_order(order), order.energy_mwh_start, order.charge_mw_max, np.zeros(count), 0.25
    )[-1]
    assert reachable == pytest.approx(min(best, 3.0))
    away = replace(order, availability=np.zeros(count))
    assert reachable_energy_mwh(away, 0.25) == pytest.approx(order.energy_mwh_start)
