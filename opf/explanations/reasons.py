"""A reason in ``orders.csv`` for every order that did not get all it asked for."""

from __future__ import annotations

import dataclasses

import numpy as np

from data.records.clearing import Award, ClearingCase, ClearingResult
from data.records.order import (
    BilateralOrder,
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    ShiftOrder,
    StorageOrder,
)
from data.units import AWARD_TICK_MW
from opf.explanations.cycles import order_price
from opf.explanations.families import family_reason, profile_surplus_eur
from opf.explanations.published import Published, publish
from opf.explanations.records import LimitKey
from opf.explanations.steps import bus_weights, explain_steps, weigh_steps


def with_reasons(case: ClearingCase, result: ClearingResult) -> ClearingResult:
    """Say in one line why each order was not accepted in full, and name the limit that did it.

    Parameters
    ----------
    case : ClearingCase
        The case.
    result : ClearingResult
        Its clearing; awards that say why they are paradoxically rejected keep their words.

    Returns
    -------
    ClearingResult
        With ``reason`` and ``binding_element`` of every award that was refused something; unchanged
        where there are no prices.
    """
    if result.status == "infeasible" or not result.awards:
        return result
    published = publish(case, result)
    return dataclasses.replace(
        result,
        awards=tuple(
            _with_reason(published, published.orders[award.order], award) for award in result.awards
        ),
    )


def _with_reason(published: Published, order: Order, award: Award) -> Award:
    reason, limit = award.reason, None
    match order:
        case GenerationOrder() | DemandOrder() | BilateralOrder():
            if award.status != "accepted":
                reason, limit = _steps(published, order)
        case StorageOrder():
            if award.status == "rejected":
                reason = _idle(published, order, "no cycle covers its losses and costs")
        case ShiftOrder():
            if np.abs(award.injection_mw.sum(axis=0) + order.baseline_mw).max() < AWARD_TICK_MW:
                reason = _idle(published, order, "no move covers its price; stays at its baseline")
        case BlockOrder() | CurtailOrder():
            if award.status in ("partial", "rejected"):
                reason, limit = _whole(published, order, award)
    return dataclasses.replace(
        award, reason=reason, binding_element="" if limit is None else str(limit)
    )


def _steps(
    published: Published, order: GenerationOrder | DemandOrder | BilateralOrder
) -> tuple[str, LimitKey | None]:
    """The most favourable period without award, or the one where most was cut."""
    explained, outcome = explain_steps(published, order), weigh_steps(published, order)
    t = explained.deciding_period
    if t is None or not outcome.cut.any():
        return "accepted but for rounding", None
    cut, offered = int(outcome.cut.sum()), int((outcome.offered_mw > 0).sum())
    what = "price difference" if isinstance(order, BilateralOrder) else "price"
    sells = isinstance(order, GenerationOrder)
    side = "below its offer" if sells else "above its bid"
    gap, price = float(outcome.gap[t]), float(outcome.market_price[t])
    where = published.case.periods.labels()[t]
    if explained.reason == "price" or (explained.reason == "binding_element" and gap > 0.005):
        text = (
            f"{what} at its bus {price:.2f} EUR/MWh, {gap:.2f} {side} of "
            f"{outcome.limit_price[t]:.2f}"
        )
    else:
        text = f"marginal at {price:.2f} EUR/MWh, {outcome.awarded_mw[t]:.6g} MW awarded"
    text += f" in {where} (not in full in {cut} of {offered} periods)"
    if explained.binding is not None:
        part = next(line for line in explained.lines if line.key == explained.binding)
        text += f"; {part.name} moves it by {part.part_eur_per_mwh:.2f} EUR/MWh"
    elif explained.size is not None and explained.size.binding is not None:
        size, labels = explained.size, published.case.periods.labels()
        assert size.period is not None
        name = published.limits[explained.size.binding].name
        text += f"; {size.p_mw:.6g} MW awarded in {labels[size.period]} by the {name}"
        return text, size.binding
    return text, explained.binding


def _idle(published: Published, order: StorageOrder | ShiftOrder, what: str) -> str:
    price = order_price(published, order)
    return f"{what}: DLMP {price.min():.2f} to {price.max():.2f} EUR/MWh at its bus"


def _whole(
    published: Published, order: BlockOrder | CurtailOrder, award: Award
) -> tuple[str, LimitKey | None]:
    """Blocks and curtailments are judged over all their periods together."""
    family = family_reason(published, order)
    if (
        isinstance(order, BlockOrder)
        and family is not None
        and (profile_surplus_eur(published, order) > 0)
    ):
        return f"{family.words} {family.other_order}", None
    if isinstance(order, CurtailOrder):
        return f"{award.reason}: DLMP {_span(published, order)} at its bus", None
    weight = np.abs(order.profile_mw) / max(float(np.abs(order.profile_mw).sum()), 1e-12)
    price = float(published.mean_price(bus_weights(order)) @ weight)
    asked = float(order.price_eur_per_mwh @ weight)
    sells = float(order.profile_mw.sum()) > 0
    gap = asked - price if sells else price - asked
    side = "below its offer" if sells else "above its bid"
    lines = published.mean_lines(bus_weights(order), weight)
    against = [
        line
        for line in lines
        if line.cause == "limit" and (-1 if sells else 1) * line.part_eur_per_mwh > 0.005
    ]
    limit = None
    text = f"mean DLMP {price:.2f} EUR/MWh over its profile, {gap:.2f} {side} of {asked:.2f}"
    if award.status == "partial":
        text = f"marginal: {award.accepted_share[0]:.4g} of its profile at mean DLMP {price:.2f}"
    if against and gap - sum(abs(line.part_eur_per_mwh) for line in against) <= 0.005:
        limit = against[0].key
        text += f"; {against[0].name} moves it by {against[0].part_eur_per_mwh:.2f} EUR/MWh"
    return text, limit


def _span(published: Published, order: CurtailOrder) -> str:
    price = published.mean_price(bus_weights(order))
    asked = float(order.price_eur_per_mwh.min())
    return f"{price.min():.2f} to {price.max():.2f} EUR/MWh against {asked:.2f}"
