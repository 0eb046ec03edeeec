"""Devices against published numbers, closed formulas and hand-made cases."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from data.errors import InputError
from flexibility.devices import (
    REASON_TEXT,
    Batteries,
    CarSessions,
    Conditions,
    CurtailableLoads,
    HeatPumps,
    Instruction,
    PvPlants,
    Reason,
    ShiftableProcesses,
    ShortfallRule,
    VoltVarCurve,
    coefficient_of_performance,
    find_shortfalls,
    flow_temperature_c,
    hours_since,
    power_factor_over_power,
    power_factor_required,
)
from tests.support.devices import periods_of

ONE = np.ones(1)


def battery(**changes: object) -> Batteries:
    plain = Batteries.plain(
        ids=("b",), buses=(1,), power_mw=0.005 * ONE, energy_mwh_max=0.010 * ONE,
        energy_mwh_start=0.005 * ONE, efficiency=0.9,
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def car(**changes: object) -> CarSessions:
    plain = CarSessions(
        ids=("car",), buses=(7,), arrival_h=1.0 * ONE, departure_h=5.0 * ONE,
        energy_mwh_arrival=0.020 * ONE, energy_mwh_departure=0.040 * ONE,
        energy_mwh_reserve=0.010 * ONE, energy_mwh_max=0.060 * ONE, charge_mw_max=0.010 * ONE,
        discharge_mw_max=0.010 * ONE, efficiency_charge=ONE, efficiency_discharge=ONE,
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def pump(**changes: object) -> HeatPumps:
    plain = HeatPumps(
        ids=("hp",), buses=(2,), p_mw_max=0.004 * ONE, floor_heating=0 * ONE,
        resistance_k_per_mw=5000.0 * ONE, capacity_mwh_per_k=0.012 * ONE,
        emission_mw_max=0.012 * ONE, comfort_c_min=20.0 * ONE, set_c=21.0 * ONE,
        comfort_c_max=22.0 * ONE, indoor_c_start=21.0 * ONE, store_mwh_max=0.005 * ONE,
        store_mwh_start=0.0 * ONE, store_loss_per_day=0 * ONE,
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def told(*injection_mw: float) -> Instruction:
    return Instruction.active(np.array(injection_mw))


def test_every_reason_has_words() -> None:
    assert set(REASON_TEXT) == set(Reason)


def test_a_taper_follows_the_differential_equation_of_charging_at_the_limit() -> None:
    unit = battery(soc_charge_full_power=0.6 * ONE, charge_share_when_full=0.1 * ONE)
    state, minutes = unit.start(), 100
    for _ in range(minutes):
        state = unit.step(state, told(-1.0), Conditions(), 1 / 60).state

    def speed(_: float, energy: np.ndarray) -> np.ndarray:
        return 0.9 * unit.charge_limit_mw(energy)

    exact = solve_ivp(speed, (0.0, minutes / 60), [0.005], rtol=1e-9, atol=1e-12).y[0, -1]
    assert state.energy_mwh[0] == pytest.approx(exact, rel=3e-3)
    # Holding a constant power for a minute that its end still admits is never too much.
    assert state.energy_mwh[0] < exact


def test_the_market_sees_only_energies_at_full_power() -> None:
    unit = battery(soc_charge_full_power=0.8 * ONE, charge_share_when_full=0.2 * ONE)
    (order,) = unit.to_orders(unit.start(), periods_of(4), participant="a")
    assert order.energy_mwh_max == pytest.approx(0.008)
    full = dataclasses.replace(unit, energy_mwh_start=0.009 * ONE)
    (order,) = full.to_orders(full.start(), periods_of(4), participant="a")
    assert order.energy_mwh_max == pytest.approx(0.009)
    assert order.charge_mw_max[0] == pytest.approx(0.005 * 0.6)
    with pytest.raises(InputError, match="end energy"):
        unit.to_orders(
            unit.start(), periods_of(4), participant="a", energy_mwh_end_min=0.0095 * ONE
        )


def test_a_range_says_how_long_it_can_be_held() -> None:
    unit = battery()
    now = unit.range_now(unit.start(), Conditions(), 1 / 60)
    assert now.hold_max_h[0] == pytest.approx(0.005 * 0.9 / 0.005)
    assert now.hold_min_h[0] == pytest.approx(0.005 / 0.9 / 0.005)
    state, held = unit.start(), 0
    while unit.step(state, told(0.005), Conditions(), 1 / 60).reasons[0] == Reason.FOLLOWED:
        state = unit.step(state, told(0.005), Conditions(), 1 / 60).state
        held += 1
    assert held == pytest.approx(now.hold_max_h[0] * 60, abs=1.0)


def test_a_car_waits_until_full_power_is_needed_and_leaves_with_its_energy() -> None:
    fleet, state, drawn = car(), car().start(), []
    for _ in range(24):
        done = fleet.step(state, told(0.0), Conditions(), 0.25)
        drawn.append(-float(done.injection_mw[0]))
        state = done.state
    # 20 kWh at 10 kW: the last two of its four hours, which end at 5 h.
    assert drawn == pytest.approx([0.0] * 12 + [0.010] * 8 + [0.0] * 4)
    assert state.energy_mwh[0] == pytest.approx(0.040)
    assert find_shortfalls(fleet, state, ShortfallRule(price_micro_eur_per_mwh=1), dt_h=0.25) == ()


def test_v2g_stops_at_the_reserve_and_at_what_departure_needs() -> None:
    fleet = car(energy_mwh_departure=0.012 * ONE, energy_mwh_reserve=0.015 * ONE)
    state, reasons = fleet.start(), []
    for _ in range(16):
        done = fleet.step(state, told(0.010), Conditions(), 0.25)
        reasons.append(Reason(int(done.reasons[0])))
        state = done.state
    assert state.energy_mwh[0] == pytest.approx(0.015)
    assert reasons[:4] == [Reason.NOT_PLUGGED] * 4
    assert reasons[4:6] == [Reason.FOLLOWED] * 2
    assert set(reasons[6:]) == {Reason.RESERVE}


def test_a_limit_of_the_connection_wins_and_the_operator_pays() -> None:
    fleet, state = car(), car().start()
    for _ in range(24):
        narrow = Conditions(withdrawal_mw_max=0.004 * ONE)
        done = fleet.step(state, told(0.0), narrow, 0.25)
        assert done.injection_mw[0] >= -0.004
        state = done.state
    (short,) = find_shortfalls(
        fleet, state, ShortfallRule(price_micro_eur_per_mwh=400_000_000), dt_h=0.25
    )
    assert (short.missing_wh, short.reason, short.payer) == (4_000, "held back", "operator")
    assert short.amount_micro_eur == 1_600_000


def test_a_car_that_knows_of_a_limit_begins_early_enough() -> None:
    fleet, state, drawn = car(), car().start(), []
    for _ in range(24):
        narrow = Conditions(withdrawal_mw_max=0.006 * ONE)
        done = fleet.step(state, told(0.0), narrow, 0.25)
        drawn.append(-float(done.injection_mw[0]))
        state = done.state
    # 20 kWh at 6 kW take 3 h 20 min of the four hours.
    assert state.energy_mwh[0] == pytest.approx(0.040)
    assert drawn[:6] == [0.0] * 6
    assert sum(drawn[7:20]) == pytest.approx(13 * 0.006)
    assert find_shortfalls(fleet, state, ShortfallRule(price_micro_eur_per_mwh=1), dt_h=0.25) == ()


def test_a_car_that_never_was_instructed_charges_at_once() -> None:
    fleet, state = car(), car().start()
    for _ in range(24):
        own = fleet.unguided(state, Conditions(), 0.25)
        done = fleet.step(state, own, Conditions(), 0.25)
        assert done.reasons[0] == Reason.FOLLOWED
        state = done.state
        if state.elapsed_h == 3.0:
            assert state.energy_mwh[0] == pytest.approx(0.040)


def test_hours_are_real_hours_across_a_change_of_the_clock() -> None:
    start = datetime(2016, 3, 26, 23, tzinfo=UTC)
    assert hours_since(start, [start + timedelta(hours=23)]).tolist() == [23.0]
    with pytest.raises(InputError, match="offset"):
        hours_since(start, [datetime(2016, 3, 27)])  # noqa: DTZ001 - that is what is refused


def test_the_cop_is_that_of_the_published_regression() -> None:
    # Ruhnau et al. 2019, air source: 0.85 (6.08 - 0.09 dT + 0.0005 dT^2), at 15, 30 and 50 K.
    lifts = np.array([15.0, 30.0, 50.0])
    expected = 0.85 * np.array([4.8425, 3.83, 2.83])
    np.testing.assert_allclose(coefficient_of_performance(0 * lifts, lifts), expected)
    assert coefficient_of_performance(ONE, 6 * ONE)[0] == pytest.approx(expected[0])
    assert flow_temperature_c(np.array([-5.0]), "floor")[0] == pytest.approx(32.5)
    ground = coefficient_of_performance(10 * ONE, 45 * ONE, "ground")[0]
    assert ground == pytest.approx(0.85 * (10.29 - 0.21 * 35 + 0.0012 * 35**2))


def test_a_building_cools_as_its_time_constant_says_and_no_further_than_comfort() -> None:
    house, outdoors = pump(), Conditions(outdoor_c=5.0 * ONE)
    state, minutes = house.start(), 0
    while True:
        done = house.step(state, told(0.0), outdoors, 1 / 60)
        if done.reasons[0] != Reason.FOLLOWED:
            break
        state, minutes = done.state, minutes + 1
    # T = 5 + 16 exp(-t / 60 h) reaches 20 degC at 60 ln(16 / 15) h.
    assert minutes / 60 == pytest.approx(60 * np.log(16 / 15), abs=1 / 60)
    assert done.reasons[0] == Reason.COMFORT
    assert done.state.indoor_c[0] == pytest.approx(20.0)
    done = house.step(done.state, told(0.0), outdoors, 1 / 60)
    held = -done.injection_mw[0] * house.cop(5.0 * ONE)[0]
    assert held == pytest.approx((20.0 - 5.0) / 5000.0, rel=1e-3)


def test_a_full_store_and_warm_rooms_stop_a_heat_pump() -> None:
    house, state, outdoors = pump(), pump().start(), Conditions(outdoor_c=5.0 * ONE)
    for _ in range(600):
        done = house.step(state, told(-0.004), outdoors, 1 / 60)
        state = done.state
    assert done.reasons[0] == Reason.TOO_WARM
    assert state.store_mwh[0] == pytest.approx(0.005)
    assert state.indoor_c[0] == pytest.approx(22.0)


def test_standard_values_of_inverters() -> None:
    assert power_factor_required(np.array([0.004, 0.0046, 0.01])).tolist() == [0.95, 0.95, 0.9]
    # Half of rated power and below: none; at rated power tan(acos 0.95) = 0.3287.
    q = power_factor_over_power(np.array([0.5, 1.0]), np.ones(2), np.full(2, 0.95))
    np.testing.assert_allclose(q, [0.0, -0.32868], atol=1e-5)
    with pytest.raises(InputError, match="rise"):
        VoltVarCurve(vm_pu=(0.9, 1.0, 0.98, 1.1))
    with pytest.raises(InputError, match="four"):
        VoltVarCurve(vm_pu=(0.9, float("nan"), 1.0, 1.1))


def test_at_full_sun_active_power_gives_way_to_reactive_power() -> None:
    plant = PvPlants(ids=("pv",), buses=(1,), s_mva_max=0.010 * ONE, power_factor_min=0.9 * ONE)
    sun = Conditions(power_mw=0.010 * ONE)
    asked = Instruction(injection_mw=0.010 * ONE, injection_mvar=-0.010 * ONE)
    done = plant.step(plant.start(), asked, sun, 1 / 60)
    assert done.injection_mw[0] == pytest.approx(0.009)
    assert done.injection_mvar[0] == pytest.approx(-0.010 * np.sin(np.arccos(0.9)))
    assert done.remarks(plant.ids) == {"pv": "inverter at its apparent power"}


def test_a_load_on_the_rules_of_duration_cooldown_and_rebound() -> None:
    load = CurtailableLoads(
        ids=("c",), buses=(1,), reduction_mw_min=0.002 * ONE, reduction_mw_max=0.004 * ONE,
        duration_h_min=0.5 * ONE, duration_h_max=1.0 * ONE, cooldown_h=1.0 * ONE,
        activations_max=2 * ONE, rebound_share=0.5 * ONE, rebound_h=0.5 * ONE, tan_phi=0 * ONE,
    )  # fmt: skip
    state, demand, seen = load.start(), Conditions(power_mw=0.010 * ONE), []
    plan = [0.004, 0.0, 0.0, 0.004, 0.004, 0.004, 0.004, 0.004, 0.004, 0.004, 0.004]
    for wanted in plan:
        done = load.step(state, told(wanted - 0.010), demand, 0.25)
        seen.append((round(float(done.injection_mw[0]) + 0.010, 6), int(done.reasons[0])))
        state = done.state
    assert seen == [
        (0.004, Reason.FOLLOWED), (0.002, Reason.MIN_DURATION),  # on for half an hour at least
        (-0.0015, Reason.REBOUND), (-0.0015, Reason.COOLDOWN),  # half of 1.5 kWh in half an hour
        (0.0, Reason.COOLDOWN), (0.0, Reason.COOLDOWN),
        (0.004, Reason.FOLLOWED), (0.004, Reason.FOLLOWED), (0.004, Reason.FOLLOWED),
        (0.004, Reason.FOLLOWED), (-0.004, Reason.MAX_DURATION),
    ]  # fmt: skip


def test_all_that_is_wrong_with_all_devices_is_named_at_once() -> None:
    with pytest.raises(InputError) as caught:
        Batteries.plain(
            ids=("a", "a"), buses=(1,), power_mw=np.array([0.1, np.nan]),
            energy_mwh_max=np.array([1.0, 1.0]), energy_mwh_start=np.array([2.0, 0.5]),
        )  # fmt: skip
    text = str(caught.value)
    for word in ("used twice", "charge_mw_max is nan", "energy_mwh_start 2", "buses"):
        assert word in text
    with pytest.raises(InputError, match="arrival_h"):
        car(departure_h=0.5 * ONE)
    with pytest.raises(InputError, match="comfort_c_min"):
        pump(set_c=19.0 * ONE)
    with pytest.raises(InputError, match="0 MW"):
        ShiftableProcesses(
            ids=("p",), buses=(1,), profile_mw=np.zeros((1, 2)), profile_step_h=0.25,
            earliest_h=ONE, latest_h=ONE,
        )  # fmt: skip


@pytest.mark.parametrize("dt_h", [0.0, -1.0, float("nan"), float("inf")])
def test_a_step_of_no_length_or_without_numbers_is_refused(dt_h: float) -> None:
    unit = battery()
    with pytest.raises(InputError, match="length"):
        unit.step(unit.start(), told(0.0), Conditions(), dt_h)
    with pytest.raises(InputError, match="finite"):
        unit.step(unit.start(), told(float("nan")), Conditions(), 0.25)
    with pytest.raises(InputError, match="outdoor_c is missing"):
        pump().step(pump().start(), told(0.0), Conditions(), 0.25)
    with pytest.raises(InputError, match="withdrawal_mw_max"):
        unit.step(unit.start(), told(0.0), Conditions(withdrawal_mw_max=-ONE), 0.25)
