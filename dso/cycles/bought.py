"""The flexibility bought for a day, read back: what is ordered, of whom, and how it is settled."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.records.order import DemandOrder, Order, StorageOrder
from data.records.settlement import SettlementCase
from data.units import MICRO_PER_UNIT, WH_PER_MWH
from dso.cycles.plan import DayPlan
from dso.cycles.reserved import contracts_in_force
from dso.flexibility.activations import (
    Metered,
    activations_of,
    availabilities_of,
    with_flexibility,
)
from dso.flexibility.files import ORDERS_JSON
from flexibility.procurement.border import LocalIsps, from_watt
from flexibility.procurement.records import FlexOrder, ReservationUpdate

Floats = NDArray[np.float64]
PURCHASE_FOLDER: Final = "flexibility"


def read_bought(plan: DayPlan) -> tuple[FlexOrder, ...]:
    """Return the orders that the purchase of a day left; none where there was no purchase."""
    path = plan.out / PURCHASE_FOLDER / ORDERS_JSON
    if not path.is_file():
        return ()
    isps = LocalIsps.of(plan.periods, plan.delivery.timezone)
    return tuple(_order(plain, isps) for plain in json.loads(path.read_text(encoding="utf-8")))


def _order(plain: dict[str, Any], isps: LocalIsps) -> FlexOrder:
    power = np.zeros(len(isps.periods))
    for run in plain["isps"]:
        first = run["start"] - isps.first
        power[first : first + run["duration"]] = from_watt(run["power_w"])
    return FlexOrder(
        reference=plain["order_reference"],
        participant=plain["participant"],
        congestion_point=plain["congestion_point"],
        connection=plain["connection"],
        buses=(),
        offer=plain.get("flex_offer_message_id", ""),
        contract=plain.get("contract_id"),
        option=plain["option_reference"],
        factor=plain["activation_factor"],
        price_micro_eur=round(plain["price_eur"] * MICRO_PER_UNIT),
        offered_mw=power,
        rule=plain["rule"],
        penalty_micro_eur_per_mwh=round(plain["penalty_eur_per_mwh"] * MICRO_PER_UNIT),
    )


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


def free_what_is_called(
    plan: DayPlan, bought: Sequence[FlexOrder], orders: Sequence[Order]
) -> tuple[Order, ...]:
    """Return orders whose reserved capacity may be used as far as their contracts are called.

    Of a storage's energy no more is freed than was kept: that of the longest call.
    """
    calls = [each for each in bought if each.contract is not None and not each.offer]
    if not calls:
        return tuple(orders)
    hours = {contract.id: contract.duration_h_max for contract in contracts_in_force(plan)}
    freed = {order.asset: order for order in orders if order.asset is not None}
    for call in calls:
        order = freed.get(call.connection)
        if order is not None:
            longest = hours.get(call.contract or "", 0.0)
            freed[call.connection] = _freed(order, call.ordered_mw, longest, plan.periods.mtu_h)
    return tuple(freed.get(order.asset or "", order) for order in orders)


def _freed(order: Order, called_mw: Floats, longest_h: float, mtu_h: float) -> Order:
    up, down = np.maximum(called_mw, 0.0), np.maximum(-called_mw, 0.0)
    if isinstance(order, DemandOrder):
        return replace(order, p_mw_min=np.maximum(order.p_mw_min - up, 0.0))
    if not isinstance(order, StorageOrder):
        return order  # generation follows its setpoint as far as its resource allows
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
