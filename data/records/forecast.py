"""What is expected: quantiles, never a bare number; and the readings they were made from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Interval readings of several series, start-labelled.

    Parameters
    ----------
    series : tuple of str
        Series ids, e.g. ``load:3``, ``sgen:12``.
    periods : Periods
        The periods read.
    value_mw : ndarray, shape (len(periods), len(series))
        Mean power of each period [MW], pandapower's own sign (load + withdrawal, sgen +).
    known_at : datetime
        When the last of them became known: not before the end of its period.
    """

    series: tuple[str, ...]
    periods: Periods
    value_mw: NDArray[np.float64]
    known_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Quantiles for each series and period, made at ``known_at`` by ``model_id``.

    Parameters
    ----------
    series : tuple of str
        Series ids.
    periods : Periods
        The periods forecast.
    quantiles : tuple of float
        Probability levels, ascending, e.g. (0.1, ..., 0.9).
    value_mw : ndarray, shape (len(series), len(periods), len(quantiles))
        Power [MW], non-decreasing along the last axis.
    known_at : datetime
        Nothing that became known later was used.
    model_id : str
        Model and version.
    warnings, fallbacks : tuple of str
        What the reader should know; every fallback used is named.
    """

    series: tuple[str, ...]
    periods: Periods
    quantiles: tuple[float, ...]
    value_mw: NDArray[np.float64]
    known_at: datetime
    model_id: str
    warnings: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()

    def median_mw(self) -> NDArray[np.float64]:
        """Return the 0.5 quantile, shape (len(series), len(periods)) [MW]."""
        return self.value_mw[:, :, self.quantiles.index(0.5)]
