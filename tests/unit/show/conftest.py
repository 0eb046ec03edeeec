"""Two clearings, one sound and one with limits that cannot hold, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from dso.show.read_output import read_view
from dso.show.views import ShowView
from tests.support.clearing_folder import write_clearing


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("show") / "clearing"
    assert write_clearing(folder).status == "certified"
    return folder


@pytest.fixture(scope="session")
def scarce(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("show") / "scarce"
    assert write_clearing(folder, vm_pu_min=0.93).status == "certified_with_slack"
    return folder


@pytest.fixture(scope="session")
def view(written: Path) -> ShowView:
    return read_view(written, written)
