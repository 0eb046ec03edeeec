"""Scores on plain arrays: pinball, coverage, reliability, sharpness, skill and their uncertainty.

Everything here takes quantiles ``value`` of shape (steps, levels) and what happened, ``actual``,
of shape (steps,), both in one unit; `forecasting.evaluation` does the same for records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A score with the ends of its confidence interval, in the unit of the score."""

    value: float
    lower: float
    upper: float

    def holds(self, number: float) -> bool:
        """Tell whether the interval holds a number."""
        return self.lower <= number <= self.upper


def pinball_losses(value: Floats, actual: Floats, levels: Sequence[float]) -> Floats:
    """Return the pinball loss of every step, the mean over levels; shape (steps,).

    loss(q) = q (y - x) where y >= x, else (1 - q) (x - y): GEFCom's definition, no factor 2
    (Hong et al. 2016, doi:10.1016/j.ijforecast.2016.02.001).

    Parameters
    ----------
    value : ndarray, shape (steps, levels)
        Quantiles.
    actual : ndarray, shape (steps,)
        What happened.
    levels : sequence of float
        Probability levels.

    Raises
    ------
    InputError
        If shapes differ or a value is not finite.

    Examples
    --------
    >>> pinball_losses(np.array([[1.0, 3.0]]), np.array([2.0]), (0.25, 0.5))
    array([0.375])
    """
    _check(value, actual, levels)
    level = np.asarray(levels)
    error = actual[:, None] - value
    return np.asarray(np.maximum(level * error, (level - 1.0) * error).mean(axis=1))


def inside_band(
    value: Floats,
    actual: Floats,
    levels: Sequence[float],
    lower: float = 0.1,
    upper: float = 0.9,
) -> tuple[Bools, Bools]:
    """Return which steps lie inside a band and which tell anything; shape (steps,) each.

    Steps where band and value are all zero (PV at night) tell nothing.
    """
    _check(value, actual, levels)
    low, high = _level(value, levels, lower), _level(value, levels, upper)
    counted = (high > 0.0) | (actual != 0.0) | (low < 0.0)
    return counted & (actual >= low) & (actual <= high), counted


def reliability(value: Floats, actual: Floats, levels: Sequence[float]) -> Floats:
    """Return the share of steps at or under each quantile; shape (levels,).

    Half of the ties with a quantile count, so that zeros do not look like a bias.
    """
    _check(value, actual, levels)
    under = (actual[:, None] < value).mean(axis=0)
    ties = (actual[:, None] == value).mean(axis=0)
    return np.asarray(under + 0.5 * ties)


def sharpness(value: Floats, levels: Sequence[float]) -> tuple[Floats, Floats]:
    """Return the mean width of each central band, narrowest first.

    Returns
    -------
    probability : ndarray, shape (bands,)
        Of each band, e.g. 0.8 for 10-90 %.
    width : ndarray, shape (bands,)
        Mean width, in the unit of ``value``.
    """
    pairs = [
        (round(1.0 - 2.0 * low, 10), _level(value, levels, 1.0 - low) - _level(value, levels, low))
        for low in levels
        if low < 0.5 and any(abs(high - (1.0 - low)) < 1e-9 for high in levels)
    ]
    pairs.sort(key=lambda pair: pair[0])
    return np.array([p for p, _ in pairs]), np.array([float(w.mean()) for _, w in pairs])


def skill(loss: Floats, baseline_loss: Floats) -> float:
    """Return 1 - mean loss / mean loss of a baseline: 0 is no better, 1 is perfect."""
    return float(1.0 - loss.mean() / baseline_loss.mean())


def skill_by_lead(
    loss: Floats, baseline_loss: Floats, lead_h: Floats, edges_h: Sequence[float]
) -> Floats:
    """Return the skill in each class of lead times, NaN where a class is empty; shape (classes,).

    Parameters
    ----------
    loss, baseline_loss : ndarray, shape (steps,)
        Losses of the same steps.
    lead_h : ndarray, shape (steps,)
        From the gate to the start of the step [h].
    edges_h : sequence of float
        Class k holds edges[k] <= lead < edges[k + 1] [h].
    """
    place = np.digitize(lead_h, np.asarray(edges_h)) - 1
    return np.array(
        [
            skill(loss[place == k], baseline_loss[place == k]) if (place == k).any() else np.nan
            for k in range(len(edges_h) - 1)
        ]
    )


def block_bootstrap(
    statistic: Callable[[Floats, Floats], float],
    numerator: Floats,
    denominator: Floats,
    *,
    block: int,
    draws: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Return a statistic with its interval from a circular moving-block bootstrap.

    Errors of neighbouring hours and days go together; blocks keep that (Politis and Romano 1992).

    Parameters
    ----------
    statistic : callable
        From two resampled arrays to the score.
    numerator, denominator : ndarray, shape (units,)
        What the score is made of, in the order of time, one number per unit (a day).
    block : int
        Units per block.
    draws, seed : int
        Number of resamples and their seed: the same seed gives the same interval.
    confidence : float
        Of the interval.
    """
    units = len(numerator)
    size = min(block, units)
    count = -(-units // size)
    starts = np.random.default_rng(seed).integers(0, units, size=(draws, count))
    rows = (starts[:, :, None] + np.arange(size)) % units
    rows = rows.reshape(draws, -1)[:, :units]
    found = np.array([statistic(numerator[row], denominator[row]) for row in rows])
    tail = 0.5 * (1.0 - confidence)
    lower, upper = np.quantile(found, [tail, 1.0 - tail])
    return Interval(value=statistic(numerator, denominator), lower=float(lower), upper=float(upper))


def share(numerator: Floats, denominator: Floats) -> float:
    """Return sum / sum, the statistic of a coverage; NaN where nothing was counted."""
    total = float(denominator.sum())
    return float(numerator.sum()) / total if total > 0.0 else float("nan")


def _level(value: Floats, levels: Sequence[float], level: float) -> Floats:
    place = int(np.argmin(np.abs(np.asarray(levels) - level)))
    refuse_if_any(
        [Problem(where="quantiles", what=f"no level {level:g}")]
        if abs(levels[place] - level) > 1e-9
        else []
    )
    return np.asarray(value[..., place])


def _check(value: Floats, actual: Floats, levels: Sequence[float]) -> None:
    expected = (len(actual), len(levels))
    problems = []
    if value.shape != expected:
        problems.append(
            Problem(where="quantiles", what=f"shape {value.shape}, expected {expected}")
        )
    for where, numbers in (("quantiles", value), ("actual", actual)):
        if not np.isfinite(numbers).all():
            problems.append(Problem(where=where, what="a value is not a number"))
    refuse_if_any(problems)
