"""The flexibility bought for a day: what a gate knows of it, and how it is told and settled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from data.records.order import DemandOrder, Order, StorageOrder
from data.records.settlement import SettlementCase
from data.units import WH_PER_MWH
from dso.cycles.bought_files import read_bought, read_entries
from dso.cycles.ordered_by_hand import ordered_by_hand, orders_told
from dso.cycles.plan import DayPlan
from dso.cycles.reserved import contracts_in_force
from dso.cycles.schedule import Schedule
from dso.cycles.stages import Desk
from dso.cycles.timetable import FLEXIBILITY_PURCHASE, purchase_gate
from dso.flexibility.activations import (
    Metered,
    activations_of,
    availabilities_of,
    with_flexibility,
)
from flexibility.procurement.records import FlexOrder, ReservationUpdate

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """What was bought for a day, of the purchase first, then by hand.

    ``inputs`` are the digests of where it stands, by name, for the stage that uses it;
    ``left_out`` says which orders by hand do not count.
    """

    orders: tuple[FlexOrder, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def bought_of_day(desk: Desk) -> Bought:
    """Return all that was bought for a day, once it is over."""
    return _with_orders_by_hand(desk, read_bought(desk.plan), desk.plan.periods.end)


def bought_before(desk: Desk, gate: datetime) -> Bought:
    """Return what was bought for a day before a gate: the purchase's, if its own gate was."""
    plan = desk.plan
    at = plan.feeder.purchase_at
    if at is None:
        return Bought()
    known = purchase_gate(plan.rules, plan.delivery.day, at) < gate
    known = known and desk.is_done(FLEXIBILITY_PURCHASE)
    return _with_orders_by_hand(desk, read_bought(plan) if known else (), gate)


def _with_orders_by_hand(desk: Desk, bought: tuple[FlexOrder, ...], gate: datetime) -> Bought:
    by_hand = ordered_by_hand(desk, gate, bought, _ids(desk))
    inputs = {}
    if bought:
        inputs["purchase"] = desk.output_of(FLEXIBILITY_PURCHASE)
    if by_hand.sha256:
        inputs["orders_by_hand"] = by_hand.sha256
    return Bought(orders=(*bought, *by_hand.orders), inputs=inputs, left_out=by_hand.left_out)


def _ids(desk: Desk) -> frozenset[str]:
    return frozenset(entry["message_id"] for entry in read_entries(desk.plan))


def bought_by_now(desk: Desk, now: datetime) -> tuple[FlexOrder, ...]:
    """Return what devices are told beside their positions, by the clock."""
    bought = read_bought(desk.plan) if desk.is_done(FLEXIBILITY_PURCHASE) else ()
    return (*bought, *orders_told(desk, now, bought, _ids(desk)))


def where_known(desk: Desk, schedule: Schedule, bought: Sequence[FlexOrder]) -> dict[str, Bools]:
    """Return the periods whose binding clearing knew an order, shape (periods,), by reference."""
    found = {each.reference: np.zeros(len(desk.plan.periods), dtype=np.bool_) for each in bought}
    for at in desk.plan.rounds():
        here = schedule.source == at.number
        for each in bought_before(desk, at.gate).orders if here.any() else ():
            if each.reference in found:
                found[each.reference] |= here
    return found


def ordered_injection(bought: Sequence[FlexOrder], orders: Sequence[Order], count: int) -> Floats:
    """Return the power bought of each order's asset, beside its position.

    Parameters
    ----------
    bought : sequence of FlexOrder
        What was bought.
    orders : sequence of Order
        The market's orders; what was bought of a connection without one has no row.
    count : int
        Periods of the day.

    Returns
    -------
    ndarray, shape (orders, periods)
        Injection [MW].
    """
    row = {order.asset: k for k, order in enumerate(orders) if order.asset is not None}
    found = np.zeros((len(orders), count))
    for each in bought:
        if each.connection in row:
            found[row[each.connection]] += each.ordered_mw
    return found


