"""Choose an approximation by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from data.errors import UnsupportedComponent, refuse_if_any
from data.records.clearing import ClearingCase, ClearingResult
from opf.formulations.branch_flow_soc import clear_branch_flow_soc
from opf.formulations.copper_plate import clear_copper_plate
from opf.formulations.lindistflow import clear_lindistflow
from opf.infeasible import contradicting_orders
from opf.integer_choice import integer_orders
from opf.problem import prepare_problem
from opf.quadratic import StepInfeasible

APPROXIMATIONS: Final[dict[str, Callable[[ClearingCase], ClearingResult]]] = {
    "copper_plate": clear_copper_plate,
    "lindistflow": clear_lindistflow,
    "branch_flow_soc": clear_branch_flow_soc,
}


def clear_approximation(case: ClearingCase) -> ClearingResult:
    """Clear a case by the approximation that its ``formulation`` names.

    Raises
    ------
    UnsupportedComponent
        An unknown name, or what that approximation does not model.
    InputError
        Buses that are not connected to the substation; orders that contradict themselves.
    """
    if case.formulation not in APPROXIMATIONS:
        names = ", ".join(("ac", *APPROXIMATIONS))
        raise UnsupportedComponent(f"formulation {case.formulation!r} is none of {names}")
    if whole := integer_orders(case):
        raise UnsupportedComponent(
            f"order {whole[0].id}: blocks and curtailments are cleared by formulation 'ac' alone"
        )
    try:
        return APPROXIMATIONS[case.formulation](case)
    except StepInfeasible:
        refuse_if_any(contradicting_orders(prepare_problem(case)))
        raise
