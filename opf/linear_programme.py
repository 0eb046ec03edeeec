"""Linear programmes by HiGHS on plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]

TIME_LIMIT_S: Final = 300.0


class SolverStopped(Exception):
    """HiGHS ended without an answer (time limit, numerical trouble)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearSolution:
    """Optimum of a linear programme; ``row_dual`` is d(objective)/d(right-hand side)."""

    x: Floats
    objective: float
    row_dual: Floats
    column_dual: Floats


def solve_linear(
    cost: Floats,
    rows: sparse.spmatrix,
    rows_lower: Floats,
    rows_upper: Floats,
    lower: Floats,
    upper: Floats,
) -> LinearSolution | None:
    """Minimise ``cost x`` with ``rows_lower <= rows x <= rows_upper`` and bounds.

    Returns
    -------
    LinearSolution or None
        None when the programme is infeasible.

    Raises
    ------
    SolverStopped
        Where HiGHS gives no answer within the time limit.
    """
    import highspy

    columns = sparse.csc_matrix(rows)
    programme = highspy.HighsLp()
    programme.num_col_, programme.num_row_ = len(cost), columns.shape[0]
    programme.col_cost_ = np.asarray(cost, dtype=float)
    programme.col_lower_, programme.col_upper_ = lower, upper
    programme.row_lower_, programme.row_upper_ = rows_lower, rows_upper
    programme.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    programme.a_matrix_.start_ = columns.indptr
    programme.a_matrix_.index_ = columns.indices
    programme.a_matrix_.value_ = columns.data
    highs = highspy.Highs()  # type: ignore[no-untyped-call]
    highs.silent()
    for name, value in (("threads", 1), ("random_seed", 0), ("time_limit", TIME_LIMIT_S)):
        highs.setOptionValue(name, value)
    highs.passModel(programme)
    highs.run()
    status = highs.getModelStatus()
    if status in (
        highspy.HighsModelStatus.kInfeasible,
        highspy.HighsModelStatus.kUnboundedOrInfeasible,
    ):
        return None
    if status != highspy.HighsModelStatus.kOptimal:
        raise SolverStopped(f"HiGHS stopped with {highs.modelStatusToString(status)}")
    solution = highs.getSolution()
    return LinearSolution(
        x=np.asarray(solution.col_value),
        objective=float(highs.getInfo().objective_function_value),
        row_dual=np.asarray(solution.row_dual),
        column_dual=np.asarray(solution.col_dual),
    )
