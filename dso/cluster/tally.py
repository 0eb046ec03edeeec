"""How a run on the cluster stands: done, failed, running, and how long it may still take."""

from __future__ import annotations

from dataclasses import dataclass, field

from dso.clock import Stopwatch


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts of one run.

    Parameters
    ----------
    total : int
        Jobs of the run.
    before : int
        Those whose folders were there when it began.
    done, failed : int
        Those that ended in this run, well or not.
    running, workers : int
        As the scheduler last said.
    connections_lost : int
        How often the client had to connect anew.
    """

    total: int
    before: int = 0
    done: int = 0
    failed: int = 0
    running: int = 0
    workers: int = 0
    connections_lost: int = 0
    watch: Stopwatch = field(default_factory=Stopwatch.start)

    @property
    def waiting(self) -> int:
        """Jobs that have not ended."""
        return self.total - self.before - self.done - self.failed

    def seconds_left(self) -> float | None:
        """Return how long the rest takes at the pace so far [s]; None before a job has ended."""
        ended = self.done + self.failed
        return None if ended == 0 else self.watch.elapsed_s() / ended * self.waiting

    def __str__(self) -> str:
        left = self.seconds_left()
        parts = [
            f"{self.before + self.done} of {self.total} done",
            f"{self.failed} failed",
            f"{self.running} running on {self.workers} workers",
            "time left unknown" if left is None else f"about {left:.0f} s left",
        ]
        if self.connections_lost:
            parts.append(f"connection lost {self.connections_lost} times")
        return ", ".join(parts)
