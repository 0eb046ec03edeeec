"""AC power flow and adjoint sensitivities of all periods at once.

With constant-power injections s and V0 fixed at the substation, the node voltages V solve
``A V + Y_L0 V0 = conj(s / V)``, A being the admittance matrix without the substation. A does not
depend on the period or the operating point, so one factorisation serves every period, every
iteration and every adjoint:

* power flow: ``V <- A^-1 (conj(s / V) - Y_L0 V0)`` (the implicit Z-bus method), a contraction in
  normal operation, with Newton's method for the periods where it is not;
* adjoint: for ``dg = Re(c^T dV)`` the multiplier solves ``A^T x + conj(D) conj(x) = c`` with
  ``D = diag(conj(s) / conj(V)^2)``, by the same iteration; then
  ``dg/dp_i = Re(x_i / conj(V_i))`` and ``dg/dq_i = Im(x_i / conj(V_i))``.

Radial and meshed grids alike. On large radial ones Newton's method by sweeps (`opf.radial_tree`)
takes the place of both iterations. Shapes: nodes without the substation x columns (periods).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import linalg

from opf.grid import Grid
from opf.radial_tree import RadialTree, TreeFactor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]

TOLERANCE_PU: Final = 1e-12
ITERATIONS_MAX: Final = 200
# Up to this size one dense product is quicker than a sparse triangular solve, and on radial grids
# a gradient by every node than sweeps.
DENSE_NODES_MAX: Final = 600
RADIAL_DENSE_NODES_MAX: Final = 50
# Newton's steps on a tree, the step after which the next one would be rounding [pu], and columns
# whose adjoints are solved at once.
NEWTON_STEPS_MAX: Final = 20
LAST_STEP_PU: Final = 1e-8
COLUMNS_AT_ONCE: Final = 192


class PowerFlowDiverged(Exception):
    """No AC solution was found; ``columns`` are the periods concerned."""

    def __init__(self, columns: list[int]) -> None:
        self.columns = columns
        super().__init__(f"no AC power flow solution in periods {columns[:10]}")


class NodalSolver:
    """The factorised admittance matrix of one grid without its substation."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        y = grid.admittance
        self.size = grid.node_count - 1
        self.y_slack_row = np.asarray(y[0, :].todense()).ravel()
        self.a = y[1:, 1:].tocsc()
        self.rhs_slack = -np.asarray(y[1:, 0].todense()).ravel() * grid.slack_v
        self._dense: Complexes | None = None
        self._lu: linalg.SuperLU | None = None
        self.tree: RadialTree | None = None
        if self.size == 0:
            self.no_load = np.zeros(0, dtype=complex)
            return
        if grid.radial and self.size > RADIAL_DENSE_NODES_MAX:
            self.tree = RadialTree(self.a, np.flatnonzero(np.diff(y[1:, :1].tocsr().indptr)))
        if self.size <= DENSE_NODES_MAX:
            self._dense = np.linalg.inv(self.a.toarray())
        else:
            self._lu = linalg.splu(self.a)
        self.no_load = self.solve(self.rhs_slack[:, None])[:, 0]

    def solve(self, rhs: Complexes) -> Complexes:
        """Return A^-1 rhs."""
        if self._dense is not None:
            return self._dense @ rhs
        assert self._lu is not None
        return np.asarray(self._lu.solve(rhs))

    def solve_transposed(self, rhs: Complexes) -> Complexes:
        """Return A^-T rhs."""
        if self._dense is not None:
            return self._dense.T @ rhs
        assert self._lu is not None
        return np.asarray(self._lu.solve(rhs, trans="T"))

    def voltages(self, injection: Complexes, start: Complexes | None = None) -> Complexes:
        """Solve the power flow of all columns.

        Parameters
        ----------
        injection : ndarray of complex, shape (nodes - 1, columns)
            Net injection p + jq [MW, Mvar] of every node but the substation.
        start : ndarray of complex, optional
            Voltages to start from.

        Returns
        -------
        ndarray of complex, shape (nodes - 1, columns)
            Node voltages [pu].

        Raises
        ------
        PowerFlowDiverged
            With the columns for which neither iteration nor Newton finds a solution.
        """
        columns = injection.shape[1]
        v = np.repeat(self.no_load[:, None], columns, axis=1) if start is None else start.copy()
        if self.size == 0:
            return v
        if self.tree is not None:
            return self._by_sweeps(self.tree, injection, v)
        active = np.arange(columns)
        for _ in range(ITERATIONS_MAX):
            old = v[:, active]
            with np.errstate(all="ignore"):
                new = self.no_load[:, None] + self.solve(np.conj(injection[:, active] / old))
                change = np.abs(new - old).max(axis=0)
            v[:, active] = new
            broken = ~np.isfinite(change) | (np.abs(new).min(axis=0) < 0.2)
            if broken.any():
                lost = active[broken]
                v[:, lost] = self._newton(injection[:, lost], lost)
            active = active[(change > TOLERANCE_PU) & ~broken]
            if not len(active):
                return v
        v[:, active] = self._newton(injection[:, active], active)
        return v

    def _by_sweeps(self, tree: RadialTree, injection: Complexes, v: Complexes) -> Complexes:
        """Newton's method on a tree, all columns at once; those it loses go to `_newton`."""
        active = np.arange(injection.shape[1])
        for _ in range(NEWTON_STEPS_MAX):
            at, s = v[:, active], injection[:, active]
            with np.errstate(all="ignore"):
                drawn: Complexes = np.conj(s / at)
                mismatch = self.a @ at - self.rhs_slack[:, None] - drawn
                slope: Complexes = drawn / np.conj(at)
                change = tree.solve(tree.factorise(slope), mismatch)
                size = np.abs(change).max(axis=0)
                at -= change * np.minimum(1.0, 0.5 / np.maximum(size, 1e-300))
            v[:, active] = at
            lost = active[~np.isfinite(size) | (np.abs(at).min(axis=0) < 0.2)]
            if len(lost):
                v[:, lost] = self._newton(injection[:, lost], lost)
            active = active[(size > LAST_STEP_PU) & ~np.isin(active, lost)]
            if not len(active):
                return v
        v[:, active] = self._newton(injection[:, active], active)
        return v

    def factorise(self, state: AcState) -> TreeFactor:
        """Eliminate the linearised power flow of a state, on grids that have a tree."""
        assert self.tree is not None
        v = state.v[1:]
        return self.tree.factorise(np.conj(state.injection[1:] / v**2))

    def _newton(self, injection: Complexes, columns: Ints) -> Complexes:
        """Newton's method from the no-load voltages, column by column."""
        found = np.empty_like(injection)
        lost: list[int] = []
        for k in range(injection.shape[1]):
            v = self._newton_column(injection[:, k])
            if v is None:
                lost.append(int(columns[k]))
            else:
                found[:, k] = v
        if lost:
            raise PowerFlowDiverged(lost)
        return found

    def _newton_column(self, s: Complexes) -> Complexes | None:
        v = self.no_load.copy()
        for _ in range(40):
            mismatch = self.a @ v - self.rhs_slack - np.conj(s / v)
            if np.abs(mismatch).max() < 1e-11 * max(1.0, float(np.abs(s).max())):
                return v
            d = sparse.diags(np.conj(s) / np.conj(v) ** 2)
            jacobian = sparse.bmat(
                [
                    [self.a.real + d.real, -self.a.imag + d.imag],
                    [self.a.imag + d.imag, self.a.real - d.real],
                ]
            ).tocsc()
            step = linalg.spsolve(jacobian, -np.concatenate([mismatch.real, mismatch.imag]))
            if not np.isfinite(step).all():
                return None
            dv = step[: self.size] + 1j * step[self.size :]
            v = v + dv * min(1.0, 0.5 / max(float(np.abs(dv).max()), 1e-300))
        return None

    def adjoint(
        self, weights: Complexes, injection: Complexes, v: Complexes
    ) -> tuple[Floats, Floats]:
        """Gradients of scalars ``g`` with ``dg = Re(weights^T dV)``, one per column.

        Parameters
        ----------
        weights : ndarray of complex, shape (nodes - 1, columns)
            Derivative of each scalar by the voltages.
        injection, v : ndarray of complex, same shape
            Injection and voltages of the period each scalar belongs to.

        Returns
        -------
        (dg_dp, dg_dq) : ndarray, same shape
            Derivative by the active and reactive injection of every node but the substation.
        """
        if self.size == 0:
            return np.zeros(weights.shape), np.zeros(weights.shape)
        d = injection / v**2
        if self.tree is not None:
            x = np.empty_like(weights)
            for first in range(0, weights.shape[1], COLUMNS_AT_ONCE):
                some = slice(first, first + COLUMNS_AT_ONCE)
                factor = self.tree.factorise(np.conj(d[:, some]))
                x[:, some] = self.tree.solve_adjoint(factor, weights[:, some])
            ratio = x / np.conj(v)
            return ratio.real, ratio.imag
        x = self.solve_transposed(weights)
        active = np.arange(weights.shape[1])
        for _ in range(ITERATIONS_MAX):
            old = x[:, active]
            new = self.solve_transposed(weights[:, active] - d[:, active] * np.conj(old))
            change = np.abs(new - old).max(axis=0)
            scale = np.maximum(np.abs(new).max(axis=0), 1e-9)
            x[:, active] = new
            done = change <= 1e-13 * scale
            active = active[~done]
            if not len(active) or not np.isfinite(change).all():
                break
        for k in active:
            x[:, k] = self._adjoint_column(weights[:, k], d[:, k])
        ratio = x / np.conj(v)
        return ratio.real, ratio.imag

    def _adjoint_column(self, c: Complexes, d: Complexes) -> Complexes:
        """Solve one adjoint directly where the iteration does not contract."""
        at, diag = self.a.T.tocsc(), sparse.diags(d)
        system = sparse.bmat(
            [
                [at.real + diag.real, -at.imag + diag.imag],
                [at.imag + diag.imag, at.real - diag.real],
            ]
        ).tocsc()
        x = linalg.spsolve(system, np.concatenate([c.real, c.imag]))
        return np.asarray(x[: self.size] + 1j * x[self.size :])


