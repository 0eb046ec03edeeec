"""The solution on ticks: what is left of it once awards are whole, and what could not hold."""

from __future__ import annotations

import dataclasses

import numpy as np

from data.records.clearing import BindingMargin, Violation
from opf.awards import quantise
from opf.kkt import Multipliers, kkt_residuals
from opf.limits import CURRENT_FROM, CURRENT_TO, limit_values
from opf.linearise import linearise
from opf.power_flow import solve_state
from opf.problem import Problem
from opf.successive import Solution
from opf.tick_effects import effects_of_ticks

PUBLISHED_EUR_MIN = 1e-6


def settle_on_ticks(problem: Problem, solution: Solution) -> Solution:
    """Quantise the decision and take state, gradients and residuals at the quantised point."""
    x = quantise(problem.case, problem.resources, solution.x)
    state = solve_state(problem.solver, problem.resources.injection(x), solution.state)
    before, price = solution.linearisation, solution.multipliers.limit
    active = before.rows.room * before.scale < 1e-4
    price = np.where(active & (price > 0), price, 0.0)
    pairs = {
        (int(k), int(t)): float(p)
        for k, t, p in zip(before.chosen, before.period, price, strict=True)
        if p > 0
    }
    lin = linearise(problem, state, set(pairs))
    ordered = zip(lin.chosen.tolist(), lin.period.tolist(), strict=True)
    multipliers = Multipliers(
        limit=np.array([pairs[pair] for pair in ordered], dtype=float),
        row=solution.multipliers.row,
    )
    ticks = effects_of_ticks(problem, solution.x, x, state, lin, multipliers.limit)
    return dataclasses.replace(
        solution,
        x=x,
        state=state,
        linearisation=lin,
        multipliers=multipliers,
        residuals=kkt_residuals(problem, x, lin, multipliers, ticks),
        ticks=ticks,
        slack=np.maximum(-lin.rows.room, 0.0),
    )


def list_slack(problem: Problem, solution: Solution) -> tuple[Violation, ...]:
    """Limits that could not hold although they are priced at scarcity, in MW-equivalent."""
    limits, lin = problem.limits, solution.linearisation
    scarcity = problem.case.limits.scarcity_price_eur_per_mwh
    values, bound = limit_values(limits, solution.state), limits.bound(problem.periods)
    found = []
    for row in np.flatnonzero(
        (solution.slack > 1e-6) & (solution.multipliers.limit >= scarcity * (1 - 1e-5))
    ).tolist():
        k, t = int(lin.chosen[row]), int(lin.period[row])
        sign = -1.0 if limits.side[k] in ("lower", "export") else 1.0
        found.append(
            Violation(
                element_kind=limits.element_kind[k],
                element=int(limits.element[k]),
                side=limits.side[k],
                period=t,
                value=sign * float(values[k, t]),
                limit=sign * float(bound[k, t]),
                mw_short=float(solution.slack[row]),
            )
        )
    return tuple(found)


def list_binding_margins(problem: Problem, solution: Solution) -> tuple[BindingMargin, ...]:
    """Priced limits that hold where a security margin put them: whose price part is a margin's."""
    limits, lin = problem.limits, solution.linearisation
    if limits.margin is None:
        return ()
    found = []
    # below a micro-EUR no price part is published
    for row in np.flatnonzero(solution.multipliers.limit > PUBLISHED_EUR_MIN).tolist():
        k, t = int(lin.chosen[row]), int(lin.period[row])
        margin, limit = float(limits.margin[k, t]), abs(float(limits.maximum[k]))
        if margin <= 0.0:
            continue
        if limits.family[k] in (CURRENT_FROM, CURRENT_TO):
            b, place = problem.grid.branches, limits.place[k]
            rating = b.rating_from if limits.family[k] == CURRENT_FROM else b.rating_to
            limit, margin = (100.0 * value / float(rating[place]) for value in (limit, margin))
        found.append(
            BindingMargin(
                element_kind=limits.element_kind[k],
                element=int(limits.element[k]),
                side=limits.side[k],
                period=t,
                limit=limit,
                margin=margin,
                shadow_price_eur_per_mwh=float(solution.multipliers.limit[row]),
            )
        )
    return tuple(found)
