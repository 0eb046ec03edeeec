"""A lower bound on the cost of a case from its cone relaxation, off the critical path."""

from __future__ import annotations

from data.records.clearing import ClearingCase
from opf.problem import prepare_problem


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
