"""Random fleets of cars, heat pumps and processes, and random awards of their orders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.records.order import ShiftOrder, StorageOrder
from flexibility.devices import CarSessions, HeatPumps

Floats = NDArray[np.float64]
WATT = 1e-6


def random_cars(rng: np.random.Generator, count: int, hours: float) -> CarSessions:
    """Sessions of all lengths: also too short ones, V2G or not, arriving below their reserve."""
    arrival = rng.uniform(-2.0, hours - 1.0, count)
    size = rng.choice([0.03, 0.06, 0.08], count)
    at_first = size * rng.uniform(0.05, 0.9, count)
    return CarSessions(
        ids=tuple(f"car-{k:03d}" for k in range(count)), buses=tuple(range(1, count + 1)),
        arrival_h=arrival,
        departure_h=arrival + rng.choice([0.1, 0.7, 3.0, 8.0, 14.0, 30.0], count),
        energy_mwh_arrival=at_first,
        energy_mwh_departure=size * rng.uniform(0.3, 1.0, count),
        energy_mwh_reserve=size * rng.choice([0.0, 0.2, 0.4], count),
        energy_mwh_max=size,
        charge_mw_max=rng.choice([0.0037, 0.011, 0.022], count),
        discharge_mw_max=rng.choice([0.0, 0.011], count),
        efficiency_charge=rng.uniform(0.85, 1.0, count),
        efficiency_discharge=rng.uniform(0.85, 1.0, count),
    )  # fmt: skip


def random_pumps(rng: np.random.Generator, count: int, coldest_c: float) -> HeatPumps:
    """Heat pumps with and without store, each sized for the coldest hour."""
    resistance = rng.uniform(3e3, 9e3, count)  # 0.11 to 0.33 kW/K
    set_c, floor = rng.uniform(20.0, 22.0, count), rng.integers(0, 2, count).astype(float)
    heat = (set_c - coldest_c) / resistance
    pumps = HeatPumps(
        ids=tuple(f"hp-{k}" for k in range(count)), buses=tuple(range(count)),
        p_mw_max=heat, floor_heating=floor, resistance_k_per_mw=resistance,
        capacity_mwh_per_k=rng.uniform(0.005, 0.03, count), emission_mw_max=1.5 * heat,
        comfort_c_min=set_c - rng.uniform(0.5, 2.0, count), set_c=set_c,
        comfort_c_max=set_c + rng.uniform(0.5, 2.0, count), indoor_c_start=set_c,
        store_mwh_max=rng.choice([0.0, 0.01, 0.03], count), store_mwh_start=np.zeros(count),
        store_loss_per_day=rng.choice([0.0, 0.05], count),
    )  # fmt: skip
    import dataclasses

    cop = pumps.cop(np.full(count, coldest_c))
    return dataclasses.replace(
        pumps, p_mw_max=1.2 * heat / cop, store_mwh_start=0.5 * pumps.store_mwh_max
    )


def random_weather(rng: np.random.Generator, count: int, coldest_c: float) -> Floats:
    """An outdoor temperature that wanders, never below the coldest [degC]."""
    mean = rng.uniform(coldest_c + 3.0, 15.0)
    phase = np.linspace(0.0, 2.0 * np.pi, count) + rng.uniform(0.0, 6.0)
    walk = np.cumsum(rng.normal(0.0, 0.2, count))
    return np.maximum(mean + 4.0 * np.sin(phase) + walk, coldest_c)


def random_shift_award(rng: np.random.Generator, order: ShiftOrder) -> Floats:
    """Withdrawal in whole watts within the bounds, with the sum of the baseline in each window."""
    low = np.round(order.p_mw_min / WATT).astype(int)
    high = np.round(order.p_mw_max / WATT).astype(int)
    base = np.round(order.baseline_mw / WATT).astype(int)
    award = base.copy()
    for first in range(0, len(base), order.window_periods):
        at = np.arange(first, min(first + order.window_periods, len(base)))
        # Corners are where limits break: most windows get an extreme point.
        drawn = np.where(
            rng.random(len(at)) < 0.7, rng.choice([0, 1], len(at)), rng.random(len(at))
        )
        award[at] = low[at] + np.floor(drawn * (high[at] - low[at])).astype(int)
        missing = int(base[at].sum() - award[at].sum())
        sequence = at if rng.random() < 0.3 else at[::-1] if rng.random() < 0.5 else None
        for t in rng.permutation(at) if sequence is None else sequence:
            change = int(np.clip(missing, low[t] - award[t], high[t] - award[t]))
            award[t] += change
            missing -= change
        assert missing == 0
    return award * WATT


def random_storage_award(rng: np.random.Generator, order: StorageOrder, h: float) -> Floats:
    """Injection in whole watts that keeps every bound of a storage order, departure included."""
    count = len(order.availability)
    open_at = np.flatnonzero(order.availability > 0)
    keep = (1 - order.self_discharge_per_day) ** (h / 24)
    eff_c, eff_d = order.efficiency_charge, order.efficiency_discharge
    ends = np.full(count, order.energy_mwh_min)
    ends[-1] = max(ends[-1], order.energy_mwh_end_min)
    if order.energy_mwh_departure_min is not None and len(open_at):
        ends[open_at[-1]] = max(ends[open_at[-1]], order.energy_mwh_departure_min)
    # Backwards: the least energy from which every later bound can still be met.
    least = ends.copy()
    for t in range(count - 2, -1, -1):
        gain = eff_c * h * order.charge_mw_max[t + 1] * order.availability[t + 1]
        least[t] = max(ends[t], (least[t + 1] - gain) / keep)
    award, energy, margin = np.zeros(count), order.energy_mwh_start, 1e-12
    for t in range(count):
        kept, share = energy * keep, order.availability[t]
        most = min(order.charge_mw_max[t] * share, (order.energy_mwh_max - kept) / (eff_c * h))
        above = kept - least[t]
        low = -np.floor(max(most + margin, 0.0) / WATT)
        if above >= 0:
            high = np.floor(min(order.discharge_mw_max[t] * share, above * eff_d / h) / WATT)
        else:
            high = -np.ceil((-above / (eff_c * h) - 1e-12) / WATT)
        high = max(high, low)
        p = rng.choice([low, high, rng.integers(int(low), int(high) + 1)]) * WATT
        award[t] = p + 0.0
        energy = kept + h * (eff_c * max(-p, 0.0) - max(p, 0.0) / eff_d)
    return award
