"""From the optimum of an approximation to a clearing result, judged like any other.

The schedule is put on ticks and its AC state solved: the result carries that state, and the
certificate holds the approximation's prices and limits against it. Prices, KKT residuals and
shadow prices are those of the approximation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import Certificate, ClearingResult, GridState
from data.records.order import StorageOrder
from data.study import case_sha256
from data.units import AWARD_TICK_MW
from opf.awards import quantise
from opf.certificate import Verdict, certify, replay_state
from opf.describe import describe_grid, make_awards
from opf.engine_source import name_engine
from opf.kkt import Multipliers, Residuals, kkt_residuals
from opf.linearise import Linearisation
from opf.power_flow import AcState, PowerFlowDiverged, solve_state
from opf.prices import PricedGrid
from opf.problem import Problem, cost_eur
from opf.settled import list_binding_margins, list_slack
from opf.successive import Solution
from opf.tick_effects import typical_effects

Floats = NDArray[np.float64]

# A cap is judged like the AC engine judges it [MW].
CAP_MAX_MW: Final = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Approximation:
    """What a formulation hands over.

    Parameters
    ----------
    name : str
        Name of the formulation.
    x : ndarray, shape (columns,)
        Its decision.
    at : callable
        Gradients of the import and of priced limits, at a decision.
    multipliers : Multipliers
        Prices of the pairs of that linearisation and of resource rows.
    slack : ndarray, shape (pairs,)
        Slack used [MW-equivalent].
    price : callable
        Prices at every bus, from a linearisation.
    cost_eur : callable
        Cost of a decision as the formulation sees it.
    bound_eur, bound_kind : float or None, str
        Lower bound, where the formulation proves one.
    solver, solver_options, iterations : for the certificate
    packages : tuple of str
        Packages whose versions the result names.
    notes : tuple of str
        What the reader must know; part of the message.
    complete : bool
        False where the optimum was not reached; then the result is ``uncertified``.
    """

    name: str
    x: Floats
    at: Callable[[Floats], Linearisation]
    multipliers: Multipliers
    slack: Floats
    price: Callable[[Linearisation], PricedGrid]
    cost_eur: Callable[[Floats], float]
    bound_eur: float | None = None
    bound_kind: Literal["soc", "none"] = "none"
    solver: str
    solver_options: tuple[tuple[str, str], ...]
    iterations: int
    packages: tuple[str, ...]
    notes: tuple[str, ...] = ()
    complete: bool = True


def finish(problem: Problem, found: Approximation) -> ClearingResult:
    """Make the clearing result of an approximation.

    Returns
    -------
    ClearingResult
        ``objective_eur`` is the cost as the approximation sees it; its cost in AC is in the
        message. Status ``uncertified`` wherever the AC replay or a check contradicts.
    """
    case = problem.case
    x = quantise(case, problem.resources, found.x)
    lin = found.at(x)
    before_ticks = kkt_residuals(problem, found.x, found.at(found.x), found.multipliers)
    ticks = typical_effects(problem, lin)
    residuals = kkt_residuals(problem, x, lin, found.multipliers, ticks)
    state, lost = solve_ac(problem, x)
    solution = Solution(
        x=x,
        state=state,
        linearisation=lin,
        multipliers=found.multipliers,
        residuals=residuals,
        slack=found.slack,
        iterations=found.iterations,
        converged=found.complete,
    )
    priced = found.price(lin)
    grid = describe_grid(problem, solution)
    input_sha256 = case_sha256(case)
    notes = [f"{found.name} is an approximation: its prices may not be posted", *found.notes]
    if lost:
        verdict = _without_state(residuals, priced, found, lost)
        grid = _blank_periods(grid, lost)
    else:
        verdict = _judge(problem, solution, before_ticks, priced, grid, input_sha256, found)
        notes.append(f"the schedule costs {cost_eur(problem, x, state):.6f} EUR in AC")
    notes += _burnt(problem, x)
    violations = tuple(v for v in list_slack(problem, solution) if v.period not in lost)
    return ClearingResult(
        case_name=case.name,
        periods=case.periods,
        status=verdict.status,
        message="; ".join(part for part in (*notes, verdict.message) if part),
        objective_eur=found.cost_eur(x),
        penalty_eur=case.limits.scarcity_price_eur_per_mwh
        * case.periods.mtu_h
        * sum(v.mw_short for v in violations),
        violations=violations,
        binding_margins=list_binding_margins(problem, solution),
        bound_eur=found.bound_eur,
        bound_kind=found.bound_kind,
        awards=make_awards(problem, solution, priced.prices),
        prices=priced.prices,
        grid=grid,
        certificate=verdict.certificate,
        input_sha256=input_sha256,
        versions=tuple(
            sorted(
                [name_engine()]
                + [(name, version(name)) for name in {*found.packages, "gridclear", "numpy"}]
            )
        ),
    )


def solve_ac(problem: Problem, x: Floats) -> tuple[AcState, list[int]]:
    """AC state of a schedule; periods that have none are named and stand at no load."""
    injection = problem.resources.injection(x)
    try:
        return solve_state(problem.solver, injection), []
    except PowerFlowDiverged as error:
        lost = sorted(error.columns)
    injection[:, lost] = 0.0
    try:
        return solve_state(problem.solver, injection), lost
    except PowerFlowDiverged as error:
        lost = sorted({*lost, *error.columns})
    injection[:, lost] = 0.0
    return solve_state(problem.solver, injection), lost


def _judge(
    problem: Problem,
    solution: Solution,
    before_ticks: Residuals,
    priced: PricedGrid,
    grid: GridState,
    input_sha256: str,
    found: Approximation,
) -> Verdict:
    """Apply the checks of the AC engine to the approximation's prices and the AC replay."""
    replay = replay_state(problem, solution.state)
    verdict = certify(problem, solution, before_ticks, priced, replay, grid, input_sha256)
    failed = [verdict.message] if verdict.status == "uncertified" else []
    if not found.complete:
        failed.append("the optimum was not reached")
    case, imported = problem.case, solution.state.exchange.real
    for name, most, value in (
        ("import", case.import_mw_max, imported),
        ("export", case.export_mw_max, -imported),
    ):
        over = 0.0 if most is None else float((value - most).max())
        if over > CAP_MAX_MW and verdict.status != "certified_with_slack":
            failed.append(f"{name} cap exceeded by {over:.3g} MW in AC")
    return Verdict(
        certificate=_signed(verdict.certificate, found),
        status="uncertified" if failed else verdict.status,
        message="; ".join(failed) or verdict.message,
    )


