"""Linear programmes by HiGHS on plain arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]

# The last resort [s]: machines differ in it, so whoever meets it says so in the result.
TIME_LIMIT_S: Final = 900.0
# Feasibility tolerance where solutions are compared with one another.
TIGHT: Final = 1e-9
# Distance from a whole number within which a binary column counts as whole.
INTEGRAL: Final = 1e-6


class SolverStopped(Exception):
    """HiGHS ended without an answer (time limit, numerical trouble)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """Minimise ``cost x``, rows_lower <= rows x <= rows_upper, within bounds; some columns 0 or 1.

    Parameters
    ----------
    cost, lower, upper : ndarray, shape (columns,)
    rows : sparse matrix, shape (rows, columns)
    rows_lower, rows_upper : ndarray, shape (rows,)
    binary : ndarray of bool, shape (columns,)
    """

    cost: Floats
    rows: sparse.spmatrix
    rows_lower: Floats
    rows_upper: Floats
    lower: Floats
    upper: Floats
    binary: NDArray[np.bool_]


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

    highs = _load(cost, rows, rows_lower, rows_upper, lower, upper)
    highs.setOptionValue("time_limit", TIME_LIMIT_S)
    highs.run()
    status = highs.getModelStatus()
    if _says_infeasible(status):
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


def _says_infeasible(status: object) -> bool:
    """Whether HiGHS found that no point exists."""
    import highspy

    return status in (
        highspy.HighsModelStatus.kInfeasible,
        highspy.HighsModelStatus.kUnboundedOrInfeasible,
    )


def _load(
    cost: Floats,
    rows: sparse.spmatrix,
    rows_lower: Floats,
    rows_upper: Floats,
    lower: Floats,
    upper: Floats,
) -> Any:  # noqa: ANN401  highspy ships no types
    """Hand a programme to HiGHS: one thread, one seed, no log."""
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
    for name, value in (("threads", 1), ("random_seed", 0)):
        highs.setOptionValue(name, value)
    highs.passModel(programme)
    return highs


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedIntegerSolution:
    """Best point of a mixed-integer linear programme and the bound that was proven for it.

    ``by_time`` says that the last resort ended the search, which another machine may not meet.
    """

    x: Floats
    objective: float
    bound: float
    by_time: bool


def solve_mixed_integer(
    programme: Programme, *, gap: float, effort_max: float
) -> MixedIntegerSolution | None:
    """Minimise a programme with its binary columns 0 or 1; no duals are read.

    Parameters
    ----------
    programme : Programme
    gap : float
        Relative gap at which the search ends.
    effort_max : float
        Effort after which it ends with its best point, the same on every machine: HiGHS asks at
        fixed places of its course whether to go on, and each of them counts the size of the
        programme (rows and columns). On one core 1e8 take about five minutes.

    Returns
    -------
    MixedIntegerSolution or None
        None when the programme is infeasible.

    Raises
    ------
    SolverStopped
        Where HiGHS finds no point within the time limit.
    """
    import highspy

    highs = _load_programme(programme)
    whole = np.flatnonzero(programme.binary).astype(np.int32)
    kinds = np.full(len(whole), highspy.HighsVarType.kInteger)
    highs.changeColsIntegrality(len(whole), whole, kinds)
    _limit_effort(highs, effort_max / (len(programme.cost) + len(programme.rows_lower)))
    for name, value in (
        ("time_limit", TIME_LIMIT_S),
        ("mip_rel_gap", gap),
        ("mip_abs_gap", 1e-9),
        ("mip_feasibility_tolerance", TIGHT),
        ("primal_feasibility_tolerance", TIGHT),
        ("dual_feasibility_tolerance", TIGHT),
    ):
        highs.setOptionValue(name, value)
    highs.run()
    status = highs.getModelStatus()
    if _says_infeasible(status):
        return None
    info = highs.getInfo()
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        if status == highspy.HighsModelStatus.kInterrupt:
            raise SolverStopped("the effort for a proposal was used up before one was found")
        raise SolverStopped(f"HiGHS stopped with {highs.modelStatusToString(status)}")
    return MixedIntegerSolution(
        x=np.asarray(highs.getSolution().col_value),
        objective=float(info.objective_function_value),
        bound=float(info.mip_dual_bound),
        by_time=status == highspy.HighsModelStatus.kTimeLimit,
    )


def _limit_effort(highs: Any, questions_max: float) -> None:  # noqa: ANN401  highspy ships no types
    """Interrupt a mixed-integer search when it has asked so often whether to go on."""
    import highspy

    asked = 0

    def answer(_kind: Any, _text: Any, _state: Any, reply: Any, _user: Any) -> None:  # noqa: ANN401
        nonlocal asked
        asked += 1
        if asked > questions_max:
            reply.user_interrupt = True

    highs.setCallback(answer, None)
    highs.startCallback(highspy.cb.HighsCallbackType.kCallbackMipInterrupt)


def _load_programme(p: Programme) -> Any:  # noqa: ANN401  highspy ships no types
    return _load(p.cost, p.rows, p.rows_lower, p.rows_upper, p.lower, p.upper)


class Relaxation:
    """The linear relaxation of a programme, solved again and again from the last basis."""

    def __init__(self, programme: Programme) -> None:
        self.whole = np.flatnonzero(programme.binary).astype(np.int32)
        self._least = programme.lower[self.whole]
        self._most = programme.upper[self.whole]
        self._highs = _load_programme(programme)
        for name, value in (
            ("time_limit", TIME_LIMIT_S),
            ("primal_feasibility_tolerance", TIGHT),
            ("dual_feasibility_tolerance", TIGHT),
        ):
            self._highs.setOptionValue(name, value)

    def solve(self, fixed: NDArray[np.int8]) -> tuple[float, Floats] | None:
        """Minimise with some binaries fixed.

        Parameters
        ----------
        fixed : ndarray, shape (binary columns,)
            0 or 1 where fixed, -1 where anything between is allowed.

        Returns
        -------
        (objective, x) or None
            None where no point exists.

        Raises
        ------
        SolverStopped
            Where HiGHS gives no answer within the time limit.
        """
        import highspy

        lower = np.where(fixed < 0, self._least, fixed).astype(float)
        upper = np.where(fixed < 0, self._most, fixed).astype(float)
        if np.any(lower > self._most):
            return None
        self._highs.changeColsBounds(len(self.whole), self.whole, lower, upper)
        self._highs.run()
        status = self._highs.getModelStatus()
        if status == highspy.HighsModelStatus.kUnknown:
            # from a warm basis HiGHS may not recognise that no point exists; from none it does
            self._highs.clearSolver()
            self._highs.run()
            status = self._highs.getModelStatus()
        if _says_infeasible(status):
            return None
        if status != highspy.HighsModelStatus.kOptimal:
            raise SolverStopped(f"HiGHS stopped with {self._highs.modelStatusToString(status)}")
        x = np.asarray(self._highs.getSolution().col_value)
        return float(self._highs.getInfo().objective_function_value), x
