"""Orders by hand that a day takes up: before their first period, for the holder of a meter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from data.errors import InputError
from data.periods import DeliveryDay
from dso.bootstrap import open_services
from dso.cycles.ordered_by_hand import OrderedByHand, ordered_by_hand, orders_told
from dso.store.due import set_simulated_now
from dso.store.flexibility_messages import add_message, new_message
from flexibility.procurement.border import LocalIsps
from flexibility.procurement.records import FlexOrder
from flexibility.procurement.write_messages import order_to_plain
from tests.support.cases import generation, library_network
from tests.support.flexibility_records import POINT, POINT_ID

if TYPE_CHECKING:
    from dso.bootstrap import Services
    from dso.cycles.stages import Desk

DELIVERY = DeliveryDay(day=date(2016, 1, 20), timezone="Europe/Berlin", mtu_minutes=15)
PERIODS = DELIVERY.periods
ISPS = LocalIsps.of(PERIODS, DELIVERY.timezone)
EVE = PERIODS.start - timedelta(hours=3)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A day whose load 3 belongs to party A, everything else to the default party."""
    with closing(open_services(None, out=tmp_path / "out", keys=tmp_path / "keys")) as services:
        sold = generation("load-0003", 4, 0.1, 0.0, 96)
        orders = (SimpleNamespace(asset="load:3", participant="A", id=sold.id),)
        feeder = SimpleNamespace(
            id="f", congestion_points=(POINT,), default_participant="rest", operator="op"
        )
        gate = PERIODS.start - timedelta(hours=11)
        plan = SimpleNamespace(
            feeder=feeder, delivery=DELIVERY, periods=PERIODS, network=library_network("case33bw"),
            day_ahead_gate=gate, rounds=lambda: [SimpleNamespace(gate=PERIODS.end)],
        )  # fmt: skip
        positions = SimpleNamespace(day_ahead=lambda _: SimpleNamespace(orders=orders))
        set_simulated_now(services.store, PERIODS.end)
        yield cast("Desk", SimpleNamespace(plan=plan, services=services, positions=positions))


def ordered(name: str, load: int, power_mw: float, **changed: Any) -> FlexOrder:
    power = np.zeros(96)
    power[40:44] = power_mw
    fields: dict[str, Any] = {
        "reference": f"order/offer/{name}/1", "participant": "rest", "congestion_point": POINT_ID,
        "connection": f"load:{load}", "buses": (), "offer": name, "contract": None, "option": "1",
        "factor": 0.5, "price_micro_eur": 2_500_000, "offered_mw": power, "rule": "usef",
        "penalty_micro_eur_per_mwh": 0,
    }  # fmt: skip
    return FlexOrder(**(fields | changed))


def keep(services: Services, order: FlexOrder, at: datetime) -> str:
    entry = order_to_plain(order, ISPS)
    with services.store.transaction() as connection:
        new = new_message(entry, party="op", feeder="f", at=at, settles=order.offer)
        assert add_message(connection, new) is not None
    return new.message_id


def names(found: OrderedByHand) -> list[str]:
    return [order.offer for order in found.orders]


def test_an_order_counts_from_the_first_gate_after_it(desk: Desk) -> None:
    first = keep(desk.services, ordered("a", 5, 0.02), EVE)
    keep(desk.services, ordered("b", 6, 0.02), EVE + timedelta(hours=1))
    early = ordered_by_hand(desk, EVE + timedelta(hours=1), (), ())
    assert names(early) == ["a"]
    (order,) = early.orders
    np.testing.assert_allclose(order.ordered_mw[39:45], [0.0, *4 * [0.01], 0.0])
    assert order.price_micro_eur == 2_500_000
    both = ordered_by_hand(desk, PERIODS.end, (), ())
    assert names(both) == ["a", "b"]
    assert early.sha256 != both.sha256
    again = ordered_by_hand(desk, EVE + timedelta(hours=1), (), ())
    assert (names(again), again.sha256) == (names(early), early.sha256)
    # an order of the market's own purchase is a message, too, and no order by hand
    assert names(ordered_by_hand(desk, PERIODS.end, (), {first})) == ["b"]
    assert ordered_by_hand(desk, EVE, (), ()) == OrderedByHand()
    told = orders_told(desk, PERIODS.starts[40], (), ())
    assert [each.offer for each in told] == ["a", "b"]


def test_a_gate_that_is_still_to_come_is_refused(desk: Desk) -> None:
    set_simulated_now(desk.services.store, EVE)
    with pytest.raises(InputError, match="run the cycle once its gate is passed"):
        ordered_by_hand(desk, PERIODS.end, (), ())


def test_what_the_day_cannot_settle_is_left_out_and_named(desk: Desk) -> None:
    bought = ordered("bought", 7, 0.02)
    wrong = {
        "late": (ordered("late", 5, 0.02), PERIODS.starts[40], "its first period had begun"),
        "holder": (ordered("holder", 3, 0.02), EVE, "load:3 is held by A"),
        "meter": (ordered("meter", 99, 0.02), EVE, "load:99 has no meter"),
        "rule": (
            ordered("rule", 7, 0.02, rule="threshold_75"), EVE,
            "load:7 is bought under the rule usef, too",
        ),
        "sign": (ordered("sign", 7, -0.02), EVE, "load:7 is bought in the other direction, too"),
    }  # fmt: skip
    ids = {name: keep(desk.services, order, at) for name, (order, at, _) in wrong.items()}
    keep(desk.services, ordered("mine", 3, -0.02, participant="A"), EVE)
    keep(desk.services, ordered("more", 7, 0.03), PERIODS.starts[40] - timedelta(seconds=1))
    found = ordered_by_hand(desk, PERIODS.end, (bought,), ())
    assert names(found) == ["mine", "more"]
    assert set(found.left_out) == {
        f"order {ids[name]} by hand: left out, {why}" for name, (_, _, why) in wrong.items()
    }
