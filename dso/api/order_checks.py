"""What an order must be before it enters a book: its terms, its asset, the right to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from data.canonical import canonical_json
from data.errors import Problem
from data.records.order import (
    DemandOrder,
    GenerationOrder,
    Order,
    StorageOrder,
)
from data.study.order_fields import OrderContext
from data.study.read_orders import order_from_plain
from dso.api.market import Asset, ConnectionPoint, Market, current, latest_gate, may_act
from dso.api.models import OrderRequest
from dso.store.book import BookKey

if TYPE_CHECKING:
    from dso.api.tokens import Caller
    from dso.store import Connection

# Stated by the API itself, from the register.
OURS: Final = ("id", "kind", "participant", "bus", "buses", "asset", "submitted_at", "pay")
WATTS_PER_MW: Final = 1_000_000
TOLERANCE_W: Final = 0.5


def check_order(
    connection: Connection,
    market: Market,
    caller: Caller,
    request: OrderRequest,
    *,
    where: str,
    at: datetime,
) -> tuple[BookKey, bytes] | list[Problem]:
    """Return the book of an order and its terms as canonical JSON, or all problems."""
    asset = current(connection, Asset, request.asset, at)
    point = asset and current(connection, ConnectionPoint, asset.connection_point, at)
    if asset is None or not point or not may_act(connection, caller.party, point, ("trade",), at):
        remedy = "register and prequalify it first"
        return [Problem(where=f"{where}.asset", what="is unknown", remedy=remedy)]
    day = market.calendar.trading_day(point.feeder, request.delivery_day)
    problems: list[Problem] = []
    if day.gate > latest_gate(at):
        what = "is too far ahead"
        problems.append(Problem(where=f"{where}.delivery_day", what=what))
    problems += [
        Problem(where=f"{where}.terms.{name}", what="is not stated here")
        for name in OURS
        if name in request.terms
    ]
    element = asset.id.partition("/")[2]
    context = OrderContext(
        period_count=len(day.periods),
        bus_of_asset={element: point.bus},
        running_buses=frozenset({point.bus}),
    )
    fields = {
        **{name: value for name, value in request.terms.items() if name not in OURS},
        "id": where, "kind": request.kind, "participant": caller.party, "bus": point.bus,
        "asset": element,
    }  # fmt: skip
    order = order_from_plain(fields, 0, context, problems)
    if order is not None:
        problems += _power_problems(order, asset, where)
    if problems:
        return problems
    kept: dict[str, Any] = {
        "asset": asset.id, "element": element, "connection_point": point.id, "bus": point.bus,
        "kind": request.kind, "terms": request.terms,
    }  # fmt: skip
    key = BookKey(feeder=point.feeder, day=request.delivery_day.isoformat(), gate=day.gate)
    return key, canonical_json(kept)


def _power_problems(order: Order, asset: Asset, where: str) -> list[Problem]:
    """Return where an order offers more than its asset was prequalified for."""
    withdrawn, injected = _largest_mw(order)
    found = []
    for name, offered_mw, allowed_w in (
        ("import", withdrawn, asset.import_w_max),
        ("export", injected, asset.export_w_max),
    ):
        if offered_mw * WATTS_PER_MW > allowed_w + TOLERANCE_W:
            what = f"{name} up to {offered_mw:g} MW, prequalified for {allowed_w} W"
            found.append(Problem(where=f"{where}.terms", what=what))
    return found


def _largest_mw(order: Order) -> tuple[float, float]:
    """Return the most an order may withdraw and inject [MW]."""
    if isinstance(order, GenerationOrder):
        return 0.0, _peak([step.p_mw for step in order.steps])
    if isinstance(order, DemandOrder):
        return _peak([step.p_mw for step in order.steps]), 0.0
    assert isinstance(order, StorageOrder)  # no other kind is taken
    return _peak([order.charge_mw_max]), _peak([order.discharge_mw_max])


def _peak(series: Sequence[Any]) -> float:
    return float(np.max(np.sum(series, axis=0)))
