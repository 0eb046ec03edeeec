"""What is forecast when the input is dead: a ladder of steps, each named and each with wider bands.

1. The serving model, while readings are good until the gate (short repairs included).
2. The last good model: the serving model on the readings as far as they are good.
3. Like days on the same readings, where the serving model refuses its input.
4. The standard profile, where there is nothing recent to compare with.

A plausible forecast from dead input is the worst failure of all: steps 2 to 4 say in the forecast
since when the readings are dead and how much wider the bands were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.periods import Periods, format_utc
from data.records.forecast import Forecast, Reading
from forecasting.as_of import cut_reading
from forecasting.clear_sky import PRIOR_INDEX, PRIOR_YIELD, clear_sky_irradiance
from forecasting.model import FittedForecaster, KnownData, LikeDayModel
from forecasting.persistence import WIND
from forecasting.quality import CheckedReading
from forecasting.quantiles import order_and_cap
from forecasting.readings import local_slots

Floats = NDArray[np.float64]

STALE_H: Final = 6.0
STALE_DAYS_MAX: Final = 14.0
GOOD_DAYS_MIN: Final = 2.0
# Bands widen by the square root of (1 + days without readings / this many days).
WIDEN_DAYS: Final = 7.0
STANDARD_WIDTH: Final = 1.5
# Mean power of 40 Dutch households (January to May 2013) over their own mean, by local hour:
# Monday to Friday, then Saturday and Sunday. Source: Liander open data, see data/SOURCES.md.
STANDARD_WORKDAY: Final = (
    0.67, 0.55, 0.50, 0.47, 0.46, 0.47, 0.56, 0.84, 0.95, 1.06, 0.99, 0.99,
    1.07, 1.02, 0.96, 0.94, 1.07, 1.50, 1.65, 1.64, 1.48, 1.37, 1.21, 0.97,
)  # fmt: skip
STANDARD_WEEKEND: Final = (
    0.73, 0.57, 0.52, 0.49, 0.48, 0.47, 0.49, 0.57, 0.87, 1.19, 1.32, 1.25,
    1.34, 1.26, 1.24, 1.23, 1.22, 1.59, 1.74, 1.73, 1.61, 1.41, 1.20, 0.97,
)  # fmt: skip
# Spread of a load about its standard profile at the levels 0.1 and 0.9, relative.
STANDARD_SPREAD: Final = 0.45


def forecast_with_ladder(
    model: FittedForecaster,
    known: KnownData,
    checked: CheckedReading,
    periods: Periods,
    quantiles: Sequence[float],
) -> Forecast:
    """Forecast every series by the best step of the ladder that its readings allow.

    Parameters
    ----------
    model : FittedForecaster
        The serving model.
    known : KnownData
        What was known at the gate, with the readings of ``checked``.
    checked : CheckedReading
        Readings after the check; all series.
    periods : Periods
        Periods to forecast.
    quantiles : sequence of float
        Levels.

    Returns
    -------
    Forecast
        Series in the order of the readings; faults among the warnings, steps among the fallbacks.

    Raises
    ------
    InputError
        If the input is refused by every step (nothing is known of the site either).
    """
    groups: dict[datetime, list[int]] = {}
    for column in range(len(known.reading.series)):
        good_until = checked.good_until(column)
        if known.known_at - good_until <= timedelta(hours=STALE_H):
            good_until = known.reading.periods.end
        groups.setdefault(good_until, []).append(column)
    value = np.empty((len(known.reading.series), len(periods), len(quantiles)))
    warnings = [str(fault) for fault in checked.faults]
    fallbacks: list[str] = []
    model_ids: list[str] = []
    for good_until, columns in sorted(groups.items()):
        part = _forecast_group(model, _only(known, columns), good_until, periods, quantiles)
        value[columns] = part.value_mw
        warnings += part.warnings
        fallbacks += part.fallbacks
        model_ids.append(part.model_id)
    return Forecast(
        series=known.reading.series,
        periods=periods,
        quantiles=tuple(quantiles),
        value_mw=value,
        known_at=known.known_at,
        model_id=" and ".join(dict.fromkeys(model_ids)),
        warnings=tuple(dict.fromkeys(warnings)),
        fallbacks=tuple(dict.fromkeys(fallbacks)),
    )


def _only(known: KnownData, columns: list[int]) -> KnownData:
    """Return what is known with some of the series only."""
    reading = known.reading
    if len(columns) == len(reading.series):
        return known
    return replace(
        known,
        reading=Reading(
            series=tuple(reading.series[c] for c in columns),
            periods=reading.periods,
            value_mw=np.ascontiguousarray(reading.value_mw[:, columns]),
            known_at=reading.known_at,
        ),
        suspect=None if known.suspect is None else known.suspect[:, columns],
    )


def _forecast_group(
    model: FittedForecaster,
    known: KnownData,
    good_until: datetime,
    periods: Periods,
    quantiles: Sequence[float],
) -> Forecast:
    """Go down the ladder with series that are good until the same instant."""
    names = _few_names(known.reading.series)
    reading = known.reading
    stale_days = (known.known_at - good_until) / timedelta(days=1)
    good_days = (good_until - reading.periods.start) / timedelta(days=1)
    stale = good_until < reading.periods.end
    refused = []
    if good_days >= GOOD_DAYS_MIN and stale_days <= STALE_DAYS_MAX:
        if stale:
            count = len(cut_reading(reading, good_until).periods)
            suspect = None if known.suspect is None else known.suspect[:count]
            known = replace(known, reading=cut_reading(reading, good_until), suspect=suspect)
        factor = float(np.sqrt(1.0 + stale_days / WIDEN_DAYS)) if stale else 1.0
        since = f"{names}: readings dead since {format_utc(good_until)}"
        step = "last good model" if stale else "serving model"
        for rung, name in ((model, step), (LikeDayModel(), "like day")):
            try:
                forecast = rung.predict(known, periods, quantiles)
            except InputError as error:
                refused.append(f"{names}: {name} {rung.model_id} refused ({error.problems[0]})")
                continue
            notes = list(refused)
            if stale:
                notes.append(f"{since}; {name} {rung.model_id}, bands {factor:.2f} times as wide")
            elif refused:
                factor = float(np.sqrt(1.0 + 1.0 / WIDEN_DAYS))
                notes.append(f"{names}: {name} {rung.model_id}, bands {factor:.2f} times as wide")
            value = widen(forecast.value_mw, quantiles, factor, floor=known.kind != "net")
            return replace(forecast, value_mw=value, fallbacks=(*notes, *forecast.fallbacks))
    value = standard_profile(known, good_until, periods, quantiles)
    note = (
        f"{names}: {good_days:.1f} days of good readings, the last {stale_days:.1f} days ago; "
        f"standard profile, bands {STANDARD_WIDTH:.2f} times as wide"
    )
    return Forecast(
        series=known.reading.series,
        periods=periods,
        quantiles=tuple(quantiles),
        value_mw=value,
        known_at=known.known_at,
        model_id="standard-profile/1",
        fallbacks=(*refused, note),
    )


def widen(value_mw: Floats, quantiles: Sequence[float], factor: float, *, floor: bool) -> Floats:
    """Widen bands about the median [MW]; with ``floor`` never below zero.

    Where the median is zero and so is the band (night), nothing is widened.
    """
    if factor == 1.0:
        return value_mw
    median = value_mw[..., list(quantiles).index(0.5)][..., None]
    wide = median + (value_mw - median) * factor
    return order_and_cap(wide, 0.0 if floor else -np.inf, np.inf)


def standard_profile(
    known: KnownData, good_until: datetime, periods: Periods, quantiles: Sequence[float]
) -> Floats:
    """Return the forecast of last resort, shape (series, periods, quantiles) [MW].

    Loads: the households' profile times the mean of what was read well. PV: the installed capacity
    under a standard sky. Wind: the standard distribution of output. Net load: the mean of what was
    read well with its own quantiles, the same at every hour.
    """
    reading = known.reading
    rows = max(1, (good_until - reading.periods.start) // reading.periods.mtu)
    good = reading.value_mw[:rows]
    levels = np.asarray(quantiles)
    if known.kind == "load":
        slots = local_slots(periods, known.site.timezone)
        hour = (slots.slot * periods.mtu_minutes) // 60
        table = np.array([STANDARD_WORKDAY, STANDARD_WEEKEND])
        shape = table[np.minimum(slots.day_class, 1), hour]
        spread = 1.0 + STANDARD_WIDTH * STANDARD_SPREAD * (levels - 0.5) / 0.4
        value = good.mean(axis=0)[:, None, None] * shape[None, :, None] * spread
    elif known.kind == "net":
        own = np.quantile(good, levels, axis=0).T
        value = np.repeat(own[:, None, :], len(periods), axis=1)
        return widen(value, quantiles, STANDARD_WIDTH, floor=False)
    elif known.kind == "pv":
        capacity = _capacity(known, good)
        place = (known.site.latitude, known.site.longitude)
        if place[0] is None or place[1] is None:
            value = np.repeat(np.quantile(good, levels, axis=0).T[:, None, :], len(periods), axis=1)
        else:
            irradiance = clear_sky_irradiance(periods, place[0], place[1])[0] / 1000.0
            index = np.interp(levels, np.linspace(0.0, 1.0, len(PRIOR_INDEX)), PRIOR_INDEX)
            clear = PRIOR_YIELD * irradiance[None, :, None] * index
            value = capacity[:, None, None] * clear
    else:
        prior = np.interp(levels, np.linspace(0.0, 1.0, len(WIND.prior)), WIND.prior)
        value = np.broadcast_to(
            (_capacity(known, good)[:, None] * prior)[:, None, :],
            (good.shape[1], len(periods), len(levels)),
        )
    return order_and_cap(value, 0.0, np.inf)


def _capacity(known: KnownData, good: Floats) -> Floats:
    """Return installed capacity [MW]: as stated, else the most that was read."""
    if known.site.capacity_mw is not None:
        return np.full(good.shape[1], known.site.capacity_mw)
    return np.asarray(good.max(axis=0))


def _few_names(series: Sequence[str]) -> str:
    return ", ".join(series[:3]) + (f" and {len(series) - 3} more" if len(series) > 3 else "")
