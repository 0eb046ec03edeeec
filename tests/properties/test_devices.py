"""Whatever devices are told, minute by minute: their limits hold and the meter tells why."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.records.clearing import Award
from data.units import quantise_mw
from flexibility.devices import (
    Batteries,
    Conditions,
    CurtailableLoads,
    Instruction,
    PvPlants,
    Reason,
    VoltVarCurve,
)
from tests.support.devices import periods_of
from tests.support.order_simulator import _check_curtail, _Replay

Floats = NDArray[np.float64]
ANY = settings(
    max_examples=40, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
SEED = st.integers(0, 2**32 - 1)


def random_batteries(rng: np.random.Generator, count: int) -> Batteries:
    size = rng.uniform(0.005, 0.05, count)
    low, high = rng.uniform(0.0, 0.2, count) * size, rng.uniform(0.8, 1.0, count) * size
    power = rng.uniform(0.001, 0.03, count)
    return Batteries(
        ids=tuple(f"b{k}" for k in range(count)), buses=(3,) * count,
        charge_mw_max=power, discharge_mw_max=power * rng.uniform(0.5, 1.0, count),
        energy_mwh_min=low, energy_mwh_max=high, energy_mwh_start=rng.uniform(low, high),
        efficiency_charge=rng.uniform(0.8, 1.0, count),
        efficiency_discharge=rng.uniform(0.8, 1.0, count),
        self_discharge_per_day=rng.choice([0.0, 0.02], count), s_mva_max=power * 1.1,
        soc_charge_full_power=rng.choice([0.7, 0.9, 1.0], count),
        charge_share_when_full=rng.choice([0.0, 0.3, 1.0], count),
        soc_discharge_full_power=rng.choice([0.0, 0.2], count),
        discharge_share_when_empty=rng.choice([0.0, 0.5, 1.0], count),
    )  # fmt: skip


@ANY
@given(SEED, st.sampled_from([1 / 60, 0.25]))
def test_batteries_keep_energy_power_and_circle_and_say_why(seed: int, dt_h: float) -> None:
    rng = np.random.default_rng(seed)
    fleet = random_batteries(rng, 5)
    state, metered = fleet.start(), fleet.energy_mwh_start
    for _ in range(40):
        told = Instruction(
            injection_mw=rng.uniform(-0.04, 0.04, 5), injection_mvar=rng.uniform(-0.02, 0.02, 5)
        )
        limit = rng.choice([np.inf, 0.004], 5)
        conditions = Conditions(withdrawal_mw_max=limit)
        possible = fleet.range_now(state, conditions, dt_h)
        done = fleet.step(state, told, conditions, dt_h)
        p, q = done.injection_mw, done.injection_mvar
        # The meter alone, with the losses, gives the state of charge.
        metered = metered * (1 - fleet.self_discharge_per_day) ** (dt_h / 24) + dt_h * np.where(
            p < 0, -p * fleet.efficiency_charge, -p / fleet.efficiency_discharge
        )
        energy = done.state.energy_mwh
        np.testing.assert_allclose(metered, energy, rtol=0, atol=1e-12)
        assert (energy <= fleet.energy_mwh_max).all()
        assert (energy >= np.minimum(fleet.energy_mwh_min, state.energy_mwh * 0.999) - 1e-12).all()
        assert (p >= -limit - 1e-12).all()
        # Power by state of charge holds at the end of the step, hence throughout it.
        assert (np.maximum(-p, 0) <= fleet.charge_limit_mw(energy) + 1e-9).all()
        assert (np.maximum(p, 0) <= fleet.discharge_limit_mw(energy) + 1e-9).all()
        assert (p**2 + q**2 <= fleet.s_mva_max**2 + 1e-12).all()
        inside = (told.injection_mw >= possible.injection_mw_min) & (
            told.injection_mw <= possible.injection_mw_max
        )
        assert (p[inside] == told.injection_mw[inside]).all()
        differs = np.abs(p - told.injection_mw) > 1e-9
        assert (done.reasons[differs] != Reason.FOLLOWED).all()
        same = ~differs & (np.abs(q - told.injection_mvar) <= 1e-9)
        assert (done.reasons[same] == Reason.FOLLOWED).all()
        state = done.state


@ANY
@given(SEED)
def test_any_award_of_a_battery_order_is_followed_to_the_watt(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fleet, periods = random_batteries(rng, 4), periods_of(92 if seed % 2 else 100)
    orders = fleet.to_orders(fleet.start(), periods, participant="a")
    state = fleet.start()
    energy = np.array([order.energy_mwh_start for order in orders])
    keep = (1 - fleet.self_discharge_per_day) ** (0.25 / 24)
    for _ in range(len(periods)):
        # A random award of the order, by the order's own arithmetic.
        p = np.zeros(4)
        for k, order in enumerate(orders):
            kept = energy[k] * keep[k]
            charge = (order.energy_mwh_max - kept) / (order.efficiency_charge * 0.25)
            above = kept - order.energy_mwh_min
            # Where self-discharge alone would leave the window, the award must charge.
            way = order.efficiency_discharge if above > 0 else 1 / order.efficiency_charge
            discharge = above * way / 0.25
            low = -min(order.charge_mw_max[0], charge)
            high = min(order.discharge_mw_max[0], discharge)
            if rng.random() < 0.2:
                p[k] = min(max(0.0, low), high)
            else:
                p[k] = rng.choice([low, high, rng.uniform(low, high)])
        done = fleet.step(state, Instruction.active(p), Conditions(), 0.25)
        np.testing.assert_allclose(done.injection_mw, p, rtol=0, atol=1e-9)
        state = done.state
        energy = energy * keep + 0.25 * np.where(
            p < 0, -p * fleet.efficiency_charge, -p / fleet.efficiency_discharge
        )


@ANY
@given(SEED)
def test_pv_keeps_circle_power_factor_and_what_the_sun_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    s = rng.uniform(0.002, 0.03, 6)
    plants = PvPlants(
        ids=tuple("abcdef"), buses=(1,) * 6, s_mva_max=s,
        power_factor_min=rng.choice([0.9, 0.95, 1.0], 6),
    )  # fmt: skip
    sun = Conditions(power_mw=rng.uniform(-0.001, 1.2, 6) * s)
    assert sun.power_mw is not None
    told = Instruction(
        injection_mw=rng.uniform(-0.2, 1.5, 6) * s, injection_mvar=rng.uniform(-1, 1, 6) * s
    )
    done = plants.step(plants.start(), told, sun, 1 / 60)
    p, q = done.injection_mw, done.injection_mvar
    assert (p <= sun.power_mw + 1e-12).all()
    assert (p**2 + q**2 <= s**2 * (1 + 1e-9)).all()
    slope = np.tan(np.arccos(plants.power_factor_min))
    assert (np.abs(q) <= np.maximum(p, 0) * slope + 1e-12).all()
    differs = (np.abs(p - told.injection_mw) > 1e-9) | (np.abs(q - told.injection_mvar) > 1e-9)
    assert ((done.reasons != Reason.FOLLOWED) == differs).all()
    # The droop asks for nothing that the plant does not then give.
    voltage = rng.uniform(0.9, 1.1, 6)
    droop = plants.volt_var(VoltVarCurve(), voltage, np.maximum(sun.power_mw, 0.0))
    given_mvar = plants.step(
        plants.start(), droop, Conditions(power_mw=np.maximum(sun.power_mw, 0.0)), 1 / 60
    ).injection_mvar
    np.testing.assert_allclose(given_mvar, droop.injection_mvar, rtol=0, atol=1e-12)


def test_pv_awards_inside_the_order_are_delivered_with_their_reactive_power() -> None:
    s, periods = np.array([0.01, 0.004]), periods_of(4)
    plants = PvPlants(
        ids=("a", "b"), buses=(1, 2), s_mva_max=s, power_factor_min=np.array([0.9, 0.95])
    )
    forecast = np.outer(s, np.array([0.2, 0.95, 1.0, 1.1]))
    orders = plants.to_orders(forecast, periods, participant="a")
    for period in range(4):
        p = np.array([order.steps[0].p_mw[period] for order in orders])
        q = p * np.tan(np.arccos(plants.power_factor_min))
        told = Instruction(injection_mw=p, injection_mvar=q)
        sun = Conditions(power_mw=forecast[:, period])
        done = plants.step(plants.start(), told, sun, 0.25)
        np.testing.assert_allclose(done.injection_mw, p, rtol=0, atol=1e-12)
        np.testing.assert_allclose(done.injection_mvar, q, rtol=0, atol=1e-12)


@ANY
@given(SEED)
def test_whatever_a_curtailable_load_is_told_it_keeps_the_rules_of_its_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shortest, back = int(rng.integers(1, 4)), int(rng.choice([1, 2, 4]))
    load = CurtailableLoads(
        ids=("c",), buses=(1,),
        reduction_mw_min=np.array([0.002]), reduction_mw_max=np.array([0.008]),
        duration_h_min=np.array([shortest * 0.25]),
        duration_h_max=np.array([(shortest + rng.integers(0, 4)) * 0.25]),
        cooldown_h=np.array([(back + rng.integers(0, 4)) * 0.25]),
        activations_max=np.array([float(rng.integers(1, 5))]),
        rebound_share=np.array([rng.choice([0.0, 0.5, 1.0])]), rebound_h=np.array([back * 0.25]),
        tan_phi=np.array([0.2]),
    )  # fmt: skip
    periods = periods_of(int(rng.choice([92, 100])))
    demand = rng.integers(9, 20, len(periods)) * 1e-3
    (order,) = load.to_orders(demand[None, :], periods, participant="a", price_eur_per_mwh=1.0)
    state, award, share = load.start(), np.zeros(len(periods)), np.zeros(len(periods))
    for t in range(len(periods)):
        # In the last periods nothing new is begun: runs and rebounds end inside the horizon.
        wanted = rng.choice([0.0, 0.001, 0.002, 0.005, 0.008, 0.02]) if t < 80 else 0.0
        told = Instruction.active(np.array([wanted - demand[t]]))
        conditions = Conditions(power_mw=demand[t : t + 1])
        possible = load.range_now(state, conditions, 0.25)
        done = load.step(state, told, conditions, 0.25)
        assert possible.injection_mw_min[0] - 1e-12 <= done.injection_mw[0]
        assert done.injection_mw[0] <= possible.injection_mw_max[0] + 1e-12
        np.testing.assert_allclose(done.injection_mvar, done.injection_mw * 0.2)
        state = done.state
        award[t] = done.injection_mw[0] + demand[t]
        share[t] = float(state.on_h[0] > 0)
    case: Any = SimpleNamespace(periods=periods)
    replay = _Replay(
        case, order,
        Award(
            order="c", participant="a", buses=(1,), injection_mw=quantise_mw(award)[None, :],
            injection_mvar=np.zeros((1, len(periods))), accepted_share=share,
        ),
    )  # fmt: skip
    _check_curtail(replay, order)
    assert replay.breaches == []
    assert share.sum() > 0
