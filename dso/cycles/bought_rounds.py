"""What was bought before the gate of a round: power in its grid, room in its assets' orders.

In the grid it stands beside the positions as generation or demand that must run, where its
connection is. Its position is its award: the clearing trades nothing of it and pays nothing for it,
and whoever reads positions passes it by. What it is paid is the price of its order, at settlement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.network import Network
from data.records.order import DemandOrder, GenerationOrder, Order, StorageOrder
from dso.cycles.booked_orders import Booked
from dso.cycles.bought import free_what_is_ordered, is_call, ordered_injection
from dso.cycles.case import Book
from dso.cycles.firm_positions import BOUGHT, is_firm
from dso.cycles.messages import updates_by
from dso.cycles.plan import DayPlan, Round
from dso.cycles.reserved import Updates, contracts_in_force, is_made_anew
from dso.cycles.schedule import Schedule
from flexibility.battery import Battery
from flexibility.procurement.deliverable import Room, keep_deliverable
from flexibility.procurement.market_orders import callable_mw, fixed_order
from flexibility.procurement.records import FlexOrder
from flexibility.procurement.reservation import Reserved

Floats = NDArray[np.float64]
UP: Final = 1.0
DOWN: Final = -1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How storages stand at the start of a round.

    Parameters
    ----------
    orders : tuple of Order
        The schedule's orders; capacity of calls that were delivered is not kept any more, and of
        the end energy is left out what was delivered.
    energy_mwh : mapping of order id to float
        Energy of each storage, with what was bought before the round delivered [MWh].
    cuts : tuple of str
        Remarks on positions that do not fit together.
    """

    orders: tuple[Order, ...]
    energy_mwh: Mapping[str, float]
    cuts: tuple[str, ...]


def standing_at(
    plan: DayPlan, schedule: Schedule, first: int, bought: Sequence[FlexOrder]
) -> Standing:
    """Return the orders and energies that a round begins with.

    Parameters
    ----------
    plan : DayPlan
        The day.
    schedule : Schedule
        Before the round.
    first : int
        The round's first period.
    bought : sequence of FlexOrder
        What was bought before its gate.
    """
    if not bought:
        energy_mwh, cuts = schedule.energy_mwh(first)
        return Standing(orders=schedule.orders, energy_mwh=energy_mwh, cuts=cuts)
    count = len(plan.periods)
    before = np.arange(count) < first
    done = [replace(each, offered_mw=np.where(before, each.offered_mw, 0.0)) for each in bought]
    known = {each.reference: before for each in done}
    orders = free_what_is_ordered(plan, done, schedule.orders, known)
    freed = replace(schedule, orders=orders)
    sold, _ = freed.energy_mwh(first)
    energy_mwh, cuts = freed.energy_mwh(first, ordered_injection(done, orders, count))
    hours = (count - first) * plan.periods.mtu_h
    return Standing(
        orders=tuple(
            _less_at_end(order, energy_mwh[order.id] - sold[order.id], hours)
            if isinstance(order, StorageOrder)
            else order
            for order in orders
        ),
        energy_mwh=energy_mwh,
        cuts=cuts,
    )


def _less_at_end(order: StorageOrder, delivered_mwh: float, hours: float) -> StorageOrder:
    """Ask for less end energy where some was delivered: who sells flexibility sells it."""
    if delivered_mwh >= 0.0:
        return order
    left = order.energy_mwh_end_min + delivered_mwh * Battery.of_order(order).retention(hours)
    return replace(order, energy_mwh_end_min=max(left, order.energy_mwh_min))


def keep_bought(
    plan: DayPlan,
    at: Round,
    orders: Sequence[Order],
    bought: Sequence[FlexOrder],
    restated: Booked,
    updates: Updates,
) -> Reserved:
    """Return the orders of a round with room for what is still to be delivered.

    Parameters
    ----------
    plan : DayPlan
        The day.
    at : Round
        The round.
    orders : sequence of Order
        Its orders, which leave the capacity under contracts free already.
    bought : sequence of FlexOrder
        What was bought before its gate.
    restated : Booked
        Orders that parties handed in for the round.
    updates : mapping of contract id to ReservationUpdate
        What is still reserved at the gate.
    """
    if not bought:
        return Reserved(orders=tuple(orders), remarks=())
    own = {order.id for order in restated.orders}
    assets = {each.connection for each in bought}
    earlier = updates_by(plan, plan.day_ahead_gate).updates
    kept: list[Order] = []
    remarks: list[str] = []
    for order in orders:
        if order.asset in assets and not is_firm(order):
            anew = order.id in own or is_made_anew(order)
            reserved = _reserved_mw(plan, at, order.asset, updates if anew else earlier)
            room = _room(_ordered(at, bought, order.asset), reserved)
            order, said = keep_deliverable(order, room, at.periods.mtu_h)
            remarks += said
        kept.append(order)
    return Reserved(orders=tuple(kept), remarks=tuple(remarks))


