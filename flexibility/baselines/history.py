"""What was metered before, laid out by local day and time of day, and when each value was known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.local_week import WORKDAY, local_week
from data.periods import Periods

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadHistory:
    """Metered withdrawal of one connection.

    Parameters
    ----------
    withdrawal_mw : ndarray, shape (periods,)
        Mean power taken from the grid [MW], feeding in negative; NaN where nothing is known.
    received_s : ndarray of int64, shape (periods,)
        When each value became known [s since 1970, UTC], not before the end of its period.
    """

    connection: str
    periods: Periods
    withdrawal_mw: Floats
    received_s: Integers

    def __post_init__(self) -> None:
        count, where = self.periods.count, f"history of {self.connection}"
        problems = []
        if self.withdrawal_mw.shape != (count,) or self.received_s.shape != (count,):
            problems.append(Problem(where=where, what=f"arrays do not have {count} values"))
        else:
            ends = seconds(self.periods.start) + 60 * self.periods.mtu_minutes * (
                1 + np.arange(count)
            )
            early = np.isfinite(self.withdrawal_mw) & (self.received_s < ends)
            if early.any():
                what = f"{int(early.sum())} values were known before their period ended"
                problems.append(Problem(where=where, what=what))
            if np.isinf(self.withdrawal_mw).any():
                problems.append(Problem(where=where, what="holds an infinite value"))
        refuse_if_any(problems)


def seconds(instant: datetime) -> int:
    """Return whole seconds since 1970 of an aware instant."""
    return round(instant.timestamp())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DaySpan:
    """A time of day: how many days after the event's first day, and which slot; shape (periods,).

    An event or a window that reaches over midnight has offsets other than 0.
    """

    offset: Integers
    slot: Integers

    def joined(self, other: DaySpan | None) -> DaySpan:
        """Return both spans as one."""
        if other is None:
            return self
        return DaySpan(
            offset=np.concatenate([self.offset, other.offset]),
            slot=np.concatenate([self.slot, other.slot]),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalTable:
    """A history by local day (rows) and slot of the day (columns).

    Parameters
    ----------
    withdrawal_mw : ndarray, shape (days, slots)
        NaN where nothing is known: gaps, the hour that spring skips. Of the hour that autumn
        repeats, the mean of both.
    received_s : ndarray of int64, shape (days, slots)
        When the value became known.
    working : ndarray of bool, shape (days,)
        Monday to Friday and no public holiday.
    day, slot : ndarray of int64, shape (periods,)
        Where each period of the history lies.
    """

    connection: str
    periods: Periods
    timezone: str
    holidays: frozenset[date]
    first: date
    withdrawal_mw: Floats
    received_s: Integers
    working: NDArray[np.bool_]
    day: Integers
    slot: Integers

    @classmethod
    def of(
        cls, history: LoadHistory, timezone: str, holidays: frozenset[date] = frozenset()
    ) -> LocalTable:
        """Lay a history out by local day."""
        week = local_week(history.periods, timezone, holidays)
        shape = (len(week.kind), week.slots)
        total, seen = np.zeros(shape), np.zeros(shape)
        received = np.zeros(shape, dtype=np.int64)
        known = np.flatnonzero(np.isfinite(history.withdrawal_mw))
        place = (week.day[known], week.slot[known])
        np.add.at(total, place, history.withdrawal_mw[known])
        np.add.at(seen, place, 1.0)
        np.maximum.at(received, place, history.received_s[known])
        with np.errstate(invalid="ignore"):
            value = np.where(seen > 0, total / np.maximum(seen, 1.0), np.nan)
        return cls(
            connection=history.connection,
            periods=history.periods,
            timezone=timezone,
            holidays=holidays,
            first=week.first,
            withdrawal_mw=value,
            received_s=np.where(seen > 0, received, NEVER),
            working=np.asarray(week.kind == WORKDAY),
            day=week.day,
            slot=week.slot,
        )

    def is_working(self, day: int) -> bool:
        """Return whether a row, or a day before or after the table, is a working day."""
        moment = self.first + timedelta(days=day)
        return moment.weekday() < 5 and moment not in self.holidays

    def place(self, periods: Periods) -> tuple[Integers, Integers]:
        """Return day (may lie outside the table) and slot of other periods of the same MTU."""
        week = local_week(periods, self.timezone)
        return week.day + (week.first - self.first).days, week.slot

    def span(self, periods: Periods, day: int) -> DaySpan:
        """Return the time of day of periods, relative to a row."""
        rows, slot = self.place(periods)
        return DaySpan(offset=rows - day, slot=slot)

    def block(self, rows: Integers, span: DaySpan) -> Floats:
        """Return the values of days at a time of day, shape (rows, periods); NaN outside."""
        places = rows[:, None] + span.offset
        inside = (places >= 0) & (places < len(self.working))
        held = self.withdrawal_mw[np.where(inside, places, 0), span.slot]
        return np.where(inside, held, np.nan)

    def known(self, rows: Integers, span: DaySpan, known_s: int) -> NDArray[np.bool_]:
        """Return which days are completely known at a time of day, shape (rows,)."""
        places = rows[:, None] + span.offset
        inside = (places >= 0) & (places < len(self.working))
        received = self.received_s[np.where(inside, places, 0), span.slot]
        return np.asarray((inside & (received <= known_s)).all(axis=1))

    def values_at(self, periods: Periods, known_s: int) -> Floats:
        """Return the values of periods as known at an instant, NaN otherwise, shape (periods,)."""
        day, slot = self.place(periods)
        inside = (day >= 0) & (day < len(self.working))
        found = np.full(periods.count, np.nan)
        rows, columns = day[inside], slot[inside]
        seen = self.received_s[rows, columns] <= known_s
        found[inside] = np.where(seen, self.withdrawal_mw[rows, columns], np.nan)
        return found
