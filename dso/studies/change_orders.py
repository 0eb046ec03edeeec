"""Changes of a case's order book: orders scaled, removed, added; positions follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from data.errors import Problem
from data.records.clearing import ClearingCase
from data.records.order import Order
from data.study.order_fields import context_of
from data.study.read_orders import order_from_plain
from data.study.write_orders import plain_orders
from data.units import quantise_mw

POWERS: Final = frozenset(
    {
        "p_mw", "p_mw_max", "p_mw_min", "p_mw_min_on", "p_mw_before", "baseline_mw", "profile_mw",
        "charge_mw_max", "discharge_mw_max",
    }
)  # fmt: skip
"""Fields of ``orders.json`` in MW; scaled, they stay on the tick of awards."""
SCALED: Final = POWERS | frozenset(
    {
        "ramp_mw_per_h", "energy_mwh_min", "energy_mwh_max", "energy_mwh_start",
        "energy_mwh_end_min", "energy_mwh_departure_min", "q_mvar_min", "q_mvar_max",
    }
)  # fmt: skip
"""Fields of ``orders.json`` that grow with the size of what is behind an order."""
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def _times(value: object, factor: float) -> object:
    if isinstance(value, list):
        return [_times(item, factor) for item in value]
    return value * factor if isinstance(value, int | float) else value


def _scaled_fields(fields: Mapping[str, object], factor: float) -> dict[str, object]:
    scaled: dict[str, object] = {}
    for name, value in fields.items():
        if name == "steps" and isinstance(value, list):
            scaled[name] = [_scaled_fields(step, factor) for step in value]
        else:
            scaled[name] = _times(value, factor) if name in SCALED else value
            if name in POWERS:
                scaled[name] = on_tick(scaled[name])
    return scaled


def on_tick(power: object) -> object:
    """Return a power, or a list of them, on the tick of awards [MW]."""
    if isinstance(power, list):
        return [on_tick(item) for item in power]
    return float(quantise_mw(np.array(power))) if isinstance(power, int | float) else power


def order_of(
    case: ClearingCase, fields: Mapping[str, object], problems: list[Problem]
) -> Order | None:
    """Return the order that fields of ``orders.json`` state, checked against the case's network."""
    context = context_of(case.network, len(case.periods))
    return order_from_plain(dict(fields), 0, context, problems)


def scale_orders(
    case: ClearingCase, factor: float, chosen: Callable[[Order], bool], problems: list[Problem]
) -> tuple[ClearingCase, int]:
    """Scale powers and energies of some orders; return the case and how many there were."""
    count = 0
    orders: list[Order] = []
    for order in case.orders:
        if not chosen(order):
            orders.append(order)
            continue
        count += 1
        (fields,) = plain_orders([order])
        assert isinstance(fields, dict)
        scaled = order_of(case, _scaled_fields(fields, factor), problems)
        orders.append(order if scaled is None else scaled)
    return with_orders(case, orders), count


def with_orders(case: ClearingCase, orders: Sequence[Order]) -> ClearingCase:
    """Return a case with another book, sorted; a new order has the position 0 so far."""
    book = tuple(sorted(orders, key=lambda order: order.id))
    row = {order.id: k for k, order in enumerate(case.orders)}

    def moved(position: Floats | None) -> Floats | None:
        if position is None:
            return None
        rows = [
            position[row[order.id]] if order.id in row else np.zeros(len(case.periods))
            for order in book
        ]
        return np.array(rows).reshape(len(book), len(case.periods))

    return dataclasses.replace(
        case,
        orders=book,
        position_mw=moved(case.position_mw),
        position_mvar=moved(case.position_mvar),
    )


def put_order(case: ClearingCase, order: Order) -> ClearingCase:
    """Add an order, or replace the one with its id."""
    return with_orders(case, [*(o for o in case.orders if o.id != order.id), order])


def remove_order(case: ClearingCase, order_id: str, problems: list[Problem]) -> ClearingCase:
    """Remove an order; one with a position cannot go, because a position does not vanish."""
    rows = [k for k, order in enumerate(case.orders) if order.id == order_id]
    if not rows:
        problems.append(Problem(where=f"order {order_id}", what="is not in the study"))
        return case
    if case.position_mw is not None and np.any(case.position_mw[rows[0]] != 0):
        problems.append(
            Problem(
                where=f"order {order_id}",
                what="has a position so far, which does not vanish",
                remedy="replace the order instead of removing it",
            )
        )
    return with_orders(case, [order for order in case.orders if order.id != order_id])
