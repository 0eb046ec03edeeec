"""Short ways to make offers and contracts for tests."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from flexibility.procurement.records import (
    AvailabilityContract,
    CongestionPoint,
    FlexOffer,
    OfferOption,
)

Floats = NDArray[np.float64]
POINT_ID: Final = "ea1.2026-01.grid.example:north"
POINT: Final = CongestionPoint(
    id=POINT_ID, name="North", elements=(("bus", 17), ("bus", 32)), buses=((17, 1.0),)
)
LATE: Final = datetime(2030, 1, 1, tzinfo=UTC)


def option(
    power_mw: Floats, price_eur: float, *, least: float = 1.0, name: str = "1"
) -> OfferOption:
    """An option for a price as a whole."""
    return OfferOption(
        reference=name, price_micro_eur=round(1e6 * price_eur), factor_min=least,
        injection_mw=np.asarray(power_mw, dtype=float),
    )  # fmt: skip


def offer(name: str, bus: int, *options: OfferOption, **changed: Any) -> FlexOffer:
    """An unsolicited offer at a bus."""
    fields: dict[str, Any] = {
        "message_id": name, "participant": "P", "congestion_point": POINT_ID, "request": "",
        "expires_at": LATE, "received_at": None, "currency": "EUR", "connection": f"load:{bus}",
        "buses": ((bus, 1.0),), "options": options,
    }  # fmt: skip
    return FlexOffer(**(fields | changed))


def contract(
    name: str, bus: int, power_mw: float, utilisation_eur: float, **changed: Any
) -> AvailabilityContract:
    """A contract for more injection, all day long."""
    fields: dict[str, Any] = {
        "id": name, "participant": "C", "congestion_point": POINT_ID, "connection": f"load:{bus}",
        "buses": ((bus, 1.0),), "direction": "inject", "power_mw": power_mw,
        "first_day": date(2016, 1, 1), "last_day": date(2030, 1, 1), "from_time": time(0),
        "to_time": time(0), "availability_micro_eur_per_mw_h": 4_000_000,
        "utilisation_micro_eur_per_mwh": round(1e6 * utilisation_eur),
    }  # fmt: skip
    return AvailabilityContract(**(fields | changed))
