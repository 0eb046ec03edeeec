"""The published schedule put back into the engine's columns and its AC state."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import Award
from data.records.order import (
    BilateralOrder,
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    ShiftOrder,
)
from opf.explanations.published import Published
from opf.integer_choice import IntegerChoice
from opf.order_columns import OrderColumns
from opf.power_flow import AcState, solve_state
from opf.problem import Problem, prepare_problem, with_choice

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """Columns and state of the published awards.

    ``problem.resources`` are those of the orders one by one, equal ones not merged; ``price_scale``
    is the largest price in play.
    """

    problem: Problem
    x: Floats
    state: AcState
    price_scale: float


def replay(published: Published) -> Replayed:
    """Prepare the case with the integers of its awards and solve the AC state of the awards.

    Raises
    ------
    PowerFlowDiverged
        If the awards have no AC state.
    """
    problem = prepare_problem(published.case)
    choice = choice_of(published)
    if choice.accepted or choice.on:
        problem = with_choice(problem, choice)
    problem = dataclasses.replace(problem, resources=problem.equal.offers)
    injection = problem.resources.fixed.copy()
    for award in published.awards.values():
        for row, bus in enumerate(award.buses):
            node = problem.grid.bus_node[published.row_of[bus]]
            injection[node] += award.injection_mw[row] + 1j * award.injection_mvar[row]
    prices = published.result.prices.dlmp_p_eur_per_mwh
    return Replayed(
        problem=problem,
        x=_decision(problem, published),
        state=solve_state(problem.solver, injection),
        price_scale=max(1.0, float(np.nanmax(np.abs(prices)))),
    )


def reduction_mw(order: CurtailOrder, award: Award) -> Floats:
    """Reduction of a curtail award before its rebound, shape (periods,) [MW]."""
    return np.asarray(award.accepted_share * order.p_mw_max)


def choice_of(published: Published) -> IntegerChoice:
    """Return the integers that the awards show."""
    accepted, on = set(), {}
    for order in published.case.orders:
        award = published.awards[order.id]
        if isinstance(order, BlockOrder) and award.accepted_share.any():
            accepted.add(order.id)
        elif isinstance(order, CurtailOrder):
            on[order.id] = tuple(np.flatnonzero(award.accepted_share).tolist())
    return IntegerChoice(
        accepted=frozenset(accepted), on={name: periods for name, periods in on.items() if periods}
    )


def _decision(problem: Problem, published: Published) -> Floats:
    """Columns of all awards."""
    res = problem.resources
    x = np.where(np.isfinite(res.lower), res.lower, 0.0)
    for columns in res.orders:
        for block, values in _placed(columns, published.awards[columns.order.id]):
            x[block] = values
    return np.asarray(np.clip(x, res.lower, res.upper))


def _placed(columns: OrderColumns, award: Award) -> list[tuple[NDArray[np.int64], Floats]]:
    """Return (columns, values) of one award."""
    order = columns.order
    power = award.injection_mw.sum(axis=0)
    found = []
    if columns.steps is not None and isinstance(order, GenerationOrder | DemandOrder):
        rest = np.abs(power)
        for block, step in zip(columns.steps, order.steps, strict=True):
            filled = np.minimum(rest, step.p_mw)
            found.append((block, filled))
            rest = rest - filled
    if isinstance(order, BlockOrder):
        if columns.ratio is not None and columns.power is not None:
            found.append((columns.ratio, award.accepted_share[: len(columns.ratio)]))
            found.append((columns.power, power))
    elif isinstance(order, CurtailOrder):
        reduced = reduction_mw(order, award)
        if columns.power is not None and columns.rebound is not None:
            found += [(columns.power, reduced), (columns.rebound, reduced - power)]
    elif columns.power is not None:
        given = np.abs(award.injection_mw[0] if isinstance(order, BilateralOrder) else power)
        found.append((columns.power, given))
    if isinstance(order, ShiftOrder) and columns.moved is not None:
        above = -power - order.baseline_mw
        found += [
            (columns.moved[0], np.maximum(above, 0.0)),
            (columns.moved[1], np.maximum(-above, 0.0)),
        ]
    for block, values in (
        (columns.charge, award.charge_mw),
        (columns.discharge, award.discharge_mw),
        (columns.energy, award.soc_mwh),
    ):
        if block is not None and values is not None:
            found.append((block, values))
    if columns.reactive is not None:
        found.append((columns.reactive, award.injection_mvar.sum(axis=0)))
    return found
