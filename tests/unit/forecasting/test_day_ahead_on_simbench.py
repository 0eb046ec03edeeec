"""The day-ahead forecast on a recorded year: better than a week ago, with bands that hold."""

from __future__ import annotations

from datetime import date, time, timedelta

import numpy as np
import pytest

from data.periods import DeliveryDay
from forecasting.evaluation import coverage, pinball_mw
from tests.support.recorded_feeder import Floats, RecordedFeeder

KINDS = ("load", "pv", "wind", "other")
BACKTEST_DAYS = tuple(date(2016, 1, 20) + timedelta(days=31 * k) for k in range(11))


@pytest.fixture(scope="module")
def backtest(recorded_feeder: RecordedFeeder) -> dict[str, Floats]:
    """Pinball of model and week-lag [MW, summed over series] and coverage, per day and kind."""
    rows = []
    for day in BACKTEST_DAYS:
        forecast = recorded_feeder.forecast(day)
        actual = recorded_feeder.actual_mw(forecast.periods)
        model = pinball_mw(forecast, actual)
        naive = pinball_mw(recorded_feeder.week_lag(forecast), actual)
        inside = coverage(forecast, actual)
        chosen = [recorded_feeder.rows(kind) for kind in KINDS]
        rows.append([(model[c].sum(), naive[c].sum(), np.nanmean(inside[c])) for c in chosen])
    return dict(zip(KINDS, np.array(rows).transpose(1, 0, 2), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_pinball_is_well_under_the_week_lag(backtest: dict[str, Floats], kind: str) -> None:
    model, naive, _ = backtest[kind].T
    assert model.mean() < 0.8 * naive.mean()
    assert (model < naive).mean() >= 0.7


def test_bands_of_10_to_90_percent_hold(backtest: dict[str, Floats]) -> None:
    assert 0.74 <= backtest["load"][:, 2].mean() <= 0.86
    for kind in ("pv", "wind", "other"):
        assert 0.65 <= backtest[kind][:, 2].mean() <= 0.95


@pytest.mark.parametrize(
    ("day", "count"), [(date(2016, 3, 27), 92), (date(2016, 7, 25), 96), (date(2016, 10, 30), 100)]
)
def test_days_of_92_96_and_100_quarter_hours(
    recorded_feeder: RecordedFeeder, day: date, count: int
) -> None:
    forecast = recorded_feeder.forecast(day)
    assert forecast.value_mw.shape == (198, count, 9)
    assert np.isfinite(forecast.value_mw).all()
    assert (np.diff(forecast.value_mw, axis=2) >= 0.0).all()
    ceiling = [forecast_cap(recorded_feeder, name) for name in forecast.series]
    assert (forecast.value_mw >= 0.0).all()
    assert (forecast.value_mw.max(axis=(1, 2)) <= np.array(ceiling) + 1e-9).all()
    assert forecast.fallbacks == ()


def forecast_cap(recorded_feeder: RecordedFeeder, name: str) -> float:
    return recorded_feeder.feeder.capacity_mw.get(name, np.inf)


def test_loads_follow_the_wall_clock_over_a_clock_change(recorded_feeder: RecordedFeeder) -> None:
    """A load that steps at 08:00 local time steps there on the first day of summer time too."""
    day = DeliveryDay(day=date(2016, 3, 28))
    gate = day.instant(time(13, 30), days_before=1)
    reading = recorded_feeder.readings_until(gate)
    local = [s + timedelta(hours=1 if s < DeliveryDay(day=date(2016, 3, 27)).instant(time(2))
                           else 2) for s in reading.periods.starts]  # fmt: skip
    stepping = np.array([1.0 if s.hour >= 8 else 0.2 for s in local])
    column = reading.series.index("load:0")
    value = reading.value_mw.copy()
    value[:, column] = stepping
    forecast = recorded_feeder.forecast(
        day.day, type(reading)(series=reading.series, periods=reading.periods, value_mw=value,
                               known_at=gate),
    )  # fmt: skip
    median = forecast.median_mw()[column]
    assert median[: 8 * 4] == pytest.approx(0.2, abs=1e-9)
    assert median[8 * 4 :] == pytest.approx(1.0, abs=1e-9)


def test_nothing_after_the_gate_leaks(recorded_feeder: RecordedFeeder) -> None:
    day = date(2016, 7, 25)
    gate = DeliveryDay(day=day).instant(time(13, 30), days_before=1)
    changed = recorded_feeder.value_mw.copy()
    changed[int((gate - recorded_feeder.recorded.start) / recorded_feeder.recorded.mtu) :] = 7.0
    honest = recorded_feeder.forecast(day)
    planted = recorded_feeder.forecast(day, recorded_feeder.readings_until(gate, changed))
    assert planted.value_mw.tobytes() == honest.value_mw.tobytes()
    # The test can fail: one value before the gate does change the forecast.
    changed[int((gate - recorded_feeder.recorded.start) / recorded_feeder.recorded.mtu) - 1] = 7.0
    planted = recorded_feeder.forecast(day, recorded_feeder.readings_until(gate, changed))
    assert planted.value_mw.tobytes() != honest.value_mw.tobytes()


def test_pv_is_zero_at_night_and_lives_by_day(recorded_feeder: RecordedFeeder) -> None:
    forecast = recorded_feeder.forecast(date(2016, 7, 25))
    solar = recorded_feeder.rows("pv")
    hours = np.array([s.hour for s in forecast.periods.starts])
    at_night = (hours >= 22) | (hours < 1)
    assert (forecast.value_mw[solar][:, at_night] == 0.0).all()
    assert (forecast.median_mw()[solar][:, hours == 11] > 0.0).all()


def test_few_days_of_winter_history_are_forecast_with_named_fallbacks(
    recorded_feeder: RecordedFeeder,
) -> None:
    third = recorded_feeder.forecast(date(2016, 1, 3))
    assert np.isfinite(third.value_mw).all()
    for kind in ("load", "pv", "wind", "other"):
        assert any(note.startswith(f"{kind}:") for note in third.fallbacks), kind
    sixteenth = recorded_feeder.forecast(date(2016, 1, 16))
    assert [note.split(":")[0] for note in sixteenth.fallbacks] == ["load"]


def test_pv_that_produces_at_night_is_not_forecast_as_pv(recorded_feeder: RecordedFeeder) -> None:
    day = date(2016, 5, 10)
    gate = DeliveryDay(day=day).instant(time(13, 30), days_before=1)
    reading = recorded_feeder.readings_until(gate)
    wrong = reading.value_mw.copy()
    name = reading.series[recorded_feeder.rows("pv")[0]]
    column = reading.series.index(name)
    wrong[:, column] = np.roll(wrong[:, column], 48)  # noon at midnight: a clock that is off
    shifted = type(reading)(
        series=reading.series, periods=reading.periods, value_mw=wrong, known_at=gate
    )
    forecast = recorded_feeder.forecast(day, shifted)
    assert forecast.fallbacks == (f"pv: output at night, forecast like hydro: {name}",)
    hours = np.array([s.hour for s in forecast.periods.starts])
    assert forecast.median_mw()[column][hours == 23].mean() > 0.0
