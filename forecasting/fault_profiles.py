"""Faults seen against like days: sign, unit, clock, capacity; and switching between neighbours.

Days are gone through in order. Each is compared with the median of the clean like days before it;
what is found is undone before the day itself becomes a like day, so that a fault never teaches
what is normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecasting.fault_runs import nan_median, runs_of
from forecasting.model import ForecastKind
from forecasting.readings import LocalSlots

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LIKE_DAYS: Final = 6
SOLAR_DAYS: Final = 14
LIKE_DAYS_MIN: Final = 2
RUN_H_MIN: Final = 3.0
UNIT_EXPONENTS: Final = (3, -3, 6, -6)
SHIFT_DAYS: Final = {"load": 4, "net": 5, "pv": 0, "wind": 0}
# The shifted day must leave at most this share of the error that the unshifted one has.
SHIFT_GAIN: Final = 0.6
# Clean days before a clock is doubted: holidays early in a series are no proof.
SHIFT_HISTORY_DAYS: Final = 10
# A PV day counts where it is this share of the best of its month.
SOLAR_BRIGHT: Final = 0.7
SOLAR_BEFORE: Final = 12
SOLAR_BEFORE_MIN: Final = 5
SOLAR_AFTER: Final = 6
SOLAR_STEP_H: Final = 0.6
CAPACITY_RATIO: Final = 1.4
CAPACITY_DAYS: Final = 5
CAPACITY_HISTORY_DAYS: Final = 14
SWITCH_WINDOW_H: Final = {"load": 8.0, "net": 36.0}
SWITCH_SIGMAS: Final = 6.0
SWITCH_SHARE: Final = 0.1
SWITCH_MISMATCH: Final = 0.6
SWITCH_NOISE: Final = 0.25
SWITCHES_MAX: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A fault in rows: what it is, and by what its readings are multiplied or shifted to undo it.

    ``amount`` is the factor of a unit or capacity, the hours of a clock shift, the MW of a switch.
    """

    fault: str
    first: int
    past: int
    amount: float = 0.0


@dataclass(slots=True, kw_only=True)
class DayTable:
    """Readings as days x slots of the wall clock, with where each row stands in it.

    Parameters
    ----------
    value_mw : ndarray, shape (days, slots)
        Readings [MW], NaN where none.
    day_class : ndarray, shape (days,)
        0 Monday to Friday, 1 Saturday, 2 Sunday.
    row_day, row_slot : ndarray, shape (rows,)
        Place of each reading.
    expected_mw : ndarray, shape (days, slots)
        Median of the clean like days before each day [MW]; NaN while there are too few.
    """

    value_mw: Floats
    day_class: Ints
    row_day: Ints
    row_slot: Ints
    expected_mw: Floats
    clean: Bools = field(default_factory=lambda: np.zeros(0, dtype=bool))

    @property
    def row_expected_mw(self) -> Floats:
        """What was expected of each row [MW], shape (rows,)."""
        return np.asarray(self.expected_mw[self.row_day, self.row_slot])


def table_of_days(value_mw: Floats, clock: LocalSlots, slots_per_day: int) -> DayTable:
    """Arrange rows as days x slots; the hour that comes twice keeps its first pass."""
    day = clock.day - clock.day.min()
    count = int(day.max()) + 1
    table = np.full((count, slots_per_day), np.nan)
    # Written backwards, so that the first of two rows of one slot stays.
    table[day[::-1], clock.slot[::-1]] = value_mw[::-1]
    classes = np.zeros(count, dtype=np.int64)
    classes[day] = clock.day_class
    return DayTable(
        value_mw=table,
        day_class=classes,
        row_day=day,
        row_slot=clock.slot,
        expected_mw=np.full_like(table, np.nan),
        clean=np.isfinite(table).mean(axis=1) >= 0.5,
    )


