"""Explanations as fields of a JSON document; names carry units (docs/explain.md)."""

from __future__ import annotations

from data.periods import format_utc
from dso.explain.words import bus_name
from opf.explanations.published import Published
from opf.explanations.records import (
    Collapse,
    Helper,
    LimitKey,
    OrderExplanation,
    PriceExplanation,
    PriceLine,
    PriceRange,
    Shortage,
    StatusExplanation,
)

Fields = dict[str, object]
UNIT_WORDS = {"pu": "pu", "MVA": "mva", "MW": "mw"}


def _start(published: Published, period: int | None) -> str | None:
    return None if period is None else format_utc(published.case.periods.starts[period])


def _key(key: LimitKey | None) -> Fields | None:
    if key is None:
        return None
    return {"element_kind": key.element_kind, "element": key.element, "side": key.side}


def _line(line: PriceLine) -> Fields:
    """Fields of one part; those of a limit carry its unit in their names."""
    fields: Fields = {"cause": line.cause, "part_eur_per_mwh": line.part_eur_per_mwh}
    if line.cause == "limit" and line.unit is not None:
        unit = UNIT_WORDS[line.unit]
        return fields | {
            **(_key(line.key) or {}),
            "name": line.name,
            f"limit_{unit}": line.limit,
            f"sensitivity_{unit}_per_mw": line.sensitivity,
            f"shadow_price_eur_per_{unit}_h": line.shadow_price,
        }
    if line.cause == "loss":
        fields["loss_mw_per_mw"] = line.sensitivity
    return fields


def _range(found: PriceRange | None) -> Fields | None:
    if found is None:
        return None
    return {
        "low_eur_per_mwh": found.low_eur_per_mwh,
        "high_eur_per_mwh": found.high_eur_per_mwh,
        "degenerate": found.degenerate,
    }


def price_fields(published: Published, price: PriceExplanation) -> Fields:
    """Return the fields of a price explanation."""
    return {
        "kind": "price",
        "bus": price.bus,
        "bus_name": bus_name(published, price.bus),
        "period": price.period,
        "period_start": _start(published, price.period),
        "dlmp_p_eur_per_mwh": price.dlmp_p_eur_per_mwh,
        "dlmp_q_eur_per_mvarh": price.dlmp_q_eur_per_mvarh,
        "import_price_eur_per_mwh": price.import_price_eur_per_mwh,
        "parts": [_line(line) for line in price.lines],
        "price_range": _range(price.price_range),
        "shortages": [_shortage(published, short) for short in price.short],
    }


def order_fields(published: Published, order: OrderExplanation) -> Fields:
    """Return the fields of an order explanation."""
    threshold, size, best = order.threshold, order.size, order.best_use
    return {
        "kind": "order",
        "order": order.order,
        "order_kind": order.kind,
        "status": order.status,
        "reason": order.reason,
        "surplus_eur": order.surplus_eur,
        "offered_mwh": order.offered_mwh,
        "awarded_mwh": order.awarded_mwh,
        "deciding_period_start": _start(published, order.deciding_period),
        "order_price_eur_per_mwh": order.limit_price_eur_per_mwh,
        "market_price_eur_per_mwh": order.market_price_eur_per_mwh,
        "parts": [_line(line) for line in order.lines],
        "binding_element": _key(order.binding),
        "other_order": order.other_order or None,
        "threshold": None
        if threshold is None
        else {
            "direction": threshold.direction,
            "price_eur_per_mwh": threshold.price_eur_per_mwh,
            "basis": threshold.basis,
            "period_start": _start(published, threshold.period),
            "confirmed": threshold.confirmed,
            "price_range": _range(threshold.price_range),
        },
        "size": None
        if size is None
        else {
            "p_mw": size.p_mw,
            "share": size.share,
            "period_start": _start(published, size.period),
            "confirmed": size.confirmed,
            "binding_element": _key(size.binding),
        },
        "best_use": None
        if best is None
        else {
            "take_period_start": _start(published, best.take_period),
            "take_price_eur_per_mwh": best.take_price_eur_per_mwh,
            "give_period_start": _start(published, best.give_period),
            "give_price_eur_per_mwh": best.give_price_eur_per_mwh,
            "worth_eur_per_mwh": best.worth_eur_per_mwh,
        },
        "periods": [
            {
                "period_start": _start(published, each.period),
                "offered_mw": each.offered_mw,
                "awarded_mw": each.awarded_mw,
                "order_price_eur_per_mwh": each.limit_price_eur_per_mwh,
                "market_price_eur_per_mwh": each.market_price_eur_per_mwh,
                "gap_eur_per_mwh": each.gap_eur_per_mwh,
            }
            for each in order.periods
        ],
    }


def status_fields(published: Published, status: StatusExplanation) -> Fields:
    """Return the fields of a status explanation."""
    return {
        "kind": "status",
        "message": status.message,
        "shortages": [_shortage(published, short) for short in status.shortages],
        "collapse": None if status.collapse is None else _collapse(published, status.collapse),
    }


def _helpers(helpers: tuple[Helper, ...]) -> list[Fields]:
    return [
        {
            "order": helper.order,
            "relief_mw_per_mw": helper.relief_mw_per_mw,
            "unused_mw": helper.unused_mw,
        }
        for helper in helpers
    ]


def _shortage(published: Published, short: Shortage) -> Fields:
    unit = UNIT_WORDS[short.unit]
    return {
        **(_key(short.key) or {}),
        "name": short.name,
        f"limit_{unit}": short.limit,
        f"worst_value_{unit}": short.worst_value,
        "worst_period_start": _start(published, short.worst_period),
        "periods": [
            {"period_start": _start(published, period), "mw_short": mw}
            for period, mw in zip(short.periods, short.mw_short, strict=True)
        ],
        "helpers": _helpers(short.helpers),
    }


def _collapse(published: Published, collapse: Collapse) -> Fields:
    return {
        "period_starts": [_start(published, period) for period in collapse.periods],
        "carried_share": collapse.carried_share,
        "mw_short": collapse.mw_short,
        "worst_period_start": _start(published, collapse.worst_period),
        "weakest_bus": collapse.weakest_bus,
        "weakest_vm_pu": collapse.weakest_vm_pu,
        "helpers": _helpers(collapse.helpers),
    }
