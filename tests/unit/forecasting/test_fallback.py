"""The ladder: which step is taken, what is said, and how much wider the bands are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import numpy as np
import pytest

from data.errors import InputError, Problem
from data.periods import Periods
from data.records.forecast import Forecast, Reading
from forecasting.fallback import forecast_with_ladder, standard_profile, widen
from forecasting.model import FittedForecaster, ForecastKind, KnownData, LikeDayModel, Site
from forecasting.quality import check_readings
from tests.support.faulty_series import DECILES, GOLDEN, MELBOURNE, read_series, split

HOURS = 24


class Refusing:
    """A model whose weather never came."""

    model_id = "weather-model/1"

    def predict(self, known: KnownData, periods: Periods, quantiles: Sequence[float]) -> Forecast:
        del known, periods, quantiles
        raise InputError([Problem(where="weather", what="none at the gate")])

    def to_files(self) -> Mapping[str, str]:
        return {}


def forecast(
    reading: Reading,
    kind: ForecastKind = "load",
    site: Site = MELBOURNE,
    model: FittedForecaster | None = None,
) -> Forecast:
    checked = check_readings(reading, kind, site.timezone)
    known = KnownData(
        kind=kind, reading=checked.reading, known_at=reading.periods.end, site=site,
        suspect=checked.suspect,
    )  # fmt: skip
    ahead = Periods(start=reading.periods.end + timedelta(hours=12), count=24, mtu_minutes=60)
    return forecast_with_ladder(model or LikeDayModel(), known, checked, ahead, DECILES)


def dead_for(hours: int, days: int = 60) -> Reading:
    reading = split(read_series("victoria_readings.csv"), days * HOURS)
    reading.value_mw[-hours:] = np.nan
    return reading


def width(found: Forecast) -> float:
    return float((found.value_mw[..., -1] - found.value_mw[..., 0]).mean())


def test_good_readings_take_no_step() -> None:
    found = forecast(split(read_series("victoria_readings.csv"), 60 * HOURS))
    assert found.fallbacks == ()
    assert found.model_id == "like-day/1"


def test_a_short_hole_at_the_gate_is_repaired_without_a_step() -> None:
    found = forecast(dead_for(4))
    assert found.fallbacks == ()
    assert any("gap" in warning for warning in found.warnings)


def test_dead_readings_take_the_last_good_model_and_widen_with_the_days() -> None:
    for days in (2, 7):
        found = forecast(dead_for(days * HOURS))
        good = split(read_series("victoria_readings.csv"), (60 - days) * HOURS)
        known = KnownData(
            kind="load", reading=good, known_at=good.periods.end + timedelta(days=days),
            site=MELBOURNE,
        )  # fmt: skip
        plain = LikeDayModel().predict(known, found.periods, DECILES)
        factor = (1.0 + days / 7.0) ** 0.5
        assert f"last good model like-day/1, bands {factor:.2f} times as wide" in found.fallbacks[0]
        assert width(found) == pytest.approx(factor * width(plain))
        np.testing.assert_allclose(found.median_mw(), plain.median_mw())


def test_after_two_weeks_without_a_reading_only_the_standard_profile_is_left() -> None:
    found = forecast(dead_for(15 * HOURS))
    assert found.model_id == "standard-profile/1"
    assert "the last 15.0 days ago; standard profile" in found.fallbacks[0]
    mean = np.nanmean(dead_for(15 * HOURS).value_mw)
    assert found.median_mw().mean() == pytest.approx(mean, rel=0.15)
    assert (np.diff(found.value_mw, axis=-1) >= 0.0).all()


def test_a_model_that_refuses_leaves_like_days_and_says_why() -> None:
    found = forecast(split(read_series("victoria_readings.csv"), 60 * HOURS), model=Refusing())
    assert found.model_id == "like-day/1"
    assert "weather-model/1 refused (weather: none at the gate)" in found.fallbacks[0]
    assert "bands 1.07 times as wide" in found.fallbacks[1]


def test_only_the_dead_series_goes_down() -> None:
    one = split(read_series("victoria_readings.csv"), 60 * HOURS)
    value = np.hstack([one.value_mw, 0.5 * one.value_mw])
    value[-50:, 1] = np.nan
    both = Reading(series=("a", "b"), periods=one.periods, value_mw=value, known_at=one.known_at)
    found = forecast(both)
    assert [note for note in found.fallbacks if note.startswith("a")] == []
    assert any(note.startswith("b: readings dead since") for note in found.fallbacks)
    np.testing.assert_allclose(found.value_mw[0], forecast(one).value_mw[0])


@pytest.mark.parametrize("kind", ["load", "pv", "wind", "net"])
def test_the_standard_profile_never_crosses_and_is_dark_at_night(kind: ForecastKind) -> None:
    name = "golden_pv_readings.csv" if kind == "pv" else "victoria_readings.csv"
    reading = split(read_series(name), 20 * HOURS)
    reading.value_mw[:] = np.nan_to_num(reading.value_mw)
    site = GOLDEN if kind in ("pv", "wind") else MELBOURNE
    known = KnownData(kind=kind, reading=reading, known_at=reading.periods.end, site=site)
    ahead = Periods(start=reading.periods.end, count=24, mtu_minutes=60)
    value = standard_profile(known, reading.periods.end, ahead, DECILES)
    assert value.shape == (1, 24, 9)
    assert np.isfinite(value).all()
    assert (np.diff(value, axis=-1) >= 0.0).all()
    if kind == "pv":
        local_hour = (np.array([start.hour for start in ahead.starts]) - 7) % 24
        assert (value[0, local_hour < 4] == 0.0).all()
        assert value.max() <= 0.0034


def test_widening_keeps_the_median_and_the_floor() -> None:
    value = np.array([[[0.0, 1.0, 4.0]]])
    wide = widen(value, (0.1, 0.5, 0.9), 2.0, floor=True)
    np.testing.assert_allclose(wide, [[[0.0, 1.0, 7.0]]])
    np.testing.assert_allclose(
        widen(value, (0.1, 0.5, 0.9), 2.0, floor=False), [[[-1.0, 1.0, 7.0]]]
    )
