"""Intraday: the rest of the day, corrected by what the last readings showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.periods import Periods, format_utc
from data.records.forecast import Forecast, Reading
from forecasting.day_ahead import keep_last
from forecasting.quantiles import order_and_cap
from forecasting.readings import SERIES_KINDS, SeriesKind, reading_problems

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MODEL_ID: Final = "residual-decay/2"
WINDOW_H: Final = 1.0
FIT_DAYS: Final = 14
FIT_DAYS_MIN: Final = 3
HALF_LIFE_RANGE_H: Final = (0.25, 12.0)
# Each plant's anomalies fade at their own pace; loads and clouds are better fitted together.
FITTED_ALONE: Final[tuple[SeriesKind, ...]] = ("wind", "other")
# Used, and named, where the readings are too short to fit one.
HALF_LIFE_H: Final[dict[SeriesKind, float]] = {"load": 2.0, "pv": 2.0, "wind": 5.0, "other": 3.0}
# A PV residual is a ratio; below this share of capacity the ratio is noise.
PV_SHARE_MIN: Final = 0.02
PV_RATIO_RANGE: Final = (0.1, 3.0)
# The band never gets narrower than this share of the day-ahead band.
BAND_SHARE_MIN: Final = 0.25


def forecast_intraday(
    *,
    previous: Forecast,
    reading: Reading,
    kinds: Mapping[str, SeriesKind],
    capacity_mw: Mapping[str, float],
    periods: Periods,
    known_at: datetime,
) -> Forecast:
    """Correct a forecast for the periods that remain.

    With e the residual of the last hour read and L the lead time,

        median(L) = previous median(L) + e rho(L),      rho(L) = 2^(-L / half-life)
        band(L)   = previous band(L) x max(0.25, sqrt(1 - rho(L)^2)),

    the conditional mean and spread of a first-order autoregression (Box, Jenkins, Reinsel 2008,
    sec. 5). For PV, e multiplies (actual / median) so that dawn and dusk keep their shape. The
    half-life is fitted to the readings' differences from the day before (loads and PV: one for
    all; other plants: one each).

    Parameters
    ----------
    previous : Forecast
        The day-ahead forecast (an intraday one works too, but corrections then add up).
    reading : Reading
        Readings up to the gate, same series ids (any order, more are ignored); the last two weeks
        are used to fit.
    kinds, capacity_mw : mapping
        As for the day-ahead forecast.
    periods : Periods
        The periods that remain; all in ``previous``, none before the end of the readings.
    known_at : datetime
        The gate.

    Returns
    -------
    Forecast
        Same series and quantiles as ``previous``; its warnings and fallbacks are kept and new ones
        are appended.

    Raises
    ------
    InputError
        With all problems: NaN, readings after the gate, series or periods that are missing.
    """
    problems = reading_problems(reading, known_at)
    problems += _coverage_problems(previous, reading, kinds, periods, known_at)
    refuse_if_any(problems)
    recent = keep_last(_same_series(reading, previous.series), FIT_DAYS)
    kind_of = np.array([kinds[name] for name in previous.series])
    capacity = np.array([capacity_mw.get(name, np.inf) for name in previous.series])
    first = round((periods.start - previous.periods.start) / periods.mtu)
    before = previous.value_mw[:, first:]
    median = before[:, :, previous.quantiles.index(0.5)]

    window, fallbacks = _recent_window(previous, recent)
    lead_h = (np.arange(len(periods)) + 1.0) * periods.mtu_h + (
        periods.start - recent.periods.end
    ) / timedelta(hours=1)
    corrected = median.copy()
    band_share = np.ones_like(median)
    for kind in SERIES_KINDS:
        rows = np.flatnonzero(kind_of == kind)
        if len(rows) == 0:
            continue
        half_life_h, fallback = _half_lives_h(recent, rows, kind)
        fallbacks += fallback
        rho = 0.5 ** (lead_h[None, :] / half_life_h[:, None])
        if kind == "pv":
            ratio, usable = _pv_ratio(window, rows, capacity[rows])
            corrected[rows] *= 1.0 + (ratio - 1.0)[:, None] * rho
        else:
            residual = (window.actual_mw[:, rows] - window.median_mw[:, rows]).mean(axis=0)
            corrected[rows] += residual[:, None] * rho
            usable = np.ones(len(rows), dtype=bool)
        narrowed = np.maximum(BAND_SHARE_MIN, np.sqrt(1.0 - rho**2))
        band_share[rows] = np.where(usable[:, None], narrowed, 1.0)
    value = corrected[:, :, None] + (before - median[:, :, None]) * band_share[:, :, None]
    # What was forecast or read above the stated capacity may be forecast again.
    ceiling = np.maximum(np.maximum(capacity, previous.value_mw.max(axis=(1, 2))),
                         recent.value_mw.max(axis=0))  # fmt: skip
    return Forecast(
        series=previous.series,
        periods=periods,
        quantiles=previous.quantiles,
        value_mw=order_and_cap(value, 0.0, ceiling[:, None, None]),
        known_at=known_at,
        model_id=f"{previous.model_id.split('+')[0]}+{MODEL_ID}",
        warnings=previous.warnings,
        fallbacks=tuple(dict.fromkeys((*previous.fallbacks, *fallbacks))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """The last periods read and the previous median for them, shape (periods, series) [MW]."""

    actual_mw: Floats
    median_mw: Floats


def _recent_window(previous: Forecast, reading: Reading) -> tuple[_Window, list[str]]:
    """Cut the last hour; before the day's first reading the first forecast period stands in."""
    count = min(max(1, round(WINDOW_H / reading.periods.mtu_h)), len(reading.periods))
    median = previous.median_mw().T
    last = round((reading.periods.end - previous.periods.start) / reading.periods.mtu)
    overlap = min(count, last)
    if overlap >= 1:
        return _Window(
            actual_mw=reading.value_mw[-overlap:], median_mw=median[last - overlap : last]
        ), []
    note = "intraday: no reading of the day yet; residual against its first forecast period"
    return _Window(actual_mw=reading.value_mw[-count:], median_mw=median[:1]), [note]


