"""``lindistflow``: linear branch flow on a radial grid, for quick screening and warm starts."""

from __future__ import annotations

from data.records.clearing import ClearingCase, ClearingResult
from opf.formulations.linear_network import LinDistFlow
from opf.formulations.linear_outcome import clear_linear
from opf.problem import prepare_problem

NOTES = (
    "losses of load current are left out",
    "current limits are |S| <= rating times the no-load voltage, by tangents to the circle",
)


def clear_lindistflow(case: ClearingCase) -> ClearingResult:
    """Clear a case on the linear branch flow model of `opf.formulations.linear_network`.

    Parameters
    ----------
    case : ClearingCase
        Everything the solve needs; the grid must be radial.

    Returns
    -------
    ClearingResult
        Prices have energy, congestion and voltage parts; the loss part is 0.

    Raises
    ------
    UnsupportedComponent
        Meshed grids, or an order kind that is not modelled.
    StepInfeasible
        When the orders' own constraints contradict each other.
    InputError
        Buses that are not connected to the substation.
    """
    problem = prepare_problem(case)
    network = LinDistFlow(problem.solver, problem.limits)
    return clear_linear("lindistflow", problem, network, NOTES)
