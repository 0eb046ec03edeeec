"""What a linked or exclusive family decides about one of its blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.records.order import BlockOrder, Order
from opf.explanations.published import Published
from opf.explanations.records import ReasonCode

SHARE_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyReason:
    """Which other order left no room."""

    code: ReasonCode
    words: str
    other_order: str


def profile_surplus_eur(published: Published, order: BlockOrder) -> float:
    """What a whole block would earn at the published prices [EUR]: sum h profile (DLMP - price)."""
    weights = dict(order.buses)
    price = published.mean_price(weights)
    h = published.case.periods.mtu_h
    return h * float(order.profile_mw @ (price - order.price_eur_per_mwh))


def family_reason(published: Published, order: Order) -> FamilyReason | None:
    """Name the parent or the partner that leaves no room for a block.

    Returns
    -------
    FamilyReason or None
        None where the block has something, or has room.
    """
    if not isinstance(order, BlockOrder) or _share(published, order.id) > SHARE_TOLERANCE:
        return None
    if order.parent is not None and _share(published, order.parent) < max(
        order.acceptance_min, SHARE_TOLERANCE
    ):
        return FamilyReason(
            code="parent_rejected", words="its parent has too little:", other_order=order.parent
        )
    if order.exclusive_group is None:
        return None
    partners = [
        other
        for other in published.case.orders
        if isinstance(other, BlockOrder)
        and other.exclusive_group == order.exclusive_group
        and other.id != order.id
    ]
    shares = np.array([_share(published, other.id) for other in partners])
    if 1.0 - shares.sum() < max(order.acceptance_min, SHARE_TOLERANCE):
        return FamilyReason(
            code="group_partner_accepted",
            words=f"its exclusive group {order.exclusive_group} went to",
            other_order=partners[int(np.argmax(shares))].id,
        )
    return None


def _share(published: Published, order_id: str) -> float:
    award = published.awards.get(order_id)
    return 0.0 if award is None else float(award.accepted_share.max(initial=0.0))
