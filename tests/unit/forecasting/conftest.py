"""One recorded feeder for all forecasting tests."""

from __future__ import annotations

import pytest

from tests.support.recorded_feeder import RecordedFeeder, load_recorded_feeder


@pytest.fixture(scope="session")
def recorded_feeder() -> RecordedFeeder:
    return load_recorded_feeder()
