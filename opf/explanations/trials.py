"""Clear again with one integer order changed: from which price on is it accepted, in which size.

Two prices bound it from the favourable side. The order must not lose money with itself in the
market, so the first is the mean DLMP over its profile where it is in; and the market must not be
worse off with it, so the second is the price at which both cost the same. Both are read from one
more clearing, with the smallest form of the order priced so that it is surely accepted. Two more,
1 % to either side, confirm what follows. Where other choices interfere (a partner that gives way, a
ratio between its minimum and 1), halving the interval between a price that is accepted and one that
is not leads to the turn.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.records.clearing import Award, ClearingCase, ClearingResult
from data.records.order import BlockOrder, CurtailOrder
from opf.clearing import clear_case
from opf.explanations.published import Published, weighted_price
from opf.explanations.replayed import reduction_mw
from opf.integer_columns import reduction_bounds

Floats = NDArray[np.float64]
IntegerOrder = BlockOrder | CurtailOrder

# How far from a named price or size the decision must turn, and the least of it [EUR/MWh].
STEP: Final = 0.01
STEP_MIN_EUR_PER_MWH: Final = 0.01
# The least share of a profile that is tried where the order itself states none.
LEAST_RATIO: Final = 1e-3
# Surely accepted: this far beyond twice the largest price of the market [EUR/MWh].
FAR: Final = 100.0
HALVINGS_MAX: Final = 10


def sells(order: IntegerOrder) -> bool:
    """Whether the order is paid for energy."""
    return isinstance(order, CurtailOrder) or float(order.profile_mw.sum()) > 0


def sold_mw(order: IntegerOrder, award: Award) -> Floats:
    """Power that the order sells at its price, shape (periods,) [MW]; below zero it buys."""
    if isinstance(order, CurtailOrder):
        return reduction_mw(order, award)
    return np.asarray(award.injection_mw.sum(axis=0))


def at_price(order: IntegerOrder, price_eur_per_mwh: float) -> IntegerOrder:
    """Return the order at one price in all periods."""
    flat = np.full(len(order.price_eur_per_mwh), price_eur_per_mwh)
    return dataclasses.replace(order, price_eur_per_mwh=flat)


def clear_with(case: ClearingCase, order: IntegerOrder) -> ClearingResult | None:
    """Clear a case with one order replaced; None where that gives no certified result."""
    orders = tuple(order if other.id == order.id else other for other in case.orders)
    try:
        result = clear_case(dataclasses.replace(case, orders=orders))
    except InputError:
        return None
    return result if result.status.startswith("certified") else None


def accepted_share(case: ClearingCase, order: IntegerOrder) -> float:
    """Largest share that an order gets when the market clears with it; NaN without a clearing."""
    result = clear_with(case, order)
    if result is None:
        return float("nan")
    award = next(award for award in result.awards if award.order == order.id)
    return float(award.accepted_share.max(initial=0.0))


def find_turn(published: Published, order: IntegerOrder) -> tuple[float, bool] | None:
    """Find the price from which an order is accepted, and whether trying it confirmed that.

    Parameters
    ----------
    published : Published
        A clearing that refused the order.
    order : BlockOrder or CurtailOrder
        The order.

    Returns
    -------
    (price, confirmed) or None
        Flat price in all periods [EUR/MWh]; None where no price would do.
    """
    case = published.case
    favour = -1.0 if sells(order) else 1.0
    guess = _bounding_price(published, order)
    if guess is None:
        return None
    step = favour * _step(guess)
    inside = accepted_share(case, at_price(order, guess + step)) > 0
    outside = accepted_share(case, at_price(order, guess - step)) > 0
    if inside and not outside:
        return guess, True
    taken = guess + step if inside else favour * _far(published)
    refused = guess - step if not outside else _asked(order)
    if not inside and not accepted_share(case, at_price(order, taken)) > 0:
        return None
    if outside and accepted_share(case, at_price(order, refused)) > 0:
        return guess, False
    for _ in range(HALVINGS_MAX):
        middle = 0.5 * (taken + refused)
        if abs(taken - refused) <= 2.0 * _step(middle):
            break
        if accepted_share(case, at_price(order, middle)) > 0:
            taken = middle
        else:
            refused = middle
    turn = 0.5 * (taken + refused)
    return turn, abs(taken - refused) <= 2.0 * _step(turn) * (1.0 + 1e-9)


def _step(price: float) -> float:
    return max(STEP * abs(price), STEP_MIN_EUR_PER_MWH)


def _far(published: Published) -> float:
    return 2.0 * float(np.nanmax(np.abs(published.result.prices.dlmp_p_eur_per_mwh))) + FAR


def _asked(order: IntegerOrder) -> float:
    """Mean price that an order states over its profile [EUR/MWh]."""
    power = order.p_mw_max if isinstance(order, CurtailOrder) else np.abs(order.profile_mw)
    return float(order.price_eur_per_mwh @ power / power.sum())


def _smallest(published: Published, order: IntegerOrder) -> IntegerOrder:
    """The least an order can be accepted with, priced so that it surely is."""
    far = _far(published)
    if isinstance(order, CurtailOrder):
        least, _ = reduction_bounds(published.case, order)
        one_run = dataclasses.replace(
            order,
            p_mw_max=np.minimum(np.maximum(least, LEAST_RATIO * order.p_mw_max), order.p_mw_max),
            duration_periods_max=order.duration_periods_min,
            activations_max=1,
        )
        return at_price(one_run, -far)
    ratio = max(order.acceptance_min, LEAST_RATIO)
    small = dataclasses.replace(order, profile_mw=ratio * order.profile_mw, acceptance_min=1.0)
    return at_price(small, -far if sells(order) else far)


def _bounding_price(published: Published, order: IntegerOrder) -> float | None:
    """The less favourable of both bounds; None where the order stays out at any price."""
    small = _smallest(published, order)
    result = clear_with(published.case, small)
    if result is None:
        return None
    award = next(award for award in result.awards if award.order == order.id)
    sold = sold_mw(small, award)
    if not sold.any():
        return None
    h = published.case.periods.mtu_h
    price = weighted_price(result.prices, published.row_of, dict(order.buses))
    no_loss = float(award.injection_mw.sum(axis=0) @ price / sold.sum())
    own_cost = h * float(small.price_eur_per_mwh @ sold)
    without = published.result.objective_eur + published.result.penalty_eur
    others = result.objective_eur + result.penalty_eur - own_cost
    no_worse = (without - others) / (h * float(sold.sum()))
    return min(no_loss, no_worse) if sells(order) else max(no_loss, no_worse)


def find_size(
    published: Published, order: BlockOrder, share: float | None = None
) -> tuple[float, bool] | None:
    """Find the share of a block's profile that is accepted, and whether trying it confirmed that.

    Parameters
    ----------
    share : float, optional
        The share awarded; left out, the market is cleared with the block's minimum relaxed.

    Returns
    -------
    (share, confirmed) or None
        None where no share is accepted.
    """
    if share is None:
        relaxed = dataclasses.replace(order, acceptance_min=LEAST_RATIO)
        share = accepted_share(published.case, relaxed)
    if not share > 0:
        return None

    def whole(factor: float) -> bool:
        profile = factor * share * order.profile_mw
        block = dataclasses.replace(order, profile_mw=profile, acceptance_min=1.0)
        return accepted_share(published.case, block) > 0

    return share, whole(1.0 - STEP) and not whole(1.0 + STEP)
