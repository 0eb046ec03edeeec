"""One small study for all tests of a process."""

from __future__ import annotations

import pytest

from dso.studies import Study
from tests.support.small_study import small_study


@pytest.fixture(scope="session")
def study() -> Study:
    return small_study()
