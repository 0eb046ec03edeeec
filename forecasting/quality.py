"""Readings before they are trusted: faults found, named with start and end, and undone or marked.

What can be undone exactly (sign, unit, clock, capacity, switching) is undone; what is lost (gap,
frozen value, spike) is filled with what like days say and marked as suspect, so that no model
learns from it. Nothing is repaired silently: every fault is a record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem
from data.periods import Periods, format_utc
from data.records.forecast import Reading
from forecasting.fault_profiles import (
    SWITCH_WINDOW_H,
    SWITCHES_MAX,
    DayTable,
    Finding,
    expect_all,
    find_solar_shifts,
    find_switches,
    go_through_days,
    table_of_days,
)
from forecasting.fault_runs import (
    find_dead_days,
    find_flatlines,
    find_gaps,
    find_spikes,
    nan_median,
)
from forecasting.model import ForecastKind
from forecasting.readings import LocalSlots, local_slots

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
FaultKind = Literal[
    "gap",
    "flatline",
    "dead",
    "spike",
    "sign flip",
    "unit flip",
    "clock shift",
    "capacity change",
    "feeder switch",
]
LOST: Final = ("gap", "flatline", "dead", "spike")
# (finding, column, what was done) -> None
_Note = Callable[[Finding, int, str], None]
# Below this the profile tests have no like day to compare with.
PROFILE_DAYS_MIN: Final = 5
PROFILE_SERIES_MAX: Final = 200
SWITCH_SERIES_MAX: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong with one series.

    Parameters
    ----------
    kind : str
        What it is.
    series : str
        Where.
    start, end : datetime
        Half-open, UTC; the end is that of the readings while the fault goes on.
    ongoing : bool
        Whether it lasts until the last reading.
    amount : float
        Factor (sign, unit, capacity), hours (clock shift) or MW (switch); else 0.
    repair : str
        What was done about it.
    neighbour : str
        Of a switch: the feeder that took or gave the load.
    """

    kind: FaultKind
    series: str
    start: datetime
    end: datetime
    ongoing: bool
    amount: float
    repair: str
    neighbour: str = ""

    def __str__(self) -> str:
        until = "until now" if self.ongoing else f"to {format_utc(self.end)}"
        size = f" ({self.amount:+.4g} {self.unit})" if self.amount else ""
        beside = f" with {self.neighbour}" if self.neighbour else ""
        return (
            f"{self.series}: {self.kind}{size}{beside} from {format_utc(self.start)} {until}; "
            f"{self.repair}"
        )

    @property
    def unit(self) -> str:
        """Unit of ``amount``."""
        return {"clock shift": "h", "feeder switch": "MW"}.get(self.kind, "times")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedReading:
    """Readings after the check.

    Parameters
    ----------
    reading : Reading
        All finite; faults undone, lost values filled.
    suspect : ndarray of bool, shape (periods, series)
        Filled values: not read, not to be learnt from.
    faults : tuple of Fault
        What was found, by series and start.
    """

    reading: Reading
    suspect: Bools
    faults: tuple[Fault, ...]

    def good_until(self, column: int) -> datetime:
        """Return the end of the last period of a series that is not suspect."""
        good = np.flatnonzero(~self.suspect[:, column])
        rows = int(good[-1]) + 1 if len(good) else 0
        return self.reading.periods.start + rows * self.reading.periods.mtu


