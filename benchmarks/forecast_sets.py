"""What a forecast benchmark measures: scored months of one set, and the sentences they give."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem
from forecasting.scores import Interval, block_bootstrap, inside_band, pinball_losses, share

Floats = NDArray[np.float64]
PERCENTILES: Final = tuple(k / 100 for k in range(1, 100))
VARIABLE: Final = "DSO_REFERENCE_DATA"
BLOCK_DAYS: Final = 5


def reference_folder(name: str) -> Path:
    """Return the folder of a reference series.

    Raises
    ------
    InputError
        If `DSO_REFERENCE_DATA` is not set or holds no such folder: competition data is read from
        where it lies and never shipped.
    """
    root = os.environ.get(VARIABLE)
    folder = Path(root or "") / "forecast" / name
    if root is None or not folder.is_dir():
        raise InputError(
            [Problem(where=VARIABLE, what=f"no folder forecast/{name}",
                     remedy="set it to the folder that holds the reference series")]
        )  # fmt: skip
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredMonth:
    """One month as it was forecast and as it came.

    Parameters
    ----------
    month : str
        ``YYYY-MM``.
    levels : tuple of float
        Probability levels.
    actual : ndarray, shape (steps,)
        What happened.
    raw, served : ndarray, shape (steps, levels)
        Quantiles before and after calibration.
    others : dict of str to ndarray, shape (steps, levels)
        Named baselines.
    day, lead_h : ndarray, shape (steps,)
        Day (any counter) and hours from the gate of each step.
    seconds : float
        To fit and forecast.
    """

    month: str
    levels: tuple[float, ...]
    actual: Floats
    raw: Floats
    served: Floats
    others: dict[str, Floats]
    day: Floats
    lead_h: Floats
    seconds: float

    def loss(self, value: Floats) -> float:
        """Return the month's mean pinball loss of some quantiles."""
        return float(pinball_losses(value, self.actual, self.levels).mean())

    def coverage(self, value: Floats | None = None, seed: int = 0) -> Interval:
        """Return the coverage of 10-90 % with its block-bootstrap 95 % interval over days."""
        inside, counted = inside_band(
            self.served if value is None else value, self.actual, self.levels
        )
        _, place = np.unique(self.day, return_inverse=True)
        return block_bootstrap(
            share,
            np.bincount(place, inside).astype(np.float64),
            np.bincount(place, counted).astype(np.float64),
            block=BLOCK_DAYS,
            seed=seed,
        )

    def width(self, value: Floats) -> float:
        """Return the mean width of the 10-90 % band."""
        low, high = self.levels.index(0.1), self.levels.index(0.9)
        return float((value[:, high] - value[:, low]).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageRow:
    """Coverage of one set: what the table of the design asks for."""

    name: str
    raw: float
    pooled: float
    months_held: int
    months: int
    width_change: float

    def line(self) -> str:
        """Return the row of the Markdown table."""
        verdict = "met" if 0.78 <= self.pooled <= 0.82 else "not met"
        held = self.months_held / self.months
        return (
            f"| {self.name} | {self.raw:.3f} | {self.pooled:.3f} ({verdict}) | "
            f"{self.months_held} of {self.months} "
            f"({'met' if held >= 0.9 else 'not met'}) | {100 * self.width_change:+.1f} % "
            f"({'met' if abs(self.width_change) <= 0.1 else 'not met'}) |"
        )


COVERAGE_HEAD: Final = (
    "| set | raw | pooled (aim 0.78-0.82) | months whose interval holds 0.80 (aim 90 %) | "
    "width against raw (aim within 10 %) |\n|---|---|---|---|---|"
)


def coverage_row(name: str, months: Sequence[ScoredMonth]) -> CoverageRow:
    """Return the coverage of scored months, pooled over all their steps."""

    def pooled(values: Sequence[Floats]) -> float:
        pairs = [inside_band(v, m.actual, m.levels) for v, m in zip(values, months, strict=True)]
        return sum(i.sum() for i, _ in pairs) / sum(c.sum() for _, c in pairs)

    raw, served = [m.raw for m in months], [m.served for m in months]
    width_raw = np.mean([m.width(m.raw) for m in months])
    width = np.mean([m.width(m.served) for m in months])
    return CoverageRow(
        name=name,
        raw=float(pooled(raw)),
        pooled=float(pooled(served)),
        months_held=sum(m.coverage().holds(0.8) for m in months),
        months=len(months),
        width_change=float(width / width_raw - 1.0),
    )
