"""Shift orders of heat pumps, drawn so that every award keeps its building warm.

While neither bound of the thermal store is touched, the radiators take the same heat whatever the
heat pump does, and the store's content x is linear in the electric power p:

    x_t = r x_(t-1) + k_t p_t - w_t

(a heat pump without store: x is the indoor temperature). A shift order admits every p within
[low_t, high_t] whose sum over each window is that of the baseline. Of all of them the one that
brings x lowest (or highest) at the end of period t is a fractional knapsack: within a window the
power goes into the periods that weigh least (most) in x_t. The widest box around the baseline in
which no such extreme leaves the bounds is found by halving.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from data.errors import InputError, Problem
from data.periods import Periods
from data.records.order import ShiftOrder
from data.units import quantise_mw
from flexibility.devices.common import Conditions, Floats, floor_tick
from flexibility.devices.heat_pumps import KIND, HeatPumps, HeatState

HALVINGS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Baseline and linear model; arrays of shape (devices, periods) unless said otherwise.

    ``gain`` is k_t, ``retention`` r of shape (devices,), ``below`` and ``above`` what x may lose
    and gain at the end of each period.
    """

    baseline_mw: Floats
    gain: Floats
    retention: Floats
    below: Floats
    above: Floats


def heat_pump_orders(
    pumps: HeatPumps,
    state: HeatState,
    outdoor_c: Floats,
    periods: Periods,
    *,
    participant: str,
    price_eur_per_mwh: float,
    window_periods: int,
    heat_gain_mw: Floats | None = None,
) -> tuple[ShiftOrder, ...]:
    """Return one shift order per heat pump; every award of it keeps comfort in this weather.

    A heat pump with a store offers what the store can shift and keeps the comfort band for errors
    of the forecast; one without store offers its comfort band. Where nothing can be shifted, the
    order is its baseline alone.

    Parameters
    ----------
    pumps : HeatPumps
        The heat pumps.
    state : HeatState
        Temperatures and stores at the start of ``periods``.
    outdoor_c : ndarray, shape (devices, periods)
        Expected outdoor temperature [degC].
    periods : Periods
        Horizon of the order.
    participant : str
        Who offers.
    price_eur_per_mwh : float
        Price asked for a shifted MWh [EUR/MWh].
    window_periods : int
        Length of the windows in which consumption is shifted.
    heat_gain_mw : ndarray, shape (devices, periods), optional
        Expected heat from people, appliances and sun [MW].

    Raises
    ------
    InputError
        If the weather has another shape or is not finite, or the window has no period.
    """
    shape, problems = (len(pumps.ids), len(periods)), []
    for name, values in (("outdoor_c", outdoor_c), ("heat_gain_mw", heat_gain_mw)):
        if values is not None and (values.shape != shape or not np.isfinite(values).all()):
            what = f"{name} is not {shape[0]} x {shape[1]} finite values"
            problems.append(Problem(where=f"{KIND} forecast", what=what))
    if window_periods < 1:
        problems.append(Problem(where=f"{KIND} order", what=f"window of {window_periods} periods"))
    if problems:
        raise InputError(problems)
    gains = np.zeros(shape) if heat_gain_mw is None else heat_gain_mw
    plan = _plan(pumps, state, outdoor_c, gains, periods.mtu_h)
    low, high = _widest(pumps, plan, window_periods)
    # Inwards to the tick: what is offered is never more than what was proven.
    lowest = plan.baseline_mw - floor_tick(-low)
    highest = plan.baseline_mw + floor_tick(high)
    price = np.full(len(periods), price_eur_per_mwh)
    return tuple(
        ShiftOrder(
            id=pumps.ids[k],
            participant=participant,
            buses=((pumps.buses[k], 1.0),),
            baseline_mw=plan.baseline_mw[k],
            p_mw_min=quantise_mw(lowest[k]),
            p_mw_max=quantise_mw(highest[k]),
            window_periods=window_periods,
            price_eur_per_mwh=price,
        )
        for k in range(len(pumps.ids))
    )


