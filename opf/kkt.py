"""KKT residuals at an AC point: how far a schedule and its prices are from optimal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opf.linearise import Linearisation, cost_gradient, limit_field
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TickEffects:
    """What rounding awards to ticks does to a schedule, beyond which it is judged.

    Parameters
    ----------
    distance : ndarray, shape (columns,)
        Distance to its bounds at which ticks may leave a column [MW, MWh].
    gradient : ndarray, shape (columns,)
        By how much they may have moved its reduced cost [EUR per unit].
    room : ndarray, shape (k,)
        By how much they may have moved the room of a limit [MW-equivalent].
    """

    distance: Floats
    gradient: Floats
    room: Floats


def price_scale(problem: Problem, multipliers: Multipliers) -> float:
    """Largest price in play [EUR/MWh], at least 1: what residuals are relative to."""
    largest = float(np.abs(problem.case.import_price_eur_per_mwh).max(initial=0.0))
    h = problem.case.periods.mtu_h
    used = problem.resources.cost[problem.programme.free]
    largest = max(largest, float(np.abs(used).max(initial=0.0)) / h)
    return max(1.0, largest, float(multipliers.limit.max(initial=0.0)))


def _reduced_costs(problem: Problem, lin: Linearisation, limit: Floats, row: Floats) -> Floats:
    """Reduced cost of every column: gradient of the Lagrangian [EUR per unit]."""
    field_p, field_q = limit_field(problem, lin, limit)
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
    ticks: TickEffects | None = None,
) -> Residuals:
    """KKT residuals at the AC point of ``lin``.

    A schedule on ticks is judged with ``ticks``: distances to bounds and limits and reduced costs
    count beyond what rounding explains.

    Stationarity is the projected-gradient residual |x - clip(x - r / scale)| of every free column,
    with r its reduced cost; complementarity is min(price / scale, room) of every limit.
    """
    res, h = problem.resources, problem.case.periods.mtu_h
    reduced = _reduced_costs(problem, lin, multipliers.limit, multipliers.row)
    scale = price_scale(problem, multipliers)
    free = problem.programme.free
    if ticks is not None:
        beyond = np.maximum(np.abs(reduced) - ticks.gradient, 0.0)
        reduced = np.sign(reduced) * beyond
    kept = np.zeros(len(free)) if ticks is None else ticks.distance[free]
    stationarity = projected_gradient(
        x[free], reduced[free] / (scale * h), res.lower[free], res.upper[free], kept
    )
    scarcity = problem.case.limits.scarcity_price_eur_per_mwh
    price = multipliers.limit / scale
    room = lin.rows.room
    if ticks is not None:
        room = np.sign(room) * np.maximum(np.abs(room) - ticks.room, 0.0)
    inactive = np.minimum(price, np.maximum(room, 0.0))
    short = np.minimum((scarcity - multipliers.limit) / scale, np.maximum(-room, 0.0))
    complementarity = float(np.maximum(inactive, short).max(initial=0.0))
    return Residuals(
        stationarity=stationarity,
        complementarity=complementarity,
        dual_sign=float(np.maximum(-price, 0.0).max(initial=0.0)),
    )


def projected_gradient(
    x: Floats, pull: Floats, lower: Floats, upper: Floats, kept: Floats
) -> float:
    """Return the largest |x - clip(x - pull)|, where ``kept`` from a bound counts as at it."""
    ahead = np.where(pull > 0, x - lower, upper - x)
    distance = np.minimum(np.abs(pull), np.maximum(ahead - kept, 0.0))
    outside = np.maximum(np.maximum(lower - x, x - upper) - kept, 0.0)
    return float(np.maximum(distance, outside).max(initial=0.0))


def row_error(resources: Resources, x: Floats) -> float:
    """Largest violation of a resource row."""
    activity = resources.rows @ x
    over = np.maximum(activity - resources.rows_upper, resources.rows_lower - activity)
    return float(np.maximum(over, 0.0).max(initial=0.0))
