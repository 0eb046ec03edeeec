"""Load a month ahead, beyond any weather forecast: past weather as scenarios, beside climatology.

Lines by hour learn load from calendar and temperature. The weather of the same weeks in past
years, moved by some days either way, is put through them; each scenario starts from today's
anomaly, which fades as anomalies did in the past. The quantiles over scenarios and line errors are
averaged with those of recent years' load at this time of year (climatology), which the lines'
drift does not reach. Competition setting: Hong et al. 2016, doi:10.1016/j.ijforecast.2016.02.001.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from forecasting.linear import SlotLines, fit_slot_lines, hinges

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

HOURS: Final = 24
# Temperature of the last three days enters: a forecast needs them before its first day.
WARM_UP_DAYS: Final = 4
WEEK: Final = 7
STATIONS_MAX: Final = 8
STATION_DAYS: Final = 1100
LAG_WEIGHT_MAX_DAYS: Final = 40
# Knots in standard deviations of the temperature: now, mean of a day, mean of three days.
KNOTS_NOW: Final = (-1.3, -0.8, -0.3, 0.1, 0.5, 0.9, 1.3)
KNOTS_DAY: Final = (-1.0, -0.3, 0.4, 1.0)
KNOTS_THREE_DAYS: Final = (-0.5, 0.6)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthAheadRule:
    """Choices; docs/benchmarks.md says how they were made and what they cost.

    Parameters
    ----------
    half_life_years : float
        Older rows of the lines weigh less by it.
    shifts_days : tuple of int
        How far past weather is moved.
    years_max : int
        Years of past weather.
    climatology_years : int
        Years of past load.
    climatology_days : int
        Days either side.
    climatology_weight : float
        Of climatology in the average with the lines.
    level_spread : float
        Standard deviation of what the level of a whole month may still do (log load).
    """

    half_life_years: float = 2.0
    shifts_days: tuple[int, ...] = (-8, -4, 0, 4, 8)
    years_max: int = 10
    climatology_years: int = 3
    climatology_days: int = 15
    climatology_weight: float = 0.5
    level_spread: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class HourlyHistory:
    """What was known at the gate, by whole local days of 24 hours.

    Parameters
    ----------
    day : ndarray of int, shape (days,)
        Consecutive ordinals (`datetime.date.toordinal`).
    load_mw : ndarray, shape (days, 24)
        NaN before the first load reading; finite from then on, positive.
    temperature : ndarray, shape (days, 24, stations)
        Any unit.
    holidays : frozenset of int
        Ordinals of public holidays, coming ones too.
    """

    day: Ints
    load_mw: Floats
    temperature: Floats
    holidays: frozenset[int]


def forecast_month_ahead(
    history: HourlyHistory,
    count: int,
    levels: Sequence[float],
    rule: MonthAheadRule | None = None,
) -> Floats:
    """Forecast the days after the history, without any weather forecast.

    Parameters
    ----------
    history : HourlyHistory
        Two years of load or more.
    count : int
        Days to forecast.
    levels : sequence of float
        Probability levels.
    rule : MonthAheadRule, optional
        Choices.

    Returns
    -------
    ndarray, shape (count x 24, levels)
        Quantiles [MW], non-decreasing.

    Raises
    ------
    InputError
        If there are fewer than two years of load, or days are not consecutive.
    """
    rule = rule or MonthAheadRule()
    _refuse_problems(history)
    ahead = history.day[-1] + 1 + np.arange(count)
    lines = lines_with_scenarios(history, ahead, levels, rule)
    climate = climatology(history, ahead, levels, rule)
    return blend_month_ahead(lines, climate, rule.climatology_weight)


def blend_month_ahead(lines: Floats, climate: Floats, climatology_weight: float) -> Floats:
    """Average the two parts' quantiles level by level, non-decreasing."""
    return np.sort(climatology_weight * climate + (1.0 - climatology_weight) * lines, axis=1)


