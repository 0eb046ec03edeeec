"""Features as arrays with names, each with the instant it became known.

Every row has a gate. Calendar features have no source and no `known_at`; lags and weather come by
an as-of join at the row's own gate, so a row of the past sees what a forecast made then saw. The
table is checked once more (`forecasting.as_of.leak_problems`) before a model gets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from data.errors import refuse_if_any
from data.periods import Periods
from forecasting.as_of import Instants, VersionedTable, leak_problems

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureTable:
    """Features of rows, each row with its gate.

    Parameters
    ----------
    names : tuple of str
        Columns; a name ends in its unit where it has one.
    value : ndarray, shape (rows, features)
        NaN where nothing was known at the gate.
    known_at : ndarray of datetime64[s], shape (rows, features)
        When each value became known; NaT for the calendar and for what is missing.
    gates : ndarray of datetime64[s], shape (rows,)
        When each row's forecast is (or was) made.

    Raises
    ------
    InputError
        If a feature became known after its row's gate.
    """

    names: tuple[str, ...]
    value: Floats
    known_at: Instants
    gates: Instants

    def __post_init__(self) -> None:
        refuse_if_any(leak_problems(self.names, self.known_at, self.gates))

    def beside(self, other: FeatureTable) -> FeatureTable:
        """Return the columns of both; each row has the later of its two gates.

        Both tables were checked at their own gates when they were made.
        """
        return FeatureTable(
            names=self.names + other.names,
            value=np.column_stack([self.value, other.value]),
            known_at=np.column_stack([self.known_at, other.known_at]),
            gates=np.maximum(self.gates, other.gates),
        )

    def without(self, names: Sequence[str]) -> FeatureTable:
        """Return the other columns."""
        kept = [place for place, name in enumerate(self.names) if name not in names]
        return FeatureTable(
            names=tuple(self.names[place] for place in kept),
            value=self.value[:, kept],
            known_at=self.known_at[:, kept],
            gates=self.gates,
        )

    def column(self, name: str) -> Floats:
        """Return one feature, shape (rows,)."""
        return np.asarray(self.value[:, self.names.index(name)])


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCalendar:
    """Wall clock and kind of day of each row, shape (rows,) each.

    ``day`` is an ordinal, ``minute`` counts from local midnight, ``weekday`` is 0 on Monday.
    ``bridge`` marks a working day between a holiday and a weekend.
    """

    day: Ints
    minute: Ints
    weekday: Ints
    day_of_year: Ints
    holiday: Ints
    bridge: Ints

    @property
    def day_class(self) -> Ints:
        """Return 0 on working days, 1 on Saturdays and bridge days, 2 on Sundays and holidays."""
        free = np.where(self.weekday >= 5, self.weekday - 4, 0)
        free = np.where(self.bridge > 0, np.maximum(free, 1), free)
        return np.where(self.holiday > 0, 2, free)


def country_of_zone(timezone: str) -> str:
    """Return the ISO 3166 country of an IANA zone, or "" where it has none (UTC).

    Examples
    --------
    >>> country_of_zone("Europe/Amsterdam"), country_of_zone("UTC")
    ('NL', '')
    """
    return _countries().get(timezone, "")


@cache
def _countries() -> dict[str, str]:
    text = files("tzdata").joinpath("zoneinfo/zone.tab").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if line and line[0] != "#"]
    return {row[2]: row[0] for row in rows}


@cache
def public_holidays(country: str, year: int, subdivision: str | None = None) -> frozenset[date]:
    """Return the public holidays of a country (or a part of it) in a year; empty for ""."""
    import holidays

    if not country or country not in holidays.list_supported_countries():
        return frozenset()
    return frozenset(holidays.country_holidays(country, subdiv=subdivision, years=year))


def local_calendar(
    valid_at: Instants, timezone: str, country: str | None = None, subdivision: str | None = None
) -> LocalCalendar:
    """Read wall clock, weekday, holidays and bridge days at the start of each row's period.

    Parameters
    ----------
    valid_at : ndarray of datetime64[s], shape (rows,)
        Starts of periods, UTC.
    timezone : str
        IANA zone.
    country, subdivision : str, optional
        Whose holidays; the zone's country when not given.
    """
    local = valid_at + _offsets(valid_at, timezone)
    days = local.astype("datetime64[D]")
    ordinal = days.astype(np.int64) + date(1970, 1, 1).toordinal()
    unique, place = np.unique(ordinal, return_inverse=True)
    kinds = _kinds_of_days(unique, country_of_zone(timezone) if country is None else country,
                           subdivision)  # fmt: skip
    return LocalCalendar(
        day=ordinal,
        minute=(local - days).astype(np.int64) // 60,
        weekday=(ordinal + 6) % 7,
        day_of_year=(days - days.astype("datetime64[Y]")).astype(np.int64) + 1,
        holiday=kinds[place, 0],
        bridge=kinds[place, 1],
    )


def _offsets(valid_at: Instants, timezone: str) -> NDArray[np.timedelta64]:
    """Return the zone's offset from UTC at each instant (it changes on the hour only)."""
    zone = ZoneInfo(timezone)
    hours, place = np.unique(valid_at.astype("datetime64[h]"), return_inverse=True)
    offsets = [
        datetime.fromisoformat(f"{hour}:00+00:00").astimezone(zone).utcoffset() or timedelta(0)
        for hour in hours
    ]
    seconds = np.array([int(offset.total_seconds()) for offset in offsets])
    return np.asarray(seconds[place].astype("timedelta64[s]"))


