"""Hierarchies: sums are exact, dated, and reconciliation equals independent formulas."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from data.periods import Periods
from data.records.forecast import Forecast, Reading
from forecasting.hierarchy import (
    DatedHierarchy,
    ErrorCovariance,
    Hierarchy,
    WeightRule,
    build_hierarchy,
    estimate_error_covariance,
    mean_of_quantiles,
    reconcile,
    reconcile_quantiles,
    reconcile_scenarios,
    sum_quantiles_bottom_up,
)
from forecasting.level_choice import find_depths_to_keep
from forecasting.meter_days import arrange_days, forecast_like_days
from forecasting.scenarios import GRAIN_MW, draw_scenarios, to_grains
from tests.support.metered_street import reference_file

START = datetime(2017, 1, 1, tzinfo=UTC)
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
TREE = {"m1": "t1", "m2": "t1", "m3": "t2", "m4": "t2", "m5": "t2", "t1": "f", "t2": "f"}


def pair() -> Hierarchy:
    return build_hierarchy({"a": "sum", "b": "sum"}, START)


def published_mint(matrix: np.ndarray, base: np.ndarray, error: np.ndarray) -> np.ndarray:
    """MinT as it stands in the papers: all pairs of nodes, W inverted, moments about zero."""
    samples = len(error)
    sample_covariance = error.T @ error / samples
    spread = np.sqrt(np.diag(sample_covariance))
    standard = error / spread
    correlation = standard.T @ standard / samples
    varied = (standard**2).T @ standard**2 - (standard.T @ standard) ** 2 / samples
    varied /= samples * (samples - 1.0)
    off = ~np.eye(len(spread), dtype=bool)
    shrinkage = min(1.0, varied[off].sum() / (correlation[off] ** 2).sum())
    w = shrinkage * np.diag(np.diag(sample_covariance)) + (1 - shrinkage) * sample_covariance
    inverse = np.linalg.inv(w)
    return matrix @ np.linalg.solve(matrix.T @ inverse @ matrix, matrix.T @ inverse @ base)


def test_two_meters_share_the_gap_as_least_squares_says() -> None:
    tree = pair()
    moved = reconcile(
        tree, np.array([10.0, 3.0, 4.0]), estimate_error_covariance(tree, rule="equal")
    )
    # Gap 3: each of the three moves by a third of it.
    assert moved == pytest.approx([9.0, 4.0, 5.0], abs=3 * GRAIN_MW)


@pytest.mark.parametrize(("top", "expected"), [(1e12, [7.0, 3.0, 4.0]), (1e-12, [10.0, 3.6, 6.4])])
def test_who_is_never_right_is_not_heard_and_who_always_is_decides(
    top: float, expected: list[float]
) -> None:
    weights = ErrorCovariance(
        rule="variance", variance=np.array([top, 1.0, 4.0]), factor=np.zeros((0, 3)), shrinkage=1.0
    )
    moved = reconcile(pair(), np.array([10.0, 3.0, 4.0]), weights)
    assert moved == pytest.approx(expected, abs=3 * GRAIN_MW)


@given(seed=st.integers(0, 2**32 - 1), samples=st.integers(5, 60))
@settings(max_examples=30, deadline=None)
def test_mint_equals_the_published_formula_with_all_pairs(seed: int, samples: int) -> None:
    draw = np.random.default_rng(seed)
    tree = build_hierarchy(TREE, START)
    error = draw.normal(size=(samples, 8)) * draw.uniform(0.5, 3.0, 8) + draw.normal(
        size=(samples, 1)
    )
    base = draw.uniform(1.0, 9.0, (8, 4))
    covariance = estimate_error_covariance(tree, error)
    assert reconcile(tree, base, covariance) == pytest.approx(
        published_mint(tree.matrix, base, error), abs=1e-6
    )


@given(seed=st.integers(0, 2**32 - 1), rule=st.sampled_from(["equal", "meters"]))
@settings(max_examples=30, deadline=None)
def test_what_adds_up_already_stays_and_every_sum_is_exact(seed: int, rule: WeightRule) -> None:
    draw = np.random.default_rng(seed)
    tree = build_hierarchy(TREE, START)
    weights = estimate_error_covariance(tree, rule=rule)
    coherent = tree.sum_meters(to_grains(draw.uniform(0.0, 1e-2, (5, 3))))
    assert np.abs(reconcile(tree, coherent, weights) - coherent).max() <= 8 * GRAIN_MW
    moved = reconcile(tree, draw.uniform(0.0, 1e-2, (8, 3)), weights, minimum_mw=0.0)
    assert np.array_equal(moved[1] + moved[2], moved[0])
    assert np.array_equal(moved[3] + moved[4], moved[1])
    assert np.array_equal(moved[7] + (moved[5] + moved[6]), moved[2])
    assert moved.min() >= 0.0


def test_a_switched_transformer_belongs_to_its_feeder_from_that_hour_on() -> None:
    noon = START + timedelta(hours=12)
    before = build_hierarchy({"t1": "A", "t2": "A", "t3": "B"}, START, noon)
    after = build_hierarchy({"t1": "A", "t2": "B", "t3": "B"}, noon)
    dated = DatedHierarchy(versions=(before, after))
    runs = dated.over(Periods(start=START + timedelta(hours=11), count=8))
    assert [(run.start, run.stop) for run, _ in runs] == [(0, 4), (4, 8)]
    value = np.array([1.0, 2.0, 4.0])
    sums = [tree.sum_meters(value)[:2].tolist() for _, tree in runs]
    assert sums == [[3.0, 4.0], [1.0, 6.0]]
    with pytest.raises(InputError, match="no version is valid"):
        dated.at(START - timedelta(hours=1))
    with pytest.raises(InputError, match="the next begins"):
        DatedHierarchy(versions=(after, before))


def test_a_node_within_itself_and_errors_that_are_none_are_refused() -> None:
    with pytest.raises(InputError, match="part of itself"):
        build_hierarchy({"a": "b", "b": "c", "c": "a"}, START)
    with pytest.raises(InputError, match="3 or more"):
        estimate_error_covariance(pair(), rule="variance")
    with pytest.raises(InputError, match="not a number"):
        estimate_error_covariance(pair(), np.full((5, 3), np.nan))
    with pytest.raises(InputError, match="2 series for 3 nodes"):
        reconcile(pair(), np.ones((2, 4)), estimate_error_covariance(pair(), rule="equal"))


def test_reconciled_scenarios_add_up_in_each_of_them() -> None:
    tree = build_hierarchy(TREE, START)
    draw = np.random.default_rng(7)
    quantile = np.cumsum(draw.gamma(2.0, 1e-4, (8, 4, 9)), axis=2)
    forecast = Forecast(
        series=tree.nodes, periods=Periods(start=START, count=4), quantiles=LEVELS,
        value_mw=quantile, known_at=START, model_id="test/1",
    )  # fmt: skip
    drawn = draw_scenarios(forecast, draw.normal(size=(20, 8, 4)), 30, seed=1)
    assert not np.array_equal(drawn.value_mw[:, 1] + drawn.value_mw[:, 2], drawn.value_mw[:, 0])
    moved = reconcile_scenarios(tree, drawn, estimate_error_covariance(tree, rule="meters"))
    value = moved.value_mw
    assert np.array_equal(value[:, 1] + value[:, 2], value[:, 0])
    assert np.array_equal(value[:, 3:].sum(axis=1), value[:, 0])
    assert moved.model_id == "test/1 + schaake-shuffle/1 + mint-meters/1"


def test_gross_load_is_stretched_from_its_floor_and_net_load_is_moved() -> None:
    tree = build_hierarchy(TREE, START)
    quantile = np.cumsum(np.random.default_rng(9).gamma(2.0, 1e-4, (8, 4, 9)), axis=2)
    weights = estimate_error_covariance(tree, rule="meters")
    gross, mean = reconcile_quantiles(tree, quantile, LEVELS, weights, minimum_mw=0.0)
    net, _ = reconcile_quantiles(tree, quantile, LEVELS, weights)
    ratio, step = gross / quantile, net - quantile
    assert np.ptp(ratio, axis=2).max() < 1e-9
    assert np.ptp(step, axis=2).max() < 1e-12
    assert mean_of_quantiles(net, LEVELS) == pytest.approx(mean, abs=1e-12)
    bottom, sums = sum_quantiles_bottom_up(tree, quantile, LEVELS)
    assert np.array_equal(bottom[3:], quantile[3:])
    assert np.array_equal(sums[1] + sums[2], sums[0])
    assert mean_of_quantiles(bottom[:3], LEVELS) == pytest.approx(sums[:3], abs=1e-12)


@cache
def new_england() -> tuple[Hierarchy, np.ndarray, np.ndarray]:
    """Forecasts by like days of ISO-NE and its eight zones, gate 10:00 on the day before.

    Returns the hierarchy, quantiles (days, nodes, hours, levels) and what happened [MW].
    """
    import pandas as pd

    table = pd.read_parquet(
        reference_file(Path("forecast/isone2017/smd_hourly_2017_janapr.parquet"))
    )
    by_zone = table["DEMAND"].unstack("zone").sort_index()
    zones = [name for name in by_zone.columns if name != "ISO NE CA"]
    tree = build_hierarchy(dict.fromkeys(zones, "ISO NE CA"), START)
    value = by_zone[list(tree.meters)].to_numpy(dtype=float).T
    value = tree.sum_meters(value)
    made = []
    for day in range(28, 120):
        count = (day - 1) * 24 + 10
        periods = Periods(start=START, count=count, mtu_minutes=60)
        reading = Reading(
            series=tree.nodes, periods=periods, value_mw=value[:, :count].T, known_at=periods.end
        )
        seen = arrange_days(reading, "UTC", 2, "US")
        made.append(forecast_like_days(seen, day, LEVELS))
    actual = value.reshape(len(tree.nodes), 120, 24)[:, 28:].transpose(1, 0, 2)
    return tree, np.stack(made), actual


def test_reconciled_zones_and_system_are_no_worse_at_any_level_and_better_in_sum() -> None:
    """Rolling over 63 days; W from the errors of the six weeks known at each gate."""
    tree, quantile, actual = new_england()
    error = actual - mean_of_quantiles(quantile, LEVELS)
    level = np.asarray(LEVELS)
    losses, seen, made = [], [], []
    for day in range(29, len(quantile)):
        past = error[max(0, day - 43) : day - 1].transpose(0, 2, 1).reshape(-1, len(tree.nodes))
        covariance = estimate_error_covariance(tree, past)
        moved, mean = reconcile_quantiles(tree, quantile[day], LEVELS, covariance)
        assert np.array_equal(mean[1:].sum(axis=0), mean[0])
        seen.append(day)
        made.append(moved)
        pair_of = []
        for one in (quantile[day], moved):
            gap = actual[day][:, :, None] - one
            pair_of.append(np.maximum(level * gap, (level - 1.0) * gap).mean(axis=(1, 2)))
        losses.append(pair_of)
    before, after = np.array(losses).mean(axis=0)
    assert after[0] <= before[0]
    assert after[1:].mean() <= before[1:].mean()
    assert after.sum() < before.sum()
    keep = find_depths_to_keep(tree, quantile[seen], np.stack(made), actual[seen], LEVELS)
    assert keep == frozenset()  # every level gained, so every level is moved
