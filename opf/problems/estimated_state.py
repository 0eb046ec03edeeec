"""The state of the grid from what meters say now: some of them, each with its error.

What injects at each node is known beforehand with some uncertainty (a forecast, a last reading, a
report of a minute ago); voltages at some nodes and the exchange at the substation are measured. One
linear update around the AC state of the expected injections,

    s <- s + S H^T (H S H^T + R)^-1 (z - h(s)),

with S the variance of the injections, R that of the measurements and H = dh/ds from the adjoints
(the static case of the Kalman filter: A. Abur, A. Gomez Exposito, Power System State Estimation,
2004, chapter 2, with injections as the state), repeated until the AC model agrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from opf.limits import import_weights
from opf.power_flow import AcState
from opf.problems.monitored_grid import MonitoredGrid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]

ROUNDS: Final = 2
# Innovations beyond this many standard deviations name a measurement that does not fit.
SUSPECT_DEVIATIONS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is measured beside the injections themselves.

    Parameters
    ----------
    nodes : ndarray of int, shape (m,)
        Nodes with a voltage reading, none twice.
    vm_pu : ndarray, shape (m,)
        The readings [pu].
    vm_pu_deviation : float
        Their standard error [pu].
    exchange : complex or None
        Import at the substation [MW + j Mvar]; None where it is not known.
    exchange_deviation_mw : float
        Its standard error, active and reactive [MW, Mvar].
    """

    nodes: Ints
    vm_pu: Floats
    vm_pu_deviation: float = 5e-4
    exchange: complex | None = None
    exchange_deviation_mw: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The estimated node injections [MW + j Mvar], shape (nodes,), and their AC state.

    ``residual_max`` is the largest misfit that stays, in standard errors; ``suspects`` are nodes
    whose voltage readings did not fit at all and were left out.
    """

    injection: Complexes
    state: AcState
    residual_max: float
    suspects: tuple[int, ...]


def estimate_state(
    at: MonitoredGrid, expected: Complexes, deviation: Floats, measured: Measured
) -> Estimate:
    """Return the injections that fit best what was expected and what was measured.

    Parameters
    ----------
    at : MonitoredGrid
        The grid.
    expected : ndarray of complex, shape (nodes,)
        Injection expected at each node [MW + j Mvar].
    deviation : ndarray, shape (nodes,)
        Its standard error [MW]; reactive power is taken as known to half of it. 0: known exactly.
    measured : Measured
        Voltages and exchange.

    Raises
    ------
    InputError
        With everything that is not finite, and deviations below zero.
    """
    _refuse_unusable(expected, deviation, measured)
    variance = np.concatenate([deviation**2, (0.5 * deviation) ** 2])
    keep = np.ones(len(measured.nodes), dtype=bool)
    suspects: list[int] = []
    injection, state, misfit = _update(at, expected, variance, measured, keep)
    bad = np.flatnonzero(np.abs(misfit) > SUSPECT_DEVIATIONS)
    if len(bad):
        suspects = [int(node) for node in measured.nodes[bad]]
        keep[bad] = False
        injection, state, misfit = _update(at, expected, variance, measured, keep)
    return Estimate(
        injection=injection,
        state=state,
        residual_max=float(np.abs(misfit).max(initial=0.0)),
        suspects=tuple(suspects),
    )


def _update(
    at: MonitoredGrid,
    expected: Complexes,
    variance: Floats,
    measured: Measured,
    keep: NDArray[np.bool_],
) -> tuple[Complexes, AcState, Floats]:
    """Return injections, state and the misfit of the kept voltages in their standard errors."""
    nodes, readings = measured.nodes[keep], measured.vm_pu[keep]
    injection = expected.copy()
    state = at.state(injection)
    errors = np.concatenate(
        [
            np.full(len(nodes), measured.vm_pu_deviation),
            np.full(0 if measured.exchange is None else 2, measured.exchange_deviation_mw),
        ]
    )
    for _ in range(ROUNDS if len(errors) else 0):
        value, jacobian = _measurement(at, state, nodes, exchange=measured.exchange is not None)
        reading = readings
        if measured.exchange is not None:
            reading = np.concatenate([readings, [measured.exchange.real, measured.exchange.imag]])
        moved = injection - expected
        known = jacobian @ np.concatenate([moved.real, moved.imag])
        spread = jacobian * variance
        gain = np.linalg.solve(spread @ jacobian.T + np.diag(errors**2), reading - value + known)
        step = spread.T @ gain
        count = len(expected)
        injection = expected + step[:count] + 1j * step[count:]
        state = at.state(injection)
    misfit = (readings - np.abs(state.v[nodes, 0])) / measured.vm_pu_deviation
    return injection, state, np.asarray(misfit)


def _measurement(
    at: MonitoredGrid, state: AcState, nodes: Ints, *, exchange: bool
) -> tuple[Floats, Floats]:
    """Return what the model says of each measurement, and its gradient by (p, q) of the nodes."""
    count, total = len(nodes), at.grid.node_count
    extra = 2 if exchange else 0
    weights = np.zeros((total, count + extra), dtype=complex)
    v = state.v[nodes, 0]
    weights[nodes, np.arange(count)] = np.conj(v) / np.abs(v)
    value = np.abs(v)
    direct = np.zeros((count + extra, 2 * total))
    if exchange:
        active = import_weights(at.solver, 1)[:, 0]
        weights[1:, count] = active
        # the exchange is V0 conj(y V) - s0: its imaginary part turns the weight by -90 degrees
        weights[1:, count + 1] = 1j * active
        value = np.concatenate([value, [state.exchange[0].real, state.exchange[0].imag]])
        direct[count, 0] = -1.0
        direct[count + 1, total] = -1.0
    repeat = np.zeros(count + extra, dtype=np.int64)
    dp, dq = at.solver.adjoint(weights[1:], state.injection[1:][:, repeat], state.v[1:][:, repeat])
    jacobian = direct
    jacobian[:, 1:total] += dp.T
    jacobian[:, total + 1 :] += dq.T
    return value, jacobian


def _refuse_unusable(expected: Complexes, deviation: Floats, measured: Measured) -> None:
    problems = [
        Problem(where=f"expected injection of node {node}", what=f"is {expected[node]}")
        for node in np.flatnonzero(~np.isfinite(expected)).tolist()
    ]
    problems += [
        Problem(where=f"deviation of node {node}", what=f"is {deviation[node]}")
        for node in np.flatnonzero(~(np.isfinite(deviation) & (deviation >= 0.0))).tolist()
    ]
    problems += [
        Problem(where=f"voltage reading of node {measured.nodes[row]}", what=f"is {value}")
        for row, value in enumerate(measured.vm_pu.tolist())
        if not np.isfinite(value)
    ]
    if measured.exchange is not None and not np.isfinite(measured.exchange):
        problems.append(Problem(where="exchange reading", what=f"is {measured.exchange}"))
    refuse_if_any(problems)
