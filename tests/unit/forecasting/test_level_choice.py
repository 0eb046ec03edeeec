"""Levels that lost by reconciliation keep their quantiles; the others move; means add up."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from data.errors import InputError
from forecasting.hierarchy import build_hierarchy, estimate_error_covariance, reconcile_quantiles
from forecasting.level_choice import DAYS_MIN, find_depths_to_keep, reconcile_levels

TREE = build_hierarchy(
    {"m1": "t1", "m2": "t1", "m3": "t2", "t1": "feeder", "t2": "feeder"},
    datetime(2016, 1, 1, tzinfo=UTC),
)
LEVELS = (0.1, 0.5, 0.9)
BAND = np.array([-0.1, 0.0, 0.1])
PERIODS = 4


def past(centre_off_mw: tuple[float, ...], days: int = DAYS_MIN) -> tuple[np.ndarray, np.ndarray]:
    """Return forecasts off by so much at each node, and what happened."""
    actual = np.random.default_rng(3).uniform(1.0, 2.0, (days, len(TREE.nodes), PERIODS))
    off = np.array(centre_off_mw)[None, :, None]
    return (actual + off)[..., None] + BAND, actual


def test_a_level_that_lost_keeps_its_quantiles_and_means_add_up() -> None:
    """Feeder and transformers came closer, the meters went astray."""
    own, actual = past((0.3, 0.2, 0.2, 0.0, 0.0, 0.0))
    moved, _ = past((0.1, 0.1, 0.1, 0.05, 0.0, 0.0))
    keep = find_depths_to_keep(TREE, own, moved, actual, LEVELS)
    assert keep == {2}
    base = np.array([10.0, 5.0, 4.0, 2.0, 2.0, 3.0])[:, None, None] + BAND
    covariance = estimate_error_covariance(TREE, rule="meters")
    quantile, mean = reconcile_levels(TREE, base, LEVELS, covariance, keep=keep, minimum_mw=0.0)
    whole, _ = reconcile_quantiles(TREE, base, LEVELS, covariance, minimum_mw=0.0)
    assert np.array_equal(quantile[3:], base[3:])
    assert np.array_equal(quantile[:3], whole[:3])
    assert not np.array_equal(whole[3:], base[3:])
    assert np.array_equal(mean[3:].sum(axis=0), mean[0])
    assert np.array_equal(mean[3] + mean[4], mean[1])


def test_a_level_is_judged_by_all_its_nodes() -> None:
    own, actual = past((0.2, 0.2, 0.2, 0.2, 0.2, 0.2))
    moved, _ = past((0.1, 0.1, 0.25, 0.1, 0.3, 0.3))
    assert find_depths_to_keep(TREE, own, moved, actual, LEVELS) == {2}


def test_few_days_move_nothing() -> None:
    own, actual = past((0.3,) * 6, days=DAYS_MIN - 1)
    moved, _ = past((0.1,) * 6, days=DAYS_MIN - 1)
    assert find_depths_to_keep(TREE, own, moved, actual, LEVELS) == {0, 1, 2}


def test_other_shapes_and_missing_values_are_refused() -> None:
    own, actual = past((0.3,) * 6)
    with pytest.raises(InputError, match="shapes"):
        find_depths_to_keep(TREE, own[:, 1:], own, actual, LEVELS)
    broken = own.copy()
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="not a number"):
        find_depths_to_keep(TREE, own, broken, actual, LEVELS)
