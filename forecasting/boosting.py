"""Gradient-boosted quantiles: one LightGBM model per level, few levels interpolated to many.

Deterministic: fixed seed, one histogram order (`deterministic`, `force_row_wise`) and a stated
number of threads, so the same rows give the same trees and the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from forecasting.quantiles import interpolate_quantiles

Floats = NDArray[np.float64]

LEVELS: Final = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoostingRule:
    """How trees are grown; names follow LightGBM's parameters.

    Parameters
    ----------
    trees : int
        Number of trees of each level.
    learning_rate : float
        Share of each tree that is added.
    leaves : int
        Leaves of a tree at most.
    rows_per_leaf_min : int
        Rows of a leaf at least.
    feature_share, row_share : float
        Drawn for each tree.
    threads : int
        Fixed, because floating-point sums depend on it.
    seed : int
        Of all draws.
    """

    trees: int = 200
    learning_rate: float = 0.05
    leaves: int = 31
    rows_per_leaf_min: int = 30
    feature_share: float = 0.6
    row_share: float = 0.7
    threads: int = 1
    seed: int = 6

    def as_parameters(self, level: float) -> dict[str, Any]:
        """Return LightGBM's parameters for one level."""
        return {
            "objective": "quantile",
            "alpha": level,
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_child_samples": self.rows_per_leaf_min,
            "feature_fraction": self.feature_share,
            "bagging_fraction": self.row_share,
            "bagging_freq": 1,
            "seed": self.seed,
            "num_threads": self.threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BoostedQuantiles:
    """Fitted trees.

    Parameters
    ----------
    names : tuple of str
        Features, in the order of the columns.
    levels : tuple of float
        Levels that have trees, ascending.
    texts : tuple of str
        LightGBM's own model text of each level.
    """

    names: tuple[str, ...]
    levels: tuple[float, ...]
    texts: tuple[str, ...]

    def predict(self, features: Floats, levels: Sequence[float], threads: int = 1) -> Floats:
        """Return quantiles at any levels, shape (rows, levels), non-decreasing.

        Parameters
        ----------
        features : ndarray, shape (rows, features)
            As it was fitted; NaN is a missing value to the trees.
        levels : sequence of float
            Levels wanted; between the fitted ones they are interpolated.
        threads : int
            Threads of the prediction (the result does not depend on it).

        Raises
        ------
        InputError
            If the number of features differs.
        """
        import lightgbm

        if features.shape[1] != len(self.names):
            refuse_if_any(
                [
                    Problem(
                        where="features",
                        what=f"{features.shape[1]} columns, the model knows {len(self.names)}",
                    )
                ]
            )
        columns = [
            lightgbm.Booster(model_str=text).predict(features, num_threads=threads)
            for text in self.texts
        ]
        found = np.sort(np.column_stack(columns), axis=1)
        return interpolate_quantiles(found, self.levels, levels)


def fit_boosted_quantiles(
    features: Floats,
    target: Floats,
    names: Sequence[str],
    *,
    weight: Floats | None = None,
    levels: Sequence[float] = LEVELS,
    rule: BoostingRule | None = None,
) -> BoostedQuantiles:
    """Fit one model per level.

    Parameters
    ----------
    features : ndarray, shape (rows, features)
        NaN is allowed: a missing value.
    target : ndarray, shape (rows,)
        Any unit.
    names : sequence of str
        Names of the features.
    weight : ndarray, shape (rows,), optional
        Weight of each row's loss.
    levels : sequence of float
        Levels to fit, ascending.
    rule : BoostingRule, optional
        How trees are grown.

    Raises
    ------
    InputError
        If shapes differ, a target is not finite or no row is left.
    """
    import lightgbm

    rule = rule or BoostingRule()
    problems = []
    if features.shape != (len(target), len(names)):
        problems.append(
            Problem(
                where="features",
                what=f"shape {features.shape}, expected {(len(target), len(names))}",
            )
        )
    if not np.isfinite(target).all():
        problems.append(Problem(where="target", what="a value is not a number"))
    if len(target) == 0:
        problems.append(Problem(where="target", what="no row to fit on"))
    refuse_if_any(problems)
    rows = lightgbm.Dataset(features, target, weight=weight, free_raw_data=False)
    texts = [
        lightgbm.train(rule.as_parameters(level), rows, rule.trees).model_to_string()
        for level in levels
    ]
    return BoostedQuantiles(names=tuple(names), levels=tuple(levels), texts=tuple(texts))
