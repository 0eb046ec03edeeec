"""The way to an optimum by interior points; where it starts does not choose where it ends.

Under a binding overvoltage the problem is not convex and has several optima, a ten-thousandth of a
EUR apart in a day's 39,360: which quarter-hour of an equal-price hour the storages leave free. Each
is a strict local minimum, so no descent leads from one to the other. From the middle of all bounds
the barrier leads to one of them without meeting negative curvature, and so does every other start
from which none is met, even the other optimum itself; who meets it may end anywhere, and slowly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from opf.interior_point import InteriorMethod
from opf.kkt import Multipliers
from opf.kkt_system import SystemSingular
from opf.linearise import Linearisation
from opf.power_flow import AcState, PowerFlowDiverged
from opf.problem import Problem

Floats = NDArray[np.float64]

ITERATIONS_MAX: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class InteriorPoint:
    """Where the method ended: a schedule strictly within bounds, its AC point and prices.

    ``accurate`` is False where an end came before the accuracy asked for.
    """

    x: Floats
    state: AcState
    linearisation: Linearisation
    multipliers: Multipliers
    iterations: int
    accurate: bool


def find_interior_point(
    problem: Problem,
    x_start: Floats | None,
    accuracy: float,
    progress: Callable[[int, float, float], None] | None = None,
    out_of_time: Callable[[], bool] | None = None,
) -> InteriorPoint | None:
    """Run the method.

    Where the problem is not convex there may be several optima, but the way from the middle of all
    bounds is one and the same: a way from ``x_start`` on which a step would not minimise is left at
    once for that one, so that where a solve starts does not choose where it ends. On grids with
    zones, where each way meets some, that one goes first.

    Parameters
    ----------
    problem : Problem
        Prepared case.
    x_start : ndarray, shape (columns,), optional
        Near where to start; the middle of all bounds otherwise.
    accuracy : float
        KKT residual, relative to the largest price, and violation [MW-equivalent] to stop at.
    progress, out_of_time : callable, optional
        As in `opf.successive.optimise`; the violation is in units of ``accuracy``.

    Returns
    -------
    InteriorPoint or None
        The last point, also where an end came before the accuracy; None where there is none (no
        columns with a choice, no AC solution at the start, numbers that broke down).
    """
    if not len(problem.programme.free):
        return None
    run = _Run(problem=problem, accuracy=accuracy, progress=progress, out_of_time=out_of_time)
    if x_start is None:
        return run.follow(None)
    # on grids with zones every way meets some curvature
    if not problem.zones.count:
        found = run.follow(x_start, leave_curved=True)
        if not run.left:
            return found
    cold = run.follow(None)
    if run.late or (cold is not None and cold.accurate):
        return cold
    # the middle of all bounds leads nowhere: the start it is
    return run.follow(x_start)


@dataclass(slots=True, kw_only=True)
class _Run:
    """One or more ways through the same problem, their iterations counted together."""

    problem: Problem
    accuracy: float
    progress: Callable[[int, float, float], None] | None
    out_of_time: Callable[[], bool] | None
    iterations: int = 0
    left: bool = False
    late: bool = False

    def follow(self, x_start: Floats | None, *, leave_curved: bool = False) -> InteriorPoint | None:
        """Iterate from a start; ``left`` says that the way was given up for its curvature."""
        method = InteriorMethod(self.problem)
        self.left = accurate = False
        try:
            at = method.start(x_start)
            for step in range(ITERATIONS_MAX + 1):
                left = method.residuals(at)
                kkt, missing = method.error(at, left)
                if not np.isfinite(kkt + missing):
                    return None
                if step:
                    self.iterations += 1
                    if self.progress is not None:
                        self.progress(self.iterations, kkt, missing / self.accuracy)
                    self.late = self.out_of_time is not None and self.out_of_time()
                accurate = max(kkt, missing) <= self.accuracy
                if accurate or self.late or step == ITERATIONS_MAX:
                    break
                # of contradicting orders the prices grow without bound
                with np.errstate(over="ignore", invalid="ignore"):
                    diagonal, guess = method.factorise(at, left)
                    if leave_curved and method.convexity.met:
                        self.left = True
                        return None
                    at = method.move(at, method.improve(at, left, diagonal, guess), left)
        except (PowerFlowDiverged, SystemSingular):
            return None
        prices = Multipliers(limit=at.limit_price / method.h, row=at.row_price)
        return InteriorPoint(
            x=method.decision(at.u),
            state=at.state,
            linearisation=at.lin,
            multipliers=prices,
            iterations=self.iterations,
            accurate=accurate,
        )