def climatology(
    history: HourlyHistory, ahead: Ints, levels: Sequence[float], rule: MonthAheadRule
) -> Floats:
    """Return quantiles of the load of recent years near each date, by hour, weekend apart.

    Returns
    -------
    ndarray, shape (len(ahead) x 24, levels)
        Quantiles [MW].
    """
    first = history.day[0]
    seen = _days_with_load(history)
    weekend = (history.day + 6) % WEEK >= 5
    near = np.arange(-rule.climatology_days, rule.climatology_days + 1)
    found = []
    for ordinal in ahead.tolist():
        middle = [_years_before(ordinal, k) - first for k in range(1, rule.climatology_years + 1)]
        rows = (np.array(middle)[:, None] + near).ravel()
        rows = rows[(rows >= 0) & (rows < len(seen))]
        rows = rows[seen[rows] & (weekend[rows] == ((ordinal + 6) % WEEK >= 5))]
        found.append(np.quantile(history.load_mw[rows], levels, axis=0).T)
    return np.concatenate(found)


def weather_scenarios(
    history: HourlyHistory, ahead: Ints, rule: MonthAheadRule
) -> tuple[Floats, Floats]:
    """Return temperatures that the coming days may see, from the same weeks of past years.

    With a the anomaly of the day before and r(L) its autocorrelation at lead L, scenario s is
    T_s(L) + (a_now - a_s) r(L): the conditional mean moves to today's anomaly and the spread
    narrows to sqrt(1 - r^2) (Matheron's rule for conditioning paths).

    Returns
    -------
    scenarios : ndarray, shape (scenarios, WARM_UP_DAYS + days ahead, 24)
        Standardised temperature; the first days are what was measured.
    past : ndarray, shape (days, 24)
        Standardised temperature of the history, for the lines.
    """
    chosen = _best_stations(history)
    mean = history.temperature[:, :, chosen].mean(axis=2)
    past = (mean - mean.mean()) / mean.std()
    anomaly, fading = _daily_anomaly(history.day, past.mean(axis=1))
    today, first, count = len(past), history.day[0], len(ahead)
    lead = np.concatenate([np.ones(WARM_UP_DAYS), fading[1 : count + 1]])
    found = []
    for years in range(1, rule.years_max + 1):
        start = _years_before(int(ahead[0]), years) - first
        for shift in rule.shifts_days:
            begin, end = start + shift - WARM_UP_DAYS, start + shift + count
            if begin < 1 or end > today:
                continue
            path = past[begin:end].copy()
            moved = anomaly[today - 1] - anomaly[start + shift - 1]
            path += (moved * lead)[:, None]
            path[:WARM_UP_DAYS] = past[today - WARM_UP_DAYS :]
            found.append(path)
    return np.array(found), past


def _best_stations(history: HourlyHistory) -> Ints:
    """Return the stations whose daily temperature tells most about daily load (cubic fit)."""
    rows = np.flatnonzero(_days_with_load(history))[-STATION_DAYS:]
    target = np.log(history.load_mw[rows]).mean(axis=1)
    errors = []
    for station in range(history.temperature.shape[2]):
        value = history.temperature[rows, :, station].mean(axis=1)
        value = (value - value.mean()) / max(float(value.std()), 1e-9)
        powers = np.vander(value, 4)
        errors.append(float((target - powers @ np.linalg.lstsq(powers, target)[0]).std()))
    return np.argsort(errors, kind="stable")[:STATIONS_MAX].astype(np.int64)


def _daily_anomaly(day: Ints, value: Floats) -> tuple[Floats, Floats]:
    """Return the deviation from the season, and its autocorrelation by lead in days."""
    angle = 2.0 * np.pi * _day_of_year(day) / 365.25
    season = np.column_stack(
        [np.ones(len(day)), *(f(k * angle) for k in (1, 2) for f in (np.sin, np.cos))]
    )
    anomaly = value - season @ np.linalg.lstsq(season, value)[0]
    square = float((anomaly**2).mean())
    leads = range(LAG_WEIGHT_MAX_DAYS)
    fading = [float((anomaly[k:] * anomaly[: len(anomaly) - k]).mean()) / square for k in leads]
    return anomaly, np.array(fading)


