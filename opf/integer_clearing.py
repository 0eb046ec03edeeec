"""Choose the integers: the best choice whose prices leave no accepted integer order at a loss.

A master programme proposes choices in the order of their cost on linearised physics; each proposal
is cleared with AC physics and its integers fixed, priced, and judged at its own prices. What was
judged is never proposed again. The search ends when no remaining choice can cost less than the
best one that stands, so up to `EXACT_UP_TO` integer orders its answer is the optimum of the
definition. Above, proposals come from the relaxation and the search ends at a gap; an order that
loses money at the prices of a proposal is left out of all that follow.

The master is a lower bound only as far as its tangents are. How much it overstates the cost of a
choice shows when that choice is cleared, and the search goes on by twice as much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import Award, IntegerReport
from opf.awards import make_award
from opf.integer_choice import NOTHING_ACCEPTED, IntegerChoice, integer_orders
from opf.integer_master import Master
from opf.integer_search import search_choices
from opf.kkt import price_scale
from opf.linear_programme import SolverStopped
from opf.linearise import choose_limits, linearise
from opf.one_direction import everything, optimise_one_way
from opf.paradox import paradoxically_accepted, prices_by_bus
from opf.power_flow import PowerFlowDiverged
from opf.prices import price_buses
from opf.problem import Problem, cost_eur, with_choice
from opf.quadratic import StepInfeasible, StepStopped
from opf.settled import list_slack, settle_on_ticks
from opf.successive import Solution

Floats = NDArray[np.float64]
Progress = Callable[[int, float, float], None]

EXACT_UP_TO: Final = 20
# Gap at which a search over more orders ends, relative to the cost, and the share of it that a
# single proposal may leave open.
GAP_OF_MANY: Final = 8e-4
PROPOSAL_SHARE: Final = 0.5
# Cost difference that counts as none, relative.
EQUAL: Final = 1e-9
# Choices cleared at most: what is worth waiting for depends on the size of the case.
CHOICES_MAX: Final = 2000
CHOICES_OF_MANY: Final = 12
COLUMNS_PER_CHOICE: Final = 200_000
# Effort of one proposal, as `opf.linear_programme.solve_mixed_integer` counts it.
EFFORT_OF_MANY: Final = 3e7


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """One choice, cleared: ``total_eur`` is cost plus the price of slack."""

    choice: IntegerChoice
    problem: Problem
    solution: Solution
    total_eur: float
    penalty_eur: float
    losing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Where the search ended."""

    best: Cleared
    report: IntegerReport
    bound_eur: float | None


def _clear_choice(
    problem: Problem,
    choice: IntegerChoice,
    begin: Floats | None,
    progress: Progress | None,
    out_of_time: Callable[[], bool] | None,
) -> Cleared:
    """Clear with fixed integers, put on ticks, price, and judge the accepted integer orders."""
    fixed = with_choice(problem, choice)
    fixed, solution = optimise_one_way(fixed, begin, progress, out_of_time)
    if not solution.converged and not (out_of_time is not None and out_of_time()):
        other, again = optimise_one_way(fixed, everything(fixed), progress, out_of_time)
        if again.converged:
            fixed, solution = other, again
    settled = settle_on_ticks(fixed, solution)
    case, h = problem.case, problem.case.periods.mtu_h
    prices = price_buses(fixed, settled.linearisation, settled.multipliers.limit).prices
    at = prices_by_bus(case, prices)
    price_at = {bus: active for bus, (active, _) in at.items()}
    awards: list[Award] = [
        make_award(case, fixed.resources, columns, settled.x, price_at)
        for columns in fixed.resources.orders
        if choice.accepts(columns.order.id)
    ]
    short = sum(violation.mw_short for violation in list_slack(fixed, settled))
    penalty = case.limits.scarcity_price_eur_per_mwh * h * short
    scale = price_scale(fixed, settled.multipliers)
    return Cleared(
        choice=choice,
        problem=fixed,
        solution=solution,
        total_eur=cost_eur(fixed, settled.x, settled.state) + penalty,
        penalty_eur=penalty,
        losing=paradoxically_accepted(case, awards, at, scale),
    )


def _add_tangents(master: Master, cleared: Cleared) -> None:
    """Tell the master what AC physics says at a cleared choice."""
    problem, solution = cleared.problem, cleared.solution
    priced = np.flatnonzero(solution.multipliers.limit > 0)
    lin = solution.linearisation
    kept = set(zip(lin.chosen[priced].tolist(), lin.period[priced].tolist(), strict=True))
    fresh = linearise(problem, solution.state, choose_limits(problem, solution.state, kept))
    injection = problem.resources.injection(solution.x) - problem.resources.fixed
    master.add_point(injection, solution.state, fresh)


