"""The days all scenario tests look at: each is run once for all test processes, two at a time.

They run in the background of whichever tests need none of them. First come those that the first
file asks for, so that nobody waits for a day that only later files look at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest

from tests.support.delivery_days import ALL_KILLS, KILLS, DeliveryDays, FinishedDay

MEDIUM_VOLTAGE, LOW_VOLTAGE = "1-MV-rural--2-sw", "1-LV-semiurb4--2-sw"
DAYS = {
    "long": (LOW_VOLTAGE, "2016-10-30"),
    "short": (LOW_VOLTAGE, "2016-03-27"),
    "summer": (MEDIUM_VOLTAGE, "2016-07-25"),
    "winter": (MEDIUM_VOLTAGE, "2016-01-16"),
}
# The summer day again with other weather; congested winter days are cleared, bought for and
# settled in test_simbench_clearings.py and test_flexibility_market.py.
ONLY_LONG = {"winter"}


@pytest.fixture(scope="session")
def days(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[DeliveryDays]:
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "days"
    folder.mkdir(exist_ok=True)
    runs = DeliveryDays(folder)
    runs.begin("long-killed", *DAYS["long"], KILLS)
    for name, (feeder, day) in DAYS.items():
        if name not in ONLY_LONG:
            runs.begin(name, feeder, day)
    yield runs
    runs.close()


@pytest.fixture(scope="session")
def day_of(days: DeliveryDays) -> Callable[[str], FinishedDay]:
    """Return a day by its name; one of those in `ONLY_LONG` is begun when first asked for."""

    @cache
    def finished(name: str) -> FinishedDay:
        if name in ONLY_LONG:
            days.begin(name, *DAYS[name])
        return days.finished(name)

    return finished


@pytest.fixture(
    scope="session",
    params=[
        pytest.param(name, marks=pytest.mark.long if name in ONLY_LONG else ()) for name in DAYS
    ],
)
def any_day(request: pytest.FixtureRequest, day_of: Callable[[str], FinishedDay]) -> FinishedDay:
    return day_of(request.param)


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
