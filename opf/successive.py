"""From a prepared case to its optimum, anchored at AC power flow.

The interior point method (`opf.interior_path`) goes first and nearly always all the way. Where it
stops short, Newton steps and successive quadratic programmes go on from its point, or from the
start where it found none: each linearises import and near-active limits at the AC solution of the
present schedule by adjoints, solves one quadratic programme in the resources, and accepts its step
on the AC merit (cost plus priced violation). All of it stops when the schedule is AC-feasible and
the KKT residual, measured at the AC point with its own gradients, is below the tolerance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from opf.interior_path import find_interior_point
from opf.kkt import (
    Multipliers,
    Residuals,
    TickEffects,
    kkt_residuals,
    price_scale,
    reduced_costs,
    row_error,
)
from opf.lagrangian_curvature import flow_curvature
from opf.limits import limit_values
from opf.linearise import (
    Linearisation,
    choose_limits,
    cost_gradient,
    left_out_field,
    linearise,
)
from opf.newton import NewtonPoint, newton_step
from opf.power_flow import AcState, PowerFlowDiverged, solve_state
from opf.problem import Problem, merit_eur, violation_tolerance
from opf.quadratic import Step, StepInfeasible, StepStopped

Floats = NDArray[np.float64]

# Curvature kept where prices leave none, as a share of the import price's own.
LEAST_CURVATURE: Final = 0.02
# Share of the tolerance that the interior point method goes to: ticks take some of it.
MARGIN: Final = 0.3
# KKT residual below which Newton steps are tried, and how many at a time.
POLISH_BELOW: Final = 1e-2
NEWTON_STEPS_MAX: Final = 40
# Newton steps without a better point before going back to the best one, and before giving up.
STALE_STEPS: Final = 5
# Violation of a resource row that still counts as none [MW or MWh].
ROW_TOLERANCE: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """Where the optimisation ended; ``stopped`` says what ended it early, if anything did.

    ``ticks`` is what rounding explains, where the schedule is on ticks.
    """

    x: Floats
    state: AcState
    linearisation: Linearisation
    multipliers: Multipliers
    residuals: Residuals
    slack: Floats
    iterations: int
    converged: bool
    stopped: str = ""
    ticks: TickEffects | None = None


def _convex_curvature(
    problem: Problem, state: AcState, lin: Linearisation, multipliers: Multipliers
) -> Floats:
    """Curvature by flows, kept above a small share of what losses cost at the import price."""
    value = np.maximum(problem.case.import_price_eur_per_mwh, 0.0)
    floor = LEAST_CURVATURE * np.outer(problem.programme.tree.resistance, value)
    return np.maximum(flow_curvature(problem, state, lin, multipliers.limit), floor)


def _try_step(
    problem: Problem, x: Floats, state: AcState, step: Step, *, free_run: bool
) -> tuple[Floats, AcState, float]:
    """Go along the step, shortening it until the AC merit does not rise.

    Violations are penalised at twice the largest price in play: enough for the merit to be exact,
    and no more, because a stiff penalty would reject good steps for second-order violations.
    Returns the new point, its state and the share of the step taken (0: none helped).
    """
    scarcity = problem.case.limits.scarcity_price_eur_per_mwh
    penalty = min(scarcity, 2.0 * float(step.limit_price.max(initial=0.0)) + 10.0)
    merit = np.inf if free_run else merit_eur(problem, x, state, penalty)
    share = 1.0
    for _ in range(8):
        candidate = x + share * (step.x - x)
        try:
            new_state = solve_state(problem.solver, problem.resources.injection(candidate), state)
        except PowerFlowDiverged:
            share *= 0.5
            continue
        new_merit = merit_eur(problem, candidate, new_state, penalty)
        if new_merit <= merit + 1e-7 * max(1.0, abs(merit)):
            return candidate, new_state, share
        share *= 0.5
    return x, state, 0.0


def _step_gradient(problem: Problem, lin: Linearisation, multipliers: Multipliers) -> Floats:
    """Cost gradient plus what the sparse limit rows leave out, at the present prices."""
    missing_p, missing_q = left_out_field(problem, lin, multipliers.limit)
    left_out = problem.resources.column_gradient(missing_p, missing_q)
    return cost_gradient(problem, lin) + problem.case.periods.mtu_h * left_out


def _arrive(
    problem: Problem,
    x: Floats,
    state: AcState,
    before: Linearisation,
    step: Step,
    iteration: int,
) -> Solution:
    """Linearise at a new point and measure the step's multipliers there."""
    scarcity = problem.case.limits.scarcity_price_eur_per_mwh
    price_of = {
        (int(k), int(t)): float(p)
        for k, t, p in zip(before.chosen, before.period, step.limit_price, strict=True)
    }
    kept = {pair for pair, price in price_of.items() if price > 1e-7 * scarcity}
    lin = linearise(problem, state, choose_limits(problem, state, kept), by_node=False)
    pairs = zip(lin.chosen.tolist(), lin.period.tolist(), strict=True)
    multipliers = Multipliers(
        limit=np.array([price_of.get(pair, 0.0) for pair in pairs], dtype=float),
        row=step.row_price,
    )
    return Solution(
        x=x,
        state=state,
        linearisation=lin,
        multipliers=multipliers,
        residuals=kkt_residuals(problem, x, lin, multipliers),
        slack=np.maximum(-lin.rows.room, 0.0),
        iterations=iteration,
        converged=False,
    )


