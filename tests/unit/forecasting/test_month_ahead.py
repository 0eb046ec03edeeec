"""A month ahead: made-up load whose weather is known, so that what to expect is known too."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from data.errors import InputError
from forecasting.month_ahead import (
    HourlyHistory,
    MonthAheadRule,
    climatology,
    forecast_month_ahead,
    weather_scenarios,
)
from forecasting.scores import inside_band, pinball_losses

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
FIRST = date(2010, 1, 1).toordinal()
YEARS = 6
QUICK = MonthAheadRule(shifts_days=(-6, 0, 6), years_max=5)


def world(seed: int = 3) -> HourlyHistory:
    """Six years: temperature with a season and weeks of weather, load that heats below 15."""
    rng = np.random.default_rng(seed)
    days = 365 * YEARS + 1
    weather = np.zeros(days)
    for day in range(1, days):
        weather[day] = 0.8 * weather[day - 1] + 2.0 * rng.normal()
    season = 10.0 - 10.0 * np.cos(2 * np.pi * (np.arange(days) - 20) / 365.25)
    hour = np.arange(24)
    shape = 3.0 * np.sin(2 * np.pi * (hour - 9) / 24)
    temperature = (season + weather)[:, None] + shape
    ordinals = FIRST + np.arange(days)
    work = ((ordinals + 6) % 7 < 5)[:, None]
    heat = np.maximum(15.0 - temperature, 0.0)
    load = (100.0 + 20.0 * work * ((hour > 7) & (hour < 19)) + 4.0 * heat) * np.exp(
        0.02 * rng.normal(size=(days, 24))
    )
    # The second station is a broken thermometer: it tells nothing about load.
    noise = rng.normal(10.0, 8.0, size=(days, 24))
    return HourlyHistory(
        day=ordinals, load_mw=load, temperature=np.stack([temperature, noise], axis=2),
        holidays=frozenset(),
    )  # fmt: skip


def cut(history: HourlyHistory, last: date) -> HourlyHistory:
    kept = history.day < last.toordinal()
    return replace(
        history, day=history.day[kept], load_mw=history.load_mw[kept],
        temperature=history.temperature[kept],
    )  # fmt: skip


@pytest.fixture(scope="module")
def full() -> HourlyHistory:
    return world()


def actual(history: HourlyHistory, first: date, count: int) -> np.ndarray:
    row = first.toordinal() - FIRST
    return history.load_mw[row : row + count].ravel()


def test_lines_and_scenarios_beat_climatology_and_cover(full: HourlyHistory) -> None:
    ours, climate, inside = [], [], []
    for month in (date(2015, 1, 1), date(2015, 3, 1), date(2015, 7, 1), date(2015, 10, 1)):
        history, truth = cut(full, month), actual(full, month, 28)
        value = forecast_month_ahead(history, 28, LEVELS, QUICK)
        ahead = history.day[-1] + 1 + np.arange(28)
        assert value.shape == (28 * 24, 5)
        assert (np.diff(value, axis=1) >= 0.0).all()
        ours.append(pinball_losses(value, truth, LEVELS).mean())
        climate.append(
            pinball_losses(climatology(history, ahead, LEVELS, QUICK), truth, LEVELS).mean()
        )
        inside.append(inside_band(value, truth, LEVELS)[0].mean())
    assert np.mean(ours) < np.mean(climate)
    assert 0.65 <= np.mean(inside) <= 0.95


def test_scenarios_start_from_today_and_spread_with_lead(full: HourlyHistory) -> None:
    history = cut(full, date(2015, 1, 15))
    ahead = history.day[-1] + 1 + np.arange(28)
    scenarios, past = weather_scenarios(history, ahead, QUICK)
    assert (scenarios[:, :4] == past[-4:]).all()
    spread = scenarios.mean(axis=2).std(axis=0)
    assert spread[4] < 0.75 * spread[-10:].mean()


def test_nothing_after_the_gate_is_in_the_history_it_gets(full: HourlyHistory) -> None:
    """What comes later is changed: the forecast is the same; one day before, it is not."""
    month = date(2015, 4, 1)
    row = month.toordinal() - FIRST
    later = full.load_mw.copy()
    later[row:] = 1.0
    honest = forecast_month_ahead(cut(full, month), 7, LEVELS, QUICK)
    planted = forecast_month_ahead(cut(replace(full, load_mw=later), month), 7, LEVELS, QUICK)
    assert planted.tobytes() == honest.tobytes()
    later[row - 1] = 1.0
    planted = forecast_month_ahead(cut(replace(full, load_mw=later), month), 7, LEVELS, QUICK)
    assert planted.tobytes() != honest.tobytes()


def test_short_or_broken_histories_are_refused(full: HourlyHistory) -> None:
    short = cut(full, date(2011, 1, 1))
    with pytest.raises(InputError, match="365 days of load"):
        forecast_month_ahead(short, 7, LEVELS)
    gap = full.load_mw.copy()
    gap[1000, 5] = np.nan
    with pytest.raises(InputError, match="gaps"):
        forecast_month_ahead(replace(full, load_mw=gap), 7, LEVELS)
    with pytest.raises(InputError, match="consecutive"):
        forecast_month_ahead(replace(full, day=full.day * 2), 7, LEVELS)
