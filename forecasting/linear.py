"""The linear part: one ridge regression per slot of the day, with the quantiles of its errors.

Trees repeat the largest load they have seen; a line goes on. Temperature enters by hinges, so the
line may bend where heating and cooling begin. Spread is learnt from errors on held-out rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LEVELS: Final = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
FOLDS: Final = 4


def hinges(value: Floats, knots: Sequence[float]) -> Floats:
    """Return the value and max(value - knot, 0) for each knot, shape (rows, 1 + knots).

    Examples
    --------
    >>> hinges(np.array([3.0, 18.0]), (15.0,)).tolist()
    [[3.0, 0.0], [18.0, 3.0]]
    """
    return np.column_stack([value, *(np.maximum(value - knot, 0.0) for knot in knots)])


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotLines:
    """Coefficients of one line per slot.

    Parameters
    ----------
    intercept : ndarray, shape (slots,)
        Constant, in the target's unit.
    slope : ndarray, shape (slots, features)
        Target's unit per feature's unit.
    """

    intercept: Floats
    slope: Floats

    def predict(self, features: Floats, slot: Ints) -> Floats:
        """Return the lines' values, shape (rows,), for rows in the slots given."""
        return np.asarray(self.intercept[slot] + (features * self.slope[slot]).sum(axis=1))


def fit_slot_lines(
    features: Floats, target: Floats, slot: Ints, weight: Floats, penalty: float = 1.0
) -> SlotLines:
    """Fit ridge regressions of all slots at once.

    Each feature is standardised over all rows, so one penalty suits all (Hoerl and Kennard 1970,
    doi:10.1080/00401706.1970.10488634).

    Parameters
    ----------
    features : ndarray, shape (rows, features)
        All finite.
    target : ndarray, shape (rows,)
        All finite.
    slot : ndarray of int, shape (rows,)
        Slot of each row, from 0; a slot without rows gets the line of all rows.
    weight : ndarray, shape (rows,)
        Non-negative.
    penalty : float
        Ridge penalty in rows.

    Raises
    ------
    InputError
        If something is not finite or shapes differ.
    """
    problems = []
    if features.shape[0] != len(target) or slot.shape != target.shape:
        problems.append(Problem(where="linear model", what="rows of features and target differ"))
    for where, numbers in (("features", features), ("target", target), ("weight", weight)):
        if not np.isfinite(numbers).all():
            problems.append(Problem(where=where, what="a value is not a number"))
    refuse_if_any(problems)
    mean = np.average(features, axis=0, weights=weight)
    spread = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weight))
    spread = np.where(spread > 1e-9, spread, 1.0)
    rows = np.column_stack([np.ones(len(target)), (features - mean) / spread])
    ridge = np.diag([1e-9, *np.full(features.shape[1], penalty)])

    def solve(chosen: NDArray[np.bool_]) -> Floats:
        part, w = rows[chosen], weight[chosen]
        gram = part.T @ (part * w[:, None]) + ridge
        return np.asarray(np.linalg.solve(gram, part.T @ (w * target[chosen])))

    everything = solve(np.ones(len(target), dtype=np.bool_))
    count = int(slot.max()) + 1
    found = np.array(
        [solve(slot == s) if (weight[slot == s] > 0.0).any() else everything for s in range(count)]
    )
    slope = found[:, 1:] / spread
    return SlotLines(intercept=found[:, 0] - slope @ mean, slope=slope)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearQuantiles:
    """Lines with the quantiles of their errors in each group of rows.

    Parameters
    ----------
    names : tuple of str
        Features.
    lines : SlotLines
        One per slot.
    levels : tuple of float
        Levels of ``error``.
    error : ndarray, shape (groups, levels)
        Quantiles of actual minus line on rows that the line was not fitted on.
    """

    names: tuple[str, ...]
    lines: SlotLines
    levels: tuple[float, ...]
    error: Floats

    def predict(self, features: Floats, slot: Ints, group: Ints, levels: Sequence[float]) -> Floats:
        """Return quantiles, shape (rows, levels), non-decreasing."""
        from forecasting.quantiles import interpolate_quantiles

        middle = self.lines.predict(features, slot)
        spread = interpolate_quantiles(self.error, self.levels, levels)
        return np.asarray(middle[:, None] + spread[group])

    def to_json(self) -> str:
        """Return the model as JSON: same model, same text."""
        content = {
            "names": list(self.names),
            "levels": list(self.levels),
            "intercept": self.lines.intercept.tolist(),
            "slope": self.lines.slope.tolist(),
            "error": self.error.tolist(),
        }
        return json.dumps(content, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> LinearQuantiles:
        """Take a model back from `to_json`."""
        content = json.loads(text)
        return cls(
            names=tuple(content["names"]),
            levels=tuple(content["levels"]),
            lines=SlotLines(
                intercept=np.array(content["intercept"]), slope=np.array(content["slope"])
            ),
            error=np.array(content["error"]),
        )


def fit_linear_quantiles(
    features: Floats,
    target: Floats,
    slot: Ints,
    group: Ints,
    names: Sequence[str],
    *,
    weight: Floats | None = None,
    penalty: float = 1.0,
    block_rows: int = 1,
) -> LinearQuantiles:
    """Fit lines and, by folds of consecutive rows, the quantiles of their errors.

    Parameters
    ----------
    features, target, slot : ndarray
        As in `fit_slot_lines`; rows in the order of time.
    group : ndarray of int, shape (rows,)
        Rows that share a distribution of errors, from 0.
    names : sequence of str
        Features.
    weight : ndarray, shape (rows,), optional
        Weight of rows.
    penalty : float
        Ridge penalty in rows.
    block_rows : int
        Folds are cut at multiples of it (the periods of a day).

    Returns
    -------
    LinearQuantiles
        Lines fitted on all rows; errors from folds.
    """
    weight = np.ones(len(target)) if weight is None else weight
    lines = fit_slot_lines(features, target, slot, weight, penalty)
    blocks = np.arange(len(target)) // max(block_rows, 1)
    fold = np.minimum(blocks * FOLDS // (int(blocks[-1]) + 1), FOLDS - 1)
    error = np.full(len(target), np.nan)
    for number in range(FOLDS):
        out = fold == number
        if out.any() and weight[~out].sum() > 0.0:
            # A slot missing at the end of the other folds still needs its row of coefficients.
            part = fit_slot_lines(features, target, slot, np.where(out, 0.0, weight), penalty)
            error[out] = target[out] - part.predict(features[out], slot[out])
    usable = np.isfinite(error) & (weight > 0.0)
    table = []
    for number in range(int(group.max()) + 1):
        rows = usable & (group == number)
        found = error[rows if rows.sum() >= 20 else usable]
        table.append(np.quantile(found, LEVELS))
    return LinearQuantiles(names=tuple(names), lines=lines, levels=LEVELS, error=np.array(table))
