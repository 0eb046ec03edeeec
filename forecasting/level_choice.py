"""Reconcile where it helps: levels that lost by it in the past keep their own quantiles.

Reconciliation improves the mean of squared errors over all nodes, not the loss of every level
(Wickramasuriya, Athanasopoulos and Hyndman 2019, doi:10.1080/01621459.2018.1448825). Where the
nodes of a level gained nothing, their means still move, so that all adds up, but the change is
put beyond the outermost quantile: a skewed meter's mean lies in its peaks.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem
from forecasting.hierarchy import ErrorCovariance, Hierarchy, reconcile_quantiles
from forecasting.scores import pinball_losses

Floats = NDArray[np.float64]
DAYS_MIN: Final = 14


def find_depths_to_keep(
    hierarchy: Hierarchy,
    own_mw: Floats,
    moved_mw: Floats,
    actual_mw: Floats,
    levels: Sequence[float],
) -> frozenset[int]:
    """Return the depths whose nodes together lost by reconciliation on past days.

    Parameters
    ----------
    hierarchy : Hierarchy
        The nodes.
    own_mw, moved_mw : ndarray, shape (days, nodes, periods, levels)
        What was forecast for past days before and after `reconcile_quantiles` [MW].
    actual_mw : ndarray, shape (days, nodes, periods)
        What happened [MW].
    levels : sequence of float
        Probability levels, ascending.

    Returns
    -------
    frozenset of int
        Depths, 0 the top; all of them with fewer than `DAYS_MIN` days, which tell too little.

    Raises
    ------
    InputError
        If shapes differ or a value is not a number.
    """
    problems = []
    shape = (*actual_mw.shape, len(levels))
    if own_mw.shape != shape or moved_mw.shape != shape or shape[1] != len(hierarchy.nodes):
        what = f"shapes {own_mw.shape} and {moved_mw.shape}, expected {shape}"
        problems.append(Problem(where="past forecasts", what=what))
    elif not all(np.isfinite(each).all() for each in (own_mw, moved_mw, actual_mw)):
        problems.append(Problem(where="past forecasts", what="a value is not a number"))
    if problems:
        raise InputError(problems)
    depth = np.array(hierarchy.depth)
    if len(actual_mw) < DAYS_MIN:
        return frozenset(depth.tolist())
    before, after = (_losses(made, actual_mw, levels) for made in (own_mw, moved_mw))
    lost = {int(d) for d in np.unique(depth) if after[depth == d].sum() >= before[depth == d].sum()}
    return frozenset(lost)


def _losses(quantile_mw: Floats, actual_mw: Floats, levels: Sequence[float]) -> Floats:
    """Return the mean pinball loss of each node [MW], shape (nodes,)."""
    nodes = actual_mw.shape[1]
    by_node = quantile_mw.transpose(1, 0, 2, 3).reshape(nodes, -1, len(levels))
    happened = actual_mw.transpose(1, 0, 2).reshape(nodes, -1)
    return np.array([pinball_losses(by_node[k], happened[k], levels).mean() for k in range(nodes)])


def reconcile_levels(
    hierarchy: Hierarchy,
    quantile_mw: Floats,
    levels: Sequence[float],
    covariance: ErrorCovariance,
    *,
    keep: Collection[int],
    minimum_mw: float = -np.inf,
) -> tuple[Floats, Floats]:
    """Reconcile means, and move the quantiles of all depths but some.

    Parameters
    ----------
    hierarchy, quantile_mw, levels, covariance, minimum_mw
        As for `reconcile_quantiles`.
    keep : collection of int
        Depths whose quantiles stay as they are, from `find_depths_to_keep`.

    Returns
    -------
    quantile_mw : ndarray, shape (nodes, periods, levels)
        Quantiles [MW], non-decreasing.
    mean_mw : ndarray, shape (nodes, periods)
        Means [MW] of all nodes; they add up exactly.
    """
    moved, mean = reconcile_quantiles(
        hierarchy, quantile_mw, levels, covariance, minimum_mw=minimum_mw
    )
    stays = np.isin(hierarchy.depth, list(keep))
    return np.where(stays[:, None, None], quantile_mw, moved), mean
