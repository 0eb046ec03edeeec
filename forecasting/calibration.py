"""Calibration: quantiles that cover what they promise, learnt from forecasts already scored.

Conformalised quantile regression (Romano, Patterson, Candes 2019, arXiv:1905.03222), one-sided
for each level, per group of hours, in units of the local band: the shift of level q is the
q-quantile of (actual - quantile) / band width over recent forecasts of the same group. A slow
adaptive step (Gibbs and Candes 2021, arXiv:2106.00170) moves the level aimed at where coverage
drifts. Order is restored last, so quantiles never cross.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# A band narrower than this share of the widest carries no information about its own error.
WIDTH_SHARE_MIN: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRule:
    """How calibration learns.

    Parameters
    ----------
    window_days : int
        Scored days that are remembered.
    days_min : int
        With fewer the quantiles stay as they are.
    step : float
        Adaptive step per day and level, in probability; 0 switches adaptation off.
    step_range : float
        The level aimed at never leaves its own by more.
    shrink_days : float
        Pseudo-days at shift zero: with few days the correction is partial.
    """

    window_days: int = 60
    days_min: int = 7
    step: float = 0.005
    step_range: float = 0.08
    shrink_days: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Shifts for each group of periods and level, in widths of the local band.

    Parameters
    ----------
    levels : tuple of float
        Probability levels.
    shift : ndarray, shape (groups, levels)
        What is added to each quantile, in units of `band_width`.
    days : int
        Scored days that it was learnt from.
    """

    levels: tuple[float, ...]
    shift: Floats
    days: int


def band_width(value: Floats, levels: Sequence[float]) -> Floats:
    """Return the width of the central 80 % band (or the widest there is); shape (...,).

    Floored at a small share of the widest, so that a collapsed band is still moved.
    """
    level = np.asarray(levels)
    low, high = int(np.argmin(np.abs(level - 0.1))), int(np.argmin(np.abs(level - 0.9)))
    width = value[..., high] - value[..., low]
    return np.asarray(np.maximum(width, WIDTH_SHARE_MIN * width.max(initial=0.0)))


def fit_calibration(
    value: Floats,
    actual: Floats,
    group: Ints,
    levels: Sequence[float],
    aimed: Floats | None = None,
    rule: CalibrationRule | None = None,
) -> Calibration:
    """Learn shifts from scored forecasts.

    Parameters
    ----------
    value : ndarray, shape (days, periods, levels)
        Quantiles as forecast, oldest day first.
    actual : ndarray, shape (days, periods)
        What happened; NaN is left out.
    group : ndarray of int, shape (periods,)
        Group of each period (`hour_groups`); -1 is left alone (night).
    levels : sequence of float
        Probability levels.
    aimed : ndarray, shape (groups, levels), optional
        Levels aimed at by the adaptive step; the levels themselves when not given.
    rule : CalibrationRule, optional
        How it learns.
    """
    rule = rule or CalibrationRule()
    level = np.asarray(levels)
    groups = int(group.max(initial=-1)) + 1
    shift = np.zeros((groups, len(level)))
    days = min(len(value), rule.window_days)
    if days < rule.days_min or groups == 0:
        return Calibration(levels=tuple(levels), shift=shift, days=days)
    value, actual = value[-days:], actual[-days:]
    score = (actual[:, :, None] - value) / np.maximum(band_width(value, levels), 1e-12)[..., None]
    trust = days / (days + rule.shrink_days)
    for number in range(groups):
        rows = score[:, group == number, :].reshape(-1, len(level))
        rows = rows[np.isfinite(rows).all(axis=1)]
        if len(rows) < rule.days_min:
            continue
        goal = level if aimed is None else aimed[number]
        found = [np.quantile(rows[:, k], np.clip(goal[k], 0.0, 1.0)) for k in range(len(level))]
        shift[number] = trust * np.array(found)
    return Calibration(levels=tuple(levels), shift=shift, days=days)


def apply_calibration(
    value: Floats, group: Ints, calibration: Calibration, minimum: float = -np.inf
) -> Floats:
    """Shift quantiles and restore their order.

    Parameters
    ----------
    value : ndarray, shape (periods, levels)
        Quantiles; the result has the same shape and unit.
    group : ndarray of int, shape (periods,)
        As it was learnt.
    calibration : Calibration
        From `fit_calibration`.
    minimum : float
        Nothing is forecast below it.
    """
    moved = value.copy()
    chosen = group >= 0
    width = band_width(value, calibration.levels)
    moved[chosen] += calibration.shift[group[chosen]] * width[chosen, None]
    moved[chosen] = np.maximum(moved[chosen], minimum)
    return np.sort(moved, axis=-1)


