"""``orders.json`` as records: every kind of the market, every problem collected."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final, TypedDict

import numpy as np

from data.errors import Problem
from data.records.order import (
    ORDER_KINDS,
    BilateralOrder,
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    OrderKind,
    PriceStep,
    ReactiveRange,
    ShiftOrder,
    StorageOrder,
)
from data.study.order_fields import NAME_LENGTH_MAX, Floats, OrderContext, OrderReader

ORDERS_FILE: Final = "orders.json"
POWER_TOLERANCE_MW: Final = 1e-9
# A storage that loses everything in a day is none.
SELF_DISCHARGE_MAX: Final = 0.999999
REBOUND_SHARE_MAX: Final = 10.0
# Kinds without a reactive range of their own: their q follows from p.
FIXED_REACTIVE: Final = ("curtail", "block", "bilateral")
ASSETS: Final[dict[OrderKind, tuple[str, ...]]] = {
    "generation": ("sgen", "gen"),
    "demand": ("load", "motor"),
    "storage": ("storage",),
    "shift": ("load", "motor"),
    "curtail": ("load", "motor"),
    "block": ("sgen", "gen", "load", "motor", "storage"),
    "bilateral": ("sgen", "gen", "load", "motor", "storage"),
}


class _Common(TypedDict):
    id: str
    participant: str
    buses: tuple[tuple[int, float], ...]
    asset: str | None
    reactive: ReactiveRange | None
    pay: str


def _below(reader: OrderReader, low: Floats, high: Floats, text: str) -> None:
    """Report ``text`` where ``low`` exceeds ``high``."""
    if low.shape == high.shape and np.any(low > high + POWER_TOLERANCE_MW):
        reader.report(f"{text} in period {int(np.argmax(low - high))}")


def _steps(reader: OrderReader, *, rising: bool) -> tuple[PriceStep, ...] | None:
    """Take one price or steps; prices must not fall (generation) or not rise (demand)."""
    several = reader.take("steps")
    if several is None:
        p_mw = reader.series("p_mw_max", minimum=0, required=True)
        price = reader.series("price_eur_per_mwh", required=True)
        if p_mw is None or price is None:
            return None
        return (PriceStep(p_mw=p_mw, price_eur_per_mwh=price),)
    for single in ("p_mw_max", "price_eur_per_mwh"):
        if reader.take(single) is not None:
            reader.report(f"states steps and {single}", "state one of the two")
    if not isinstance(several, list) or not several:
        reader.report("steps is not a list with at least one step")
        return None
    steps: list[PriceStep] = []
    for number, fields in enumerate(several):
        step = OrderReader(f"{reader.where} step {number}", fields, reader.problems, reader.context)
        p_mw = step.series("p_mw", minimum=0, required=True)
        price = step.series("price_eur_per_mwh", required=True)
        step.close()
        if p_mw is not None and price is not None:
            steps.append(PriceStep(p_mw=p_mw, price_eur_per_mwh=price))
    for before, after in pairwise(steps):
        change = after.price_eur_per_mwh - before.price_eur_per_mwh
        if np.any(change < 0 if rising else change > 0):
            reader.report(
                f"prices of its steps {'decrease' if rising else 'increase'}",
                f"sort the steps by {'rising' if rising else 'falling'} price",
            )
            break
    return tuple(steps) if len(steps) == len(several) else None


def _generation_or_demand(
    reader: OrderReader, common: _Common, kind: type[GenerationOrder] | type[DemandOrder]
) -> Order | None:
    steps = _steps(reader, rising=kind is GenerationOrder)
    p_mw_min = reader.series("p_mw_min", default=0.0, minimum=0)
    ramp = reader.number("ramp_mw_per_h", minimum=0)
    before = reader.number("p_mw_before", minimum=0)
    if steps is None or p_mw_min is None:
        return None
    _below(reader, p_mw_min, np.sum([s.p_mw for s in steps], axis=0), "p_mw_min is above p_mw_max")
    return kind(steps=steps, p_mw_min=p_mw_min, ramp_mw_per_h=ramp, p_mw_before=before, **common)


def _generation(reader: OrderReader, common: _Common) -> Order | None:
    return _generation_or_demand(reader, common, GenerationOrder)


def _demand(reader: OrderReader, common: _Common) -> Order | None:
    return _generation_or_demand(reader, common, DemandOrder)


def _storage(reader: OrderReader, common: _Common) -> Order | None:
    charge = reader.series("charge_mw_max", minimum=0, required=True)
    discharge = reader.series("discharge_mw_max", minimum=0, required=True)
    lowest = reader.number("energy_mwh_min", default=0.0, minimum=0)
    highest = reader.number("energy_mwh_max", minimum=0, required=True)
    start = reader.number("energy_mwh_start", minimum=0, required=True)
    end = reader.number("energy_mwh_end_min", default=start, minimum=0)
    eff_charge = reader.number("efficiency_charge", minimum=1e-6, maximum=1, required=True)
    eff_discharge = reader.number("efficiency_discharge", minimum=1e-6, maximum=1, required=True)
    price_charge = reader.series("price_charge_eur_per_mwh", default=0.0, minimum=0)
    price_discharge = reader.series("price_discharge_eur_per_mwh", default=0.0, minimum=0)
    self_discharge = reader.number(
        "self_discharge_per_day", default=0.0, minimum=0, maximum=SELF_DISCHARGE_MAX
    )
    availability = reader.series("availability", default=1.0, minimum=0, maximum=1)
    departure = reader.number("energy_mwh_departure_min", minimum=0)
    if (
        charge is None or discharge is None or lowest is None or highest is None or start is None
        or end is None or eff_charge is None or eff_discharge is None or price_charge is None
        or price_discharge is None or self_discharge is None or availability is None
    ):  # fmt: skip
        return None
    for name, value in (("start", start), ("end_min", end), ("departure_min", departure)):
        if value is not None and not lowest <= value <= highest:
            reader.report(
                f"energy_mwh_{name} is {value:g}, outside {lowest:g} to {highest:g} MWh",
                "keep it between energy_mwh_min and energy_mwh_max",
            )
    return StorageOrder(
        charge_mw_max=charge,
        discharge_mw_max=discharge,
        energy_mwh_min=lowest,
        energy_mwh_max=highest,
        energy_mwh_start=start,
        energy_mwh_end_min=end,
        efficiency_charge=eff_charge,
        efficiency_discharge=eff_discharge,
        price_charge_eur_per_mwh=price_charge,
        price_discharge_eur_per_mwh=price_discharge,
        self_discharge_per_day=self_discharge,
        availability=availability,
        energy_mwh_departure_min=departure,
        **common,
    )


def _shift(reader: OrderReader, common: _Common) -> Order | None:
    baseline = reader.series("baseline_mw", minimum=0, required=True)
    p_mw_min = reader.series("p_mw_min", default=0.0, minimum=0)
    p_mw_max = reader.series("p_mw_max", minimum=0, required=True)
    window = reader.count("window_periods", minimum=1, required=True)
    price = reader.series("price_eur_per_mwh", minimum=0, required=True)
    if baseline is None or p_mw_min is None or p_mw_max is None or window is None or price is None:
        return None
    _below(reader, p_mw_min, p_mw_max, "p_mw_min is above p_mw_max")
    blocks = range(0, len(baseline), window)
    for first in blocks:
        block = slice(first, first + window)
        need = float(np.sum(baseline[block]))
        low, high = float(np.sum(p_mw_min[block])), float(np.sum(p_mw_max[block]))
        if not low - POWER_TOLERANCE_MW <= need <= high + POWER_TOLERANCE_MW:
            reader.report(
                f"its baseline from period {first} on cannot be met: {need:g} MW in sum, "
                f"possible {low:g} to {high:g}",
                "widen p_mw_min and p_mw_max",
            )
    return ShiftOrder(
        baseline_mw=baseline,
        p_mw_min=p_mw_min,
        p_mw_max=p_mw_max,
        window_periods=window,
        price_eur_per_mwh=price,
        **common,
    )


def _bilateral(reader: OrderReader, common: _Common) -> Order | None:
    bus_to = reader.as_bus("bus_to", reader.take("bus_to"))
    participant_to = reader.name("participant_to")
    p_mw = reader.series("p_mw", minimum=0, required=True)
    price = reader.series("price_eur_per_mwh", minimum=0, required=True)
    if bus_to is None or p_mw is None or price is None:
        return None
    if len(common["buses"]) > 1:
        reader.report("comes from several buses", "state one bus; a portfolio is no bilateral")
    if any(bus == bus_to for bus, _ in common["buses"]):
        reader.report(f"bus_to {bus_to} is also the bus it comes from")
    return BilateralOrder(
        bus_to=bus_to, participant_to=participant_to, p_mw=p_mw, price_eur_per_mwh=price, **common
    )


def _curtail(reader: OrderReader, common: _Common) -> Order | None:
    p_mw_max = reader.series("p_mw_max", minimum=0, required=True)
    on = reader.series("p_mw_min_on", minimum=0)
    price = reader.series("price_eur_per_mwh", minimum=0, required=True)
    shortest = reader.count("duration_periods_min", default=1, minimum=1)
    longest = reader.count("duration_periods_max", minimum=1)
    cooldown = reader.count("cooldown_periods", default=0)
    activations = reader.count("activations_max", minimum=1)
    share = reader.number("rebound_share", default=0.0, minimum=0, maximum=REBOUND_SHARE_MAX)
    rebound = reader.count("rebound_periods", minimum=1)
    if p_mw_max is None or price is None:
        return None
    on = p_mw_max if on is None else on
    _below(reader, on, p_mw_max, "p_mw_min_on is above p_mw_max")
    if shortest is not None and longest is not None and shortest > longest:
        reader.report("duration_periods_min is above duration_periods_max")
    if share and rebound is None:
        reader.report("rebound_share needs rebound_periods", "state over how many periods")
    needed = (shortest or 1) + ((rebound or 0) if share else 0)
    horizon = reader.context.period_count
    if horizon is not None and needed > horizon:
        what = "activation and the rebound after it" if share and rebound else "activation"
        reader.report(
            f"its shortest {what} takes {needed} periods, the study has {horizon}",
            "they must end inside the horizon",
        )
    return CurtailOrder(
        p_mw_max=p_mw_max,
        p_mw_min_on=on,
        price_eur_per_mwh=price,
        duration_periods_min=shortest or 1,
        duration_periods_max=longest,
        cooldown_periods=cooldown or 0,
        activations_max=activations,
        rebound_share=share or 0.0,
        rebound_periods=rebound,
        **common,
    )


def _block(reader: OrderReader, common: _Common) -> Order | None:
    profile = reader.series("profile_mw", required=True)
    price = reader.series("price_eur_per_mwh", required=True)
    acceptance = reader.number("acceptance_min", default=1.0, minimum=0, maximum=1)
    parent, group = reader.text("parent", "") or None, reader.text("exclusive_group", "") or None
    if parent and group:
        reader.report("states parent and exclusive_group", "a group member has no parent")
    if profile is None or price is None or acceptance is None:
        return None
    if np.any(profile > 0) and np.any(profile < 0):
        reader.report("profile_mw mixes signs", "all injection (>= 0) or all withdrawal (<= 0)")
    return BlockOrder(
        profile_mw=profile,
        price_eur_per_mwh=price,
        acceptance_min=acceptance,
        parent=parent,
        exclusive_group=group,
        **common,
    )


_READ: Final[dict[OrderKind, Callable[[OrderReader, _Common], Order | None]]] = {
    "generation": _generation,
    "demand": _demand,
    "storage": _storage,
    "shift": _shift,
    "curtail": _curtail,
    "block": _block,
    "bilateral": _bilateral,
}


def order_from_plain(
    fields: object, number: int, context: OrderContext, problems: list[Problem]
) -> Order | None:
    """Turn one entry of ``orders.json`` into a record.

    Parameters
    ----------
    fields : object
        The decoded JSON value.
    number : int
        Its place in the list, to name an order without an id.
    context : OrderContext
        What it is checked against.
    problems : list of Problem
        Collects what is wrong.

    Returns
    -------
    Order or None
        None when a required field is missing or wrong.
    """
    reader = OrderReader(_named(fields, number), fields, problems, context)
    if not isinstance(fields, dict):
        return None
    order_id = reader.name("id")
    stated_kind = reader.take("kind")
    kind = next((known for known in ORDER_KINDS if known == stated_kind), None)
    if kind is None:
        found = "is missing" if stated_kind is None else f"{repr(stated_kind)[:40]} is unknown"
        reader.report(f"kind {found}", f"one of {', '.join(ORDER_KINDS)}")
        return None
    participant = reader.name("participant")
    buses = reader.buses()
    reactive = reader.reactive()
    if reactive is not None and kind in FIXED_REACTIVE:
        reader.report(
            f"states a reactive range, which a {kind} order does not have",
            "remove q_mvar_min, q_mvar_max and power_factor_min",
        )
    common = _Common(
        id=order_id,
        participant=participant,
        buses=buses,
        asset=reader.asset(ASSETS[kind], buses),
        reactive=reactive,
        pay=reader.pay(),
    )
    submitted_at = reader.submitted_at()
    order = _READ[kind](reader, common)
    reader.close()
    if order is None or submitted_at is None:
        return order
    return dataclasses.replace(order, submitted_at=submitted_at)


def _named(fields: object, number: int) -> str:
    """Name an order in a message: by its id where that can be shown, else by its place."""
    stated = fields.get("id") if isinstance(fields, dict) else None
    shown = isinstance(stated, str) and stated.strip() and stated.isprintable()
    if not shown or len(str(stated)) > NAME_LENGTH_MAX:
        return f"{ORDERS_FILE} [{number}]"
    return f"order {stated}"


def check_parents(
    orders: list[Order], problems: list[Problem], faulty: frozenset[str] = frozenset()
) -> None:
    """Report parents that are no blocks and circles of parents.

    A parent among the ``faulty`` block orders is not reported once more.
    """
    blocks = {order.id: order.parent for order in orders if isinstance(order, BlockOrder)}
    for child, parent in blocks.items():
        if parent is not None and parent not in blocks and parent not in faulty:
            problems.append(
                Problem(where=f"order {child}", what=f"its parent {parent!r} is no block order")
            )
        seen, current = {child}, parent
        while isinstance(current, str) and current in blocks:
            if current in seen:
                problems.append(Problem(where=f"order {child}", what="its parents form a circle"))
                break
            seen.add(current)
            current = blocks[current]


def _named_assets(entries: list[object], problems: list[Problem]) -> frozenset[str]:
    """Return all assets named, also by orders with other faults; report ids and assets used twice.

    An asset named by a faulty order is not reported once more as named by none.
    """
    ids: set[str] = set()
    holder: dict[str, str] = {}
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            continue
        order_id, asset = entry.get("id"), entry.get("asset")
        where = _named(entry, number)
        if isinstance(order_id, str):
            if order_id in ids:
                problems.append(
                    Problem(where=where, what="the id is used twice", remedy="rename one")
                )
            ids.add(order_id)
        if not isinstance(asset, str):
            continue
        if asset in holder:
            problems.append(
                Problem(
                    where=where,
                    what=f"asset {asset[:40]!r} is already named by {holder[asset]}",
                    remedy="one order per asset",
                )
            )
        holder.setdefault(asset, where)
    return frozenset(holder)


def read_orders(
    folder: Path, context: OrderContext, problems: list[Problem]
) -> tuple[tuple[Order, ...], frozenset[str]]:
    """Read ``orders.json``.

    Parameters
    ----------
    folder : Path
        The study folder.
    context : OrderContext
        What orders are checked against.
    problems : list of Problem
        Collects what is wrong.

    Returns
    -------
    (orders, assets)
        The readable orders sorted by id, and every asset that an entry names.
    """

    def object_of(pairs: list[tuple[str, object]]) -> dict[str, object]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            names = [name for name, _ in pairs]
            twice = sorted({name for name in names if names.count(name) > 1})
            where = _named(fields, 0) if "id" in fields else ORDERS_FILE
            said = ", ".join(repr(name[:40]) for name in twice)
            problems.append(
                Problem(where=where, what=f"states {said} twice", remedy="remove one of them")
            )
        return fields

    try:
        text = (folder / ORDERS_FILE).read_text(encoding="utf-8")
        entries = json.loads(text, object_pairs_hook=object_of)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        problems.append(Problem(where=ORDERS_FILE, what=f"cannot be read: {reason}"))
        return (), frozenset()
    if not isinstance(entries, list):
        problems.append(Problem(where=ORDERS_FILE, what="is not a list of orders"))
        return (), frozenset()
    read = [
        order_from_plain(entry, number, context, problems) for number, entry in enumerate(entries)
    ]
    orders = [order for order in read if order is not None]
    read_ids = {order.id for order in orders}
    faulty = frozenset(
        entry["id"]
        for entry in entries
        if isinstance(entry, dict) and entry.get("kind") == "block"
        and isinstance(entry.get("id"), str) and entry["id"] not in read_ids
    )  # fmt: skip
    check_parents(orders, problems, faulty)
    return tuple(sorted(orders, key=lambda order: order.id)), _named_assets(entries, problems)
