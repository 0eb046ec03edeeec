"""The days all scenario tests look at: each is run once, two at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.delivery_days import KILLS, DeliveryDays, FinishedDay

DAYS = {
    "summer": "2016-07-25",
    "winter": "2016-01-16",
    "short": "2016-03-27",
    "long": "2016-10-30",
}


@pytest.fixture(scope="session")
def days(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeliveryDays]:
    runs = DeliveryDays(tmp_path_factory.mktemp("days"))
    for name, day in DAYS.items():
        runs.begin(name, day)
        if name == "summer":
            runs.begin("summer-killed", day, KILLS)
    yield runs
    runs.close()


@pytest.fixture(scope="session", params=DAYS)
def any_day(request: pytest.FixtureRequest, days: DeliveryDays) -> FinishedDay:
    return days.finished(request.param)


@pytest.fixture(scope="session")
def summer(days: DeliveryDays) -> FinishedDay:
    return days.finished("summer")


@pytest.fixture(scope="session")
def killed(days: DeliveryDays) -> FinishedDay:
    return days.finished("summer-killed")
