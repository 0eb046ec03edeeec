"""A first reason for every order that did not get all it asked for."""

from __future__ import annotations

import dataclasses

import numpy as np

from data.records.clearing import Award, ClearingCase, Prices
from data.records.order import DemandOrder, GenerationOrder, Order


def reason_for(
    case: ClearingCase, order: Order, award: Award, prices: Prices, row_of: dict[int, int]
) -> Award:
    """Name the price at the order's bus and the element that moved it most, where it was cut.

    Parameters
    ----------
    row_of : dict
        Row of each bus in the price tables.

    Returns
    -------
    Award
        With ``reason`` and ``binding_element`` filled for partial and rejected steps.
    """
    if award.status == "accepted" or not isinstance(order, GenerationOrder | DemandOrder):
        return award
    cut = np.flatnonzero(award.accepted_share < 1 - 1e-9)
    row = row_of[award.buses[0]]
    worst, name = 0.0, ""
    for part in prices.parts:
        effect = float(np.abs(part.p_eur_per_mwh[row, cut]).max(initial=0.0))
        if effect > max(worst, 0.01):
            worst, name = effect, f"{part.element_kind}:{part.element}:{part.side}"
    price = prices.dlmp_p_eur_per_mwh[row, cut]
    limit = order.steps[-1].price_eur_per_mwh[cut]
    sells = isinstance(order, GenerationOrder)
    gap = float(np.abs(limit - price).max(initial=0.0))
    low, high = float(price.min(initial=np.inf)), float(price.max(initial=-np.inf))
    side = "below its offer" if sells else "above its bid"
    text = (
        f"not fully accepted in {len(cut)} of {len(case.periods)} periods: "
        f"DLMP {low:.2f} to {high:.2f} EUR/MWh at bus {award.buses[0]}, at most {gap:.2f} {side}"
    )
    if name:
        text += f"; binding {name} moves it by up to {worst:.2f} EUR/MWh"
    return dataclasses.replace(award, reason=text, binding_element=name)
