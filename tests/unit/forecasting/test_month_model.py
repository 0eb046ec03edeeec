"""The month-ahead model by the common protocol: made again from its texts, never crossing."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from data.errors import InputError
from data.periods import Periods
from data.records.forecast import Reading
from forecasting.as_of import VersionedTable, starts64
from forecasting.model import KnownData, Site
from forecasting.month_model import MonthAheadForecaster

DAYS = 765
PAST = Periods(start=datetime(2009, 1, 1, tzinfo=UTC), count=DAYS * 24, mtu_minutes=60)
AHEAD = Periods(start=PAST.end, count=7 * 24, mtu_minutes=60)
LEVELS = (0.1, 0.5, 0.9)


def known(days: int = DAYS, name: str = "w1") -> KnownData:
    periods = Periods(start=PAST.start, count=days * 24, mtu_minutes=60)
    hour = np.arange(days * 24)
    random = np.random.default_rng(11)
    year = np.sin((hour / 24 - 110) / 365.25 * 2 * np.pi)
    front = np.repeat(random.normal(0, 4, days), 24)
    temperature = 12 + 10 * year + 4 * np.sin((hour % 24 - 9) / 24 * 2 * np.pi) + front
    load = 100 + 2.0 * np.maximum(15 - temperature, 0) + 15 * np.sin((hour % 24 - 8) / 24 * 6.28)
    table = VersionedTable(
        names=(name,), mtu_minutes=60, valid_at=starts64(periods),
        known_at=starts64(periods) + np.timedelta64(3600, "s"), value=temperature[:, None],
    )  # fmt: skip
    reading = Reading(series=("a",), periods=periods, value_mw=load[:, None], known_at=periods.end)
    return KnownData(
        kind="load", reading=reading, known_at=periods.end, site=Site(timezone="UTC"),
        weather=table,
    )  # fmt: skip


def test_it_forecasts_hours_of_days_and_is_made_again_from_its_texts() -> None:
    seen = known()
    model = MonthAheadForecaster().fit(seen)
    forecast = model.predict(seen, AHEAD, LEVELS)
    assert forecast.value_mw.shape == (1, 7 * 24, 3)
    assert (np.diff(forecast.value_mw, axis=-1) >= 0.0).all()
    day = forecast.median_mw()[0].reshape(7, 24).mean(axis=0)
    assert abs(int(np.argmax(day)) - 14) <= 3  # the sine's top
    again = MonthAheadForecaster().from_files(model.to_files())
    np.testing.assert_array_equal(again.predict(seen, AHEAD, LEVELS).value_mw, forecast.value_mw)


@pytest.mark.parametrize(("days", "name"), [(700, "w1"), (DAYS, "wind_m_per_s")])
def test_too_few_years_or_no_temperature_is_refused(days: int, name: str) -> None:
    seen = known(days, name)
    ahead = Periods(start=seen.reading.periods.end, count=24, mtu_minutes=60)
    with pytest.raises(InputError):
        MonthAheadForecaster().fit(seen).predict(seen, ahead, LEVELS)
