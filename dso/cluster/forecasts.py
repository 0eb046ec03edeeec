"""Forecasts as jobs: a request in TOML says what `dso forecast run` takes as options."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, cast

from data.errors import InputError, Problem, refuse_if_any
from data.periods import Periods, parse_utc
from data.study.settings import FieldReader
from dso.forecasts.inputs import ForecastFiles
from forecasting.model import ForecastKind

KINDS: Final = ("load", "pv", "wind", "net")
AUTO: Final = "auto"


def read_request(path: Path) -> tuple[tuple[Path, ...], dict[str, object]]:
    """Read a request.

    Parameters
    ----------
    path : Path
        TOML: ``kind``, ``readings``, ``weather`` (a list), ``site``, ``resolution_minutes``,
        ``known_at``, ``start``, ``end``, ``model``, ``quantiles``, ``wide`` and
        ``weather_is_forecast``, as the options of `dso forecast run`. Files are relative to it.

    Returns
    -------
    tuple
        The files, readings first, then the site where there is one, then weather in its order; and
        everything else as plain values.

    Raises
    ------
    InputError
        Everything wrong with it.
    """
    problems: list[Problem] = []
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError([Problem(where=str(path), what=f"cannot be read: {error}")]) from error
    reader = FieldReader(str(path), content, problems)
    kind = reader.text("kind")
    if kind and kind not in KINDS:
        reader.report(f"kind is {kind!r}", f"one of {', '.join(KINDS)}")
    readings, site = reader.text("readings"), reader.text("site", "")
    weather = reader.take("weather")
    listed = [] if weather is None else weather
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        reader.report("weather is no list of files", 'e.g. weather = ["weather.csv"]')
        listed = []
    minutes = reader.count("resolution_minutes", minimum=1, required=True) or 1
    quantiles = reader.count("quantiles", default=9)
    if quantiles not in (9, 99):
        reader.report(f"quantiles is {quantiles}", "9 or 99")
    model = reader.text("model", AUTO)
    flags = {name: _flag(reader, name) for name in ("wide", "weather_is_forecast")}
    instants = {name: _instant(reader, name) for name in ("known_at", "start", "end")}
    reader.close()
    files = [path.parent / each for each in (readings, *([site] if site else []), *listed) if each]
    problems.extend(
        Problem(where=str(path), what=f"{each} is no file") for each in files if not each.is_file()
    )
    if not problems:
        problems.extend(_horizon_problems(str(path), instants, minutes))
    refuse_if_any(problems)
    return tuple(files), {
        "kind": kind, "has_site": bool(site), "resolution_minutes": minutes, "model": model,
        "quantiles": quantiles, **flags, **instants,
    }  # fmt: skip


def forecast_question(
    files: tuple[Path, ...], plain: Mapping[str, object]
) -> tuple[ForecastFiles, datetime, Periods]:
    """Return files, gate and periods of a request that was read."""
    readings, *rest = files
    site = rest.pop(0) if plain["has_site"] else None
    minutes = cast("int", plain["resolution_minutes"])
    start, end = parse_utc(str(plain["start"])), parse_utc(str(plain["end"]))
    count = (end - start) // timedelta(minutes=minutes)
    return (
        ForecastFiles(
            kind=cast("ForecastKind", plain["kind"]),
            readings=readings,
            weather=tuple(rest),
            site=site,
            resolution_minutes=minutes,
            wide=bool(plain["wide"]),
            weather_is_forecast=bool(plain["weather_is_forecast"]),
        ),
        parse_utc(str(plain["known_at"])),
        Periods(start=start, count=count, mtu_minutes=minutes),
    )


def _flag(reader: FieldReader, name: str) -> bool:
    value = reader.take(name)
    if value not in (None, True, False):
        reader.report(f"{name} is {value!r}", "true or false")
    return value is True


def _instant(reader: FieldReader, name: str) -> str:
    text = reader.text(name)
    try:
        parse_utc(text)
    except ValueError:
        if text:
            reader.report(f"{name} is {text!r}", "write it like 2026-05-01T10:00:00Z")
    return text


def _horizon_problems(where: str, instants: Mapping[str, str], minutes: int) -> list[Problem]:
    known, start, end = (parse_utc(instants[name]) for name in ("known_at", "start", "end"))
    problems = []
    if start < known:
        problems.append(Problem(where=where, what="start is before known_at",
                                remedy="forecast what is not yet read"))  # fmt: skip
    length = timedelta(minutes=minutes)
    if end <= start or (end - start) % length:
        problems.append(Problem(where=where, what="end is no whole number of periods after start"))
    return problems
