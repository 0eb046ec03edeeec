"""Clear one case: optimise, quantise, price, certify. The table of contents of this folder."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from data.errors import UnsupportedComponent, refuse_if_any
from data.records.clearing import ClearingCase, ClearingResult
from data.study import case_sha256
from opf.bound import refuse_without_cone, with_cone_bound
from opf.certificate import certify, lower_bound_eur, replay_state
from opf.describe import describe_grid, make_awards
from opf.engine_source import name_engine
from opf.explanations.reasons import with_reasons
from opf.formulations.by_name import clear_approximation
from opf.infeasible import carried_share, contradicting_orders, infeasible_result
from opf.integer_choice import integer_orders
from opf.integer_clearing import Search, choose_integers
from opf.kkt import reduced_costs
from opf.one_direction import optimise_one_way
from opf.paradox import with_search
from opf.power_flow import PowerFlowDiverged
from opf.prices import price_buses
from opf.problem import Problem, Tolerances, cost_eur, prepare_problem
from opf.quadratic import StepInfeasible, StepStopped
from opf.settled import list_binding_margins, list_slack, settle_on_ticks
from opf.successive import Solution
from opf.warm_start import start_from

Progress = Callable[[int, float, float], None]


def clear_case(
    case: ClearingCase,
    *,
    start: ClearingResult | None = None,
    progress: Progress | None = None,
    out_of_time: Callable[[], bool] | None = None,
    cone_bound: bool = False,
    tolerances: Tolerances | None = None,
) -> ClearingResult:
    """Clear a case: awards the grid can carry, a price at every bus, and a certificate.

    Parameters
    ----------
    case : ClearingCase
        Everything the solve needs. Formulations other than ``ac`` go to `opf.formulations`, which
        take none of the options below.
    start : ClearingResult, optional
        An earlier result whose periods overlap: where to start. It changes the time a solve takes,
        not what is optimal.
    progress : callable, optional
        Called with (iteration, KKT residual, worst violation in units of its tolerance).
    out_of_time : callable, optional
        Asked after every iteration; True ends the solve with the incumbent, reported as such.
    cone_bound : bool, optional
        Where the linear programme proves no bound, solve the cone relaxation for one: as long again
        as the clearing, or longer. The awards and prices stay the same.
    tolerances : Tolerances, optional
        When the solve may stop, instead of the standard ones; what the certificate asks stays.

    Returns
    -------
    ClearingResult
        Status ``uncertified`` where a check failed, ``infeasible`` where the fixed loads alone have
        no AC solution; never raises for want of convergence.

    Raises
    ------
    UnsupportedComponent
        A formulation or order kind that this engine does not model; a cone bound asked for on a
        meshed grid or in another formulation than ``ac``.
    InputError
        Buses that are not connected to the substation; orders that contradict themselves.
    """
    if case.formulation != "ac":
        if cone_bound:
            raise UnsupportedComponent(
                f"formulation {case.formulation!r}: the cone bound belongs to results of 'ac'"
            )
        return with_reasons(case, clear_approximation(case))
    problem = prepare_problem(case, tolerances)
    if cone_bound and integer_orders(case):
        raise UnsupportedComponent(
            "the cone bound says nothing about block and curtail orders: clear without it, the "
            "search over their integers reports its own bound"
        )
    if cone_bound:
        refuse_without_cone(problem)
    input_sha256 = case_sha256(case)
    begin = None if start is None else start_from(problem, start)
    search: Search | None = None
    try:
        if integer_orders(case):
            search = choose_integers(problem, begin, progress, out_of_time)
            problem, solution = search.best.problem, search.best.solution
        else:
            problem, solution = optimise_one_way(problem, begin, progress, out_of_time)
    except StepInfeasible as error:
        refuse_if_any(contradicting_orders(problem))
        return infeasible_result(problem, f"no schedule was found: {error}", input_sha256)
    except PowerFlowDiverged as error:
        return infeasible_result(problem, _say_diverged(problem, error), input_sha256)
    except StepStopped as error:
        return infeasible_result(problem, f"no schedule was found: {error}", input_sha256)
    result = _conclude(problem, solution, input_sha256)
    if search is not None:
        result = with_search(case, result, search.report, search.bound_eur)
    elif cone_bound:
        result = with_cone_bound(case, result)
    return with_reasons(case, result)


def _say_diverged(problem: Problem, error: PowerFlowDiverged) -> str:
    """Which periods have no AC solution, and how much of the fixed load the grid could carry."""
    labels = problem.case.periods.labels()
    named = ", ".join(labels[t] for t in error.columns[:3])
    more = f" and {len(error.columns) - 3} more" if len(error.columns) > 3 else ""
    share = carried_share(problem, error.columns)
    return (
        f"no AC power flow exists in {named}{more}: the grid carries about {share:.0%} of what no "
        "order names there; reduce those loads, reinforce the grid or raise the substation voltage"
    )


def _conclude(problem: Problem, solution: Solution, input_sha256: str) -> ClearingResult:
    """Quantise, price, replay and certify what the optimisation found."""
    case = problem.case
    before_ticks = solution.residuals
    solution = settle_on_ticks(problem, solution)
    lin, multipliers = solution.linearisation, solution.multipliers
    priced = price_buses(problem, lin, multipliers.limit)
    grid = describe_grid(problem, solution)
    replay = replay_state(problem, solution.state)
    verdict = certify(problem, solution, before_ticks, priced, replay, grid, input_sha256)
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
        awards=make_awards(problem, solution, priced.prices),
        prices=priced.prices,
        grid=grid,
        certificate=verdict.certificate,
        input_sha256=input_sha256,
        versions=tuple(
            sorted(
                [name_engine()]
                + [
                    (name, version(name))
                    for name in ("clarabel", "gridclear", "numpy", "qdldl", "scipy")
                ]
            )
        ),
        binding_margins=list_binding_margins(problem, solution),
    )
