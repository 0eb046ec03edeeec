"""Semismooth Newton steps on the KKT conditions: the last digits.

The quadratic programme finds which bounds and limits bind; near the solution a Newton step on the
projected KKT conditions is cheaper and converges faster. Its curvature is the flow tree's, signed:
no convexity is needed here, so where overvoltage makes the Lagrangian concave the step is right
where a convex programme could only creep.

A column is held at a bound when ``x - r / scale`` lies beyond it, a limit is held at its maximum
when ``price / scale`` exceeds its room, exactly as in the residual that is driven to zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import linalg

from opf.quadratic import LimitRows, StepProgramme

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Tiny terms that make degenerate systems solvable: relative to the price scale, and absolute.
PROXIMAL: Final = 1e-7
DUAL_PROXIMAL: Final = 1e-9
# Distance within which a column counts as being at a bound [MW or MWh].
NEAR_BOUND: Final = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class NewtonPoint:
    """What a Newton step starts from.

    Parameters
    ----------
    x, reduced, gradient : ndarray, shape (columns,)
        Decision, its reduced cost, and its cost gradient with what sparse rows leave out [EUR per
        unit].
    curvature : ndarray, shape (flows, periods)
        Signed curvature by flows [EUR/MW^2/h].
    limits : LimitRows
        Linearised limits.
    limit_price : ndarray, shape (rows,)
        [EUR/MW-equivalent/h].
    row_price : ndarray, shape (resource rows,)
        [EUR per unit].
    """

    x: Floats
    reduced: Floats
    gradient: Floats
    curvature: Floats
    limits: LimitRows
    limit_price: Floats
    row_price: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class NewtonStep:
    """Where a Newton step leads."""

    x: Floats
    limit_price: Floats
    row_price: Floats


def newton_step(
    programme: StepProgramme, point: NewtonPoint, price_scale: float, scarcity_price: float
) -> NewtonStep | None:
    """Take one step; None when the system cannot be solved."""
    res, h = programme.resources, programme.mtu_h
    free = programme.free
    scale = price_scale * h
    x, lower, upper = point.x[free], res.lower[free], res.upper[free]
    moving, jump = _split_columns(x, point.reduced[free] / scale, lower, upper)
    rows_at, rows_right = _active_rows(programme, point, scale, free[moving])
    rows = res.rows[rows_at]
    room, price = point.limits.room, point.limit_price
    short = price >= scarcity_price
    active = np.flatnonzero((price / price_scale - room > 0) & ~short)
    fixed_price = np.where(short, scarcity_price, 0.0)

    n_free = len(free)
    balances = point.limits.balances
    c_x, c_f = balances[:, :n_free], balances[:, n_free:]
    by_flow = point.limits.by_flow
    by_column = point.limits.by_column[:, free]
    weight = 2.0 * h * np.tile(point.curvature.ravel(), len(programme.flow_parts))
    gradient = point.gradient[free] + h * (by_column.T @ fixed_price)
    n_move, n_flow = len(moving), c_f.shape[1]
    rows_x = rows[:, free]
    blocks = [
        [
            PROXIMAL * scale * sparse.identity(n_move),
            None,
            c_x[:, moving].T,
            rows_x[:, moving].T,
            h * by_column[active][:, moving].T,
        ],
        [None, sparse.diags(weight), c_f.T, None, h * by_flow[active].T],
        [c_x[:, moving], c_f, None, None, None],
        [rows_x[:, moving], None, None, -DUAL_PROXIMAL * sparse.identity(len(rows_at)), None],
        [
            by_column[active][:, moving],
            by_flow[active],
            None,
            None,
            -DUAL_PROXIMAL * sparse.identity(len(active)),
        ],
    ]
    right = np.concatenate(
        [
            -gradient[moving],
            -h * (by_flow.T @ fixed_price),
            -(c_x @ jump),
            rows_right - rows_x @ jump - DUAL_PROXIMAL * point.row_price[rows_at],
            room[active] - by_column[active] @ jump - DUAL_PROXIMAL * price[active],
        ]
    )
    found = _solve(blocks, right)
    if found is None:
        return None
    change = jump.copy()
    change[moving] = found[:n_move]
    new_x = point.x.copy()
    new_x[free] = np.clip(x + change, lower, upper)
    # a row whose columns are all held says nothing about its price: keep it
    new_rows = point.row_price.copy()
    at = n_move + 2 * n_flow
    new_rows[rows_at] = found[at : at + len(rows_at)]
    new_price = fixed_price.copy()
    new_price[active] = np.clip(found[at + len(rows_at) :], 0.0, scarcity_price)
    return NewtonStep(x=new_x, limit_price=new_price, row_price=new_rows)


def _split_columns(x: Floats, pull: Floats, lower: Floats, upper: Floats) -> tuple[Ints, Floats]:
    """Columns that move, and for the others the way to the bound that holds them.

    A column may leave its bound or go to it, but not jump across to the other one.
    """
    at_lower = (x - pull <= lower) & (x - lower <= NEAR_BOUND)
    at_upper = (x - pull >= upper) & (upper - x <= NEAR_BOUND)
    jump = np.where(at_lower, lower - x, np.where(at_upper, upper - x, 0.0))
    return np.flatnonzero(~(at_lower | at_upper)), jump


def _solve(blocks: list[list[sparse.spmatrix | None]], right: Floats) -> Floats | None:
    """Solve the block system; None when it is singular."""
    matrix = sparse.bmat(blocks, format="csc")
    try:
        found = linalg.splu(matrix, permc_spec="COLAMD", diag_pivot_thresh=0.1).solve(right)
    except RuntimeError:
        return None
    return np.asarray(found) if np.isfinite(found).all() else None


def _active_rows(
    programme: StepProgramme, point: NewtonPoint, scale: float, moving: Ints
) -> tuple[Ints, Floats]:
    """Rows that hold with equality and have a moving column: (numbers, what is missing)."""
    res = programme.resources
    activity = res.rows @ point.x
    pull = activity + point.row_price / scale
    at_upper = (pull >= res.rows_upper) & np.isfinite(res.rows_upper)
    at_lower = (pull <= res.rows_lower) & np.isfinite(res.rows_lower)
    equal = res.rows_lower == res.rows_upper
    movable = np.diff(res.rows[:, moving].tocsr().indptr) > 0
    numbers = np.flatnonzero((equal | at_upper | at_lower) & movable)
    goal = np.where(at_upper, res.rows_upper, res.rows_lower)
    goal = np.where(equal, res.rows_upper, goal)
    return numbers, (goal - activity)[numbers]
