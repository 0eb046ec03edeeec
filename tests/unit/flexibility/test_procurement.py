"""Windows, numbered ISPs, reservations and messages of flexibility procurement."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import InputError
from data.periods import DeliveryDay, Periods
from data.records.order import (
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    PriceStep,
    ShiftOrder,
)
from data.study.order_fields import OrderContext
from flexibility.procurement.acceptance import NOT_REQUESTED, REQUEST_EXPIRED, Desk, judge_offers
from flexibility.procurement.border import LocalIsps
from flexibility.procurement.read_messages import read_contracts, read_messages
from flexibility.procurement.records import FlexRequest
from flexibility.procurement.reservation import keep_reserved
from flexibility.procurement.write_messages import contract_to_plain, request_to_plain
from tests.support.cases import storage
from tests.support.flexibility_records import POINT, POINT_ID, contract, offer, option

ONES = np.ones(4)
FOUR = Periods(start=datetime(2026, 6, 1, tzinfo=UTC), count=4, mtu_minutes=15)
ANY = OrderContext(period_count=4, bus_of_asset=None, running_buses=None)


@pytest.mark.parametrize(("month", "day", "count"), [(3, 27, 92), (7, 25, 96), (10, 30, 100)])
def test_isps_count_the_local_day(month: int, day: int, count: int) -> None:
    periods = DeliveryDay(day=date(2016, month, day)).periods
    isps = LocalIsps.of(periods, "Europe/Berlin")
    assert (isps.first, isps.count_of_day, len(periods)) == (1, count, count)
    rest = LocalIsps.of(periods.from_index(10), "Europe/Berlin")
    assert (rest.first, rest.number(0), rest.number(5)) == (11, 11, 16)
    longer = dataclasses.replace(periods, count=count + 1)
    with pytest.raises(InputError, match="one local day at a time"):
        LocalIsps.of(longer, "Europe/Berlin")


def test_a_window_over_midnight_belongs_to_the_day_it_begins_on() -> None:
    night = contract(
        "night", 3, 1.0, 50.0, from_time=time(22), to_time=time(6), weekdays=(5,),
        first_day=date(2016, 1, 1), last_day=date(2016, 1, 8),
    )  # fmt: skip
    found = {}
    for label, start in (
        ("friday evening", datetime(2016, 1, 8, 22, tzinfo=UTC)),
        ("saturday morning", datetime(2016, 1, 9, 4, tzinfo=UTC)),
        ("friday morning", datetime(2016, 1, 8, 4, tzinfo=UTC)),
        ("a week later", datetime(2016, 1, 15, 22, tzinfo=UTC)),
    ):
        found[label] = bool(night.window(dataclasses.replace(FOUR, start=start), "UTC")[0])
    assert found == {
        "friday evening": True, "saturday morning": True, "friday morning": False,
        "a week later": False,
    }  # fmt: skip


def _order(kind: type[Order], **fields: Any) -> Order:
    return kind(id="o", participant="A", buses=((3, 1.0),), asset="load:3", **fields)


def _stepped(kind: type[Order], *powers: float) -> Order:
    steps = tuple(
        PriceStep(p_mw=p * ONES, price_eur_per_mwh=10.0 * k * ONES) for k, p in enumerate(powers)
    )
    return _order(kind, steps=steps, p_mw_min=0.1 * ONES)


@pytest.mark.parametrize("direction", ["inject", "withdraw"])
def test_every_kind_of_order_leaves_the_reservation_free(direction: str) -> None:
    ready = contract("ready", 3, 0.3, 50.0, asset="load:3", direction=direction)
    sign = 1.0 if direction == "inject" else -1.0
    price = {"price_eur_per_mwh": 5.0 * ONES}
    battery = dataclasses.replace(
        storage("o", 3, p_mw=1.0, energy_mwh=4.0, periods=4, efficiency=1.0), asset="load:3"
    )
    book: dict[str, Order] = {
        "generation": _stepped(GenerationOrder, 0.5, 0.4),
        "demand": _stepped(DemandOrder, 0.5, 0.4),
        "shift": _order(ShiftOrder, baseline_mw=0.5 * ONES, p_mw_min=0.0 * ONES,
                        p_mw_max=1.0 * ONES, window_periods=4, **price),
        "curtail": _order(CurtailOrder, p_mw_max=0.5 * ONES, p_mw_min_on=0.4 * ONES, **price),
        "storage": battery,
        "block": _order(BlockOrder, profile_mw=0.5 * sign * ONES, **price),
    }  # fmt: skip
    kept = {name: keep_reserved([order], [ready], FOUR, "UTC") for name, order in book.items()}
    assert kept["block"].orders == ()
    assert "in one piece" in kept["block"].remarks[0]
    assert all(not each.remarks for name, each in kept.items() if name != "block")
    found: dict[str, Any] = {name: each.orders[0] for name, each in kept.items() if name != "block"}

    def offered(order: Any) -> list[float]:
        return [float(step.p_mw[0]) for step in order.steps]

    if direction == "inject":
        assert offered(found["generation"]) == pytest.approx([0.5, 0.1])
        np.testing.assert_allclose(found["demand"].p_mw_min, 0.3)
        np.testing.assert_allclose(found["shift"].p_mw_min, 0.3)
        np.testing.assert_allclose(found["curtail"].p_mw_max, 0.2)
        np.testing.assert_allclose(found["curtail"].p_mw_min_on, 0.2)
        np.testing.assert_allclose(found["storage"].discharge_mw_max, 0.7)
        assert found["storage"].energy_mwh_min == pytest.approx(0.3)
    else:
        np.testing.assert_allclose(found["generation"].p_mw_min, 0.3)
        assert offered(found["demand"]) == pytest.approx([0.5, 0.1])
        np.testing.assert_allclose(found["shift"].p_mw_max, 0.7)
        assert found["curtail"] == book["curtail"]
        np.testing.assert_allclose(found["storage"].charge_mw_max, 0.7)
        assert found["storage"].energy_mwh_max == pytest.approx(3.7)


def test_what_cannot_be_kept_is_said() -> None:
    ready = contract("ready", 3, 2.0, 50.0, asset="load:3")
    kept = keep_reserved([_stepped(GenerationOrder, 0.5)], [ready], FOUR, "UTC")
    assert kept.remarks == ("contract ready: o can keep up to 1.6 MW less than reserved",)
    other = contract("other", 3, 2.0, 50.0, asset="load:9")
    assert "has no order" in keep_reserved([], [other], FOUR, "UTC").remarks[0]


def test_offers_are_judged_against_the_request_they_answer() -> None:
    requested = np.array([False, True, True, False])
    request = FlexRequest(
        message_id="r", congestion_point=POINT_ID, revision=1,
        expires_at=datetime(2026, 5, 31, 10, tzinfo=UTC), requested=requested,
        injection_mw_min=-ONES, injection_mw_max=ONES,
    )  # fmt: skip
    desk = Desk(
        points={POINT_ID: POINT}, requests={"r": request}, contracts={},
        at=datetime(2026, 5, 31, 12, tzinfo=UTC),
    )  # fmt: skip
    in_time = datetime(2026, 5, 31, 9, tzinfo=UTC)
    good = offer("good", 3, option(ONES, 1.0), request="r", received_at=in_time)
    late = offer("late", 3, option(ONES, 1.0), request="r")
    beside = offer(
        "beside", 3, option(np.array([1.0, 0, 0, 1.0]), 1.0), request="r", received_at=in_time
    )
    unknown = offer("unknown", 3, option(ONES, 1.0), request="x", contract="y")
    twice = offer("good", 3, option(ONES, 2.0), request="r", received_at=in_time)
    counting, rejected = judge_offers((good, late, beside, unknown, twice), (), desk)
    assert counting == (good,)
    assert {each.message_id: each.reasons for each in rejected} == {
        "late": (REQUEST_EXPIRED,),
        "beside": (NOT_REQUESTED,),
        "unknown": ("Unknown Reference", "Unknown Reference"),
        "good": ("Duplicate Identifier",),
    }


def test_a_request_and_a_contract_are_read_as_they_were_written(tmp_path: Path) -> None:
    isps = LocalIsps.of(FOUR, "UTC")
    request = FlexRequest(
        message_id="r", congestion_point=POINT_ID, revision=3,
        expires_at=datetime(2026, 5, 31, tzinfo=UTC),
        requested=np.array([False, True, True, False]),
        injection_mw_min=np.array([-0.2, 0.0, 0.0, -0.2]),
        injection_mw_max=np.array([0.1, 0.25, 0.25, 0.0]),
    )  # fmt: skip
    plain = request_to_plain(request, isps)
    assert plain["isps"][1] == {  # type: ignore[index]
        "disposition": "Requested", "min_power_w": -250000, "max_power_w": 0, "start": 2,
        "duration": 2,
    }  # fmt: skip
    (tmp_path / "in.json").write_text(json.dumps([plain]))
    (read,) = read_messages([tmp_path / "in.json"], ANY, FOUR, "UTC", {POINT_ID: POINT}).requests
    for name in ("requested", "injection_mw_min", "injection_mw_max"):
        np.testing.assert_allclose(getattr(read, name), getattr(request, name))
    assert (read.revision, read.expires_at) == (3, request.expires_at)
    stated = contract(
        "ready", 3, 0.5, 80.0, activations_max=4, from_time=time(18), to_time=time(20)
    )
    (tmp_path / "contracts.json").write_text(json.dumps([contract_to_plain(stated)]))
    assert read_contracts(tmp_path / "contracts.json", ANY) == (stated,)


def test_a_file_of_contracts_is_refused_with_every_problem(tmp_path: Path) -> None:
    bad = contract_to_plain(contract("ready", 3, 0.5, 80.0)) | {
        "direction": "up", "power_mw": -1, "first_day": "soon", "weekdays": [0], "rule": "mine",
        "utilisation_eur_per_mwh": float("nan"),
    }  # fmt: skip
    (tmp_path / "bad.json").write_text(json.dumps([bad]))
    with pytest.raises(InputError) as refused:
        read_contracts(tmp_path / "bad.json", ANY)
    said = " ".join(str(problem) for problem in refused.value.problems)
    for word in ("direction is 'up'", "power_mw is -1", "first_day is 'soon'", "weekdays",
                 "rule 'mine' is unknown", "utilisation_eur_per_mwh is nan"):  # fmt: skip
        assert word in said
