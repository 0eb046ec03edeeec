"""KKT residuals at an AC point: how far a schedule and its prices are from optimal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opf.linearise import Linearisation, cost_gradient, price_field
from opf.problem import Problem
from opf.resources import Resources

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Residuals:
    """KKT residuals at an AC point, relative to the largest price."""

    stationarity: float
    complementarity: float
    dual_sign: float

    @property
    def worst(self) -> float:
        """The largest of them."""
        return max(self.stationarity, self.complementarity, self.dual_sign)


@dataclass(frozen=True, slots=True, kw_only=True)
class Multipliers:
    """Prices of limits and couplings.

    ``limit`` [EUR/MW-equivalent/h] belongs to the pairs of the linearisation, ``row`` [EUR per
    unit] to the resource rows.
    """

    limit: Floats
    row: Floats


def price_scale(problem: Problem, multipliers: Multipliers) -> float:
    """Largest price in play [EUR/MWh], at least 1: what residuals are relative to."""
    largest = float(np.abs(problem.case.import_price_eur_per_mwh).max(initial=0.0))
    h = problem.case.periods.mtu_h
    used = problem.resources.cost[problem.programme.free]
    largest = max(largest, float(np.abs(used).max(initial=0.0)) / h)
    return max(1.0, largest, float(multipliers.limit.max(initial=0.0)))


def _reduced_costs(problem: Problem, lin: Linearisation, limit: Floats, row: Floats) -> Floats:
    """Reduced cost of every column: gradient of the Lagrangian [EUR per unit]."""
    field_p, field_q = price_field(problem, lin, limit, (lin.limit_p, lin.limit_q))
    priced = problem.resources.column_gradient(field_p, field_q)
    total = cost_gradient(problem, lin) + problem.case.periods.mtu_h * priced
    return np.asarray(total + problem.resources.rows.T @ row)


def reduced_costs(problem: Problem, lin: Linearisation, multipliers: Multipliers) -> Floats:
    """Reduced cost of every column at the AC point of ``lin`` [EUR per unit]."""
    return _reduced_costs(problem, lin, multipliers.limit, multipliers.row)


def kkt_residuals(
    problem: Problem,
    x: Floats,
    lin: Linearisation,
    multipliers: Multipliers,
    quantum_mw: float = 0.0,
    gradient_change: Floats | None = None,
) -> Residuals:
    """KKT residuals at the AC point of ``lin``.

    With ``quantum_mw`` a schedule on ticks is judged: distances to bounds count beyond that quantum
    of one award, distances to limits beyond what the ticks of all awards of a period may move them,
    reduced costs beyond ``gradient_change`` [EUR per unit, shape (columns,)].

    Stationarity is the projected-gradient residual |x - clip(x - r / scale)| of every free column,
    with r its reduced cost; complementarity is min(price / scale, room) of every limit.
    """
    res, h = problem.resources, problem.case.periods.mtu_h
    reduced = _reduced_costs(problem, lin, multipliers.limit, multipliers.row)
    scale = price_scale(problem, multipliers)
    free = problem.programme.free
    if gradient_change is not None:
        beyond = np.maximum(np.abs(reduced) - gradient_change, 0.0)
        reduced = np.sign(reduced) * beyond
    moved = np.clip(x[free] - reduced[free] / (scale * h), res.lower[free], res.upper[free])
    price_gap = np.abs(reduced[free]) / (scale * h)
    distance = np.abs(moved - x[free])
    at_bound = distance < price_gap * (1 - 1e-9)
    distance = np.where(at_bound, np.maximum(distance - 2 * quantum_mw, 0.0), distance)
    stationarity = float(distance.max(initial=0.0))
    scarcity = problem.case.limits.scarcity_price_eur_per_mwh
    price = multipliers.limit / scale
    per_period = len(res.inject_column) / max(problem.periods, 1)
    moved_by_ticks = 2.0 * quantum_mw * max(1.0, np.sqrt(per_period))
    room = np.sign(lin.rows.room) * np.maximum(np.abs(lin.rows.room) - moved_by_ticks, 0.0)
    inactive = np.minimum(price, np.maximum(room, 0.0))
    short = np.minimum((scarcity - multipliers.limit) / scale, np.maximum(-room, 0.0))
    complementarity = float(np.maximum(inactive, short).max(initial=0.0))
    return Residuals(
        stationarity=stationarity,
        complementarity=complementarity,
        dual_sign=float(np.maximum(-price, 0.0).max(initial=0.0)),
    )


def row_error(resources: Resources, x: Floats) -> float:
    """Largest violation of a resource row."""
    activity = resources.rows @ x
    over = np.maximum(activity - resources.rows_upper, resources.rows_lower - activity)
    return float(np.maximum(over, 0.0).max(initial=0.0))
