"""Net load split into parts: against known parts on ten substations, and on sums we made."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

import numpy as np
import pytest

from data.errors import InputError
from data.periods import Periods
from forecasting.disaggregation import (
    Disaggregation,
    Installed,
    Weather,
    disaggregate_net_load,
    solar_yield,
    wind_yield,
)
from tests.support.substations import NAMES, standard_profile_mw, substations

PERIODS = Periods(start=datetime(2021, 5, 1, tzinfo=UTC), count=40 * 24, mtu_minutes=60)
PLACE = {"latitude": 52.0, "longitude": 5.5}


@cache
def split(name: str) -> Disaggregation:
    substation = substations()[name]
    return disaggregate_net_load(
        substation.net_mw, substation.periods, substation.weather, substation.installed,
        latitude=substation.latitude, longitude=substation.longitude,
    )  # fmt: skip


def rmse(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(error**2)))


@pytest.mark.parametrize("name", NAMES)
def test_the_known_part_is_found_better_than_by_the_standard_profile(name: str) -> None:
    substation = substations()[name]
    found = split(name)
    estimate = found.solar_mw + found.wind_mw
    baseline = standard_profile_mw(name)
    truth = substation.part_mw
    assert rmse(estimate - truth) < rmse(baseline - truth)
    assert np.abs(estimate - truth).mean() < np.abs(baseline - truth).mean()
    assert (estimate >= 0.0).all()
    assert (estimate <= substation.installed_mw).all()


def test_the_data_s_own_faults_are_named() -> None:
    """HFDP is metered with the other sign, MNZL's "solar" follows the wind, WLS is dead."""
    notes = {name: " ".join(split(name).notes) for name in ("HFDP", "MNZL", "WLS")}
    assert "other sign" in notes["HFDP"]
    assert "follows the other's weather" in notes["MNZL"]
    assert "dead" in notes["WLS"]


def made_weather(seed: int) -> Weather:
    random = np.random.default_rng(seed)
    hour = np.arange(len(PERIODS)) % 24
    clear = 900.0 * np.maximum(np.sin((hour - 4.5) / 15.0 * np.pi), 0.0)
    cloud = np.repeat(random.uniform(0.2, 1.0, 40), 24)
    wind = np.abs(7.0 + np.convolve(random.normal(0, 4, len(PERIODS)), np.ones(12) / 4, "same"))
    return Weather(ghi_w_per_m2=clear * cloud, wind_m_per_s=wind)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("solar_mw", "wind_mw"), [(6.0, 3.0), (5.0, 0.0), (0.0, 4.0)])
def test_parts_we_added_are_found_again(solar_mw: float, wind_mw: float, sign: int) -> None:
    weather = made_weather(3)
    hour = np.arange(len(PERIODS)) % 24
    load = 10.0 + 2.0 * np.sin((hour - 8) / 24 * 2 * np.pi)
    load += np.random.default_rng(4).normal(0, 0.2, len(PERIODS))
    solar = 0.75 * solar_mw * solar_yield(weather.ghi_w_per_m2, PERIODS, 52.0, 5.5)
    wind = 0.75 * wind_mw * wind_yield(weather.wind_m_per_s, 0.8)
    found = disaggregate_net_load(
        sign * (load - solar - wind), PERIODS, weather,
        Installed(solar_mw=solar_mw, wind_mw=wind_mw), **PLACE,
    )  # fmt: skip
    assert found.sign == sign
    assert found.clock_offset_h == 0
    assert found.effective_solar_mw == pytest.approx(0.75 * solar_mw, abs=0.25)
    assert found.effective_wind_mw == pytest.approx(0.75 * wind_mw, abs=0.25)
    assert rmse(found.solar_mw - solar) < 0.2
    assert rmse(found.wind_mw - wind) < 0.25
    np.testing.assert_allclose(
        found.load_mw - found.solar_mw - found.wind_mw, load - solar - wind, atol=1e-9
    )


def test_another_clock_is_found() -> None:
    weather = made_weather(5)
    solar = 6.0 * solar_yield(weather.ghi_w_per_m2, PERIODS, 52.0, 5.5)
    late = np.concatenate([np.zeros(2), solar[:-2]])
    load = 8.0 + np.random.default_rng(1).normal(0, 0.3, len(PERIODS))
    found = disaggregate_net_load(
        load - late, PERIODS, weather, Installed(solar_mw=7.5, wind_mw=0.0), **PLACE
    )
    assert found.clock_offset_h == 2
    assert any("+2 h" in note for note in found.notes)


def test_at_night_all_is_load() -> None:
    weather = made_weather(6)
    net = np.random.default_rng(2).normal(5.0, 2.0, len(PERIODS))
    found = disaggregate_net_load(
        net, PERIODS, weather, Installed(solar_mw=4.0, wind_mw=0.0), **PLACE
    )
    dark = solar_yield(weather.ghi_w_per_m2, PERIODS, 52.0, 5.5) == 0.0
    assert dark.any()
    moved = round(found.clock_offset_h)
    assert (found.solar_mw[np.roll(dark, moved)] == 0.0).all()


def test_a_missing_reading_leaves_the_weather_to_tell() -> None:
    weather = made_weather(7)
    solar = 4.0 * solar_yield(weather.ghi_w_per_m2, PERIODS, 52.0, 5.5)
    net = 6.0 - solar
    net[500:520] = np.nan
    found = disaggregate_net_load(
        net, PERIODS, weather, Installed(solar_mw=5.0, wind_mw=0.0), **PLACE
    )
    assert np.isfinite(found.solar_mw).all()
    assert np.isnan(found.load_mw[500:520]).all()
    assert rmse((found.solar_mw - solar)[500:520]) < 0.4


def test_bad_input_is_refused_with_all_problems() -> None:
    weather = made_weather(8)
    weather.ghi_w_per_m2[3] = np.nan
    with pytest.raises(InputError) as refused:
        disaggregate_net_load(
            np.zeros(5), PERIODS, weather, Installed(solar_mw=-1.0, wind_mw=0.0), **PLACE
        )
    assert len(refused.value.problems) == 3
    with pytest.raises(InputError, match="neither"):
        disaggregate_net_load(
            np.zeros(len(PERIODS)), PERIODS, made_weather(8),
            Installed(solar_mw=0.0, wind_mw=0.0), **PLACE,
        )  # fmt: skip
