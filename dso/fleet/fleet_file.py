"""``fleet.json`` beside a study: the devices behind its orders, as columns of plain numbers."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from data.canonical import canonical_json, to_plain, write_atomically
from data.errors import InputError, Problem
from flexibility.devices import Batteries, CarSessions, HeatPumps, PvPlants
from flexibility.portfolios.fleet import Fleet, FleetOutlook, FleetTerms

FLEET_FILE: Final = "fleet.json"
MODELS: Final = {
    "batteries": Batteries,
    "cars": CarSessions,
    "pumps": HeatPumps,
    "plants": PvPlants,
}
TEXTS: Final = ("ids", "buses")


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFile:
    """A fleet, what was expected of the day, how it offered, and what was assumed."""

    fleet: Fleet
    outlook: FleetOutlook
    terms: FleetTerms
    notes: tuple[str, ...]


def write_fleet(content: FleetFile, folder: Path) -> None:
    """Write ``fleet.json`` into a study folder; equal fleets give equal bytes."""
    fleet = content.fleet
    plain: dict[str, object] = {
        kind: {
            field.name: getattr(getattr(fleet, kind), field.name)
            for field in dataclasses.fields(MODELS[kind])
        }
        for kind in fleet.kinds()
    }
    plain |= {
        "battery_assets": fleet.battery_assets,
        "plant_assets": fleet.plant_assets,
        "outdoor_c": content.outlook.outdoor_c,
        "plants_mw": content.outlook.plants_mw,
        "terms": {
            field.name: getattr(content.terms, field.name)
            for field in dataclasses.fields(FleetTerms)
        },
        "notes": content.notes,
    }
    write_atomically(folder / FLEET_FILE, canonical_json(to_plain(plain)) + b"\n")


def read_fleet(folder: Path) -> FleetFile:
    """Read ``fleet.json``.

    Raises
    ------
    InputError
        If it is missing, no JSON, or holds devices that cannot be.
    """
    path = folder / FLEET_FILE
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return _from_plain(plain)
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        remedy = "make the study with dso fleet offer"
        raise InputError([Problem(where=str(path), what=what, remedy=remedy)]) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"is no fleet: {type(error).__name__} {str(error)[:80]}"
        raise InputError([Problem(where=str(path), what=what)]) from error


def _from_plain(plain: dict[str, Any]) -> FleetFile:
    devices = {
        kind: model(**{name: _column(name, value) for name, value in plain[kind].items()})
        for kind, model in MODELS.items()
        if kind in plain
    }
    return FleetFile(
        fleet=Fleet(
            **devices,
            battery_assets=tuple(plain["battery_assets"]),
            plant_assets=tuple(plain["plant_assets"]),
        ),
        outlook=FleetOutlook(
            outdoor_c=np.array(plain["outdoor_c"], dtype=float),
            plants_mw=np.array(plain["plants_mw"], dtype=float),
        ),
        terms=FleetTerms(**plain["terms"]),
        notes=tuple(plain["notes"]),
    )


def _column(name: str, value: list[Any]) -> Any:  # noqa: ANN401 - texts, whole numbers or floats
    return tuple(value) if name in TEXTS else np.array(value, dtype=float)
