"""Start a solve from an earlier result whose periods overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import Award, ClearingResult
from opf.order_columns import OrderColumns
from opf.problem import Problem

Floats = NDArray[np.float64]


def start_from(problem: Problem, earlier: ClearingResult) -> Floats:
    """Map the awards of an earlier result onto the columns of a problem.

    Orders that the earlier result does not know, and periods it does not cover, start at their
    lower bounds; everything is clipped to the present bounds. The point need not satisfy the
    couplings: it is only where the first linearisation is made.

    Returns
    -------
    ndarray, shape (columns,)
    """
    res = problem.equal.offers
    x = np.where(np.isfinite(res.lower), res.lower, 0.0)
    mtu = problem.case.periods.mtu
    offset = round((problem.case.periods.start - earlier.periods.start) / mtu)
    here = np.arange(problem.periods)
    there = here + offset
    common = (there >= 0) & (there < len(earlier.periods))
    here, there = here[common], there[common]
    by_order = {award.order: award for award in earlier.awards}
    for columns in res.orders:
        award = by_order.get(columns.order.id)
        if award is not None:
            _place(columns, award, x, res.upper, here, there)
    x = problem.equal.total(np.clip(x, res.lower, res.upper))
    return np.asarray(np.clip(x, problem.resources.lower, problem.resources.upper))


def _place(
    columns: OrderColumns,
    award: Award,
    x: Floats,
    upper: Floats,
    here: NDArray[np.int64],
    there: NDArray[np.int64],
) -> None:
    """Fill the columns of one order from its award."""
    p = np.abs(award.injection_mw.sum(axis=0))[there]
    if columns.steps is not None:
        rest = p
        for step in columns.steps:
            filled = np.minimum(rest, upper[step[here]])
            x[step[here]] = filled
            rest = rest - filled
    if columns.power is not None and columns.ratio is None and columns.rebound is None:
        x[columns.power[here]] = np.abs(award.injection_mw[0, there])
    for block, values in (
        (columns.charge, award.charge_mw),
        (columns.discharge, award.discharge_mw),
        (columns.energy, award.soc_mwh),
    ):
        if block is not None and values is not None:
            x[block[here]] = values[there]
    if columns.reactive is not None:
        x[columns.reactive[here]] = award.injection_mvar.sum(axis=0)[there]