def _kinds_of_days(ordinals: Ints, country: str, subdivision: str | None) -> Ints:
    """Return holiday and bridge marks of days, shape (days, 2)."""

    def free(day: date) -> bool:
        return day in public_holidays(country, day.year, subdivision)

    marks = np.zeros((len(ordinals), 2), dtype=np.int64)
    for row, ordinal in enumerate(ordinals.tolist()):
        day = date.fromordinal(ordinal)
        marks[row, 0] = free(day)
        before, after = day - timedelta(days=1), day + timedelta(days=1)
        # Friday after a holiday on Thursday, Monday before one on Tuesday.
        marks[row, 1] = not marks[row, 0] and (
            (day.weekday() == 4 and free(before)) or (day.weekday() == 0 and free(after))
        )
    return marks


def calendar_features(calendar: LocalCalendar, gates: Instants) -> FeatureTable:
    """Return hour, weekday, kind of day and season as features without a source."""
    angle = 2.0 * np.pi * calendar.day_of_year / 365.25
    columns = {
        "local_hour_h": calendar.minute / 60.0,
        "weekday": calendar.weekday.astype(float),
        "day_class": calendar.day_class.astype(float),
        "holiday": calendar.holiday.astype(float),
        "bridge_day": calendar.bridge.astype(float),
        "season_sin": np.sin(angle),
        "season_cos": np.cos(angle),
    }
    value = np.column_stack(list(columns.values()))
    return FeatureTable(
        names=tuple(columns),
        value=value,
        known_at=np.full(value.shape, np.datetime64("NaT"), dtype="datetime64[s]"),
        gates=gates,
    )


