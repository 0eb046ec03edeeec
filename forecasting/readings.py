"""Readings before they may be forecast from: refused with every problem found, or indexed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem
from data.periods import Periods, format_utc
from data.records.forecast import Reading
from data.records.network import Network

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SeriesKind = Literal["load", "pv", "wind", "other"]
SERIES_KINDS: Final[tuple[SeriesKind, ...]] = ("load", "pv", "wind", "other")
DEFAULT_QUANTILES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeder:
    """Where the series are and what they are: everything a model needs beside readings.

    Parameters
    ----------
    kinds : mapping of series id to kind
        ``load``, ``pv``, ``wind`` or ``other`` (biomass, hydro).
    capacity_mw : mapping of series id to installed capacity [MW]
        Required for everything but loads; a load without one is not capped.
    latitude, longitude : float
        Position of the feeder [deg], north and east positive.
    timezone : str
        IANA zone whose wall clock loads follow.
    """

    kinds: Mapping[str, SeriesKind]
    capacity_mw: Mapping[str, float]
    latitude: float
    longitude: float
    timezone: str = "Europe/Berlin"


def feeder_of_network(network: Network, timezone: str = "Europe/Berlin") -> Feeder:
    """Describe the series ``load:i`` and ``sgen:i`` of a network's elements in service.

    SimBench's aggregated low-voltage renewables (``lv_RES``) are taken as PV: their recorded
    output is zero at night (the day-ahead model checks this and falls back by name otherwise).

    Raises
    ------
    InputError
        If no bus has coordinates.
    """
    kinds: dict[str, SeriesKind] = {}
    capacity_mw: dict[str, float] = {}
    for index, in_service in zip(network.loads.index, network.loads.in_service, strict=True):
        if in_service:
            kinds[f"load:{index}"] = "load"
    sgens = network.sgens
    for row in np.flatnonzero(sgens.in_service):
        series = f"sgen:{sgens.index[row]}"
        kinds[series] = kind_of_technology(sgens.technology[row])
        rating = sgens.sn_mva[row] if np.isfinite(sgens.sn_mva[row]) else 0.0
        capacity_mw[series] = float(max(rating, abs(sgens.p_mw[row])))
    known = np.isfinite(network.buses.latitude) & np.isfinite(network.buses.longitude)
    if not known.any():
        raise InputError(
            [Problem(where=network.name, what="no bus has coordinates",
                     remedy="state the feeder's latitude and longitude")]
        )  # fmt: skip
    return Feeder(
        kinds=kinds,
        capacity_mw=capacity_mw,
        latitude=round(float(network.buses.latitude[known].mean()), 4),
        longitude=round(float(network.buses.longitude[known].mean()), 4),
        timezone=timezone,
    )


def kind_of_technology(technology: str) -> SeriesKind:
    """Return the model kind of SimBench's ``type`` of a static generator."""
    name = technology.lower()
    if name.startswith("wind"):
        return "wind"
    if name.startswith(("pv", "lv_res")):
        return "pv"
    return "other"


def reading_problems(reading: Reading, known_at: datetime) -> list[Problem]:
    """List what is wrong with readings at a gate: shape, NaN, or known only after it."""
    problems = []
    shape = (len(reading.periods), len(reading.series))
    if len(set(reading.series)) != len(reading.series):
        repeated = sorted({s for s in reading.series if reading.series.count(s) > 1})
        problems.append(Problem(where="readings", what=f"series named twice: {repeated}"))
    if known_at.tzinfo is None:
        return [*problems, Problem(where="known_at", what="has no UTC offset")]
    if reading.value_mw.shape != shape:
        return [
            *problems,
            Problem(where="readings", what=f"shape {reading.value_mw.shape}, expected {shape}"),
        ]
    latest = max(reading.known_at, reading.periods.end)
    if latest > known_at:
        problems.append(
            Problem(
                where="readings",
                what=f"known at {format_utc(latest)}, after the gate {format_utc(known_at)}",
                remedy="cut the readings at the gate",
            )
        )
    bad = ~np.isfinite(reading.value_mw)
    for column in np.flatnonzero(bad.any(axis=0)):
        first = int(np.argmax(bad[:, column]))
        problems.append(
            Problem(
                where=f"{reading.series[column]} at "
                f"{format_utc(reading.periods.start + first * reading.periods.mtu)}",
                what=f"not a number ({int(bad[:, column].sum())} periods in all)",
                remedy="repair the readings or leave the series out",
            )
        )
    return problems


def feeder_problems(series: Sequence[str], feeder: Feeder) -> list[Problem]:
    """List what the feeder's description lacks for these series."""
    problems = []
    for name in series:
        kind = feeder.kinds.get(name)
        if kind not in SERIES_KINDS:
            problems.append(
                Problem(where=name, what=f"kind is {kind!r}", remedy=f"one of {SERIES_KINDS}")
            )
        capacity = feeder.capacity_mw.get(name)
        if capacity is None and kind != "load":
            problems.append(Problem(where=name, what="no installed capacity"))
        elif capacity is not None and not (np.isfinite(capacity) and capacity >= 0.0):
            problems.append(Problem(where=name, what=f"installed capacity {capacity} MW"))
    if not -90.0 <= feeder.latitude <= 90.0 or not -180.0 <= feeder.longitude <= 180.0:
        problems.append(
            Problem(where="feeder", what=f"position {feeder.latitude}, {feeder.longitude}")
        )
    return problems


def quantile_problems(quantiles: Sequence[float]) -> list[Problem]:
    """List what is wrong with the probability levels asked for."""
    levels = list(quantiles)
    ascending = all(a < b for a, b in pairwise(levels))
    if ascending and all(0.0 < q < 1.0 for q in levels) and 0.5 in levels:
        return []
    return [
        Problem(where="quantiles", what=str(levels), remedy="ascending in (0, 1), with 0.5 in it")
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSlots:
    """Each period's local calendar day (ordinal), weekday class and wall-clock slot.

    ``day_class`` is 0 Monday to Friday, 1 Saturday, 2 Sunday. Shape (periods,) each.
    """

    day: Ints
    slot: Ints
    day_class: Ints


def local_slots(periods: Periods, timezone: str) -> LocalSlots:
    """Read the local wall clock at the start of each period (clock changes included)."""
    zone = ZoneInfo(timezone)
    offsets: dict[datetime, timedelta] = {}
    day, slot, day_class = [], [], []
    for start in periods.starts:
        # The offset from UTC changes on the hour only: look it up once per hour.
        hour = start.replace(minute=0, second=0, microsecond=0)
        if hour not in offsets:
            offsets[hour] = hour.astimezone(zone).utcoffset() or timedelta(0)
        wall = start + offsets[hour]
        day.append(wall.toordinal())
        slot.append((wall.hour * 60 + wall.minute) // periods.mtu_minutes)
        day_class.append(max(wall.weekday() - 4, 0))
    return LocalSlots(
        day=np.array(day, dtype=np.int64),
        slot=np.array(slot, dtype=np.int64),
        day_class=np.array(day_class, dtype=np.int64),
    )
