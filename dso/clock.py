"""The one clock: nothing else asks what time it is.

A cycle is handed a clock, so that yesterday can be replayed as if it were now. What a clock says
never enters a hashed file.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time, always as an aware UTC instant."""

    def now(self) -> datetime:
        """Return the current instant in UTC."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the current instant in UTC."""
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayClock:
    """A clock that stands still: a cycle of the past sees the instant of its own gate.

    Parameters
    ----------
    at : datetime
        The instant it tells, aware; given back in UTC.

    Raises
    ------
    ValueError
        If ``at`` carries no UTC offset.

    Examples
    --------
    >>> ReplayClock(at=datetime.fromisoformat("2016-07-24T13:30:00+02:00")).now().isoformat()
    '2016-07-24T11:30:00+00:00'
    """

    at: datetime

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError(f"a clock needs an aware instant, got {self.at.isoformat()}")

    def now(self) -> datetime:
        """Return the instant it was made for, in UTC."""
        return self.at.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Measures how long work took, for timings and screens; never for anything hashed."""

    started_s: float

    @classmethod
    def start(cls) -> Stopwatch:
        """Start measuring."""
        return cls(time.perf_counter())

    def elapsed_s(self) -> float:
        """Return the time since the start [s]."""
        return time.perf_counter() - self.started_s
