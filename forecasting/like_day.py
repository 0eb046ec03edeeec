"""Loads: weighted quantiles of like days at the same wall-clock time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecasting.quantiles import spread_for_few, weighted_quantiles
from forecasting.readings import LocalSlots

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAYS_MAX: Final = 20
DAYS_MIN: Final = 3
HALF_LIFE_DAYS: Final = 21.0
# (offset in slots, weight): the neighbours smooth what one quarter-hour happened to be.
NEIGHBOURS: Final = ((0, 1.0), (-1, 0.5), (1, 0.5))
LEVEL_DAYS: Final = 7
LEVEL_EXPONENT: Final = 0.7
LEVEL_RANGE: Final = (0.7, 1.4)
# Relative spread of one load's quarter-hour around its like day, used while days are few.
PRIOR_SPREAD: Final = 0.35


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantileSet:
    """Quantiles of some series, shape (series, periods, quantiles) [MW], and fallbacks used."""

    value_mw: Floats
    fallbacks: tuple[str, ...] = ()


def forecast_loads(
    value_mw: Floats, past: LocalSlots, ahead: LocalSlots, quantiles: Sequence[float]
) -> QuantileSet:
    """Forecast loads from the most recent like days.

    A like day has the same class (Monday-Friday, Saturday, Sunday) and is read at the same
    wall-clock slot, so days with a clock change need no special case. Each day is scaled by
    (weekly mean now / weekly mean then) ** 0.7 and weighted by recency.

    Parameters
    ----------
    value_mw : ndarray, shape (past periods, series)
        Readings [MW].
    past, ahead : LocalSlots
        Wall clock of the readings and of the periods to forecast.
    quantiles : sequence of float
        Probability levels.

    Returns
    -------
    QuantileSet
        Quantiles [MW]; a fallback is named when fewer than three like days exist.
    """
    row_of = _rows_by_day_and_slot(past)
    class_of = dict(zip(past.day.tolist(), past.day_class.tolist(), strict=True))
    newest_first = sorted(class_of, reverse=True)
    level = _level_factors(value_mw, past)
    groups: dict[int, list[int]] = {}
    fallbacks = []
    for target_class in sorted(set(ahead.day_class.tolist())):
        like = [day for day in newest_first if class_of[day] == target_class]
        if len(like) < DAYS_MIN:
            fallbacks.append(
                f"load: {len(like)} like days of {DAYS_MIN}; all {len(newest_first)} days used"
            )
            like = newest_first
        groups[target_class] = like
    rows, weights = _sample_table(row_of, groups, past, ahead)
    samples = value_mw[rows] * level[past.day[rows] - past.day.min()]
    # (periods, samples, series) -> (series, periods, samples)
    days = int(min(np.count_nonzero(weights[:, :: len(NEIGHBOURS)], axis=1)))
    result = weighted_quantiles(
        np.ascontiguousarray(samples.transpose(2, 0, 1)),
        weights[None, :, :],
        spread_for_few(quantiles, max(days, 1)),
    )
    if days < DAYS_MIN:
        fallbacks.append(f"load: {days} days at some hour; spread of {PRIOR_SPREAD:.0%} assumed")
        result = _with_prior_spread(result, quantiles)
    return QuantileSet(value_mw=result, fallbacks=tuple(fallbacks))


def _rows_by_day_and_slot(past: LocalSlots) -> dict[tuple[int, int], int]:
    """Map (day, slot) to the reading's row; the hour that comes twice keeps its first pass."""
    row_of: dict[tuple[int, int], int] = {}
    for row, key in enumerate(zip(past.day.tolist(), past.slot.tolist(), strict=True)):
        row_of.setdefault(key, row)
    return row_of


def _sample_table(
    row_of: dict[tuple[int, int], int],
    groups: dict[int, list[int]],
    past: LocalSlots,
    ahead: LocalSlots,
) -> tuple[Ints, Floats]:
    """Return rows to sample and their weights, shape (periods ahead, samples) each.

    Where a day misses the slot (clock change, today's rest) the next older day stands in.
    """
    width = DAYS_MAX * len(NEIGHBOURS)
    rows = np.zeros((len(ahead.day), width), dtype=np.int64)
    weights = np.zeros(rows.shape)
    for period, (slot, target) in enumerate(
        zip(ahead.slot.tolist(), ahead.day.tolist(), strict=True)
    ):
        days = [d for d in groups[int(ahead.day_class[period])] if (d, slot) in row_of]
        if not days:  # less than one full day at this slot: any nearest slot of the newest day
            newest = int(past.day.max())
            nearest = int(np.argmin(np.abs(past.slot - slot) + 1000 * (newest - past.day)))
            rows[period, 0], weights[period, 0] = nearest, 1.0
            continue
        for place, day in enumerate(days[:DAYS_MAX]):
            recency = 0.5 ** ((target - day) / HALF_LIFE_DAYS)
            for neighbour, (offset, weight) in enumerate(NEIGHBOURS):
                row = row_of.get((day, slot + offset))
                if row is not None:
                    column = place * len(NEIGHBOURS) + neighbour
                    rows[period, column], weights[period, column] = row, weight * recency
    return rows, weights


def _level_factors(value_mw: Floats, past: LocalSlots) -> Floats:
    """Return (level now / level on that day) ** exponent, shape (days, series).

    The level of a day is the mean of the (up to) seven days that end with it, so that weekdays
    and weekends weigh the same in all of them.
    """
    position = past.day - past.day.min()
    count = int(position.max()) + 1
    total = np.zeros((count, value_mw.shape[1]))
    np.add.at(total, position, value_mw)
    periods = np.bincount(position, minlength=count).astype(float)
    if count <= LEVEL_DAYS:
        return np.ones_like(total)
    full = periods >= 0.9 * periods.max()
    total[~full], periods[~full] = 0.0, 0.0
    window = np.ones(LEVEL_DAYS)
    cumulated = np.apply_along_axis(lambda v: np.convolve(v, window)[:count], 0, total)
    covered = np.convolve(periods, window)[:count]
    level = cumulated / np.maximum(covered, 1.0)[:, None]
    # The first days have no week behind them: they take the first full week's level.
    level[: LEVEL_DAYS - 1] = level[LEVEL_DAYS - 1]
    ratio = np.where(level > 0.0, level[-1] / np.where(level > 0.0, level, 1.0), 1.0)
    return np.clip(ratio**LEVEL_EXPONENT, *LEVEL_RANGE)


def _with_prior_spread(value_mw: Floats, quantiles: Sequence[float]) -> Floats:
    """Widen quantiles to at least a triangular-like spread around the median."""
    median = value_mw[..., list(quantiles).index(0.5)][..., None]
    assumed = median * (1.0 + PRIOR_SPREAD * 2.0 * (np.asarray(quantiles) - 0.5))
    lower = np.asarray(quantiles) < 0.5
    widened = np.where(lower, np.minimum(value_mw, assumed), np.maximum(value_mw, assumed))
    return np.maximum.accumulate(widened, axis=-1)
