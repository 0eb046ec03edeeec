"""PV and wind on plants whose truth is known: fitted back, dark at night, never over the limit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from data.periods import Periods
from data.records.forecast import Reading
from forecasting.as_of import VersionedTable, starts64
from forecasting.boosting import BoostingRule
from forecasting.model import KnownData, Site
from forecasting.pv_model import PvForecaster, PvModel, sky_of_weather
from forecasting.pv_physics import (
    deaccumulate,
    find_capacity_steps,
    fit_plane,
    plane_yield,
    sun_over,
)
from forecasting.pv_trees import fit_pv_trees, make_pv_rows
from forecasting.scores import pinball_losses
from forecasting.wind_model import WindForecaster, fit_power_curve

SITE = Site(latitude=52.0, longitude=5.0, timezone="Europe/Amsterdam")
LEVELS = tuple(k / 10 for k in range(1, 10))
QUICK = PvForecaster(rule=BoostingRule(trees=40, leaves=8), seeds=(6,))
DAYS = 60
START = datetime(2016, 4, 1, tzinfo=UTC)
PERIODS = Periods(start=START, count=24 * DAYS, mtu_minutes=60)


def plant(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Forecast irradiance, and the power of 2 MW at 20 deg facing 150 deg in other clouds."""
    rng = np.random.default_rng(seed)
    valid = starts64(PERIODS)
    sun = sun_over(valid, 60, 52.0, 5.0)
    cloud = np.repeat(rng.uniform(0.3, 1.0, DAYS), 24)
    said = sun.clear_ghi_w_per_m2 * cloud
    came = sun.clear_ghi_w_per_m2 * np.clip(cloud + 0.1 * rng.normal(size=len(cloud)), 0.1, 1.0)
    day = np.arange(len(valid)) // 24 + 92
    still = np.full(len(valid), 15.0), np.full(len(valid), 2.0)
    power = np.minimum(2.0 * plane_yield(sun, day, came, *still, 20.0, 150.0), 1.5)
    return said, power