def lag_features(
    table: VersionedTable,
    column: str,
    valid_at: Instants,
    gates: Instants,
    lags_days: Sequence[int],
) -> FeatureTable:
    """Return a series at the same time of earlier days, as it was known at each row's gate.

    Lag k is the k-th newest day whose value was known: at a gate on D-1 before noon the first lag
    of an afternoon hour is D-2, that of a morning hour D-1. A column tells how old lag 1 is.

    Parameters
    ----------
    table : VersionedTable
        Readings (`forecasting.as_of.table_of_reading`).
    column : str
        Series.
    valid_at, gates : ndarray of datetime64[s], shape (rows,)
        Period and gate of each row.
    lags_days : sequence of int
        Which newest days, from 1; 7 is a week after the first one known.
    """
    place = table.names.index(column)
    step = np.timedelta64(table.mtu_minutes * 60, "s")
    # Days back until the whole period had ended at the gate.
    ahead = (valid_at + step - gates).astype("timedelta64[s]").astype(np.int64)
    first = np.maximum(1, -(-ahead // DAY_S))
    values, instants, names = [first.astype(float)], [_no_time(len(valid_at))], ["lag_age_days"]
    for lag in lags_days:
        # A lag of whole weeks keeps the weekday of the target, whatever the gate.
        back = -(-first // 7) * 7 * (lag // 7) if lag % 7 == 0 else first + lag - 1
        found = table.join(valid_at - (back * DAY_S).astype("timedelta64[s]"), gates)
        values.append(found.value[:, place])
        instants.append(found.known_at)
        names.append(f"{column}_lag_{lag}_days")
    return FeatureTable(
        names=tuple(names),
        value=np.column_stack(values),
        known_at=np.column_stack(instants),
        gates=gates,
    )


def recent_mean_features(
    table: VersionedTable, column: str, gates: Instants, windows_h: Sequence[int]
) -> FeatureTable:
    """Return the mean of the last hours known at each gate.

    Parameters
    ----------
    table : VersionedTable
        Readings.
    column : str
        Series.
    gates : ndarray of datetime64[s], shape (rows,)
        Gate of each row.
    windows_h : sequence of int
        Lengths of the windows [h].
    """
    place = table.names.index(column)
    step_s = table.mtu_minutes * 60
    unique, row_of_gate = np.unique(gates, return_inverse=True)
    values, instants, names = [], [], []
    for window_h in windows_h:
        count = window_h * 3600 // step_s
        back = ((np.arange(count) + 1) * step_s).astype("timedelta64[s]")
        # Gates off the raster read the last period that had ended.
        aligned = unique - (unique.astype(np.int64) % step_s).astype("timedelta64[s]")
        valid = (aligned[:, None] - back[None, :]).ravel()
        found = table.join(valid, np.repeat(unique, count))
        known = found.value[:, place].reshape(len(unique), count)
        seen = np.isfinite(known)
        total = np.where(seen, known, 0.0).sum(axis=1)
        number = seen.sum(axis=1)
        mean = np.where(number > 0, total / np.maximum(number, 1), np.nan)
        values.append(mean[row_of_gate])
        moments = found.known_at.reshape(len(unique), count)
        newest = np.where(seen, moments, np.datetime64(0, "s")).max(axis=1)
        newest = np.where(number > 0, newest, np.datetime64("NaT"))
        instants.append(newest[row_of_gate])
        names.append(f"{column}_mean_{window_h}_h")
    return FeatureTable(
        names=tuple(names),
        value=np.column_stack(values),
        known_at=np.column_stack(instants).astype("datetime64[s]"),
        gates=gates,
    )


def weather_features(
    weather: VersionedTable, valid_at: Instants, gates: Instants, columns: Sequence[str]
) -> FeatureTable:
    """Return weather for each row's period, the newest version known at its gate.

    Parameters
    ----------
    weather : VersionedTable
        Forecasts (or observations, for what lies before the gate).
    valid_at, gates : ndarray of datetime64[s], shape (rows,)
        Period and gate of each row.
    columns : sequence of str
        Which columns.
    """
    # An hourly forecast holds for each quarter-hour of its hour.
    step_s = weather.mtu_minutes * 60
    into = (valid_at.astype("datetime64[s]").astype(np.int64) % step_s).astype("timedelta64[s]")
    found = weather.join(valid_at - into, gates)
    places = [weather.names.index(name) for name in columns]
    return FeatureTable(
        names=tuple(columns),
        value=found.value[:, places],
        known_at=np.repeat(found.known_at[:, None], len(places), axis=1),
        gates=gates,
    )


def weather_as_forecast(
    weather: VersionedTable,
    valid_at: Instants,
    gates: Instants,
    now: np.datetime64,
    columns: Sequence[str],
) -> tuple[Floats, bool]:
    """Return weather as it was forecast at each row's gate, or as observed where none was kept.

    Parameters
    ----------
    weather : VersionedTable
        All versions known now.
    valid_at, gates : ndarray of datetime64[s], shape (rows,)
        Period and gate of each row.
    now : datetime64
        The newest gate: nothing later is read.
    columns : sequence of str
        Which columns.

    Returns
    -------
    value : ndarray, shape (rows, columns)
        NaN where nothing is known at all.
    observed : bool
        Whether any row was read as observed.
    """
    value = weather_features(weather, valid_at, np.minimum(gates, now), columns).value
    lacking = np.isnan(value).any(axis=1)
    if not lacking.any():
        return value, False
    late = weather_features(
        weather, valid_at[lacking], np.full(int(lacking.sum()), now), columns
    ).value
    filled = value.copy()
    filled[lacking] = np.where(np.isnan(value[lacking]), late, value[lacking])
    return filled, bool((np.isfinite(late) & np.isnan(value[lacking])).any())


def day_ahead_gates(
    periods: Periods, gate: datetime, delivery: datetime, timezone: str
) -> Instants:
    """Return the gate that each past period would have had, shape (periods,).

    The gate of day D lies as long before local midnight of D as ``gate`` lies before that of the
    delivery day, so the rows a model is fitted on look like those it is asked for.

    Parameters
    ----------
    periods : Periods
        Past periods.
    gate : datetime
        The gate of the forecast to make.
    delivery : datetime
        Start of the first period to forecast.
    timezone : str
        IANA zone of the delivery day.
    """
    from forecasting.as_of import instant64, starts64

    start = starts64(periods)
    local = start + _offsets(start, timezone)
    midnight = local.astype("datetime64[D]").astype("datetime64[s]") - (local - start)
    lead = instant64(delivery) - instant64(gate)
    return np.asarray(midnight - lead)


def _no_time(rows: int) -> Instants:
    return np.full(rows, np.datetime64("NaT"), dtype="datetime64[s]")
