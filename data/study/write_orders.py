"""Orders as ``orders.json``: one order per line, sorted by id, every number explicit."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from data.canonical import canonical_json, to_plain
from data.csv_table import round_significant
from data.records.order import (
    BilateralOrder,
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    PriceStep,
    ShiftOrder,
    StorageOrder,
    kind_of,
)

Floats = NDArray[np.float64]


def _series(values: Floats) -> float | list[float]:
    """Return one number where all periods agree, else the list."""
    rounded = round_significant(values)
    if rounded.size and np.all(rounded == rounded.flat[0]):
        return float(rounded.flat[0])
    listed: list[float] = rounded.tolist()
    return listed


def _steps(steps: tuple[PriceStep, ...]) -> dict[str, object]:
    if len(steps) == 1:
        return {
            "p_mw_max": _series(steps[0].p_mw),
            "price_eur_per_mwh": _series(steps[0].price_eur_per_mwh),
        }
    listed = [
        {"p_mw": _series(step.p_mw), "price_eur_per_mwh": _series(step.price_eur_per_mwh)}
        for step in steps
    ]
    return {"steps": listed}


def _common(order: Order) -> dict[str, object]:
    plain: dict[str, object] = {
        "id": order.id,
        "kind": kind_of(order),
        "participant": order.participant,
        "asset": order.asset,
        "submitted_at": order.submitted_at,
    }
    if order.buses == ((order.buses[0][0], 1.0),):
        plain["bus"] = order.buses[0][0]
    else:
        plain["buses"] = {str(bus): share for bus, share in order.buses}
    if order.pay != "dlmp":
        plain["pay"] = order.pay
    if order.reactive is not None:
        lower, upper = order.reactive.q_mvar_min, order.reactive.q_mvar_max
        plain["q_mvar_min"] = None if lower is None else _series(lower)
        plain["q_mvar_max"] = None if upper is None else _series(upper)
        plain["power_factor_min"] = order.reactive.power_factor_min
    return plain


def _storage(order: StorageOrder) -> dict[str, object]:
    return {
        "charge_mw_max": _series(order.charge_mw_max),
        "discharge_mw_max": _series(order.discharge_mw_max),
        "energy_mwh_min": order.energy_mwh_min,
        "energy_mwh_max": order.energy_mwh_max,
        "energy_mwh_start": order.energy_mwh_start,
        "energy_mwh_end_min": order.energy_mwh_end_min,
        "efficiency_charge": order.efficiency_charge,
        "efficiency_discharge": order.efficiency_discharge,
        "price_charge_eur_per_mwh": _series(order.price_charge_eur_per_mwh),
        "price_discharge_eur_per_mwh": _series(order.price_discharge_eur_per_mwh),
        "self_discharge_per_day": order.self_discharge_per_day,
        "availability": _series(order.availability),
        "energy_mwh_departure_min": order.energy_mwh_departure_min,
    }


def order_to_plain(order: Order) -> dict[str, object]:
    """Return an order as the fields of ``orders.json``, numbers with 12 significant digits."""
    match order:
        case GenerationOrder() | DemandOrder():
            own: dict[str, object] = {
                **_steps(order.steps),
                "p_mw_min": _series(order.p_mw_min),
                "ramp_mw_per_h": order.ramp_mw_per_h,
                "p_mw_before": order.p_mw_before,
            }
        case StorageOrder():
            own = _storage(order)
        case ShiftOrder():
            own = {
                "baseline_mw": _series(order.baseline_mw),
                "p_mw_min": _series(order.p_mw_min),
                "p_mw_max": _series(order.p_mw_max),
                "window_periods": order.window_periods,
                "price_eur_per_mwh": _series(order.price_eur_per_mwh),
            }
        case BilateralOrder():
            own = {
                "bus_to": order.bus_to,
                "participant_to": order.participant_to,
                "p_mw": _series(order.p_mw),
                "price_eur_per_mwh": _series(order.price_eur_per_mwh),
            }
        case CurtailOrder():
            own = {
                "p_mw_max": _series(order.p_mw_max),
                "p_mw_min_on": _series(order.p_mw_min_on),
                "price_eur_per_mwh": _series(order.price_eur_per_mwh),
                "duration_periods_min": order.duration_periods_min,
                "duration_periods_max": order.duration_periods_max,
                "cooldown_periods": order.cooldown_periods,
                "activations_max": order.activations_max,
                "rebound_share": order.rebound_share,
                "rebound_periods": order.rebound_periods,
            }
        case BlockOrder():
            own = {
                "profile_mw": _series(order.profile_mw),
                "price_eur_per_mwh": _series(order.price_eur_per_mwh),
                "acceptance_min": order.acceptance_min,
                "parent": order.parent,
                "exclusive_group": order.exclusive_group,
            }
        case _:
            raise TypeError(f"order {order.id} is of no kind of the market")
    stated = {**_common(order), **own}
    return {name: to_plain(value) for name, value in stated.items() if value is not None}


def orders_bytes(orders: Iterable[Order]) -> bytes:
    r"""Return the bytes of ``orders.json``; the order of the book does not matter.

    Parameters
    ----------
    orders : iterable of Order
        The order book.

    Examples
    --------
    >>> orders_bytes([])
    b'[\n]\n'
    """
    lines = [
        canonical_json(order_to_plain(order)).decode()
        for order in sorted(orders, key=lambda order: order.id)
    ]
    return ("[\n" + ",\n".join(lines) + ("\n]\n" if lines else "]\n")).encode()


def plain_orders(orders: Iterable[Order]) -> list[object]:
    """Return the orders as they would be read back from ``orders.json``."""
    decoded: list[object] = json.loads(orders_bytes(orders))
    return decoded
