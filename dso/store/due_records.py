"""Cycles that are due, and how one ended, as records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from data.periods import format_utc

# USEF's traffic light: green no limit near, yellow the market solves it, orange it did not, red
# emergency.
Light = Literal["green", "yellow", "orange", "red"]
DueState = Literal["due", "leased", "held", "done", "skipped", "failed"]
Outcome = Literal["done", "failed", "lost", "held", "skipped"]
Verdict = Literal["release", "override", "withhold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DueCycle:
    """A cycle and its times; (market, feeder, cycle, first_period, revision) is its key.

    Parameters
    ----------
    market, feeder, cycle : str
        Ids of rule set and feeder, and the name of the cycle.
    first_period : datetime
        Start of its first period, aware.
    revision : int
        0, and one more for each deliberate new run.
    lane : str
        Cycles of one lane of a feeder run one after the other.
    day : date
        Local delivery day.
    due_at : datetime
        When it may begin.
    late_after : datetime
        When it counts as late.
    skip_after : datetime or None
        When it is skipped by rule; None: it runs however late it is.
    """

    market: str
    feeder: str
    cycle: str
    first_period: datetime
    revision: int = 0
    lane: str
    day: date
    due_at: datetime
    late_after: datetime
    skip_after: datetime | None = None

    def __str__(self) -> str:
        first = format_utc(self.first_period)
        return f"{self.market}/{self.feeder}/{self.cycle}/{first}/{self.revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a person said of a clearing that waits: ``output_sha256`` is what was shown."""

    actor: str
    verdict: Verdict
    output_sha256: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedCycle:
    """A cycle that a worker has; ``attempt`` counts from 1, ``failures`` those that failed."""

    number: int
    due: DueCycle
    worker: str
    attempt: int
    failures: int
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """A named fallback that a result rests on, and the sentence that says so."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an attempt ended.

    Parameters
    ----------
    outcome : {"done", "failed", "held", "skipped"}
        ``held``: it waits for signatures.
    final : bool
        Whether the cycle is not taken again; a failed attempt usually is.
    light : {"green", "yellow", "orange", "red"} or None
        State of the feeder in the result.
    remark : str
        What people should know, e.g. how late it was.
    fallbacks : tuple of Fallback
        What the result rests on.
    """

    outcome: Literal["done", "failed", "held", "skipped"]
    final: bool = True
    light: Light | None = None
    remark: str = ""
    fallbacks: tuple[Fallback, ...] = ()
