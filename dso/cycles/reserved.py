"""Capacity under availability contracts, kept free in every clearing of a day.

Storages keep their day-ahead terms in later rounds, and so do orders that parties handed in; what
a round makes anew from its forecast is limited anew, and so is what parties restate for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from data.canonical import sha256_hex
from data.errors import InputError, Problem, refuse_if_any
from data.periods import Periods
from data.records.network import Network
from data.records.order import DemandOrder, GenerationOrder, Order
from data.study.order_fields import context_of
from dso.cycles.booked_orders import BOOKED, Booked
from dso.cycles.plan import DayPlan
from flexibility.procurement.read_messages import read_contracts
from flexibility.procurement.records import AvailabilityContract, ReservationUpdate
from flexibility.procurement.reservation import Reserved, keep_reserved

RESERVED_JSON = "reserved.json"
Updates = Mapping[str, ReservationUpdate]
NO_UPDATES: Final[Updates] = MappingProxyType({})
NOTHING_RESTATED: Final = Booked()


def contracts_in_force(plan: DayPlan) -> tuple[AvailabilityContract, ...]:
    """Return the contracts of a feeder whose window meets the day.

    Raises
    ------
    InputError
        With every problem of every file.
    """
    found = read_contract_files(plan.feeder.contract_files, plan.network, len(plan.periods))
    return tuple(
        contract
        for contract in found
        if contract.window(plan.periods, plan.delivery.timezone).any()
    )


def read_contract_files(
    paths: Sequence[Path], network: Network, periods: int
) -> tuple[AvailabilityContract, ...]:
    """Read contracts from files; ids are unique among all of them."""
    problems: list[Problem] = []
    found: list[AvailabilityContract] = []
    for path in paths:
        try:
            read = read_contracts(path, context_of(network, periods))
        except InputError as error:
            problems += error.problems
            continue
        known = {contract.id for contract in found}
        problems += [
            Problem(where=path.name, what=f"contract {contract.id} is stated in another file, too")
            for contract in read
            if contract.id in known
        ]
        found += read
    refuse_if_any(problems)
    return tuple(found)


def contracts_sha256(plan: DayPlan) -> str:
    """Return the digest of the contract files, "" where there are none."""
    files = plan.feeder.contract_files
    if not files:
        return ""
    contracts_in_force(plan)  # says what is wrong with them
    return sha256_hex("".join(sha256_hex(path.read_bytes()) for path in files).encode())


def reserve_day_ahead(
    plan: DayPlan, orders: Sequence[Order], updates: Updates = NO_UPDATES
) -> Reserved:
    """Return the day-ahead orders with reserved capacity kept free.

    ``updates`` by contract id: what is still reserved, over the whole day.
    """
    contracts = contracts_in_force(plan)
    return keep_reserved(orders, contracts, plan.periods, plan.delivery.timezone, updates)


def is_made_anew(order: Order) -> bool:
    """Tell whether a round makes an order from its forecast: no storage, and none of a party."""
    return isinstance(order, GenerationOrder | DemandOrder) and not order.id.startswith(BOOKED)


def reserve_round(
    plan: DayPlan,
    periods: Periods,
    orders: Sequence[Order],
    updates: Updates = NO_UPDATES,
    restated: Booked = NOTHING_RESTATED,
) -> Reserved:
    """Return the orders of a round with reserved capacity kept free; as `reserve_day_ahead`.

    ``restated`` are those that parties handed in for the round: limited anew like what the round
    makes itself, so that nobody sells what is under contract by saying it again.
    """
    contracts = contracts_in_force(plan)
    if not contracts:
        return Reserved(orders=tuple(orders), remarks=())
    stated = {order.id for order in restated.orders}
    anew = [order for order in orders if order.id in stated or is_made_anew(order)]
    assets = {order.asset for order in anew}
    mine = [contract for contract in contracts if contract.asset in assets]
    left = {
        name: replace(update, reserved_mw=update.reserved_mw[-len(periods) :])
        for name, update in updates.items()
    }
    kept = keep_reserved(anew, mine, periods, plan.delivery.timezone, left)
    limited = {order.id: order for order in kept.orders}
    return replace(kept, orders=tuple(limited.get(order.id, order) for order in orders))
