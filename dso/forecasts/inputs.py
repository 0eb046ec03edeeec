"""Files in, what was known at the gate out: nothing later gets past this module."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from data.canonical import canonical_json, sha256_hex
from data.errors import Problem, refuse_if_any
from data.periods import Periods, format_utc
from data.readers.series_file import SeriesFile, read_series_file
from data.records.forecast import Reading
from forecasting.as_of import VersionedTable, cut_reading, instant64, starts64
from forecasting.model import ForecastKind, KnownData, Site
from forecasting.quality import CheckedReading, check_readings
from forecasting.sources import CombinedSources, Source, combine_sources

VALUE_COLUMN: Final = "value_mw"
SITE_NUMBERS: Final = (
    "latitude", "longitude", "capacity_mw", "tilt_deg", "azimuth_deg", "solar_mw", "wind_mw",
)  # fmt: skip
MINUTES_ALLOWED: Final = (5, 10, 15, 20, 30, 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastFiles:
    """What the user named.

    Parameters
    ----------
    kind : {"load", "pv", "wind", "net"}
        What the series are.
    readings : Path
        ``period_start,value_mw``, or one column per series when ``wide``.
    weather : tuple of Path
        In the order of preference.
    site : Path or None
        ``site.toml``.
    resolution_minutes : int
        Length of the periods [min].
    wide : bool
        Whether every column of the readings is a series of its own.
    weather_is_forecast : bool
        Whether weather without `known_at` may be used before its period has ended.
    """

    kind: ForecastKind
    readings: Path
    weather: tuple[Path, ...] = ()
    site: Path | None = None
    resolution_minutes: int
    wide: bool = False
    weather_is_forecast: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastInputs:
    """What the files say, not yet cut at any gate.

    Parameters
    ----------
    files : ForecastFiles
        Where it comes from.
    reading : Reading
        NaN where nothing was read.
    weather : tuple of (name, VersionedTable)
        In the order of preference.
    site : Site
        Defaults where no file was named.
    sources : tuple of Source
        Every file with its hash.
    warnings : tuple of str
        What was assumed.
    clock_stated : bool
        Whether the site's file states the time zone.
    """

    files: ForecastFiles
    reading: Reading
    weather: tuple[tuple[str, VersionedTable], ...]
    site: Site
    sources: tuple[Source, ...]
    warnings: tuple[str, ...]
    clock_stated: bool

    @property
    def data_sha256(self) -> str:
        """Hash of all files together."""
        return sha256_hex(canonical_json([source.sha256 for source in self.sources]))


@dataclass(frozen=True, slots=True, kw_only=True)
class AtGate:
    """What was known at one gate, checked, and what was noticed on the way."""

    known: KnownData
    checked: CheckedReading
    weather_left_out: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()


def read_inputs(files: ForecastFiles) -> ForecastInputs:
    """Read all files; all problems of all of them at once.

    Raises
    ------
    InputError
        If anything is wrong; nothing is guessed.
    """
    problems: list[Problem] = []
    if files.resolution_minutes not in MINUTES_ALLOWED:
        problems.append(
            Problem(where="resolution", what=f"{files.resolution_minutes} min",
                    remedy=f"one of {MINUTES_ALLOWED}")
        )  # fmt: skip
    read = read_series_file(files.readings, problems)
    weather_read = [read_series_file(path, problems) for path in files.weather]
    site, clock_stated, site_source = _read_site(files.site, problems)
    reading = None
    if read is not None and files.resolution_minutes in MINUTES_ALLOWED:
        reading = _reading_of(read, files, problems)
    warnings: list[str] = []
    if not clock_stated:
        warnings.append("no timezone stated in site.toml: days and hours are those of UTC")
    tables = []
    for found in weather_read:
        if found is not None and reading is not None:
            table = weather_table(found, files, reading, problems, warnings)
            if table is not None:
                tables.append((found.name, table))
    refuse_if_any(problems)
    assert reading is not None
    assert read is not None  # else there was a problem
    sources = [_source_of(read, "readings")]
    sources += [_source_of(found, "weather") for found in weather_read if found is not None]
    return ForecastInputs(
        files=files,
        reading=reading,
        weather=tuple(tables),
        site=site,
        sources=tuple(sources + site_source),
        warnings=tuple(warnings),
        clock_stated=clock_stated,
    )


def known_at_gate(
    inputs: ForecastInputs, gate: datetime, ahead: Periods, *, past_weather: bool = False
) -> AtGate:
    """Return what was known at a gate: readings of ended periods, weather issued before it.

    Weather columns that do not reach over all periods ahead are left out, by name, but for a model
    that wants past weather alone.
    """
    warnings = list(inputs.warnings)
    cut = cut_reading(inputs.reading, gate)
    checked = check_readings(
        cut, inputs.files.kind, inputs.site.timezone, clock_stated=inputs.clock_stated
    )
    combined: CombinedSources | None = None
    weather: VersionedTable | None = None
    if inputs.weather:
        combined = combine_sources(inputs.weather, gate, ahead)
        warnings += combined.warnings
        weather = combined.table
        if not past_weather:
            weather = _only_reaching(combined.table, ahead, warnings)
    known = KnownData(
        kind=inputs.files.kind,
        reading=checked.reading,
        known_at=gate,
        site=inputs.site,
        weather=weather,
        suspect=checked.suspect,
    )
    return AtGate(
        known=known,
        checked=checked,
        weather_left_out=combined.left_out if combined else (),
        warnings=tuple(warnings),
    )


def refuse_after_gate(inputs: ForecastInputs, gate: datetime) -> None:
    """Refuse rows that were not known at the gate, which no honest forecast could have had.

    Raises
    ------
    InputError
        If a reading's period ends after the gate, or weather after it has no issue time.
    """
    problems = []
    latest = inputs.reading.periods.end
    if latest > gate:
        late = -((gate - latest) // inputs.reading.periods.mtu)
        problems.append(
            Problem(
                where=inputs.files.readings.name,
                what=f"{min(late, len(inputs.reading.periods))} rows end after the gate "
                f"{format_utc(gate)} (the last at {format_utc(latest)})",
                remedy="cut the readings at the gate: a forecast made then did not have them",
            )
        )
    for name, table in inputs.weather:
        late_rows = int((table.known_at > instant64(gate)).sum())
        if late_rows:
            problems.append(
                Problem(
                    where=name,
                    what=f"{late_rows} rows were not known at the gate {format_utc(gate)}",
                    remedy="state known_at for each row, or say that the weather was forecast "
                    "before the gate: --weather-is-forecast",
                )
            )
    refuse_if_any(problems)


def listed_sources(inputs: ForecastInputs, at_gate: AtGate) -> tuple[Source, ...]:
    """Return the sources with their issue times and what was left out of each."""
    gate = instant64(at_gate.known.known_at)
    tables = iter(zip(inputs.weather, at_gate.weather_left_out, strict=True))
    found = []
    for source in inputs.sources:
        if source.role == "weather":
            (_, table), left_out = next(tables)
            used = table.known_at[table.known_at <= gate]
            issued = f"{used.max()}Z" if len(used) else ""
            source = replace(source, issued_at=issued, left_out=left_out)
        elif source.role == "readings":
            source = replace(source, issued_at=format_utc(at_gate.known.reading.periods.end))
        found.append(source)
    return tuple(found)


def _source_of(read: SeriesFile, role: str) -> Source:
    return Source(name=read.name, role=role, sha256=read.sha256, rows=len(read.start))


def _reading_of(read: SeriesFile, files: ForecastFiles, problems: list[Problem]) -> Reading | None:
    """Arrange rows on the raster; missing rows become NaN, repeated or odd ones are problems."""
    if not files.wide and read.columns != (VALUE_COLUMN,):
        problems.append(
            Problem(
                where=f"{read.name} row 1",
                what=f"columns {', '.join(read.columns[:5])}",
                remedy=f"state period_start,{VALUE_COLUMN}, or add --wide for a column per series",
            )
        )
        return None
    step = np.timedelta64(files.resolution_minutes * 60, "s")
    order = np.argsort(read.start, kind="stable")
    start = read.start[order]
    repeated = np.flatnonzero(np.diff(start) == np.timedelta64(0, "s"))
    odd = np.flatnonzero((start - start[0]) % step != np.timedelta64(0, "s"))
    for rows, what in ((repeated, "comes twice"), (odd, "is off the raster")):
        if len(rows):
            problems.append(
                Problem(
                    where=f"{read.name} {start[rows[0]]}Z",
                    what=f"{what} ({len(rows)} rows in all, raster {files.resolution_minutes} min)",
                    remedy="state each period once, at --resolution-minutes",
                )
            )
    if len(repeated) or len(odd):
        return None
    place = ((start - start[0]) // step).astype(np.int64)
    value = np.full((int(place[-1]) + 1, len(read.columns)), np.nan)
    value[place] = read.value[order]
    periods = Periods(
        start=_aware(start[0]), count=len(value), mtu_minutes=files.resolution_minutes
    )
    return Reading(series=read.columns, periods=periods, value_mw=value, known_at=periods.end)


def weather_table(
    read: SeriesFile,
    files: ForecastFiles,
    reading: Reading,
    problems: list[Problem],
    warnings: list[str],
) -> VersionedTable | None:
    """Return weather on the raster of the readings, each row with the instant it was known."""
    starts = np.unique(read.start)
    minutes = int(np.diff(starts).min() / np.timedelta64(60, "s")) if len(starts) > 1 else 60
    resolution = files.resolution_minutes
    if minutes % resolution:
        problems.append(
            Problem(where=read.name, what=f"every {minutes} min, readings every {resolution} min",
                    remedy="average the weather over the periods of the readings")
        )  # fmt: skip
        return None
    stated = ~np.isnat(read.known_at)
    ends = read.start + np.timedelta64(minutes * 60, "s")
    known_at = np.where(stated, read.known_at, ends)
    if files.weather_is_forecast and not stated.all():
        known_at = np.where(stated, read.known_at, starts64(reading.periods)[0])
        warnings.append(
            f"{read.name}: {int((~stated).sum())} rows without known_at are taken as forecast "
            "before the gate (--weather-is-forecast); measured weather would flatter the result"
        )
    pairs = np.stack([read.start.astype(np.int64), known_at.astype(np.int64)], axis=1)
    if len(np.unique(pairs, axis=0)) < len(pairs):
        problems.append(
            Problem(where=read.name, what="a period comes twice with the same known_at",
                    remedy="state each period once for each issue")
        )  # fmt: skip
        return None
    repeat = minutes // resolution
    if repeat > 1:
        warnings.append(f"{read.name}: every {minutes} min, held for {repeat} periods each")
    offsets = np.tile(np.arange(repeat) * np.timedelta64(resolution * 60, "s"), len(read.start))
    return VersionedTable(
        names=read.columns,
        mtu_minutes=resolution,
        valid_at=np.repeat(read.start, repeat) + offsets,
        known_at=np.repeat(known_at, repeat),
        value=np.repeat(read.value, repeat, axis=0),
    )


def _only_reaching(
    table: VersionedTable, ahead: Periods, warnings: list[str]
) -> VersionedTable | None:
    """Leave out columns that are unknown somewhere ahead; None when nothing is left."""
    reaches = np.isfinite(table.latest(ahead)).all(axis=0)
    warnings.extend(
        f"{name}: not known for every period ahead; not used"
        for name in np.array(table.names)[~reaches]
    )
    if not reaches.any():
        return None
    return VersionedTable(
        names=tuple(np.array(table.names)[reaches].tolist()),
        mtu_minutes=table.mtu_minutes,
        valid_at=table.valid_at,
        known_at=table.known_at,
        value=table.value[:, reaches],
    )


def _read_site(path: Path | None, problems: list[Problem]) -> tuple[Site, bool, list[Source]]:
    """Return the site, whether its clock was stated, and the file as a source."""
    unknown = Site(timezone="UTC")
    if path is None:
        return unknown, False, []
    try:
        content = path.read_bytes()
        held = tomllib.loads(content.decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(Problem(where=str(path), what=f"cannot be read: {error}"))
        return unknown, False, []
    known = {field.name for field in fields(Site)}
    found: list[Problem] = [
        Problem(where=f"{path.name} {name}", what="is no setting of a site",
                remedy=f"one of {', '.join(sorted(known))}")
        for name in sorted(set(held) - known)
    ]  # fmt: skip
    limits = {"latitude": 90.0, "longitude": 180.0, "tilt_deg": 90.0, "azimuth_deg": 360.0}
    for name in SITE_NUMBERS:
        value = held.get(name, 0.0)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        least = 0.0 if name.endswith("_mw") or name == "tilt_deg" else -np.inf
        if not (number and least <= value < np.inf and abs(value) <= limits.get(name, np.inf)):
            found.append(Problem(where=f"{path.name} {name}", what=f"is {value!r}"))
    try:
        ZoneInfo(str(held.get("timezone", "UTC")))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        found.append(
            Problem(where=f"{path.name} timezone", what=f"no IANA zone {held['timezone']!r}")
        )
    problems.extend(found)
    if found:
        return unknown, False, []
    site = Site(**{"timezone": "UTC", **held})
    stated = "timezone" in held
    return (
        site,
        stated,
        [Source(name=path.name, role="site", sha256=sha256_hex(content), rows=len(held))],
    )


def _aware(instant: np.datetime64) -> datetime:
    seconds = int((instant - np.datetime64(0, "s")) / np.timedelta64(1, "s"))
    return datetime.fromtimestamp(seconds, tz=UTC)
