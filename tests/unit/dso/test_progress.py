"""Progress: a bar on a terminal, lines elsewhere, nothing when quiet."""

from __future__ import annotations

import io

import pytest

from dso.cli.progress import BarProgress, LineProgress, make_progress
from dso.progress import Progress, SilentProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _run(progress: Progress) -> None:
    progress.stage("1/7 forecast", steps=2)
    progress.step("load")
    progress.step("generation")
    progress.stage("2/7 offers")
    progress.close()


@pytest.mark.parametrize(
    ("quiet", "stream", "kind"),
    [
        (True, Terminal(), SilentProgress),
        (False, io.StringIO(), LineProgress),
        (False, Terminal(), BarProgress),
    ],
)
def test_the_stream_decides(quiet: bool, stream: io.StringIO, kind: type) -> None:
    progress = make_progress(quiet=quiet, stream=stream)
    _run(progress)
    assert isinstance(progress, kind)
    shown = stream.getvalue()
    assert ("1/7 forecast" in shown) is not quiet
    assert ("2/7 offers" in shown) is not quiet


def test_lines_carry_stage_and_seconds_only() -> None:
    stream = io.StringIO()
    _run(LineProgress(stream))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "1/7 forecast ..."
    assert [line.rsplit(": ", 1)[0] for line in lines[1::2]] == ["1/7 forecast", "2/7 offers"]
    assert all(line.endswith(" s") for line in lines[1::2])
    assert len(lines) == 4


def test_closing_twice_says_nothing_twice() -> None:
    stream = io.StringIO()
    progress = LineProgress(stream)
    progress.stage("only")
    progress.close()
    progress.close()
    assert len(stream.getvalue().splitlines()) == 2