@dataclass(slots=True, kw_only=True)
class _Judge:
    """Clears proposed choices, keeps the best that stands and tells the master what it learned."""

    problem: Problem
    master: Master
    best: Cleared
    progress: Progress | None
    out_of_time: Callable[[], bool] | None
    cleared: int = 1
    overstated: float = 0.0
    unsettled: int = 0
    by_time: int = 0

    def judge(self, choice: IntegerChoice, cost_in_master: float) -> Cleared | None:
        """Clear a choice; None where the grid or the orders leave no schedule for it."""
        self.cleared += 1
        try:
            found = _clear_choice(self.problem, choice, None, self.progress, self.out_of_time)
        except (StepInfeasible, StepStopped, PowerFlowDiverged):
            return None
        _add_tangents(self.master, found)
        self.overstated = max(self.overstated, cost_in_master - found.total_eur)
        if not found.solution.converged:
            self.unsettled += 1
        elif not found.losing:
            self.best = min(self.best, found, key=lambda one: one.total_eur)
        return found

    def judge_once(self, choice: IntegerChoice, cost_in_master: float) -> Cleared | None:
        """Clear a choice and see to it that it is not proposed again."""
        self.master.exclude(choice)
        return self.judge(choice, cost_in_master)

    def beats(self, bound: float, share: float) -> bool:
        """Whether a bound still lies below the best choice, by more than a share of its cost."""
        tolerance = share * max(1.0, abs(self.best.total_eur))
        return bound < self.best.total_eur + 2.0 * self.overstated - tolerance

    def late(self) -> bool:
        """Whether the caller's time is over."""
        return self.out_of_time is not None and self.out_of_time()


def choose_integers(
    problem: Problem,
    begin: Floats | None = None,
    progress: Progress | None = None,
    out_of_time: Callable[[], bool] | None = None,
) -> Search:
    """Find the best choice of integers.

    Parameters
    ----------
    problem : Problem
        The case with no integer order accepted.
    begin : ndarray, optional
        Where that clearing starts.
    progress, out_of_time : callable, optional
        As in `opf.clearing.clear_case`.

    Returns
    -------
    Search
        The best choice found; ``report.proven`` says whether nothing better can exist.

    Raises
    ------
    StepInfeasible, StepStopped, PowerFlowDiverged
        Where the market without any integer order has no answer.
    """
    count = len(integer_orders(problem.case))
    nothing = _clear_choice(problem, NOTHING_ACCEPTED, begin, progress, out_of_time)
    master = Master(problem)
    _add_tangents(master, nothing)
    master.exclude(NOTHING_ACCEPTED)
    judge = _Judge(
        problem=problem, master=master, best=nothing, progress=progress, out_of_time=out_of_time
    )
    stopped = ""
    try:
        search = _search_all if count <= EXACT_UP_TO else _search_many
        bound, proven = search(judge)
    except SolverStopped as error:
        bound, proven, stopped = -np.inf, False, f"the choice of integers stopped: {error}"
    if judge.unsettled:
        proven, stopped = False, f"{judge.unsettled} choices of integers could not be cleared"
    if not proven and not stopped:
        stopped = f"integers chosen from {judge.cleared} choices, not proven to be the best"
    if judge.by_time:
        stopped += (
            f"; {judge.by_time} proposals ended by wall time: a faster machine may choose otherwise"
        )
    best = judge.best
    bound = min(bound, best.total_eur)
    return Search(
        best=best,
        report=IntegerReport(
            orders=count,
            choices_cleared=judge.cleared,
            proven=proven,
            gap=(best.total_eur - bound) / max(1.0, abs(best.total_eur)),
            overstated_eur=judge.overstated,
            message=stopped,
        ),
        bound_eur=float(bound - best.penalty_eur) if np.isfinite(bound) else None,
    )


def _search_all(judge: _Judge) -> tuple[float, bool]:
    """Go on until nothing better can exist; returns (bound, whether that was reached)."""
    per_column = COLUMNS_PER_CHOICE // max(len(judge.problem.programme.free), 1)
    most = min(CHOICES_MAX, max(CHOICES_OF_MANY, per_column))

    def may_go_on(bound: float) -> bool:
        return judge.beats(bound, EQUAL) and judge.cleared < most and not judge.late()

    if not judge.master.limits_decide:
        bound = search_choices(judge.master, judge.judge, may_go_on)
        return bound, not judge.beats(bound, EQUAL)
    # bounds of a pass rest on rows that what it cleared may have relaxed: pass until nothing is new
    while True:
        cleared = judge.cleared
        bound = search_choices(judge.master, judge.judge_once, may_go_on)
        if judge.cleared == cleared or judge.cleared >= most or judge.late():
            return bound, judge.cleared == cleared and not judge.beats(bound, EQUAL)


def _search_many(judge: _Judge) -> tuple[float, bool]:
    """Take proposals until the gap is small; losing orders are left out of all that follow."""
    bound = -np.inf
    while True:
        answer = judge.master.propose(PROPOSAL_SHARE * GAP_OF_MANY, EFFORT_OF_MANY)
        if answer is None:
            return bound, False
        judge.by_time += answer.by_time
        if not judge.master.rejected:
            bound = max(bound, answer.bound_eur)
        if not judge.beats(answer.bound_eur, GAP_OF_MANY):
            return bound, False
        if judge.cleared >= CHOICES_OF_MANY or judge.late():
            return bound, False
        judge.master.exclude(answer.choice)
        found = judge.judge(answer.choice, answer.cost_eur)
        for order in () if found is None else found.losing:
            judge.master.reject(order)
