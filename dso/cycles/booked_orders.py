"""Orders that parties handed in: the book is closed at its gate and read once.

An order speaks for the element that its asset names; elements for which nobody handed in anything
are offered by the feeder's policy. Of several orders for one element the last counts. What cannot
be cleared is named with its reason, and never stops the clearing of the others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import canonical_json, sha256_hex
from data.errors import InputError, Problem
from data.periods import parse_utc
from data.records.order import BlockOrder, DemandOrder, GenerationOrder, Order, PriceStep
from data.study.order_fields import OrderContext, context_of
from data.study.read_orders import order_from_plain
from dso.cycles.firm_positions import is_traded_again
from dso.cycles.plan import DayPlan, Round
from dso.cycles.stages import Desk
from dso.store.book import BookKey, BookOrder, close_book, close_round

BOOK_JSON: Final = "book.json"
# Orders of parties bear the id that their book gave them.
BOOKED: Final = "o-"
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """Orders of the book that are cleared, and why others are not, by order id."""

    orders: tuple[Order, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()

    def sha256(self) -> str:
        """Return the digest of what the book holds."""
        return sha256_hex(canonical_json(self.plain()))

    def plain(self) -> dict[str, object]:
        """Return what is written down of it."""
        return {
            "cleared": [order.id for order in self.orders],
            "left_out": dict(self.left_out),
        }


def close_day_ahead_book(desk: Desk) -> Booked:
    """Close the book of the day and return its orders; again, it returns the same."""
    key = book_of(desk.plan)
    try:
        with desk.services.store.transaction() as connection:
            rows = close_book(connection, key)
    except ValueError as error:
        raise InputError([_too_early(error)]) from error
    return read_booked(desk.plan, rows)


def close_round_book(desk: Desk, at: Round) -> tuple[BookOrder, ...]:
    """Close the gate of an intraday round and return the orders that stand for it."""
    try:
        with desk.services.store.transaction() as connection:
            return close_round(connection, book_of(desk.plan), at.gate)
    except ValueError as error:
        raise InputError([_too_early(error)]) from error


def book_of(plan: DayPlan) -> BookKey:
    """Return the key of the day's book, whose gates everything that is received keeps to."""
    return BookKey(
        feeder=plan.feeder.id,
        day=plan.delivery.day.isoformat(),
        gate=plan.day_ahead_gate,
        last_round_gate=plan.rounds()[-1].gate,
    )


def _too_early(error: ValueError) -> Problem:
    return Problem(where="orders", what=str(error), remedy="run the day once its gate is passed")


def rows_sha256(rows: Sequence[BookOrder]) -> str:
    """Return the digest of orders as they came."""
    return sha256_hex(canonical_json([[row.id, row.terms] for row in rows]))


def read_booked(plan: DayPlan, rows: Sequence[BookOrder]) -> Booked:
    """Return the orders of a closed book as records.

    Of several orders for one asset the last counts, but for blocks of a unit that exclude each
    other or hang on one another. A child whose parent is not cleared is not either.
    """
    context = context_of(plan.network, len(plan.periods))
    found: dict[str, list[Order]] = {}
    left_out: list[tuple[str, str]] = []
    for row in rows:
        problems: list[Problem] = []
        order = _order(row, context, problems)
        if order is None or problems:
            left_out.append((row.id, "; ".join(problem.what for problem in problems)))
            continue
        place = _place_of(row)
        before = found.get(place, [])
        if before and not all(_goes_with(order, each) for each in before):
            left_out += [(each.id, f"replaced by {row.id}") for each in before]
            before = []
        found[place] = [*before, order]
    orders = [order for several in found.values() for order in several]
    kept = _with_parents(orders, left_out)
    return Booked(
        orders=tuple(sorted(kept, key=lambda order: order.id)),
        left_out=tuple(sorted(left_out)),
    )


def _place_of(row: BookOrder) -> str:
    """Return what an order speaks for: its asset, or its units."""
    kept = json.loads(row.terms)
    return str(kept.get("asset") or "+".join(sorted(kept["portfolio"])))


def _goes_with(order: Order, other: Order) -> bool:
    """Tell whether two orders of one unit stand side by side."""
    if order.asset is not None or not isinstance(order, BlockOrder):
        return False
    if not isinstance(other, BlockOrder):
        return False
    grouped = order.exclusive_group is not None and order.exclusive_group == other.exclusive_group
    return grouped or order.parent == other.id


