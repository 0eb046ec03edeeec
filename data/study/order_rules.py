"""Orders against the rules that a market's rule set makes for their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from data.csv_table import round_significant
from data.errors import Problem
from data.records.order import (
    BilateralOrder,
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    ShiftOrder,
    StorageOrder,
)
from data.records.order_rules import OrderRules

Floats = NDArray[np.float64]
Named = Iterator[tuple[str, Floats]]


def check_order_rules(orders: Iterable[Order], rules: OrderRules, problems: list[Problem]) -> None:
    """Report every order, field and rule that do not go together.

    Parameters
    ----------
    orders : iterable of Order
        The order book.
    rules : OrderRules
        What the market admits.
    problems : list of Problem
        Collects one problem for each field and rule broken, with the first period.
    """
    for order in orders:
        where = f"order {order.id}"
        for what, remedy in _broken(order, rules):
            problems.append(Problem(where=where, what=what, remedy=remedy))


def _broken(order: Order, rules: OrderRules) -> Iterator[tuple[str, str]]:
    for name, prices in _prices(order):
        yield from _beyond(name, prices, rules)
        yield from _off_tick(name, prices, rules.price_tick_eur_per_mwh, "EUR/MWh")
    for name, powers in _powers(order):
        yield from _off_tick(name, powers, rules.power_tick_mw, "MW")
    largest = float(np.max(_size(order), initial=0.0))
    if rules.power_min_mw is not None and 0.0 < largest < rules.power_min_mw:
        least = f"{rules.power_min_mw:.12g} MW"
        yield (
            f"its largest power is {largest:.12g} MW, below the market's minimum of {least}",
            f"offer {least} or more in some period, or nothing",
        )


def _beyond(name: str, prices: Floats, rules: OrderRules) -> Iterator[tuple[str, str]]:
    low, high = rules.price_min_eur_per_mwh, rules.price_max_eur_per_mwh
    for wrong, bound, word, remedy in (
        (prices < (-np.inf if low is None else low), low, "below the floor", "at least"),
        (prices > (np.inf if high is None else high), high, "above the cap", "at most"),
    ):
        if np.any(wrong):
            yield (
                f"{_found(name, prices, wrong, 'EUR/MWh')}, {word} of {bound:.12g} EUR/MWh",
                f"state {remedy} {bound:.12g}",
            )


def _off_tick(
    name: str, values: Floats, tick: float | None, unit: str
) -> Iterator[tuple[str, str]]:
    if tick is None:
        return
    wrong = ~is_multiple(values, tick)
    if not wrong.any():
        return
    below = np.floor(values[np.argmax(wrong)] / tick)
    yield (
        f"{_found(name, values, wrong, unit)}, no whole number of ticks of {tick:.12g} {unit}",
        f"state e.g. {below * tick:.12g} or {(below + 1) * tick:.12g} {unit}",
    )


def _found(name: str, values: Floats, wrong: NDArray[np.bool_], unit: str) -> str:
    """The first wrong value, and its period where values differ between periods."""
    first = int(np.argmax(wrong))
    alike = bool(np.all(values == values[0]))
    return f"{name} is {values[first]:.12g} {unit}" + ("" if alike else f" in period {first}")


def is_multiple(values: Floats, tick: float) -> NDArray[np.bool_]:
    """Tell which numbers are whole multiples of a tick, to the 12 significant digits of files."""
    nearest = round_significant(np.rint(values / tick) * tick)
    return np.asarray(nearest == round_significant(values), dtype=np.bool_)


def _prices(order: Order) -> Named:
    match order:
        case GenerationOrder() | DemandOrder():
            for number, step in enumerate(order.steps):
                yield _step_name(order, number, "price_eur_per_mwh"), step.price_eur_per_mwh
        case StorageOrder():
            yield "price_charge_eur_per_mwh", order.price_charge_eur_per_mwh
            yield "price_discharge_eur_per_mwh", order.price_discharge_eur_per_mwh
        case ShiftOrder() | CurtailOrder() | BlockOrder() | BilateralOrder():
            yield "price_eur_per_mwh", order.price_eur_per_mwh


def _powers(order: Order) -> Named:
    match order:
        case GenerationOrder() | DemandOrder():
            for number, step in enumerate(order.steps):
                name = "p_mw" if len(order.steps) > 1 else "p_mw_max"
                yield _step_name(order, number, name), step.p_mw
            yield "p_mw_min", order.p_mw_min
        case StorageOrder():
            yield "charge_mw_max", order.charge_mw_max
            yield "discharge_mw_max", order.discharge_mw_max
        case ShiftOrder():
            yield "baseline_mw", order.baseline_mw
            yield "p_mw_min", order.p_mw_min
            yield "p_mw_max", order.p_mw_max
        case CurtailOrder():
            yield "p_mw_max", order.p_mw_max
            yield "p_mw_min_on", order.p_mw_min_on
        case BlockOrder():
            yield "profile_mw", order.profile_mw
        case BilateralOrder():
            yield "p_mw", order.p_mw


def _step_name(order: GenerationOrder | DemandOrder, number: int, name: str) -> str:
    return f"step {number} {name}" if len(order.steps) > 1 else name


def _size(order: Order) -> Floats:
    """Power that an order offers or asks for in each period [MW]."""
    match order:
        case GenerationOrder() | DemandOrder():
            return np.asarray(np.sum([step.p_mw for step in order.steps], axis=0))
        case StorageOrder():
            return np.maximum(order.charge_mw_max, order.discharge_mw_max)
        case ShiftOrder() | CurtailOrder():
            return order.p_mw_max
        case BlockOrder():
            return np.abs(order.profile_mw)
        case BilateralOrder():
            return order.p_mw
    raise TypeError(f"order {order.id} is of no kind of the market")
