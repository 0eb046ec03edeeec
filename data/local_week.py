"""Where periods lie in the local week: which day, which time of day, which kind of day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods

WORKDAY: Final = 0
SATURDAY: Final = 1
SUNDAY: Final = 2
"""Kinds of day; a public holiday counts as a Sunday."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalWeek:
    """Local day, slot of the day and kind of day of each period.

    Parameters
    ----------
    day : ndarray of int, shape (periods,)
        Days since the first local day.
    slot : ndarray of int, shape (periods,)
        Local start of the period in MTUs since midnight; the hour that autumn repeats has equal
        slots twice.
    kind : ndarray of int, shape (days,)
        `WORKDAY`, `SATURDAY` or `SUNDAY` of each day.
    slots : int
        Slots of a day without clock change.
    first : date
        The first local day.
    """

    day: NDArray[np.int64]
    slot: NDArray[np.int64]
    kind: NDArray[np.int64]
    slots: int
    first: date


@lru_cache(maxsize=64)
def local_week(
    periods: Periods, timezone: str, holidays: frozenset[date] = frozenset()
) -> LocalWeek:
    """Place periods in the local week."""
    zone = ZoneInfo(timezone)
    local = [start.astimezone(zone) for start in periods.starts]
    first = local[0].date()
    ordinals = np.array([moment.toordinal() for moment in local], dtype=np.int64)
    minutes = np.array([moment.hour * 60 + moment.minute for moment in local], dtype=np.int64)
    days = int(ordinals[-1] - ordinals[0]) + 1
    dates = [date.fromordinal(first.toordinal() + k) for k in range(days)]
    kind = [
        SUNDAY if d in holidays or d.weekday() == 6 else SATURDAY if d.weekday() == 5 else WORKDAY
        for d in dates
    ]
    return LocalWeek(
        day=ordinals - ordinals[0],
        slot=minutes // periods.mtu_minutes,
        kind=np.array(kind, dtype=np.int64),
        slots=24 * 60 // periods.mtu_minutes,
        first=first,
    )
