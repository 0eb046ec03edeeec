"""Successive quadratic optimisation anchored at AC power flow.

Each iteration linearises import and near-active limits at the AC solution of the present schedule
by adjoints, solves one quadratic programme in the resources, and accepts its step on the AC merit
(cost plus priced violation). It stops when the schedule is AC-feasible and the KKT residual,
measured at the AC point with its own gradients, is below the tolerance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from data.records.clearing import ClearingCase
from opf.grid import Grid, build_grid
from opf.limits import (
    CURRENT_FROM,
    CURRENT_TO,
    EXPORT_CAP,
    IMPORT_CAP,
    VOLTAGE_LOWER,
    VOLTAGE_UPPER,
    LimitSet,
    import_gradient,
    limit_gradients,
    limit_values,
    list_limits,
)
from opf.loss_curvature import build_flow_tree
from opf.newton import NewtonPoint, newton_step
from opf.power_flow import AcState, NodalSolver, PowerFlowDiverged, solve_state
from opf.quadratic import LimitRows, Step, StepProgramme
from opf.resources import Resources, build_resources

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Flow derivatives below this share of a limit's largest gradient are left to the cost gradient.
SMALL_DIFFERENCE = 1e-3
# Curvature kept where prices leave none, as a share of the import price's own.
LEAST_CURVATURE = 0.02
# KKT residual below which Newton steps are tried, and how many at a time.
POLISH_BELOW = 1e-2
NEWTON_STEPS_MAX = 12
# Violation of a resource row that still counts as none [MW or MWh].
ROW_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerances:
    """When the successive optimisation may stop.

    ``kkt`` is relative to the largest price, ``voltage_pu`` and ``loading_share`` bound the
    violation of a limit at the AC point.
    """

    kkt: float = 7e-7
    voltage_pu: float = 1e-6
    loading_share: float = 1e-5
    cap_mw: float = 1e-5
    iterations_max: int = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Linearisation:
    """Gradients at one AC point.

    ``import_p``/``import_q`` have shape (nodes, periods); ``limit_p``/``limit_q`` (nodes, k) belong
    to the pairs (``chosen``, ``period``) of limit number and period; ``scale`` is max |limit_p|.
    """

    import_p: Floats
    import_q: Floats
    chosen: Ints
    period: Ints
    limit_p: Floats
    limit_q: Floats
    scale: Floats
    left_out_p: Floats
    left_out_q: Floats
    rows: LimitRows


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


@dataclass(slots=True, kw_only=True)
class Problem:
    """Everything that is prepared once for a case."""

    case: ClearingCase
    grid: Grid
    solver: NodalSolver
    resources: Resources
    limits: LimitSet
    merit_scale: Floats
    programme: StepProgramme
    tolerances: Tolerances = field(default_factory=Tolerances)

    @property
    def periods(self) -> int:
        """Number of periods."""
        return len(self.case.periods)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """Where the optimisation ended."""

    x: Floats
    state: AcState
    linearisation: Linearisation
    multipliers: Multipliers
    residuals: Residuals
    slack: Floats
    iterations: int
    converged: bool


def prepare_problem(case: ClearingCase, tolerances: Tolerances | None = None) -> Problem:
    """Build grid, resources, limits and the programme of a case."""
    grid = build_grid(case.network)
    solver = NodalSolver(grid)
    resources = build_resources(case, grid)
    limits = list_limits(case, grid)
    flat = _flat_state(solver)
    nodes = np.unique(resources.inject_node)
    tree = build_flow_tree(grid, nodes, np.abs(flat.v[:, 0]))
    return Problem(
        case=case,
        grid=grid,
        solver=solver,
        resources=resources,
        limits=limits,
        merit_scale=_merit_scale(solver, flat, limits),
        programme=StepProgramme(resources, tree, len(case.periods), case.periods.mtu_h),
        tolerances=tolerances or Tolerances(),
    )


def _flat_state(solver: NodalSolver) -> AcState:
    """AC state without any load, one period."""
    return solve_state(solver, np.zeros((solver.grid.node_count, 1), dtype=complex))


def _merit_scale(solver: NodalSolver, flat: AcState, limits: LimitSet) -> Floats:
    """Typical max |dg/dp| of every limit: 1 pu power for currents, no-load gradient otherwise."""
    scale = np.ones(len(limits))
    voltage = np.flatnonzero((limits.family == VOLTAGE_UPPER) | (limits.family == VOLTAGE_LOWER))
    if len(voltage):
        dp, _ = limit_gradients(solver, flat, limits, voltage, np.zeros(len(voltage), dtype=int))
        scale[voltage] = np.maximum(np.abs(dp).max(axis=0), 1e-6)
    return scale


def violation_tolerance(limits: LimitSet, tolerances: Tolerances) -> Floats:
    """Violation of each limit that still counts as feasible, shape (limits,)."""
    allowed = np.full(len(limits), tolerances.voltage_pu)
    current = (limits.family == CURRENT_FROM) | (limits.family == CURRENT_TO)
    allowed[current] = tolerances.loading_share * limits.maximum[current]
    cap = (limits.family == IMPORT_CAP) | (limits.family == EXPORT_CAP)
    allowed[cap] = tolerances.cap_mw
    return allowed


def cost_eur(problem: Problem, x: Floats, state: AcState) -> float:
    """Cost of awards plus import at its price [EUR]."""
    h = problem.case.periods.mtu_h
    energy = float(problem.case.import_price_eur_per_mwh @ state.exchange.real) * h
    return float(problem.resources.cost @ x) + energy


def merit_eur(problem: Problem, x: Floats, state: AcState, penalty: float) -> float:
    """Cost plus violations at a penalty price [EUR/MWh]: what a step must lower [EUR]."""
    over = limit_values(problem.limits, state) - problem.limits.maximum[:, None]
    short_mw = np.maximum(over, 0.0).sum(axis=1) / problem.merit_scale
    price = penalty * problem.case.periods.mtu_h
    return cost_eur(problem, x, state) + price * float(short_mw.sum())


def _choose_limits(
    problem: Problem, state: AcState, kept: set[tuple[int, int]], per_family: int = 12
) -> set[tuple[int, int]]:
    """Add the violated and nearly active limits: the worst of each family in each period."""
    limits = problem.limits
    over = limit_values(limits, state) - limits.maximum[:, None]
    chosen = set(kept)
    margin = np.full(len(limits), 0.005)
    current = (limits.family == CURRENT_FROM) | (limits.family == CURRENT_TO)
    margin[current] = 0.1 * limits.maximum[current]
    cap = (limits.family == IMPORT_CAP) | (limits.family == EXPORT_CAP)
    margin[cap] = 0.05 * np.abs(limits.maximum[cap]) + 0.1
    near = over > -margin[:, None]
    for family in np.unique(limits.family):
        members = np.flatnonzero(limits.family == family)
        for t in np.flatnonzero(near[members].any(axis=0)):
            ranked = members[np.argsort(-over[members, t], kind="stable")[:per_family]]
            chosen.update((int(k), int(t)) for k in ranked if near[k, t])
    return chosen


def _limit_rows(
    problem: Problem, period: Ints, limit_p: Floats, limit_q: Floats, scale: Floats
) -> tuple[tuple[sparse.csr_matrix, sparse.csr_matrix], Floats, Floats]:
    """Sparse rows over flows and substation columns, and the node gradients they leave out."""
    res, tree = problem.resources, problem.programme.tree
    flows, size, count = len(tree.parent), problem.periods, len(period)
    parts = len(problem.programme.flow_parts)
    rows, columns, values = [], [], []
    left_out = []
    for part, gradient in enumerate((limit_p, limit_q)):
        difference = tree.differences(gradient)
        small = np.abs(difference) < SMALL_DIFFERENCE * scale[None, :]
        kept = np.where(small, 0.0, difference) if part < parts else np.zeros_like(difference)
        flow, row = np.nonzero(kept)
        rows.append(row)
        columns.append(part * flows * size + flow * size + period[row])
        values.append(kept[flow, row] / scale[row])
        missing = gradient.copy()
        missing[tree.bottom] -= tree.at_bottom(kept)
        missing[0] = 0.0
        left_out.append(missing)
    by_flow = sparse.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(count, parts * flows * size),
    )
    top = np.flatnonzero(res.inject_node == 0)
    column = res.inject_column[top]
    hit_row, hit = np.nonzero(period[:, None] == res.period[column][None, :])
    value = (
        res.inject_p[top][hit] * limit_p[0, hit_row] + res.inject_q[top][hit] * limit_q[0, hit_row]
    ) / scale[hit_row]
    by_column = sparse.csr_matrix((value, (hit_row, column[hit])), shape=(count, len(res.cost)))
    return (by_flow, by_column), left_out[0], left_out[1]


def price_field(
    problem: Problem, lin: Linearisation, price: Floats, by_node: tuple[Floats, Floats]
) -> tuple[Floats, Floats]:
    """Sum ``price_k / scale_k * gradient_k`` over the limits of each period.

    Parameters
    ----------
    price : ndarray, shape (k,)
        Price of each limit of the linearisation [EUR/MW-equivalent/h].
    by_node : (ndarray, ndarray), shape (nodes, k)
        Node gradients of them by active and reactive injection.

    Returns
    -------
    (p, q) : ndarray, shape (nodes, periods)
        [EUR/MWh, EUR/Mvarh].
    """
    collect = sparse.csr_matrix(
        (price / lin.scale, (np.arange(len(price)), lin.period)),
        shape=(len(price), problem.periods),
    )
    return np.asarray(by_node[0] @ collect), np.asarray(by_node[1] @ collect)


def linearise(
    problem: Problem, state: AcState, pairs: set[tuple[int, int]]
) -> Linearisation:
    """Gradients of the import and of the given (limit, period) pairs at an AC point."""
    solver, limits, res = problem.solver, problem.limits, problem.resources
    import_p, import_q = import_gradient(solver, state)
    ordered = sorted(pairs, key=lambda pair: (pair[1], pair[0]))
    chosen = np.array([k for k, _ in ordered], dtype=np.int64)
    period = np.array([t for _, t in ordered], dtype=np.int64)
    limit_p, limit_q = limit_gradients(solver, state, limits, chosen, period)
    scale = np.maximum(np.abs(limit_p).max(axis=0), 1e-9) if len(ordered) else np.zeros(0)
    rows, left_out_p, left_out_q = _limit_rows(problem, period, limit_p, limit_q, scale)
    g = limit_values(limits, state)[chosen, period]
    return Linearisation(
        import_p=import_p,
        import_q=import_q,
        chosen=chosen,
        period=period,
        limit_p=limit_p,
        limit_q=limit_q,
        scale=scale,
        left_out_p=left_out_p,
        left_out_q=left_out_q,
        rows=LimitRows(
            by_flow=rows[0],
            by_column=rows[1],
            room=(limits.maximum[chosen] - g) / scale,
            scale=scale,
        ),
    )


def cost_gradient(problem: Problem, lin: Linearisation) -> Floats:
    """Gradient of the cost by the columns at the linearisation point [EUR per unit]."""
    h = problem.case.periods.mtu_h
    price = problem.case.import_price_eur_per_mwh * h
    return problem.resources.cost + problem.resources.column_gradient(
        lin.import_p * price, lin.import_q * price
    )


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
) -> Residuals:
    """KKT residuals at the AC point of ``lin``.

    With ``quantum_mw`` a schedule on ticks is judged: distances to bounds count beyond that quantum
    of one award, distances to limits beyond what the ticks of all awards of a period may move them.

    Stationarity is the projected-gradient residual |x - clip(x - r / scale)| of every free column,
    with r its reduced cost; complementarity is min(price / scale, room) of every limit.
    """
    res, h = problem.resources, problem.case.periods.mtu_h
    reduced = _reduced_costs(problem, lin, multipliers.limit, multipliers.row)
    scale = price_scale(problem, multipliers)
    free = problem.programme.free
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


def node_prices(
    problem: Problem, lin: Linearisation, limit_price: Floats
) -> tuple[Floats, Floats]:
    """DLMP_P and DLMP_Q of every node at the AC point, shape (nodes, periods).

    DLMP_i = -(c dP0/dp_i + sum_k mu_k dg_k/dp_i), with c the import price; the caps' own prices
    are among the mu_k.
    """
    c = problem.case.import_price_eur_per_mwh
    field_p, field_q = price_field(problem, lin, limit_price, (lin.limit_p, lin.limit_q))
    return -(c * lin.import_p + field_p), -(c * lin.import_q + field_q)


def _curvature(problem: Problem, lin: Linearisation, multipliers: Multipliers) -> Floats:
    """Signed curvature of the Lagrangian in the flows, from the prices at the present point."""
    dlmp_p, dlmp_q = node_prices(problem, lin, multipliers.limit)
    return problem.programme.tree.weights(dlmp_p, dlmp_q)


def _convex_curvature(problem: Problem, lin: Linearisation, multipliers: Multipliers) -> Floats:
    """The same, kept above a small share of what losses cost at the import price."""
    value = np.maximum(problem.case.import_price_eur_per_mwh, 0.0)
    floor = LEAST_CURVATURE * np.outer(problem.programme.tree.resistance, value)
    return np.maximum(_curvature(problem, lin, multipliers), floor)


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
    missing_p, missing_q = price_field(
        problem, lin, multipliers.limit, (lin.left_out_p, lin.left_out_q)
    )
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
    lin = linearise(problem, state, _choose_limits(problem, state, kept))
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
    over = (limit_values(problem.limits, point.state) - problem.limits.maximum[:, None]) / allowed
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
    best, share, worsened = point, 1.0, 0
    for _ in range(NEWTON_STEPS_MAX):
        lin, multipliers = point.linearisation, point.multipliers
        step = newton_step(
            problem.programme,
            NewtonPoint(
                x=point.x,
                reduced=reduced_costs(problem, lin, multipliers),
                gradient=_step_gradient(problem, lin, multipliers),
                curvature=_curvature(problem, lin, multipliers),
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
        # bounds that change hands in turn: half steps break the cycle
        worsened += _error(problem, further) >= _error(problem, point)
        share = 0.5 if worsened > 1 else 1.0
        point = further
        if _error(problem, point) < _error(problem, best):
            best = point
        if _is_done(problem, point):
            return dataclasses.replace(point, converged=True)
        if point.residuals.worst > POLISH_BELOW:
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


def row_error(resources: Resources, x: Floats) -> float:
    """Largest violation of a resource row."""
    activity = resources.rows @ x
    over = np.maximum(activity - resources.rows_upper, resources.rows_lower - activity)
    return float(np.maximum(over, 0.0).max(initial=0.0))


def optimise(
    problem: Problem,
    x_start: Floats | None = None,
    progress: Callable[[int, float, float], None] | None = None,
) -> Solution:
    """Run the successive optimisation.

    Parameters
    ----------
    problem : Problem
        Prepared case.
    x_start : ndarray, shape (columns,), optional
        Where to start; every column at its lower bound otherwise.
    progress : callable, optional
        Called with (iteration, KKT residual, worst violation in units of its tolerance).

    Returns
    -------
    Solution
        ``converged`` is False when the iteration limit came first.

    Raises
    ------
    StepInfeasible
        When the orders' own constraints cannot be met.
    PowerFlowDiverged
        When the starting schedule has no AC solution.
    """
    res, tol = problem.resources, problem.tolerances
    x = np.where(np.isfinite(res.lower), res.lower, 0.0) if x_start is None else x_start
    state = solve_state(problem.solver, res.injection(x))
    scarcity = problem.case.limits.scarcity_price_eur_per_mwh
    lin = linearise(problem, state, _choose_limits(problem, state, set()))
    multipliers = Multipliers(
        limit=np.zeros(len(lin.chosen)), row=np.zeros(res.rows.shape[0])
    )
    radius, iteration, near = np.inf, 0, False
    while iteration < tol.iterations_max:
        step = problem.programme.solve(
            x,
            _step_gradient(problem, lin, multipliers),
            _convex_curvature(problem, lin, multipliers),
            lin.rows,
            scarcity,
            radius,
            gap=1e-12 if near else 1e-8,
        )
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
        if radius < 1e-9 and share == 0.0:
            break
        near = point.residuals.worst < POLISH_BELOW
        if near:
            point = _polish(problem, point, progress)
            if point.converged:
                return point
        iteration, state = point.iterations, point.state
        x, lin, multipliers = point.x, point.linearisation, point.multipliers
    return point
