"""What the schedule of a day says of devices in one period, as real time needs it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from data.readers.simbench import NetworkProfiles
from data.records.network import Network
from data.records.order import DemandOrder, GenerationOrder, Order, StorageOrder
from data.units import AWARD_TICK_MW, MICRO_PER_UNIT
from dso.cycles.grid_replay import AssetPower, bus_injections
from dso.cycles.schedule import Schedule
from dso.realtime.measured_minute import FlexibleLoads, MarketDevices
from opf.problems.monitored_grid import MonitoredGrid
from opf.problems.shed import Sheddable

Complexes = NDArray[np.complex128]


def market_devices(
    schedule: Schedule, network: Network, period: int, told_w: Mapping[str, int]
) -> MarketDevices:
    """Return the plants and storages that hold a position, their parts added up by asset.

    Parameters
    ----------
    schedule : Schedule
        What the market has agreed on.
    network : Network
        Ratings of generators.
    period : int
        Which period of the day.
    told_w : mapping
        What assets were told a while ago [W].
    """
    rows: dict[str, list[int]] = {}
    for row, order in enumerate(schedule.orders):
        if order.asset is not None and _can_be_told(order) and len(order.buses) == 1:
            rows.setdefault(order.asset, []).append(row)
    names = tuple(sorted(rows))
    first = [schedule.orders[rows[name][0]] for name in names]
    stores = [order if isinstance(order, StorageOrder) else None for order in first]
    p = np.array([schedule.position_mw[rows[name], period].sum() for name in names])
    q = np.array([schedule.position_mvar[rows[name], period].sum() for name in names])
    rated = {f"sgen:{i}": s for i, s in zip(network.sgens.index, network.sgens.sn_mva, strict=True)}
    rating = [
        max(store.charge_mw_max[period], store.discharge_mw_max[period])
        if store is not None
        else rated.get(name, 0.0)
        for name, store in zip(names, stores, strict=True)
    ]
    factor = [
        (order.reactive.power_factor_min if order.reactive else None) or 1.0 for order in first
    ]
    return MarketDevices(
        name=names,
        bus=np.array([order.buses[0][0] for order in first], dtype=np.int64),
        is_storage=np.array([store is not None for store in stores], dtype=bool),
        p_mw=p,
        q_mvar=q,
        rating_mw=np.maximum(np.nan_to_num(np.array(rating, dtype=float)), np.abs(p)),
        tan_max=np.tan(np.arccos(np.array(factor, dtype=float))),
        energy_mwh_min=np.array([s.energy_mwh_min if s else 0.0 for s in stores]),
        energy_mwh_max=np.array([s.energy_mwh_max if s else 0.0 for s in stores]),
        efficiency_charge=np.array([s.efficiency_charge if s else 1.0 for s in stores]),
        efficiency_discharge=np.array([s.efficiency_discharge if s else 1.0 for s in stores]),
        told_mw=np.array([told_w.get(name, np.nan) for name in names]) / MICRO_PER_UNIT,
    )


def expected_others(
    at: MonitoredGrid, schedule: Schedule, period: int, devices: MarketDevices
) -> Complexes:
    """Return what everything but the devices is expected to inject, by node [MW + j Mvar]."""
    fixed, here = schedule.fixed, slice(period, period + 1)
    profiles = NetworkProfiles(
        load_p_mw=fixed.load_p_mw[here],
        load_q_mvar=fixed.load_q_mvar[here],
        sgen_p_mw=fixed.sgen_p_mw[here],
        sgen_q_mvar=fixed.sgen_q_mvar[here],
    )
    own, none = set(devices.name), np.zeros(1)
    powers = [
        AssetPower(asset=name, bus=int(bus), injection_mw=none, injection_mvar=none)
        for name, bus in zip(devices.name, devices.bus.tolist(), strict=True)
    ]
    powers += [
        AssetPower(
            asset=order.asset or f"order:{order.id}",
            bus=order.buses[0][0],
            injection_mw=schedule.position_mw[row, here],
            injection_mvar=schedule.position_mvar[row, here],
        )
        for row, order in enumerate(schedule.orders)
        if order.asset not in own
    ]
    p, q = bus_injections(at.network, profiles, powers)
    return np.asarray(at.by_node(p + 1j * q)[:, 0])


def flexible_loads(schedule: Schedule, period: int) -> FlexibleLoads:
    """Return the loads that bought more than they must take, their parts added up by asset."""
    found: dict[str, tuple[int, complex, float]] = {}
    for row, order in enumerate(schedule.orders):
        if order.asset is None or len(order.buses) != 1 or not isinstance(order, DemandOrder):
            continue
        drawn = complex(-schedule.position_mw[row, period], -schedule.position_mvar[row, period])
        bus, so_far, firm = found.get(order.asset, (order.buses[0][0], 0j, 0.0))
        firm += min(float(order.p_mw_min[period]), max(drawn.real, 0.0))
        found[order.asset] = (bus, so_far + drawn, firm)
    names = tuple(name for name in sorted(found) if found[name][1].real > found[name][2])
    drawn_mw = np.array([found[name][1] for name in names], dtype=complex)
    firm_mw = np.array([found[name][2] for name in names])
    return FlexibleLoads(
        name=names,
        bus=np.array([found[name][0] for name in names], dtype=np.int64),
        flexible_mw=drawn_mw.real - firm_mw,
        firm_mw=firm_mw,
        tan=drawn_mw.imag / np.maximum(drawn_mw.real, AWARD_TICK_MW),
    )


def loads_to_shed(
    network: Network, schedule: Schedule, period: int, times: Mapping[str, int]
) -> Sheddable:
    """Return the loads in service; who was shed least often so far goes first."""
    loads = network.loads
    rows = np.flatnonzero(loads.in_service)
    names = tuple(f"load:{loads.index[row]}" for row in rows)
    power = schedule.fixed.load_p_mw[period, rows] + 1j * schedule.fixed.load_q_mvar[period, rows]
    count = np.array([times.get(name, 0) for name in names], dtype=np.int64)
    return Sheddable(
        name=names, bus=loads.bus[rows], injection=-power, priority=count, times_shed=count
    )


def _can_be_told(order: Order) -> bool:
    return isinstance(order, GenerationOrder | StorageOrder)
