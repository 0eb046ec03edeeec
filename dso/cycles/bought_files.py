"""Orders of a purchase as its files and messages have them, read back."""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np

from data.units import MICRO_PER_UNIT
from dso.cycles.plan import DayPlan
from dso.flexibility.files import ORDERS_JSON
from flexibility.procurement.border import LocalIsps, from_watt
from flexibility.procurement.records import FlexOrder

PURCHASE_FOLDER: Final = "flexibility"


def read_entries(plan: DayPlan) -> tuple[dict[str, Any], ...]:
    """Return the entries of the orders of a day's purchase; none where there was no purchase."""
    path = plan.out / PURCHASE_FOLDER / ORDERS_JSON
    if not path.is_file():
        return ()
    return tuple(json.loads(path.read_text(encoding="utf-8")))


def read_bought(plan: DayPlan) -> tuple[FlexOrder, ...]:
    """Return the orders that the purchase of a day left; none where there was no purchase."""
    isps = LocalIsps.of(plan.periods, plan.delivery.timezone)
    return tuple(order_of_entry(plain, isps) for plain in read_entries(plan))


def order_of_entry(plain: dict[str, Any], isps: LocalIsps) -> FlexOrder:
    """Return an order from its entry; where it acts is its connection's bus."""
    power = np.zeros(len(isps.periods))
    for run in plain["isps"]:
        first = run["start"] - isps.first
        power[first : first + run["duration"]] = from_watt(run["power_w"])
    return FlexOrder(
        reference=plain["order_reference"],
        participant=plain["participant"],
        congestion_point=plain["congestion_point"],
        connection=plain["connection"],
        buses=(),
        offer=plain.get("flex_offer_message_id", ""),
        contract=plain.get("contract_id"),
        option=plain["option_reference"],
        factor=plain["activation_factor"],
        price_micro_eur=round(plain["price_eur"] * MICRO_PER_UNIT),
        offered_mw=power,
        rule=plain["rule"],
        penalty_micro_eur_per_mwh=round(plain["penalty_eur_per_mwh"] * MICRO_PER_UNIT),
    )
