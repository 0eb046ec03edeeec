"""How monitored limits move when injections are not as expected: one linear step per scenario.

Around the AC state of the expected injections, ``A V + Y_L0 V0 = conj(s / V)`` gives for a
deviation ds of the injections the voltage deviation dV of

    A dV + diag(conj(s) / conj(V)^2) conj(dV) = conj(ds / V),

the forward twin of the adjoint in `opf.power_flow`, solved by the same contraction. Currents
follow linearly from V + dV; only their magnitudes, and those of the voltages, are taken exactly, so
a flow that turns round is not mistaken for one that ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingCase
from opf.grid import Grid, build_grid
from opf.limits import LimitSet, limit_values, list_limits
from opf.power_flow import AcState, NodalSolver, solve_state
from opf.problems.unmarketed import bus_injections, node_injections

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

# Relative change at which the step counts as solved, and the most rounds it gets.
STEP_TOLERANCE: Final = 1e-9
STEP_ROUNDS_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedGrid:
    """The grid at the expected injections, no order used: what scenarios deviate from.

    ``values`` are the limits' g at the expected state, shape (limits, periods).
    """

    grid: Grid
    solver: NodalSolver
    limits: LimitSet
    state: AcState
    values: Floats


def expected_grid(case: ClearingCase) -> ExpectedGrid:
    """Solve the expected state of a case: every load and generator at its profile.

    Raises
    ------
    PowerFlowDiverged
        Where the expected injections have no AC solution.
    """
    grid = build_grid(case.network)
    solver = NodalSolver(grid)
    limits = list_limits(case, grid)
    state = solve_state(solver, node_injections(grid, bus_injections(case)))
    return ExpectedGrid(
        grid=grid,
        solver=solver,
        limits=limits,
        state=state,
        values=limit_values(limits, state),
    )


def scenario_values(expected: ExpectedGrid, deviation: Complexes) -> Iterator[Floats]:
    """Yield the limits' g in every scenario, period by period, shape (limits, scenarios).

    Parameters
    ----------
    expected : ExpectedGrid
        The state the deviations are taken around.
    deviation : ndarray of complex, shape (scenarios, buses, periods)
        Injection of each scenario less the expected one [MW + j Mvar].
    """
    at, grid = expected.state, expected.grid
    for period in range(deviation.shape[2]):
        by_node = node_injections(grid, deviation[:, :, period].T)
        here = slice(period, period + 1)
        moved = at.v[:, here] + np.vstack(
            [
                np.zeros((1, by_node.shape[1])),
                _voltage_step(expected.solver, at.injection[1:, here], at.v[1:, here], by_node[1:]),
            ]
        )
        yield limit_values(
            expected.limits, _state_of(expected, at.injection[:, here] + by_node, moved)
        )


def _voltage_step(
    solver: NodalSolver, injection: Complexes, v: Complexes, deviation: Complexes
) -> Complexes:
    """Voltage deviations [pu] of all scenarios of one period, shape (nodes - 1, scenarios)."""
    right = np.conj(deviation / v)
    pull = np.conj(injection) / np.conj(v) ** 2
    step = solver.solve(right)
    for _ in range(STEP_ROUNDS_MAX):
        new = solver.solve(right - pull * np.conj(step))
        change = float(np.abs(new - step).max(initial=0.0))
        step = new
        if change <= STEP_TOLERANCE * max(float(np.abs(step).max(initial=0.0)), 1e-9):
            return step
    # too close to the nose of the power flow for the contraction: solved as one real system
    return _direct_step(solver, right, pull)


def _direct_step(solver: NodalSolver, right: Complexes, pull: Complexes) -> Complexes:
    a, d = solver.a.toarray(), np.diag(pull[:, 0])
    system = np.block([[a.real + d.real, -a.imag + d.imag], [a.imag + d.imag, a.real - d.real]])
    solved = np.linalg.solve(system, np.vstack([right.real, right.imag]))
    return np.asarray(solved[: solver.size] + 1j * solved[solver.size :])


def _state_of(expected: ExpectedGrid, injection: Complexes, v: Complexes) -> AcState:
    b = expected.grid.branches
    vf, vt = v[b.node_from], v[b.node_to]
    return AcState(
        injection=injection,
        v=v,
        exchange=v[0] * np.conj(expected.solver.y_slack_row @ v) - injection[0],
        current_from=b.yff[:, None] * vf + b.yft[:, None] * vt,
        current_to=b.ytf[:, None] * vf + b.ytt[:, None] * vt,
    )