def expect_day(table: DayTable, day: int, kind: ForecastKind) -> Floats:
    """Return the median of the clean like days before ``day``, shape (slots,) [MW]."""
    before = np.flatnonzero(table.clean[:day])[::-1]
    if kind in ("pv", "wind"):
        like = before[:SOLAR_DAYS]
    else:
        like = before[table.day_class[before] == table.day_class[day]][:LIKE_DAYS]
        if len(like) < LIKE_DAYS_MIN:
            like = before[:LIKE_DAYS]
    if len(like) < LIKE_DAYS_MIN:
        return np.full(table.value_mw.shape[1], np.nan)
    return nan_median(table.value_mw[like], axis=0)


def expect_all(table: DayTable, kind: ForecastKind) -> None:
    """Fill in what is expected of every day."""
    for day in range(len(table.value_mw)):
        table.expected_mw[day] = expect_day(table, day, kind)


def go_through_days(
    table: DayTable, kind: ForecastKind, slots_per_hour: float, *, watch_clock: bool = True
) -> list[Finding]:
    """Find faults day by day and undo them in ``table``; see the module's text.

    Returns
    -------
    list of Finding
        In slots of the table (day x slots per day + slot), sign and unit by run, clock shift and
        capacity by whole days.
    """
    slots = table.value_mw.shape[1]
    unit_marks: dict[int, Bools] = {e: np.zeros(table.value_mw.shape, bool) for e in UNIT_EXPONENTS}
    sign_marks = np.zeros(table.value_mw.shape, dtype=bool)
    shift = _ShiftWatch(table=table, kind=kind, slots_per_hour=slots_per_hour)
    capacity: list[Finding] = []
    peak = np.zeros(len(table.value_mw))
    usual = float(np.nanquantile(np.abs(table.value_mw), 0.95))
    errors: list[float] = []
    for day in range(len(table.value_mw)):
        expected = expect_day(table, day, kind)
        table.expected_mw[day] = expected
        if not np.isfinite(expected).any():
            continue
        scale = float(np.nanmean(np.abs(expected))) or 1.0
        values = table.value_mw[day]
        for exponent in UNIT_EXPONENTS:
            marks = _off_by_unit(values, expected, exponent, scale)
            if marks.sum() >= RUN_H_MIN * slots_per_hour:
                unit_marks[exponent][day] = marks
                whole = _between_marks(marks)
                values[whole] /= 10.0**exponent
        marks = _off_by_sign(values, expected, max(scale, 0.25 * usual))
        told = kind != "net" or _sign_stands_out(values, expected, errors)
        if told and marks.sum() >= RUN_H_MIN * slots_per_hour:
            sign_marks[day] = marks
            values[_between_marks(marks)] *= -1.0
        errors.append(
            float(np.nanmean(np.abs(values - expected))) if np.isfinite(values).any() else np.nan
        )
        if watch_clock:
            shift.follow(day)
        if kind in ("pv", "wind"):
            peak[day] = np.quantile(np.nan_to_num(values), 0.97)
            found_now = _find_capacity(peak, day, capacity, slots)
            for finding in found_now:
                start = finding.first // slots
                table.value_mw[:start] *= finding.amount
                peak[:start] *= finding.amount
            capacity += found_now
    found = [
        Finding(fault="unit flip", first=first, past=past, amount=10.0**exponent)
        for exponent, marks in unit_marks.items()
        for first, past in _join_days(marks, slots)
    ]
    found += [
        Finding(fault="sign flip", first=first, past=past, amount=-1.0)
        for first, past in _join_days(sign_marks, slots)
    ]
    for slots_off in sorted(set(shift.off_of.values())):
        days = np.zeros(len(table.value_mw), dtype=np.bool_)
        days[[d for d, off in shift.off_of.items() if off == slots_off]] = True
        found += [
            Finding(fault="clock shift", first=first * slots, past=past * slots,
                    amount=slots_off / slots_per_hour)
            for first, past in runs_of(np.asarray(days))
        ]  # fmt: skip
    return found + capacity


