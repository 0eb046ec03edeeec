"""What an integer order earns, or would have earned, at given prices.

No accepted order may lose (paradoxical acceptance); a rejected one that would have gained is listed
(paradoxical rejection), unless its own parent or exclusive group kept it out. Reactive power that
follows the active power counts at its own price: an order that sets the price gains nothing and
loses nothing by this count, although only its active energy is paid.

An order that is paid as bid (``pay`` other than ``dlmp``) gets its price whatever the bus price is:
it can neither lose nor miss anything at that price, so both judgements leave it out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import (
    Award,
    ClearingCase,
    ClearingResult,
    IntegerReport,
    Prices,
)
from data.records.order import AT_BUS_PRICE, BlockOrder, CurtailOrder
from opf.column_builder import asset_tan_phi
from opf.integer_choice import integer_orders
from opf.integer_columns import reduction_bounds

Floats = NDArray[np.float64]

# Money that a decision on ticks may miss by rounding [EUR].
ROUNDING_EUR: Final = 1e-6
# Accuracy of prices relative to the largest one in play: what the certificate asks for.
PRICE_ACCURACY: Final = 1e-6


BusPrices = Mapping[int, tuple[Floats, Floats]]


def prices_by_bus(case: ClearingCase, prices: Prices) -> BusPrices:
    """Return (DLMP_P, DLMP_Q) of every bus, shape (periods,) each [EUR/MWh, EUR/Mvarh]."""
    return {
        int(bus): (prices.dlmp_p_eur_per_mwh[row], prices.dlmp_q_eur_per_mvarh[row])
        for row, bus in enumerate(case.network.buses.index)
    }


def worth_per_mwh(case: ClearingCase, order: BlockOrder | CurtailOrder, at: BusPrices) -> Floats:
    """Return what one MWh of an order is worth to the grid, shape (periods,) [EUR/MWh].

    The share-weighted DLMP of its buses, with the reactive power that follows a curtailed load.
    """
    tan = asset_tan_phi(case, order) if isinstance(order, CurtailOrder) else 0.0
    return np.asarray(sum(share * (at[bus][0] + tan * at[bus][1]) for bus, share in order.buses))


def gain_eur(award: Award, at: BusPrices, mtu_h: float) -> float:
    """Return an order's surplus with its reactive power at the reactive price [EUR]."""
    reactive = sum(
        float(at[bus][1] @ award.injection_mvar[row]) for row, bus in enumerate(award.buses)
    )
    return award.surplus_eur + mtu_h * reactive


def allowed_loss_eur(award: Award, mtu_h: float, price_scale: float) -> float:
    """Return the surplus below zero that rounding and the accuracy of prices explain [EUR]."""
    energy = mtu_h * float(np.abs(award.injection_mw).sum())
    return ROUNDING_EUR + PRICE_ACCURACY * price_scale * energy


def paradoxically_accepted(
    case: ClearingCase, awards: Sequence[Award], at: BusPrices, price_scale: float
) -> tuple[str, ...]:
    """Return the accepted integer orders that lose, the greatest loss first."""
    integer = {order.id for order in integer_orders(case) if order.pay == AT_BUS_PRICE}
    h = case.periods.mtu_h
    losing = [
        (gain, award.order)
        for award in awards
        if award.order in integer
        and (gain := gain_eur(award, at, h)) < -allowed_loss_eur(award, h, price_scale)
    ]
    return tuple(order for _, order in sorted(losing))


def missed_surplus_eur(
    case: ClearingCase,
    order: BlockOrder | CurtailOrder,
    awards: Mapping[str, Award],
    at: BusPrices,
) -> float:
    """Return what a rejected order would gain at these prices, 0 where its family keeps it out."""
    price = worth_per_mwh(case, order, at)
    if isinstance(order, CurtailOrder):
        return best_runs_eur(case, order, price)
    if order.parent is not None and _ratio(awards[order.parent]) < order.acceptance_min:
        return 0.0
    if order.parent is not None and _ratio(awards[order.parent]) <= 0.0:
        return 0.0
    if order.exclusive_group is not None:
        taken = sum(
            _ratio(awards[other.id])
            for other in case.orders
            if isinstance(other, BlockOrder) and other.exclusive_group == order.exclusive_group
        )
        if taken > 1.0 - max(order.acceptance_min, 1e-9):
            return 0.0
    h = case.periods.mtu_h
    return max(0.0, h * float(order.profile_mw @ (price - order.price_eur_per_mwh)))


