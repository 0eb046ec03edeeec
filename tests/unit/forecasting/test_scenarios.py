"""Joint scenarios: their sums are exact, their margins the forecast's, their ranks the past's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from data.errors import InputError
from data.periods import Periods
from data.records.forecast import Forecast, Reading
from forecasting.quantiles import interpolate_quantiles
from forecasting.scenarios import (
    GRAIN_MW,
    Scenarios,
    draw_scenarios,
    energy_score,
    past_days,
    rank_templates,
    variogram_score,
)
from tests.support.metered_street import households

START = datetime(2013, 1, 1, tzinfo=UTC)
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def forecast_of(value_mw: np.ndarray, levels: tuple[float, ...] = LEVELS) -> Forecast:
    return Forecast(
        series=tuple(f"meter:{k}" for k in range(len(value_mw))),
        periods=Periods(start=START, count=value_mw.shape[1]),
        quantiles=levels,
        value_mw=value_mw,
        known_at=START,
        model_id="test/1",
    )


def some_forecast(seed: int, series: int = 6, periods: int = 5) -> Forecast:
    draw = np.random.default_rng(seed)
    return forecast_of(np.cumsum(draw.gamma(2.0, 1e-4, (series, periods, len(LEVELS))), axis=2))


def template_of(seed: int, days: int, series: int = 6, periods: int = 5) -> np.ndarray:
    draw = np.random.default_rng(seed)
    common = draw.normal(size=(days, 1, 1))
    return common + draw.normal(size=(days, series, periods))


@given(seed=st.integers(0, 2**32 - 1), days=st.integers(1, 12), count=st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_sums_of_meters_are_sums_of_transformers_and_of_the_feeder_to_the_last_bit(
    seed: int, days: int, count: int
) -> None:
    drawn = draw_scenarios(some_forecast(seed), template_of(seed, days), count, seed)
    order = np.random.default_rng(seed).permutation(6)
    first = drawn.value_mw[:, order[:2]].sum(axis=1)
    second = drawn.value_mw[:, order[2:]].sum(axis=1)
    one_by_one = np.zeros_like(first)
    for series in order:
        one_by_one = one_by_one + drawn.value_mw[:, series]
    assert np.array_equal(first + second, drawn.sum_mw())
    assert np.array_equal(one_by_one, drawn.sum_mw())


@given(seed=st.integers(0, 2**32 - 1), days=st.integers(1, 12), count=st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_each_series_and_period_has_the_forecasts_own_distribution(
    seed: int, days: int, count: int
) -> None:
    forecast = some_forecast(seed)
    drawn = draw_scenarios(forecast, template_of(seed, days), count, seed)
    levels = ((np.arange(count) + 0.5) / count).tolist()
    expected = interpolate_quantiles(forecast.value_mw, LEVELS, levels)
    found = np.sort(drawn.value_mw, axis=0).transpose(1, 2, 0)
    assert np.abs(found - expected).max() <= 0.5 * GRAIN_MW


def test_ranks_go_together_as_they_did_in_the_past() -> None:
    template = template_of(3, 40)
    drawn = draw_scenarios(some_forecast(3), template, 40, seed=1)
    then = spearmanr(template.reshape(40, -1)).statistic
    now = spearmanr(drawn.value_mw.reshape(40, -1)).statistic
    assert np.abs(now - then).max() < 1e-12


def test_equal_values_of_the_past_add_no_dependence() -> None:
    rank = rank_templates(np.zeros((400, 3, 1)), 400, seed=5)
    found = spearmanr(rank.reshape(400, 3)).statistic
    assert np.abs(found[np.triu_indices(3, 1)]).max() < 0.15


def test_bounds_hold_and_the_seed_decides() -> None:
    forecast, template = some_forecast(8), template_of(8, 20)
    drawn = draw_scenarios(forecast, template, 50, 4, minimum_mw=0.0, maximum_mw=np.full(6, 1e-3))
    assert drawn.value_mw.min() >= 0.0
    assert drawn.value_mw.max() <= 1e-3 + GRAIN_MW
    again = draw_scenarios(forecast, template, 50, 4, minimum_mw=0.0, maximum_mw=np.full(6, 1e-3))
    other = draw_scenarios(forecast, template, 50, 5, minimum_mw=0.0, maximum_mw=np.full(6, 1e-3))
    assert again.value_mw.tobytes() == drawn.value_mw.tobytes()
    assert other.value_mw.tobytes() != drawn.value_mw.tobytes()


def test_scores_equal_their_closed_forms() -> None:
    # |0 - 1| = |2 - 1| = 1; pairs are 0 or 2 apart: 1 - 1/2 * 1.
    assert energy_score(np.array([[0.0], [2.0]]), np.array([1.0])) == pytest.approx(0.5)
    # Seen |4 - 0| ** 0.5 = 2, said (1 + 3) / 2 = 2 and 1: (2 - 2)^2 and (2 - 1)^2, each pair twice.
    said = np.array([[0.0, 1.0], [0.0, 9.0]])
    assert variogram_score(said, np.array([0.0, 4.0])) == pytest.approx(0.0)
    assert variogram_score(said[:1], np.array([0.0, 4.0])) == pytest.approx(2.0)


def test_every_problem_is_named_at_once() -> None:
    template = template_of(1, 4, series=5)
    template[0, 0, 0] = np.nan
    with pytest.raises(InputError) as refused:
        draw_scenarios(some_forecast(1), template, 0, seed=1)
    text = str(refused.value)
    assert "expected (days, 6, 5)" in text
    assert "not a number" in text
    assert "0 scenarios" in text


def test_templates_are_whole_days_of_the_same_class_before_the_gate() -> None:
    count = 80 * 96 + 40
    value = np.arange(count, dtype=float)[:, None]
    reading = Reading(
        series=("m",),
        periods=Periods(start=START, count=count),
        value_mw=value,
        known_at=START + timedelta(minutes=15 * count),
    )
    day = Periods(start=START + timedelta(days=82), count=96)  # Sunday 2013-03-24
    found = past_days(reading, day, 11, "UTC")
    first = (found[:, 0, 0] / 96).astype(int)
    assert found.shape == (11, 1, 96)
    assert first.tolist() == [82 - 7 * k for k in range(1, 12)]
    assert (past_days(reading, day, 5)[:, 0, -1] // 96).tolist() == [79, 78, 77, 76, 75]


def test_real_meters_drawn_together_are_better_than_drawn_apart() -> None:
    """Sums and trajectories of forty households: energy and variogram scores on ten days."""
    _, wh = households()
    hourly = wh[: 150 * 96].reshape(150, 24, 4, 40).sum(axis=(2, 3))[:, None, :] * 1e-6
    power = np.asarray(hourly, dtype=float)
    scores = np.zeros((2, 2))
    for day in range(100, 150, 5):
        past = power[day - 61 : day - 1]
        value = np.quantile(past, LEVELS, axis=0).transpose(1, 2, 0)
        together = draw_scenarios(forecast_of(value), past, 60, seed=day)
        draw = np.random.default_rng(day)
        apart = draw.permuted(together.value_mw, axis=0)
        for row, scenarios in enumerate((together.value_mw, apart)):
            flat, actual = 1e3 * scenarios[:, 0], 1e3 * power[day, 0]
            scores[row] += energy_score(flat, actual), variogram_score(flat, actual)
    assert scores[0, 0] < scores[1, 0]
    assert scores[0, 1] < 0.97 * scores[1, 1]


def test_scenarios_know_what_they_are_made_of() -> None:
    drawn = draw_scenarios(some_forecast(2), template_of(2, 3), 4, seed=0)
    assert isinstance(drawn, Scenarios)
    assert drawn.model_id == "test/1 + schaake-shuffle/1"
    assert drawn.known_at == START
