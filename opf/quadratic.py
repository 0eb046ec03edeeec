"""One step of the successive optimisation: a sparse convex quadratic programme.

    min   sum_j (cost_j + h c_t dP0/dx_j) x_j  +  h sum_b w_b (df_b^2 + dg_b^2)
          + scarcity h sum_k slack_k
    s.t.  resource rows and bounds;  df, dg = flow changes on the spanning tree
          (g_k + dg_k/df df - g_k_max) / m_k <= slack_k,   slack_k >= 0

with ``m_k = max_i |dg_k/dp_i|``, so a slack is in MW-equivalent. Solved by Clarabel's interior
point method; its multipliers are the analytic centre of the optimal ones, which is the rule by
which degenerate prices are chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from opf.flow_gains import Gain
from opf.loss_curvature import FlowTree
from opf.resources import Resources

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SOLVER_OPTIONS: Final = (
    ("tol_feas", "1e-10"),
    ("max_iter", "100"),
    ("max_threads", "1"),
    ("direct_solve_method", "qdldl"),
)


# Duality gaps above this need no iterative refinement of the linear systems (30 % of the time).
REFINE_BELOW: Final = 1e-9


# One step takes seconds; one that takes this long [s] will not end well.
STEP_TIME_LIMIT_S: Final = 300.0


class StepStopped(Exception):
    """The solver gave no step: its time limit came, or numbers broke down."""


class StepInfeasible(Exception):
    """The resource constraints of the orders contradict each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRows:
    """Chosen limits, linearised: ``by_flow df + by_column dx - slack <= room``.

    Parameters
    ----------
    by_flow : csr_matrix, shape (rows, flows x periods x parts)
        Derivative by flow changes divided by ``scale``; small entries are left out, the caller
        corrects the cost gradient for them.
    by_column : csr_matrix, shape (rows, columns)
        Derivative by columns at the substation itself, divided by ``scale``.
    balances : csc_matrix, shape (flows x periods x parts, free columns + flows x periods x parts)
        What every flow is: ``balances (dx, df) = 0``.
    room : ndarray, shape (rows,)
        (g_max - g) / scale at the linearisation point [MW-equivalent].
    scale : ndarray, shape (rows,)
        Largest |dg/dp| over all buses.
    """

    by_flow: sparse.csr_matrix
    by_column: sparse.csr_matrix
    balances: sparse.csc_matrix
    room: Floats
    scale: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Solution of one quadratic programme.

    ``limit_price`` has one multiplier per limit row [EUR/MW-equivalent/h], ``row_price`` one per
    resource row [EUR per unit], ``slack`` the slack used [MW-equivalent].
    """

    x: Floats
    limit_price: Floats
    row_price: Floats
    slack: Floats


class StepProgramme:
    """The parts of the programme that stay the same from step to step."""

    def __init__(
        self,
        resources: Resources,
        tree: FlowTree,
        periods: int,
        mtu_h: float,
        *,
        lossy: bool = False,
    ) -> None:
        """Prepare; ``lossy`` says that balances will know what flows lose on their way."""
        self.resources = resources
        self.tree = tree
        self.periods = periods
        self.mtu_h = mtu_h
        self.free = np.flatnonzero(resources.upper > resources.lower)
        self.free_position = np.full(len(resources.cost), -1, dtype=np.int64)
        self.free_position[self.free] = np.arange(len(self.free))
        self.flow_parts = [resources.inject_p]
        if lossy or np.any(resources.inject_q[np.isin(resources.inject_column, self.free)]):
            self.flow_parts.append(resources.inject_q)
        self.flow_rows, self._children_at = self._flow_rows(lossy=lossy)
        equal = resources.rows_lower == resources.rows_upper
        self.row_equal = np.flatnonzero(equal)
        self.row_above = np.flatnonzero(~equal & np.isfinite(resources.rows_upper))
        self.row_below = np.flatnonzero(~equal & np.isfinite(resources.rows_lower))

    def _flow_rows(self, *, lossy: bool) -> tuple[sparse.csc_matrix, list[Ints]]:
        """Rows df_b - sum(df of children) - sum(p x) = 0, columns [free x, flows].

        Also where the entries of the children are: by part above and part below, if ``lossy`` of
        each part by each other, in the order of the flows that have one above.
        """
        tree, res, size = self.tree, self.resources, self.periods
        flows, free = len(tree.parent), len(self.free)
        per_part = flows * size
        parts = range(len(self.flow_parts))
        each = np.arange(per_part)
        parent = np.repeat(tree.parent, size)
        with_parent = parent >= 0
        above = (parent * size + np.tile(np.arange(size), flows))[with_parent]
        column = self.free_position[res.inject_column]
        flow = tree.flow_of_node[res.inject_node]
        injecting = (column >= 0) & (flow >= 0)
        at = flow[injecting] * size + res.period[res.inject_column][injecting]
        shape = (len(parts) * per_part, free + len(parts) * per_part)
        own = sparse.csc_matrix(shape)
        for part, coefficient in enumerate(self.flow_parts):
            entries = (
                np.concatenate([np.ones(per_part), -coefficient[injecting]]),
                (
                    part * per_part + np.concatenate([each, at]),
                    np.concatenate([free + part * per_part + each, column[injecting]]),
                ),
            )
            own = own + sparse.csc_matrix(entries, shape=shape)
        known = own.tocoo()
        pairs = [(up, down) for up in parts for down in parts if lossy or up == down]
        row = [known.row] + [up * per_part + above for up, _ in pairs]
        col = [known.col] + [free + down * per_part + each[with_parent] for _, down in pairs]
        value = [known.data] + [np.full(len(above), -float(up == down)) for up, down in pairs]
        rows, columns = np.concatenate(row).astype(np.int64), np.concatenate(col)
        order = np.lexsort((rows, columns))
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        start = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=shape[1]))])
        matrix = sparse.csc_matrix((np.concatenate(value)[order], rows[order], start), shape=shape)
        return matrix, np.split(place[known.nnz :], len(pairs))

    def balances(self, gain: Gain) -> sparse.csc_matrix:
        """Rows of the flows where a flow arrives above with these gains, of a lossy programme.

        Parameters
        ----------
        gain : Gain, shape (flows, periods)
            From each flow to the one above it.
        """
        above = self.tree.parent >= 0
        own, conjugate = gain.own[above].ravel(), gain.conjugate[above].ravel()
        arrives = (
            own.real + conjugate.real,
            conjugate.imag - own.imag,
            own.imag + conjugate.imag,
            own.real - conjugate.real,
        )
        data = self.flow_rows.data.copy()
        for place, value in zip(self._children_at, arrives, strict=True):
            data[place] = -value
        known = self.flow_rows
        return sparse.csc_matrix((data, known.indices, known.indptr), shape=known.shape)

    def solve(
        self,
        x0: Floats,
        gradient: Floats,
        curvature: Floats,
        limits: LimitRows,
        scarcity_price: float,
        radius: float,
        gap: float,
    ) -> Step:
        """Solve one step from ``x0``.

        Parameters
        ----------
        x0 : ndarray, shape (columns,)
            Linearisation point.
        gradient : ndarray, shape (columns,)
            Cost gradient at it [EUR per unit].
        curvature : ndarray, shape (flows, periods)
            Value of the losses a flow change adds, not negative [EUR/MW^2/h].
        limits : LimitRows
            Limits in the programme.
        scarcity_price : float
            Price of slack [EUR/MWh].
        radius : float
            Trust region on each power [MW]; ``inf`` for none.
        gap : float
            Duality gap to solve to, relative and absolute.

        Raises
        ------
        StepInfeasible
            When the orders' own constraints cannot be met.
        """
        res = self.resources
        free = self.free
        n_free, n_flow, n_slack = len(free), limits.balances.shape[0], len(limits.room)
        if n_free == 0:
            short = np.maximum(-limits.room, 0.0)
            price = np.where(limits.room < 0, scarcity_price, 0.0)
            return Step(
                x=x0.copy(), limit_price=price, row_price=np.zeros(res.rows.shape[0]), slack=short
            )
        lower, upper = res.lower[free], res.upper[free]
        if np.isfinite(radius):
            lower = np.maximum(lower, x0[free] - radius)
            upper = np.minimum(upper, x0[free] + radius)
        weight = 2.0 * self.mtu_h * curvature.ravel()
        diagonal = np.concatenate(
            [np.zeros(n_free), np.tile(weight, len(self.flow_parts)), np.zeros(n_slack)]
        )
        cost = np.concatenate(
            [gradient[free], np.zeros(n_flow), np.full(n_slack, scarcity_price * self.mtu_h)]
        )
        blocks, right, zero_rows = self._blocks(x0, limits, lower, upper, (n_free, n_flow, n_slack))
        solution = _solve_clarabel(
            sparse.diags(diagonal).tocsc(),
            cost,
            sparse.vstack(blocks).tocsc(),
            right,
            zero_rows,
            gap,
        )
        x = x0.copy()
        # an interior point may end a hair outside a bound
        x[free] = np.clip(np.asarray(solution.x[:n_free]), lower, upper)
        z = np.asarray(solution.z)
        row_price = np.zeros(res.rows.shape[0])
        row_price[self.row_equal] = z[: len(self.row_equal)]
        at = zero_rows
        limit_price = z[at : at + n_slack] / self.mtu_h
        at += n_slack
        row_price[self.row_above] += z[at : at + len(self.row_above)]
        at += len(self.row_above)
        row_price[self.row_below] -= z[at : at + len(self.row_below)]
        slack = np.asarray(solution.x[n_free + n_flow :])
        return Step(x=x, limit_price=limit_price, row_price=row_price, slack=slack)

    def _blocks(
        self,
        x0: Floats,
        limits: LimitRows,
        lower: Floats,
        upper: Floats,
        sizes: tuple[int, int, int],
    ) -> tuple[list[sparse.spmatrix], Floats, int]:
        """Constraint blocks A, right-hand side b and the number of equality rows."""
        res, free = self.resources, self.free
        n_free, n_flow, n_slack = sizes
        rows = res.rows[:, free]
        rows_fixed = res.rows @ x0 - rows @ x0[free]
        pad = sparse.csr_matrix((rows.shape[0], n_flow + n_slack))
        wide = sparse.hstack([rows, pad]).tocsr()
        flow = sparse.hstack([limits.balances, sparse.csr_matrix((n_flow, n_slack))]).tocsr()
        limit = sparse.hstack(
            [
                limits.by_column[:, free],
                limits.by_flow,
                -sparse.identity(n_slack),
            ]
        )
        eye = sparse.identity(n_free + n_flow + n_slack, format="csr")
        slack_at = np.arange(n_free + n_flow, n_free + n_flow + n_slack)
        has_upper = np.flatnonzero(np.isfinite(upper))
        has_lower = np.flatnonzero(np.isfinite(lower))
        limit_right = limits.room + limits.by_column[:, free] @ x0[free]
        blocks = [
            wide[self.row_equal],
            flow,
            limit,
            wide[self.row_above],
            -wide[self.row_below],
            eye[has_upper],
            -eye[has_lower],
            -eye[slack_at],
        ]
        right = np.concatenate(
            [
                (res.rows_upper - rows_fixed)[self.row_equal],
                limits.balances[:, :n_free] @ x0[free],
                limit_right,
                (res.rows_upper - rows_fixed)[self.row_above],
                (rows_fixed - res.rows_lower)[self.row_below],
                upper[has_upper],
                -lower[has_lower],
                np.zeros(n_slack),
            ]
        )
        return blocks, right, len(self.row_equal) + n_flow


def _solve_clarabel(
    quadratic: sparse.csc_matrix,
    cost: Floats,
    rows: sparse.csc_matrix,
    right: Floats,
    zero_rows: int,
    gap: float,
) -> Any:  # noqa: ANN401  Clarabel ships no types
    """Solve min x'Px/2 + q'x, Ax + s = b, s in zero x nonnegative cones."""
    import clarabel

    settings = clarabel.DefaultSettings()
    settings.verbose = False
    for name, text in SOLVER_OPTIONS:
        current = getattr(settings, name)
        setattr(
            settings, name, type(current)(float(text)) if not isinstance(current, str) else text
        )
    settings.tol_gap_abs = settings.tol_gap_rel = gap
    settings.iterative_refinement_enable = gap < REFINE_BELOW
    settings.time_limit = STEP_TIME_LIMIT_S
    cones = [clarabel.ZeroConeT(zero_rows), clarabel.NonnegativeConeT(len(right) - zero_rows)]
    solver = clarabel.DefaultSolver(quadratic, cost, rows, right, cones, settings)
    solution = solver.solve()
    status = str(solution.status)
    if "Infeasible" in status:
        raise StepInfeasible(status)
    # a step that stopped short is still a step: the AC point it leads to is judged by itself
    if status == "MaxTime" or not np.isfinite(np.asarray(solution.x)).all():
        raise StepStopped(f"the solver stopped with {status}")
    return solution
