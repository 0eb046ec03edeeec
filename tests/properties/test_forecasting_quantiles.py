"""Weighted quantiles: numpy's where weights are equal, ordered and inside the samples always."""

from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from forecasting.quantiles import order_and_cap, spread_for_few, weighted_quantiles

Floats = NDArray[np.float64]
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
SAMPLES = hnp.arrays(
    float, st.tuples(st.integers(1, 4), st.integers(1, 15)), elements=st.floats(-1e6, 1e6)
)


@given(SAMPLES)
def test_equal_weights_are_numpys_hazen_quantiles(samples: Floats) -> None:
    expected = np.quantile(samples, LEVELS, axis=-1, method="hazen").T
    np.testing.assert_allclose(
        weighted_quantiles(samples, np.ones(samples.shape[-1]), LEVELS), expected,
        rtol=1e-9, atol=1e-9,
    )  # fmt: skip


@given(SAMPLES, st.data())
def test_quantiles_are_ordered_and_inside_the_weighted_samples(
    samples: Floats, data: st.DataObject
) -> None:
    weights = data.draw(hnp.arrays(float, samples.shape, elements=st.floats(0.0, 10.0)))
    weights[:, 0] += 1.0
    result = weighted_quantiles(samples, weights, LEVELS)
    assert (np.diff(result, axis=-1) >= 0.0).all()
    used_min = np.where(weights > 0, samples, np.inf).min(axis=-1)
    used_max = np.where(weights > 0, samples, -np.inf).max(axis=-1)
    assert (result >= used_min[:, None]).all()
    assert (result <= used_max[:, None]).all()


@given(
    hnp.arrays(float, st.tuples(st.just(1), st.integers(1, 15)),
               elements=st.integers(-999, 999).map(float), unique=True),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_the_order_of_the_samples_does_not_matter(samples: Floats, random: Random) -> None:
    places = list(range(samples.shape[-1]))
    random.shuffle(places)
    weights = np.arange(1.0, samples.shape[-1] + 1.0)
    np.testing.assert_allclose(
        weighted_quantiles(samples[:, places], weights[places], LEVELS),
        weighted_quantiles(samples, weights, LEVELS), rtol=1e-9, atol=1e-6,
    )  # fmt: skip


@given(st.integers(1, 200))
def test_levels_spread_symmetrically_and_less_with_more_samples(count: int) -> None:
    moved = np.array(spread_for_few(LEVELS, count))
    np.testing.assert_allclose(moved + moved[::-1], 1.0)
    assert (np.diff(moved) >= 0.0).all()
    assert moved[0] <= 0.1 <= spread_for_few(LEVELS, 10**9)[0] + 1e-8


@given(SAMPLES)
def test_capped_values_are_ordered_and_bounded(samples: Floats) -> None:
    result = order_and_cap(samples, 0.0, 5.0)
    assert (np.diff(result, axis=-1) >= 0.0).all()
    assert ((result >= 0.0) & (result <= 5.0)).all()
    assert not np.signbit(result).any()
