"""Reserved capacity is kept free in the energy market: the asset's orders leave it alone.

A contract for more injection needs room above what the asset sells: less of its generation or
discharge may be sold, at least so much of its demand must be taken (it can be dropped), and a
storage keeps the energy of the longest call. A contract for more withdrawal needs the opposite.
What is released by a reservation update is free again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from data.periods import Periods
from data.records.order import (
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    PriceStep,
    ShiftOrder,
    StorageOrder,
)
from flexibility.procurement.market_orders import callable_mw
from flexibility.procurement.records import AvailabilityContract, Floats, ReservationUpdate

SHORT_MW: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """Orders with reserved capacity kept free, and what could not be kept, in words."""

    orders: tuple[Order, ...]
    remarks: tuple[str, ...]


def keep_reserved(
    orders: Sequence[Order],
    contracts: Sequence[AvailabilityContract],
    periods: Periods,
    timezone: str,
    updates: Mapping[str, ReservationUpdate] | None = None,
) -> Reserved:
    """Limit the orders of assets under contract.

    Parameters
    ----------
    orders : sequence of Order
        The order book.
    contracts : sequence of AvailabilityContract
        In force; those without an asset reserve nothing of the book.
    periods : Periods
        Of the clearing.
    timezone : str
        Zone of the windows.
    updates : mapping of contract id to ReservationUpdate, optional
        What is still reserved, where that is less than the contract.

    Returns
    -------
    Reserved
        The same orders in the same order, without those that would sell reserved capacity in one
        piece.
    """
    found = {order.id: order for order in orders}
    remarks: list[str] = []
    for contract in contracts:
        if contract.asset is None:
            continue
        update = (updates or {}).get(contract.id)
        reserved = callable_mw(contract, periods, timezone, update)
        if not reserved.any():
            continue
        mine = [order for order in orders if order.asset == contract.asset and order.id in found]
        if not mine:
            remarks.append(
                f"contract {contract.id}: {contract.asset} has no order; all of it is free"
            )
        for order in mine:
            kept = _limited(found[order.id], contract, reserved, remarks)
            if kept is None:
                del found[order.id]
                remarks.append(
                    f"contract {contract.id}: {order.id} sells reserved capacity in one piece and "
                    "is not cleared"
                )
            else:
                found[order.id] = kept
    return Reserved(
        orders=tuple(found[order.id] for order in orders if order.id in found),
        remarks=tuple(remarks),
    )


def _limited(
    order: Order,
    contract: AvailabilityContract,
    reserved_mw: Floats,
    remarks: list[str],
) -> Order | None:
    """Return an order that leaves the reservation free; None where it cannot."""
    injects = contract.direction == "inject"

    def tell(short_mw: Floats) -> None:
        worst = float(short_mw.max(initial=0.0))
        if worst > SHORT_MW:
            remarks.append(
                f"contract {contract.id}: {order.id} can keep up to {worst:.6g} MW less than "
                "reserved"
            )

    match order:
        case GenerationOrder() | DemandOrder():
            # generation that makes room upward, demand that makes room downward: sell less
            if injects == isinstance(order, GenerationOrder):
                return capped(order, reserved_mw, tell)
            return floored(order, reserved_mw, tell)
        case StorageOrder():
            return _storage(order, contract, reserved_mw, tell)
        case ShiftOrder():
            if injects:
                least = np.minimum(np.maximum(order.p_mw_min, reserved_mw), order.p_mw_max)
                tell(reserved_mw - order.p_mw_max)
                return replace(order, p_mw_min=least)
            most = np.maximum(order.p_mw_max - reserved_mw, order.p_mw_min)
            tell(reserved_mw - (order.p_mw_max - order.p_mw_min))
            return replace(order, p_mw_max=most)
        case CurtailOrder():
            if not injects:
                return order  # a reduction makes room for more withdrawal by itself
            left = np.maximum(order.p_mw_max - reserved_mw, 0.0)
            tell(reserved_mw - order.p_mw_max)
            return replace(order, p_mw_max=left, p_mw_min_on=np.minimum(order.p_mw_min_on, left))
        case BlockOrder():
            same = order.profile_mw * contract.sign > 0.0
            return None if np.any(same & (reserved_mw > 0.0)) else order
        case _:
            return order


Tell = Callable[[Floats], None]


def capped(
    order: GenerationOrder | DemandOrder, reserved_mw: Floats, tell: Tell
) -> GenerationOrder | DemandOrder:
    """Take the reservation off the far end of the price curve."""
    offered = np.sum([step.p_mw for step in order.steps], axis=0)
    most = np.maximum(offered - reserved_mw, order.p_mw_min)
    tell(reserved_mw - (offered - order.p_mw_min))
    steps, left = [], most
    for step in order.steps:
        power = np.minimum(step.p_mw, left)
        left = left - power
        steps.append(PriceStep(p_mw=power, price_eur_per_mwh=step.price_eur_per_mwh))
    return replace(order, steps=tuple(steps))


def floored(
    order: GenerationOrder | DemandOrder, reserved_mw: Floats, tell: Tell
) -> GenerationOrder | DemandOrder:
    """Make so much of it must-run or must-take that the reservation can be dropped."""
    offered = np.sum([step.p_mw for step in order.steps], axis=0)
    tell(reserved_mw - offered)
    return replace(order, p_mw_min=np.minimum(np.maximum(order.p_mw_min, reserved_mw), offered))


def _storage(
    order: StorageOrder, contract: AvailabilityContract, reserved_mw: Floats, tell: Tell
) -> StorageOrder:
    """Keep power in the contract's direction and the energy of its longest call."""
    energy = float(reserved_mw.max()) * contract.duration_h_max
    if contract.direction == "inject":
        tell(reserved_mw - order.discharge_mw_max)
        kept = order.energy_mwh_min + energy / order.efficiency_discharge
        least = min(kept, order.energy_mwh_start, order.energy_mwh_end_min)
        tell(np.array([(kept - least) / max(contract.duration_h_max, 1e-9)]))
        return replace(
            order,
            discharge_mw_max=np.maximum(order.discharge_mw_max - reserved_mw, 0.0),
            energy_mwh_min=max(least, order.energy_mwh_min),
        )
    tell(reserved_mw - order.charge_mw_max)
    kept = order.energy_mwh_max - energy * order.efficiency_charge
    departure = order.energy_mwh_departure_min or 0.0
    most = max(kept, order.energy_mwh_start, order.energy_mwh_end_min, departure)
    tell(np.array([(most - kept) / max(contract.duration_h_max, 1e-9)]))
    return replace(
        order,
        charge_mw_max=np.maximum(order.charge_mw_max - reserved_mw, 0.0),
        energy_mwh_max=min(most, order.energy_mwh_max),
    )
