"""What is bought of contracts and offers, and that reserved capacity stays free in the clearing."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from data.records.clearing import ClearingCase
from data.records.order import GenerationOrder
from dso.flexibility.buy import Purchase, Tray, buy
from flexibility.procurement.acceptance import Desk
from flexibility.procurement.records import OfferRevocation, ReservationUpdate
from flexibility.procurement.reservation import keep_reserved
from opf.clearing import clear_case
from opf.problems.held_positions import held_case
from tests.support.busy_feeder import busy_feeder
from tests.support.cases import generation, library_network, make_case
from tests.support.flexibility_records import POINT, POINT_ID, contract, offer, option

AT = datetime(2026, 5, 31, 12, tzinfo=UTC)
ONES = np.ones(2)


@pytest.fixture(scope="module")
def low_voltage() -> ClearingCase:
    """case33bw with loads alone, its voltage below the limit at both ends of the feeder."""
    network = library_network("case33bw", slack_vm_pu=1.0)
    return make_case(network, [], periods=2, vm_pu_min=0.925, load_scale=np.array([1.0, 0.98]))


def _buy(case: ClearingCase, **tray: Any) -> Purchase:
    contracts = {each.id: each for each in tray.get("contracts", ())}
    desk = Desk(points={POINT_ID: POINT}, requests={}, contracts=contracts, at=AT)
    return buy(case, Tray(**tray), desk)


def _mw(purchase: Purchase, kind: str) -> float:
    return sum(
        float(order.ordered_mw.sum())
        for order in purchase.orders
        if (order.contract is not None) == (kind == "contract")
    )


def test_a_contract_is_called_before_an_offer_that_asks_more(low_voltage: ClearingCase) -> None:
    spot = offer("spot", 17, option(0.6 * ONES, 0.6 * 2 * 80.0, least=0.01))
    cheap = _buy(low_voltage, contracts=(contract("ready", 17, 0.6, 60.0),), offers=(spot,))
    assert cheap.state == "yellow"
    assert _mw(cheap, "contract") > 0.1
    assert _mw(cheap, "spot") == 0.0
    dear = _buy(low_voltage, contracts=(contract("ready", 17, 0.6, 400.0),), offers=(spot,))
    assert _mw(dear, "contract") < 1e-6
    assert _mw(dear, "spot") > 0.1


def test_the_fee_of_a_contract_is_owed_anyway_and_decides_nothing(
    low_voltage: ClearingCase,
) -> None:
    spot = offer("spot", 17, option(0.6 * ONES, 96.0, least=0.01))
    ready = contract("ready", 17, 0.6, 60.0, availability_micro_eur_per_mw_h=10**12)
    assert _mw(_buy(low_voltage, contracts=(ready,), offers=(spot,)), "spot") == 0.0


def test_a_contract_that_is_too_small_is_called_and_the_rest_bought(
    low_voltage: ClearingCase,
) -> None:
    spot = offer("spot", 17, option(0.6 * ONES, 96.0, least=0.01))
    alone = _mw(_buy(low_voltage, offers=(spot,)), "spot")
    both = _buy(low_voltage, contracts=(contract("ready", 17, 0.1, 60.0),), offers=(spot,))
    assert both.state == "yellow"
    np.testing.assert_allclose(both.orders[0].ordered_mw[0], 0.1)
    assert 0.05 < _mw(both, "spot") < alone


def test_only_what_is_still_reserved_is_called(low_voltage: ClearingCase) -> None:
    ready = contract("ready", 17, 0.6, 60.0)
    released = ReservationUpdate(
        contract="ready", congestion_point=POINT_ID, message_id="u",
        reserved_mw=np.array([0.02, 0.0]),
    )  # fmt: skip
    bought = _buy(low_voltage, contracts=(ready,), updates={"ready": released})
    np.testing.assert_allclose(bought.orders[0].ordered_mw, [0.02, 0.0])
    assert bought.state == "orange"


def test_no_more_calls_than_a_contract_has_left() -> None:
    network = library_network("case33bw", slack_vm_pu=1.0)
    scale = np.array([1.0, 0.4, 0.95, 0.4, 1.0])
    case = make_case(network, [], periods=5, vm_pu_min=0.925, load_scale=scale)
    ready = contract("ready", 17, 0.6, 60.0, activations_max=3, activations_used=2)
    bought = _buy(case, contracts=(ready,))
    assert bought.state == "orange"
    called = bought.orders[0].ordered_mw > 0
    assert np.count_nonzero(np.diff(np.concatenate([[0], called.astype(int), [0]])) == 1) == 1
    used_up = dataclasses.replace(ready, activations_used=3)
    assert _buy(case, contracts=(used_up,)).orders == ()


def test_all_that_helps_is_bought_and_what_is_missing_is_named(low_voltage: ClearingCase) -> None:
    helps = offer("helps", 17, option(0.05 * ONES, 10.0))
    also = offer("also", 16, option(0.05 * ONES, 900.0))
    harms = offer("harms", 15, option(-0.05 * ONES, 0.0))
    bought = _buy(low_voltage, offers=(helps, also, harms))
    assert bought.state == "orange"
    assert {order.offer for order in bought.orders} == {"helps", "also"}
    assert bought.after.violations
    assert np.all(bought.missing_mw < bought.missing_before_mw)
    assert np.all(bought.missing_mw > 0.0)


def test_nothing_is_bought_where_the_market_keeps_every_limit(low_voltage: ClearingCase) -> None:
    limits = dataclasses.replace(
        low_voltage.limits, vm_pu_min=np.full(len(low_voltage.limits.vm_pu_min), 0.8)
    )
    bought = _buy(
        dataclasses.replace(low_voltage, limits=limits),
        offers=(offer("free", 17, option(0.1 * ONES, 0.0)),),
    )
    assert (bought.state, bought.orders) == ("green", ())


def test_a_rebound_that_breaks_a_limit_is_paid_for_elsewhere_or_not_taken() -> None:
    network = library_network("case33bw", slack_vm_pu=1.0)
    case = make_case(network, [], periods=2, vm_pu_min=0.925, load_scale=np.array([1.0, 0.8]))
    back = offer("back", 17, option(np.array([0.7, -0.3]), 20.0))
    plain = offer("plain", 17, option(np.array([0.7, 0.0]), 60.0))
    bought = _buy(case, offers=(back, plain))
    assert bought.state == "yellow"
    assert [order.offer for order in bought.orders] == ["plain"]
    alone = _buy(case, offers=(offer("back", 17, option(np.array([0.7, -0.02]), 20.0)), plain))
    assert [order.offer for order in alone.orders] == ["back"]


def test_messages_that_do_not_count_are_answered_with_all_reasons(
    low_voltage: ClearingCase,
) -> None:
    late = offer(
        "late", 17, option(0.6 * ONES, 1.0), expires_at=AT, currency="USD",
        congestion_point="ea1.2026-01.grid.example:south",
    )  # fmt: skip
    back = offer("back", 17, option(0.6 * ONES, 1.0))
    taken_back = OfferRevocation(message_id="r", offer="back")
    bought = _buy(low_voltage, offers=(late, back), revocations=(taken_back,))
    assert bought.orders == ()
    reasons = {each.message_id: each.reasons for each in bought.rejections}
    assert reasons == {
        "late": (
            "Invalid Congestion Point", "Expiration DateTime Out Of Bounds",
            "Currency not supported",
        ),
        "back": ("Reference Message Revoked",),
    }  # fmt: skip


def test_positions_of_every_order_kind_give_the_state_of_the_clearing() -> None:
    case = busy_feeder(vm_pu_min=0.93)
    result = clear_case(case)
    held = held_case(case, result)
    assert held.orders == ()
    again = clear_case(held)
    np.testing.assert_allclose(again.grid.vm_pu, result.grid.vm_pu, atol=1e-10)
    np.testing.assert_allclose(again.grid.import_mw, result.grid.import_mw, atol=1e-9)


def test_reserved_capacity_is_kept_free_in_the_clearing() -> None:
    network = library_network("case33bw", slack_vm_pu=1.0)
    cheap = dataclasses.replace(
        generation("engine", 17, 0.5, 5.0, periods=3), asset="sgen:0"
    )  # the engine sells everything at these prices
    ready = contract("ready", 17, 0.2, 100.0, asset="sgen:0")
    case = make_case(network, [cheap], periods=3, price=50.0)

    def sold(*updates: ReservationUpdate) -> np.ndarray:
        kept = keep_reserved(
            case.orders, [ready], case.periods, case.timezone,
            {update.contract: update for update in updates},
        )  # fmt: skip
        assert kept.remarks == ()
        # the asset is an engine beside the network, not one of its elements
        orders = tuple(dataclasses.replace(order, asset=None) for order in kept.orders)
        result = clear_case(dataclasses.replace(case, orders=orders))
        assert result.status == "certified"
        return np.asarray(result.awards[0].injection_mw[0])

    np.testing.assert_allclose(sold(), 0.3, atol=1e-6)
    partly = ReservationUpdate(
        contract="ready", congestion_point=POINT_ID, message_id="u",
        reserved_mw=np.array([0.2, 0.05, 0.0]),
    )  # fmt: skip
    np.testing.assert_allclose(sold(partly), [0.3, 0.45, 0.5], atol=1e-6)
    assert isinstance(case.orders[0], GenerationOrder)
