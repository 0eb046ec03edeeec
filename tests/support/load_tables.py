"""Load histories for baselines: from hand-made days, and from real households."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods
from flexibility.baselines import LoadHistory, LocalTable

DELAY = timedelta(hours=6)


def received(periods: Periods, delay: timedelta = DELAY) -> NDArray[np.int64]:
    ends = periods.start.timestamp() + 60 * periods.mtu_minutes * (1 + np.arange(periods.count))
    return ends.astype(np.int64) + int(delay.total_seconds())


def table_of(
    mw: NDArray[np.float64], start: datetime, *, mtu_minutes: int = 15, timezone: str = "UTC",
    delay: timedelta = DELAY, holidays: frozenset[date] = frozenset(), name: str = "house",
) -> LocalTable:  # fmt: skip
    periods = Periods(start=start, count=len(mw), mtu_minutes=mtu_minutes)
    history = LoadHistory(
        connection=name, periods=periods, withdrawal_mw=np.asarray(mw, dtype=float),
        received_s=received(periods, delay),
    )  # fmt: skip
    return LocalTable.of(history, timezone, holidays)


def hourly_days(days: Sequence[Sequence[float] | float], start: datetime) -> LocalTable:
    """Return a table of hourly days; a number stands for 24 equal hours."""
    rows = [np.full(24, day) if np.isscalar(day) else np.asarray(day) for day in days]
    return table_of(np.concatenate(rows), start, mtu_minutes=60)


MONDAY = datetime(2026, 6, 1, tzinfo=UTC)


def hours(day: datetime, first: int, last: int) -> Periods:
    """Return hourly periods [first, last) of a day."""
    return Periods(start=day + timedelta(hours=first), count=last - first, mtu_minutes=60)
