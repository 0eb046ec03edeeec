"""The days all scenario tests look at: each is run once, two at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.delivery_days import KILLS, DeliveryDays, FinishedDay

MEDIUM_VOLTAGE, LOW_VOLTAGE = "1-MV-rural--2-sw", "1-LV-semiurb4--2-sw"
DAYS = {
    "summer": (MEDIUM_VOLTAGE, "2016-07-25"),
    "winter": (MEDIUM_VOLTAGE, "2016-01-16"),
    "short": (LOW_VOLTAGE, "2016-03-27"),
    "long": (LOW_VOLTAGE, "2016-10-30"),
}


@pytest.fixture(scope="session")
def days(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeliveryDays]:
    runs = DeliveryDays(tmp_path_factory.mktemp("days"))
    for name, (feeder, day) in DAYS.items():
        runs.begin(name, feeder, day)
    runs.begin("long-killed", *DAYS["long"], KILLS)
    yield runs
    runs.close()


@pytest.fixture(scope="session", params=DAYS)
def any_day(request: pytest.FixtureRequest, days: DeliveryDays) -> FinishedDay:
    return days.finished(request.param)


@pytest.fixture(scope="session")
def summer(days: DeliveryDays) -> FinishedDay:
    return days.finished("summer")


@pytest.fixture(scope="session")
def long(days: DeliveryDays) -> FinishedDay:
    return days.finished("long")


@pytest.fixture(scope="session")
def killed(days: DeliveryDays) -> FinishedDay:
    """The same day as `long`, killed again and again."""
    return days.finished("long-killed")