def _ratio(award: Award) -> float:
    return float(award.accepted_share.max(initial=0.0))


def run_value_eur(
    order: CurtailOrder, bounds: tuple[Floats, Floats], price: Floats, first: int, last: int
) -> float:
    """Return the most that one run can earn at given prices, without the length of a period.

    A reduction sells at the price of its own period and buys its share of rebound at the prices
    after the run.
    """
    least, most = bounds[0][first : last + 1], bounds[1][first : last + 1]
    gain = price[first : last + 1] - order.price_eur_per_mwh[first : last + 1]
    if order.rebound_share and order.rebound_periods:
        after = price[last + 1 : last + 1 + order.rebound_periods]
        gain = gain - order.rebound_share * float(after.mean())
    return float(np.where(gain > 0, most, least) @ gain)


def best_runs_eur(case: ClearingCase, order: CurtailOrder, price: Floats) -> float:
    """Return the most a curtail order can earn at given prices, by dynamic programming [EUR]."""
    size = len(case.periods)
    least, most = reduction_bounds(case, order)
    length = (order.rebound_periods or 0) if order.rebound_share else 0
    longest = order.duration_periods_max or size
    left = order.activations_max or size
    pause = max(order.cooldown_periods, 1)
    # best[k, t]: from period t on with k activations left
    best = np.zeros((left + 1, size + pause + 2))
    for t in range(size - 1, -1, -1):
        best[1:, t] = best[1:, t + 1]
        for last in range(t, min(t + longest, size - length)):
            if least[last] > most[last]:
                break
            if last - t + 1 < order.duration_periods_min:
                continue
            value = run_value_eur(order, (least, most), price, t, last)
            best[1:, t] = np.maximum(best[1:, t], value + best[:-1, last + 1 + pause])
    return case.periods.mtu_h * float(best[left, 0])


def with_search(
    case: ClearingCase, result: ClearingResult, report: IntegerReport, bound_eur: float | None
) -> ClearingResult:
    """Add what the search over the integers found, and name the paradoxically rejected orders."""
    at = prices_by_bus(case, result.prices)
    scale = max(1.0, float(np.abs(result.prices.dlmp_p_eur_per_mwh).max()))
    by_order = {award.order: award for award in result.awards}
    missed = {}
    for order in integer_orders(case):
        if by_order[order.id].status != "rejected" or order.pay != AT_BUS_PRICE:
            continue
        worth = missed_surplus_eur(case, order, by_order, at)
        if worth > ROUNDING_EUR + PRICE_ACCURACY * scale * case.periods.mtu_h * _size_mw(order):
            missed[order.id] = worth
    return dataclasses.replace(
        result,
        awards=tuple(
            dataclasses.replace(
                award,
                status="paradoxically_rejected",
                reason=(
                    f"would have earned {missed[award.order]:.6f} EUR at these prices, but its "
                    "acceptance would change them"
                ),
            )
            if award.order in missed
            else award
            for award in result.awards
        ),
        bound_eur=bound_eur,
        bound_kind="none" if bound_eur is None else "milp",
        integers=dataclasses.replace(report, paradoxically_rejected=tuple(sorted(missed.items()))),
        message=" ".join(text for text in (result.message, report.message) if text),
    )


def _size_mw(order: BlockOrder | CurtailOrder) -> float:
    """Sum of the powers an order offers [MW]."""
    offered = order.profile_mw if isinstance(order, BlockOrder) else order.p_mw_max
    return float(np.abs(offered).sum())
