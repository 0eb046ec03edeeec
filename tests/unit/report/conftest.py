"""One made-up day on a feeder of seven buses, written once per session."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dso.report.day_folder import read_day_folder
from dso.report.views import DayView
from tests.support.day_folder import write_day_folder
from tests.support.feeder_sketch import small_sketch


@pytest.fixture(scope="session")
def written_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_day_folder(tmp_path_factory.mktemp("day"), small_sketch(), renewables_mw_max=16.0)


@pytest.fixture(scope="session")
def day(written_day: Path) -> DayView:
    return read_day_folder(written_day)


@pytest.fixture
def copied_day(written_day: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written_day, tmp_path / "day"))


@pytest.fixture
def edit(copied_day: Path) -> Callable[[str, Callable[[str], str]], Path]:
    """Change one file of a copy of the day."""

    def change(name: str, rewrite: Callable[[str], str]) -> Path:
        path = copied_day / name
        before = path.read_text("utf-8")
        after = rewrite(before)
        assert after != before, f"{name} was not changed"
        path.write_text(after, "utf-8")
        return copied_day

    return change
