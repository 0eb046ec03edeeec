"""Block and curtail orders: decided as a whole, so what would have been accepted is tried.

The threshold of a refused order is the price at which it would just earn nothing with itself in the
market: the market is cleared once more with the smallest form of the order, priced so that it is
surely accepted, and the mean DLMP over its profile is read there. Up to that price its acceptance
saves more than it costs, because the cost of a convex market rises with the slope of its price;
above it the order would lose money. Two more clearings, 1 % to either side, confirm it or not.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.records.clearing import Award, ClearingCase, ClearingResult
from data.records.order import BlockOrder, CurtailOrder, kind_of
from opf.clearing import clear_case
from opf.explanations.families import family_reason, profile_surplus_eur
from opf.explanations.published import Published, publish
from opf.explanations.records import OrderExplanation, PeriodOutcome, ReasonCode, Size, Threshold
from opf.explanations.replayed import reduction_mw
from opf.explanations.steps import NAMED_PART, TIE_SHARE, blocking_limit, bus_weights
from opf.integer_columns import reduction_bounds

Floats = NDArray[np.float64]
IntegerOrder = BlockOrder | CurtailOrder

STEP: Final = 0.01
# A smallest ratio for a block that asks for none: a tenth of a percent of its profile.
LEAST_RATIO: Final = 1e-3
# Surely accepted: so far beyond every price of the market [EUR/MWh].
FAR: Final = 100.0
NOT_CONFIRMED: Final = (
    "clearing again 1 % to either side of that price does not flip the decision there: take it as "
    "the mean DLMP with the order in, not as the exact turn"
)


def explain_integer(published: Published, order: IntegerOrder) -> OrderExplanation:
    """Explain a block or curtail order; a refused one by clearing again with it changed."""
    award = published.awards[order.id]
    explained = _by_prices(published, order)
    if award.status == "accepted":
        return explained
    if award.status == "partial":
        assert isinstance(order, BlockOrder)
        return _with_size(published, order, explained, float(award.accepted_share.max()))
    if explained.reason in ("parent_rejected", "group_partner_accepted"):
        return explained
    if award.status == "paradoxically_rejected" and isinstance(order, BlockOrder):
        explained = _with_relaxed_size(published, order, explained)
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
    sells = isinstance(order, CurtailOrder) or float(order.profile_mw.sum()) > 0
    reason, other, binding = _reason(award), "", None
    family = family_reason(published, order)
    if family is not None:
        reason, other = family.code, family.other_order
    elif reason == "price":
        gap = asked - price if sells else price - asked
        tie = TIE_SHARE * max(1.0, abs(price), abs(asked))
        reason, binding = blocking_limit(lines, gap, sells=sells, tie=tie)
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
        notes=_notes(published, order, award),
    )


def _reason(award: Award) -> ReasonCode:
    if award.status == "accepted":
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


def clear_with(case: ClearingCase, order: IntegerOrder) -> ClearingResult | None:
    """Clear a case with one order replaced; None where that gives no certified result."""
    orders = tuple(order if other.id == order.id else other for other in case.orders)
    try:
        result = clear_case(dataclasses.replace(case, orders=orders))
    except InputError:
        return None
    return result if result.status.startswith("certified") else None


def takes_part(case: ClearingCase, order: IntegerOrder) -> bool | None:
    """Tell whether an order gets anything when the market clears with it; None: no clearing."""
    result = clear_with(case, order)
    if result is None:
        return None
    award = next(award for award in result.awards if award.order == order.id)
    return bool(award.accepted_share.max(initial=0.0) > 0)


def at_price(order: IntegerOrder, price_eur_per_mwh: float) -> IntegerOrder:
    """Return the order at one price in all periods."""
    flat = np.full(len(order.price_eur_per_mwh), price_eur_per_mwh)
    return dataclasses.replace(order, price_eur_per_mwh=flat)


def _smallest(published: Published, order: IntegerOrder) -> IntegerOrder:
    """The least an order can be accepted with, priced so that it surely is."""
    prices = published.result.prices.dlmp_p_eur_per_mwh
    far = 2.0 * float(np.nanmax(np.abs(prices))) + FAR
    if isinstance(order, CurtailOrder):
        least, _ = reduction_bounds(published.case, order)
        most = np.where(order.p_mw_max > 0, np.maximum(least, LEAST_RATIO * order.p_mw_max), 0.0)
        one_run = dataclasses.replace(
            order,
            p_mw_max=np.minimum(most, order.p_mw_max),
            duration_periods_max=order.duration_periods_min,
            activations_max=1,
        )
        return at_price(one_run, -far)
    ratio = max(order.acceptance_min, LEAST_RATIO)
    small = dataclasses.replace(order, profile_mw=ratio * order.profile_mw, acceptance_min=1.0)
    return at_price(small, -far if float(order.profile_mw.sum()) > 0 else far)


def earned_price(published: Published, order: IntegerOrder) -> float | None:
    """Mean DLMP per MWh that an order sells or buys, in a market that it takes part in.

    Of a curtail order what its rebound buys is taken off.
    """
    award = published.awards[order.id]
    if not award.accepted_share.any():
        return None
    price = published.mean_price(bus_weights(order))
    sold = _power(order, award)
    net = sold if isinstance(order, BlockOrder) else award.injection_mw.sum(axis=0)
    return float(net @ price / sold.sum())


def _with_threshold(
    published: Published, order: IntegerOrder, explained: OrderExplanation
) -> OrderExplanation:
    """Find the price that would have been accepted, and try it."""
    small = _smallest(published, order)
    result = clear_with(published.case, small)
    case = published.case
    changed = tuple(small if other.id == small.id else other for other in case.orders)
    price = None
    if result is not None:
        in_market = publish(dataclasses.replace(case, orders=changed), result)
        price = earned_price(in_market, small)
    if price is None:
        note = "cleared again with a price that any market would take, it is still left out"
        return dataclasses.replace(explained, notes=(*explained.notes, note))
    sells = isinstance(order, CurtailOrder) or float(order.profile_mw.sum()) > 0
    step = (-1 if sells else 1) * max(STEP * abs(price), STEP)
    inside = takes_part(case, at_price(order, price + step))
    outside = takes_part(case, at_price(order, price - step))
    confirmed = inside is True and outside is False
    notes = explained.notes if confirmed else (*explained.notes, NOT_CONFIRMED)
    return dataclasses.replace(
        explained,
        threshold=Threshold(
            direction="at_most" if sells else "at_least",
            price_eur_per_mwh=price,
            period=None,
            confirmed=confirmed,
        ),
        notes=notes,
    )


def _with_relaxed_size(
    published: Published, order: BlockOrder, explained: OrderExplanation
) -> OrderExplanation:
    """Find the share of a paradoxically rejected block that would have been accepted."""
    relaxed = dataclasses.replace(order, acceptance_min=LEAST_RATIO)
    result = clear_with(published.case, relaxed)
    share = 0.0
    if result is not None:
        award = next(award for award in result.awards if award.order == order.id)
        share = float(award.accepted_share.max(initial=0.0))
    if share <= 0.0:
        return explained
    return _with_size(published, order, explained, share)


def _with_size(
    published: Published, order: BlockOrder, explained: OrderExplanation, share: float
) -> OrderExplanation:
    """Try the share of the profile, as a block of that size that takes all or nothing."""

    def whole(factor: float) -> bool | None:
        scaled = dataclasses.replace(
            order, profile_mw=factor * share * order.profile_mw, acceptance_min=1.0
        )
        return takes_part(published.case, scaled)

    confirmed = whole(1.0 - STEP) is True and whole(1.0 + STEP) is False
    note = () if confirmed else ("as a block of its own that size does not flip the decision",)
    return dataclasses.replace(
        explained,
        size=Size(
            p_mw=share * float(np.abs(order.profile_mw).max()),
            period=None,
            share=share,
            confirmed=confirmed,
        ),
        notes=(*explained.notes, *note),
    )
