"""The days all scenario tests look at: each is run once for all test processes, two at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.delivery_days import ALL_KILLS, KILLS, DeliveryDays, FinishedDay

MEDIUM_VOLTAGE, LOW_VOLTAGE = "1-MV-rural--2-sw", "1-LV-semiurb4--2-sw"
DAYS = {
    "summer": (MEDIUM_VOLTAGE, "2016-07-25"),
    "winter": (MEDIUM_VOLTAGE, "2016-01-16"),
    "short": (LOW_VOLTAGE, "2016-03-27"),
    "long": (LOW_VOLTAGE, "2016-10-30"),
}


@pytest.fixture(scope="session")
def days(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[DeliveryDays]:
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "days"
    folder.mkdir(exist_ok=True)
    runs = DeliveryDays(folder)
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


@pytest.fixture
def killed_everywhere(days: DeliveryDays) -> FinishedDay:
    """The same day as `long`, killed after and inside every stage."""
    days.begin("long-killed-everywhere", *DAYS["long"], ALL_KILLS)
    return days.finished("long-killed-everywhere")