@dataclass(frozen=True, slots=True, kw_only=True)
class AcState:
    """The AC state of all periods.

    Parameters
    ----------
    injection : ndarray of complex, shape (nodes, periods)
        Net injection of every node but the substation's own exchange [MW + j Mvar].
    v : ndarray of complex, shape (nodes, periods)
        Node voltages [pu].
    exchange : ndarray of complex, shape (periods,)
        Power taken from the grid above, + import [MW + j Mvar].
    current_from, current_to : ndarray of complex, shape (branches, periods)
        Current into each branch at its ends [pu].
    """

    injection: Complexes
    v: Complexes
    exchange: Complexes
    current_from: Complexes
    current_to: Complexes


def solve_state(solver: NodalSolver, injection: Complexes, start: AcState | None = None) -> AcState:
    """Solve the power flow of all periods and derive exchange and branch currents.

    Parameters
    ----------
    solver : NodalSolver
        Factorised grid.
    injection : ndarray of complex, shape (nodes, periods)
        Net injection of every node; row 0 is what is connected at the substation itself.
    start : AcState, optional
        State to start from.
    """
    begin = None if start is None else start.v[1:]
    below = solver.voltages(injection[1:], begin)
    v = np.vstack([np.full((1, injection.shape[1]), solver.grid.slack_v), below])
    exchange = v[0] * np.conj(solver.y_slack_row @ v) - injection[0]
    b = solver.grid.branches
    vf, vt = v[b.node_from], v[b.node_to]
    return AcState(
        injection=injection,
        v=v,
        exchange=exchange,
        current_from=b.yff[:, None] * vf + b.yft[:, None] * vt,
        current_to=b.ytf[:, None] * vf + b.ytt[:, None] * vt,
    )