def check_readings(
    reading: Reading,
    kind: ForecastKind,
    timezone: str = "Europe/Berlin",
    *,
    clock_stated: bool = True,
) -> CheckedReading:
    """Find, name and undo what is wrong with readings.

    Parameters
    ----------
    reading : Reading
        Readings [MW]; NaN where one is missing.
    kind : {"load", "pv", "wind", "net"}
        What they are: PV rests at night, loads follow the wall clock.
    timezone : str
        IANA zone of the wall clock.
    clock_stated : bool
        Whether that zone was stated. Where it is a guess, an hour's shift of a load is people's
        change of the clock rather than a fault of the meter's, and is left alone.

    Returns
    -------
    CheckedReading
        Same periods and series. Of more than 200 series only gaps and frozen values are looked
        for: single households have no days alike enough for the rest.

    Raises
    ------
    InputError
        If a series has no reading at all.
    """
    periods = reading.periods
    empty = ~np.isfinite(reading.value_mw).any(axis=0)
    if empty.any():
        raise InputError(
            [Problem(where=reading.series[c], what="no reading at all", remedy="leave it out")
             for c in np.flatnonzero(empty).tolist()]
        )  # fmt: skip
    per_hour = 1.0 / periods.mtu_h
    per_day = round(24 * per_hour)
    clock = _clock_of(reading, kind, timezone)
    value = reading.value_mw.astype(float).copy()
    lost = np.zeros(value.shape, dtype=bool)
    faults: list[Fault] = []

    def note(finding: Finding, column: int, repair: str, neighbour: str = "") -> None:
        past = len(value) if finding.past < 0 else finding.past
        faults.append(
            Fault(
                kind=finding.fault,  # type: ignore[arg-type]  # the finders use these words only
                series=reading.series[column],
                start=periods.start + finding.first * periods.mtu,
                end=periods.start + past * periods.mtu,
                ongoing=past >= len(value),
                amount=finding.amount,
                repair=repair,
                neighbour=neighbour,
            )
        )

    few = value.shape[1] <= PROFILE_SERIES_MAX
    for column in range(value.shape[1]):
        for finding in _find_lost(value[:, column], kind, per_hour, spikes=few):
            note(finding, column, "filled from like days, not learnt from")
            lost[finding.first : finding.past, column] = True
        value[lost[:, column], column] = np.nan
    tables = [table_of_days(value[:, c], clock, per_day) for c in range(value.shape[1])]
    enough = few and len(tables[0].value_mw) >= PROFILE_DAYS_MIN
    if kind in ("load", "net") and enough and len(tables) <= SWITCH_SERIES_MAX:
        for finding, giver, taker in _undo_switches(value, tables, kind, per_hour):
            note(finding, giver, "earlier readings moved to today's feeder", reading.series[taker])
            opposite = Finding(fault="feeder switch", first=finding.first, past=finding.past,
                               amount=-finding.amount)  # fmt: skip
            note(opposite, taker, "earlier readings moved to today's feeder", reading.series[giver])
    for column, table in enumerate(tables):
        if enough:
            for finding in _undo_profiles(
                value, column, table, kind, per_hour, watch_clock=clock_stated
            ):
                note(finding, column, _repair_words(finding))
        if kind in ("pv", "wind"):
            _note_dead(value, lost, column, table, per_day, note)
        _fill(value[:, column], table, kind)
    return CheckedReading(
        reading=Reading(
            series=reading.series, periods=periods, value_mw=value, known_at=reading.known_at
        ),
        suspect=lost,
        faults=tuple(sorted(faults, key=lambda f: (f.series, f.start, f.kind))),
    )


def _clock_of(reading: Reading, kind: ForecastKind, timezone: str) -> LocalSlots:
    """Return days and slots: people's wall clock; the sun's, noon at 12, so no day is cut in two.

    The sun's noon is where the energy of all PV series is in the mean, so no position is needed.
    """
    periods = reading.periods
    if kind == "wind":
        return local_slots(periods, "UTC")
    if kind != "pv":
        return local_slots(periods, timezone)
    slots = local_slots(periods, "UTC")
    angle = slots.slot * periods.mtu_h * np.pi / 12.0
    power = np.nan_to_num(np.abs(reading.value_mw)).sum(axis=1)
    noon_h = np.arctan2(power @ np.sin(angle), power @ np.cos(angle)) * 12.0 / np.pi
    moved = Periods(
        start=periods.start + timedelta(hours=12 - round(noon_h)),
        count=len(periods),
        mtu_minutes=periods.mtu_minutes,
    )
    return local_slots(moved, "UTC")


def _find_lost(
    value: Floats, kind: ForecastKind, per_hour: float, *, spikes: bool
) -> list[Finding]:
    runs = [("gap", find_gaps(value)), ("flatline", find_flatlines(value, kind, per_hour))]
    if spikes:
        runs.append(("spike", find_spikes(value, kind, per_hour)))
    return [Finding(fault=name, first=a, past=b) for name, found in runs for a, b in found]


