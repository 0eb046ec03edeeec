"""Generation, demand and bilateral orders: decided period by period, by their price."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingCase
from data.records.order import BilateralOrder, DemandOrder, GenerationOrder, Order, kind_of
from data.units import AWARD_TICK_MW
from opf.column_builder import asset_tan_phi
from opf.explanations.degenerate import price_range
from opf.explanations.published import Published
from opf.explanations.records import (
    LimitKey,
    OrderExplanation,
    PeriodOutcome,
    PriceLine,
    PriceRange,
    ReasonCode,
    Size,
    Threshold,
)

Floats = NDArray[np.float64]
StepOrder = GenerationOrder | DemandOrder | BilateralOrder

# Gaps below this share of the price are ties: what ticks and the KKT tolerance leave open.
TIE_SHARE: Final = 2e-5
# What rounding to ticks may take from an award [MW].
ROUNDING_MW: Final = 2.5 * AWARD_TICK_MW
# Parts below this are no reason [EUR/MWh].
NAMED_PART: Final = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """One order against the prices, shape (periods,) each; ``gap`` > 0 is out of the money."""

    offered_mw: Floats
    awarded_mw: Floats
    limit_price: Floats
    market_price: Floats
    reactive: Floats
    gap: Floats
    cut: NDArray[np.bool_]
    rejected: NDArray[np.bool_]

    def deciding_period(self) -> int | None:
        """Return the period to speak of.

        The most favourable of those without any award, else where most was cut, else where the
        order was closest to being cut; None where nothing was offered.
        """
        offered = self.offered_mw > 0.5 * AWARD_TICK_MW
        if self.rejected.any():
            return int(np.argmin(np.where(self.rejected, self.gap, np.inf)))
        if self.cut.any():
            return int(np.argmax(np.where(self.cut, self.offered_mw - self.awarded_mw, -np.inf)))
        if offered.any():
            return int(np.argmax(np.where(offered, self.gap, -np.inf)))
        return None


def bus_weights(order: Order) -> dict[int, float]:
    """Weights by which bus prices make the price of an order."""
    if isinstance(order, BilateralOrder):
        weights = {order.bus_to: 1.0}
        weights[order.buses[0][0]] = weights.get(order.buses[0][0], 0.0) - 1.0
        return weights
    return dict(order.buses)


def reactive_worth(case: ClearingCase, order: Order, price_q: Floats) -> Floats:
    """What the reactive power that comes with one MW of an order adds to its price [EUR/MWh].

    A withdrawal with a fixed power factor pays for its Mvar. A power factor range is worth to the
    order the better of its two ends, as far as its own bounds admit any.

    Parameters
    ----------
    price_q : ndarray, shape (periods,)
        Share-weighted DLMP_Q [EUR/Mvarh].
    """
    if isinstance(order, BilateralOrder):
        return np.zeros(len(price_q))
    if order.reactive is None:
        if isinstance(order, GenerationOrder):
            return np.zeros(len(price_q))
        return np.asarray(asset_tan_phi(case, order) * price_q)
    if order.reactive.power_factor_min is None:
        return np.zeros(len(price_q))
    tan = float(np.tan(np.arccos(order.reactive.power_factor_min)))
    most, least = order.reactive.q_mvar_max, order.reactive.q_mvar_min
    up = np.where(np.asarray(np.inf if most is None else most) > 0, tan, 0.0)
    down = np.where(np.asarray(-np.inf if least is None else least) < 0, tan, 0.0)
    worth = np.maximum(np.maximum(up * price_q, -down * price_q), 0.0)
    return np.asarray(worth if isinstance(order, GenerationOrder) else -worth)


def _limit_prices(order: StepOrder, awarded_mw: Floats) -> tuple[Floats, Floats]:
    """Return the offered power and the price of the first MW not awarded, else of the last."""
    if isinstance(order, BilateralOrder):
        return order.p_mw, order.price_eur_per_mwh
    filled = np.cumsum([step.p_mw for step in order.steps], axis=0)
    price = np.array([step.price_eur_per_mwh for step in order.steps])
    used = np.array([step.p_mw for step in order.steps]) > 0.5 * AWARD_TICK_MW
    left = used & (filled > awarded_mw + 0.5 * AWARD_TICK_MW)
    last = len(order.steps) - 1 - np.argmax(used[::-1], axis=0)
    step = np.where(left.any(axis=0), np.argmax(left, axis=0), last)
    return filled[-1], np.take_along_axis(price, step[None, :], axis=0)[0]


def weigh_steps(published: Published, order: StepOrder) -> StepOutcome:
    """Set the price of an order against the prices at its buses, in every period."""
    award, prices = published.awards[order.id], published.result.prices
    given = award.injection_mw[0] if isinstance(order, BilateralOrder) else award.injection_mw
    awarded = np.abs(given if given.ndim == 1 else given.sum(axis=0))
    offered, limit_price = _limit_prices(order, awarded)
    weights = bus_weights(order)
    rows = [published.row_of[bus] for bus in weights]
    price_q = np.array(list(weights.values())) @ prices.dlmp_q_eur_per_mvarh[rows]
    reactive = reactive_worth(published.case, order, price_q)
    market_price = published.mean_price(weights) + reactive
    sells = isinstance(order, GenerationOrder)
    cut = offered - awarded > ROUNDING_MW
    return StepOutcome(
        offered_mw=offered,
        awarded_mw=awarded,
        limit_price=limit_price,
        market_price=market_price,
        reactive=reactive,
        gap=limit_price - market_price if sells else market_price - limit_price,
        cut=cut,
        rejected=cut & (awarded <= 0.5 * AWARD_TICK_MW),
    )


def blocking_limit(
    lines: tuple[PriceLine, ...], gap: float, *, sells: bool, tie: float
) -> tuple[ReasonCode, LimitKey | None]:
    """Tell whether limits took from the price what the order lacks, and which one most of it.

    An order that is marginal without one is what some limit needs no more of: the one with the
    largest part.
    """
    against = [
        line
        for line in lines
        if line.cause == "limit" and (-1 if sells else 1) * line.part_eur_per_mwh > NAMED_PART
    ]
    taken = sum(abs(line.part_eur_per_mwh) for line in against)
    if against and gap - taken <= tie:
        return "binding_element", against[0].key
    if gap > tie:
        return "price", None
    moved = [line for line in lines if line.cause == "limit"]
    largest = moved[0] if moved and abs(moved[0].part_eur_per_mwh) > NAMED_PART else None
    return "marginal", None if largest is None else largest.key


def explain_steps(published: Published, order: StepOrder) -> OrderExplanation:
    """Explain a generation, demand or bilateral order by the published prices alone."""
    award, outcome = published.awards[order.id], weigh_steps(published, order)
    h, t = published.case.periods.mtu_h, outcome.deciding_period()
    blank = OrderExplanation(
        order=order.id,
        kind=kind_of(order),
        status=award.status,
        reason="nothing_offered",
        surplus_eur=award.surplus_eur,
        offered_mwh=h * float(outcome.offered_mw.sum()),
        awarded_mwh=h * float(outcome.awarded_mw.sum()),
        deciding_period=t,
        limit_price_eur_per_mwh=None,
        market_price_eur_per_mwh=None,
        lines=(),
    )
    if t is None:
        return blank
    sells = isinstance(order, GenerationOrder)
    lines = published.lines(bus_weights(order), t)
    if outcome.reactive[t]:
        worth = PriceLine(cause="reactive", part_eur_per_mwh=float(outcome.reactive[t]))
        lines = (*lines[:2], worth, *lines[2:])
    reason: ReasonCode
    reason, binding = "accepted", None
    if outcome.cut.any():
        reason, binding = _blocked(outcome, lines, t, sells=sells)
    return dataclasses.replace(
        blank,
        reason=reason,
        binding=binding,
        limit_price_eur_per_mwh=float(outcome.limit_price[t]),
        market_price_eur_per_mwh=float(outcome.market_price[t]),
        lines=tuple(line for line in lines if line.cause != "limit" or line.part_eur_per_mwh),
        threshold=_threshold(outcome, sells=sells) if reason != "marginal" else None,
        size=_size(published, order, outcome),
    )


def _blocked(
    outcome: StepOutcome, lines: tuple[PriceLine, ...], t: int, *, sells: bool
) -> tuple[ReasonCode, LimitKey | None]:
    """Reason and limit in one period."""
    price, own = float(outcome.market_price[t]), float(outcome.limit_price[t])
    tie = TIE_SHARE * max(1.0, abs(price), abs(own))
    return blocking_limit(lines, float(outcome.gap[t]), sells=sells, tie=tie)


def _threshold(outcome: StepOutcome, *, sells: bool) -> Threshold | None:
    """The price at which the most favourable period without award turns."""
    if not outcome.rejected.any():
        return None
    t = outcome.deciding_period()
    assert t is not None
    return Threshold(
        direction="at_most" if sells else "at_least",
        price_eur_per_mwh=float(outcome.market_price[t]),
        period=t,
    )


def _size(published: Published, order: StepOrder, outcome: StepOutcome) -> Size | None:
    """What was awarded where most was cut from an award: that size is accepted in full."""
    in_part = outcome.cut & ~outcome.rejected
    if not in_part.any():
        return None
    t = int(np.argmax(np.where(in_part, outcome.offered_mw - outcome.awarded_mw, -np.inf)))
    lines = published.lines(bus_weights(order), t)
    _, binding = _blocked(outcome, lines, t, sells=isinstance(order, GenerationOrder))
    return Size(p_mw=float(outcome.awarded_mw[t]), period=t, binding=binding)


def step_periods(published: Published, order: StepOrder) -> tuple[PeriodOutcome, ...]:
    """List every period in which the order offered or asked for something."""
    outcome = weigh_steps(published, order)
    return tuple(
        PeriodOutcome(
            period=t,
            offered_mw=float(outcome.offered_mw[t]),
            awarded_mw=float(outcome.awarded_mw[t]),
            limit_price_eur_per_mwh=float(outcome.limit_price[t]),
            market_price_eur_per_mwh=float(outcome.market_price[t]),
            gap_eur_per_mwh=float(outcome.gap[t]),
        )
        for t in np.flatnonzero(outcome.offered_mw > 0.5 * AWARD_TICK_MW).tolist()
    )


def sharpen_threshold(
    published: Published, order: StepOrder, explained: OrderExplanation
) -> OrderExplanation:
    """Move the threshold to the end of the price range that decides, where prices are degenerate.

    An offer that has nothing yet is accepted below the lowest price that the schedule admits, a bid
    above the highest one.
    """
    threshold = explained.threshold
    if threshold is None or threshold.period is None:
        return explained
    t, tan = threshold.period, 0.0
    worth = float(weigh_steps(published, order).reactive[t])
    if isinstance(order, DemandOrder) and order.reactive is None:
        tan, worth = float(asset_tan_phi(published.case, order)[t]), 0.0
    found = price_range(published, bus_weights(order), t, tan)
    if found is None or not found.degenerate:
        return explained
    low, high = found.low_eur_per_mwh + worth, found.high_eur_per_mwh + worth
    return dataclasses.replace(
        explained,
        threshold=dataclasses.replace(
            threshold,
            price_eur_per_mwh=low if threshold.direction == "at_most" else high,
            price_range=PriceRange(low_eur_per_mwh=low, high_eur_per_mwh=high),
        ),
    )
