"""Block and curtail orders: decided as a whole, so what would have been accepted is tried.

The price from which a refused order is accepted is found by clearing again, and so is the size
(`opf.explanations.trials`).
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import Award, ClearingCase
from data.records.order import BlockOrder, CurtailOrder, kind_of
from opf.explanations.families import family_reason, profile_surplus_eur
from opf.explanations.published import Published
from opf.explanations.records import OrderExplanation, PeriodOutcome, ReasonCode, Size, Threshold
from opf.explanations.replayed import reduction_mw
from opf.explanations.steps import NAMED_PART, TIE_SHARE, blocking_limit, bus_weights
from opf.explanations.trials import IntegerOrder, find_size, find_turn, sells
from opf.integer_columns import reduction_bounds

Floats = NDArray[np.float64]

# A ratio this close to 1 is all of a block but for rounding.
WHOLE_SHARE: Final = 1e-6
NOT_CONFIRMED: Final = (
    "clearing again 1 % to either side of that price does not flip the decision there: take it as "
    "the mean DLMP with the order in, not as the exact turn"
)
SIZE_NOT_CONFIRMED: Final = (
    "as a block of its own that takes all or nothing, 1 % less or more of that size does not flip "
    "the decision"
)
NEVER_TAKEN: Final = "cleared again with a price that any market would take, it is still left out"
NO_RUN_FITS: Final = (
    "no run of it fits: its duration, its rebound within the horizon and the power of its load"
)


def explain_integer(published: Published, order: IntegerOrder) -> OrderExplanation:
    """Explain a block or curtail order; a refused one by clearing again with it changed."""
    award = published.awards[order.id]
    explained = _by_prices(published, order)
    if explained.reason == "accepted":
        return explained
    if award.status == "partial":
        assert isinstance(order, BlockOrder)
        return _with_size(published, order, explained, float(award.accepted_share.max()))
    if explained.reason in ("parent_rejected", "group_partner_accepted", "not_feasible"):
        return explained
    if award.status == "paradoxically_rejected" and isinstance(order, BlockOrder):
        explained = _with_size(published, order, explained, None)
    return _with_threshold(published, order, explained)


def _power(order: IntegerOrder, award: Award) -> Floats:
    """Powers that an order sells at its price, shape (periods,) [MW]; below zero it buys."""
    if isinstance(order, CurtailOrder):
        return reduction_mw(order, award)
    return order.profile_mw


def _by_prices(published: Published, order: IntegerOrder) -> OrderExplanation:
    """What the published prices say of an order over its profile."""
    award, h = published.awards[order.id], published.case.periods.mtu_h
    power = np.abs(_power(order, award))
    offered = power
    if isinstance(order, CurtailOrder):
        offered = order.p_mw_max
        power = power if power.any() else offered
    weight = power / max(float(power.sum()), 1e-12)
    by_bus = bus_weights(order)
    lines = published.mean_lines(by_bus, weight)
    price = float(published.mean_price(by_bus) @ weight)
    asked = float(order.price_eur_per_mwh @ weight)
    reason, binding = _reason(award), None
    notes = _notes(published, order, award)
    if isinstance(order, CurtailOrder) and not fits(published.case, order):
        reason, notes = "not_feasible", (*notes, NO_RUN_FITS)
    elif isinstance(order, CurtailOrder) and order.rebound_share and reason != "accepted":
        notes = (*notes, f"it buys {order.rebound_share:.0%} of its reduction back after a run")
    family = family_reason(published, order)
    other = "" if family is None else family.other_order
    if family is not None and isinstance(order, BlockOrder) and award.status == "rejected":
        if profile_surplus_eur(published, order) > 0:
            reason = family.code
        else:
            notes = (*notes, f"besides, {family.words} {other}")
    if reason == "price" and isinstance(order, BlockOrder):
        gap = asked - price if sells(order) else price - asked
        tie = TIE_SHARE * max(1.0, abs(price), abs(asked))
        reason, binding = blocking_limit(lines, gap, sells=sells(order), tie=tie)
        reason = "price" if reason == "marginal" and award.status == "rejected" else reason
    return OrderExplanation(
        order=order.id,
        kind=kind_of(order),
        status=award.status,
        reason=reason,
        surplus_eur=award.surplus_eur,
        offered_mwh=h * float(offered.sum()),
        awarded_mwh=h * float((power * award.accepted_share).sum())
        if isinstance(order, BlockOrder)
        else h * float(reduction_mw(order, award).sum()),
        deciding_period=None,
        limit_price_eur_per_mwh=asked,
        market_price_eur_per_mwh=price,
        lines=tuple(
            line
            for line in lines
            if line.cause != "limit" or abs(line.part_eur_per_mwh) > NAMED_PART
        ),
        binding=binding,
        periods=_periods(published, order, award),
        other_order=other,
        notes=notes,
    )


def _reason(award: Award) -> ReasonCode:
    whole = float(award.accepted_share.max(initial=0.0)) > 1.0 - WHOLE_SHARE
    if award.status == "accepted" or (award.status == "partial" and whole):
        return "accepted"
    return "paradoxical" if award.status == "paradoxically_rejected" else "price"


def _notes(published: Published, order: IntegerOrder, award: Award) -> tuple[str, ...]:
    """What a paradoxically rejected order would have earned."""
    if award.status != "paradoxically_rejected":
        return ()
    report = published.result.integers
    missed = dict(report.paradoxically_rejected) if report is not None else {}
    if order.id in missed:
        earned = missed[order.id]
    elif isinstance(order, BlockOrder):
        earned = profile_surplus_eur(published, order)
    else:
        return (award.reason,)
    return (f"at the published prices it would have earned {earned:.2f} EUR",)


def _periods(published: Published, order: IntegerOrder, award: Award) -> tuple[PeriodOutcome, ...]:
    """Power, price and DLMP of every period the order speaks of."""
    price = published.mean_price(bus_weights(order))
    if isinstance(order, CurtailOrder):
        offered, awarded = order.p_mw_max, reduction_mw(order, award)
    else:
        offered = np.abs(order.profile_mw)
        awarded = offered * award.accepted_share
    return tuple(
        PeriodOutcome(
            period=t,
            offered_mw=float(offered[t]),
            awarded_mw=float(awarded[t]),
            limit_price_eur_per_mwh=float(order.price_eur_per_mwh[t]),
            market_price_eur_per_mwh=float(price[t]),
            gap_eur_per_mwh=None,
        )
        for t in np.flatnonzero(offered).tolist()
    )


def fits(case: ClearingCase, order: CurtailOrder) -> bool:
    """Whether any run of a curtail order fits: its length, its rebound, what its load draws."""
    least, most = reduction_bounds(case, order)
    possible = (least <= most) & (most > 0)
    after = (order.rebound_periods or 0) if order.rebound_share else 0
    length = order.duration_periods_min
    return any(
        bool(possible[first : first + length].all())
        for first in range(len(possible) - length - after + 1)
    )


def _with_threshold(
    published: Published, order: IntegerOrder, explained: OrderExplanation
) -> OrderExplanation:
    """Find the price that would have been accepted, and try it."""
    turn = find_turn(published, order)
    if turn is None:
        return dataclasses.replace(explained, notes=(*explained.notes, NEVER_TAKEN))
    price, confirmed = turn
    notes = () if confirmed else (NOT_CONFIRMED,)
    return dataclasses.replace(
        explained,
        threshold=Threshold(
            direction="at_most" if sells(order) else "at_least",
            price_eur_per_mwh=price,
            period=None,
            confirmed=confirmed,
        ),
        notes=(*explained.notes, *notes),
    )


def _with_size(
    published: Published, order: BlockOrder, explained: OrderExplanation, share: float | None
) -> OrderExplanation:
    """Add the size that is accepted as a block of its own that takes all or nothing."""
    found = find_size(published, order, share)
    if found is None:
        return explained
    size = Size(
        p_mw=found[0] * float(np.abs(order.profile_mw).max()),
        period=None,
        share=found[0],
        confirmed=found[1],
    )
    notes = explained.notes if found[1] else (*explained.notes, SIZE_NOT_CONFIRMED)
    return dataclasses.replace(explained, size=size, notes=notes)
