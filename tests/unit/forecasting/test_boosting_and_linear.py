"""Trees and lines: deterministic, ordered, and the line goes on where trees stop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from forecasting.boosting import BoostingRule, fit_boosted_quantiles
from forecasting.linear import LinearQuantiles, fit_linear_quantiles, fit_slot_lines

RULE = BoostingRule(trees=25, leaves=7, rows_per_leaf_min=10)
LEVELS = (0.1, 0.5, 0.9)
PERCENTILES = tuple(k / 100 for k in range(1, 100))


def noisy(rows: int = 1500, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.uniform(0.0, 1.0, size=(rows, 3))
    return features, 2.0 * features[:, 0] + (0.2 + features[:, 1]) * rng.normal(size=rows)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_quantiles_never_cross_whatever_the_rows(seed: int) -> None:
    features, target = noisy(300, seed)
    model = fit_boosted_quantiles(features, target, "abc", levels=LEVELS, rule=RULE)
    wild = np.random.default_rng(seed).normal(scale=5.0, size=(50, 3))
    wild[::7, 1] = np.nan
    assert (np.diff(model.predict(wild, PERCENTILES), axis=1) >= 0.0).all()


def test_same_rows_same_text_and_threads_do_not_matter() -> None:
    features, target = noisy()
    first, again = (
        fit_boosted_quantiles(features, target, "abc", levels=LEVELS, rule=RULE) for _ in range(2)
    )
    assert first.texts == again.texts
    one, two = (first.predict(features, LEVELS, threads=count) for count in (1, 2))
    assert one.tobytes() == two.tobytes()


def test_trees_learn_the_spread_too() -> None:
    features, target = noisy(4000)
    model = fit_boosted_quantiles(
        features, target, "abc", levels=LEVELS, rule=BoostingRule(trees=80)
    )
    calm = model.predict(np.array([[0.5, 0.05, 0.5]]), LEVELS)[0]
    rough = model.predict(np.array([[0.5, 0.95, 0.5]]), LEVELS)[0]
    # 10-90 % of a normal is 2.563 standard deviations wide: here of 0.25 and 1.15.
    assert rough[2] - rough[0] == pytest.approx(2.563 * 1.15, rel=0.25)
    assert rough[2] - rough[0] > 1.7 * (calm[2] - calm[0])


def test_bad_rows_are_refused() -> None:
    features, target = noisy(20)
    with pytest.raises(InputError, match="not a number"):
        fit_boosted_quantiles(features, np.full(20, np.nan), "abc", levels=LEVELS)
    with pytest.raises(InputError, match=r"shape \(20, 3\)"):
        fit_boosted_quantiles(features, target, "ab", levels=LEVELS)
    model = fit_boosted_quantiles(features, target, "abc", levels=(0.5,), rule=RULE)
    with pytest.raises(InputError, match="2 columns"):
        model.predict(features[:, :2], LEVELS)


def test_the_line_extrapolates_where_trees_repeat_the_largest() -> None:
    rng = np.random.default_rng(4)
    cold = rng.uniform(0.0, 10.0, size=(800, 1))
    load = 50.0 + 3.0 * cold[:, 0] + rng.normal(size=800)
    colder = np.array([[20.0]])
    trees = fit_boosted_quantiles(cold, load, "t", levels=(0.5,), rule=RULE)
    slot = np.zeros(800, dtype=np.int64)
    line = fit_linear_quantiles(cold, load, slot, slot, "t")
    assert trees.predict(colder, (0.5,))[0, 0] < 85.0
    found = line.predict(colder, slot[:1], slot[:1], LEVELS)[0]
    assert found[1] == pytest.approx(110.0, abs=1.0)
    assert found[2] - found[0] == pytest.approx(2.563, rel=0.15)
    assert LinearQuantiles.from_json(line.to_json()).to_json() == line.to_json()


def test_ridge_lines_are_the_normal_equations_of_scikit_learn() -> None:
    from sklearn.linear_model import Ridge

    features, target = noisy(400)
    slot = np.arange(400) % 2
    weight = np.linspace(0.5, 1.5, 400)
    lines = fit_slot_lines(features, target, slot, weight, penalty=7.0)
    mean = np.average(features, axis=0, weights=weight)
    spread = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weight))
    for number in (0, 1):
        rows = slot == number
        peer = Ridge(alpha=7.0).fit(
            ((features - mean) / spread)[rows], target[rows], sample_weight=weight[rows]
        )
        wanted = peer.predict(((features - mean) / spread)[rows])
        # The peer's penalty acts about each slot's own mean, ours about that of all rows.
        assert lines.predict(features[rows], slot[rows]) == pytest.approx(wanted, abs=0.02)
