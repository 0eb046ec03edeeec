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
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedGrid:
    """Published prices and the exact residual of their parts before rounding [EUR/MWh]."""

    prices: Prices
    parts_residual: float


def _published(value: Floats) -> Floats:
    """Round to whole micro-EUR, half-even, as a float that holds the integer exactly."""
    return np.round(value * MICRO_PER_UNIT)


def _in_periods(shape: tuple[int, int], at: Ints, value: Floats) -> Floats:
    """Place values in their periods, 0 elsewhere; by period, so that zeros take no memory."""
    total = np.zeros(shape, order="F")
    total[:, at] = value + 0.0
    return total


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
    rows_of: dict[int, list[int]] = {}
    for row in np.flatnonzero(limit_price > 0).tolist():
        rows_of.setdefault(int(lin.chosen[row]), []).append(row)
    voltage, congestion = np.zeros(shape), np.zeros(shape)
    exact = c[None, :] + loss
    parts = []
    for k in sorted(rows_of):
        rows = np.array(rows_of[k], dtype=np.int64)
        at, mu = lin.period[rows], limit_price[rows] / lin.scale[rows]
        p, q = (
            np.where(supplied[:, None], -mu * gradient[node[:, None], rows], 0.0)
            for gradient in (lin.limit_p, lin.limit_q)
        )
        exact[:, at] += p
        whole_p, whole_q = _published(p), _published(q)
        if limits.family[k] in (VOLTAGE_UPPER, VOLTAGE_LOWER):
            voltage[:, at] += whole_p
        else:
            congestion[:, at] += whole_p
        parts.append(
            PricePart(
                element_kind=limits.element_kind[k],  # type: ignore[arg-type]
                element=int(limits.element[k]),
                side=limits.side[k],  # type: ignore[arg-type]
                p_eur_per_mwh=_in_periods(shape, at, whole_p / MICRO_PER_UNIT),
                q_eur_per_mvarh=_in_periods(shape, at, whole_q / MICRO_PER_UNIT),
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
