"""How a long run tells what it is doing, without knowing who listens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Progress(Protocol):
    """Listens to the stages of a run, one after the other."""

    def stage(self, name: str, *, steps: int = 1) -> None:
        """Begin the stage ``name``, which has ``steps`` equal steps; ends the stage before it."""
        ...

    def step(self, note: str = "") -> None:
        """Count one step of the current stage as done; ``note`` says which."""
        ...

    def close(self) -> None:
        """End the last stage; call it also after an error."""
        ...


@dataclass(frozen=True, slots=True)
class SilentProgress:
    """Listens and says nothing."""

    def stage(self, name: str, *, steps: int = 1) -> None:
        """Ignore the stage."""

    def step(self, note: str = "") -> None:
        """Ignore the step."""

    def close(self) -> None:
        """Do nothing."""
