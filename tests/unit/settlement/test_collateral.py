"""Exposure of every kind of order by hand, and who is admitted at the gate."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from data.records.order import (
    BilateralOrder,
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    Order,
    PriceStep,
    ShiftOrder,
)
from dso.settlement import Collateral, CollateralRules, check_collateral
from dso.settlement.collateral import exposure_micro_eur
from dso.settlement.exact import BooksError
from tests.support.cases import generation, storage

EUR = 1_000_000
RULES = CollateralRules(
    price_cap_micro_eur_per_mwh=3_000 * EUR, shortfall_micro_eur_per_mwh=200 * EUR
)
BASE: dict[str, Any] = {"id": "o", "participant": "P", "buses": ((1, 1.0),)}
TWO = np.ones(2)


def demand(order_id: str, p_mw: float, price: float, *, minute: int | None = None) -> DemandOrder:
    at = None if minute is None else datetime(2026, 6, 1, 10, minute, tzinfo=UTC)
    return DemandOrder(
        id=order_id, participant="P", buses=((1, 1.0),), submitted_at=at,
        steps=(PriceStep(p_mw=p_mw * TWO, price_eur_per_mwh=price * TWO),), p_mw_min=0 * TWO,
    )  # fmt: skip


CASES: list[tuple[Order, float]] = [
    (demand("d", 2.0, 60.0), 2 * 2 * 0.5 * 60),
    (demand("d", 2.0, -60.0), 0),
    (replace(demand("d", 2.0, 60.0), p_mw_min=0.1 * TWO), 120 + 2 * 0.1 * 0.5 * 3_000),
    (generation("g", 1, 2.0 * TWO, 10.0, 2), 2 * 2 * 0.5 * 200),
    (generation("g", 1, 2.0 * TWO, -10.0, 2), 2 * 2 * 0.5 * (200 + 10)),
    (BlockOrder(**BASE, profile_mw=-3 * TWO, price_eur_per_mwh=50 * TWO), 3 * 50),
    (BlockOrder(**BASE, profile_mw=3 * TWO, price_eur_per_mwh=50 * TWO), 3 * 200),
    (
        CurtailOrder(**BASE, p_mw_max=TWO, p_mw_min_on=0 * TWO, price_eur_per_mwh=90 * TWO),
        200,
    ),
    (
        BilateralOrder(
            **BASE, bus_to=2, participant_to="Q", p_mw=TWO, price_eur_per_mwh=7 * TWO
        ),
        7,
    ),
    (
        ShiftOrder(
            **BASE, baseline_mw=0.5 * TWO, p_mw_min=0 * TWO, p_mw_max=TWO, window_periods=2,
            price_eur_per_mwh=TWO,
        ),
        0.5 * 3_000,
    ),
    (storage("s", 1, p_mw=1.0, energy_mwh=2.0, periods=2, efficiency=0.8), 2 * 0.8 * 200),
    (
        replace(
            storage("s", 1, p_mw=1.0, energy_mwh=2.0, periods=2, efficiency=0.8),
            energy_mwh_end_min=1.8,
        ),
        2 * 0.8 * 200 + 0.8 / 0.8 * 3_000,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("order", "eur"), CASES)
def test_exposure_by_hand(order: Order, eur: float) -> None:
    """Two half-hours; price cap 3,000 EUR/MWh, shortfall 200 EUR/MWh."""
    assert exposure_micro_eur(order, RULES, mtu_minutes=30) == round(eur * EUR)


def test_an_unknown_kind_is_not_guessed() -> None:
    with pytest.raises(BooksError, match="no exposure is known"):
        exposure_micro_eur(Order(id="x", participant="P", buses=((1, 1.0),)), RULES, mtu_minutes=30)


def test_the_earliest_orders_are_covered_first() -> None:
    """150 EUR free: 60 + 80 are covered, 20 is not, 10 still is; who left nothing is refused."""
    orders = [
        demand("late", 1.0, 10.0, minute=30),
        demand("first", 1.0, 60.0, minute=1),
        demand("third", 1.0, 20.0, minute=3),
        demand("second", 1.0, 80.0, minute=2),
        replace(demand("stranger", 1.0, 1.0, minute=0), participant="Q"),
    ]
    found = check_collateral(
        orders, {"P": Collateral(deposit_micro_eur=200 * EUR, owed_micro_eur=50 * EUR)}, RULES,
        mtu_minutes=30,
    )  # fmt: skip
    assert {d.order: d.is_covered for d in found} == {
        "stranger": False, "first": True, "second": True, "third": False, "late": True,
    }  # fmt: skip
    third = next(d for d in found if d.order == "third")
    assert third.reason() == "may cost up to 20.00 EUR, 10.00 EUR are free: 10.00 EUR short"
    shuffled = check_collateral(
        reversed(orders), {"P": Collateral(deposit_micro_eur=150 * EUR)}, RULES, mtu_minutes=30
    )
    assert [d.is_covered for d in shuffled] == [d.is_covered for d in found]