def _worst_violation(problem: Problem, point: Solution) -> float:
    """Largest violation without scarcity price, in units of its tolerance."""
    allowed = violation_tolerance(problem.limits, problem.tolerances)[:, None]
    over = limit_values(problem.limits, point.state) - problem.limits.bound(problem.periods)
    over /= allowed
    scarcity = problem.case.limits.scarcity_price_eur_per_mwh
    lin = point.linearisation
    full = point.multipliers.limit >= scarcity * (1 - 1e-6)
    over[lin.chosen[full], lin.period[full]] = 0.0
    return float(over.max(initial=0.0))


def _is_done(problem: Problem, point: Solution) -> bool:
    """AC-feasible, and KKT residual below the tolerance."""
    return _error(problem, point) <= 1.0


def _polish(
    problem: Problem, point: Solution, progress: Callable[[int, float, float], None] | None
) -> Solution:
    """Newton steps; the error may rise while bounds change hands, so the best point is kept."""
    scarcity = problem.case.limits.scarcity_price_eur_per_mwh
    best, share, stale, cautious = point, 1.0, 0, False
    for _ in range(NEWTON_STEPS_MAX):
        lin, multipliers = point.linearisation, point.multipliers
        step = newton_step(
            problem.programme,
            NewtonPoint(
                x=point.x,
                reduced=reduced_costs(problem, lin, multipliers),
                gradient=_step_gradient(problem, lin, multipliers),
                curvature=flow_curvature(problem, point.state, lin, multipliers.limit),
                limits=lin.rows,
                limit_price=multipliers.limit,
                row_price=multipliers.row,
            ),
            price_scale(problem, multipliers),
            scarcity,
        )
        if step is None:
            return best
        x = point.x + share * (step.x - point.x)
        try:
            state = solve_state(problem.solver, problem.resources.injection(x), point.state)
        except PowerFlowDiverged:
            return best
        moved = Step(
            x=x,
            limit_price=multipliers.limit + share * (step.limit_price - multipliers.limit),
            row_price=multipliers.row + share * (step.row_price - multipliers.row),
            slack=point.slack[:0],
        )
        further = _arrive(problem, x, state, lin, moved, point.iterations + 1)
        if progress is not None:
            progress(
                further.iterations, further.residuals.worst, _worst_violation(problem, further)
            )
        # half steps while bounds change hands, whole ones while the error falls; and where the
        # same bounds change hands in a circle, half steps from the best point on
        falling = _error(problem, further) < 0.7 * _error(problem, point)
        point = further
        stale += 1
        if _error(problem, point) < _error(problem, best):
            best, stale = point, 0
        elif stale >= STALE_STEPS:
            if cautious:
                break
            point, stale, cautious = best, 0, True
        share = 1.0 if falling and not cautious else 0.5
        if _is_done(problem, point):
            return dataclasses.replace(point, converged=True)
        if point.residuals.worst > 3 * POLISH_BELOW:
            break
    return best


def _error(problem: Problem, point: Solution) -> float:
    """KKT residual and violation on one scale: both in units of their tolerances."""
    tol = problem.tolerances
    return max(
        point.residuals.worst / tol.kkt,
        _worst_violation(problem, point),
        row_error(problem.resources, point.x) / ROW_TOLERANCE,
    )


