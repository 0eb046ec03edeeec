"""Scores on arrays against numbers worked out by hand and against their own definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError
from forecasting.scores import (
    block_bootstrap,
    inside_band,
    pinball_losses,
    reliability,
    share,
    sharpness,
    skill_by_lead,
)

LEVELS = (0.1, 0.5, 0.9)


def test_pinball_by_hand() -> None:
    value = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    # y=4: .1*3 + .5*2 + .9*1 = 2.2; y=0: .9*1 + .5*2 + .1*3 = 2.2
    assert pinball_losses(value, np.array([4.0, 0.0]), LEVELS) == pytest.approx([2.2 / 3, 2.2 / 3])


@given(st.floats(0.05, 0.95), st.integers(0, 2**31))
def test_the_true_quantile_has_the_least_expected_pinball(level: float, seed: int) -> None:
    sample = np.random.default_rng(seed).normal(size=400)
    best = np.quantile(sample, level, method="inverted_cdf")
    losses = [
        pinball_losses(np.full((400, 1), at), sample, (level,)).mean()
        for at in (best, best - 0.2, best + 0.2)
    ]
    assert losses[0] <= min(losses[1:])


def test_nights_do_not_count_and_the_ends_of_the_band_do() -> None:
    value = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    inside, counted = inside_band(value, np.array([3.0, 3.1, 0.0]), LEVELS)
    assert inside.tolist() == [True, False, False]
    assert counted.tolist() == [True, True, False]


def test_reliability_of_the_true_distribution_is_the_diagonal() -> None:
    rng = np.random.default_rng(3)
    actual = rng.normal(size=20_000)
    from scipy.stats import norm

    value = np.tile(norm.ppf(LEVELS), (20_000, 1))
    assert reliability(value, actual, LEVELS) == pytest.approx(LEVELS, abs=0.01)
    assert reliability(np.zeros((9, 3)), np.zeros(9), LEVELS) == pytest.approx([0.5] * 3)


def test_sharpness_and_skill_by_lead() -> None:
    band, width = sharpness(np.array([[1.0, 2.0, 4.0]]), LEVELS)
    assert (band.tolist(), width.tolist()) == ([0.8], [3.0])
    found = skill_by_lead(
        np.array([1.0, 1.0, 2.0]), np.array([2.0, 2.0, 2.0]), np.array([0.0, 1.0, 5.0]),
        (0.0, 2.0, 4.0, 6.0),
    )  # fmt: skip
    assert found[[0, 2]] == pytest.approx([0.5, 0.0])
    assert np.isnan(found[1])


def test_bootstrap_interval_covers_as_promised_when_days_hang_together() -> None:
    """Days in runs of five: single days would give an interval that is far too narrow."""
    rng = np.random.default_rng(8)
    held = single = 0
    for seed in range(120):
        hits = np.repeat(rng.binomial(24, 0.8, size=24), 5).astype(float)
        total = np.full(120, 24.0)
        blocks = block_bootstrap(share, hits, total, block=10, draws=300, seed=seed)
        alone = block_bootstrap(share, hits, total, block=1, draws=300, seed=seed)
        held += blocks.holds(0.8)
        single += alone.holds(0.8)
    assert held / 120 >= 0.84
    assert single / 120 <= 0.75


def test_wrong_shapes_and_levels_are_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        pinball_losses(np.zeros((2, 3)), np.zeros(3), LEVELS)
    with pytest.raises(InputError, match="not a number"):
        pinball_losses(np.full((1, 3), np.nan), np.zeros(1), LEVELS)
    with pytest.raises(InputError, match=r"no level 0\.2"):
        inside_band(np.zeros((1, 3)), np.zeros(1), LEVELS, lower=0.2)
