"""PV: the clear-sky index of recent days times today's clear sky."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods
from forecasting.like_day import QuantileSet
from forecasting.quantiles import spread_for_few, weighted_quantiles

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DAYS_MAX: Final = 28
DAYS_MIN: Final = 7
HALF_LIFE_DAYS: Final = 10.0
# (offset in quarter-hours, weight): cloud passes at any time near this one.
NEIGHBOURS: Final = ((0, 1.0), (-2, 0.6), (2, 0.6))
TILT_DEG: Final = 30.0
AZIMUTH_DEG: Final = 180.0
LINKE_TURBIDITY: Final = 3.0
# Below this irradiance the index is noise: the like day itself is used instead.
IRRADIANCE_FLOOR_W_PER_M2: Final = 60.0
# Hourly source data smear production a little over sunrise and sunset; below this it is night.
NIGHT_ELEVATION_DEG: Final = -6.0
# Clear-sky index of one day in a temperate climate (quantiles 0, 0.1, ..., 1).
PRIOR_INDEX: Final = (0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95, 1.0)
# Power of a plant per installed power at a clear-sky irradiance of 1000 W/m2.
PRIOR_YIELD: Final = 0.75


def clear_sky_irradiance(
    periods: Periods, latitude: float, longitude: float
) -> tuple[Floats, Bools]:
    """Return clear-sky irradiance on a south roof and whether it is night, at mid-period.

    Parameters
    ----------
    periods : Periods
        The periods.
    latitude, longitude : float
        Position [deg].

    Returns
    -------
    irradiance : ndarray, shape (len(periods),)
        On a plane of 30 deg facing south [W/m2], model of Ineichen and Perez (2002,
        doi:10.1016/S0038-092X(02)00045-2) with a fixed Linke turbidity, isotropic diffuse sky.
    night : ndarray of bool, shape (len(periods),)
        Sun lower than civil twilight (-6 deg).
    """
    import pandas as pd
    import pvlib

    middle = pd.date_range(
        periods.start + periods.mtu / 2, periods=len(periods), freq=f"{periods.mtu_minutes}min"
    )
    sun = pvlib.solarposition.get_solarposition(middle, latitude, longitude)
    zenith = sun["apparent_zenith"].to_numpy(dtype=float)
    airmass = pvlib.atmosphere.get_relative_airmass(zenith)
    with np.errstate(divide="ignore", invalid="ignore"):  # pvlib divides by cos(zenith) at night
        sky = pvlib.clearsky.ineichen(
            zenith, np.nan_to_num(airmass, nan=40.0), LINKE_TURBIDITY, dni_extra=1364.0
        )
    plane = pvlib.irradiance.get_total_irradiance(
        TILT_DEG, AZIMUTH_DEG, zenith, sun["azimuth"].to_numpy(dtype=float),
        sky["dni"], sky["ghi"], sky["dhi"],
    )  # fmt: skip
    irradiance = np.nan_to_num(np.asarray(plane["poa_global"], dtype=float), nan=0.0)
    night = sun["elevation"].to_numpy(dtype=float) < NIGHT_ELEVATION_DEG
    return np.where(night, 0.0, np.maximum(irradiance, 0.0)), night


def produces_at_night(value_mw: Floats, night: Bools, capacity_mw: Floats) -> Bools:
    """Tell which series are not PV: more than 2 % of their energy comes at night.

    Parameters
    ----------
    value_mw : ndarray, shape (periods, series)
        Readings [MW].
    night : ndarray of bool, shape (periods,)
        From `clear_sky_irradiance`.
    capacity_mw : ndarray, shape (series,)
        Installed capacity [MW]; output under 0.1 % of it is a meter's noise.

    Returns
    -------
    ndarray of bool, shape (series,)
    """
    output = np.where(value_mw > 1e-3 * capacity_mw, value_mw, 0.0)
    at_night = output[night].sum(axis=0)
    return np.asarray(at_night > 0.02 * output.sum(axis=0), dtype=np.bool_)


def forecast_pv(
    value_mw: Floats,
    past: tuple[Floats, Bools],
    ahead: tuple[Floats, Bools],
    lag_periods: int,
    capacity_mw: Floats,
    quantiles: Sequence[float],
    periods_per_day: int,
) -> QuantileSet:
    """Forecast PV: power of recent days at this solar time, scaled by the clear sky's change.

    Parameters
    ----------
    value_mw : ndarray, shape (past periods, series)
        Readings [MW].
    past, ahead : (irradiance [W/m2], night)
        From `clear_sky_irradiance` for the readings and for the periods to forecast.
    lag_periods : int
        Periods from the first reading to the first period ahead.
    capacity_mw : ndarray, shape (series,)
        Installed capacity [MW].
    quantiles : sequence of float
        Probability levels.
    periods_per_day : int
        Periods in 24 h.

    Returns
    -------
    QuantileSet
        Quantiles [MW], zero at night; a fallback is named when fewer than seven days exist.
    """
    count_past, count_ahead = len(value_mw), len(ahead[0])
    target = lag_periods + np.arange(count_ahead)
    days = np.arange(1, DAYS_MAX + 1 + (lag_periods + count_ahead - count_past) // periods_per_day)
    rows, weights = [], []
    for offset, weight in NEIGHBOURS:
        row = target[:, None] + offset - days[None, :] * periods_per_day
        valid = (row >= 0) & (row < count_past)
        rows.append(np.where(valid, row, 0))
        weights.append(np.where(valid, weight * 0.5 ** (days / HALF_LIFE_DAYS), 0.0))
    row_table = np.concatenate(rows, axis=1)
    weight_table = np.concatenate(weights, axis=1)
    empty = weight_table.sum(axis=1) == 0.0
    weight_table[empty, 0] = 1.0  # its sample is replaced below
    floor = IRRADIANCE_FLOOR_W_PER_M2
    ratio = (ahead[0][:, None] + floor) / (past[0][row_table] + floor)
    samples = value_mw[row_table] * ratio[:, :, None]
    samples[empty] = 0.0
    days_at = np.count_nonzero(weight_table[:, : len(days)], axis=1)
    days_used = 0 if empty.all() else int(days_at[~empty].min())
    value = weighted_quantiles(
        np.ascontiguousarray(samples.transpose(2, 0, 1)),
        weight_table[None, :, :],
        spread_for_few(quantiles, max(days_used, 3)),
    )
    fallbacks: tuple[str, ...] = ()
    if days_used < DAYS_MIN:
        value = _blend_with_prior(value, ahead[0], capacity_mw, quantiles, days_used)
        fallbacks = (f"pv: {days_used} days of {DAYS_MIN}; blended with a standard sky",)
    value[:, ahead[1], :] = 0.0
    return QuantileSet(value_mw=value, fallbacks=fallbacks)


def _blend_with_prior(
    value_mw: Floats, irradiance: Floats, capacity_mw: Floats, quantiles: Sequence[float], days: int
) -> Floats:
    """Average quantiles with those of a standard sky, by the share of days that are missing."""
    levels = np.linspace(0.0, 1.0, len(PRIOR_INDEX))
    index = np.interp(np.asarray(quantiles), levels, PRIOR_INDEX)
    clear = capacity_mw[:, None] * PRIOR_YIELD * irradiance[None, :] / 1000.0
    share = 1.0 - days / DAYS_MIN
    blended: Floats = (1.0 - share) * value_mw + share * clear[:, :, None] * index
    return blended
