"""Prices at every bus with their parts, from multipliers and adjoints at one AC point.

    DLMP_P,i = -( c dP0/dp_i + sum_k mu_k dg_k/dp_i ),   DLMP_Q,i likewise with q_i
    energy = c;  loss = -c (dP0/dp_i + 1);  one part per binding limit

Import and export caps are limits like the others (element ``ext_grid``). Published values are
integer micro-EUR/MWh; the remainder of rounding is in ``energy``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import PricePart, Prices
from data.units import MICRO_PER_UNIT
from opf.limits import VOLTAGE_LOWER, VOLTAGE_UPPER
from opf.linearise import Linearisation, node_prices
from opf.problem import Problem

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedGrid:
    """Published prices and the exact residual of their parts before rounding [EUR/MWh]."""

    prices: Prices
    parts_residual: float


def _published(value: Floats) -> Floats:
    """Round to whole micro-EUR, half-even, as a float that holds the integer exactly."""
    return np.round(value * MICRO_PER_UNIT)


def price_buses(problem: Problem, lin: Linearisation, limit_price: Floats) -> PricedGrid:
    """Compute the prices of every bus.

    Parameters
    ----------
    problem : Problem
        Prepared case.
    lin : Linearisation
        Gradients at the final AC point.
    limit_price : ndarray, shape (k,)
        Price of each limit of the linearisation [EUR/MW-equivalent/h]; not negative.

    Returns
    -------
    PricedGrid
        Rows are the network's buses; a bus out of service carries the energy price alone.
    """
    case, limits = problem.case, problem.limits
    node = problem.grid.bus_node
    supplied = node >= 0
    c = case.import_price_eur_per_mwh
    shape = (len(node), problem.periods)
    node_p, node_q = node_prices(problem, lin, limit_price)
    price_p = np.where(supplied[:, None], node_p[node], c[None, :])
    price_q = np.where(supplied[:, None], node_q[node], 0.0)
    loss = np.where(supplied[:, None], -c * (lin.import_p[node] + 1.0), 0.0)
    collected: dict[int, tuple[Floats, Floats]] = {}
    for row in np.flatnonzero(limit_price > 0).tolist():
        k, t = int(lin.chosen[row]), int(lin.period[row])
        mu = limit_price[row] / lin.scale[row]
        p, q = collected.setdefault(k, (np.zeros(shape), np.zeros(shape)))
        p[:, t] = np.where(supplied, -mu * lin.limit_p[node, row], 0.0)
        q[:, t] = np.where(supplied, -mu * lin.limit_q[node, row], 0.0)
    voltage, congestion = np.zeros(shape), np.zeros(shape)
    exact = c[None, :] + loss
    parts = []
    for k in sorted(collected):
        p, q = collected[k]
        exact = exact + p
        whole_p, whole_q = _published(p), _published(q)
        if limits.family[k] in (VOLTAGE_UPPER, VOLTAGE_LOWER):
            voltage += whole_p
        else:
            congestion += whole_p
        parts.append(
            PricePart(
                element_kind=limits.element_kind[k],  # type: ignore[arg-type]
                element=int(limits.element[k]),
                side=limits.side[k],  # type: ignore[arg-type]
                p_eur_per_mwh=whole_p / MICRO_PER_UNIT + 0.0,
                q_eur_per_mvarh=whole_q / MICRO_PER_UNIT + 0.0,
            )
        )
    whole_price, whole_loss = _published(price_p), _published(loss)
    energy = whole_price - whole_loss - congestion - voltage
    prices = Prices(
        dlmp_p_eur_per_mwh=whole_price / MICRO_PER_UNIT + 0.0,
        dlmp_q_eur_per_mvarh=_published(price_q) / MICRO_PER_UNIT + 0.0,
        energy_eur_per_mwh=energy / MICRO_PER_UNIT + 0.0,
        loss_eur_per_mwh=whole_loss / MICRO_PER_UNIT + 0.0,
        congestion_eur_per_mwh=congestion / MICRO_PER_UNIT + 0.0,
        voltage_eur_per_mwh=voltage / MICRO_PER_UNIT + 0.0,
        parts=tuple(parts),
    )
    return PricedGrid(prices=prices, parts_residual=float(np.abs(exact - price_p).max(initial=0.0)))
