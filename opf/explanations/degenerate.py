"""Prices that one schedule admits: where limits and orders meet in a corner there is an interval.

The multipliers that satisfy the optimality conditions at the published schedule form a polyhedron:
reduced costs have the right sign at bounds and vanish between them, multipliers of limits are not
negative and vanish away from the limit. The lowest and highest price over it are two linear
programmes. A single point, but for ticks, means that the published price is the only one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from data.units import AWARD_TICK_MW
from opf.awards import kept_distance
from opf.explanations.published import Published
from opf.explanations.records import PriceRange
from opf.explanations.replayed import Replayed, replay
from opf.limits import limit_values
from opf.linear_programme import SolverStopped, solve_linear
from opf.linearise import Linearisation, cost_gradient, linearise
from opf.problem import Problem

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Limits this close count as reached, in MW-equivalent: what ticks of many awards move them by.
REACHED_MW: Final = 5e-5
# Error of prices that the certificate admits, relative to the largest price.
PRICE_ERROR: Final = 3e-6
ROW_REACHED: Final = 1e-5


def price_range(
    published: Published, weight: Mapping[int, float], period: int, mvar_per_mw: float = 0.0
) -> PriceRange | None:
    """Return the lowest and highest weighted price that the published schedule admits.

    Parameters
    ----------
    published : Published
        A clearing by formulation ``ac``.
    weight : mapping
        Weight of each bus.
    period : int
        The period.
    mvar_per_mw : float
        Mvar taken with each MW: weight of DLMP_Q beside DLMP_P.

    Returns
    -------
    PriceRange or None
        None where the conditions cannot be judged: another formulation, an uncertified schedule,
        or a solver that gave up.
    """
    if published.case.formulation != "ac" or not published.result.status.startswith("certified"):
        return None
    at = replay(published)
    node = [int(at.problem.grid.bus_node[published.row_of[bus]]) for bus in weight]
    factor = np.array(list(weight.values()))
    return _range_at(at, node, factor, mvar_per_mw * factor, period)


def _range_at(
    at: Replayed, node: list[int], by_p: Floats, by_q: Floats, period: int
) -> PriceRange | None:
    """Range of ``by_p DLMP_P + by_q DLMP_Q`` over nodes."""
    problem = at.problem
    lin = linearise(problem, at.state, _reached(problem, at))
    c = float(problem.case.import_price_eur_per_mwh[period])
    taken = by_p @ lin.import_p[node, period] + by_q @ lin.import_q[node, period]
    constant = -c * float(taken)
    here = lin.period == period
    count = len(lin.chosen)
    objective = np.zeros(count + problem.resources.rows.shape[0])
    used = by_p @ lin.limit_p[node][:, here] + by_q @ lin.limit_q[node][:, here]
    objective[:count][here] = -used / lin.scale[here]
    if not objective.any():
        return PriceRange(low_eur_per_mwh=constant, high_eur_per_mwh=constant)
    conditions = _conditions(problem, at, lin)
    bounds = _multiplier_bounds(problem, at, lin)
    found = []
    try:
        for sign in (1.0, -1.0):
            solution = solve_linear(sign * objective, *conditions, *bounds)
            if solution is None:
                return None
            found.append(constant + sign * solution.objective)
    except SolverStopped:
        return None
    return PriceRange(low_eur_per_mwh=found[0], high_eur_per_mwh=found[1])


def _reached(problem: Problem, at: Replayed) -> set[tuple[int, int]]:
    """Limits that may carry a price: reached in the published schedule."""
    limits = problem.limits
    room = limits.bound(problem.periods) - limit_values(limits, at.state)
    near = room / problem.merit_scale[:, None] < REACHED_MW
    return {(int(k), int(t)) for k, t in np.argwhere(near)}


def _conditions(
    problem: Problem, at: Replayed, lin: Linearisation
) -> tuple[sparse.csr_matrix, Floats, Floats]:
    """Rows: the reduced cost of each column as a function of the multipliers, within its signs."""
    res, h = problem.resources, problem.case.periods.mtu_h
    place = (res.inject_node, res.period[res.inject_column])
    entry, pair = np.nonzero(place[1][:, None] == lin.period[None, :])
    value = h * (
        res.inject_p[entry] * lin.limit_p[place[0][entry], pair]
        + res.inject_q[entry] * lin.limit_q[place[0][entry], pair]
    ) / lin.scale[pair]  # fmt: skip
    by_limit = sparse.csr_matrix(
        (value, (res.inject_column[entry], pair)), shape=(len(res.cost), len(lin.chosen))
    )
    matrix = sparse.hstack([by_limit, res.rows.T], format="csr")
    cost = cost_gradient(problem, lin)
    near = kept_distance(res, h) + 0.5 * AWARD_TICK_MW
    free = res.upper - res.lower > near
    at_lower = at.x - res.lower < near
    at_upper = res.upper - at.x < near
    error = PRICE_ERROR * at.price_scale * h
    lower = np.where(free & ~at_upper, -error, -np.inf)
    upper = np.where(free & ~at_lower, error, np.inf)
    return matrix, lower - cost, upper - cost


def _multiplier_bounds(problem: Problem, at: Replayed, lin: Linearisation) -> tuple[Floats, Floats]:
    """Prices of limits lie between 0 and scarcity, those of rows follow the side they rest on."""
    res = problem.resources
    scarcity = problem.case.limits.scarcity_price_eur_per_mwh
    count = len(lin.chosen)
    short = lin.rows.room < -REACHED_MW
    activity = res.rows @ at.x
    on_upper = res.rows_upper - activity < ROW_REACHED
    on_lower = activity - res.rows_lower < ROW_REACHED
    lower = np.concatenate(
        [np.where(short, scarcity, np.zeros(count)), np.where(on_lower, -np.inf, 0.0)]
    )
    upper = np.concatenate([np.full(count, scarcity), np.where(on_upper, np.inf, 0.0)])
    return lower, upper