def calibrate_rolling(
    value: Floats,
    actual: Floats,
    group: Ints,
    levels: Sequence[float],
    *,
    delay_days: int = 1,
    rule: CalibrationRule | None = None,
    minimum: float = -np.inf,
) -> Floats:
    """Calibrate a sequence of daily forecasts, each from the days scored before its gate.

    Parameters
    ----------
    value : ndarray, shape (days, periods, levels)
        Quantiles as forecast, oldest first.
    actual : ndarray, shape (days, periods)
        What happened; NaN where unknown.
    group : ndarray of int, shape (periods,)
        Groups (`hour_groups`).
    levels : sequence of float
        Probability levels.
    delay_days : int
        Days before the forecast day that are not complete at the gate (1 for a gate on D-1).
    rule : CalibrationRule, optional
        How it learns.
    minimum : float
        Nothing is forecast below it.

    Returns
    -------
    ndarray, shape (days, periods, levels)
        Calibrated quantiles, non-decreasing.
    """
    rule = rule or CalibrationRule()
    refuse_if_any(_shape_problems(value, actual, group, levels))
    level = np.asarray(levels)
    groups = int(group.max(initial=-1)) + 1
    aimed = np.tile(level, (max(groups, 1), 1))
    result = np.empty_like(value)
    for day in range(len(value)):
        last = max(0, day - delay_days)
        if last > 0:
            aimed = adapt_levels(aimed, result[last - 1], actual[last - 1], group, level, rule)
        learnt = fit_calibration(value[:last], actual[:last], group, levels, aimed, rule)
        result[day] = apply_calibration(value[day], group, learnt, minimum)
    return result


def adapt_levels(
    aimed: Floats, value: Floats, actual: Floats, group: Ints, level: Floats, rule: CalibrationRule
) -> Floats:
    """Move the levels aimed at by one scored day: up where too much lay above the quantile.

    Parameters
    ----------
    aimed : ndarray, shape (groups, levels)
        Levels aimed at so far; the result has the same shape.
    value : ndarray, shape (periods, levels)
        The day's quantiles as they were served.
    actual : ndarray, shape (periods,)
        What happened.
    group, level, rule
        As in `fit_calibration`.
    """
    moved = aimed.copy()
    for number in range(len(aimed)):
        rows = (group == number) & np.isfinite(actual)
        if rows.any():
            under = (actual[rows, None] <= value[rows]).mean(axis=0)
            moved[number] += rule.step * (level - under)
    return np.clip(moved, level - rule.step_range, level + rule.step_range)


def hour_groups(hour: Floats, edges_h: Sequence[float] = (0.0, 6.0, 10.0, 16.0, 21.0)) -> Ints:
    """Return the group of each local hour of day; hours before the first edge join the last.

    Examples
    --------
    >>> hour_groups(np.array([0.0, 7.25, 23.75])).tolist()
    [0, 1, 4]
    """
    place = np.digitize(hour, np.asarray(edges_h)) - 1
    return np.where(place < 0, len(edges_h) - 1, place).astype(np.int64)


def widen_by_factor(value: Floats, levels: Sequence[float], factor: float) -> Floats:
    """Stretch quantiles about their median by a factor; shape kept, order kept."""
    middle = value[..., [int(np.argmin(np.abs(np.asarray(levels) - 0.5)))]]
    return np.asarray(middle + factor * (value - middle))


def _shape_problems(
    value: Floats, actual: Floats, group: Ints, levels: Sequence[float]
) -> list[Problem]:
    days, periods = actual.shape
    expected = (days, periods, len(levels))
    problems = []
    if value.shape != expected:
        problems.append(
            Problem(where="quantiles", what=f"shape {value.shape}, expected {expected}")
        )
    if group.shape != (periods,):
        problems.append(Problem(where="groups", what=f"shape {group.shape}, expected {(periods,)}"))
    if not np.isfinite(value).all():
        problems.append(Problem(where="quantiles", what="a value is not a number"))
    return problems
