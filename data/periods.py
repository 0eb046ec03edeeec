"""Delivery periods: half-open, UTC, aware; the delivery day is local to the market."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from data.errors import InputError, Problem


def format_utc(instant: datetime) -> str:
    """Write an aware instant as ``YYYY-MM-DDTHH:MM:SSZ``."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_utc(text: str) -> datetime:
    """Read an ISO 8601 instant with any offset; the result is in UTC.

    Raises
    ------
    ValueError
        If the text is not an instant or carries no offset.
    """
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no UTC offset")
    return instant.astimezone(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """Consecutive half-open periods ``[start, start + mtu)`` in UTC.

    Parameters
    ----------
    start : datetime
        Start of the first period, aware UTC.
    count : int
        Number of periods.
    mtu_minutes : int
        Market time unit [min].
    """

    start: datetime
    count: int
    mtu_minutes: int = 15

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.start.utcoffset() != timedelta(0):
            raise InputError([Problem(where="start", what="must be an aware UTC instant")])
        if self.count < 1 or self.mtu_minutes < 1:
            raise InputError([Problem(where="periods", what="count and MTU must be positive")])

    def __len__(self) -> int:
        return self.count

    @property
    def mtu(self) -> timedelta:
        """Length of one period."""
        return timedelta(minutes=self.mtu_minutes)

    @property
    def mtu_h(self) -> float:
        """Length of one period [h]."""
        return self.mtu_minutes / 60.0

    @property
    def end(self) -> datetime:
        """End of the last period (exclusive)."""
        return self.start + self.count * self.mtu

    @property
    def starts(self) -> tuple[datetime, ...]:
        """Start of each period, UTC."""
        return tuple(self.start + k * self.mtu for k in range(self.count))

    def labels(self) -> tuple[str, ...]:
        """Start of each period as ``YYYY-MM-DDTHH:MM:SSZ``."""
        return tuple(format_utc(start) for start in self.starts)

    def from_index(self, first: int) -> Periods:
        """Return the periods from position ``first`` to the end."""
        return Periods(
            start=self.start + first * self.mtu,
            count=self.count - first,
            mtu_minutes=self.mtu_minutes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryDay:
    """A local calendar day of a market: 92, 96 or 100 quarter-hours.

    Examples
    --------
    >>> [DeliveryDay(day=date(2016, m, d)).periods.count for m, d in ((3, 27), (7, 25), (10, 30))]
    [92, 96, 100]
    """

    day: date
    timezone: str = "Europe/Berlin"
    mtu_minutes: int = 15

    def instant(self, clock_time: time, *, days_before: int = 0) -> datetime:
        """Return the UTC instant of a local clock time on this day or ``days_before`` it."""
        local = datetime.combine(self.day - timedelta(days=days_before), clock_time)
        return local.replace(tzinfo=ZoneInfo(self.timezone)).astimezone(UTC)

    @property
    def periods(self) -> Periods:
        """All periods of the day, in UTC."""
        start = self.instant(time(0))
        end = self.instant(time(0), days_before=-1)
        count = int((end - start) / timedelta(minutes=self.mtu_minutes))
        return Periods(start=start, count=count, mtu_minutes=self.mtu_minutes)