def _note_dead(
    value: Floats, lost: Bools, column: int, table: DayTable, per_day: int, note: _Note
) -> None:
    for first, past in find_dead_days(value[:, column], table.row_expected_mw, per_day):
        note(Finding(fault="dead", first=first, past=past), column, "not learnt from")
        lost[first:past, column] = True
        value[first:past, column] = np.nan


def _undo_switches(
    value: Floats, tables: Sequence[DayTable], kind: ForecastKind, per_hour: float
) -> list[tuple[Finding, int, int]]:
    """Find switches, the strongest first, and move what was read before to today's feeder."""
    found: list[tuple[Finding, int, int]] = []
    level = np.nanmean(np.abs(value), axis=0)
    for _ in range(SWITCHES_MAX):
        for table in tables:
            expect_all(table, kind)
        expected = np.column_stack([table.row_expected_mw for table in tables])
        switches = find_switches(value - expected, level, per_hour, SWITCH_WINDOW_H[kind])
        if not switches:
            break
        row, giver, taker, moved = switches[0]
        if moved <= 0.0 or any(abs(row - f.first) < 24 * per_hour for f, _, _ in found):
            break
        for column, amount in ((giver, -moved), (taker, moved)):
            value[:row, column] += amount
            table = tables[column]
            # An hour that comes twice is one slot: assignment by index adds to it once only.
            table.value_mw[table.row_day[:row], table.row_slot[:row]] += amount
        found.append(
            (Finding(fault="feeder switch", first=row, past=-1, amount=-moved), giver, taker)
        )
    return found


def _undo_profiles(
    value: Floats,
    column: int,
    table: DayTable,
    kind: ForecastKind,
    per_hour: float,
    *,
    watch_clock: bool,
) -> list[Finding]:
    """Find sign, unit, clock and capacity faults; undo them in ``value`` too, row by row."""
    slots = table.value_mw.shape[1]
    place = table.row_day * slots + table.row_slot
    found = []
    order = ("unit flip", "sign flip", "clock shift", "capacity change")
    findings = find_solar_shifts(table, per_hour) if kind == "pv" else []
    findings += go_through_days(table, kind, per_hour, watch_clock=watch_clock)
    for finding in sorted(findings, key=lambda f: order.index(f.fault)):
        past_place = np.inf if finding.past < 0 else finding.past
        rows = np.flatnonzero((place >= finding.first) & (place < past_place))
        if len(rows) == 0:
            continue
        first, past = int(rows[0]), int(rows[-1]) + 1
        if finding.fault in ("unit flip", "sign flip"):
            # After the last mark nothing more is told where nothing is expected (night).
            later = np.abs(table.row_expected_mw[past:])
            if not (later > 0.1 * np.nanmax(np.abs(table.expected_mw))).any():
                past = len(value)
            value[first:past, column] /= finding.amount
        elif finding.fault == "clock shift":
            # A clock that is late by k periods wrote now's value k periods on.
            source = np.clip(np.arange(first, past) + round(finding.amount * per_hour), 0, past - 1)
            value[first:past, column] = value[source, column]
        else:
            value[:first, column] *= finding.amount
            past = len(value)
        found.append(Finding(fault=finding.fault, first=first, past=past, amount=finding.amount))
    return found


def _repair_words(finding: Finding) -> str:
    if finding.fault == "clock shift":
        return "moved back"
    if finding.fault == "capacity change":
        return "earlier readings scaled to the plant as it is now"
    return "undone"


def _fill(value: Floats, table: DayTable, kind: ForecastKind) -> None:
    """Fill what is missing with like days, else the slot's or the series' median."""
    missing = ~np.isfinite(value)
    if not missing.any():
        return
    expect_all(table, kind)
    expected = table.row_expected_mw[missing]
    for fallback in (
        nan_median(table.value_mw, axis=0)[table.row_slot[missing]],
        np.nanmedian(value),
    ):
        expected = np.where(np.isfinite(expected), expected, fallback)
    value[missing] = expected