def _plan(
    pumps: HeatPumps, state: HeatState, outdoor_c: Floats, gains_mw: Floats, dt_h: float
) -> _Plan:
    """Let the thermostats run through the forecast on powers of whole ticks."""
    stored = pumps.store_mwh_max > 0.0
    decay = np.exp(-dt_h / (pumps.resistance_k_per_mw * pumps.capacity_mwh_per_k))
    kept = (1.0 - pumps.store_loss_per_day) ** (dt_h / 24.0)
    columns: dict[str, list[Floats]] = {name: [] for name in ("p", "gain", "below", "above")}
    # What whole ticks instead of the thermostat's power make of x.
    off = np.zeros(len(pumps.ids))
    for period in range(outdoor_c.shape[1]):
        now = Conditions(outdoor_c=outdoor_c[:, period], heat_gain_mw=gains_mw[:, period])
        parts = pumps.heat_step(state, now, dt_h)
        done = pumps.step(state, pumps.unguided(state, now, dt_h), now, dt_h)
        state = done.state
        p = np.minimum(quantise_mw(-done.injection_mw), floor_tick(pumps.p_mw_max))
        gain = np.where(stored, dt_h * parts.cop, parts.warming_k_per_mw * parts.cop)
        off = np.where(stored, kept, decay) * off + gain * (p + done.injection_mw)
        low = np.where(stored, state.store_mwh, state.indoor_c - pumps.comfort_c_min)
        full = pumps.store_mwh_max - state.store_mwh
        high = np.where(stored, full, pumps.comfort_c_max - state.indoor_c)
        columns["p"].append(p)
        columns["gain"].append(gain)
        columns["below"].append(low + off)
        columns["above"].append(high - off)
    return _Plan(
        baseline_mw=np.stack(columns["p"], axis=1),
        gain=np.stack(columns["gain"], axis=1),
        retention=np.where(stored, kept, decay),
        below=np.stack(columns["below"], axis=1),
        above=np.stack(columns["above"], axis=1),
    )


def _widest(pumps: HeatPumps, plan: _Plan, window: int) -> tuple[Floats, Floats]:
    """Return the lowest and highest deviation [MW] of the widest box that is proven safe."""
    down = plan.baseline_mw
    most = floor_tick(pumps.p_mw_max)[:, None]
    # Without a store all heat goes to the radiators at once.
    radiators = np.where((pumps.store_mwh_max > 0.0)[:, None], np.inf, _radiator_mw(pumps, plan))
    up = np.maximum(np.minimum(most, radiators) - plan.baseline_mw, 0.0)
    good, bad = np.zeros(len(pumps.ids)), np.full(len(pumps.ids), 2.0)
    share = np.ones(len(pumps.ids))
    for _ in range(HALVINGS):
        low, high = -share[:, None] * down, share[:, None] * up
        lowest = _extreme(plan, low, high, window)
        highest = -_extreme(plan, -high, -low, window)
        safe = ((lowest >= -plan.below) & (highest <= plan.above)).all(axis=1)
        good, bad = np.where(safe, share, good), np.where(safe, bad, share)
        share = np.minimum(0.5 * (good + bad), 1.0)
    return -good[:, None] * down, good[:, None] * up


def _radiator_mw(pumps: HeatPumps, plan: _Plan) -> Floats:
    """Return the electric power at which the radiators are at their limit [MW]."""
    warming = pumps.resistance_k_per_mw * (1.0 - plan.retention)
    return pumps.emission_mw_max[:, None] * warming[:, None] / plan.gain


def _extreme(plan: _Plan, low: Floats, high: Floats, window: int) -> Floats:
    """Return the lowest deviation of x at the end of each period, shape (devices, periods).

    Over all u in [low, high] whose sum is 0 in each window: y_t = sum over s <= t of
    r^(t-s) k_s u_s. Windows that have ended keep their own minimum, times what is retained since.
    """
    devices, count = low.shape
    result, before = np.empty((devices, count)), np.zeros(devices)
    for first in range(0, count, window):
        at = slice(first, min(first + window, count))
        budget = -low[:, at].sum(axis=1, keepdims=True)
        for t in range(first, at.stop):
            age = t - np.arange(first, at.stop)
            kept = plan.retention[:, None] ** np.maximum(age, 0)
            weight = plan.gain[:, at] * np.where(age >= 0, kept, 0.0)
            own = _knapsack(weight, low[:, at], high[:, at], budget)
            result[:, t] = before * plan.retention ** (t - first + 1) + own
        before = result[:, at.stop - 1]
    return result


def _knapsack(weight: Floats, low: Floats, high: Floats, budget: Floats) -> Floats:
    """Return the least sum of weight x u with low <= u <= high and sum of u = 0, per row.

    ``budget`` is what lies between the sum of ``low`` and 0, shape (rows, 1).
    """
    order = np.argsort(weight, axis=1, kind="stable")
    rows = np.arange(len(order))[:, None]
    size = (high - low)[rows, order]
    u = low[rows, order] + np.clip(budget - (np.cumsum(size, axis=1) - size), 0.0, size)
    return np.asarray((weight[rows, order] * u).sum(axis=1))
