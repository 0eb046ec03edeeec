"""Why an order got what it got: each kind by its own rules."""

from __future__ import annotations

import dataclasses

from data.records.order import (
    BilateralOrder,
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    ShiftOrder,
    StorageOrder,
    kind_of,
)
from opf.explanations.cycles import explain_shift, explain_storage, use_periods
from opf.explanations.integers import explain_integer
from opf.explanations.published import Published
from opf.explanations.records import OrderExplanation
from opf.explanations.steps import explain_steps, sharpen_threshold, step_periods


def explain_order(published: Published, order_id: str) -> OrderExplanation:
    """Explain one order.

    Parameters
    ----------
    published : Published
        A clearing.
    order_id : str
        An order of its book.

    Returns
    -------
    OrderExplanation
        For block and curtail orders that were refused the market is cleared up to six times more,
        with that one order changed: integers leave no other way to say what would have been
        accepted.

    Raises
    ------
    KeyError
        If the book has no such order.
    """
    order = published.orders[order_id]
    if published.result.status == "infeasible":
        return _without_clearing(published, order_id)
    match order:
        case GenerationOrder() | DemandOrder() | BilateralOrder():
            explained = sharpen_threshold(published, order, explain_steps(published, order))
            return dataclasses.replace(explained, periods=step_periods(published, order))
        case StorageOrder():
            explained = explain_storage(published, order)
            return dataclasses.replace(explained, periods=use_periods(published, order))
        case ShiftOrder():
            explained = explain_shift(published, order)
            return dataclasses.replace(explained, periods=use_periods(published, order))
        case BlockOrder() | CurtailOrder():
            return explain_integer(published, order)
    raise TypeError(f"order {order_id} is of no kind of the market")


def _without_clearing(published: Published, order_id: str) -> OrderExplanation:
    order, award = published.orders[order_id], published.awards[order_id]
    return OrderExplanation(
        order=order_id,
        kind=kind_of(order),
        status=award.status,
        reason="no_clearing",
        surplus_eur=0.0,
        offered_mwh=0.0,
        awarded_mwh=0.0,
        deciding_period=None,
        limit_price_eur_per_mwh=None,
        market_price_eur_per_mwh=None,
        lines=(),
        notes=(published.result.message,),
    )
