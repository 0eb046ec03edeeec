"""Scores of a forecast against what happened."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.records.forecast import Forecast

Floats = NDArray[np.float64]


def pinball_mw(forecast: Forecast, actual_mw: Floats) -> Floats:
    """Return the mean pinball loss of each series over periods and quantiles.

    loss(q) = q (y - x) where y >= x, else (1 - q) (x - y): GEFCom's definition, no factor 2
    (Hong et al. 2016, doi:10.1016/j.ijforecast.2016.02.001).

    Parameters
    ----------
    forecast : Forecast
        The forecast.
    actual_mw : ndarray, shape (len(series), len(periods))
        What happened [MW].

    Returns
    -------
    ndarray, shape (len(series),)
        Loss [MW].

    Raises
    ------
    InputError
        If the shape differs or a value is not finite.
    """
    _check(forecast, actual_mw)
    level = np.asarray(forecast.quantiles)
    error = actual_mw[:, :, None] - forecast.value_mw
    return np.asarray(np.maximum(level * error, (level - 1.0) * error).mean(axis=(1, 2)))


def coverage(
    forecast: Forecast, actual_mw: Floats, lower: float = 0.1, upper: float = 0.9
) -> Floats:
    """Return the share of periods inside a band, per series; shape (len(series),), 0..1.

    Periods where both ends of the band and the value are zero (PV at night) tell nothing and are
    left out; a series with no other period has NaN.

    Raises
    ------
    InputError
        If the shape differs, a value is not finite or the forecast lacks a level.
    """
    _check(forecast, actual_mw)
    refuse_if_any(
        Problem(where="quantiles", what=f"no level {level}")
        for level in (lower, upper)
        if level not in forecast.quantiles
    )
    low = forecast.value_mw[:, :, forecast.quantiles.index(lower)]
    high = forecast.value_mw[:, :, forecast.quantiles.index(upper)]
    counted = (high > 0.0) | (actual_mw > 0.0)
    inside = counted & (actual_mw >= low) & (actual_mw <= high)
    total = counted.sum(axis=1)
    return np.where(total > 0, inside.sum(axis=1) / np.maximum(total, 1), np.nan)


def _check(forecast: Forecast, actual_mw: Floats) -> None:
    shape = forecast.value_mw.shape[:2]
    problems = []
    if actual_mw.shape != shape:
        problems.append(Problem(where="actual", what=f"shape {actual_mw.shape}, expected {shape}"))
    elif not np.isfinite(actual_mw).all():
        problems.append(Problem(where="actual", what="a value is not a number"))
    refuse_if_any(problems)
