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
from data.records.order import DemandOrder, GenerationOrder, Order, PriceStep
from data.study.order_fields import OrderContext, context_of
from data.study.read_orders import order_from_plain
from dso.cycles.plan import DayPlan
from dso.cycles.stages import Desk
from dso.store.book import BookKey, BookOrder, close_book

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
    plan = desk.plan
    key = BookKey(
        feeder=plan.feeder.id, day=plan.delivery.day.isoformat(), gate=plan.day_ahead_gate
    )
    try:
        with desk.services.store.transaction() as connection:
            rows = close_book(connection, key)
    except ValueError as error:
        remedy = "run the day once its gate is passed"
        raise InputError([Problem(where="orders", what=str(error), remedy=remedy)]) from error
    return read_booked(plan, rows)


def read_booked(plan: DayPlan, rows: Sequence[BookOrder]) -> Booked:
    """Return the orders of a closed book as records."""
    context = context_of(plan.network, len(plan.periods))
    found: dict[str, Order] = {}
    left_out: list[tuple[str, str]] = []
    for row in rows:
        problems: list[Problem] = []
        order = _order(row, context, problems)
        if order is None or problems:
            left_out.append((row.id, "; ".join(problem.what for problem in problems)))
            continue
        element = str(order.asset)
        if element in found:
            left_out.append((found[element].id, f"replaced by {row.id}"))
        found[element] = order
    return Booked(
        orders=tuple(sorted(found.values(), key=lambda order: order.id)),
        left_out=tuple(sorted(left_out)),
    )


def _order(row: BookOrder, context: OrderContext, problems: list[Problem]) -> Order | None:
    kept = json.loads(row.terms)
    fields = {
        **kept["terms"],
        "id": row.id,
        "kind": kept["kind"],
        "participant": row.participant,
        "bus": kept["bus"],
        "asset": kept["element"],
    }
    order = order_from_plain(fields, row.number, context, problems)
    if order is None:
        return None
    # to the second, as study folders write instants
    received = parse_utc(row.received_at).replace(microsecond=0)
    return replace(order, submitted_at=received)


def with_booked(offered: Sequence[Order], booked: Booked) -> tuple[Order, ...]:
    """Let the orders of the book speak for their elements; sorted by id."""
    spoken_for = {order.asset for order in booked.orders}
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
