"""One storage does not charge and discharge in one period.

At negative prices the optimum of the relaxed problem may burn energy that way. Such a pair becomes
a choice: the direction in which the unit moves on balance stays open, the other is closed, and the
problem is solved and priced again. An added throughput cost (the order's own) makes it rare.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from opf.power_flow import PowerFlowDiverged
from opf.problem import Problem, step_programme
from opf.successive import Solution, optimise

Floats = NDArray[np.float64]
Progress = Callable[[int, float, float], None]

# Both directions above this count as burning energy: the ticks of one award [MW].
BOTH_ABOVE_MW: Final = 1e-5
ROUNDS_MAX: Final = 10


def close_wrong_directions(problem: Problem, x: Floats) -> Problem | None:
    """Return the problem with the losing direction of each such pair closed, None if there is none.

    Parameters
    ----------
    x : ndarray, shape (columns,)
        Solution of the problem.
    """
    res = problem.resources
    upper = res.upper.copy()
    for columns in res.orders:
        if columns.charge is None or columns.discharge is None:
            continue
        into, out = x[columns.charge], x[columns.discharge]
        both = (into > BOTH_ABOVE_MW) & (out > BOTH_ABOVE_MW)
        upper[columns.charge[both & (into < out)]] = 0.0
        upper[columns.discharge[both & (into >= out)]] = 0.0
    if np.array_equal(upper, res.upper):
        return None
    narrowed = dataclasses.replace(res, upper=upper)
    return dataclasses.replace(
        problem,
        resources=narrowed,
        programme=step_programme(problem.case, problem.solver, narrowed, problem.programme.tree),
    )


def optimise_one_way(
    problem: Problem,
    begin: Floats | None,
    progress: Progress | None,
    out_of_time: Callable[[], bool] | None,
) -> tuple[Problem, Solution]:
    """Optimise; where a storage both charges and discharges, close one direction and go on."""
    try:
        solution = optimise(problem, begin, progress, out_of_time)
    except PowerFlowDiverged:
        # without any award the grid may collapse where generation on site would have held it
        solution = optimise(problem, everything(problem), progress, out_of_time)
    for _ in range(ROUNDS_MAX):
        narrowed = close_wrong_directions(problem, solution.x)
        if narrowed is None:
            break
        problem = narrowed
        again = np.clip(solution.x, problem.resources.lower, problem.resources.upper)
        solution = optimise(problem, again, progress, out_of_time)
    return problem, solution


def everything(problem: Problem) -> Floats:
    """Every bounded injection fully accepted, every withdrawal at its least."""
    res = problem.resources
    x = np.where(np.isfinite(res.lower), res.lower, 0.0)
    column = res.inject_column[res.inject_p > 0]
    column = column[np.isfinite(res.upper[column])]
    x[column] = res.upper[column]
    return x
