"""Day-ahead: every series of a feeder from readings before the gate."""

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
from forecasting.clear_sky import clear_sky_irradiance, forecast_pv, produces_at_night
from forecasting.like_day import QuantileSet, forecast_loads
from forecasting.persistence import STEADY, WIND, forecast_by_analogue
from forecasting.quantiles import order_and_cap
from forecasting.readings import (
    DEFAULT_QUANTILES,
    Feeder,
    SeriesKind,
    feeder_problems,
    local_slots,
    quantile_problems,
    reading_problems,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MODEL_ID: Final = "like-day-and-clear-sky/1"
HISTORY_DAYS_MAX: Final = 70


def forecast_day_ahead(
    *,
    reading: Reading,
    kinds: Mapping[str, SeriesKind],
    capacity_mw: Mapping[str, float],
    periods: Periods,
    known_at: datetime,
    latitude: float,
    longitude: float,
    timezone: str = "Europe/Berlin",
    quantiles: Sequence[float] = DEFAULT_QUANTILES,
) -> Forecast:
    """Forecast all series of a feeder for the periods of a day.

    Loads: like days (`forecasting.like_day`). PV: clear-sky index of recent days
    (`forecasting.clear_sky`). Wind, biomass and hydro: analogues of the last level
    (`forecasting.persistence`).

    Parameters
    ----------
    reading : Reading
        Readings up to the gate, at least one day, no gap.
    kinds : mapping
        Series id to ``load``, ``pv``, ``wind`` or ``other``.
    capacity_mw : mapping
        Series id to installed capacity [MW]; required but for loads.
    periods : Periods
        Periods to forecast, none before the end of the readings.
    known_at : datetime
        The gate; readings that became known later are refused.
    latitude, longitude : float
        Position of the feeder [deg].
    timezone : str
        IANA zone of the wall clock that loads follow.
    quantiles : sequence of float
        Probability levels, ascending, with 0.5.

    Returns
    -------
    Forecast
        Quantiles [MW] in [0, capacity], with warnings and every fallback named.

    Raises
    ------
    InputError
        With all problems: NaN, readings after the gate, less than a day of them, a series without
        kind or capacity, levels that are not ascending.

    Examples
    --------
    See tests/unit/forecasting/test_day_ahead.py.
    """
    feeder = Feeder(
        kinds=kinds, capacity_mw=capacity_mw, latitude=latitude, longitude=longitude,
        timezone=timezone,
    )  # fmt: skip
    refuse_if_any(
        reading_problems(reading, known_at)
        + feeder_problems(reading.series, feeder)
        + quantile_problems(quantiles)
        + _horizon_problems(reading, periods)
    )
    recent = keep_last(reading, HISTORY_DAYS_MAX)
    task = _Task(reading=recent, feeder=feeder, periods=periods, quantiles=tuple(quantiles))
    warnings = _data_warnings(recent, feeder, known_at)
    value_mw = np.zeros((len(recent.series), len(periods), len(task.quantiles)))
    fallbacks: list[str] = []
    for columns, result in (task.loads(), *task.generators()):
        value_mw[columns] = result.value_mw
        fallbacks.extend(result.fallbacks)
    return Forecast(
        series=recent.series,
        periods=periods,
        quantiles=task.quantiles,
        value_mw=order_and_cap(value_mw, 0.0, ceiling_mw(recent, feeder)[:, None, None]),
        known_at=known_at,
        model_id=MODEL_ID,
        warnings=tuple(warnings),
        fallbacks=tuple(dict.fromkeys(fallbacks)),
    )


def keep_last(reading: Reading, days: int) -> Reading:
    """Return the readings of the last ``days`` x 24 h (all, when there are fewer)."""
    first = len(reading.periods) - int(timedelta(days=days) / reading.periods.mtu)
    if first <= 0:
        return reading
    return Reading(
        series=reading.series,
        periods=reading.periods.from_index(first),
        value_mw=reading.value_mw[first:],
        known_at=reading.known_at,
    )


def ceiling_mw(reading: Reading, feeder: Feeder) -> Floats:
    """Return the largest power to forecast for each series, shape (series,) [MW].

    The installed capacity, or what was read where that is more (see the warning); infinite for
    loads without one.
    """
    stated = np.array([feeder.capacity_mw.get(name, np.inf) for name in reading.series])
    ceiling: Floats = np.maximum(stated, reading.value_mw.max(axis=0, initial=0.0))
    return ceiling


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """One forecast to make; each method returns the columns it covers and their quantiles."""

    reading: Reading
    feeder: Feeder
    periods: Periods
    quantiles: tuple[float, ...]

    def columns_of(self, kind: SeriesKind) -> Ints:
        """Return the columns of the readings of this kind."""
        kinds = self.feeder.kinds
        return np.array(
            [c for c, name in enumerate(self.reading.series) if kinds[name] == kind], dtype=np.int64
        )

    def capacity_of(self, columns: Ints) -> Floats:
        """Return installed capacity [MW], shape (columns,)."""
        return np.array([self.feeder.capacity_mw[self.reading.series[c]] for c in columns])

    @property
    def lag_periods(self) -> int:
        """Periods from the first reading to the first period ahead."""
        return round((self.periods.start - self.reading.periods.start) / self.periods.mtu)

    def loads(self) -> tuple[Ints, QuantileSet]:
        """Forecast the loads."""
        columns = self.columns_of("load")
        if len(columns) == 0:
            return columns, self._nothing()
        zone = self.feeder.timezone
        past, ahead = local_slots(self.reading.periods, zone), local_slots(self.periods, zone)
        values = self.reading.value_mw[:, columns]
        return columns, forecast_loads(values, past, ahead, self.quantiles)

    def generators(self) -> list[tuple[Ints, QuantileSet]]:
        """Forecast PV, wind and the rest; a "PV" series that produces at night joins the rest."""
        solar, rest = self.columns_of("pv"), self.columns_of("other")
        results = [self._analogue(self.columns_of("wind"), wind=True)]
        if len(solar):
            place = (self.feeder.latitude, self.feeder.longitude)
            past = clear_sky_irradiance(self.reading.periods, *place)
            ahead = clear_sky_irradiance(self.periods, *place)
            values = self.reading.value_mw[:, solar]
            nightly = produces_at_night(values, past[1], self.capacity_of(solar))
            moved, solar = solar[nightly], solar[~nightly]
            result = forecast_pv(
                self.reading.value_mw[:, solar], past, ahead, self.lag_periods,
                self.capacity_of(solar), self.quantiles, round(24 / self.periods.mtu_h),
            )  # fmt: skip
            names = ", ".join(self.reading.series[c] for c in moved)
            notes = (f"pv: output at night, forecast like hydro: {names}",) if names else ()
            results.append(
                (solar, QuantileSet(value_mw=result.value_mw, fallbacks=result.fallbacks + notes))
            )
            rest = np.sort(np.concatenate([rest, moved]))
        return [*results, self._analogue(rest, wind=False)]

    def _analogue(self, columns: Ints, *, wind: bool) -> tuple[Ints, QuantileSet]:
        if len(columns) == 0:
            return columns, self._nothing()
        return columns, forecast_by_analogue(
            self.reading.value_mw[:, columns], WIND if wind else STEADY, self.lag_periods,
            len(self.periods), self.capacity_of(columns), self.quantiles,
            self.periods.mtu_minutes,
        )  # fmt: skip

    def _nothing(self) -> QuantileSet:
        return QuantileSet(value_mw=np.zeros((0, len(self.periods), len(self.quantiles))))


def _horizon_problems(reading: Reading, periods: Periods) -> list[Problem]:
    problems = []
    if reading.periods.mtu_minutes != periods.mtu_minutes:
        problems.append(
            Problem(
                where="readings",
                what=f"every {reading.periods.mtu_minutes} min, the periods asked for every "
                f"{periods.mtu_minutes} min",
            )
        )
    elif 60 % periods.mtu_minutes or (periods.start - reading.periods.start) % periods.mtu:
        problems.append(Problem(where="periods", what="not on the raster of the readings"))
    if len(reading.periods) * reading.periods.mtu < timedelta(days=1):
        problems.append(
            Problem(
                where="readings",
                what=f"{len(reading.periods) * reading.periods.mtu_minutes / 60:g} h of history",
                remedy="at least one day is needed",
            )
        )
    if periods.start < reading.periods.end:
        problems.append(
            Problem(
                where="periods",
                what=f"start {format_utc(periods.start)} before the readings end "
                f"({format_utc(reading.periods.end)})",
                remedy="forecast only what is not yet read",
            )
        )
    return problems


def _data_warnings(reading: Reading, feeder: Feeder, known_at: datetime) -> list[str]:
    warnings = []
    age_h = (known_at - reading.periods.end) / timedelta(hours=1)
    if age_h > 24:
        warnings.append(f"readings end {age_h:.1f} h before the gate")
    last_day = reading.value_mw[-round(24 / reading.periods.mtu_h) :]
    dead = np.ptp(last_day, axis=0) == 0.0
    read_max = reading.value_mw.max(axis=0)
    for column, name in enumerate(reading.series):
        if dead[column] and feeder.kinds[name] == "load" and read_max[column] > 0.0:
            warnings.append(f"{name}: the last 24 h of readings are one constant value")
        stated = feeder.capacity_mw.get(name, np.inf)
        if read_max[column] > stated * 1.0001:
            warnings.append(
                f"{name}: read {read_max[column]:.6g} MW, capacity {stated:.6g} MW; reading used"
            )
    # A wind park's own consumption in a calm is not worth a word; a wrong sign is.
    negative = reading.value_mw.min(axis=0) < -0.01 * np.maximum(read_max, 0.0)
    if negative.any():
        names = [reading.series[c] for c in np.flatnonzero(negative)]
        warnings.append(f"negative readings, forecast from 0 MW up: {', '.join(names)}")
    return warnings
