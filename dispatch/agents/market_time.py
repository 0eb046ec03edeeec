"""What time it is for the market, as far as a device can be sure: an interval, never a guess.

A device's wall clock may be minutes out, so it decides nothing by itself. Three things bound the
market's time:

* **A round trip.** The device asks with a nonce at ``c0`` of its own counter and receives the
  signed answer T at ``c1``. The answer was written in between, so the market's time at ``c1`` lies
  in ``[T, T + (c1 - c0)]`` whatever the network did (Cristian, Distributed Computing 3, 1989,
  doi:10.1007/BF01784024). From then on the interval moves with the counter and widens with its
  drift. The wall clock takes no part.
* **A letter.** A signed letter issued at T proves that the market's time is at least T.
* **The wall clock**, within a stated tolerance (two minutes by default), for devices whose channel
  carries no round trip yet, or none that is quicker. It never narrows a round trip, and it is
  dropped as soon as one of the others contradicts it.

What acts on an interval asks both ends: a setpoint has begun when the earliest possible time has
passed its beginning, and is over when the latest possible time has reached its end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from data.errors import Problem, refuse_if_any

COUNTER_DRIFT: Final = 2e-4
"""Most a device's counter gains or loses: 200 ppm, several times an ordinary quartz."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTime:
    """What a device can read by itself.

    Parameters
    ----------
    counter_s : float
        Seconds since any instant, never set back and never set forward [s].
    wall : datetime or None
        Its wall clock, UTC; None: it has none.
    """

    counter_s: float
    wall: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeBounds:
    """The market's time now is not before ``earliest`` and not after ``latest``."""

    earliest: datetime
    latest: datetime

    @property
    def width_s(self) -> float:
        """How much is left open [s]."""
        return (self.latest - self.earliest).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proof:
    """Bounds [POSIX s] that held when the counter stood at ``counter_s``."""

    counter_s: float
    earliest_s: float
    latest_s: float = float("inf")

    def at(self, counter_s: float) -> tuple[float, float]:
        passed = counter_s - self.counter_s
        return (
            self.earliest_s + passed * (1.0 - COUNTER_DRIFT),
            self.latest_s + passed * (1.0 + COUNTER_DRIFT),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketTime:
    """What a device knows about the market's time; each method returns what it knows next.

    Parameters
    ----------
    wall_tolerance_s : float
        The wall clock is believed to be right within this [s]; 0 believes it in nothing.
    round_trip, letter
        What was proven last, and by what.
    wall_believed : bool
        Whether nothing has contradicted the wall clock yet.

    Examples
    --------
    A clock two minutes slow, one round trip of a tenth of a second:

    >>> from datetime import timedelta
    >>> noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
    >>> known = MarketTime().answered(
    ...     asked_at_s=10.0, told=noon,
    ...     at=LocalTime(counter_s=10.1, wall=noon - timedelta(minutes=2)),
    ... )
    >>> round(known.bounds(LocalTime(counter_s=40.1)).width_s, 3)
    0.112
    """

    wall_tolerance_s: float = 120.0
    round_trip: _Proof | None = None
    letter: _Proof | None = None
    wall_believed: bool = True

    def __post_init__(self) -> None:
        refuse_if_any(
            [Problem(where="wall_tolerance_s", what=f"{self.wall_tolerance_s} s is negative")]
            if not self.wall_tolerance_s >= 0.0
            else []
        )

    def bounds(self, at: LocalTime) -> TimeBounds | None:
        """Return the interval, or None where nothing bounds it from above."""
        earliest, latest = self._proven(at.counter_s)
        wall = self._wall(at, believed=self.wall_believed)
        if wall is not None and latest - earliest > 2.0 * self.wall_tolerance_s:
            floor = float("-inf") if self.letter is None else self.letter.at(at.counter_s)[0]
            earliest, latest = max(wall[0], floor), wall[1]
        if latest == float("inf") or earliest > latest:
            return None
        return TimeBounds(
            earliest=datetime.fromtimestamp(earliest, UTC),
            latest=datetime.fromtimestamp(latest, UTC),
        )

    def answered(self, *, asked_at_s: float, told: datetime, at: LocalTime) -> MarketTime:
        """Take the answer to a request made when the counter stood at ``asked_at_s`` [s].

        Where it contradicts what was known (the market's clock was set, the counter stood still
        while the device slept), the answer wins: it is the newest proof and it is signed.
        """
        passed = max(0.0, at.counter_s - asked_at_s) * (1.0 + COUNTER_DRIFT)
        fresh = _Proof(
            counter_s=at.counter_s,
            earliest_s=told.timestamp(),
            latest_s=told.timestamp() + passed,
        )
        earliest, latest = self._proven(at.counter_s)
        low, high = max(earliest, fresh.earliest_s), min(latest, fresh.latest_s)
        agrees = low <= high
        if agrees:
            fresh = replace(fresh, earliest_s=low, latest_s=high)
        known = replace(self, round_trip=fresh, letter=self.letter if agrees else None)
        wall = self._wall(at, believed=True)
        believed = wall is not None and wall[0] <= fresh.latest_s and fresh.earliest_s <= wall[1]
        return replace(known, wall_believed=believed)

    def heard(self, issued_at: datetime, at: LocalTime) -> MarketTime:
        """Take the time at which an authentic letter was written: it is at least that now.

        A letter from after the latest possible time contradicts that bound, and the bound goes:
        without a new round trip nothing is sure any more.
        """
        issued = issued_at.timestamp()
        earliest, latest = self._proven(at.counter_s)
        known = self
        if issued > latest:
            known = replace(known, round_trip=None)
        wall = self._wall(at, believed=True)
        if wall is not None and issued > wall[1]:
            known = replace(known, wall_believed=False)
        if issued > earliest:
            known = replace(known, letter=_Proof(counter_s=at.counter_s, earliest_s=issued))
        return known

    def _proven(self, counter_s: float) -> tuple[float, float]:
        """Return bounds from round trip and letters [POSIX s]."""
        earliest, latest = float("-inf"), float("inf")
        for proof in (self.round_trip, self.letter):
            if proof is not None:
                low, high = proof.at(counter_s)
                earliest, latest = max(earliest, low), min(latest, high)
        return earliest, latest

    def _wall(self, at: LocalTime, *, believed: bool) -> tuple[float, float] | None:
        if at.wall is None or not believed or self.wall_tolerance_s == 0.0:
            return None
        wall = at.wall.timestamp()
        return wall - self.wall_tolerance_s, wall + self.wall_tolerance_s
