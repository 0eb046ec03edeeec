"""What the store keeps, as records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from data.periods import format_utc

StageState = Literal["running", "done"]


class StageConflict(Exception):
    """A key was used before for other input or ended in another output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageKey:
    """What makes a stage of a cycle the same stage when it is run again.

    Parameters
    ----------
    market, feeder : str
        Ids of the rule set and of the feeder.
    kind : str
        Stage, e.g. ``forecast``, ``day_ahead``, ``intraday``, ``settlement``, ``posting``.
    first_period : datetime
        Start of its first period, aware.
    revision : int
        0, and one more for each deliberate new run on other input.
    """

    market: str
    feeder: str
    kind: str
    first_period: datetime
    revision: int = 0

    def __post_init__(self) -> None:
        if self.first_period.tzinfo is None:
            raise ValueError("first_period must be an aware instant")

    def __str__(self) -> str:
        return (
            f"{self.market}/{self.feeder}/{self.kind}/{format_utc(self.first_period)}"
            f"/{self.revision}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRun:
    """A stage as the store knows it; ``output_sha256`` is None until it is done.

    ``attempt`` counts how often it was begun: more than 1 means that an earlier one died.
    """

    key: StageKey
    state: StageState
    attempt: int
    input_sha256: str
    output_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A file that a stage left: its name relative to the output folder, digest and size."""

    name: str
    sha256: str
    byte_count: int
