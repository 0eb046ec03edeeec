"""Calibration: coverage comes right on later days, order holds, and nothing comes from after."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from forecasting.calibration import (
    CalibrationRule,
    apply_calibration,
    calibrate_rolling,
    fit_calibration,
    hour_groups,
)
from forecasting.quantiles import interpolate_quantiles

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
HOURS = 24


def too_narrow(days: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Days of a biased forecast at half the width that the truth has."""
    rng = np.random.default_rng(seed)
    level = 10.0 + rng.normal(size=(days, HOURS))
    actual = level + rng.normal(size=(days, HOURS)) + 0.5
    value = level[:, :, None] + 0.5 * norm.ppf(LEVELS)
    return value, actual


def covered(value: np.ndarray, actual: np.ndarray) -> float:
    return float(((actual >= value[..., 0]) & (actual <= value[..., -1])).mean())


def test_a_narrow_biased_forecast_covers_after_calibration() -> None:
    value, actual = too_narrow(200)
    group = hour_groups(np.arange(24.0))
    served = calibrate_rolling(value, actual, group, LEVELS)
    assert covered(value[80:], actual[80:]) < 0.5
    assert 0.78 <= covered(served[80:], actual[80:]) <= 0.82
    assert (np.diff(served, axis=2) >= 0.0).all()


def test_each_group_of_hours_gets_its_own_shift() -> None:
    value, actual = too_narrow(60)
    actual[:, 12:] += 3.0
    group = np.repeat([0, 1], 12)
    learnt = fit_calibration(value, actual, group, LEVELS)
    assert (learnt.shift[1] - learnt.shift[0] > 1.0).all()


def test_the_adaptive_step_follows_a_spread_that_grows() -> None:
    rng = np.random.default_rng(5)
    days = 300
    spread = np.linspace(0.5, 4.0, days)[:, None]
    actual = spread * rng.normal(size=(days, HOURS))
    value = np.tile(norm.ppf(LEVELS), (days, HOURS, 1))
    group = np.zeros(HOURS, dtype=np.int64)

    def late(step: float) -> float:
        rule = CalibrationRule(step=step, window_days=60)
        return covered(
            calibrate_rolling(value, actual, group, LEVELS, rule=rule)[100:], actual[100:]
        )

    assert abs(late(0.02) - 0.8) < abs(late(0.0) - 0.8)
    assert late(0.02) == pytest.approx(0.8, abs=0.02)


def test_a_day_is_calibrated_from_days_scored_before_its_gate() -> None:
    value, actual = too_narrow(40)
    group = hour_groups(np.arange(24.0))
    honest = calibrate_rolling(value, actual, group, LEVELS)
    later = actual.copy()
    later[29:] = 99.0  # day 29 is not over at the gate of day 30
    planted = calibrate_rolling(value, later, group, LEVELS)
    assert (planted[:31] == honest[:31]).all()
    assert (planted[31] != honest[31]).any()


def test_few_days_leave_the_forecast_as_it_is_and_dark_hours_stay_zero() -> None:
    value, actual = too_narrow(5)
    group = np.where(np.arange(24) < 6, -1, 0)
    few = fit_calibration(value, actual, group, LEVELS)
    assert (apply_calibration(value[0], group, few) == value[0]).all()
    value, actual = too_narrow(60)
    value[:, :6] = 0.0
    served = apply_calibration(value[0], group, fit_calibration(value, actual, group, LEVELS), 0.0)
    assert (served[:6] == 0.0).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 6))
def test_interpolated_quantiles_never_cross_and_keep_known_levels(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    levels = np.sort(rng.choice(np.arange(1, 100), size=count, replace=False)) / 100
    value = np.sort(rng.normal(size=(3, count)), axis=1)
    wide = interpolate_quantiles(value, levels, tuple(k / 100 for k in range(1, 100)))
    assert (np.diff(wide, axis=1) >= 0.0).all()
    places = np.round(levels * 100).astype(int) - 1
    assert wide[:, places] == pytest.approx(value)
