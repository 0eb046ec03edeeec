"""Checks of one series of interval values: each marks periods, none changes a value.

The spike check is that of the Uniform Business Practices for Unbundled Electricity Metering
(Edison Electric Institute, vol. 2, 2000): the highest value of a day exceeds the third highest by
more than 180 %. Households do that on one day in twenty, so a second condition is added: it must
also exceed everything of the days before. What is marked here is doubtful, not wrong: the register
decides where there is one (`dso.metering.validate`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.metering import MISSING, QUESTIONABLE, Codes, Integers

Marks = NDArray[np.bool_]
SPIKE_EXCESS: Final = 1.8


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRules:
    """Thresholds of the checks; the defaults were measured on 40 households over five months.

    Parameters
    ----------
    stuck_periods : int
        So many equal values other than zero in a row; no household of the 40 repeats one more
        than four quarter-hours.
    zero_h : float
        So long without any energy [h].
    spike_over_past : float
        A spike exceeds this multiple of the highest value of the days before.
    past_days_min, past_days_max : int
        Days looked back; with fewer than the minimum only the main fuse bounds a value.
    """

    stuck_periods: int = 8
    zero_h: float = 24.0
    spike_over_past: float = 1.25
    past_days_min: int = 7
    past_days_max: int = 30


def mark_negative(value_wh: Integers, present: Marks) -> Marks:
    """Mark values below zero: a register counts one direction."""
    return np.asarray(present & (value_wh < 0))


def mark_over_limit(value_wh: Integers, present: Marks, limit_w: int, mtu_minutes: int) -> Marks:
    """Mark values that the main fuse would not let through."""
    return np.asarray(present & (value_wh * 60 > limit_w * mtu_minutes))


def mark_spikes(value_wh: Integers, present: Marks, mtu_minutes: int, rules: CheckRules) -> Marks:
    """Mark the highest value of a day where it stands out of its day and of the days before.

    Days are counted as 24 h from the first period: the check needs no calendar.
    """
    per_day = 24 * 60 // mtu_minutes
    marks = np.zeros(len(value_wh), dtype=bool)
    days = len(value_wh) // per_day
    if days <= rules.past_days_min:
        return marks
    known = np.where(present, value_wh, 0)[: days * per_day].reshape(days, per_day)
    ordered = np.sort(known, axis=1)
    highest, third = ordered[:, -1], ordered[:, -3]
    for day in range(rules.past_days_min, days):
        past = int(highest[max(0, day - rules.past_days_max) : day].max())
        out_of_day = highest[day] - third[day] > SPIKE_EXCESS * third[day]
        if out_of_day and highest[day] > rules.spike_over_past * past:
            marks[day * per_day + int(np.argmax(known[day]))] = True
    return marks


def runs_of(marks: Marks) -> list[tuple[int, int]]:
    """Return the runs of marked periods as (first, last exclusive).

    Examples
    --------
    >>> runs_of(np.array([True, True, False, True]))
    [(0, 2), (3, 4)]
    """
    padded = np.concatenate([[False], marks, [False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(padded))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def mark_stuck(value_wh: Integers, present: Marks, rules: CheckRules) -> Marks:
    """Mark long runs of one value other than zero."""
    equal = np.concatenate([[False], value_wh[1:] == value_wh[:-1]])
    equal &= present & np.concatenate([[False], present[:-1]]) & (value_wh != 0)
    marks = np.zeros(len(value_wh), dtype=bool)
    for first, last in runs_of(equal):
        if last - first + 1 >= rules.stuck_periods:
            marks[first - 1 : last] = True
    return marks


def mark_zero_runs(
    value_wh: Integers, present: Marks, mtu_minutes: int, rules: CheckRules
) -> Marks:
    """Mark long runs without energy."""
    needed = int(rules.zero_h * 60 / mtu_minutes)
    marks = np.zeros(len(value_wh), dtype=bool)
    for first, last in runs_of(present & (value_wh == 0)):
        if last - first >= needed:
            marks[first:last] = True
    return marks


def mark_missing(quality: Codes) -> Marks:
    """Mark periods of which nothing came in."""
    return np.asarray(quality == MISSING)


def mark_reported(quality: Codes) -> Marks:
    """Mark values whose sender doubts them."""
    return np.asarray(quality == QUESTIONABLE)