def _ordered(at: Round, bought: Sequence[FlexOrder], asset: str | None) -> tuple[Floats, Floats]:
    """Return what is still to be delivered of offers, and of calls, shape (periods,) each [MW]."""
    offers, calls = np.zeros(len(at.periods)), np.zeros(len(at.periods))
    for each in bought:
        if each.connection == asset:
            power = calls if is_call(each) else offers
            power += each.ordered_mw[at.first :]
    return offers, calls


def _reserved_mw(plan: DayPlan, at: Round, asset: str | None, updates: Updates) -> Floats:
    """Return what is kept free for contracts of an asset, signed, shape (periods,) [MW]."""
    found = np.zeros(len(plan.periods))
    for contract in contracts_in_force(plan):
        if contract.asset == asset:
            update = updates.get(contract.id)
            found += contract.sign * callable_mw(
                contract, plan.periods, plan.delivery.timezone, update
            )
    return found[at.first :]


def _room(ordered: tuple[Floats, Floats], reserved_mw: Floats) -> Room:
    """Return the room for what was bought: of calls, what is not reserved for them already."""
    offers, calls = ordered

    def beyond(sign: float) -> Floats:
        free = np.maximum(sign * reserved_mw, 0.0)
        more = np.maximum(np.maximum(sign * calls, 0.0) - free, 0.0)
        return np.asarray(np.maximum(sign * offers, 0.0) + more)

    return Room(
        up_mw=beyond(UP),
        down_mw=beyond(DOWN),
        reserved_up_mw=np.maximum(UP * reserved_mw, 0.0),
        reserved_down_mw=np.maximum(DOWN * reserved_mw, 0.0),
    )


def with_bought(
    book: Book, at: Round, network: Network, schedule: Schedule, bought: Sequence[FlexOrder]
) -> Book:
    """Return the book of a round with what was bought beside the positions.

    Parameters
    ----------
    book : Book
        Orders of the market and their positions.
    at : Round
        The round.
    network : Network
        The grid.
    schedule : Schedule
        Says where connections are that the grid model does not hold.
    bought : sequence of FlexOrder
        What was bought before the gate.
    """
    bus_of = _buses(network, schedule.orders)
    orders = [
        order
        for each in bought
        for sign in (UP, DOWN)
        if (order := _standing_order(each, at, bus_of[each.connection], sign)) is not None
    ]
    if not orders:
        return book
    assert book.position_mw is not None
    assert book.position_mvar is not None
    held = [sign * order.p_mw_min for order, sign in orders]
    return Book(
        orders=(*book.orders, *(order for order, _ in orders)),
        position_mw=np.vstack([book.position_mw, held]),
        position_mvar=np.vstack([book.position_mvar, np.zeros_like(held)]),
    )


def _buses(network: Network, orders: Sequence[Order]) -> dict[str, int]:
    """Return the bus of every connection by name."""
    found = {f"order:{order.id}": order.buses[0][0] for order in orders if order.asset is None}
    for kind, elements in (
        ("load", network.loads), ("sgen", network.sgens), ("storage", network.storages),
    ):  # fmt: skip
        for index, bus in zip(elements.index.tolist(), elements.bus.tolist(), strict=True):
            found[f"{kind}:{index}"] = int(bus)
    return found


def _standing_order(
    bought: FlexOrder, at: Round, bus: int, sign: float
) -> tuple[GenerationOrder | DemandOrder, float] | None:
    """Return what is left of an order in one direction, with its sign; None where nothing is."""
    order = fixed_order(
        replace(
            bought,
            reference=BOUGHT + bought.reference,
            buses=((bus, 1.0),),
            offered_mw=bought.offered_mw[at.first :],
        ),
        sign,
    )
    return None if order is None else (order, sign)
