"""A lower bound on the cost of a case from its cone relaxation, off the critical path."""

from __future__ import annotations

import dataclasses
from importlib.metadata import version

from data.records.clearing import ClearingCase, ClearingResult
from opf.problem import Problem, prepare_problem


def soc_bound_eur(case: ClearingCase) -> float | None:
    """Dual value of the cone relaxation: no schedule that holds every limit costs less.

    The relaxation contains every AC schedule, its limits are elastic at the scarcity price, and a
    dual value is below its optimum; so it bounds the cost of any schedule without slack. It may be
    far below where prices are negative or export overvoltage binds.

    Parameters
    ----------
    case : ClearingCase
        Everything the solve needs; the grid must be radial.

    Returns
    -------
    float or None
        Bound [EUR]; None where the solver does not reach its tolerance.

    Raises
    ------
    UnsupportedComponent
        Meshed grids, or what the relaxation does not model.
    """
    from opf.formulations.cone_programme import ConeProgramme

    return ConeProgramme(prepare_problem(case)).solve().dual_eur


def refuse_without_cone(problem: Problem) -> None:
    """Say before the solve that there is no such bound, not after it.

    Raises
    ------
    UnsupportedComponent
        Meshed grids, or what the relaxation does not model.
    """
    from opf.formulations.cone_programme import state_feeder

    state_feeder(problem)


def with_cone_bound(case: ClearingCase, result: ClearingResult) -> ClearingResult:
    """Give a result that has no bound the cone's, where it says something about that result.

    Where a limit is broken at the scarcity price it says nothing: it bounds schedules that hold
    every limit, and the result's cost is none of those.

    Parameters
    ----------
    case : ClearingCase
        What was cleared, in formulation ``ac``.
    result : ClearingResult
        Its result.

    Returns
    -------
    ClearingResult
        With ``bound_kind`` ``soc``; as it was where it has a bound or breaks a limit, and where the
        cone programme reached no optimum.
    """
    if result.bound_kind != "none" or result.violations or result.status == "infeasible":
        return result
    bound = soc_bound_eur(case)
    if bound is None:
        return result
    versions = dict(result.versions) | {"cvxpy": version("cvxpy")}
    return dataclasses.replace(
        result, bound_eur=bound, bound_kind="soc", versions=tuple(sorted(versions.items()))
    )
