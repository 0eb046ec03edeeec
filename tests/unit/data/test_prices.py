"""The stand-in wholesale price, looked up by the wall clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from data.errors import InputError
from data.periods import DeliveryDay, Periods
from data.readers.prices import PRICE_FILE, import_price_for


def recorded(day: str) -> list[float]:
    rows = [line.split(",") for line in PRICE_FILE.read_text().splitlines()]
    return [float(price) for hour, price in rows[1:] if hour.startswith(day)]


def price_of(day: date) -> list[float]:
    return import_price_for(DeliveryDay(day=day).periods, "Europe/Berlin").tolist()


def test_a_plain_day_takes_the_same_weekday_156_weeks_later() -> None:
    assert date(2016, 7, 25).weekday() == date(2019, 7, 22).weekday()
    expected = [price for price in recorded("2019-07-22") for _ in range(4)]
    assert price_of(date(2016, 7, 25)) == expected
    assert len(expected) == 96


def test_a_spring_day_skips_the_hour_that_it_lacks() -> None:
    hours = recorded("2019-03-24")
    expected = [price for price in hours[:2] + hours[3:] for _ in range(4)]
    assert price_of(date(2016, 3, 27)) == expected
    assert len(expected) == 92


def test_an_autumn_day_takes_the_repeated_hour_twice() -> None:
    hours = recorded("2019-10-27")
    expected = [price for price in hours[:3] + hours[2:] for _ in range(4)]
    assert price_of(date(2016, 10, 30)) == expected
    assert len(expected) == 100


def test_every_day_of_2016_has_prices_with_two_decimals() -> None:
    start, end = (DeliveryDay(day=date(year, 1, 1)).periods.start for year in (2016, 2017))
    year = Periods(start=start, count=int((end - start) / timedelta(minutes=15)))
    prices = import_price_for(year, "Europe/Berlin")
    assert len(prices) == 366 * 96
    assert np.array_equal(np.round(prices, 2), prices)
    assert prices.min() < 0 < prices.mean() < 60


def test_hours_without_a_price_are_named() -> None:
    periods = Periods(start=datetime(2017, 1, 8, tzinfo=UTC), count=8)
    with pytest.raises(InputError) as refused:
        import_price_for(periods, "Europe/Berlin")
    assert [problem.where for problem in refused.value.problems] == [
        "import price of 2020-01-05T01:00",
        "import price of 2020-01-05T02:00",
    ]
