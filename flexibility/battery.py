"""A battery's state of charge: one step, its limits and a path, as pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.records.order import StorageOrder

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """What does not change over a day: energy bounds [MWh] and efficiencies (0..1)."""

    energy_mwh_min: float
    energy_mwh_max: float
    efficiency_charge: float
    efficiency_discharge: float
    self_discharge_per_day: float = 0.0

    def __post_init__(self) -> None:
        problems = []
        if not 0.0 <= self.energy_mwh_min <= self.energy_mwh_max < np.inf:
            problems.append(
                Problem(
                    where="battery",
                    what=f"energy bounds {self.energy_mwh_min}, {self.energy_mwh_max} MWh",
                )
            )
        problems += [
            Problem(where=f"battery {name}", what=f"{getattr(self, name)} not in (0, 1]")
            for name in ("efficiency_charge", "efficiency_discharge")
            if not 0.0 < getattr(self, name) <= 1.0
        ]
        if not 0.0 <= self.self_discharge_per_day < 1.0:
            problems.append(
                Problem(
                    where="battery self_discharge_per_day", what=f"{self.self_discharge_per_day}"
                )
            )
        refuse_if_any(problems)

    @classmethod
    def of_order(cls, order: StorageOrder) -> Battery:
        """Read the battery out of its order."""
        return cls(
            energy_mwh_min=order.energy_mwh_min,
            energy_mwh_max=order.energy_mwh_max,
            efficiency_charge=order.efficiency_charge,
            efficiency_discharge=order.efficiency_discharge,
            self_discharge_per_day=order.self_discharge_per_day,
        )

    def retention(self, mtu_h: float) -> float:
        """Return the share of energy kept over one period: (1 - self)^(h / 24)."""
        return float((1.0 - self.self_discharge_per_day) ** (mtu_h / 24.0))


def next_energy_mwh(
    battery: Battery, energy_mwh: float, charge_mw: float, discharge_mw: float, mtu_h: float
) -> float:
    """Return the energy at period end: e (1 - self)^(h/24) + eff_c h c - h d / eff_d.

    Parameters
    ----------
    battery : Battery
        The unit.
    energy_mwh : float
        Energy at period start [MWh].
    charge_mw, discharge_mw : float
        Powers at the grid connection, non-negative [MW].
    mtu_h : float
        Length of the period [h].

    Returns
    -------
    float
        Energy [MWh]; bounds are not applied (see `power_limits_mw`).

    Examples
    --------
    >>> unit = Battery(energy_mwh_min=0.0, energy_mwh_max=2.0, efficiency_charge=0.9,
    ...                efficiency_discharge=0.8)
    >>> round(next_energy_mwh(unit, 1.0, 1.0, 0.0, 0.25), 6)
    1.225
    >>> round(next_energy_mwh(unit, 1.0, 0.0, 1.0, 0.25), 6)
    0.6875
    """
    return (
        energy_mwh * battery.retention(mtu_h)
        + battery.efficiency_charge * mtu_h * charge_mw
        - mtu_h * discharge_mw / battery.efficiency_discharge
    )


def power_limits_mw(battery: Battery, energy_mwh: float, mtu_h: float) -> tuple[float, float]:
    """Return the largest charge and discharge [MW] that keep the energy in its bounds.

    Both are non-negative; where self-discharge alone falls below the lower bound the discharge
    limit is zero.
    """
    kept = energy_mwh * battery.retention(mtu_h)
    charge = (battery.energy_mwh_max - kept) / (battery.efficiency_charge * mtu_h)
    discharge = (kept - battery.energy_mwh_min) * battery.efficiency_discharge / mtu_h
    return max(charge, 0.0), max(discharge, 0.0)


def energy_path_mwh(
    battery: Battery,
    energy_mwh_start: float,
    charge_mw: Floats,
    discharge_mw: Floats,
    mtu_h: float,
) -> Floats:
    """Return the energy at the end of each period, shape (periods,) [MWh]; bounds not applied."""
    energy = energy_mwh_start
    path = np.empty(len(charge_mw))
    for period, (charge, discharge) in enumerate(zip(charge_mw, discharge_mw, strict=True)):
        energy = next_energy_mwh(battery, energy, float(charge), float(discharge), mtu_h)
        path[period] = energy
    return path


def reachable_energy_mwh(order: StorageOrder, mtu_h: float) -> float:
    """Return the energy at the end of the horizon when charging all the time [MWh]."""
    battery = Battery.of_order(order)
    energy = order.energy_mwh_start
    for charge_mw_max in order.charge_mw_max * order.availability:
        room_mw, _ = power_limits_mw(battery, energy, mtu_h)
        energy = next_energy_mwh(battery, energy, min(float(charge_mw_max), room_mw), 0.0, mtu_h)
    return energy
