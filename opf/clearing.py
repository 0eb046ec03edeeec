"""Clear one case: optimise, quantise, price, certify. The table of contents of this folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from data.errors import UnsupportedComponent
from data.records.clearing import (
    Award,
    BranchFlow,
    ClearingCase,
    ClearingResult,
    GridState,
    Prices,
    Violation,
)
from data.study import case_sha256
from data.units import AWARD_TICK_MW
from opf.awards import make_award, quantise
from opf.certificate import certify, lower_bound_eur, replay_state
from opf.explain import reason_for
from opf.kkt import Multipliers, kkt_residuals, reduced_costs
from opf.limits import limit_values
from opf.linearise import linearise
from opf.power_flow import AcState, solve_state
from opf.prices import price_buses
from opf.problem import Problem, cost_eur, prepare_problem
from opf.successive import Solution, optimise
from opf.warm_start import start_from

Floats = NDArray[np.float64]


def clear_case(
    case: ClearingCase,
    *,
    start: ClearingResult | None = None,
    progress: Callable[[int, float, float], None] | None = None,
) -> ClearingResult:
    """Clear a case: awards the grid can carry, a price at every bus, and a certificate.

    Parameters
    ----------
    case : ClearingCase
        Everything the solve needs.
    start : ClearingResult, optional
        An earlier result whose periods overlap: where to start. It changes the time a solve takes,
        not what is optimal.
    progress : callable, optional
        Called with (iteration, KKT residual, worst violation in units of its tolerance).

    Returns
    -------
    ClearingResult
        Status ``uncertified`` where a check failed; never raises for want of convergence.

    Raises
    ------
    UnsupportedComponent
        A formulation or order kind that this engine does not model.
    InputError
        Buses that are not connected to the substation.
    """
    if case.formulation != "ac":
        raise UnsupportedComponent(f"formulation {case.formulation!r}: use 'ac'")
    problem = prepare_problem(case)
    input_sha256 = case_sha256(case)
    begin = None if start is None else start_from(problem, start)
    solution = _settle_on_ticks(problem, optimise(problem, begin, progress))
    lin, multipliers = solution.linearisation, solution.multipliers
    priced = price_buses(problem, lin, multipliers.limit)
    grid = describe_grid(problem, solution)
    replay = replay_state(problem, solution.state)
    verdict = certify(problem, solution, priced, replay, grid, input_sha256)
    cost = cost_eur(problem, solution.x, solution.state)
    bound = lower_bound_eur(problem, solution, cost, reduced_costs(problem, lin, multipliers))
    violations = list_slack(problem, solution)
    return ClearingResult(
        case_name=case.name,
        periods=case.periods,
        status=verdict.status,
        message=verdict.message,
        objective_eur=cost,
        penalty_eur=case.limits.scarcity_price_eur_per_mwh
        * case.periods.mtu_h
        * sum(v.mw_short for v in violations),
        violations=violations,
        bound_eur=bound,
        bound_kind="none" if bound is None else "lp",
        awards=_make_awards(problem, solution, priced.prices),
        prices=priced.prices,
        grid=grid,
        certificate=verdict.certificate,
        input_sha256=input_sha256,
        versions=tuple(
            (name, version(name)) for name in ("clarabel", "gridclear", "numpy", "scipy")
        ),
    )


def _settle_on_ticks(problem: Problem, solution: Solution) -> Solution:
    """Quantise the decision and take state, gradients and residuals at the quantised point."""
    x = quantise(problem.case, problem.resources, solution.x)
    state = solve_state(problem.solver, problem.resources.injection(x), solution.state)
    before, price = solution.linearisation, solution.multipliers.limit
    active = before.rows.room * before.scale < 1e-4
    price = np.where(active & (price > 0), price, 0.0)
    pairs = {
        (int(k), int(t)): float(p)
        for k, t, p in zip(before.chosen, before.period, price, strict=True)
        if p > 0
    }
    lin = linearise(problem, state, set(pairs))
    ordered = zip(lin.chosen.tolist(), lin.period.tolist(), strict=True)
    multipliers = Multipliers(
        limit=np.array([pairs[pair] for pair in ordered], dtype=float),
        row=solution.multipliers.row,
    )
    return dataclasses.replace(
        solution,
        x=x,
        state=state,
        linearisation=lin,
        multipliers=multipliers,
        residuals=kkt_residuals(problem, x, lin, multipliers, AWARD_TICK_MW),
        slack=np.maximum(-lin.rows.room, 0.0),
    )


def list_slack(problem: Problem, solution: Solution) -> tuple[Violation, ...]:
    """Limits that could not hold although they are priced at scarcity, in MW-equivalent."""
    limits, lin = problem.limits, solution.linearisation
    scarcity = problem.case.limits.scarcity_price_eur_per_mwh
    values = limit_values(limits, solution.state)
    found = []
    for row in np.flatnonzero(
        (solution.slack > 1e-6) & (solution.multipliers.limit >= scarcity * (1 - 1e-5))
    ).tolist():
        k, t = int(lin.chosen[row]), int(lin.period[row])
        sign = -1.0 if limits.side[k] in ("lower", "export") else 1.0
        found.append(
            Violation(
                element_kind=limits.element_kind[k],
                element=int(limits.element[k]),
                side=limits.side[k],
                period=t,
                value=sign * float(values[k, t]),
                limit=sign * float(limits.maximum[k]),
                mw_short=float(solution.slack[row]),
            )
        )
    return tuple(found)


def describe_grid(problem: Problem, solution: Solution) -> GridState:
    """Voltages, flows, loadings and shadow prices of the cleared schedule."""
    case, state, limits = problem.case, solution.state, problem.limits
    lin = solution.linearisation
    node = problem.grid.bus_node
    supplied = node >= 0
    shape = (len(node), problem.periods)
    shadow: dict[tuple[str, int, str], Floats] = {}
    for row in np.flatnonzero(solution.multipliers.limit > 0).tolist():
        k, t = int(lin.chosen[row]), int(lin.period[row])
        key = (limits.element_kind[k], int(limits.element[k]), limits.side[k])
        price = shadow.setdefault(key, np.zeros(problem.periods))
        price[t] = solution.multipliers.limit[row] / lin.scale[row]
    none = np.zeros(problem.periods)
    upper, lower = np.zeros(shape), np.zeros(shape)
    for row, bus in enumerate(case.network.buses.index.tolist()):
        upper[row] = shadow.get(("bus", bus, "upper"), none)
        lower[row] = shadow.get(("bus", bus, "lower"), none)
    return GridState(
        vm_pu=np.where(supplied[:, None], np.abs(state.v)[node], np.nan),
        shadow_price_upper_eur_per_pu_h=upper,
        shadow_price_lower_eur_per_pu_h=lower,
        branches=_describe_branches(problem, state, shadow),
        import_mw=state.exchange.real,
        import_mvar=state.exchange.imag,
    )


def _describe_branches(
    problem: Problem, state: AcState, shadow: dict[tuple[str, int, str], Floats]
) -> tuple[BranchFlow, ...]:
    """Flow, loading and shadow price of each branch in service."""
    b = problem.grid.branches
    power = state.v[b.node_from] * np.conj(state.current_from)
    loading = 100.0 * np.maximum(
        np.abs(state.current_from) / b.rating_from[:, None],
        np.abs(state.current_to) / b.rating_to[:, None],
    )
    flows = []
    for row in range(len(b)):
        kind, element = str(b.kind[row]), int(b.element[row])
        sides = ("from", "to") if kind == "line" else ("hv", "lv")
        price = sum(
            (shadow[key] for side in sides if (key := (kind, element, side)) in shadow),
            np.zeros(problem.periods),
        )
        flows.append(
            BranchFlow(
                element_kind="line" if kind == "line" else "trafo",
                element=element,
                p_from_mw=power[row].real,
                q_from_mvar=power[row].imag,
                loading_percent=loading[row],
                shadow_price_eur_per_mva_h=price,
            )
        )
    return tuple(flows)


def _make_awards(problem: Problem, solution: Solution, prices: Prices) -> tuple[Award, ...]:
    """Awards of all orders with their reasons, in the order of the case."""
    buses = problem.case.network.buses.index.tolist()
    price_at = dict(zip(buses, prices.dlmp_p_eur_per_mwh, strict=True))
    row_of = {bus: row for row, bus in enumerate(buses)}
    awards = []
    for columns in problem.resources.orders:
        award = make_award(problem.case, problem.resources, columns, solution.x, price_at)
        awards.append(reason_for(problem.case, columns.order, award, prices, row_of))
    return tuple(awards)