def _with_parents(orders: Sequence[Order], left_out: list[tuple[str, str]]) -> list[Order]:
    """Drop children, and theirs in turn, whose parent is not among the orders."""
    kept = list(orders)
    while True:
        here = {order.id for order in kept}
        orphans = [
            order
            for order in kept
            if isinstance(order, BlockOrder) and order.parent and order.parent not in here
        ]
        if not orphans:
            return kept
        left_out += [(order.id, f"its parent {order.parent} is not cleared") for order in orphans]
        kept = [order for order in kept if order not in orphans]


def _order(row: BookOrder, context: OrderContext, problems: list[Problem]) -> Order | None:
    kept = json.loads(row.terms)
    terms = {name: value for name, value in kept["terms"].items() if name != "asset_to"}
    if "exclusive_group" in terms:  # a group is its party's own
        terms["exclusive_group"] = f"{row.participant}/{terms['exclusive_group']}"
    fields = {**terms, "id": row.id, "kind": kept["kind"], "participant": row.participant}
    for name in ("bus", "buses", "bus_to", "participant_to"):
        if name in kept:
            fields[name] = kept[name]
    if kept.get("element"):
        fields["asset"] = kept["element"]
    order = order_from_plain(fields, row.number, context, problems)
    if order is None:
        return None
    # to the second, as study folders write instants
    received = parse_utc(row.received_at).replace(microsecond=0)
    return replace(order, submitted_at=received)


def restate(plan: DayPlan, orders: Sequence[Order], rows: Sequence[BookOrder]) -> Booked:
    """Return day-ahead orders with the terms that were handed in for an intraday round.

    Parameters
    ----------
    plan : DayPlan
        The day.
    orders : sequence of Order
        The day-ahead orders, with terms for the whole day.
    rows : sequence of BookOrder
        What stands for the round; terms for the whole day, too.

    Returns
    -------
    Booked
        Orders that keep the id of the day-ahead one, for its positions and trades are theirs; and
        why others are left out: they restate nothing of their party.
    """
    context = context_of(plan.network, len(plan.periods))
    standing = {order.asset: order for order in orders if order.asset and is_traded_again(order)}
    found: dict[str, tuple[str, Order]] = {}
    left_out: list[tuple[str, str]] = []
    for row in rows:
        problems: list[Problem] = []
        order = _order(row, context, problems)
        mine = None if order is None else standing.get(order.asset or "")
        if order is None or problems:
            left_out.append((row.id, "; ".join(problem.what for problem in problems)))
        elif mine is None or mine.participant != order.participant:
            left_out.append((row.id, "its party has no day-ahead position of the asset"))
        elif type(mine) is not type(order):
            left_out.append((row.id, f"the day-ahead order {mine.id} is of another kind"))
        else:
            if mine.id in found:
                left_out.append((found[mine.id][0], f"replaced by {row.id}"))
            found[mine.id] = (row.id, replace(order, id=mine.id))
    return Booked(
        orders=tuple(order for _, (_, order) in sorted(found.items())),
        left_out=tuple(sorted(left_out)),
    )


def with_booked(offered: Sequence[Order], booked: Booked) -> tuple[Order, ...]:
    """Let the orders of the book speak for their elements; sorted by id."""
    spoken_for = {order.asset for order in booked.orders if order.asset is not None}
    kept = [order for order in offered if order.asset not in spoken_for]
    return tuple(sorted([*kept, *booked.orders], key=lambda order: order.id))


def keep_booked_terms(
    day_ahead: Sequence[Order], later: Sequence[Order], first: int
) -> tuple[Order, ...]:
    """Give orders of the book their own terms for the periods that remain.

    Parameters
    ----------
    day_ahead : sequence of Order
        With the terms that were handed in.
    later : sequence of Order
        The orders of an intraday round, the policy's terms in all of them.
    first : int
        Position of the round's first period in the day.
    """
    stated = {order.id: order for order in day_ahead if order.id.startswith(BOOKED)}

    def own(order: Order) -> Order:
        mine = stated.get(order.id)
        if not isinstance(mine, GenerationOrder | DemandOrder):
            return order  # the policy's, or a storage, whose terms the round keeps
        steps = tuple(
            PriceStep(p_mw=step.p_mw[first:], price_eur_per_mwh=step.price_eur_per_mwh[first:])
            for step in mine.steps
        )
        return replace(
            mine, steps=steps, p_mw_min=mine.p_mw_min[first:], submitted_at=order.submitted_at
        )

    return tuple(own(order) for order in later)
