"""The certificate: why a result may be believed, checked by means that did not make it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import Certificate, GridState, Status
from opf.kkt import Residuals, price_scale
from opf.limits import (
    CURRENT_FROM,
    CURRENT_TO,
    VOLTAGE_LOWER,
    VOLTAGE_UPPER,
    limit_values,
)
from opf.linearise import Linearisation
from opf.power_flow import AcState, solve_state
from opf.prices import PricedGrid
from opf.problem import Problem
from opf.quadratic import SOLVER_OPTIONS
from opf.replay import ReplayReport, replay_violations
from opf.successive import Solution

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

KKT_MAX: Final = 1e-6
REPLAY_VM_MAX_PU: Final = 1e-5
VOLTAGE_MAX_PU: Final = 5e-6
LOADING_MAX_PERCENT: Final = 5e-3
BALANCE_MAX_MW: Final = 1e-6
PARTS_MAX_EUR: Final = 1e-6
PROBE_MAX: Final = 1e-4
PROBE_MW: Final = 5e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A certificate, the status it supports and what spoke against it."""

    certificate: Certificate
    status: Status
    message: str


def bus_injection(problem: Problem, state: AcState) -> Complexes:
    """Net injection by bus: the node's, on the first of its buses; shape (buses, periods)."""
    by_bus = np.zeros((len(problem.grid.bus_node), problem.periods), dtype=complex)
    seen: set[int] = set()
    for row, node in enumerate(problem.grid.bus_node.tolist()):
        if node >= 0 and node not in seen:
            seen.add(node)
            by_bus[row] = state.injection[node]
    return by_bus


def replay_state(problem: Problem, state: AcState) -> ReplayReport:
    """Replay the schedule in the independent engine."""
    injection = bus_injection(problem, state)
    case = problem.case
    return replay_violations(
        case.network, case.limits, problem.periods, injection.real, injection.imag, case.margins
    )


def energy_balance_mw(problem: Problem, state: AcState) -> float:
    """Largest |import + injections - losses - shunts| over the periods [MW]."""
    b = problem.grid.branches
    into = state.v[b.node_from] * np.conj(state.current_from)
    out = state.v[b.node_to] * np.conj(state.current_to)
    losses = (into + out).real.sum(axis=0)
    shunt = problem.grid.admittance.diagonal().copy()
    np.add.at(shunt, b.node_from, -b.yff)
    np.add.at(shunt, b.node_to, -b.ytt)
    drawn = (np.abs(state.v) ** 2 * shunt.real[:, None]).sum(axis=0)
    balance = state.exchange.real + state.injection.real.sum(axis=0) - losses - drawn
    return float(np.abs(balance).max())


def probe_gradients(
    problem: Problem, state: AcState, lin: Linearisation, limit_price: Floats, input_sha256: str
) -> float:
    """Largest relative error of import and limit gradients at three buses drawn from the hash.

    Each bus gets +-50 W, then +-50 var, in all periods by two extra power flows each: so little
    that the curvature of a current that is all but zero does not count, and far above rounding.
    """
    nodes = problem.grid.node_count
    if nodes < 2:
        return 0.0
    draws = [int(input_sha256[k : k + 8], 16) for k in (0, 8, 16)]
    priced = np.flatnonzero(limit_price > 0)
    at = (lin.chosen[priced], lin.period[priced])
    worst = 0.0
    for node in [1 + draw % (nodes - 1) for draw in draws]:
        for unit, import_slope, limit_slope in (
            (1.0, lin.import_p, lin.limit_p),
            (1j, lin.import_q, lin.limit_q),
        ):
            moved = []
            for sign in (1.0, -1.0):
                injection = state.injection.copy()
                injection[node] += sign * PROBE_MW * unit
                moved.append(solve_state(problem.solver, injection, state))
            slope = (moved[0].exchange.real - moved[1].exchange.real) / (2 * PROBE_MW)
            worst = max(worst, float(np.abs(slope - import_slope[node]).max()))
            if len(priced):
                values = [limit_values(problem.limits, s) for s in moved]
                slope = (values[0][at] - values[1][at]) / (2 * PROBE_MW)
                error = np.abs(slope - limit_slope[node, priced]) / lin.scale[priced]
                worst = max(worst, float(error.max()))
    return worst


def lower_bound_eur(
    problem: Problem, solution: Solution, cost: float, reduced: Floats
) -> float | None:
    """Dual value of the linear programme at the final point, or None where it proves nothing.

    It is a bound while the import is convex (its price not negative) and no upper voltage limit is
    priced: those rows are inner approximations.
    """
    lin, price = solution.linearisation, solution.multipliers.limit
    family = problem.limits.family[lin.chosen]
    if np.any(price[family == VOLTAGE_UPPER] > 0):
        return None
    if np.any(problem.case.import_price_eur_per_mwh < 0):
        return None
    res, free = problem.resources, problem.programme.free
    lower, upper, r = res.lower[free], res.upper[free], reduced[free].copy()
    r[np.abs(r) < 1e-9] = 0.0
    goal = np.where(r > 0, lower, upper)
    if np.any(~np.isfinite(goal) & (r != 0)):
        return None
    change = np.where(r == 0, 0.0, r * (np.where(np.isfinite(goal), goal, 0.0) - solution.x[free]))
    h = problem.case.periods.mtu_h
    return cost + float(change.sum()) - h * float(price @ np.maximum(lin.rows.room, 0.0))