def _off_by_unit(values: Floats, expected: Floats, exponent: int, scale: float) -> Bools:
    """Mark values that are 10**exponent times what is expected, within a factor of 4."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log10(np.abs(values)) - np.log10(np.abs(expected))
    return np.asarray(
        (np.abs(ratio - exponent) < 0.6) & (np.abs(expected) > 0.1 * scale), dtype=np.bool_
    )


def _off_by_sign(values: Floats, expected: Floats, scale: float) -> Bools:
    """Mark values that are nearer to minus what is expected than to half of what is."""
    wrong = np.abs(values + expected) < 0.5 * np.abs(values - expected)
    return np.asarray(wrong & (np.abs(values) > 0.2 * scale), dtype=np.bool_)


def _between_marks(marks: Bools) -> Bools:
    """Return the marks and what lies between the first and the last of a day."""
    places = np.flatnonzero(marks)
    whole = np.zeros_like(marks)
    whole[places[0] : places[-1] + 1] = True
    return whole


def _join_days(marks: Bools, slots: int) -> list[tuple[int, int]]:
    """Join marks to runs: days that follow each other are one fault, from first to last mark."""
    found: list[tuple[int, int]] = []
    for first_day, past_day in runs_of(np.asarray(marks.any(axis=1))):
        places = np.flatnonzero(marks[first_day:past_day].ravel())
        start = first_day * slots
        found.append((start + int(places[0]), start + int(places[-1]) + 1))
    return found


def _sign_stands_out(values: Floats, expected: Floats, errors: Sequence[float]) -> bool:
    """Tell whether a day of net load is flipped: it crosses zero by itself, so compare days.

    With the sign as it is the day is further off than any of nine days in ten; turned, it is an
    ordinary day.
    """
    known = np.array([error for error in errors if np.isfinite(error)])
    if len(known) < 10:
        return False
    off, turned = _mean_or_nan(np.abs(values - expected)), _mean_or_nan(np.abs(values + expected))
    return off > 1.5 * float(np.quantile(known, 0.9)) and turned < float(np.quantile(known, 0.6))


def _mean_or_nan(values: Floats) -> float:
    """Return the mean of the finite values; NaN where there is none, without a warning."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


@dataclass(slots=True, kw_only=True)
class _ShiftWatch:
    """Follows the clock of one series through its days.

    A shift begins when a window of days is an hour off, each of them; it ends when a window of
    days is not, each of them. Shifted days are moved back in the table.
    """

    table: DayTable
    kind: ForecastKind
    slots_per_hour: float
    off_of: dict[int, int] = field(default_factory=dict)
    raw_of: dict[int, Floats] = field(default_factory=dict)

    def follow(self, day: int) -> None:
        """Look at one more day."""
        window = SHIFT_DAYS[self.kind]
        hour = round(self.slots_per_hour)
        days = range(day - window + 1, day + 1)
        table = self.table
        if window == 0 or hour < 1 or table.clean[: days.start].sum() < SHIFT_HISTORY_DAYS:
            return
        if day - 1 in self.off_of:
            self._move(day, self.off_of[day - 1])
            if all(d in self.off_of for d in days) and self._was_right(days):
                for d in days:
                    table.value_mw[d] = self.raw_of.pop(d)
                    del self.off_of[d]
            return
        if any(d in self.off_of or not np.isfinite(table.expected_mw[d]).any() for d in days):
            return
        for off in (hour, -hour):
            if self._is_shifted(days, off):
                for d in days:
                    self._move(d, off)
                return

    def _move(self, day: int, off: int) -> None:
        self.raw_of[day] = self.table.value_mw[day].copy()
        self.off_of[day] = off
        self.table.value_mw[day] = _moved(self.raw_of[day], -off)

    def _was_right(self, days: range) -> bool:
        """Tell whether days fit better as they were read than moved back."""
        expected = self.table.expected_mw
        costs = [shift_costs(self.raw_of[d], expected[d], self.off_of[d]) for d in days]
        return all(stay < moved for stay, moved in costs)

    def _is_shifted(self, days: range, off: int) -> bool:
        """Tell whether all these days are ``off`` slots late (early: negative)."""
        table = self.table
        costs = np.array([shift_costs(table.value_mw[d], table.expected_mw[d], off) for d in days])
        return bool(
            costs[:, 1].sum() < SHIFT_GAIN * costs[:, 0].sum()
            and (costs[:, 1] < 0.85 * costs[:, 0]).all()
        )


