"""The linear system of one interior-point step, factorised sparsely.

    [ D_x   .    C_x'  R'   G_x' ] [dx]
    [  .    W    C_f'  .    G_f' ] [df]
    [ C_x  C_f    .    .     .   ] [dy]   flow balances on the tree
    [ R     .     .   -D_r   .   ] [dr]   rows of the orders
    [ G_x  G_f    .    .   -D_g  ] [dg]   limits

Bounds and slacks are eliminated into the diagonals, so its size is columns, flows and rows alone,
and it is as sparse as the feeder: a factorisation takes 20 ms where the day has 35,000 columns.
Flows stay in it because written by columns alone every period would be dense.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import qdldl
from numpy.typing import NDArray
from scipy import sparse

from opf.quadratic import LimitRows, StepProgramme

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Added to empty diagonals for the factorisation; refinement against the true matrix removes it.
REGULARISATION: Final = 1e-8
REFINEMENTS_MAX: Final = 3
# Derivatives of a limit by a flow, as a share of its largest by a node, that need no place.
NEGLIGIBLE: Final = 1e-2
# Residual of a solve relative to its right-hand side that needs no refinement.
SOLVED_TO: Final = 1e-10


class SystemSingular(Exception):
    """The factorisation met a zero pivot."""


class KktSystem:
    """The system with a fixed pattern, whose values change from step to step.

    ``before`` is one whose pattern did not fit: where the limits are the same, what it had is kept,
    so that entries that come and go do not make a new pattern each time.
    """

    def __init__(
        self, programme: StepProgramme, limits: LimitRows, before: KktSystem | None = None
    ) -> None:
        self.columns, self.rows = len(programme.free), programme.resources.rows.shape[0]
        self.flows, self.limits = limits.balances.shape[0], len(limits.room)
        self.pattern = _keys(limits.by_flow)
        if before is not None and before.limits == self.limits:
            self.pattern = np.union1d(self.pattern, before.pattern)
        flow_column = limits.balances[:, : self.columns].tocoo()
        flow_flow = limits.balances[:, self.columns :].tocoo()
        resource = programme.resources.rows[:, programme.free].tocoo()
        by_column = limits.by_column[:, programme.free].tocoo()
        at_flow = self.columns
        at_balance = at_flow + self.flows
        at_row = at_balance + self.flows
        at_limit = at_row + self.rows
        size = at_limit + self.limits
        limit_row, limit_flow = np.divmod(self.pattern, max(self.flows, 1))
        each = np.arange(size)
        parts = (
            (each, each, np.zeros(size)),
            (flow_column.col, at_balance + flow_column.row, flow_column.data),
            (at_flow + flow_flow.col, at_balance + flow_flow.row, flow_flow.data),
            (resource.col, at_row + resource.row, resource.data),
            (by_column.col, at_limit + by_column.row, by_column.data),
            (at_flow + limit_flow, at_limit + limit_row, np.zeros(len(self.pattern))),
        )
        row = np.concatenate([part[0] for part in parts])
        column = np.concatenate([part[1] for part in parts])
        order = np.lexsort((row, column))
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        self.diagonal_at = place[:size]
        self.by_column_at = place[len(place) - len(self.pattern) - by_column.nnz :][: by_column.nnz]
        self.by_flow_at = place[len(place) - len(self.pattern) :]
        at_flows = size + flow_column.nnz
        self.flow_flow_at = place[at_flows : at_flows + flow_flow.nnz]
        start = np.concatenate([[0], np.cumsum(np.bincount(column, minlength=size))])
        values = np.concatenate([part[2] for part in parts])[order]
        self.upper = sparse.csc_matrix((values, row[order], start), shape=(size, size))
        self.sign = np.repeat([1.0, -1.0], [at_balance, size - at_balance])
        self.diagonal = np.zeros(size)
        # residual of the last solve, relative to its right-hand side
        self.inaccuracy = 0.0
        self.solver: qdldl.Solver | None = None

    def take_limits(self, programme: StepProgramme, limits: LimitRows) -> bool:
        """Put the values of new limit rows in place; False where their pattern does not fit.

        Small entries that it has no place for are left out: they change the step a little, not
        where the steps lead, and a new pattern costs twice as much as a factorisation.
        """
        if len(limits.room) != self.limits:
            return False
        keys, new = _keys(limits.by_flow), limits.by_flow.data
        place = np.minimum(np.searchsorted(self.pattern, keys), max(len(self.pattern) - 1, 0))
        fits = self.pattern[place] == keys if len(self.pattern) else np.zeros(len(keys), dtype=bool)
        if np.any(np.abs(new[~fits]) > NEGLIGIBLE):
            return False
        values = np.zeros(len(self.pattern))
        values[place[fits]] = new[fits]
        self.upper.data[self.by_flow_at] = values
        by_column = limits.by_column[:, programme.free].tocoo()
        self.upper.data[self.by_column_at] = by_column.data
        flows = limits.balances
        self.upper.data[self.flow_flow_at] = flows.data[flows.indptr[self.columns] :]
        return True

    def factorise(self, columns: Floats, flows: Floats, rows: Floats, limits: Floats) -> None:
        """Factorise with these diagonals: D_x and W as they are, D_r and D_g not negative.

        Raises
        ------
        SystemSingular
            When a pivot is zero.
        """
        balance = np.zeros(self.flows)
        self.diagonal = np.concatenate([columns, flows, -balance, -rows, -limits])
        small = np.abs(self.diagonal) < REGULARISATION
        self.upper.data[self.diagonal_at] = np.where(
            small, REGULARISATION * self.sign, self.diagonal
        )
        try:
            if self.solver is None:
                self.solver = qdldl.Solver(self.upper, upper=True)
            else:
                self.solver.update(self.upper, upper=True)
        except (RuntimeError, ValueError) as error:
            raise SystemSingular(str(error)) from error

    def is_convex(self) -> bool:
        """Whether the step minimises: as many positive pivots as columns and flows."""
        assert self.solver is not None
        pivots: Floats = self.solver.factors()[1]
        return bool(np.count_nonzero(pivots > 0) == self.columns + self.flows)

    def missing_pivots(self, zone: Ints, count: int) -> Floats:
        """Say where a step would not minimise: positive pivots that each zone lacks.

        Their sum is exact, and 0 exactly where the step minimises. That of a zone counts what is
        its own; what joins zones may be counted on either side.

        Parameters
        ----------
        zone : ndarray of int
            Zone of every column, flow, flow balance, row and limit.
        """
        assert self.solver is not None
        _, pivots, order = self.solver.factors()
        lacking = np.zeros(len(zone))
        lacking[np.asarray(order)] = -(np.asarray(pivots) > 0).astype(float)
        lacking[: self.columns + self.flows] += 1.0
        return np.asarray(np.bincount(zone, weights=lacking, minlength=count), dtype=float)

    def solve(self, columns: Floats, rows: Floats, limits: Floats) -> tuple[Floats, Floats, Floats]:
        """Solve for (dx, dr, dg) from the right-hand sides of their own rows."""
        assert self.solver is not None
        right = np.concatenate([columns, np.zeros(2 * self.flows), rows, limits])
        added = self.upper.data[self.diagonal_at] - self.diagonal
        found = self.solver.solve(right)
        size = max(float(np.abs(right).max(initial=0.0)), 1e-300)
        diagonal = self.upper.data[self.diagonal_at]
        for refinement in range(REFINEMENTS_MAX + 1):
            product = self.upper @ found + self.upper.T @ found - diagonal * found
            missing = right - product + added * found
            self.inaccuracy = float(np.abs(missing).max(initial=0.0)) / size
            if refinement == REFINEMENTS_MAX or not self.inaccuracy > SOLVED_TO:
                break
            found = found + self.solver.solve(missing)
        at_row = self.columns + 2 * self.flows
        at_limit = at_row + self.rows
        return found[: self.columns], found[at_row:at_limit], found[at_limit:]


def _keys(by_flow: sparse.csr_matrix) -> Ints:
    """Position of every entry as row x flows + flow, in the order of the matrix."""
    if not by_flow.has_sorted_indices:
        by_flow.sort_indices()
    row = np.repeat(np.arange(by_flow.shape[0]), np.diff(by_flow.indptr))
    return np.asarray(row * by_flow.shape[1] + by_flow.indices, dtype=np.int64)