def certify(
    problem: Problem,
    solution: Solution,
    before_ticks: Residuals,
    priced: PricedGrid,
    replay: ReplayReport,
    grid: GridState,
    input_sha256: str,
) -> Verdict:
    """Put the evidence together and decide the status.

    Returns
    -------
    Verdict
        ``certified``, ``certified_with_slack`` where a limit is broken at the scarcity price, or
        ``uncertified`` with the failed checks named.
    """
    state, lin = solution.state, solution.linearisation
    voltage, loading = _replay_excess(replay)
    residuals = solution.residuals
    by_ticks = _moved_by_ticks(problem, solution)
    certificate = Certificate(
        replay_engine=replay.engine,
        replay_vm_pu_error_max=float(np.nanmax(np.abs(replay.vm_pu - grid.vm_pu))),
        worst_voltage_violation_pu=voltage,
        worst_loading_violation_percent=loading,
        stationarity=residuals.stationarity,
        complementarity=residuals.complementarity,
        dual_sign=residuals.dual_sign,
        parts_residual_eur_per_mwh=priced.parts_residual,
        energy_balance_mw=energy_balance_mw(problem, state),
        probe_error=probe_gradients(problem, state, lin, solution.multipliers.limit, input_sha256),
        price_by_ticks=by_ticks.price,
        voltage_by_ticks_pu=by_ticks.voltage_pu,
        loading_by_ticks_percent=by_ticks.loading_percent,
        iterations=solution.iterations,
        solver=f"qdldl {version('qdldl')}, clarabel {version('clarabel')}",
        solver_options=SOLVER_OPTIONS,
    )
    slack = bool(np.any(solution.slack[_priced_at_scarcity(problem, solution)] > 1e-6))
    checks = [
        ("KKT residual", residuals.worst, KKT_MAX),
        ("KKT residual before rounding to ticks", before_ticks.worst, KKT_MAX),
        (
            "voltage difference to the replay [pu]",
            certificate.replay_vm_pu_error_max,
            REPLAY_VM_MAX_PU,
        ),
        ("sum of price parts [EUR/MWh]", certificate.parts_residual_eur_per_mwh, PARTS_MAX_EUR),
        ("energy balance [MW]", certificate.energy_balance_mw, BALANCE_MAX_MW),
        ("gradient probe", certificate.probe_error, PROBE_MAX),
    ]
    if not slack:
        checks += [
            (
                "voltage violation in the replay [pu]",
                voltage,
                max(VOLTAGE_MAX_PU, by_ticks.voltage_pu),
            ),
            (
                "loading violation in the replay [percent]",
                loading,
                max(LOADING_MAX_PERCENT, by_ticks.loading_percent),
            ),
        ]
    failed = [f"{name} {value:.3g} > {most:g}" for name, value, most in checks if not value <= most]
    if solution.stopped and failed:
        failed.append(f"this is an incumbent: {solution.stopped}")
    if failed:
        return Verdict(certificate=certificate, status="uncertified", message="; ".join(failed))
    if slack:
        return Verdict(
            certificate=certificate,
            status="certified_with_slack",
            message="limits that could not hold are priced at scarcity and listed",
        )
    return Verdict(certificate=certificate, status="certified", message="")


@dataclass(frozen=True, slots=True, kw_only=True)
class _MovedByTicks:
    """The most that rounding awards explains of a price, a voltage and a loading."""

    price: float = 0.0
    voltage_pu: float = 0.0
    loading_percent: float = 0.0


def _moved_by_ticks(problem: Problem, solution: Solution) -> _MovedByTicks:
    """Collect what `opf.tick_effects` derived, for the limits that are priced."""
    ticks, lin, limits = solution.ticks, solution.linearisation, problem.limits
    if ticks is None:
        return _MovedByTicks()
    free = problem.programme.free
    scale = price_scale(problem, solution.multipliers) * problem.case.periods.mtu_h
    priced = solution.multipliers.limit > 0
    family = limits.family[lin.chosen]
    moved = ticks.room * lin.scale
    current = priced & ((family == CURRENT_FROM) | (family == CURRENT_TO))
    voltage = priced & ((family == VOLTAGE_UPPER) | (family == VOLTAGE_LOWER))
    share = moved / np.maximum(np.abs(limits.maximum[lin.chosen]), 1e-9)
    return _MovedByTicks(
        price=float(ticks.gradient[free].max(initial=0.0)) / scale,
        voltage_pu=float(moved[voltage].max(initial=0.0)),
        loading_percent=100.0 * float(share[current].max(initial=0.0)),
    )


def _priced_at_scarcity(problem: Problem, solution: Solution) -> NDArray[np.bool_]:
    scarcity = problem.case.limits.scarcity_price_eur_per_mwh
    return np.asarray(solution.multipliers.limit >= scarcity * (1 - 1e-5))


def _replay_excess(replay: ReplayReport) -> tuple[float, float]:
    """Worst voltage [pu] and loading [percent] violation the independent engine saw."""
    voltage = loading = 0.0
    for found in replay.violations:
        excess = abs(found.value - found.limit)
        if found.element_kind == "bus":
            voltage = max(voltage, excess)
        else:
            loading = max(loading, excess)
    return voltage, loading
