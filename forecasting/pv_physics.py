"""PV from irradiance: sun, plane of the modules, cell temperature, inverter; and what fits a site.

Tilt, azimuth and capacity stated for a plant are often wrong or missing: they are fitted from its
history here, and a step in its capacity is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from forecasting.as_of import Instants

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# The sun's upper edge, refraction included, is at the horizon here.
HORIZON_DEG: Final = -0.833
# Power falls by this share per kelvin of cell temperature (crystalline silicon).
TEMPERATURE_SHARE_PER_K: Final = -0.004
TILTS_DEG: Final = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0)
TURNS_DEG: Final = (-90.0, -60.0, -30.0, 0.0, 30.0, 60.0, 90.0)
CLIPS: Final = (0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1)
# A step of capacity: at least this factor, with this many days on each side, this clear.
STEP_FACTOR_MIN: Final = 1.2
STEP_DAYS_MIN: Final = 14
STEP_SCORE_MIN: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sun:
    """The sun at the middle of each period, and the clear sky; shape (periods,) each.

    ``dark`` is where the whole period lies below the horizon. Angles in degrees, azimuth from
    north, irradiance in W/m2.
    """

    zenith_deg: Floats
    azimuth_deg: Floats
    elevation_deg: Floats
    dark: Bools
    clear_ghi_w_per_m2: Floats
    extra_w_per_m2: Floats


def sun_over(valid_at: Instants, mtu_minutes: int, latitude: float, longitude: float) -> Sun:
    """Return the sun over a place.

    Parameters
    ----------
    valid_at : ndarray of datetime64[s], shape (periods,)
        Starts of periods, UTC.
    mtu_minutes : int
        Their length [min].
    latitude, longitude : float
        Position [deg].

    Notes
    -----
    Clear sky of Ineichen and Perez (2002, doi:10.1016/S0038-092X(02)00045-2) with pvlib's Linke
    turbidity of the place.
    """
    import pandas as pd
    import pvlib

    half = np.timedelta64(mtu_minutes * 30, "s")
    middle = pd.DatetimeIndex(valid_at + half, tz="UTC")
    found = pvlib.solarposition.get_solarposition(middle, latitude, longitude)
    zenith = found["apparent_zenith"].to_numpy(dtype=float)
    edges = [
        pvlib.solarposition.get_solarposition(
            pd.DatetimeIndex(valid_at + shift, tz="UTC"), latitude, longitude
        )["elevation"].to_numpy(dtype=float)
        for shift in (np.timedelta64(0, "s"), 2 * half)
    ]
    elevation = found["elevation"].to_numpy(dtype=float)
    highest = np.maximum(elevation, np.maximum(*edges))
    place = pvlib.location.Location(latitude, longitude)
    with np.errstate(divide="ignore", invalid="ignore"):  # pvlib divides by cos(zenith) at night
        clear = place.get_clearsky(middle, model="ineichen", solar_position=found)
    return Sun(
        zenith_deg=zenith,
        azimuth_deg=found["azimuth"].to_numpy(dtype=float),
        elevation_deg=elevation,
        dark=np.asarray(highest < HORIZON_DEG, dtype=np.bool_),
        clear_ghi_w_per_m2=np.nan_to_num(clear["ghi"].to_numpy(dtype=float)),
        extra_w_per_m2=np.asarray(
            pvlib.irradiance.get_extra_radiation(middle).to_numpy(dtype=float)
        ),
    )


def plane_yield(
    sun: Sun,
    day_of_year: Ints,
    ghi_w_per_m2: Floats,
    temperature_c: Floats,
    wind_m_per_s: Floats,
    tilt_deg: float,
    azimuth_deg: float,
) -> Floats:
    """Return DC power per installed power, before the inverter's limit; shape (periods,).

    Global to direct and diffuse by Erbs et al. (1982), onto the plane by Hay and Davies (1980),
    cell temperature by Faiman (2008), linear in temperature.

    Parameters
    ----------
    sun : Sun
        From `sun_over`.
    day_of_year : ndarray of int, shape (periods,)
        For the distance of the sun.
    ghi_w_per_m2, temperature_c, wind_m_per_s : ndarray, shape (periods,)
        Global horizontal irradiance, air temperature, wind speed.
    tilt_deg, azimuth_deg : float
        Of the modules: 0 is flat, 180 faces south.
    """
    import pvlib

    ghi = np.maximum(ghi_w_per_m2, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = pvlib.irradiance.erbs(ghi, sun.zenith_deg, day_of_year)
        plane = pvlib.irradiance.get_total_irradiance(
            tilt_deg, azimuth_deg % 360.0, sun.zenith_deg, sun.azimuth_deg,
            parts["dni"], ghi, parts["dhi"], dni_extra=sun.extra_w_per_m2, model="haydavies",
        )  # fmt: skip
    irradiance = np.maximum(np.nan_to_num(np.asarray(plane["poa_global"], dtype=float)), 0.0)
    cell = np.asarray(pvlib.temperature.faiman(irradiance, temperature_c, wind_m_per_s))
    found = irradiance / 1000.0 * (1.0 + TEMPERATURE_SHARE_PER_K * (cell - 25.0))
    return np.where(sun.dark, 0.0, np.maximum(found, 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneFit:
    """A plant as its history shows it.

    ``capacity_mw`` is DC power at 1000 W/m2 on the modules [MW], ``limit_mw`` the inverter's [MW].
    """

    tilt_deg: float
    azimuth_deg: float
    capacity_mw: float
    limit_mw: float
    error_mw: float

    def power_mw(self, yield_per_mw: Floats) -> Floats:
        """Return AC power [MW] from `plane_yield`."""
        return np.minimum(self.capacity_mw * yield_per_mw, self.limit_mw)


def fit_plane(
    sun: Sun,
    day_of_year: Ints,
    ghi_w_per_m2: Floats,
    temperature_c: Floats,
    wind_m_per_s: Floats,
    power_mw: Floats,
    *,
    latitude: float,
    tilt_deg: float | None = None,
    azimuth_deg: float | None = None,
) -> PlaneFit:
    """Fit tilt, azimuth and capacity to a plant's history by the least mean absolute error.

    Parameters
    ----------
    sun, day_of_year, ghi_w_per_m2, temperature_c, wind_m_per_s
        As for `plane_yield`, for the periods of the history.
    power_mw : ndarray, shape (periods,)
        Power [MW]; NaN is left out.
    latitude : float
        Modules face the equator more or less.
    tilt_deg, azimuth_deg : float, optional
        Taken as they are where both are stated.

    Raises
    ------
    InputError
        If the history holds no daylight with power.
    """
    facing = 180.0 if latitude >= 0.0 else 0.0
    planes = [
        (tilt, (facing + turn) % 360.0)
        for tilt in TILTS_DEG
        for turn in (TURNS_DEG if tilt > 0.0 else (0.0,))
    ]
    if tilt_deg is not None and azimuth_deg is not None:
        planes = [(tilt_deg, azimuth_deg)]
    usable = np.isfinite(power_mw) & np.isfinite(ghi_w_per_m2) & ~sun.dark
    limit = float(np.max(power_mw[usable], initial=0.0))
    best: PlaneFit | None = None
    for tilt, azimuth in planes:
        found = plane_yield(
            sun, day_of_year, ghi_w_per_m2, temperature_c, wind_m_per_s, tilt, azimuth
        )[usable]
        bright = found > 0.05
        if not bright.any() or limit <= 0.0:
            continue
        middle = float(np.median(power_mw[usable][bright] / found[bright]))
        for capacity in middle * np.asarray(CLIPS):
            error = np.abs(power_mw[usable] - np.minimum(capacity * found, limit)).mean()
            if best is None or error < best.error_mw:
                best = PlaneFit(
                    tilt_deg=tilt, azimuth_deg=azimuth, capacity_mw=float(capacity),
                    limit_mw=limit, error_mw=float(error),
                )  # fmt: skip
    if best is None:
        refuse_if_any(
            [Problem(where="readings", what="no power in daylight: nothing to fit a PV plant to")]
        )
        raise AssertionError  # refuse_if_any has raised
    return best


def deaccumulate(value: Floats, hour: Ints, seconds: float = 3600.0) -> Floats:
    """Turn sums since the start of each day into means of each period.

    ECMWF accumulates radiation [J/m2] and resets it each day: the first period of a day holds its
    own sum, every other the difference from the one before.

    Parameters
    ----------
    value : ndarray, shape (periods,)
        Accumulated [J/m2], consecutive periods.
    hour : ndarray of int, shape (periods,)
        Hour (UTC) at which each period starts; sums start again at 0.
    seconds : float
        Length of a period [s]; 1 leaves sums as sums (precipitation).

    Returns
    -------
    ndarray, shape (periods,)
        Mean over each period [W/m2], not below zero.

    Examples
    --------
    >>> deaccumulate(np.array([3600.0, 7200.0, 1800.0]), np.array([22, 23, 0])).tolist()
    [1.0, 1.0, 0.5]
    """
    change = np.diff(value, prepend=0.0)
    first = hour == 0
    first[0] = True
    return np.maximum(np.where(first, value, change), 0.0) / seconds


def find_capacity_steps(power_mw: Floats, expected_mw: Floats) -> list[tuple[int, float]]:
    """Find days on which a plant's capacity changed, by binary segmentation.

    Parameters
    ----------
    power_mw, expected_mw : ndarray, shape (days, periods)
        Power and what physics expects for one capacity [MW].

    Returns
    -------
    list of (day, factor)
        The first day of the new capacity and new / old, in the order of time.
    """
    total, expected = np.nansum(power_mw, axis=1), expected_mw.sum(axis=1)
    sunny = (expected > 0.3 * np.quantile(expected, 0.9)) & (total > 0.0)
    days = np.flatnonzero(sunny)
    if len(days) < 2 * STEP_DAYS_MIN:
        return []
    ratio = np.log(total[days] / expected[days])
    found = sorted(_split(ratio, 0, len(ratio)))
    return [(int(days[place]), float(np.exp(step))) for place, step in found]


def _split(ratio: Floats, first: int, last: int) -> list[tuple[int, float]]:
    """Return the steps between two positions: the clearest one, then those on both sides."""
    if last - first < 2 * STEP_DAYS_MIN:
        return []
    best = (0.0, 0, 0.0)
    for place in range(first + STEP_DAYS_MIN, last - STEP_DAYS_MIN + 1):
        before, after = ratio[first:place], ratio[place:last]
        step = float(np.median(after) - np.median(before))
        noise = 1.4826 * np.median(
            np.abs(np.concatenate([before - np.median(before), after - np.median(after)]))
        )
        spread = max(float(noise), 0.02) * np.sqrt(1.0 / len(before) + 1.0 / len(after))
        # The fit of both sides decides between neighbouring places.
        score = abs(step) / spread
        if score > best[0]:
            best = (score, place, step)
    score, place, step = best
    if score < STEP_SCORE_MIN or abs(step) < np.log(STEP_FACTOR_MIN):
        return []
    return [*_split(ratio, first, place), (place, step), *_split(ratio, place, last)]