def _pv_ratio(window: _Window, rows: Ints, capacity_mw: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return actual / median of the last hour and where it means something (daylight)."""
    actual, median = window.actual_mw[:, rows].mean(axis=0), window.median_mw[:, rows].mean(axis=0)
    usable = median > PV_SHARE_MIN * capacity_mw
    ratio = np.where(usable, actual / np.where(usable, median, 1.0), 1.0)
    return np.clip(ratio, *PV_RATIO_RANGE), usable


def _half_lives_h(reading: Reading, rows: Ints, kind: SeriesKind) -> tuple[Floats, list[str]]:
    """Return the half-life of each series [h], shape (rows,).

    A first-order autoregression of hourly means per series (statsmodels' AutoReg) of differences
    from the day before; where a series never moves, its kind's stands in.
    """
    whole, notes = _half_life_h(reading, rows, kind)
    found = np.full(len(rows), whole)
    if kind not in FITTED_ALONE or notes:
        return found, notes
    per_day = round(24 / reading.periods.mtu_h)
    series = reading.value_mw[per_day:, rows] - reading.value_mw[:-per_day, rows]
    hour = max(1, round(1 / reading.periods.mtu_h))
    count = len(series) // hour
    hourly = series[len(series) - count * hour :].reshape(count, hour, -1).mean(axis=1)
    for place, column in enumerate(hourly.T):
        if column.std() > 0.0:
            found[place] = _half_life_of(_autoregression(column))
    return found, notes


def _autoregression(hourly: Floats) -> float:
    """Return the coefficient of a first-order autoregression without a constant."""
    from statsmodels.tsa.ar_model import AutoReg

    return float(AutoReg(hourly / hourly.std(), 1, trend="n").fit().params[0])


def _half_life_of(rho: float) -> float:
    """Return the half-life [h] of a correlation at one hour, within what is plausible."""
    if rho <= 0.0:
        return HALF_LIFE_RANGE_H[0]
    half_life = np.log(2.0) / -np.log(min(rho, 1.0 - 1e-9))
    return float(np.clip(half_life, *HALF_LIFE_RANGE_H))


def _half_life_h(reading: Reading, rows: Ints, kind: SeriesKind) -> tuple[float, list[str]]:
    """Fit the half-life of anomalies: one per kind, from the autocorrelation at one hour.

    The anomaly is the difference from the day before, scaled per series, so that no forecast of
    the past is needed.
    """
    per_day = round(24 / reading.periods.mtu_h)
    hour = round(1 / reading.periods.mtu_h)
    name = f"intraday {kind}: half-life {HALF_LIFE_H[kind]:g} h assumed"
    if len(reading.periods) < FIT_DAYS_MIN * per_day:
        return HALF_LIFE_H[kind], [f"{name}, readings shorter than {FIT_DAYS_MIN} days"]
    anomaly = reading.value_mw[per_day:, rows] - reading.value_mw[:-per_day, rows]
    scale = anomaly.std(axis=0)
    moving = scale > 0.0
    if not moving.any():
        return HALF_LIFE_H[kind], [f"{name}, readings never change"]
    scaled = anomaly[:, moving] / scale[moving]
    rho = float((scaled[hour:] * scaled[:-hour]).mean() / (scaled**2).mean())
    return _half_life_of(rho), []


def _same_series(reading: Reading, series: Sequence[str]) -> Reading:
    if tuple(series) == reading.series:
        return reading
    column = {name: c for c, name in enumerate(reading.series)}
    return Reading(
        series=tuple(series),
        periods=reading.periods,
        value_mw=reading.value_mw[:, [column[name] for name in series]],
        known_at=reading.known_at,
    )


def _coverage_problems(
    previous: Forecast,
    reading: Reading,
    kinds: Mapping[str, SeriesKind],
    periods: Periods,
    known_at: datetime,
) -> list[Problem]:
    """List series and periods that the previous forecast or the readings do not cover."""
    problems = [
        Problem(where=name, what="no readings for a series of the previous forecast")
        for name in previous.series
        if name not in reading.series
    ]
    problems += [
        Problem(where=name, what=f"kind is {kinds.get(name)!r}", remedy=f"one of {SERIES_KINDS}")
        for name in previous.series
        if kinds.get(name) not in SERIES_KINDS
    ]
    grid = previous.periods
    if {reading.periods.mtu_minutes, periods.mtu_minutes} != {grid.mtu_minutes}:
        return [*problems, Problem(where="periods", what="three different market time units")]
    if (
        periods.start < grid.start
        or periods.end != grid.end
        or (periods.start - grid.start) % grid.mtu
        or (reading.periods.start - grid.start) % grid.mtu
    ):
        problems.append(
            Problem(
                where="periods",
                what=f"{format_utc(periods.start)} to {format_utc(periods.end)} is not the rest of "
                f"the previous forecast ({format_utc(grid.start)} to {format_utc(grid.end)})",
            )
        )
    if periods.start < reading.periods.end:
        problems.append(
            Problem(
                where="periods",
                what=f"start {format_utc(periods.start)} before the readings end "
                f"({format_utc(reading.periods.end)})",
            )
        )
    if previous.known_at > known_at:
        problems.append(
            Problem(
                where="previous forecast",
                what=f"known at {format_utc(previous.known_at)}, after the gate "
                f"{format_utc(known_at)}",
            )
        )
    return problems