def known(days: int, said: np.ndarray, power: np.ndarray) -> KnownData:
    gate = START + timedelta(days=days) - timedelta(hours=12)
    count = 24 * days - 12
    kept = Periods(start=START, count=count, mtu_minutes=60)
    valid = starts64(PERIODS)[: 24 * (days + 1)]
    issued = np.minimum(
        valid - np.timedelta64(36 * 3600, "s"), np.datetime64(gate.replace(tzinfo=None), "s")
    )
    return KnownData(
        kind="pv",
        reading=Reading(series=("pv",), periods=kept, value_mw=power[:count, None], known_at=gate),
        known_at=gate,
        site=SITE,
        weather=VersionedTable(
            names=("ghi_w_per_m2",), mtu_minutes=60, valid_at=valid, known_at=issued,
            value=said[: len(valid), None],
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def fitted() -> tuple[PvModel, KnownData, np.ndarray]:
    said, power = plant()
    data = known(56, said, power)
    return QUICK.fit(data), data, power


def tomorrow(day: int) -> Periods:
    return Periods(start=START + timedelta(days=day), count=24, mtu_minutes=60)


def test_tilt_azimuth_and_capacity_are_found_from_history() -> None:
    said, power = plant()
    sky = sky_of_weather(starts64(PERIODS), 60, SITE, {"ghi_w_per_m2": said})
    arguments = (sky.sun, sky.day_of_year, said, sky.temperature_c, sky.wind_m_per_s, power)
    found = fit_plane(*arguments, latitude=52.0)
    assert (found.tilt_deg, found.azimuth_deg) in {(20.0, 150.0), (10.0, 150.0), (30.0, 150.0)}
    assert found.capacity_mw == pytest.approx(2.0, rel=0.08)
    assert found.limit_mw == pytest.approx(power.max())
    stated = fit_plane(*arguments, latitude=52.0, tilt_deg=60.0, azimuth_deg=270.0)
    assert stated.error_mw > 1.5 * found.error_mw


def test_pv_forecast_beats_the_same_hours_of_last_weeks(
    fitted: tuple[PvModel, KnownData, np.ndarray],
) -> None:
    model, data, power = fitted
    forecast = model.predict(data, tomorrow(56), LEVELS)
    actual = power[24 * 56 : 24 * 57]
    recent = power[24 * 28 : 24 * 56].reshape(28, 24)
    naive = np.quantile(recent, LEVELS, axis=0).T
    ours = pinball_losses(forecast.value_mw[0], actual, LEVELS).mean()
    assert ours < 0.6 * pinball_losses(naive, actual, LEVELS).mean()
    assert (np.diff(forecast.value_mw, axis=2) >= 0.0).all()
    assert forecast.value_mw.max() <= power[: 24 * 56].max()
    sun = sun_over(starts64(forecast.periods), 60, 52.0, 5.0)
    assert sun.dark.sum() >= 6
    assert (forecast.value_mw[0][sun.dark] == 0.0).all()
    assert forecast.value_mw[0][~sun.dark].max() > 0.1


def test_same_data_same_texts_and_the_model_comes_back(
    fitted: tuple[PvModel, KnownData, np.ndarray],
) -> None:
    model, data, _ = fitted
    files = model.to_files()
    back = PvForecaster().from_files(files)
    first, again = (m.predict(data, tomorrow(56), LEVELS).value_mw for m in (model, back))
    assert first.tobytes() == again.tobytes()
    assert back.to_files() == files


@settings(max_examples=8, deadline=None)
@given(st.floats(-60.0, 65.0), st.floats(-170.0, 170.0), st.integers(0, 365))
def test_night_is_exactly_zero_at_any_place_and_season(
    latitude: float, longitude: float, day: int
) -> None:
    valid = starts64(Periods(start=START + timedelta(days=day), count=72, mtu_minutes=60))
    sun = sun_over(valid, 60, latitude, longitude)
    rng = np.random.default_rng(day)
    bright = np.full(72, 900.0)  # a weather forecast that shines at midnight
    clear = plane_yield(sun, np.full(72, 100), bright, bright * 0, bright * 0, 30.0, 180.0)
    rows = make_pv_rows(sun, bright, clear, clear, {"cloud": rng.random(72)}, 1)
    trained = make_pv_rows(
        sun_over(starts64(PERIODS)[:480], 60, 52.0, 5.0), np.full(480, 300.0), np.full(480, 0.3),
        np.full(480, 0.5), {"cloud": rng.random(480)}, 1,
    )  # fmt: skip
    quick = BoostingRule(trees=3, leaves=4)
    trees = fit_pv_trees(trained, rng.random(480), rule=quick, seeds=(1,))
    value = trees.predict(rows, LEVELS)
    assert (value[sun.dark] == 0.0).all()
    assert (np.diff(value, axis=1) >= 0.0).all()


def test_a_step_of_capacity_is_found_and_named() -> None:
    said, power = plant()
    grown = power.copy()
    grown[24 * 30 :] *= 2.0
    shape = (DAYS, 24)
    steps = find_capacity_steps(grown.reshape(shape), power.reshape(shape) + 1e-9)
    assert len(steps) == 1
    assert steps[0][0] == pytest.approx(30, abs=1)
    assert steps[0][1] == pytest.approx(2.0, rel=0.02)
    assert find_capacity_steps(power.reshape(shape), power.reshape(shape) + 1e-9) == []
    model = QUICK.fit(known(56, said, grown))
    assert "capacity of pv changed by a factor" in model.plants[0].steps[0]
    assert model.plants[0].plane.capacity_mw == pytest.approx(4.0, rel=0.1)


def test_accumulated_radiation_starts_again_each_day() -> None:
    hour = np.arange(48) % 24
    mean = np.where((hour > 5) & (hour < 19), 100.0 + hour, 0.0)
    total = np.concatenate([np.cumsum(mean[:24]), np.cumsum(mean[24:])]) * 3600.0
    assert deaccumulate(total, hour) == pytest.approx(mean)


def test_missing_inputs_are_refused_together() -> None:
    said, power = plant()
    data = known(20, said, power)
    bare = KnownData(kind="pv", reading=data.reading, known_at=data.known_at)
    with pytest.raises(InputError) as caught:
        PvForecaster().fit(bare)
    text = str(caught.value)
    assert "no position" in text
    assert "no irradiance" in text
    assert "PV needs 28" in text


def test_wind_follows_its_own_curve_with_a_calm_and_a_limit() -> None:
    rng = np.random.default_rng(6)
    said = rng.weibull(2.0, size=3000) * 8.0
    came = np.maximum(said + rng.normal(size=3000), 0.0)
    power = 3.0 * np.clip((came - 3.0) / 9.0, 0.0, 1.0) ** 2
    curve = fit_power_curve(said, power, 3.0)
    found = curve.at(np.array([0.0, 4.0, 8.0, 20.0]), LEVELS)
    assert (np.diff(found, axis=1) >= 0.0).all()
    assert (np.diff(found[:, 4]) >= 0.0).all()
    assert found[0].max() < 0.05
    assert found[3, 4] == pytest.approx(3.0, abs=0.01)
    later = rng.weibull(2.0, size=2000) * 8.0
    true = 3.0 * np.clip((np.maximum(later + rng.normal(size=2000), 0.0) - 3.0) / 9.0, 0, 1) ** 2
    band = curve.at(later, (0.1, 0.9))
    inside = ((true >= band[:, 0]) & (true <= band[:, 1])).mean()
    assert 0.78 <= inside <= 0.88  # zeros and the limit lie on the band's ends


def test_the_wind_model_names_what_it_lacks_and_comes_back() -> None:
    rng = np.random.default_rng(6)
    periods = Periods(start=START, count=24 * 40, mtu_minutes=60)
    speed = rng.weibull(2.0, size=24 * 41) * 8.0
    power = 3.0 * np.clip((speed[: 24 * 40] - 3.0) / 9.0, 0.0, 1.0)
    valid = starts64(Periods(start=START, count=24 * 41, mtu_minutes=60))
    data = KnownData(
        kind="wind",
        reading=Reading(series=("w",), periods=periods, value_mw=power[:, None],
                        known_at=periods.end),
        known_at=periods.end,
        weather=VersionedTable(
            names=("windspeed_100m",), mtu_minutes=60, valid_at=valid,
            known_at=np.minimum(valid, valid[24 * 40]), value=speed[:, None],
        ),
    )  # fmt: skip
    model = WindForecaster().fit(data)
    ahead = Periods(start=periods.end, count=36, mtu_minutes=60)
    forecast = model.predict(data, ahead, LEVELS)
    assert any("12 periods without wind speed" in note for note in forecast.fallbacks)
    back = WindForecaster().from_files(model.to_files())
    assert back.predict(data, ahead, LEVELS).value_mw.tobytes() == forecast.value_mw.tobytes()
    with pytest.raises(InputError, match="no wind speed"):
        WindForecaster().fit(KnownData(kind="wind", reading=data.reading, known_at=data.known_at))
