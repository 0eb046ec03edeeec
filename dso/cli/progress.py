"""Progress on a terminal as a bar with the stage's name, elsewhere as one line per stage."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from dso.clock import Stopwatch
from dso.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


class LineProgress:
    """One line per finished stage, with its seconds: for logs and pipes.

    Parameters
    ----------
    stream : TextIO
        Where the lines go.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._name = ""
        self._watch = Stopwatch.start()

    def stage(self, name: str, *, steps: int = 1) -> None:
        """Finish the stage before and begin ``name``."""
        del steps
        self.close()
        self._name, self._watch = name, Stopwatch.start()
        self._stream.write(f"{name} ...\n")
        self._stream.flush()

    def step(self, note: str = "") -> None:
        """Say nothing: a log wants stages, not steps."""

    def close(self) -> None:
        """Write how long the last stage took."""
        if self._name:
            self._stream.write(f"{self._name}: {self._watch.elapsed_s():.1f} s\n")
            self._stream.flush()
            self._name = ""


class BarProgress:
    """A bar per stage with its name, the step at hand and the time, drawn by rich.

    Parameters
    ----------
    stream : TextIO
        The terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
        )
        from rich.progress import Progress as Bar

        self._bar: Bar = Bar(
            TextColumn("{task.description:<34}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=Console(file=stream),
        )
        self._task: TaskID | None = None
        self._bar.start()

    def stage(self, name: str, *, steps: int = 1) -> None:
        """Fill the bar of the stage before and begin one for ``name``."""
        self._fill()
        self._task = self._bar.add_task(name, total=steps, note="")

    def step(self, note: str = "") -> None:
        """Move the bar by one step."""
        if self._task is not None:
            self._bar.update(self._task, advance=1, note=note)

    def close(self) -> None:
        """Leave the finished bars on the screen.

        A stage that did not reach its end, after an error, is not painted as done.
        """
        if sys.exc_info()[0] is None:
            self._fill()
        self._bar.stop()

    def _fill(self) -> None:
        if self._task is not None:
            task = self._bar.tasks[self._task]
            self._bar.update(self._task, completed=task.total, note="")
            self._bar.stop_task(self._task)


def make_progress(*, quiet: bool, stream: TextIO | None = None) -> Progress:
    """Choose how to show progress: nothing when quiet, a bar on a terminal, lines elsewhere."""
    target = sys.stderr if stream is None else stream
    if quiet:
        return SilentProgress()
    if target.isatty():
        return BarProgress(target)
    return LineProgress(target)
