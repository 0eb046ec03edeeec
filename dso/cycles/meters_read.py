"""Readings in the store as the meters of a day's settlement."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from data.canonical import canonical_json, pretty_json, sha256_hex, write_atomically
from data.periods import parse_utc
from dso.cycles.plan import DayPlan
from dso.cycles.stages import Desk
from dso.store import Connection
from dso.store.readings import MeterReading, read_readings
from dso.store.register import Register
from dso.store.register_records import Asset, ConnectionPoint

READINGS_JSON: Final = "readings.json"
UNASSIGNED: Final = "readings_unassigned"
POINTS_PER_QUERY: Final = 500
EVER: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetersRead:
    """What the meters said.

    Parameters
    ----------
    injection_wh : mapping
        Injection [Wh] by element, e.g. ``sgen:3``, and index of the period; export less import.
    used : tuple of (connection point, period start, revision)
        Which readings these are.
    unassigned : tuple of str
        Connection points whose readings belong to no single element, with the reason.
    """

    injection_wh: Mapping[str, Mapping[int, int]]
    used: tuple[tuple[str, str, int], ...]
    unassigned: tuple[str, ...]

    def sha256(self) -> str:
        """Return a digest of which readings were used and what they say."""
        said = {
            element: {str(period): value for period, value in series.items()}
            for element, series in self.injection_wh.items()
        }
        return sha256_hex(canonical_json({"used": self.used, "injection_wh": said}))


def read_meters(desk: Desk) -> MetersRead:
    """Return the newest readings of the day's connections.

    A connection point is the meter of the one asset registered there. Its newest revision of each
    period counts; a period that is missing or of another length is left to what stood before.
    """
    plan = desk.plan
    with desk.services.store.transaction() as connection:
        elements, several = _elements_at_points(connection, plan)
        readings = _newest(connection, plan, sorted({*elements, *several}))
    injection: dict[str, dict[int, int]] = {}
    used, unassigned = [], {}
    for reading in readings:
        point = reading.connection_point
        if point in several:
            unassigned[point] = several[point]
            continue
        at = parse_utc(reading.period_start) - plan.periods.start
        if reading.quality == "missing":
            continue
        if reading.period_minutes != plan.delivery.mtu_minutes:
            unassigned[point] = f"has periods of {reading.period_minutes} min"
            continue
        net_wh = (reading.export_wh or 0) - (reading.import_wh or 0)
        injection.setdefault(elements[point], {})[at // plan.periods.mtu] = net_wh
        used.append((point, reading.period_start, reading.revision))
    return MetersRead(
        injection_wh=injection,
        used=tuple(used),
        unassigned=tuple(f"{point} {why}" for point, why in sorted(unassigned.items())),
    )


def write_readings(meters: MetersRead, folder: Path) -> None:
    """Write which readings a settlement used, where it used any."""
    if meters.used or meters.unassigned:
        said = {
            "used": [
                {"connection_point": point, "period_start": start, "revision": revision}
                for point, start, revision in meters.used
            ],
            "unassigned": meters.unassigned,
        }
        write_atomically(folder / READINGS_JSON, pretty_json(said))


def find_unassigned(folder: Path) -> tuple[str, ...]:
    """Return which readings a settlement could not use, as it wrote them."""
    path = folder / READINGS_JSON
    if not path.is_file():
        return ()
    return tuple(json.loads(path.read_text(encoding="utf-8"))["unassigned"])


def _elements_at_points(
    connection: Connection, plan: DayPlan
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the element of each connection point of the feeder, and why others have none."""
    at, prefix = plan.periods.end, f"{plan.feeder.id}/"
    points = Register(ConnectionPoint).in_force(connection, at=at, known_at=EVER)
    behind: dict[str, list[str]] = {p.id: [] for p in points if p.feeder == plan.feeder.id}
    for asset in Register(Asset).in_force(connection, at=at, known_at=EVER):
        if asset.connection_point in behind:
            behind[asset.connection_point].append(asset.id)
    elements, others = {}, {}
    for point, assets in behind.items():
        if len(assets) == 1 and assets[0].startswith(prefix):
            elements[point] = assets[0].removeprefix(prefix)
        else:
            others[point] = f"is the meter of {len(assets)} assets"
    return elements, others


def _newest(connection: Connection, plan: DayPlan, points: list[str]) -> tuple[MeterReading, ...]:
    found: list[MeterReading] = []
    for first in range(0, len(points), POINTS_PER_QUERY):
        block = points[first : first + POINTS_PER_QUERY]
        found += read_readings(
            connection, block, start=plan.periods.start, end=plan.periods.end, known_at=EVER
        )
    return tuple(found)
