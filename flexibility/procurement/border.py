"""The border to UFTP: numbered ISPs of a local day, whole watts, + = consumption.

Nothing else converts. An imbalance settlement period (ISP) is numbered from 1 within the local
day, whose length follows the zone: 92, 96 or 100 quarter-hours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem
from data.periods import DeliveryDay, Periods

Floats = NDArray[np.float64]
W_PER_MW: Final = 1_000_000
# An entity address (UFTP 3.0, 4.2.1): EA1 with a date and a domain, or an EAN of 12 to 34 digits.
ENTITY_ADDRESS: Final = re.compile(
    r"(ea1\.\d{4}-(0[1-9]|1[0-2])\.[a-z0-9][a-z0-9.-]*:[A-Za-z0-9._-]+|ean\.\d{12,34})"
)


def is_entity_address(text: str) -> bool:
    """Tell whether a text is an address that UFTP takes for a congestion point.

    Examples
    --------
    >>> is_entity_address("ea1.2026-01.grid.example:north"), is_entity_address("north")
    (True, False)
    """
    return ENTITY_ADDRESS.fullmatch(text) is not None


def to_watt(injection_mw: float) -> int:
    """Return a power as UFTP states it: whole W, consumption positive.

    Examples
    --------
    >>> to_watt(0.25), to_watt(-0.0000015)
    (-250000, 2)
    """
    return -round(injection_mw * W_PER_MW)


def from_watt(power_w: int) -> float:
    """Return UFTP's power as injection [MW].

    Examples
    --------
    >>> from_watt(-250_000)
    0.25
    """
    return -power_w / W_PER_MW


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalIsps:
    """The periods of a horizon as ISPs of one local day.

    ``first`` is the number of the ISP that the first period is, ``count_of_day`` how many ISPs the
    day has.
    """

    day: date
    timezone: str
    periods: Periods
    first: int
    count_of_day: int

    @classmethod
    def of(cls, periods: Periods, timezone: str) -> LocalIsps:
        """Number the periods of a horizon.

        Raises
        ------
        InputError
            Where the horizon reaches into another local day: a message is for one day.
        """
        zone = ZoneInfo(timezone)
        day = periods.start.astimezone(zone).date()
        whole = DeliveryDay(day=day, timezone=timezone, mtu_minutes=periods.mtu_minutes).periods
        if periods.end > whole.end:
            what = f"the horizon ends after the local day {day} ({timezone})"
            remedy = "request flexibility for one local day at a time"
            raise InputError([Problem(where="periods", what=what, remedy=remedy)])
        first = (periods.start - whole.start) // periods.mtu + 1
        return cls(
            day=day, timezone=timezone, periods=periods, first=first, count_of_day=whole.count
        )

    def number(self, period: int) -> int:
        """Return the ISP's number of a period (index from 0)."""
        return self.first + period

    def runs(self, values: Iterable[int]) -> list[dict[str, int]]:
        """Return values that are not 0 as ``power``, ``start``, ``duration``, equal ones joined."""
        found: list[dict[str, int]] = []
        for period, value in enumerate(values):
            number = self.number(period)
            last = found[-1] if found else None
            if last and last["power"] == value and last["start"] + last["duration"] == number:
                last["duration"] += 1
            elif value:
                found.append({"power": value, "start": number, "duration": 1})
        return found