def _from_within(
    problem: Problem,
    x_start: Floats | None,
    progress: Callable[[int, float, float], None] | None,
    out_of_time: Callable[[], bool] | None,
) -> Solution | None:
    """Where the interior point method and Newton steps after it lead, if anywhere."""
    inner = find_interior_point(
        problem, x_start, MARGIN * problem.tolerances.kkt, progress, out_of_time
    )
    if inner is None:
        return None
    step = Step(
        x=inner.x,
        limit_price=inner.multipliers.limit,
        row_price=inner.multipliers.row,
        slack=np.zeros(0),
    )
    point = _arrive(problem, inner.x, inner.state, inner.linearisation, step, inner.iterations)
    if _is_done(problem, point):
        return dataclasses.replace(point, converged=True)
    if out_of_time is not None and out_of_time():
        return dataclasses.replace(point, stopped="the time limit came")
    if point.residuals.worst < POLISH_BELOW:
        point = _polish(problem, point, progress)
    # what breaks an order's own rows is no schedule to go on from
    return point if row_error(problem.resources, point.x) <= ROW_TOLERANCE else None


def optimise(
    problem: Problem,
    x_start: Floats | None = None,
    progress: Callable[[int, float, float], None] | None = None,
    out_of_time: Callable[[], bool] | None = None,
) -> Solution:
    """Optimise: the interior point method, and successive steps where it is not enough.

    Parameters
    ----------
    problem : Problem
        Prepared case.
    x_start : ndarray, shape (columns,), optional
        Near where to start; otherwise the middle of all bounds, and for the steps after that every
        column at its lower bound.
    progress : callable, optional
        Called with (iteration, KKT residual, worst violation in units of its tolerance).
    out_of_time : callable, optional
        Asked after every iteration; True ends the optimisation with the incumbent.

    Returns
    -------
    Solution
        ``converged`` is False when a limit came first; then it is the incumbent.

    Raises
    ------
    StepInfeasible
        When the orders' own constraints cannot be met.
    StepStopped
        When the solver gave not even a first step.
    PowerFlowDiverged
        When the starting schedule has no AC solution.
    """
    res, tol = problem.resources, problem.tolerances
    scarcity = problem.case.limits.scarcity_price_eur_per_mwh
    point = _from_within(problem, x_start, progress, out_of_time)
    if point is None:
        x = np.where(np.isfinite(res.lower), res.lower, 0.0) if x_start is None else x_start
        state = solve_state(problem.solver, res.injection(x))
        lin = linearise(problem, state, choose_limits(problem, state, set()), by_node=False)
        multipliers = Multipliers(limit=np.zeros(len(lin.chosen)), row=np.zeros(res.rows.shape[0]))
        iteration, near = 0, False
    elif point.converged or point.stopped:
        return point
    else:
        x, state, iteration = point.x, point.state, point.iterations
        lin, multipliers = point.linearisation, point.multipliers
        near = point.residuals.worst < POLISH_BELOW
    radius, begun = np.inf, iteration
    while True:
        try:
            step = problem.programme.solve(
                x,
                _step_gradient(problem, lin, multipliers),
                _convex_curvature(problem, state, lin, multipliers),
                lin.rows,
                scarcity,
                radius,
                gap=1e-12 if near else 1e-8,
            )
        except (StepInfeasible, StepStopped) as error:
            # feasible once, feasible still: only the numbers of a set without interior break down
            if point is None:
                raise
            return dataclasses.replace(point, stopped=str(error))
        x_new, state, share = _try_step(problem, x, state, step, free_run=iteration == 0)
        travelled = float(np.abs(step.x - x).max(initial=0.0))
        if share == 0.0:
            radius = 0.25 * min(travelled, radius)
        elif share < 1.0:
            radius = 2.0 * share * travelled
        else:
            radius = np.inf if radius > 1.0 else 4.0 * radius
        iteration += 1
        point = _arrive(problem, x_new, state, lin, step, iteration)
        if progress is not None:
            progress(iteration, point.residuals.worst, _worst_violation(problem, point))
        if _is_done(problem, point):
            return dataclasses.replace(point, converged=True)
        if out_of_time is not None and out_of_time():
            return dataclasses.replace(point, stopped="the time limit came")
        if iteration - begun >= tol.iterations_max or (radius < 1e-9 and share == 0.0):
            return dataclasses.replace(point, stopped=f"no better point after {iteration} steps")
        near = point.residuals.worst < POLISH_BELOW
        if near:
            point = _polish(problem, point, progress)
            if point.converged:
                return point
        iteration, state = point.iterations, point.state
        x, lin, multipliers = point.x, point.linearisation, point.multipliers
