"""The devices that a SimBench feeder already holds, as a fleet that can be instructed.

SimBench records what charging points, heat pumps and PV plants did. What it does not record is
assumed here, in one place (`FleetAssumptions`), and said on every page made from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from itertools import cycle
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem
from data.periods import Periods
from data.readers.simbench import NetworkProfiles
from data.records.network import Elements, Network
from flexibility.devices import (
    Batteries,
    CarSessions,
    HeatPumps,
    PvPlants,
    coefficient_of_performance,
    flow_temperature_c,
    power_factor_required,
)
from flexibility.portfolios.fleet import Fleet

Floats = NDArray[np.float64]
# SimBench's names of profiles: charging at home (HLS) and at work (APLS), heat pumps by source.
HOME: Final = "HLS"
WORK: Final = "APLS"
HEAT: Final = ("Air", "Soil")
HOUSEHOLD: Final = "H0"
IDLE_SHARE: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetAssumptions:
    """What no record says.

    Parameters
    ----------
    leave_home, leave_work : time
        Local departure from charging points at home (the next morning) and at work.
    car_mwh : float
        Usable capacity of a car [MWh].
    car_soc_departure, car_soc_reserve : float
        State of charge asked for at departure, and below which V2G never goes (0..1).
    v2g_from_mw : float
        Charging points at home of at least this power discharge as well [MW].
    car_efficiency : float
        Each way (0..1).
    set_c, comfort_band_k : float
        Rooms are kept at the first [degC], within this band either way [K].
    building_h : float
        Time constant of the buildings, R C [h].
    store_mwh : float
        Heat store: 300 litres by 15 K [MWh].
    battery_soc_start : float
        State of charge of batteries at the start (0..1).
    """

    leave_home: time = time(7)
    leave_work: time = time(17)
    car_mwh: float = 0.06
    car_soc_departure: float = 0.8
    car_soc_reserve: float = 0.3
    v2g_from_mw: float = 0.01
    car_efficiency: float = 0.92
    set_c: float = 21.0
    comfort_band_k: float = 1.0
    building_h: float = 60.0
    store_mwh: float = 0.0052
    battery_soc_start: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class FeederFleet:
    """A fleet and the loads whose recorded profile it replaces (their index)."""

    fleet: Fleet
    replaced_loads: tuple[int, ...]


def fleet_of_feeder(
    network: Network,
    profiles: NetworkProfiles,
    periods: Periods,
    outdoor_c: Floats,
    assumptions: FleetAssumptions,
    timezone: str,
    more_load_mw: Sequence[Floats] = (),
) -> FeederFleet:
    """Make a fleet of a feeder's charging points, heat pumps, storages and PV plants.

    Charging sessions begin where the recorded charging begins and take the recorded energy; those
    that last overnight also stand for the night before, none of whose energy is charged yet. A heat
    pump's building loses what the recorded electricity, times the COP, brought in on this day.

    Parameters
    ----------
    network, profiles : Network, NetworkProfiles
        The feeder and what was recorded in ``periods``.
    periods : Periods
        The day.
    outdoor_c : ndarray, shape (periods,)
        Outdoor temperature [degC].
    assumptions : FleetAssumptions
        What no record says.
    timezone : str
        IANA zone of the departures.
    more_load_mw : sequence of ndarray, shape (periods, loads)
        Recorded loads of other days [MW]: their charging sessions join the fleet, those at home
        one after the other at the buses of the feeder's households.

    Raises
    ------
    InputError
        If the feeder has none of these devices, or it is not colder outside than in the rooms.
    """
    loads = network.loads
    days = (profiles.load_p_mw, *more_load_mw)
    cars = _cars(loads, days, periods, assumptions, timezone)
    pumps = _pumps(loads, profiles.load_p_mw, outdoor_c, assumptions)
    batteries, battery_assets = _batteries(network, assumptions)
    plants, plant_assets = _plants(network)
    fleet = Fleet(
        batteries=batteries, battery_assets=battery_assets, cars=cars, pumps=pumps,
        plants=plants, plant_assets=plant_assets,
    )  # fmt: skip
    if not fleet.kinds():
        what = "has no charging points, heat pumps, storages or PV plants"
        raise InputError([Problem(where=network.name, what=what)])
    replaced = [
        int(loads.index[k])
        for k, profile in enumerate(loads.profile)
        if loads.in_service[k] and profile.startswith((HOME, WORK, *HEAT))
    ]
    return FeederFleet(fleet=fleet, replaced_loads=tuple(replaced))


def _runs(power_mw: Floats, idle_mw: float) -> list[tuple[int, int]]:
    """Return first and last period + 1 of each stretch above idle."""
    on = np.concatenate([[0], (power_mw > idle_mw).astype(int), [0]])
    edges = np.flatnonzero(np.diff(on))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _departure_h(
    periods: Periods, first: int, last: int, leaves: time, timezone: str, *, next_day: bool
) -> float:
    """Return when a car leaves [h since start]: at the clock time, never before it charged."""
    zone = ZoneInfo(timezone)
    begins = (periods.start + first * periods.mtu).astimezone(zone)
    day = begins.date()
    leave = datetime.combine(day, leaves, tzinfo=zone)
    if next_day and leave <= begins:
        leave = datetime.combine(day + timedelta(days=1), leaves, tzinfo=zone)
    at = (leave.astimezone(periods.start.tzinfo) - periods.start) / timedelta(hours=1)
    return max(float(at), last * periods.mtu_h)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """One recorded charging session; hours since the start of the day, powers in MW."""

    id: str
    bus: int
    first: int
    last: int
    departure_h: float
    energy_mwh: float
    power_mw: float
    home: bool


def _sessions(
    loads: Elements, load_p_mw: Floats, periods: Periods, assumed: FleetAssumptions, timezone: str
) -> Iterator[_Session]:
    """Read the charging sessions of one day out of the recorded loads."""
    for k, profile in enumerate(loads.profile):
        if not loads.in_service[k] or not profile.startswith((HOME, WORK)):
            continue
        home, rating = profile.startswith(HOME), float(loads.p_mw[k])
        runs = _runs(load_p_mw[:, k], IDLE_SHARE * rating)
        for number, (first, last) in enumerate(runs):
            leaves = assumed.leave_home if home else assumed.leave_work
            departure = _departure_h(periods, first, last, leaves, timezone, next_day=home)
            if number + 1 < len(runs):
                departure = min(departure, runs[number + 1][0] * periods.mtu_h)
            charged = float(load_p_mw[first:last, k].sum()) * periods.mtu_h
            yield _Session(
                id=f"{int(loads.index[k]):03d}-{number}",
                bus=int(loads.bus[k]),
                first=first,
                last=last,
                departure_h=departure,
                energy_mwh=charged * assumed.car_efficiency,
                power_mw=max(rating, float(load_p_mw[first:last, k].max())),
                home=home,
            )


def _cars(
    loads: Elements,
    days: Sequence[Floats],
    periods: Periods,
    assumed: FleetAssumptions,
    timezone: str,
) -> CarSessions | None:
    households = cycle(
        int(loads.bus[k]) for k, name in enumerate(loads.profile) if name.startswith(HOUSEHOLD)
    )
    found = [
        replace(
            session,
            id=f"car-{number:02d}-{session.id}",
            bus=session.bus if number == 0 or not session.home else next(households, session.bus),
        )
        for number, load_p_mw in enumerate(days)
        if len(load_p_mw) == len(periods)
        for session in _sessions(loads, load_p_mw, periods, assumed, timezone)
    ]
    if not found:
        return None
    # The cars of an evening that stay overnight also stand for those of the evening before.
    hours = len(periods) * periods.mtu_h
    found += [
        replace(
            each,
            id=f"{each.id}-before",
            first=each.first - len(periods),
            departure_h=each.departure_h - hours,
        )
        for each in found
        if each.departure_h > hours
    ]
    energy = np.array([each.energy_mwh for each in found])
    power = np.array([each.power_mw for each in found])
    gives = [each.home and each.power_mw >= assumed.v2g_from_mw for each in found]
    # A car that took more than assumed cars hold is a larger car.
    size = np.maximum(assumed.car_mwh, energy / (assumed.car_soc_departure - 0.1))
    wanted = assumed.car_soc_departure * size
    return CarSessions(
        ids=tuple(each.id for each in found),
        buses=tuple(each.bus for each in found),
        arrival_h=np.array([each.first for each in found]) * periods.mtu_h,
        departure_h=np.array([each.departure_h for each in found]),
        energy_mwh_arrival=wanted - energy,
        energy_mwh_departure=wanted,
        energy_mwh_reserve=assumed.car_soc_reserve * size,
        energy_mwh_max=size,
        charge_mw_max=power,
        discharge_mw_max=np.where(gives, power, 0.0),
        efficiency_charge=np.full(len(found), assumed.car_efficiency),
        efficiency_discharge=np.full(len(found), assumed.car_efficiency),
    )


def _pumps(
    loads: Elements, load_p_mw: Floats, outdoor_c: Floats, assumed: FleetAssumptions
) -> HeatPumps | None:
    places = [
        k
        for k, profile in enumerate(loads.profile)
        if loads.in_service[k] and profile.startswith(HEAT) and load_p_mw[:, k].sum() > 0.0
    ]
    if not places:
        return None
    colder = assumed.set_c - float(outdoor_c.mean())
    if colder <= 1.0:
        what = f"is {outdoor_c.mean():.1f} degC on average; nothing is heated to {assumed.set_c:g}"
        raise InputError([Problem(where="outdoor temperature", what=what)])
    cop = coefficient_of_performance(outdoor_c, flow_temperature_c(outdoor_c, "radiator"))
    heat = np.array([float((load_p_mw[:, k] * cop).mean()) for k in places])
    resistance = colder / heat
    # What holds comfort in the coldest period, or what was recorded, whichever is more.
    cold = float(outdoor_c.min())
    worst = (assumed.set_c - cold) / resistance
    least = worst / float(
        coefficient_of_performance(
            np.array([cold]), flow_temperature_c(np.array([cold]), "radiator")
        )[0]
    )
    recorded = np.array([max(float(loads.p_mw[k]), float(load_p_mw[:, k].max())) for k in places])
    one = np.ones(len(places))
    return HeatPumps(
        ids=tuple(f"heat-pump-{int(loads.index[k]):03d}" for k in places),
        buses=tuple(int(loads.bus[k]) for k in places),
        p_mw_max=np.maximum(recorded, 1.2 * least),
        floor_heating=0.0 * one,
        resistance_k_per_mw=resistance,
        capacity_mwh_per_k=assumed.building_h / resistance,
        emission_mw_max=2.0 * worst,
        comfort_c_min=(assumed.set_c - assumed.comfort_band_k) * one,
        set_c=assumed.set_c * one,
        comfort_c_max=(assumed.set_c + assumed.comfort_band_k) * one,
        indoor_c_start=assumed.set_c * one,
        store_mwh_max=assumed.store_mwh * one,
        store_mwh_start=0.5 * assumed.store_mwh * one,
        store_loss_per_day=0.03 * one,
    )


def _batteries(
    network: Network, assumed: FleetAssumptions
) -> tuple[Batteries | None, tuple[str, ...]]:
    table = network.storages
    used = np.flatnonzero(table.in_service)
    if not used.size:
        return None, ()
    one = np.ones(used.size)
    power, efficiency = table.p_mw_max[used], np.sqrt(table.efficiency[used])
    return (
        Batteries(
            ids=tuple(f"storage-{int(table.index[k]):03d}" for k in used),
            buses=tuple(int(table.bus[k]) for k in used),
            charge_mw_max=power,
            discharge_mw_max=power,
            energy_mwh_min=table.energy_mwh_min[used],
            energy_mwh_max=table.energy_mwh_max[used],
            energy_mwh_start=np.maximum(
                assumed.battery_soc_start * table.energy_mwh_max[used], table.energy_mwh_min[used]
            ),
            efficiency_charge=efficiency,
            efficiency_discharge=efficiency,
            self_discharge_per_day=0.0 * one,
            s_mva_max=power,
            soc_charge_full_power=0.9 * one,
            charge_share_when_full=0.2 * one,
            soc_discharge_full_power=0.05 * one,
            discharge_share_when_empty=0.2 * one,
        ),
        tuple(f"storage:{int(table.index[k])}" for k in used),
    )


def _plants(network: Network) -> tuple[PvPlants | None, tuple[str, ...]]:
    table = network.sgens
    used = [
        k
        for k, technology in enumerate(table.technology)
        if table.in_service[k]
        and (technology.startswith("PV") or table.profile[k].startswith("PV"))
    ]
    if not used:
        return None, ()
    s_mva = np.maximum(table.sn_mva[used], table.p_mw[used])
    return (
        PvPlants(
            ids=tuple(f"pv-{int(table.index[k]):03d}" for k in used),
            buses=tuple(int(table.bus[k]) for k in used),
            s_mva_max=s_mva,
            power_factor_min=power_factor_required(s_mva),
        ),
        tuple(f"sgen:{int(table.index[k])}" for k in used),
    )


def plant_rows(network: Network, assets: tuple[str, ...]) -> list[int]:
    """Return the rows of the generators that PV plants are."""
    indices = network.sgens.index.tolist()
    return [indices.index(int(asset.split(":")[1])) for asset in assets]
