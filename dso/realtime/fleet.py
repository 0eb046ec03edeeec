"""The physics of a feeder's devices minute by minute: plants behind inverters, and batteries.

Columns run over all devices: the static generators, then the storages. A plant's setpoint is a cap
on what sun, wind or stoker give; a battery follows its own as far as its energy allows, and rests
without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.network import Network
from data.units import AWARD_TICK_MW, MICRO_PER_UNIT
from dispatch.agents.device_agent import Command
from flexibility.devices.batteries import Batteries, BatteryState
from flexibility.devices.common import Conditions, Instruction
from flexibility.devices.pv import PvPlants

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MINUTE_H: Final = 1.0 / 60.0
# Power factor that plants can give by technology (grid code), the longest beginning counts.
POWER_FACTOR_MIN: Final = 0.95
ROTATING: Final = ("Biomass", "Hydro")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All devices of a feeder; ``assets`` are ``sgen:i`` then ``storage:i``, in service only.

    ``sgen_columns`` and ``storage_rows`` are rows of the network's tables.
    """

    assets: tuple[str, ...]
    buses: Ints
    rating_mw: Floats
    plants: PvPlants
    batteries: Batteries
    sgen_columns: Ints

    @property
    def plant_count(self) -> int:
        """Number of plants; the batteries follow them."""
        return len(self.plants.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetMinute:
    """What all devices did in a minute [MW, Mvar], and the energy in each battery after it."""

    p_mw: Floats
    q_mvar: Floats
    batteries: BatteryState


def fleet_of_network(network: Network, energy_share_start: float = 0.5) -> Fleet:
    """Build the devices of a feeder's static generators and storages in service."""
    sgens, storages = network.sgens, network.storages
    generating = np.flatnonzero(sgens.in_service)
    storing = np.flatnonzero(storages.in_service)
    plant_ids = tuple(f"sgen:{sgens.index[k]}" for k in generating)
    factor = np.array(
        [1.0 if sgens.technology[k].startswith(ROTATING) else POWER_FACTOR_MIN for k in generating]
    )
    rated = np.maximum(sgens.sn_mva[generating], AWARD_TICK_MW)
    plants = PvPlants(
        ids=plant_ids,
        buses=tuple(int(b) for b in sgens.bus[generating]),
        s_mva_max=rated / factor,
        power_factor_min=factor,
    )
    low, high = storages.energy_mwh_min[storing], storages.energy_mwh_max[storing]
    one = np.ones(len(storing))
    power = storages.p_mw_max[storing]
    batteries = Batteries(
        ids=tuple(f"storage:{storages.index[k]}" for k in storing),
        buses=tuple(int(b) for b in storages.bus[storing]),
        charge_mw_max=power,
        discharge_mw_max=power,
        energy_mwh_min=low,
        energy_mwh_max=high,
        energy_mwh_start=low + energy_share_start * (high - low),
        efficiency_charge=storages.efficiency[storing],
        efficiency_discharge=storages.efficiency[storing],
        self_discharge_per_day=0.0 * one,
        s_mva_max=power,
        soc_charge_full_power=one,
        charge_share_when_full=one,
        soc_discharge_full_power=0.0 * one,
        discharge_share_when_empty=one,
    )
    return Fleet(
        assets=plants.ids + batteries.ids,
        buses=np.array(plants.buses + batteries.buses, dtype=np.int64),
        rating_mw=np.concatenate([rated, power]),
        plants=plants,
        batteries=batteries,
        sgen_columns=generating,
    )


def act(
    fleet: Fleet, state: BatteryState, commands: Sequence[Command], available_mw: Floats
) -> FleetMinute:
    """Let every device do one minute of what its agent commands.

    Parameters
    ----------
    fleet : Fleet
        The devices.
    state : BatteryState
        Energy at the start of the minute.
    commands : sequence of Command
        One per device.
    available_mw : ndarray, shape (plants,)
        What sun, wind and stokers give [MW].
    """
    count = fleet.plant_count
    low = np.array([each.p_min_w for each in commands]) / MICRO_PER_UNIT
    high = np.array([each.p_max_w for each in commands]) / MICRO_PER_UNIT
    told = np.array([np.nan if each.p_w is None else each.p_w for each in commands])
    told = told / MICRO_PER_UNIT
    own = np.concatenate([available_mw, np.zeros(len(commands) - count)])
    wanted = np.where(np.isnan(told), own, told)
    wanted[:count] = np.minimum(wanted[:count], available_mw)
    p = np.clip(wanted, low, high)
    p[:count] = np.minimum(p[:count], available_mw)
    q = np.array([each.q_var or 0 for each in commands]) / MICRO_PER_UNIT
    done = fleet.plants.step(
        fleet.plants.start(),
        Instruction(injection_mw=p[:count], injection_mvar=q[:count]),
        Conditions(power_mw=available_mw),
        MINUTE_H,
    )
    stored = fleet.batteries.step(
        state, Instruction(injection_mw=p[count:], injection_mvar=q[count:]), Conditions(), MINUTE_H
    )
    return FleetMinute(
        p_mw=np.concatenate([done.injection_mw, stored.injection_mw]),
        q_mvar=np.concatenate([done.injection_mvar, stored.injection_mvar]),
        batteries=stored.state,
    )