def free_what_is_ordered(
    plan: DayPlan,
    bought: Sequence[FlexOrder],
    orders: Sequence[Order],
    known: Mapping[str, Bools],
) -> tuple[Order, ...]:
    """Return orders as devices answer to them: what was ordered of them they may do.

    A load may drop what it is to take at least, and take what was kept free for it; a storage may
    use the capacity reserved under a contract that was called, of its energy no more than was
    kept, that of the longest call. Generation follows its setpoint as far as its resource allows.

    Parameters
    ----------
    plan : DayPlan
        The day.
    bought : sequence of FlexOrder
        What was bought.
    orders : sequence of Order
        The terms last in force.
    known : mapping of reference to ndarray of bool, shape (periods,)
        Where the clearing that the terms are from knew an order (`where_known`).
    """
    calls = [each for each in bought if is_call(each)]
    hours = {contract.id: contract.duration_h_max for contract in contracts_in_force(plan)}
    freed = {order.asset: order for order in orders if order.asset is not None}
    for each in bought:
        order, power = freed.get(each.connection), each.ordered_mw
        if isinstance(order, DemandOrder):
            freed[each.connection] = _freed_demand(order, power, known[each.reference])
    for call in calls:
        order = freed.get(call.connection)
        if isinstance(order, StorageOrder):
            longest = hours.get(call.contract or "", 0.0)
            freed[call.connection] = _freed(order, call.ordered_mw, longest, plan.periods.mtu_h)
    return tuple(freed.get(order.asset or "", order) for order in orders)


def is_call(order: FlexOrder) -> bool:
    """Tell whether an order calls the capacity reserved under a contract."""
    return order.contract is not None and not order.offer


def _freed_demand(order: DemandOrder, ordered_mw: Floats, known: Bools) -> DemandOrder:
    up, down = np.maximum(ordered_mw, 0.0), np.where(known, np.maximum(-ordered_mw, 0.0), 0.0)
    order = replace(order, p_mw_min=np.maximum(order.p_mw_min - up, 0.0))
    if not down.any():
        return order
    more = replace(order.steps[-1], p_mw=down)
    return replace(order, steps=(*order.steps, more))


def _freed(order: StorageOrder, called_mw: Floats, longest_h: float, mtu_h: float) -> StorageOrder:
    up, down = np.maximum(called_mw, 0.0), np.maximum(-called_mw, 0.0)
    up_mwh, down_mwh = (
        min(float(power.sum()) * mtu_h, float(power.max()) * longest_h) for power in (up, down)
    )
    return replace(
        order,
        discharge_mw_max=order.discharge_mw_max + up,
        charge_mw_max=order.charge_mw_max + down,
        energy_mwh_min=max(order.energy_mwh_min - up_mwh / order.efficiency_discharge, 0.0),
        energy_mwh_max=order.energy_mwh_max + down_mwh * order.efficiency_charge,
    )


def settle_bought(
    plan: DayPlan,
    case: SettlementCase,
    bought: Sequence[FlexOrder],
    updates: Mapping[str, ReservationUpdate],
) -> SettlementCase:
    """Return a settlement case with the flexibility bought and the capacity kept ready.

    The baseline of a period is what the party sold at the last gate before it: the position that
    its imbalance is measured against, too, so that nothing is paid twice.
    """
    to_mw = 60.0 / plan.delivery.mtu_minutes / WH_PER_MWH
    metered = {
        position.connection: Metered(
            participant=position.participant,
            baseline_mw=-to_mw * np.array(position.id_wh, dtype=float),
            meter_mw=-to_mw * np.array(position.meter_wh, dtype=float),
        )
        for position in case.positions
        if not position.is_bilateral
    }
    holder = {name: each.participant for name, each in metered.items()}
    ready = [
        contract
        for contract in contracts_in_force(plan)
        if holder.get(contract.connection) == contract.participant
    ]
    return with_flexibility(
        case,
        activations_of(bought, metered, plan.periods),
        availabilities_of(ready, plan.periods, plan.delivery.timezone, updates),
    )