def lines_with_scenarios(
    history: HourlyHistory, ahead: Ints, levels: Sequence[float], rule: MonthAheadRule
) -> Floats:
    """Fit lines on the past and return quantiles over scenarios and their errors.

    Returns
    -------
    ndarray, shape (len(ahead) x 24, levels)
        Quantiles [MW].
    """
    from scipy.special import ndtri

    scenarios, past = weather_scenarios(history, ahead, rule)
    known = np.flatnonzero(_days_with_load(history))
    known = known[known >= known[0] + WEEK]
    features = _temperature_features(past)[known]
    features = np.concatenate([_calendar(history.day[known], history), features], axis=2)
    target = np.log(history.load_mw[known])
    age_years = (history.day[-1] - history.day[known]) / 365.25
    weight = 0.5 ** (age_years / rule.half_life_years)
    slot = np.tile(np.arange(HOURS), len(known))
    width = features.shape[2]
    lines = fit_slot_lines(
        features.reshape(-1, width), target.ravel(), slot, np.repeat(weight, HOURS)
    )
    error = target.ravel() - lines.predict(features.reshape(-1, width), slot)
    calendar = _calendar(ahead, history)
    paths = np.array([_along(lines, calendar, path, len(ahead)) for path in scenarios])
    draws = ndtri((np.arange(6) + 0.5) / 6.0) * np.hypot(float(error.std()), rule.level_spread)
    cloud = (paths[:, None, :] + draws[None, :, None]).reshape(-1, paths.shape[1])
    return np.asarray(np.exp(np.quantile(cloud, levels, axis=0)).T)


def _along(lines: SlotLines, calendar: Floats, path: Floats, count: int) -> Floats:
    """Return log load along one path of temperature, shape (count x 24,)."""
    features = np.concatenate([calendar, _temperature_features(path)[-count:]], axis=2)
    slot = np.tile(np.arange(HOURS), count)
    return lines.predict(features.reshape(-1, features.shape[2]), slot)


def _temperature_features(temperature: Floats) -> Floats:
    """Return bent temperature now and over the last hours and days, shape (days, 24, features)."""
    hourly = temperature.ravel()
    cumulated = np.concatenate([[0.0], np.cumsum(hourly)])
    place = np.arange(len(hourly)) + 1

    def last(hours: int) -> Floats:
        start = np.maximum(place - hours, 0)
        return np.asarray((cumulated[place] - cumulated[start]) / (place - start))

    columns = [hinges(hourly, KNOTS_NOW), hinges(last(24), KNOTS_DAY), last(6)[:, None],
               hinges(last(72), KNOTS_THREE_DAYS)]  # fmt: skip
    return np.column_stack(columns).reshape(len(temperature), HOURS, -1)


def _calendar(day: Ints, history: HourlyHistory) -> Floats:
    """Return season, weekday, holiday and years from now, shape (days, 24, features)."""
    angle = 2.0 * np.pi * _day_of_year(day) / 365.25
    weekday = (day + 6) % WEEK
    weekend = (weekday >= 5).astype(float)
    holiday = np.array([float(ordinal in history.holidays) for ordinal in day.tolist()])
    columns = [f(k * angle) for k in (1, 2, 3) for f in (np.sin, np.cos)]
    columns += [(weekday == k).astype(float) for k in range(1, WEEK)]
    columns += [holiday, weekend * np.sin(angle), weekend * np.cos(angle)]
    # The slope in time ends at the gate: a month on is not extrapolated.
    columns.append(np.minimum(day - history.day[-1], 0) / 365.25)
    return np.repeat(np.column_stack(columns)[:, None, :], HOURS, axis=1)


def _days_with_load(history: HourlyHistory) -> Bools:
    return np.asarray(np.isfinite(history.load_mw).all(axis=1), dtype=np.bool_)


def _day_of_year(day: Ints) -> Floats:
    return np.array([float(date.fromordinal(k).timetuple().tm_yday) for k in day.tolist()])


def _years_before(ordinal: int, years: int) -> int:
    """Return the ordinal of the same date years before; 29 February becomes the 28th."""
    day = date.fromordinal(ordinal)
    if (day.month, day.day) == (2, 29):
        day = day.replace(day=28)
    return day.replace(year=day.year - years).toordinal()


def _refuse_problems(history: HourlyHistory) -> None:
    problems = []
    if (np.diff(history.day) != 1).any():
        problems.append(Problem(where="history", what="days are not consecutive"))
    seen = _days_with_load(history)
    if seen.sum() < 730:
        problems.append(
            Problem(where="history", what=f"{int(seen.sum())} days of load, two years are needed")
        )
    elif not seen[np.argmax(seen) :].all():
        problems.append(Problem(where="history", what="load has gaps", remedy="repair it first"))
    elif not (history.load_mw[seen] > 0.0).all():
        problems.append(Problem(where="history", what="load is not positive everywhere"))
    if not np.isfinite(history.temperature).all():
        problems.append(Problem(where="history", what="a temperature is not a number"))
    refuse_if_any(problems)
