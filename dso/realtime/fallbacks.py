"""What devices are told ahead, for the time when nobody calls: droops over their own voltage."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import Limits
from data.records.dispatch import DroopPoint
from data.units import MICRO_PER_UNIT
from dispatch.dispatcher import Told
from dso.realtime.fleet import Fleet
from opf.problems.monitored_grid import MonitoredGrid
from opf.problems.volt_var import DroopAnswer, Inverters, choose_droops

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]


def inverters_of(at: MonitoredGrid, fleet: Fleet, limits: Limits) -> Inverters:
    """Return the plants of a fleet as inverters with the voltage limits of their buses."""
    row = {int(bus): k for k, bus in enumerate(at.network.buses.index)}
    rows = [row[bus] for bus in fleet.plants.buses]
    count = fleet.plant_count
    return Inverters(
        name=fleet.plants.ids,
        bus=fleet.buses[:count],
        p_mw_max=fleet.rating_mw[:count],
        tan_max=np.tan(np.arccos(fleet.plants.power_factor_min)),
        vm_pu_min=limits.vm_pu_min[rows],
        vm_pu_max=limits.vm_pu_max[rows],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What is expected of a feeder in some quarter-hours.

    Parameters
    ----------
    loads : ndarray of complex, shape (buses, quarter-hours)
        Injection of everything that is no plant of the fleet, rows as the network's buses
        [MW + j Mvar].
    available_mw : ndarray, shape (plants, quarter-hours)
        What each plant would feed in [MW].
    """

    loads: Complexes
    available_mw: Floats


def droops_ahead(
    at: MonitoredGrid, fleet: Fleet, limits: Limits, expected: Expected, until: datetime
) -> tuple[tuple[Told, ...], DroopAnswer]:
    """Choose droop settings on what is expected, and write them to every plant.

    The states are the quarter-hours, each as expected, and one with every plant at its rating over
    the least load: a forecast that is wrong to the worst side.

    Parameters
    ----------
    at, fleet, limits
        Grid, devices, limits in force.
    expected : Expected
        What is expected of loads and plants.
    until : datetime
        End of validity of the settings.

    Returns
    -------
    (told, answer)
        Letters to send ahead, and what the choice rests on.
    """
    count = fleet.plant_count
    loads = at.by_node(expected.loads)
    calm = 0.3 * loads[:, [int(np.argmax(loads.real.sum(axis=0)))]]
    inverters = inverters_of(at, fleet, limits)
    answer = choose_droops(
        at,
        np.hstack([loads, calm]),
        np.hstack([expected.available_mw, fleet.rating_mw[:count, None]]),
        inverters,
    )
    told = []
    for row, asset in enumerate(inverters.name):
        voltage, q_share, p_share = answer.settings.corners(
            float(inverters.vm_pu_min[row]), float(inverters.vm_pu_max[row])
        )
        p_max = float(inverters.p_mw_max[row]) * MICRO_PER_UNIT
        q_max = p_max * float(inverters.tan_max[row])
        told.append(
            Told(
                asset=asset,
                kind="droop",
                expires_at=until,
                reason="fallback for the time without setpoints",
                droop=tuple(
                    DroopPoint(
                        vm_pu=round(float(v), 6), q_var=round(q * q_max), p_max_w=round(p * p_max)
                    )
                    for v, q, p in zip(voltage, q_share.tolist(), p_share.tolist(), strict=True)
                ),
            )
        )
    return tuple(told), answer
