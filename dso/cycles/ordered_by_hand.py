"""Flexibility that the operator's people ordered over the API, as far as a gate knows of it.

An order counts if its commit precedes the gate and the first period that it is about. The orders of
the market's own purchase are messages, too; they are known by their ids. What the day cannot settle
is left out and named: a meter is settled for the party that holds it, under one rule and in one
direction.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from data.canonical import sha256_hex
from data.periods import format_utc
from dso.cycles.bought_files import order_of_entry
from dso.cycles.messages import rows_by
from dso.cycles.plan import DayPlan
from dso.cycles.stages import Desk
from dso.store.flexibility_messages import FlexMessage, messages_before
from flexibility.procurement.border import LocalIsps
from flexibility.procurement.records import FlexOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderedByHand:
    """Orders by hand that count, in the order of receipt, why others do not, and their digest."""

    orders: tuple[FlexOrder, ...] = ()
    left_out: tuple[str, ...] = ()
    sha256: str = ""


NOTHING: Final = OrderedByHand()


def ordered_by_hand(
    desk: Desk, gate: datetime, bought: Sequence[FlexOrder], known: Collection[str]
) -> OrderedByHand:
    """Read what was ordered by hand before a gate, which is passed with it.

    Parameters
    ----------
    desk : Desk
        Where the day is run.
    gate : datetime
        An order counts if its commit precedes it.
    bought : sequence of FlexOrder
        What the market's purchase bought.
    known : collection of str
        Ids of the messages that told it to the parties.

    Raises
    ------
    InputError
        If the gate is still to come.
    """
    if not desk.plan.feeder.congestion_points:
        return NOTHING
    rows = rows_by(desk, gate)
    mine = [row for row in rows if row.kind == "FlexOrder" and row.message_id not in known]
    return _judged(desk, mine, bought) if mine else NOTHING


def orders_told(
    desk: Desk, at: datetime, bought: Sequence[FlexOrder], known: Collection[str]
) -> tuple[FlexOrder, ...]:
    """Return what devices are told at an instant of orders by hand, whatever the gates."""
    plan = desk.plan
    if not plan.feeder.congestion_points:
        return ()
    with desk.services.store.transaction() as connection:
        rows = messages_before(connection, feeder=plan.feeder.id, day=plan.delivery.day, gate=at)
    mine = [row for row in rows if row.kind == "FlexOrder" and row.message_id not in known]
    return _judged(desk, mine, bought).orders if mine else ()


def _judged(desk: Desk, rows: Sequence[FlexMessage], bought: Sequence[FlexOrder]) -> OrderedByHand:
    """Separate orders that the day can settle from those that it cannot."""
    plan = desk.plan
    isps = LocalIsps.of(plan.periods, plan.delivery.timezone)
    holder = _holders(desk)
    found: list[FlexOrder] = []
    left_out: list[str] = []
    for row in rows:
        order = order_of_entry(json.loads(row.content), isps)
        why = _unsettled(order, row, plan, holder, [*bought, *found])
        if why:
            left_out.append(f"order {row.message_id} by hand: left out, {why}")
        else:
            found.append(order)
    digests = [f"{row.message_id} {sha256_hex(row.content.encode())}" for row in rows]
    return OrderedByHand(
        orders=tuple(found),
        left_out=tuple(left_out),
        sha256=sha256_hex("\n".join(digests).encode()),
    )


def _unsettled(
    order: FlexOrder,
    row: FlexMessage,
    plan: DayPlan,
    holder: Mapping[str, str],
    others: Sequence[FlexOrder],
) -> str:
    """Return why an order cannot be settled with the others; "" where it can."""
    meter, power = order.connection, order.ordered_mw
    if holder.get(meter) != order.participant:
        held = f"is held by {holder[meter]}" if meter in holder else "has no meter"
        return f"{meter} {held}"
    first = int(np.flatnonzero(power)[0])
    if row.received_at >= format_utc(plan.periods.starts[first]):
        return "its first period had begun"
    for other in others:
        if other.connection != meter:
            continue
        if other.rule != order.rule:
            return f"{meter} is bought under the rule {other.rule}, too"
        if np.any(other.ordered_mw * power < 0.0):
            return f"{meter} is bought in the other direction, too"
    return ""


def _holders(desk: Desk) -> dict[str, str]:
    """Return who answers for each connection, as the day's settlement has it."""
    plan, network = desk.plan, desk.plan.network
    found = {
        f"{kind}:{index}": plan.feeder.default_participant
        for kind, elements in (
            ("load", network.loads), ("sgen", network.sgens), ("storage", network.storages),
        )
        for index in elements.index[elements.in_service].tolist()
    }  # fmt: skip
    for order in desk.positions.day_ahead(plan).orders:
        found[order.asset or f"order:{order.id}"] = order.participant
    return found
