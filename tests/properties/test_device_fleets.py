"""Cars leave with their energy or the shortfall is named; rooms stay warm; processes run once."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog

from data.periods import DeliveryDay
from flexibility.devices import (
    Conditions,
    Instruction,
    Reason,
    ShiftableProcesses,
    ShortfallRule,
    carries_comfort,
    find_shortfalls,
    heat_pump_orders,
)
from flexibility.devices.heat_orders import _extreme, _plan
from tests.support.device_fleets import (
    random_cars,
    random_pumps,
    random_shift_award,
    random_storage_award,
    random_weather,
)

Floats = NDArray[np.float64]
ANY = settings(
    max_examples=40, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
MANY = settings(ANY, max_examples=400)
SEED = st.integers(0, 2**32 - 1)
# The days of 92, 96 and 100 quarter-hours.
DAYS = [DeliveryDay(day=date(2016, m, d)).periods for m, d in ((3, 27), (7, 25), (10, 30))]
RULE = ShortfallRule(price_micro_eur_per_mwh=400_000_000)


def drive(seed: int) -> None:
    """A fleet told nonsense behind connections that bind now and then: energies tell the truth."""
    rng = np.random.default_rng(seed)
    periods = DAYS[seed % 3]
    dt_h, cars = periods.mtu_h, random_cars(rng, 12, len(periods) * periods.mtu_h)
    limited = rng.random() < 0.5
    state, metered, lowest = cars.start(), cars.energy_mwh_arrival, cars.energy_mwh_arrival
    gap = np.zeros(12)
    for _ in range(len(periods)):
        told = Instruction.active(rng.choice([-1.0, 0.0, 1.0], 12) * rng.uniform(0, 0.03, 12))
        limit = rng.choice([np.inf, 0.002], 12, p=[0.9, 0.1]) if limited else None
        conditions = Conditions(withdrawal_mw_max=limit)
        possible = cars.range_now(state, conditions, dt_h)
        done = cars.step(state, told, conditions, dt_h)
        p = done.injection_mw
        assert (p >= possible.injection_mw_min).all()
        assert (p <= possible.injection_mw_max).all()
        if limit is not None:
            assert (p >= -limit).all()
        discharges = p > 0
        # V2G never below the reserve, and only while plugged.
        assert (done.state.energy_mwh[discharges] >= cars.energy_mwh_reserve[discharges]).all()
        away = ~cars.plugged(state.elapsed_h, dt_h)
        assert (p[away] == 0).all()
        metered = metered + dt_h * np.where(
            p < 0, -p * cars.efficiency_charge, -p / cars.efficiency_discharge
        )
        differs = np.abs(p - told.injection_mw) > 1e-9
        assert ((done.reasons != Reason.FOLLOWED) == differs).all()
        lowest = np.minimum(lowest, done.state.energy_mwh)
        gap = np.maximum(gap, np.abs(metered - done.state.energy_mwh))
        state = done.state
    assert gap.max() < 1e-12
    assert (lowest >= np.minimum(cars.energy_mwh_reserve, cars.energy_mwh_arrival)).all()
    named = find_shortfalls(cars, state, RULE, dt_h=dt_h)
    missing = dict.fromkeys(cars.ids, 0)
    for each in named:
        missing[each.car] += each.missing_wh
        owed = each.reason != "asked for more than it can reach"
        assert each.amount_micro_eur == (each.missing_wh * 400 if owed else 0)
        assert (each.payer == "nobody") == (not owed)
        assert each.reason != "charged too late"
        assert limited or not owed
    gone = cars.departure_h <= state.elapsed_h
    for k, car in enumerate(cars.ids):
        lacks = max(cars.energy_mwh_departure[k] - metered[k], 0.0) * 1e6 if gone[k] else 0.0
        assert missing[car] == pytest.approx(lacks, abs=0.51)
        full_power = cars.reachable_mwh(dt_h)[k] >= cars.energy_mwh_departure[k]
        if gone[k] and full_power and not limited:
            assert missing[car] == 0


@ANY
@given(SEED)
def test_every_car_leaves_with_its_energy_or_the_shortfall_is_named(seed: int) -> None:
    drive(seed)


@pytest.mark.long
@MANY
@given(SEED)
def test_every_car_of_hundreds_of_fleets_leaves_with_its_energy_or_is_named(seed: int) -> None:
    drive(seed)


@ANY
@given(SEED)
def test_any_award_of_a_car_is_followed_to_the_watt(seed: int) -> None:
    rng = np.random.default_rng(seed)
    periods = DAYS[seed % 3]
    cars = random_cars(rng, 6, len(periods) * periods.mtu_h)
    awards = np.zeros((6, len(periods)))
    for order in cars.to_orders(periods, participant="a"):
        row = cars.ids.index(order.id)
        awards[row] = random_storage_award(rng, order, periods.mtu_h)
    state = cars.start()
    for t in range(len(periods)):
        done = cars.step(state, Instruction.active(awards[:, t]), Conditions(), periods.mtu_h)
        # A car that must charge for what lies within less than a watt rounds up by itself.
        np.testing.assert_allclose(done.injection_mw, awards[:, t], rtol=0, atol=2e-6)
        state = done.state
    assert all(
        each.reason == "asked for more than it can reach"
        for each in find_shortfalls(cars, state, RULE, dt_h=periods.mtu_h)
    )


def warm(seed: int, dt_h: float) -> None:
    rng = np.random.default_rng(seed)
    coldest, steps = -12.0, round(18 / dt_h) if dt_h < 0.1 else 96
    pumps = random_pumps(rng, 6, coldest)
    assert (carries_comfort(pumps, np.full(6, coldest)) >= 0).all()
    weather, state = random_weather(rng, steps, coldest), pumps.start()
    for t in range(steps):
        told = Instruction.active(rng.choice([0.0, -1.0, 0.5], 6) * rng.uniform(0, 0.01, 6))
        gain = np.full(6, 2e-4) if rng.random() < 0.3 else np.zeros(6)
        now = Conditions(outdoor_c=np.full(6, weather[t]), heat_gain_mw=gain)
        parts = pumps.heat_step(state, now, dt_h)
        done = pumps.step(state, told, now, dt_h)
        after = done.state
        assert (after.indoor_c >= pumps.comfort_c_min - 1e-9).all()
        # Above the upper bound only where the weather alone takes it.
        assert (after.indoor_c <= np.maximum(pumps.comfort_c_max, parts.idle_c) + 1e-9).all()
        assert ((after.store_mwh >= 0) & (after.store_mwh <= pumps.store_mwh_max)).all()
        # First law: electric power times COP is what store and rooms gained and lost.
        given = (after.indoor_c - parts.idle_c) / parts.warming_k_per_mw
        balance = -done.injection_mw * parts.cop - given - (after.store_mwh - parts.kept_mwh) / dt_h
        np.testing.assert_allclose(balance, 0.0, atol=1e-9)
        differs = np.abs(done.injection_mw - told.injection_mw) > 1e-9
        assert ((done.reasons != Reason.FOLLOWED) == differs).all()
        state = after
    assert (state.cold_kh == 0).all()


@ANY
@given(SEED)
def test_no_instruction_takes_a_room_below_comfort(seed: int) -> None:
    warm(seed, 0.25)


@settings(ANY, max_examples=4)
@given(SEED)
def test_no_instruction_takes_a_room_below_comfort_minute_by_minute(seed: int) -> None:
    warm(seed, 1 / 60)


@pytest.mark.long
@MANY
@given(SEED)
def test_no_instruction_takes_a_room_of_hundreds_of_fleets_below_comfort(seed: int) -> None:
    warm(seed, 0.25)


def test_a_connection_below_what_comfort_needs_is_kept_and_the_cold_is_counted() -> None:
    pumps = random_pumps(np.random.default_rng(3), 4, -12.0)
    state = pumps.start()
    now = Conditions(outdoor_c=np.full(4, -10.0), withdrawal_mw_max=np.full(4, 2e-4))
    for _ in range(96):
        done = pumps.step(state, Instruction.active(np.full(4, -1.0)), now, 0.25)
        assert (done.injection_mw >= -2e-4).all()
        assert (done.reasons == Reason.CONNECTION).all()
        state = done.state
    assert (state.cold_kh > 1.0).all()
    assert (state.indoor_c < pumps.comfort_c_min).all()


@settings(ANY, max_examples=15)
@given(SEED)
def test_any_award_of_a_heat_pump_is_followed_and_keeps_comfort(seed: int) -> None:
    rng = np.random.default_rng(seed)
    periods, coldest = DAYS[seed % 3], -12.0
    pumps = random_pumps(rng, 5, coldest)
    weather = np.tile(random_weather(rng, len(periods), coldest), (5, 1))
    orders = heat_pump_orders(
        pumps, pumps.start(), weather, periods, participant="a", price_eur_per_mwh=1.0,
        window_periods=int(rng.choice([4, 16, 30])),
    )  # fmt: skip
    awards = np.stack([random_shift_award(rng, order) for order in orders])
    state = pumps.start()
    for t in range(len(periods)):
        now = Conditions(outdoor_c=weather[:, t])
        done = pumps.step(state, Instruction.active(-awards[:, t]), now, periods.mtu_h)
        np.testing.assert_allclose(-done.injection_mw, awards[:, t], rtol=0, atol=1e-9)
        assert (done.state.indoor_c >= pumps.comfort_c_min - 1e-9).all()
        state = done.state
    for order in orders:
        assert (order.p_mw_min <= order.baseline_mw).all()
        assert (order.p_mw_max >= order.baseline_mw).all()


def test_heat_pumps_in_ordinary_weather_have_something_to_shift() -> None:
    rng = np.random.default_rng(2)
    pumps, periods = random_pumps(rng, 8, -12.0), DAYS[1]
    weather = np.full((8, 96), 3.0)
    orders = heat_pump_orders(
        pumps, pumps.start(), weather, periods, participant="a", price_eur_per_mwh=1.0,
        window_periods=8,
    )  # fmt: skip
    wide = [float((order.p_mw_max - order.p_mw_min).mean()) for order in orders]
    assert min(wide) > 1e-4
    with_store = pumps.store_mwh_max > 0
    assert with_store.any()
    assert not with_store.all()


def test_the_extremes_of_a_shift_order_equal_a_linear_programme() -> None:
    rng = np.random.default_rng(5)
    pumps, window, count = random_pumps(rng, 3, -12.0), 6, 15
    weather = np.tile(random_weather(rng, count, -12.0), (3, 1))
    plan = _plan(pumps, pumps.start(), weather, np.zeros((3, count)), 0.25)
    low, high = -0.4 * plan.baseline_mw, 0.7 * plan.baseline_mw
    found = _extreme(plan, low, high, window)
    starts = range(0, count, window)
    for k in range(3):
        equal = np.array([[float(s <= t < s + window) for t in range(count)] for s in starts])
        for t in range(count):
            age = t - np.arange(count)
            weight = np.where(age >= 0, plan.gain[k] * plan.retention[k] ** np.abs(age), 0.0)
            least = linprog(
                weight, A_eq=equal, b_eq=np.zeros(len(equal)),
                bounds=list(zip(low[k], high[k], strict=True)),
            )  # fmt: skip
            assert found[k, t] == pytest.approx(least.fun, rel=1e-7, abs=1e-12)


@ANY
@given(SEED)
def test_a_process_runs_exactly_once_inside_its_window_without_a_break(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(1, 9))
    profile = rng.integers(1, 5, (4, steps)) * 5e-4
    earliest = rng.integers(0, 40, 4) * 0.25
    processes = ShiftableProcesses(
        ids=tuple("abcd"), buses=(1, 2, 3, 4), profile_mw=profile, profile_step_h=0.25,
        earliest_h=earliest, latest_h=earliest + rng.integers(0, 30, 4) * 0.25,
    )  # fmt: skip
    dt_h = float(rng.choice([0.05, 0.25]))
    state, drawn = processes.start(), []
    for _ in range(round(24 / dt_h)):
        told = Instruction.active(np.where(rng.random(4) < 0.03, -1e-3, 0.0))
        possible = processes.range_now(state, Conditions(), dt_h)
        done = processes.step(state, told, Conditions(), dt_h)
        ends = np.stack([possible.injection_mw_min, possible.injection_mw_max])
        assert (np.abs(ends - done.injection_mw).min(axis=0) < 1e-12).all()
        drawn.append(-done.injection_mw)
        state = done.state
    energy = np.sum(drawn, axis=0) * dt_h
    np.testing.assert_allclose(energy, profile.sum(axis=1) * 0.25)
    on = np.array(drawn) > 0
    assert (np.diff(on.astype(int), axis=0, prepend=0, append=0) == 1).sum(axis=0).tolist() == [
        1
    ] * 4
    assert (state.started_h >= earliest - 1e-9).all()
    assert (state.started_h <= processes.latest_h + 1e-9).all()


def test_the_blocks_of_a_process_are_its_profile_at_every_start() -> None:
    processes = ShiftableProcesses(
        ids=("wash",), buses=(4,), profile_mw=np.array([[0.002, 0.001, 0.0005]]),
        profile_step_h=0.25, earliest_h=np.array([1.0]), latest_h=np.array([2.0]),
    )  # fmt: skip
    orders = processes.to_orders(DAYS[1], participant="a", price_eur_per_mwh=300.0)
    assert [order.id for order in orders] == [f"wash-{k:03d}" for k in range(4, 9)]
    for order in orders:
        begin = int(order.id[-3:])
        assert order.exclusive_group == "wash"
        state, told = processes.start(), np.zeros(96)
        for t in range(96):
            told[t] = order.profile_mw[t]
            done = processes.step(state, Instruction.active(told[t : t + 1]), Conditions(), 0.25)
            np.testing.assert_allclose(done.injection_mw, order.profile_mw[t], atol=1e-12)
            state = done.state
        assert state.started_h[0] == begin * 0.25
