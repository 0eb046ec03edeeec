"""Features of meters for the trees: what the gate saw, in units of each meter.

All of them are made from a `MeterDays` that ends at the gate. `make_rows` asks an earlier gate for
an earlier day (`MeterDays.seen_from`), so the rows that trees learn from were made as the rows
they are asked about; a feature that is not a number is refused, because a value from after the gate
can only be read as one that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from forecasting.meter_days import SCALE_DAYS, MeterDays, forecast_like_days

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Levels that have trees; corrections between them are interpolated.
TREE_LEVELS: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
# Unit of a correction: the quantile itself and a little of the meter's mean, so zeros move too.
UNIT_SHARE: Final = 0.05
NAMES: Final = (
    "newest_same_slot", "yesterday_same_slot", "week_ago_same_slot", "month_mean_slot",
    "week_mean_slot", "today", "last_2_h", "yesterday", "last_3_days", "last_week", "last_24_h_max",
    "last_24_h_low", "last_24_h_median", "yesterday_evening", "slot", "weekday", "day_class",
    "like_day_median", "like_day_band", "like_day_skew", "variability", "log_scale",
    "like_day_q10", "like_day_q30", "like_day_q70", "like_day_q90",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterRows:
    """Features of some meters for one day, with the like-day quantiles they correct.

    Parameters
    ----------
    feature : ndarray, shape (series, slots, len(NAMES))
        Dimensionless but for slot, weekday and class.
    like_day_mw : ndarray, shape (series, slots, len(TREE_LEVELS))
        Like-day quantiles [MW].
    scale_mw : ndarray, shape (series,)
        Mean power of the last four weeks [MW].
    """

    feature: Floats
    like_day_mw: Floats
    scale_mw: Floats

    @property
    def unit_mw(self) -> Floats:
        """Return the unit of a correction at each slot and level, shape (series, slots, levels)."""
        return correction_unit_mw(self.like_day_mw, self.scale_mw)


def correction_unit_mw(like_day_mw: Floats, scale_mw: Floats) -> Floats:
    """Return what one unit of correction is worth [MW], shape of ``like_day_mw``, positive."""
    return np.asarray(np.abs(like_day_mw) + UNIT_SHARE * scale_mw[:, None, None])


def make_rows(seen: MeterDays, target: int, like_day_mw: Floats | None = None) -> MeterRows:
    """Make the features of all series for one coming day.

    Parameters
    ----------
    seen : MeterDays
        What the gate knows; at least one complete day.
    target : int
        Position of the day, not before the gate's.
    like_day_mw : ndarray, shape (series, slots, len(TREE_LEVELS)), optional
        Like-day quantiles of this day [MW]; made when not given.

    Raises
    ------
    InputError
        If the day has been read already (a leak: cut with `MeterDays.seen_from`), or a feature is
        not a number.
    """
    refuse_if_any(
        [Problem(where=f"day {target}", what="has been read: its features would hold it",
                 remedy="cut the readings at the gate (MeterDays.seen_from)")]
        if target < seen.days
        else []
    )  # fmt: skip
    like = forecast_like_days(seen, target, TREE_LEVELS) if like_day_mw is None else like_day_mw
    scale = seen.scale_mw()
    series, slots = len(scale), seen.slots
    feature = np.empty((series, slots, len(NAMES)))
    low, high, middle = like[:, :, 0], like[:, :, -1], like[:, :, len(TREE_LEVELS) // 2]
    band = np.maximum(high - low, 1e-3 * scale[:, None])
    column = 0
    for value in _same_slot(seen, target):
        feature[:, :, column] = (value - middle) / band
        column += 1
    for level in _recent_levels(seen, scale):
        feature[:, :, column] = level[:, None]
        column += 1
    for number in (np.arange(slots), seen.weekday[target], seen.day_class[target]):
        feature[:, :, column] = number
        column += 1
    month = seen.value_mw[:, -SCALE_DAYS:]
    for shape in (middle / scale[:, None], band / scale[:, None], (high - middle) / band):
        feature[:, :, column] = shape
        column += 1
    feature[:, :, column] = (month.std(axis=(1, 2)) / scale)[:, None]
    feature[:, :, column + 1] = np.log(scale)[:, None]
    feature[:, :, column + 2 :] = like[:, :, [0, 1, 3, 4]] / scale[:, None, None]
    _refuse_unknown(feature)
    return MeterRows(feature=feature, like_day_mw=like, scale_mw=scale)


def _same_slot(seen: MeterDays, target: int) -> list[Floats]:
    """Return what is known of each slot from earlier days, shape (series, slots) each [MW]."""
    yesterday = seen.value_mw[:, -1]
    newest = np.concatenate([seen.today_mw, yesterday[:, seen.known :]], axis=1)
    back = -(-(target - seen.days + 1) // 7) * 7
    week_ago = seen.value_mw[:, max(target - back, 0)]
    return [
        _smooth(newest),
        _smooth(yesterday),
        _smooth(week_ago),
        seen.value_mw[:, -SCALE_DAYS:].mean(axis=1),
        _smooth(seen.value_mw[:, -7:].mean(axis=1)),
    ]


def _recent_levels(seen: MeterDays, scale: Floats) -> list[Floats]:
    """Return how the last days differ from the month, in units of its mean; (series,) each."""
    slots, known = seen.slots, seen.known
    month = seen.value_mw[:, -SCALE_DAYS:].mean(axis=1)
    yesterday = seen.value_mw[:, -1]
    # The 24 h before the gate in the order of time, and the month's mean at the same slots.
    recent = np.concatenate([yesterday[:, known:], seen.today_mw], axis=1)
    usual = np.roll(month, -known, axis=1)
    tail = max(1, slots // 12)
    today = seen.today_mw.mean(axis=1) - month[:, :known].mean(axis=1) if known else 0.0 * scale
    evening = slice(slots * 11 // 16, slots * 23 // 24)
    levels = [
        today,
        recent[:, -tail:].mean(axis=1) - usual[:, -tail:].mean(axis=1),
        yesterday.mean(axis=1),
        seen.value_mw[:, -3:].mean(axis=(1, 2)),
        seen.value_mw[:, -7:].mean(axis=(1, 2)),
        recent.max(axis=1),
        np.partition(recent, slots // 10, axis=1)[:, slots // 10],
        np.median(recent, axis=1),
        yesterday[:, evening].mean(axis=1) - month[:, evening].mean(axis=1),
    ]
    return [level / scale for level in levels]


def _smooth(value: Floats) -> Floats:
    """Average each slot with its neighbours (1, 2, 1), shape kept."""
    return np.asarray((np.roll(value, 1, axis=1) + 2.0 * value + np.roll(value, -1, axis=1)) / 4.0)


def _refuse_unknown(feature: Floats) -> None:
    bad = ~np.isfinite(feature)
    refuse_if_any(
        Problem(
            where=f"feature {NAMES[column]}",
            what=f"not known at the gate ({int(bad[:, :, column].sum())} rows)",
            remedy="use readings from before the gate only",
        )
        for column in np.flatnonzero(bad.any(axis=(0, 1))).tolist()
    )
