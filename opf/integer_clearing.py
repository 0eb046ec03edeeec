"""Choose the integers: the best choice whose prices leave no accepted integer order at a loss.

A master programme proposes choices in the order of their cost on linearised physics; each proposal
is cleared with AC physics and its integers fixed, priced, and judged at its own prices. What was
judged is never proposed again. The search ends when no remaining choice can cost less than the
best one that stands, so up to `EXACT_UP_TO` integer orders its answer is the optimum of the
definition; above, proposals end at a gap, and an order that loses money at a proposal's prices is
left out of all that follow.

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
from opf.kkt import price_scale
from opf.linear_programme import SolverStopped
from opf.linearise import choose_limits, linearise
from opf.one_direction import optimise_one_way
from opf.paradox import paradoxically_accepted
from opf.power_flow import PowerFlowDiverged
from opf.prices import price_buses
from opf.problem import Problem, cost_eur, with_choice
from opf.quadratic import StepInfeasible, StepStopped
from opf.settled import list_slack, settle_on_ticks
from opf.successive import Solution

Floats = NDArray[np.float64]
Progress = Callable[[int, float, float], None]

EXACT_UP_TO: Final = 20
# Gap at which a search over more orders ends, relative to the cost.
GAP_OF_MANY: Final = 5e-4
# Cost difference that counts as none, relative.
EQUAL: Final = 1e-9
# Choices cleared at most: what is worth waiting for depends on the size of the case.
CHOICES_MAX: Final = 2000
CHOICES_OF_MANY: Final = 12
COLUMNS_PER_CHOICE: Final = 200_000
MASTER_TIME_LIMIT_S: Final = 300.0


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
    settled = settle_on_ticks(fixed, solution)
    case, h = problem.case, problem.case.periods.mtu_h
    prices = price_buses(fixed, settled.linearisation, settled.multipliers.limit).prices
    price_at = dict(zip(case.network.buses.index.tolist(), prices.dlmp_p_eur_per_mwh, strict=True))
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
        losing=paradoxically_accepted(case, awards, scale),
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
    exact = count <= EXACT_UP_TO
    most = CHOICES_MAX if exact else CHOICES_OF_MANY
    most = min(
        most, max(CHOICES_OF_MANY, COLUMNS_PER_CHOICE // max(len(problem.programme.free), 1))
    )
    best = _clear_choice(problem, NOTHING_ACCEPTED, begin, progress, out_of_time)
    master = Master(problem)
    _add_tangents(master, best)
    master.exclude(NOTHING_ACCEPTED)
    bound, overstated, cleared, stopped = -np.inf, 0.0, 1, ""
    while True:
        tolerance = (EQUAL if exact else GAP_OF_MANY) * max(1.0, abs(best.total_eur))
        try:
            answer = master.solve(0.0 if exact else 0.2 * GAP_OF_MANY, MASTER_TIME_LIMIT_S)
        except SolverStopped as error:
            stopped = f"the choice of integers stopped: {error}"
            break
        if answer is None:
            bound = best.total_eur
            break
        if not master.rejected:
            bound = max(bound, answer.bound_eur)
        if answer.bound_eur >= best.total_eur + 2.0 * overstated - tolerance:
            break
        if cleared >= most or (out_of_time is not None and out_of_time()):
            stopped = f"the search ended after {cleared} choices"
            break
        cleared += 1
        master.exclude(answer.choice)
        try:
            found = _clear_choice(problem, answer.choice, None, progress, out_of_time)
        except (StepInfeasible, StepStopped, PowerFlowDiverged):
            continue
        _add_tangents(master, found)
        overstated = max(overstated, answer.cost_eur - found.total_eur)
        if not found.losing:
            best = min(best, found, key=lambda one: one.total_eur)
        elif not exact:
            for order in found.losing:
                master.reject(order)
    bound = min(bound, best.total_eur)
    proven = not stopped and (exact or not master.rejected)
    return Search(
        best=best,
        report=IntegerReport(
            orders=count,
            choices_cleared=cleared,
            proven=proven,
            gap=(best.total_eur - bound) / max(1.0, abs(best.total_eur)),
            overstated_eur=overstated,
            message=stopped,
        ),
        bound_eur=float(bound - best.penalty_eur) if np.isfinite(bound) else None,
    )
