"""The linear programme over a linear network, limits added as they are violated.

    min   sum_j (cost_j + h c_t dP0/dx_j) x_j + scarcity h sum slack
    s.t.  resource rows and bounds;   (g + dg/dx (x - x0) - g_max) / m <= slack,  slack >= 0

The network is linear, so a row once added stays true; current limits get one more tangent to their
circle each time they are exceeded. Tangents of one limit and period share one slack. Most limits
never bind, and their dense rows are never built.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from opf.formulations.linear_network import LinearNetwork
from opf.kkt import Multipliers
from opf.limits import CURRENT_FROM, CURRENT_TO
from opf.linear_programme import LinearSolution, SolverStopped, solve_linear
from opf.linearise import Linearisation
from opf.problem import Problem
from opf.quadratic import LimitRows, StepInfeasible

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]
Pair = tuple[int, int]

ROUNDS_MAX: Final = 60
# Violation that asks for a row [pu, MW for the caps]; for currents, of the rating.
VIOLATION: Final = 1e-8
VIOLATION_SHARE: Final = 5e-7
PER_FAMILY: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearOptimum:
    """Optimum of a case on a linear network.

    ``slack`` is in MW-equivalent, one per pair of the linearisation; ``stopped`` says why the
    programme ended before its optimum, or is empty.
    """

    x: Floats
    linearisation: Linearisation
    multipliers: Multipliers
    slack: Floats
    rounds: int
    stopped: str


@dataclass(slots=True, kw_only=True)
class _Cuts:
    """Limit rows added so far: ``by_x`` x - slack of their pair <= ``room``."""

    pairs: list[Pair] = field(default_factory=list)
    pair_of_row: list[int] = field(default_factory=list)
    by_x: list[sparse.csr_matrix] = field(default_factory=list)
    room: list[float] = field(default_factory=list)
    dp: list[Floats] = field(default_factory=list)
    dq: list[Floats] = field(default_factory=list)

    def pair_arrays(self) -> tuple[Ints, Ints]:
        """Return limit numbers and periods of the pairs."""
        k = np.array([pair[0] for pair in self.pairs], dtype=np.int64)
        return k, np.array([pair[1] for pair in self.pairs], dtype=np.int64)


def model_cost_eur(problem: Problem, network: LinearNetwork, x: Floats) -> float:
    """Cost of awards plus import at its price, as the linear network sees it [EUR]."""
    imported = network.import_mw(problem.resources.injection(x))
    price = problem.case.import_price_eur_per_mwh
    return float(problem.resources.cost @ x + problem.case.periods.mtu_h * (price @ imported))


def optimise_linear(problem: Problem, network: LinearNetwork) -> LinearOptimum:
    """Solve a case on a linear network.

    Raises
    ------
    StepInfeasible
        When the orders' own constraints contradict each other.
    SolverStopped
        When the solver finds not even the optimum without limits within its time limit.
    """
    res = problem.resources
    cuts = _Cuts()
    found, stopped = _solve(problem, cuts), ""
    rounds = 0
    while True:
        rounds += 1
        x = np.clip(found.x[: len(res.cost)], res.lower, res.upper)
        injection = res.injection(x)
        wanted = _violated(problem, network, injection, cuts, found.x[len(res.cost) :])
        if not wanted:
            break
        if rounds > ROUNDS_MAX:
            stopped = f"limits were still being added after {ROUNDS_MAX} rounds"
            break
        _add_cuts(problem, network, cuts, wanted, x)
        try:
            found = _solve(problem, cuts)
        except SolverStopped as error:
            stopped = f"{error}; limits found later are left out"
            break
    return _read_optimum(problem, network, cuts, found, rounds, stopped)


def _solve(problem: Problem, cuts: _Cuts) -> LinearSolution:
    """Solve with the rows added so far; columns are [x, slack of each pair]."""
    res, h = problem.resources, problem.case.periods.mtu_h
    shape = (problem.grid.node_count, problem.periods)
    price = np.broadcast_to(-h * problem.case.import_price_eur_per_mwh[None, :], shape)
    cost = res.cost + res.column_gradient(price, np.zeros(shape))
    slacks, rows = len(cuts.pairs), len(cuts.pair_of_row)
    scarcity = problem.case.limits.scarcity_price_eur_per_mwh * h
    if not len(cost) + slacks:
        # no order and no limit in danger: nothing to decide, and HiGHS refuses empty programmes
        nothing = np.zeros(0)
        return LinearSolution(
            x=nothing, objective=0.0, row_dual=np.zeros(res.rows.shape[0]), column_dual=nothing
        )
    by_slack = sparse.csr_matrix(
        (np.full(rows, -1.0), (np.arange(rows), np.array(cuts.pair_of_row, dtype=np.int64))),
        shape=(rows, slacks),
    )
    blocks = [[res.rows, sparse.csr_matrix((res.rows.shape[0], slacks))]]
    if rows:
        blocks.append([sparse.vstack(cuts.by_x), by_slack])
    found = solve_linear(
        np.concatenate([cost, np.full(slacks, scarcity)]),
        sparse.bmat(blocks) if slacks else res.rows,
        np.concatenate([res.rows_lower, np.full(rows, -np.inf)]),
        np.concatenate([res.rows_upper, cuts.room]),
        np.concatenate([res.lower, np.zeros(slacks)]),
        np.concatenate([res.upper, np.full(slacks, np.inf)]),
    )
    if found is None:
        raise StepInfeasible("the resource constraints of the orders contradict each other")
    return found


def _violated(
    problem: Problem, network: LinearNetwork, injection: Complexes, cuts: _Cuts, slack: Floats
) -> list[Pair]:
    """Pairs (limit, period) beyond their slack: the worst of each family in each period."""
    limits = problem.limits
    over = network.excess(injection)
    allowed = np.full(len(limits), VIOLATION)
    current = (limits.family == CURRENT_FROM) | (limits.family == CURRENT_TO)
    allowed[current] = VIOLATION_SHARE * limits.maximum[current]
    k, t = cuts.pair_arrays()
    # a straight row that is in holds to the solver's tolerance; only circles need tangents
    over[k, t] = np.where(current[k], over[k, t] - slack * network.scale(k), -np.inf)
    pairs: list[Pair] = []
    for family in np.unique(limits.family).tolist():
        members = np.flatnonzero(limits.family == family)
        wanted = over[members] > allowed[members, None]
        for period in np.flatnonzero(wanted.any(axis=0)).tolist():
            ranked = np.argsort(-over[members, period], kind="stable")[:PER_FAMILY]
            pairs += [(int(members[row]), period) for row in ranked if wanted[row, period]]
    return pairs


def _add_cuts(
    problem: Problem, network: LinearNetwork, cuts: _Cuts, wanted: list[Pair], x: Floats
) -> None:
    """Add one row per wanted pair, through the point x."""
    res = problem.resources
    chosen = np.array([k for k, _ in wanted], dtype=np.int64)
    period = np.array([t for _, t in wanted], dtype=np.int64)
    injection = res.injection(x)
    dp, dq = network.gradients(chosen, period, injection)
    scale = network.scale(chosen)
    excess = network.excess(injection)[chosen, period]
    entry_period = res.period[res.inject_column]  # sorted
    first = np.searchsorted(entry_period, period)
    last = np.searchsorted(entry_period, period, side="right")
    number = {pair: place for place, pair in enumerate(cuts.pairs)}
    for row, pair in enumerate(wanted):
        if pair not in number:
            number[pair] = len(cuts.pairs)
            cuts.pairs.append(pair)
        span = slice(int(first[row]), int(last[row]))
        node, column = res.inject_node[span], res.inject_column[span]
        slope = res.inject_p[span] * dp[node, row] + res.inject_q[span] * dq[node, row]
        zeros = np.zeros(len(column), dtype=np.int64)
        by_x = sparse.csr_matrix((slope / scale[row], (zeros, column)), shape=(1, len(x)))
        cuts.pair_of_row.append(number[pair])
        cuts.by_x.append(by_x)
        cuts.room.append(float((by_x @ x)[0]) - float(excess[row] / scale[row]))
        cuts.dp.append(dp[:, row])
        cuts.dq.append(dq[:, row])


def _read_optimum(
    problem: Problem,
    network: LinearNetwork,
    cuts: _Cuts,
    found: LinearSolution,
    rounds: int,
    stopped: str,
) -> LinearOptimum:
    """Collect the tangents of each pair into one gradient and one price."""
    res, h = problem.resources, problem.case.periods.mtu_h
    own_rows, columns = res.rows.shape[0], len(res.cost)
    solved_rows = len(found.row_dual) - own_rows
    pairs, nodes = len(cuts.pairs), problem.grid.node_count
    price = np.zeros(pairs)
    dp, dq = np.zeros((nodes, pairs)), np.zeros((nodes, pairs))
    for row, k in enumerate(cuts.pair_of_row):
        own = max(-found.row_dual[own_rows + row] / h, 0.0) if row < solved_rows else 0.0
        # a pair without a price keeps the gradient of its latest tangent
        if own > 0.0 or price[k] == 0.0:
            total = price[k] + own
            keep = price[k] / total if total > 0.0 else 0.0
            dp[:, k] = keep * dp[:, k] + (1.0 - keep) * cuts.dp[row]
            dq[:, k] = keep * dq[:, k] + (1.0 - keep) * cuts.dq[row]
            price[k] = total
    slack = np.zeros(pairs)
    slack[: len(found.x) - columns] = found.x[columns:]
    x = np.clip(found.x[:columns], res.lower, res.upper)
    chosen, period = cuts.pair_arrays()
    order = np.lexsort((chosen, period))
    lin = linear_point(
        problem, network, x, (chosen[order], period[order]), (dp[:, order], dq[:, order])
    )
    return LinearOptimum(
        x=x,
        linearisation=lin,
        multipliers=Multipliers(limit=price[order], row=-found.row_dual[:own_rows]),
        slack=slack[order],
        rounds=rounds,
        stopped=stopped,
    )


def linear_point(
    problem: Problem,
    network: LinearNetwork,
    x: Floats,
    pairs: tuple[Ints, Ints],
    gradients: tuple[Floats, Floats],
) -> Linearisation:
    """Put gradients of a linear network into the record that prices and KKT residuals read.

    Parameters
    ----------
    pairs : (ndarray of int, ndarray of int), shape (k,)
        Limit number and period.
    gradients : (ndarray, ndarray), shape (nodes, k)
        dg/dp and dg/dq of each.
    """
    chosen, period = pairs
    scale = network.scale(chosen)
    excess = network.excess(problem.resources.injection(x))[chosen, period]
    shape = (problem.grid.node_count, problem.periods)
    zeros = np.zeros_like(gradients[0])
    none = sparse.csr_matrix((len(chosen), 0))
    return Linearisation(
        import_p=np.full(shape, -1.0),
        import_q=np.zeros(shape),
        chosen=chosen,
        period=period,
        limit_p=gradients[0],
        limit_q=gradients[1],
        scale=scale,
        left_out_p=zeros,
        left_out_q=zeros,
        rows=LimitRows(
            by_flow=none,
            by_column=none,
            balances=problem.programme.flow_rows,
            room=-excess / scale,
            scale=scale,
        ),
    )
