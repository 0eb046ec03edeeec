"""Net load into load, solar and wind, where only the sum is metered.

The model of each period is

    net = base(hour, day class, temperature) - c_s y_s - c_w y_w + e,     0 <= c <= installed,

with the unit yield y (MW per MW installed) from weather and the effective capacity c from a
bounded least squares with the installed capacity as prior. What remains, e, is load or generation
that weather did not tell; each gets the share that its variance has at that yield, as in a Kalman
gain (Kalman 1960, doi:10.1115/1.3662552): at night all of it is load.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.periods import Periods
from forecasting.readings import local_slots

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Performance of modules, inverters and their age together, at 1000 W/m2 in the plane.
PERFORMANCE: Final = 0.82
PLANE_TILT_DEG: Final = 20.0
# Speeds [m/s] and output of a fleet, share of installed: a turbine's curve smeared by its places.
WIND_SPEED_M_PER_S: Final = (0.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0,
                             16.0, 24.0, 28.0)  # fmt: skip
WIND_SHARE: Final = (0.0, 0.01, 0.04, 0.09, 0.16, 0.26, 0.38, 0.52, 0.66, 0.78, 0.87, 0.93, 0.96,
                     0.98, 0.98, 0.0)  # fmt: skip
# Weather models see the wind of a grid square; at the turbines it is one of these times that.
WIND_SCALES: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
PRIOR_WIND_SCALE: Final = 0.8
WIND_SCALE_GAIN: Final = 0.1
CLOCK_RANGE_H: Final = 4
# A clock offset has to explain this much more of the variance than none.
CLOCK_GAIN: Final = 0.02
SIGN_GAIN: Final = 0.15
# The other technology's weather must explain this much more before a register is not believed.
SWAP_GAIN: Final = 0.25
DAYS_MIN: Final = 7
# Weight of the prior: the standard deviation of c about 0.8 of what is installed, relative.
PRIOR_SHARE: Final = 0.8
PRIOR_SPREAD: Final = 0.35
PRIOR_DAYS: Final = 50.0
# The net load is dead where it moves less than this share of what is installed.
DEAD_SHARE: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """Weather at the periods: irradiance [W/m2, horizontal], wind speed at 100 m [m/s]."""

    ghi_w_per_m2: Floats
    wind_m_per_s: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """Installed capacity below the meter [MW]; 0 where there is none."""

    solar_mw: float
    wind_mw: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Disaggregation:
    """Parts of a net load, shape (periods,) each; net = load - solar - wind.

    Parameters
    ----------
    load_mw, solar_mw, wind_mw : ndarray
        Load (withdrawal) and generation, both non-negative capacities' worth [MW].
    effective_solar_mw, effective_wind_mw : float
        Capacity that explains the readings [MW].
    wind_scale : float
        Factor on the forecast wind speed.
    clock_offset_h : float
        By how much the meter's clock is ahead of the weather's [h].
    sign : int
        -1 where the net load was metered with the other sign.
    notes : tuple of str
        What was assumed and found: every fallback is named.
    """

    load_mw: Floats
    solar_mw: Floats
    wind_mw: Floats
    effective_solar_mw: float
    effective_wind_mw: float
    wind_scale: float
    clock_offset_h: float
    sign: int
    notes: tuple[str, ...]


def solar_yield(
    ghi_w_per_m2: Floats, periods: Periods, latitude: float, longitude: float
) -> Floats:
    """Return the output of a fleet of PV plants per installed MW, shape (periods,).

    Irradiance on a plane of 20 deg facing the equator: beam and diffuse parts by the model of Erbs
    et al. (1982, doi:10.1016/0038-092X(82)90302-4), isotropic sky, times the performance ratio.
    """
    import pandas as pd
    import pvlib

    middle = pd.date_range(
        periods.start + periods.mtu / 2, periods=len(periods), freq=f"{periods.mtu_minutes}min"
    )
    sun = pvlib.solarposition.get_solarposition(middle, latitude, longitude)
    zenith = sun["apparent_zenith"].to_numpy(dtype=float)
    ghi = np.maximum(ghi_w_per_m2, 0.0)
    parts = pvlib.irradiance.erbs(ghi, sun["zenith"].to_numpy(dtype=float), middle.dayofyear)
    plane = pvlib.irradiance.get_total_irradiance(
        PLANE_TILT_DEG, 180.0 if latitude >= 0.0 else 0.0, zenith,
        sun["azimuth"].to_numpy(dtype=float), np.asarray(parts["dni"]), ghi,
        np.asarray(parts["dhi"]),
    )  # fmt: skip
    irradiance = np.nan_to_num(np.asarray(plane["poa_global"], dtype=float))
    day = zenith < 90.0
    share: Floats = np.clip(PERFORMANCE * irradiance / 1000.0, 0.0, 1.0) * day
    return share


def wind_yield(wind_m_per_s: Floats, scale: float = 1.0) -> Floats:
    """Return the output of a fleet of turbines per installed MW, shape (periods,)."""
    speed = np.maximum(wind_m_per_s, 0.0) * scale
    return np.asarray(np.interp(speed, WIND_SPEED_M_PER_S, WIND_SHARE))


def disaggregate_net_load(
    net_mw: Floats,
    periods: Periods,
    weather: Weather,
    installed: Installed,
    *,
    latitude: float,
    longitude: float,
    timezone: str = "Europe/Amsterdam",
) -> Disaggregation:
    """Split a net load into load, solar and wind.

    Parameters
    ----------
    net_mw : ndarray, shape (periods,)
        Metered net load [MW], + withdrawal; NaN where none was read.
    periods : Periods
        The periods.
    weather : Weather
        Past weather, shape (periods,) each.
    installed : Installed
        What stands below the meter.
    latitude, longitude : float
        Position [deg].
    timezone : str
        IANA zone of the wall clock that loads follow.

    Returns
    -------
    Disaggregation
        Parts at every period, also where the net load is NaN (there the weather alone tells).

    Raises
    ------
    InputError
        If shapes differ, weather is not finite, or a capacity is negative.
    """
    _refuse_bad_input(net_mw, periods, weather, installed)
    solar = solar_yield(weather.ghi_w_per_m2, periods, latitude, longitude)
    read = np.isfinite(net_mw)
    total = installed.solar_mw + installed.wind_mw
    if read.sum() < DAYS_MIN * 24 / periods.mtu_h or _moves(net_mw[read]) < DEAD_SHARE * total:
        return _from_weather_alone(net_mw, solar, weather.wind_m_per_s, installed)
    base = _base_columns(periods, timezone)
    search = _prepare_search(net_mw, base, solar, weather.wind_m_per_s, periods.mtu_h)
    stated = _best_fit(search, installed)
    swapped = Installed(solar_mw=installed.wind_mw, wind_mw=installed.solar_mw)
    if min(installed.solar_mw, installed.wind_mw) > 0.0:
        return _attribute(net_mw, stated, installed, ())
    # One technology is stated: does the other one's weather tell far more of the net load?
    other = _best_fit(search, swapped)
    if other.explained > stated.explained + SWAP_GAIN:
        note = "what is stated as one technology follows the other's weather; taken as that"
        return _attribute(net_mw, other, swapped, (note,))
    return _attribute(net_mw, stated, installed, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """One least squares.

    Parameters
    ----------
    cost : float
        Sum of squares left, prior included [MW2].
    explained : float
        Share of the variance about the base that the stated technologies explain.
    capacity_mw : ndarray, shape (2,)
        What responds to the solar and to the wind yield [MW], stated or not.
    base_mw : ndarray, shape (periods,)
        Base load [MW].
    yields : ndarray, shape (periods, 2)
        Solar and wind, at the clock and wind speed chosen.
    """

    cost: float
    explained: float
    capacity_mw: Floats
    base_mw: Floats
    yields: Floats
    sign: int
    wind_scale: float
    offset_h: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """One clock and one wind speed, with what a least squares needs of them.

    ``gram`` is M'M [1], ``cross`` M't [MW] with M the yields' columns and t the net load, both
    with the base projected out.
    """

    yields: Floats
    gram: Floats
    cross: Floats
    wind_scale: float
    offset_h: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """All candidates for one net load; the nearest to no offset and the prior wind come first."""

    net_mw: Floats
    base: Floats
    read: NDArray[np.int64]
    target_square: float
    candidates: tuple[_Candidate, ...]


def _prepare_search(
    net_mw: Floats, base: Floats, solar: Floats, wind_m_per_s: Floats, mtu_h: float
) -> _Search:
    # One row an hour tells what four quarter-hours do.
    read = np.flatnonzero(np.isfinite(net_mw))[:: max(1, round(1.0 / mtu_h))]
    basis, _ = np.linalg.qr(base[read])

    def apart(columns: Floats) -> Floats:
        return np.asarray(columns - basis @ (basis.T @ columns))

    target = apart(net_mw[read])
    scales = sorted(WIND_SCALES, key=lambda scale: abs(scale - PRIOR_WIND_SCALE))
    winds = [wind_yield(wind_m_per_s, scale) for scale in scales]
    candidates = []
    for offset_h in sorted(range(-CLOCK_RANGE_H, CLOCK_RANGE_H + 1), key=abs):
        rows = round(offset_h / mtu_h)
        for scale, wind in zip(scales, winds, strict=True):
            yields = np.column_stack([moved_by_rows(solar, rows), moved_by_rows(wind, rows)])
            matrix = -apart(yields[read])
            candidates.append(
                _Candidate(
                    yields=yields, gram=matrix.T @ matrix, cross=matrix.T @ target,
                    wind_scale=scale, offset_h=offset_h,
                )
            )  # fmt: skip
    return _Search(
        net_mw=net_mw, base=base, read=read, target_square=float(target @ target),
        candidates=tuple(candidates),
    )  # fmt: skip


def _best_fit(search: _Search, installed: Installed) -> _Fit:
    """Choose sign, clock and wind speed; each has to explain clearly more than none."""
    best: tuple[float, float, Floats, int, _Candidate] | None = None
    for candidate in search.candidates:
        for sign in (1, -1):
            capacity, cost, explained = _solve(search, candidate, sign, installed)
            handicap = 1.0 - CLOCK_GAIN * (candidate.offset_h != 0) - SIGN_GAIN * (sign < 0)
            handicap -= WIND_SCALE_GAIN * abs(candidate.wind_scale - PRIOR_WIND_SCALE)
            if best is None or cost < best[0] * handicap:
                best = (cost, explained, capacity, sign, candidate)
    assert best is not None  # there is always a candidate
    cost, explained, capacity, sign, chosen = best
    load = sign * search.net_mw[search.read] + chosen.yields[search.read] @ capacity
    weights = np.linalg.lstsq(search.base[search.read], load, rcond=None)[0]
    return _Fit(
        cost=cost, explained=explained, capacity_mw=capacity, base_mw=search.base @ weights,
        yields=chosen.yields, sign=sign, wind_scale=chosen.wind_scale,
        offset_h=float(chosen.offset_h),
    )  # fmt: skip


def _solve(
    search: _Search, candidate: _Candidate, sign: int, installed: Installed
) -> tuple[Floats, float, float]:
    """Return the capacities that respond [MW], the cost [MW2] and the share explained.

    What is stated has 0.8 of it as prior; what is not stated may respond too (plants nobody
    registered), from zero up.
    """
    from scipy.optimize import nnls

    stated = np.array([installed.solar_mw, installed.wind_mw])
    known = stated > 0.0
    spread = np.where(known, PRIOR_SPREAD * stated, stated.sum())
    # Quarter-hours of one weather front are one observation: the prior weighs as much as a day's.
    weight = search.target_square / PRIOR_DAYS
    precision = np.diag(weight / np.maximum(spread, 1e-9) ** 2)
    mean = np.where(known, PRIOR_SHARE * stated, 0.0)
    gram = candidate.gram + precision
    aim = sign * candidate.cross + precision @ mean
    upper = np.linalg.cholesky(gram).T
    capacity = np.asarray(nnls(upper, np.linalg.solve(upper.T, aim))[0], dtype=float)
    cost = float(capacity @ gram @ capacity - 2.0 * aim @ capacity)
    cost += search.target_square + float(mean @ precision @ mean)

    def left(chosen: Floats) -> float:
        square = chosen @ candidate.gram @ chosen - 2.0 * sign * candidate.cross @ chosen
        return float(square) + search.target_square

    without = left(np.where(known, 0.0, capacity))
    explained = 1.0 - left(capacity) / max(without, 1e-12)
    return capacity, cost, explained


def _refuse_bad_input(
    net_mw: Floats, periods: Periods, weather: Weather, installed: Installed
) -> None:
    problems = []
    for name, values in (
        ("net load", net_mw),
        ("ghi_w_per_m2", weather.ghi_w_per_m2),
        ("wind_m_per_s", weather.wind_m_per_s),
    ):
        if values.shape != (len(periods),):
            problems.append(Problem(where=name, what=f"shape {values.shape}"))
        elif name != "net load" and not np.isfinite(values).all():
            problems.append(Problem(where=name, what="a value is not a number"))
    for name, capacity in (("solar", installed.solar_mw), ("wind", installed.wind_mw)):
        if not (np.isfinite(capacity) and capacity >= 0.0):
            problems.append(Problem(where=f"installed {name}", what=f"{capacity} MW"))
    if not problems and installed.solar_mw + installed.wind_mw == 0.0:
        problems.append(
            Problem(where="installed", what="neither solar nor wind", remedy="nothing to split")
        )
    refuse_if_any(problems)


def _moves(values: Floats) -> float:
    """Return the width of the middle 90 % of the values [MW]."""
    low, high = np.quantile(values, (0.05, 0.95))
    return float(high - low)


def _base_columns(periods: Periods, timezone: str) -> Floats:
    """Return what the load follows: hour of the workday, of the weekend, and slow drift."""
    clock = local_slots(periods, timezone)
    hour = (clock.slot * periods.mtu_minutes) // 60
    kind = np.minimum(clock.day_class, 1)
    columns = np.zeros((len(periods), 48))
    columns[np.arange(len(periods)), hour + 24 * kind] = 1.0
    weeks = (clock.day - clock.day.min()) / 7.0
    drift = np.column_stack([weeks, weeks**2]) / max(float(weeks.max()), 1.0)
    return np.column_stack([columns, drift])


def moved_by_rows(values: Floats, rows: int) -> Floats:
    """Move a series by rows (later: positive); what is left at its ends keeps the nearest value."""
    places = np.clip(np.arange(len(values)) - rows, 0, len(values) - 1)
    return np.asarray(values[places])


def _attribute(
    net_mw: Floats, fit: _Fit, installed: Installed, notes: tuple[str, ...]
) -> Disaggregation:
    """Give what remains to load or generation, by their variances at this yield."""
    net = fit.sign * net_mw
    read = np.isfinite(net)
    stated = np.array([installed.solar_mw, installed.wind_mw])
    whole = fit.yields @ fit.capacity_mw
    rest = np.where(read, net - (fit.base_mw - whole), 0.0)
    # More responds than is stated: how well the stated part runs is then only known a priori.
    capacity = np.minimum(fit.capacity_mw, PRIOR_SHARE * stated)
    # Of what responds, this much is stated; the others' share of the rest stays with the load.
    share = capacity / np.maximum(fit.capacity_mw, 1e-12)
    # Weather errs most in the middle of the curve.
    doubt = np.sqrt(fit.yields * np.maximum(1.0 - fit.yields, 0.1)) * fit.capacity_mw
    variance = _variances(rest[read], doubt[read])
    parts = doubt**2 * variance[1:]
    gain = share * parts / (parts.sum(axis=1) + variance[0])[:, None]
    generation = np.clip(fit.yields * capacity - gain * rest[:, None], 0.0, stated)
    generation[fit.yields <= 0.0] = 0.0
    found = list(notes)
    if fit.sign < 0:
        found.append("net load metered with the other sign; turned")
    if fit.offset_h:
        found.append(f"meter's clock {fit.offset_h:+g} h from the weather's; moved")
    return Disaggregation(
        load_mw=net + generation.sum(axis=1),
        solar_mw=generation[:, 0],
        wind_mw=generation[:, 1],
        effective_solar_mw=float(capacity[0]),
        effective_wind_mw=float(capacity[1]),
        wind_scale=fit.wind_scale,
        clock_offset_h=fit.offset_h,
        sign=fit.sign,
        notes=tuple(found),
    )


def _variances(rest_mw: Floats, doubt_mw: Floats) -> Floats:
    """Return the variance of load [MW2] and of solar and wind [share2], by non-negative fit.

    Squared rests are regressed on (1, doubt_solar^2, doubt_wind^2), the largest one in a hundred
    left out.
    """
    from scipy.optimize import nnls

    squared = rest_mw**2
    kept = squared <= np.quantile(squared, 0.99)
    matrix = np.column_stack([np.ones(len(rest_mw)), doubt_mw**2])[kept]
    answer, _ = nnls(matrix, squared[kept])
    found = np.asarray(answer, dtype=float)
    found[0] = max(found[0], 0.02 * float(squared.mean()))
    return found


def _from_weather_alone(
    net_mw: Floats, solar: Floats, wind_m_per_s: Floats, installed: Installed
) -> Disaggregation:
    """Return the prior: where the net load says nothing, weather and registers do."""
    capacity = PRIOR_SHARE * np.array([installed.solar_mw, installed.wind_mw])
    parts = (capacity[0] * solar, capacity[1] * wind_yield(wind_m_per_s, PRIOR_WIND_SCALE))
    note = (
        f"net load dead or shorter than {DAYS_MIN} days: parts are {PRIOR_SHARE:g} of the "
        "installed capacity times the unit yield"
    )
    return Disaggregation(
        load_mw=net_mw + parts[0] + parts[1],
        solar_mw=parts[0],
        wind_mw=parts[1],
        effective_solar_mw=float(capacity[0]),
        effective_wind_mw=float(capacity[1]),
        wind_scale=PRIOR_WIND_SCALE,
        clock_offset_h=0.0,
        sign=1,
        notes=(note,),
    )