def shift_costs(read: Floats, expected: Floats, off: int) -> tuple[float, float]:
    """Return the error of a day against what is expected, as it is and moved back by ``off``."""
    costs = []
    for values in (read, _moved(read, -off)):
        inner = slice(abs(off), len(values) - abs(off))
        x, e = values[inner], expected[inner]
        both = np.isfinite(x) & np.isfinite(e)
        if both.sum() < 0.5 * len(x):
            return 1.0, 1.0
        x, e = x[both] - x[both].mean(), e[both] - e[both].mean()
        gain = float(x @ e) / max(float(e @ e), 1e-12)
        costs.append(float(((x - max(gain, 0.0) * e) ** 2).sum()))
    return costs[0], costs[1]


def find_solar_shifts(table: DayTable, slots_per_hour: float) -> list[Finding]:
    """Find where the clock of a PV meter steps by an hour; undo it in ``table``.

    The middle of a day's energy follows the sun, half an hour over the seasons; over three weeks
    a step of an hour in its median stands out of the clouds. A second step back ends the fault.

    Returns
    -------
    list of Finding
        Clock shifts [h], late is positive; in slots of the table.
    """
    count, slots = table.value_mw.shape
    power = np.maximum(np.nan_to_num(table.value_mw), 0.0)
    energy = power.sum(axis=1)
    middle_h = power @ np.arange(slots) / np.maximum(energy, 1e-12) / slots_per_hour
    best = np.array([energy[max(0, d - 15) : d + 16].max() for d in range(count)])
    bright = np.flatnonzero((energy > SOLAR_BRIGHT * best) & (best > 0.0))
    found: list[Finding] = []
    state, begun, since = 0, 0, 0
    place = SOLAR_BEFORE_MIN
    while place <= len(bright) - SOLAR_AFTER:
        steps = [
            _solar_step_h(middle_h[bright], since, k)
            for k in range(place, min(place + SOLAR_AFTER, len(bright) - SOLAR_AFTER + 1))
        ]
        if abs(steps[0]) < SOLAR_STEP_H:
            place += 1
            continue
        place += int(np.argmax(np.abs(steps)))
        sign = int(np.sign(steps[0]))
        day = int(bright[place])
        if state == 0:
            state, begun = sign, day
        elif sign != state:
            found.append(_shift_of(state, begun, day, slots))
            state = 0
        since, place = place, place + SOLAR_AFTER
    if state:
        found.append(_shift_of(state, begun, count, slots))
    for finding in found:
        for day in range(finding.first // slots, finding.past // slots):
            off = round(finding.amount * slots_per_hour)
            table.value_mw[day] = _moved(table.value_mw[day], -off)
    return found


def _solar_step_h(middle_h: Floats, since: int, place: int) -> float:
    """Return by how much the middle of the day moves at a bright day [h]."""
    before = middle_h[max(since, place - SOLAR_BEFORE) : place]
    after = middle_h[place : place + SOLAR_AFTER]
    return float(np.median(after) - np.median(before))


def _shift_of(sign: int, first_day: int, past_day: int, slots: int) -> Finding:
    return Finding(
        fault="clock shift", first=first_day * slots, past=past_day * slots, amount=float(sign)
    )


def _moved(values: Floats, slots: int) -> Floats:
    """Move a day by slots; what is left at its end keeps the nearest value."""
    moved = np.roll(values, slots)
    if slots > 0:
        moved[:slots] = values[0]
    elif slots < 0:
        moved[slots:] = values[-1]
    return moved


def _find_capacity(peak: Floats, day: int, known: list[Finding], slots: int) -> list[Finding]:
    """See whether the plant grew: peaks of the last days above all before by 40 %.

    Parameters
    ----------
    peak : ndarray, shape (days,)
        97 % quantile of each day so far [MW].
    """
    since = max((finding.first // slots for finding in known), default=0)
    first = day - CAPACITY_DAYS + 1
    if first - since < (CAPACITY_HISTORY_DAYS if not known else CAPACITY_DAYS):
        return []
    before, after = peak[max(0, first - 60) : first], peak[first : day + 1]
    above = after > CAPACITY_RATIO * float(np.quantile(before, 0.95))
    if before.max() <= 0.0 or above.sum() < 3 or not above[0]:
        return []
    # Best days against best days: clouds and calms are in both.
    ratio = float(np.median(after[above]) / np.quantile(before, 0.8))
    return [Finding(fault="capacity change", first=first * slots, past=-1, amount=ratio)]


def find_switches(
    residual_mw: Floats, level_mw: Floats, slots_per_hour: float, window_h: float
) -> list[tuple[int, int, int, float]]:
    """Find load that moved from one feeder to a neighbour: (row, from, to, MW), the largest only.

    Parameters
    ----------
    residual_mw : ndarray, shape (rows, series)
        Readings minus what like days expect [MW].
    level_mw : ndarray, shape (series,)
        Mean absolute reading [MW].
    slots_per_hour : float
        Readings in one hour.
    window_h : float
        Hours before and after a switch that are compared.

    Returns
    -------
    list
        One element, or none: after it was undone the search is to be repeated.
    """
    width = round(window_h * slots_per_hour)
    rows, series = residual_mw.shape
    if rows < 2 * width or series < 2:
        return []
    filled = np.where(np.isfinite(residual_mw), residual_mw, 0.0)
    windows = np.lib.stride_tricks.sliding_window_view(filled, width, axis=0)
    middle = np.median(windows, axis=-1)
    step = middle[width:] - middle[:-width]  # at row width + k
    least = SWITCH_SHARE * level_mw
    # One household or one park switches itself on and off: only what like days explain counts.
    noise = np.abs(filled).mean(axis=0)
    least = np.where(noise < SWITCH_NOISE * level_mw, least, np.inf)
    best: tuple[float, int, int, int, float] | None = None
    for one in range(series):
        for other in range(one + 1, series):
            size = np.minimum(np.abs(step[:, one]), np.abs(step[:, other]))
            # What the weather does to both goes out in the difference; what is left over in the
            # sum may be weather, up to a share of what moved.
            difference = np.abs(step[:, one] - step[:, other])
            sigma = 1.4826 * float(np.median(difference))
            mismatch = np.abs(step[:, one] + step[:, other])
            good = (
                (np.abs(step[:, one]) > least[one])
                & (np.abs(step[:, other]) > least[other])
                & (mismatch < SWITCH_MISMATCH * size)
                & (difference > SWITCH_SIGMAS * sigma)
            )
            if not good.any():
                continue
            row = int(np.argmax(np.where(good, difference, -1.0)))
            strength = float(difference[row] / (sigma + 1e-12))
            if best is None or strength > best[0]:
                moved = float(step[row, other] - step[row, one]) / 2.0
                best = (strength, row + width, one, other, moved)
    if best is None:
        return []
    _, row, one, other, moved = best
    row = _sharpen(filled, row, one, other, width)
    return [(row, one, other, moved) if moved > 0 else (row, other, one, -moved)]


def _sharpen(residual_mw: Floats, row: int, one: int, other: int, width: int) -> int:
    """Find the very period of a switch: the split with the least error about two means."""
    low, high = max(0, row - width), min(len(residual_mw), row + width)
    difference = residual_mw[low:high, one] - residual_mw[low:high, other]
    best, place = np.inf, row
    for split in range(2, len(difference) - 2):
        before, after = difference[:split], difference[split:]
        cost = float(before.var() * len(before) + after.var() * len(after))
        if cost < best:
            best, place = cost, low + split
    return place
