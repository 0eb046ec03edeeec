"""Rows for the load model: what each period's forecast could see at its gate, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecasting.as_of import Instants, VersionedTable, instant64
from forecasting.calibration import hour_groups
from forecasting.features import (
    FeatureTable,
    calendar_features,
    lag_features,
    local_calendar,
    recent_mean_features,
    weather_features,
)
from forecasting.linear import hinges
from forecasting.model import KnownData

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LAGS_DAYS: Final = (1, 2, 3, 7, 14, 21)
WINDOWS_H: Final = (24, 168)
# A building's heat follows the weather of the last day, not of the hour alone.
TRAILING_H: Final = (0, 3, 6, 9, 12, 15, 18, 21, 24)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRows:
    """Rows of one series.

    Parameters
    ----------
    table : FeatureTable
        Features of all rows; what the trees see.
    hour : ndarray of int, shape (rows,)
        Local hour: the slot of the linear part.
    group : ndarray of int, shape (rows,)
        Group of hours that are calibrated together.
    day : ndarray of int, shape (rows,)
        Local day (ordinal).
    level_mw : ndarray, shape (rows,)
        Mean of the last week known at the gate, which loads are shares of; ones where a series
        comes near zero or under it [MW].
    notes : tuple of str
        Fallbacks that were needed.
    """

    table: FeatureTable
    hour: Ints
    group: Ints
    day: Ints
    level_mw: Floats
    notes: tuple[str, ...] = ()


def make_load_rows(
    known: KnownData,
    readings: VersionedTable,
    column: str,
    valid_at: Instants,
    gates: Instants,
    weather_columns: tuple[str, ...],
    *,
    shares: bool,
) -> LoadRows:
    """Join everything the load model uses.

    Parameters
    ----------
    known : KnownData
        Weather, site and the newest gate.
    readings : VersionedTable
        The readings in it.
    column : str
        Series.
    valid_at, gates : ndarray of datetime64[s], shape (rows,)
        Period and gate of each row.
    weather_columns : tuple of str
        Weather that the model uses (may be empty).
    shares : bool
        Whether loads are shares of the last week's mean, and the season no feature: what little
        history has taught then holds in the next season. Not for a net load near zero.

    Returns
    -------
    LoadRows
        Weather that no forecast was kept of is read as observed for past rows, and as the mean of
        the last four weeks at this hour for coming ones; both are named.
    """
    calendar = local_calendar(valid_at, known.site.timezone)
    table = calendar_features(calendar, gates)
    if shares:
        table = table.without(("season_sin", "season_cos"))
    lags = lag_features(readings, column, valid_at, gates, LAGS_DAYS).beside(
        recent_mean_features(readings, column, gates, WINDOWS_H)
    )
    lags, level_mw = _as_shares(lags, f"{column}_mean_{WINDOWS_H[-1]}_h", positive=shares)
    table = table.beside(lags)
    notes: tuple[str, ...] = ()
    if weather_columns and known.weather is not None:
        weather, notes = _weather_rows(known, known.weather, valid_at, gates, weather_columns)
        table = table.beside(weather)
    return LoadRows(
        table=table,
        hour=calendar.minute // 60,
        group=hour_groups(calendar.minute / 60.0),
        day=calendar.day,
        level_mw=level_mw,
        notes=notes,
    )


def _as_shares(
    lags: FeatureTable, level_name: str, *, positive: bool
) -> tuple[FeatureTable, Floats]:
    """Divide readings by the mean of the last week; the mean itself stays in no row."""
    if not positive:
        return lags, np.ones(len(lags.value))
    level = lags.column(level_name)
    usable = np.isfinite(level) & (level > 0.0)
    whole = float(level[usable].mean()) if usable.any() else 1.0
    level = np.where(usable, level, whole)
    value = lags.value.copy()
    for place, name in enumerate(lags.names):
        if name != "lag_age_days":
            value[:, place] /= level
    return (
        FeatureTable(names=lags.names, value=value, known_at=lags.known_at, gates=lags.gates),
        level,
    )


def _weather_rows(
    known: KnownData,
    weather: VersionedTable,
    valid_at: Instants,
    gates: Instants,
    columns: tuple[str, ...],
) -> tuple[FeatureTable, tuple[str, ...]]:
    now = instant64(known.known_at)
    found = weather_features(weather, valid_at, gates, columns)
    notes = []
    past = valid_at < now
    lacking = np.isnan(found.value).any(axis=1)
    as_seen = gates.copy()
    if (lacking & past).any():
        # Observations only: what the weather was, for rows of the past.
        as_seen[past] = now
        notes.append("weather: past rows read as observed, no forecast of them was kept")
    now_and_before = weather_features(weather, valid_at, as_seen, columns)
    shifted = [
        weather_features(
            weather, valid_at - (hours * 3600 * np.ones(len(valid_at))).astype("timedelta64[s]"),
            as_seen, columns,
        ).value
        for hours in TRAILING_H
    ]  # fmt: skip
    stack = np.stack(shifted)
    seen = np.isfinite(stack)
    trailing = np.where(seen, stack, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    trailing = np.where(seen.any(axis=0), trailing, np.nan)
    value = now_and_before.value.copy()
    missing = np.isnan(value)
    if (missing & ~past[:, None]).any():
        value = _fill_from_last_weeks(value, weather, valid_at, now, columns)
        notes.append(
            f"weather: {int((missing.any(axis=1) & ~past).sum())} coming periods without a "
            "forecast; the mean of the last four weeks at this hour used"
        )
        trailing = np.where(np.isnan(trailing), value, trailing)
    table = FeatureTable(
        names=(*columns, *(f"{name}_mean_24_h" for name in columns)),
        value=np.column_stack([value, trailing]),
        known_at=np.repeat(now_and_before.known_at[:, :1], 2 * len(columns), axis=1),
        gates=as_seen,
    )
    return table, tuple(notes)


def _fill_from_last_weeks(
    value: Floats,
    weather: VersionedTable,
    valid_at: Instants,
    now: np.datetime64,
    columns: tuple[str, ...],
) -> Floats:
    """Replace NaN of coming periods by the mean at this hour over the four weeks before now."""
    days = np.arange(1, 29 + int((valid_at.max() - now) / np.timedelta64(1, "D")))
    back = (days * 86_400).astype("timedelta64[s]")
    asked = (valid_at[:, None] - back[None, :]).ravel()
    found = weather_features(weather, asked, np.full(len(asked), now), columns).value
    found = found.reshape(len(valid_at), len(days), len(columns))
    seen = np.isfinite(found)
    mean = np.where(seen, found, 0.0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    mean = np.where(seen.any(axis=1), mean, np.nan)
    return np.where(np.isnan(value), mean, value)


def line_features(
    table: FeatureTable, knots: Mapping[str, tuple[float, ...]], fill: Floats | None = None
) -> tuple[Floats, tuple[str, ...]]:
    """Return the linear part's features: lags, kinds of day, season, and bent weather.

    Parameters
    ----------
    table : FeatureTable
        All features.
    knots : mapping of str to tuple of float
        Hinges of each weather column.
    fill : ndarray, shape (features,), optional
        Stands in where a value is missing; the column's mean when not given.

    Returns
    -------
    value : ndarray, shape (rows, features)
        All finite.
    names : tuple of str
        Of the columns.
    """
    columns, names = [], []
    for name in table.names:
        value = table.column(name)
        if name in knots:
            columns.append(hinges(value, knots[name]))
            names += [name, *(f"{name}_over_{knot:g}" for knot in knots[name])]
        elif name == "weekday":
            columns.append((value[:, None] == np.arange(1, 7)[None, :]).astype(float))
            names += [f"weekday_{day}" for day in range(1, 7)]
        elif name not in ("local_hour_h", "day_class", "lag_age_days"):
            columns.append(value[:, None])
            names.append(name)
    found = np.column_stack(columns)
    if fill is None:
        seen = np.isfinite(found)
        fill = np.where(seen, found, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    return np.where(np.isfinite(found), found, fill), tuple(names)
