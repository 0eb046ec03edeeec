"""``copper_plate``: no network. One price per period: import price plus what a cap adds."""

from __future__ import annotations

from data.records.clearing import ClearingCase, ClearingResult
from opf.formulations.linear_network import CopperPlate
from opf.formulations.linear_outcome import clear_linear
from opf.problem import prepare_problem


def clear_copper_plate(case: ClearingCase) -> ClearingResult:
    """Clear a case as if all its buses were one.

    Import = - sum of injections; only import and export caps limit it. The price is the import
    price, or that of the marginal order where a cap binds (part ``ext_grid``), at every bus alike.

    Parameters
    ----------
    case : ClearingCase
        Everything the solve needs.

    Returns
    -------
    ClearingResult
        ``objective_eur`` knows no losses; the certificate says what the grid would suffer.

    Raises
    ------
    StepInfeasible
        When the orders' own constraints contradict each other.
    UnsupportedComponent
        An order kind that is not modelled.
    InputError
        Buses that are not connected to the substation.
    """
    problem = prepare_problem(case)
    network = CopperPlate(limits=problem.limits, nodes=problem.grid.node_count)
    return clear_linear("copper_plate", problem, network, ("no network, no losses",))
