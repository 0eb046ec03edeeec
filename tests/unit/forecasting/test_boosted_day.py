"""The boosted day on the recorded feeder: no worse than the basic forecast, and no leak."""

from __future__ import annotations

from datetime import date, time

import numpy as np
import pytest

from data.periods import DeliveryDay
from data.records.forecast import Forecast
from forecasting import boosted_day
from forecasting.boosted_day import forecast_boosted_day
from forecasting.boosting import BoostingRule
from forecasting.evaluation import coverage, pinball_mw
from tests.support.recorded_feeder import RecordedFeeder

DAY = date(2016, 7, 15)
# Every twelfth series of the feeder: all kinds, a twelfth of the time.
STEP = 12


def forecast(feeder: RecordedFeeder, day: date, value_mw: np.ndarray | None = None) -> Forecast:
    delivery = DeliveryDay(day=day)
    gate = delivery.instant(time(13, 30), days_before=1)
    reading = feeder.readings_until(gate, value_mw)
    few = type(reading)(
        series=reading.series[::STEP], periods=reading.periods,
        value_mw=reading.value_mw[:, ::STEP], known_at=gate,
    )  # fmt: skip
    return forecast_boosted_day(
        reading=few, kinds=feeder.feeder.kinds, capacity_mw=feeder.feeder.capacity_mw,
        periods=delivery.periods, known_at=gate, latitude=feeder.feeder.latitude,
        longitude=feeder.feeder.longitude,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def short_lesson(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boosted_day, "LEARN_DAYS", 14)
    monkeypatch.setattr(boosted_day, "RULE", BoostingRule(trees=20, leaves=8))
    monkeypatch.setattr(boosted_day, "SERIES_MAX", 4)


def test_it_is_ordered_dark_at_night_capped_and_scored(recorded_feeder: RecordedFeeder) -> None:
    found = forecast(recorded_feeder, DAY)
    assert found.model_id == "boosted-day/1"
    assert (np.diff(found.value_mw, axis=2) >= 0.0).all()
    kinds = np.array([recorded_feeder.feeder.kinds[name] for name in found.series])
    hours = np.array([start.hour for start in found.periods.starts])
    night = (hours >= 22) | (hours < 1)
    assert (found.value_mw[kinds == "pv"][:, night] == 0.0).all()
    base = recorded_feeder.forecast(DAY)
    places = [base.series.index(name) for name in found.series]
    actual = recorded_feeder.actual_mw(found.periods)[places]
    basic = Forecast(
        series=found.series, periods=base.periods, quantiles=base.quantiles,
        value_mw=base.value_mw[places], known_at=base.known_at, model_id=base.model_id,
    )  # fmt: skip
    for kind in ("load", "pv"):
        rows = kinds == kind
        ours = pinball_mw(found, actual)[rows].sum()
        assert ours < 1.05 * pinball_mw(basic, actual)[rows].sum()
        assert 0.6 <= np.nanmean(coverage(found, actual)[rows]) <= 0.97


def test_same_readings_same_bytes_and_nothing_after_the_gate(
    recorded_feeder: RecordedFeeder,
) -> None:
    gate = DeliveryDay(day=DAY).instant(time(13, 30), days_before=1)
    row = int((gate - recorded_feeder.recorded.start) / recorded_feeder.recorded.mtu)
    changed = recorded_feeder.value_mw.copy()
    changed[row:] = 7.0
    honest = forecast(recorded_feeder, DAY)
    assert forecast(recorded_feeder, DAY, changed).value_mw.tobytes() == honest.value_mw.tobytes()
    changed[row - 1] = 7.0
    assert forecast(recorded_feeder, DAY, changed).value_mw.tobytes() != honest.value_mw.tobytes()


def test_a_short_history_serves_the_basic_forecast_by_name(recorded_feeder: RecordedFeeder) -> None:
    found = forecast(recorded_feeder, date(2016, 1, 20))
    assert found.model_id == "like-day-and-clear-sky/1"
    assert any(note.startswith("boosted day: 4 past gates of 14") for note in found.fallbacks)
