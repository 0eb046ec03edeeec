"""The load model on a made-up feeder with weather: better than like days, kept as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from data.errors import InputError
from data.periods import Periods
from data.records.forecast import Reading
from forecasting.as_of import VersionedTable, starts64
from forecasting.boosting import BoostingRule
from forecasting.load_model import LoadForecaster, LoadModel
from forecasting.model import KnownData, LikeDayForecaster, Site
from forecasting.scores import pinball_losses

LEVELS = tuple(k / 10 for k in range(1, 10))
START = datetime(2015, 1, 10, tzinfo=UTC)
DAYS = 365
QUICK = LoadForecaster(rule=BoostingRule(trees=40, leaves=15, rows_per_leaf_min=20))
SITE = Site(timezone="Europe/Berlin")


def feeder(seed: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Load [MW] that heats, and the temperature, hourly."""
    rng = np.random.default_rng(seed)
    count = 24 * DAYS
    weather = np.zeros(DAYS)
    for day in range(1, DAYS):
        weather[day] = 0.7 * weather[day - 1] + 3.0 * rng.normal()
    hour = np.arange(count) % 24
    season = 8.0 + 8.0 * np.cos(2 * np.pi * (np.arange(count) / 24 + 40) / 365)
    temperature = season + np.repeat(weather, 24) + 2.0 * np.sin(2 * np.pi * (hour - 9) / 24)
    heat = np.maximum(16.0 - temperature, 0.0)
    load = 5.0 + 2.0 * ((hour > 5) & (hour < 20)) + 0.25 * heat + 0.2 * rng.normal(size=count)
    return load, temperature


def known(day: int, *, weather: bool = True, ahead_h: int = 48) -> KnownData:
    """What is known at 13:00 UTC of the day before, forecasts of the temperature included."""
    load, temperature = feeder()
    gate = START + timedelta(days=day - 1, hours=13)
    count = 24 * (day - 1) + 13
    rows = count + ahead_h
    valid = starts64(Periods(start=START, count=rows, mtu_minutes=60))
    issued = np.minimum(valid - np.timedelta64(40 * 3600, "s"), valid[count])
    table = VersionedTable(
        names=("temperature_c",), mtu_minutes=60, valid_at=valid, known_at=issued,
        value=temperature[:rows, None],
    )  # fmt: skip
    return KnownData(
        kind="load",
        reading=Reading(
            series=("feeder",), periods=Periods(start=START, count=count, mtu_minutes=60),
            value_mw=load[:count, None], known_at=gate,
        ),
        known_at=gate, site=SITE, weather=table if weather else None,
    )  # fmt: skip


def day_of(number: int) -> Periods:
    return Periods(start=START + timedelta(days=number), count=24, mtu_minutes=60)


@pytest.fixture(scope="module")
def fitted() -> LoadModel:
    return QUICK.fit(known(315))


def test_it_beats_like_days_by_a_third_on_days_it_has_not_seen(fitted: LoadModel) -> None:
    load, _ = feeder()
    like_day = LikeDayForecaster().fit(known(315))
    ours, base = [], []
    for day in range(315, 363, 6):
        truth = load[24 * day : 24 * (day + 1)]
        for model, losses in ((fitted, ours), (like_day, base)):
            forecast = model.predict(known(day), day_of(day), LEVELS)
            assert (np.diff(forecast.value_mw, axis=2) >= 0.0).all()
            losses.append(pinball_losses(forecast.value_mw[0], truth, LEVELS).mean())
    assert np.mean(ours) < 0.67 * np.mean(base)
    assert fitted.notes == ()


def test_same_data_same_texts_and_the_model_comes_back(fitted: LoadModel) -> None:
    files = fitted.to_files()
    back = QUICK.from_files(files)
    assert back.to_files() == files
    first, again = (m.predict(known(320), day_of(320), LEVELS) for m in (fitted, back))
    assert first.value_mw.tobytes() == again.value_mw.tobytes()


def test_weather_that_ends_too_early_is_named_and_bridged(fitted: LoadModel) -> None:
    forecast = fitted.predict(known(320, ahead_h=20), day_of(320), LEVELS)
    assert any("15 coming periods without a forecast" in note for note in forecast.fallbacks)
    assert np.isfinite(forecast.value_mw).all()


def test_what_is_missing_is_refused(fitted: LoadModel) -> None:
    with pytest.raises(InputError, match="no column temperature_c"):
        fitted.predict(known(320, weather=False), day_of(320), LEVELS)
    with pytest.raises(InputError, match="the load model needs 84"):
        QUICK.fit(known(60))


def test_less_than_a_year_leaves_the_weather_out_and_says_so() -> None:
    """Trees of one season took autumn's cold for spring's: 114 % worse than like days."""
    model = QUICK.fit(known(120))
    assert model.weather_columns == ()
    assert any("weather left out" in note for note in model.notes)
    assert not any("season" in name for name in model.parts[0].trees.names)
    forecast = model.predict(known(125, weather=False), day_of(125), LEVELS)
    truth = feeder()[0][24 * 125 : 24 * 126]
    assert forecast.value_mw[0].min() > 0.5 * truth.min()
    assert forecast.value_mw[0].max() < 1.5 * truth.max()