def _signed(certificate: Certificate, found: Approximation) -> Certificate:
    """Name the solver that was used."""
    return dataclasses.replace(
        certificate, solver=found.solver, solver_options=found.solver_options
    )


def _without_state(
    residuals: Residuals, priced: PricedGrid, found: Approximation, lost: list[int]
) -> Verdict:
    """Verdict on a schedule that no AC power flow can carry in some period."""
    unknown = float("nan")  # written as null: could not be computed
    return Verdict(
        certificate=Certificate(
            replay_engine="none: no AC power flow solution",
            replay_vm_pu_error_max=unknown,
            worst_voltage_violation_pu=unknown,
            worst_loading_violation_percent=unknown,
            stationarity=residuals.stationarity,
            complementarity=residuals.complementarity,
            dual_sign=residuals.dual_sign,
            parts_residual_eur_per_mwh=priced.parts_residual,
            energy_balance_mw=unknown,
            probe_error=unknown,
            iterations=found.iterations,
            solver=found.solver,
            solver_options=found.solver_options,
        ),
        status="uncertified",
        message=f"the schedule has no AC power flow solution in periods {lost[:10]}",
    )


def _blank_periods(grid: GridState, lost: list[int]) -> GridState:
    """Leave the state blank (NaN, an empty field in files) where there is none."""

    def blank(values: Floats) -> Floats:
        copy = values.copy()
        copy[..., lost] = np.nan
        return copy

    return dataclasses.replace(
        grid,
        vm_pu=blank(grid.vm_pu),
        branches=tuple(
            dataclasses.replace(
                flow,
                p_from_mw=blank(flow.p_from_mw),
                q_from_mvar=blank(flow.q_from_mvar),
                loading_percent=blank(flow.loading_percent),
            )
            for flow in grid.branches
        ),
        import_mw=blank(grid.import_mw),
        import_mvar=blank(grid.import_mvar),
    )


def _burnt(problem: Problem, x: Floats) -> list[str]:
    """Name storages that charge and discharge in one period: possible at negative prices."""
    found = []
    for columns in problem.resources.orders:
        if isinstance(columns.order, StorageOrder):
            both = np.minimum(x[columns.charge], x[columns.discharge]) > AWARD_TICK_MW
            if both.any():
                found.append(
                    f"storage {columns.order.id} charges and discharges at once"
                    f" in {int(both.sum())} periods"
                )
    return found
