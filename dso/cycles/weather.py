"""Weather forecasts of third parties: read from files, cut at a gate, and checked.

What a feeder's model may rest on is decided here, before any model runs:

- ``good``: every column reaches over all periods, and the newest issue is young enough;
- ``late``: it reaches, but was issued longer ago than the feeder allows;
- ``missing``: no file, none that can be read, or not every period has a plausible value.

Files may grow while a day runs: only rows known at the gate count, so the same gate sees the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import numpy as np

from data.canonical import canonical_json, pretty_json, sha256_hex, write_atomically
from data.errors import Problem
from data.periods import Periods, format_utc
from data.readers.series_file import read_series_file
from data.records.forecast import Reading
from dso.forecasts.inputs import ForecastFiles, weather_table
from forecasting.as_of import VersionedTable, instant64, starts64
from forecasting.sources import Source, combine_sources

State = Literal["good", "late", "missing"]
WEATHER_JSON: Final = "weather.json"
NAME: Final = "missing_weather"
HOUR: Final = timedelta(hours=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeatherFeed:
    """What the feeder's weather files say, not yet cut at any gate.

    Parameters
    ----------
    tables : tuple of (Source, VersionedTable)
        Files that could be read, in the order of preference.
    unread : tuple of str
        Why the others could not.
    warnings : tuple of str
        What was assumed.
    """

    tables: tuple[tuple[Source, VersionedTable], ...]
    unread: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeatherAtGate:
    """What is known of the weather at a gate.

    Parameters
    ----------
    state : {"good", "late", "missing"}
        What may rest on it.
    table : VersionedTable or None
        Columns that reach over every period, in all versions known; None where none does.
    why : str
        What is wrong, in a sentence; empty where nothing is.
    age : timedelta
        From the oldest issue that is used to the gate; zero where nothing is known.
    sources : tuple of Source
        Every file with its hash, the newest issue used and what was left out.
    warnings : tuple of str
        Disagreements, and what was assumed.
    """

    state: State
    table: VersionedTable | None
    why: str
    age: timedelta
    sources: tuple[Source, ...]
    warnings: tuple[str, ...]


def read_weather(files: Sequence[Path], mtu_minutes: int) -> WeatherFeed:
    """Read the files of a feed; one that is not there or broken is told, not refused.

    A market goes on without the weather: what rests on it falls back by name.
    """
    tables: list[tuple[Source, VersionedTable]] = []
    unread: list[str] = []
    warnings: list[str] = []
    for path in files:
        problems: list[Problem] = []
        read, table = read_series_file(path, problems), None
        if read is not None:
            question = ForecastFiles(kind="pv", readings=path, resolution_minutes=mtu_minutes)
            nothing = Reading(
                series=("",),
                periods=Periods(start=_EPOCH, count=1, mtu_minutes=mtu_minutes),
                value_mw=np.zeros((1, 1)),
                known_at=_EPOCH,
            )
            table = weather_table(read, question, nothing, problems, warnings)
        if problems or read is None or table is None:
            # The name alone: where it lies differs between machines, the result does not.
            what = problems[0].what if path.exists() and problems else "no such file"
            unread.append(f"{path.name}: {what}")
            continue
        source = Source(name=path.name, role="weather", sha256=read.sha256, rows=len(read.start))
        tables.append((source, table))
    return WeatherFeed(tables=tuple(tables), unread=tuple(unread), warnings=tuple(warnings))


def weather_at_gate(
    feed: WeatherFeed, gate: datetime, ahead: Periods, *, age_max: timedelta
) -> WeatherAtGate:
    """Return what models may use of a feed at a gate, and its state.

    Parameters
    ----------
    feed : WeatherFeed
        What was read.
    gate : datetime
        Nothing known later is used.
    ahead : Periods
        Periods to forecast.
    age_max : timedelta
        How long ago the newest issue may have been made.
    """
    if not feed.tables:
        return _missing(feed, "; ".join(feed.unread), (), ())
    found = combine_sources([(s.name, t) for s, t in feed.tables], gate, ahead)
    sources = tuple(
        replace(source, issued_at=_issued(table, gate), left_out=left_out)
        for (source, table), left_out in zip(feed.tables, found.left_out, strict=True)
    )
    warnings = (*feed.unread, *feed.warnings, *found.warnings)
    covered = np.isfinite(found.table.latest(ahead))
    reaches = covered.all(axis=0)
    if not reaches.any():
        share = 1.0 - covered.any(axis=1).mean()
        implausible = sum(found.left_out)
        why = f"{share:.0%} of the periods ahead without a value"
        why += f", {implausible} values implausible for their unit" if implausible else ""
        return _missing(feed, why, sources, warnings)
    names = tuple(np.array(found.table.names)[reaches].tolist())
    table = replace(found.table, names=names, value=found.table.value[:, reaches])
    oldest = table.join(starts64(ahead), gate).known_at.min()
    age = timedelta(seconds=int((instant64(gate) - oldest) / np.timedelta64(1, "s")))
    late = age > age_max
    why = f"issued {oldest}Z, {age / HOUR:g} h before the gate" if late else ""
    return WeatherAtGate(
        state="late" if late else "good", table=table, why=why, age=age, sources=sources,
        warnings=warnings,
    )  # fmt: skip


def weather_sha256(feed: WeatherFeed, gate: datetime) -> str:
    """Return a digest of all that was known of the weather at a gate."""
    parts: list[object] = [list(feed.unread)]
    for source, table in feed.tables:
        known = table.known_before(gate)
        order = np.lexsort((known.known_at, known.valid_at))
        arrays = (
            known.valid_at.astype("<i8"), known.known_at.astype("<i8"), known.value.astype("<f8"),
        )  # fmt: skip
        digests = [sha256_hex(array[order].tobytes()) for array in arrays]
        parts.append([source.name, list(table.names), *digests])
    return sha256_hex(canonical_json(parts))


def write_weather(found: WeatherAtGate, gate: datetime, folder: Path) -> None:
    """Write ``weather.json``: the state of the weather at the gate, its sources and columns."""
    said = {
        "known_at": format_utc(gate),
        "state": found.state,
        "why": found.why,
        "columns": () if found.table is None else found.table.names,
        "sources": found.sources,
        "warnings": found.warnings,
    }
    write_atomically(folder / WEATHER_JSON, pretty_json(said))


def _missing(
    feed: WeatherFeed, why: str, sources: tuple[Source, ...], warnings: tuple[str, ...]
) -> WeatherAtGate:
    unread = (*feed.unread, *feed.warnings)
    return WeatherAtGate(
        state="missing", table=None, why=why, age=timedelta(0), sources=sources,
        warnings=warnings or unread,
    )  # fmt: skip


def _issued(table: VersionedTable, gate: datetime) -> str:
    known = table.known_at[table.known_at <= instant64(gate)]
    return f"{known.max()}Z" if len(known) else ""
