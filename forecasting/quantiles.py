"""Quantiles of weighted samples, for many series and periods at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def weighted_quantiles(samples: Floats, weights: Floats, probabilities: Sequence[float]) -> Floats:
    """Return quantiles of weighted samples, linear between the samples' mid-weights.

    Parameters
    ----------
    samples : ndarray, shape (..., samples)
        Values, any unit, all finite.
    weights : ndarray, broadcastable to ``samples``
        Non-negative; a weight of zero leaves its sample out. Each row needs a positive sum.
    probabilities : sequence of float
        Levels in (0, 1).

    Returns
    -------
    ndarray, shape (..., len(probabilities))
        Quantiles, non-decreasing when ``probabilities`` are; never outside the row's samples.

    Notes
    -----
    With equal weights the position of the i-th of n samples is (i - 0.5) / n (Hazen; type 5 of
    Hyndman and Fan 1996, doi:10.1080/00031305.1996.10473566).
    """
    values = np.asarray(samples, dtype=float)
    weight = np.broadcast_to(weights, values.shape)
    # Samples without weight are sorted behind the others and never reached.
    order = np.argsort(np.where(weight > 0.0, values, np.inf), axis=-1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=-1)
    mass = np.take_along_axis(weight, order, axis=-1)
    total = mass.sum(axis=-1, keepdims=True)
    position = (np.cumsum(mass, axis=-1) - 0.5 * mass) / total
    last = np.maximum((mass > 0.0).sum(axis=-1, keepdims=True) - 1, 0)
    columns = []
    for level in probabilities:
        upper = (position < level).sum(axis=-1, keepdims=True)
        upper = np.minimum(upper, last)
        lower = np.maximum(upper - 1, 0)
        p_lower = np.take_along_axis(position, lower, axis=-1)
        p_upper = np.take_along_axis(position, upper, axis=-1)
        v_lower = np.take_along_axis(ordered, lower, axis=-1)
        v_upper = np.take_along_axis(ordered, upper, axis=-1)
        width = p_upper - p_lower
        share = np.where(width > 0.0, (level - p_lower) / np.where(width > 0.0, width, 1.0), 1.0)
        between = v_lower + np.clip(share, 0.0, 1.0) * (v_upper - v_lower)
        columns.append(np.clip(between, v_lower, v_upper))
    return np.maximum.accumulate(np.concatenate(columns, axis=-1), axis=-1)


def spread_for_few(probabilities: Sequence[float], count: int) -> tuple[float, ...]:
    """Move levels outwards because ``count`` samples do not show the tails of the next one.

    The p-quantile of a new draw lies at p (n + 1) / n - 1 / (2 n) in the positions of
    `weighted_quantiles` (Weibull's plotting position), clipped to [0, 1].

    Examples
    --------
    >>> [round(level, 3) for level in spread_for_few((0.1, 0.5, 0.9), 10)]
    [0.06, 0.5, 0.94]
    """
    moved = [level * (count + 1) / count - 0.5 / count for level in probabilities]
    return tuple(min(max(level, 0.0), 1.0) for level in moved)


def order_and_cap(
    value_mw: Floats, minimum_mw: Floats | float, maximum_mw: Floats | float
) -> Floats:
    """Clip to [minimum, maximum] [MW] and make the last axis non-decreasing; no -0.0."""
    capped = np.clip(value_mw, minimum_mw, maximum_mw)
    return np.maximum.accumulate(capped, axis=-1) + 0.0


def interpolate_quantiles(
    value: Floats, from_levels: Sequence[float], to_levels: Sequence[float]
) -> Floats:
    """Read quantiles at other levels: linear between levels, tails continued like a normal's.

    Parameters
    ----------
    value : ndarray, shape (..., from levels)
        Non-decreasing quantiles, any unit.
    from_levels, to_levels : sequence of float
        Ascending levels in (0, 1).

    Returns
    -------
    ndarray, shape (..., to levels)
        Non-decreasing. Beyond the outermost levels the outermost slope goes on along the normal
        distribution's own quantiles.

    Examples
    --------
    >>> interpolate_quantiles(np.array([1.0, 2.0, 4.0]), (0.1, 0.5, 0.9), (0.3, 0.5)).tolist()
    [1.5, 2.0]
    """
    known, wanted = np.asarray(from_levels, dtype=float), np.asarray(to_levels, dtype=float)
    if known.shape == wanted.shape and np.array_equal(known, wanted):
        return np.maximum.accumulate(value, axis=-1)
    upper = np.clip(np.searchsorted(known, wanted, side="left"), 1, len(known) - 1)
    lower = upper - 1
    within = (wanted >= known[0]) & (wanted <= known[-1])
    score_known, score_wanted = _normal_score(known), _normal_score(wanted)
    share = np.where(
        within,
        (wanted - known[lower]) / (known[upper] - known[lower]),
        (score_wanted - score_known[lower]) / (score_known[upper] - score_known[lower]),
    )
    found = value[..., lower] + share * (value[..., upper] - value[..., lower])
    return np.maximum.accumulate(found, axis=-1)


def _normal_score(level: Floats) -> Floats:
    """Return the standard normal quantile of each level."""
    from scipy.special import ndtri

    return np.asarray(ndtri(level), dtype=float)
