"""Power that was bought stays deliverable: later orders of the asset leave room for it.

An order is about the position; what was bought acts beside it. Generation sells no less than what
is to be reduced and no more than is left above it, a demand takes at least what it is to drop, and
a storage keeps power and energy for both. Bounds of energy are one number for all periods, so they
keep the largest drift between the position's path of energy and that of the storage itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from data.records.order import DemandOrder, GenerationOrder, Order, StorageOrder
from flexibility.battery import Battery, next_energy_mwh, power_limits_mw
from flexibility.procurement.records import Floats
from flexibility.procurement.reservation import SHORT_MW, capped, floored

# Less than this is the rounding of awards, not news.
SHORT_MWH: Final = 1e-6
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Power to leave room for beside a position, shape (periods,) each, not negative [MW].

    Parameters
    ----------
    up_mw, down_mw : ndarray
        Bought, more and less injection than the position.
    reserved_up_mw, reserved_down_mw : ndarray
        What the order keeps free already, under contracts: it comes on top.
    """

    up_mw: Floats
    down_mw: Floats
    reserved_up_mw: Floats
    reserved_down_mw: Floats


def keep_deliverable(order: Order, room: Room, mtu_h: float) -> tuple[Order, tuple[str, ...]]:
    """Return an order that leaves room for what was bought, and what cannot be kept, in words.

    Where no room is left, the order is narrowed as far as it goes: there is always something that
    it can do.

    Parameters
    ----------
    order : Order
        Of the asset, for the periods that remain; only generation, demand and storage are limited.
    room : Room
        What it is to leave room for.
    mtu_h : float
        Length of a period [h].
    """
    remarks: list[str] = []

    def tell(short_mw: Floats) -> None:
        worst = float(short_mw.max(initial=0.0))
        if worst > SHORT_MW:
            remarks.append(f"{order.id}: up to {worst:.6g} MW of what was bought has no room")

    if isinstance(order, GenerationOrder):
        order = capped(order, room.up_mw, tell)
        order = floored(order, _with_reserved(room.down_mw, room.reserved_down_mw), tell)
    elif isinstance(order, DemandOrder):
        order = capped(order, room.down_mw, tell)
        order = floored(order, _with_reserved(room.up_mw, room.reserved_up_mw), tell)
    elif isinstance(order, StorageOrder):
        order = _powers(order, room, tell)
        order = _energies(order, room, mtu_h, remarks.append)
    return order, tuple(remarks)


def _with_reserved(bought_mw: Floats, reserved_mw: Floats) -> Floats:
    return np.where(bought_mw > 0.0, bought_mw + reserved_mw, 0.0)


def _powers(order: StorageOrder, room: Room, tell: Callable[[Floats], None]) -> StorageOrder:
    available = order.availability
    share = np.where(available > 0.0, available, 1.0)
    tell(room.up_mw - order.discharge_mw_max * available)
    tell(room.down_mw - order.charge_mw_max * available)
    return replace(
        order,
        discharge_mw_max=np.maximum(order.discharge_mw_max - room.up_mw / share, 0.0),
        charge_mw_max=np.maximum(order.charge_mw_max - room.down_mw / share, 0.0),
    )


def _energies(order: StorageOrder, room: Room, mtu_h: float, tell: Tell) -> StorageOrder:
    """Narrow the energies by the drift that what was bought brings, as far as they can be kept.

    The energy asked for at the end stays that of the position: who sells flexibility sells it.
    """
    least, most = _drifts_mwh(order, room, mtu_h)
    departure = order.energy_mwh_departure_min
    ceiling = order.energy_mwh_max - max(float(most.max()), 0.0)
    high = max(ceiling, order.energy_mwh_start, order.energy_mwh_end_min, departure or 0.0)
    order = replace(order, energy_mwh_max=high)
    full = _fullest_mwh(order, mtu_h)
    floor = order.energy_mwh_min + max(-float(least.min()), 0.0)
    low = max(order.energy_mwh_min, min(floor, order.energy_mwh_start, float(full.min())))
    short = max(high - ceiling, floor - low)
    if short > SHORT_MWH:
        tell(f"{order.id}: up to {short:.6f} MWh of what was bought cannot be kept")
    available = np.flatnonzero(order.availability > 0.0)
    if departure is not None and len(available):
        departure = max(low, min(departure, float(full[available[-1]])))
    return replace(
        order,
        energy_mwh_min=low,
        energy_mwh_end_min=max(low, min(order.energy_mwh_end_min, float(full[-1]))),
        energy_mwh_departure_min=departure,
    )


def _drifts_mwh(order: StorageOrder, room: Room, mtu_h: float) -> tuple[Floats, Floats]:
    """Return by how much the storage's energy is above its position's, at least and at most.

    What is bought changes what is charged or discharged, whichever the position does then: more
    injection costs at most its energy over the efficiency of discharging, and at least its energy
    times that of charging; less injection brings as much.
    """
    battery = Battery.of_order(order)
    keep = battery.retention(mtu_h)
    charged, drawn = mtu_h * order.efficiency_charge, mtu_h / order.efficiency_discharge
    low, high = np.zeros(len(room.up_mw)), np.zeros(len(room.up_mw))
    least = most = 0.0
    for period, (up, down) in enumerate(
        zip(room.up_mw.tolist(), room.down_mw.tolist(), strict=True)
    ):
        least = keep * least - drawn * up + charged * down
        most = keep * most - charged * up + drawn * down
        low[period], high[period] = least, most
    return low, high


def _fullest_mwh(order: StorageOrder, mtu_h: float) -> Floats:
    """Return the energy at the end of each period when charging all the time [MWh]."""
    battery, energy = Battery.of_order(order), order.energy_mwh_start
    path = np.zeros(len(order.availability))
    for period, charge in enumerate((order.charge_mw_max * order.availability).tolist()):
        room_mw, _ = power_limits_mw(battery, energy, mtu_h)
        energy = next_energy_mwh(battery, energy, min(charge, room_mw), 0.0, mtu_h)
        path[period] = energy
    return path
