"""The AC engine's final point as plain arrays by bus, for the second statement."""

from __future__ import annotations

from opf.certificate import bus_injection
from opf.linearise import linearise
from opf.problem import Problem
from opf.pyomo_statement import LinearPoint
from opf.successive import Solution


def linear_point(problem: Problem, solution: Solution) -> LinearPoint:
    """Express import and chosen limits around a solution as functions of bus injections.

    Parameters
    ----------
    problem : Problem
        Prepared case.
    solution : Solution
        Where the optimisation ended.

    Returns
    -------
    LinearPoint
        Buses out of service have derivatives 0.
    """
    lin, state = solution.linearisation, solution.state
    if lin.limit_p.shape[1] != len(lin.chosen):
        pairs = set(zip(lin.chosen.tolist(), lin.period.tolist(), strict=True))
        lin = linearise(problem, state, pairs)
    node = problem.grid.bus_node
    supplied = (node >= 0)[:, None]
    injection = bus_injection(problem, state)
    return LinearPoint(
        injection_mw=injection.real,
        injection_mvar=injection.imag,
        import_mw=state.exchange.real,
        import_p=lin.import_p[node] * supplied,
        import_q=lin.import_q[node] * supplied,
        period=lin.period,
        excess=-lin.rows.room * lin.scale,
        limit_p=lin.limit_p[node] * supplied,
        limit_q=lin.limit_q[node] * supplied,
        scale=lin.scale,
    )
