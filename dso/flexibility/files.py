"""A purchase as files: orders as messages, what was needed, bought and is missing as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import pretty_json
from data.csv_table import Column, table_bytes
from data.periods import format_utc
from data.records.clearing import ClearingCase, ClearingResult
from data.study import case_sha256
from data.units import MICRO_PER_UNIT, energy_wh
from dso.flexibility.buy import Purchase
from flexibility.procurement.acceptance import Desk
from flexibility.procurement.border import LocalIsps
from flexibility.procurement.write_messages import order_to_plain, rejections_to_plain

Floats = NDArray[np.float64]
PURCHASE_JSON: Final = "purchase.json"
ORDERS_JSON: Final = "orders.json"
BOUGHT_CSV: Final = "bought.csv"
MISSING_CSV: Final = "missing.csv"
PERIODS_CSV: Final = "periods.csv"


def purchase_files(purchase: Purchase, held: ClearingCase, desk: Desk) -> dict[str, bytes]:
    """Return all files of a purchase by name; same purchase, same bytes."""
    isps = LocalIsps.of(held.periods, held.timezone)
    orders = [order_to_plain(order, isps) for order in purchase.orders]
    return {
        ORDERS_JSON: pretty_json(orders),
        PURCHASE_JSON: pretty_json(_about(purchase, held, desk)),
        BOUGHT_CSV: _bought(purchase, held),
        MISSING_CSV: _missing(purchase, held),
        PERIODS_CSV: _periods(purchase, held),
    }


def _about(purchase: Purchase, held: ClearingCase, desk: Desk) -> dict[str, object]:
    labels = held.periods.labels()
    search = purchase.choice.result
    return {
        "state": purchase.state,
        "decided_at": format_utc(desk.at),
        "case_sha256": case_sha256(held),
        "orders": len(purchase.orders),
        "cost_micro_eur": purchase.cost_micro_eur,
        "rounding_eur": purchase.rounding_eur,
        "missing_before": missing_elements(purchase.before, labels),
        "missing": missing_elements(purchase.after, labels),
        "search": None if search is None else {
            "status": search.status,
            "cost_eur": purchase.choice.cost_eur,
            "bound_eur": search.bound_eur,
            "proven": search.integers is None or search.integers.proven,
            "choices_cleared": 1 if search.integers is None else search.integers.choices_cleared,
        },
        "outcome": {"status": purchase.after.status, "certificate": purchase.after.certificate},
        "rejections": rejections_to_plain(purchase.rejections),
        "remarks": list(purchase.remarks),
        "fallbacks": list(purchase.fallbacks),
    }  # fmt: skip


def missing_elements(result: ClearingResult, labels: Sequence[str]) -> list[dict[str, object]]:
    """Return each element and period whose limit does not hold, the two ends of a branch as one.

    Voltages are in pu, branches in percent of their limit.
    """
    worst: dict[tuple[int, str, int], dict[str, object]] = {}
    for each in result.violations:
        key = (each.period, each.element_kind, each.element)
        if key not in worst or float(str(worst[key]["mw_missing"])) < each.mw_short:
            at_bus = each.element_kind == "bus"
            worst[key] = {
                "element_kind": each.element_kind,
                "element": each.element,
                "side": each.side,
                "period_start": labels[each.period],
                "value": each.value if at_bus else 100.0 * each.value / each.limit,
                "limit": each.limit if at_bus else 100.0,
                "unit": "pu" if at_bus else "percent of limit",
                "mw_missing": each.mw_short,
            }
    return [worst[key] for key in sorted(worst)]


def _missing(purchase: Purchase, held: ClearingCase) -> bytes:
    found = missing_elements(purchase.after, held.periods.labels())
    texts = ("element_kind", "element", "side", "period_start", "unit")
    columns: dict[str, Column] = {name: [str(each[name]) for each in found] for name in texts}
    for name in ("value", "limit", "mw_missing"):
        columns[name] = np.array([float(str(each[name])) for each in found])
    return table_bytes(columns)


def _bought(purchase: Purchase, held: ClearingCase) -> bytes:
    labels, mtu = held.periods.labels(), held.periods.mtu_minutes
    rows = [
        (order, period, float(power))
        for order in purchase.orders
        for period, power in enumerate(order.ordered_mw)
        if power != 0.0
    ]
    columns: dict[str, Column] = {
        "order": [order.reference for order, _, _ in rows],
        "participant": [order.participant for order, _, _ in rows],
        "connection": [order.connection for order, _, _ in rows],
        "kind": ["spot" if order.contract is None else "contract" for order, _, _ in rows],
        "period_start": [labels[period] for _, period, _ in rows],
        "injection_mw": np.array([power for _, _, power in rows]),
        "energy_wh": np.array([energy_wh(power, mtu) for _, _, power in rows], dtype=np.int64),
    }
    return table_bytes(columns)


def _periods(purchase: Purchase, held: ClearingCase) -> bytes:
    """Return what was missing before, bought by kind and direction, and is missing after."""
    columns: dict[str, Column] = {"period_start": held.periods.labels()}
    columns["missing_before_mw"] = purchase.missing_before_mw
    for kind in ("contract", "spot"):
        for direction, sign in (("inject", 1.0), ("withdraw", -1.0)):
            columns[f"{kind}_{direction}_mw"] = bought_mw(purchase, kind, sign)
    columns["missing_mw"] = purchase.missing_mw
    return table_bytes(columns)


def bought_mw(purchase: Purchase, kind: str, sign: float) -> Floats:
    """Return the power bought of contracts or offers in one direction, shape (periods,) [MW]."""
    total = np.zeros(len(purchase.missing_mw))
    for order in purchase.orders:
        if (order.contract is not None) == (kind == "contract"):
            total += np.maximum(sign * order.ordered_mw, 0.0)
    return total


def cost_eur(purchase: Purchase) -> float:
    """Return what all orders cost if delivered in full [EUR]."""
    return purchase.cost_micro_eur / MICRO_PER_UNIT
