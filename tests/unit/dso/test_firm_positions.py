"""What is decided once stands in later rounds as generation or demand that must run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from data.readers.simbench import NetworkProfiles
from data.records.order import CurtailOrder, DemandOrder, GenerationOrder
from data.results import write_result
from dso.cycles.booked_orders import read_booked, restate
from dso.cycles.firm_positions import firm_parts, is_traded_again, rest_of_firm
from dso.store.book import BookOrder
from opf.clearing import clear_case
from tests.support.busy_feeder import busy_feeder
from tests.support.cases import generation, library_network, make_case

if TYPE_CHECKING:
    from data.records.clearing import ClearingCase
    from dso.cycles.plan import DayPlan


def fixed_of(case: ClearingCase) -> NetworkProfiles:
    return NetworkProfiles(
        load_p_mw=case.load_p_mw, load_q_mvar=case.load_q_mvar,
        sgen_p_mw=case.sgen_p_mw, sgen_q_mvar=case.sgen_q_mvar,
    )  # fmt: skip


def test_a_round_with_firm_parts_gives_the_others_what_they_had(tmp_path: Path) -> None:
    """Clearing again with the decided orders firm is the same optimum, seen from the others."""
    case = busy_feeder(vm_pu_max=1.04)
    first = clear_case(case)
    assert first.status.startswith("certified")
    write_result(first, case, tmp_path)
    parts = firm_parts(case.orders, tmp_path, case.network, fixed_of(case), case.periods)
    bilateral = {part.order.id for part in parts if part.order.id.startswith("swap@")}
    assert bilateral == {"swap@21", "swap@31"}
    awards = {award.order: award for award in first.awards}
    for name in {part.order.id.partition("@")[0] for part in parts}:
        for row, bus in enumerate(awards[name].buses):
            both = (f"{name}@{bus}", f"{name}@{bus}-")
            mine = [part.injection_mw for part in parts if part.order.id in both]
            np.testing.assert_allclose(
                np.sum(mine, axis=0), awards[name].injection_mw[row], atol=1e-9
            )
    kept = [order for order in case.orders if is_traded_again(order)]
    assert {type(part.order) for part in parts} == {GenerationOrder, DemandOrder}
    orders = sorted([*kept, *(part.order for part in parts)], key=lambda order: order.id)
    again = clear_case(dataclasses.replace(case, orders=tuple(orders)))
    assert again.status.startswith("certified")
    after = {award.order: award for award in again.awards}
    for order in kept:
        np.testing.assert_allclose(
            after[order.id].injection_mw, awards[order.id].injection_mw, atol=2e-3
        )
    # what is firm offers no reactive power any more, so a price at a voltage limit moves a little
    np.testing.assert_allclose(
        again.prices.dlmp_p_eur_per_mwh, first.prices.dlmp_p_eur_per_mwh, rtol=0.01, atol=0.05
    )


def test_a_curtailed_load_is_the_load_less_what_was_reduced(tmp_path: Path) -> None:
    network = library_network("case33bw")
    load = int(network.loads.index[6])
    bus = int(network.loads.bus[6])
    ones = np.ones(4)
    curtail = CurtailOrder(
        id="o-c", participant="A", buses=((bus, 1.0),), asset=f"load:{load}", p_mw_max=0.1 * ones,
        p_mw_min_on=0.05 * ones, price_eur_per_mwh=30.0 * ones, duration_periods_max=2,
    )  # fmt: skip
    case = make_case(network, [curtail], price=np.array([20.0, 90.0, 90.0, 20.0]), periods=4)
    result = clear_case(case)
    write_result(result, case, tmp_path)
    (part,) = firm_parts(case.orders, tmp_path, network, fixed_of(case), case.periods)
    reduced = result.awards[0].injection_mw[0]
    assert reduced.max() == pytest.approx(0.1)
    np.testing.assert_allclose(part.injection_mw, reduced - case.load_p_mw[:, 6], atol=1e-9)
    assert isinstance(part.order, DemandOrder)
    assert (part.order.asset, part.order.participant) == (f"load:{load}", "A")
    (rest,) = rest_of_firm([part.order], 3)
    assert isinstance(rest, DemandOrder)
    np.testing.assert_array_equal(rest.p_mw_min, part.order.p_mw_min[3:])


def row(number: int, kind: str, terms: dict[str, Any], **kept: Any) -> BookOrder:
    said = {"kind": kind, "terms": terms, **kept}
    return BookOrder(
        feeder="f", day="d", number=number, id=f"o-{number}",
        participant=kept.get("participant", "A"), actor="c", terms=json.dumps(said),
        received_at="2026-05-31T10:00:00.500000Z", state="booked", cancelled_number=None,
        cancelled_at=None, cancel_actor=None, cancel_reason=None,
    )  # fmt: skip


def plan_of(case: ClearingCase) -> DayPlan:
    return cast("DayPlan", SimpleNamespace(network=case.network, periods=case.periods))


def test_of_several_orders_the_last_counts_but_for_blocks_that_go_together() -> None:
    plan = plan_of(make_case(library_network("case33bw"), [], periods=2))
    block = {"profile_mw": [0.1, 0.1], "price_eur_per_mwh": 1}
    sells = {"p_mw_max": 0.1, "price_eur_per_mwh": 1}
    unit = {"asset": "f/unit:1", "element": None, "bus": 5}
    rows = [
        row(1, "generation", sells, **unit),
        row(2, "block", {**block, "exclusive_group": "g"}, **unit),  # replaces the one before
        row(3, "block", {**block, "exclusive_group": "g"}, **unit),
        row(4, "block", {**block, "exclusive_group": "g"}, participant="B", asset="f/unit:2",
            element=None, bus=6),
        row(5, "block", {**block, "parent": "o-99"}, asset="f/unit:3", element=None, bus=7),
        row(6, "block", {**block, "parent": "o-5"}, asset="f/unit:4", element=None, bus=8),
        row(7, "generation", sells, portfolio={"f/unit:7": 0.5, "f/unit:8": 0.5},
            buses={"9": 0.5, "10": 0.5}),
        row(8, "generation", {"p_mw_max": 0.1}, asset="f/unit:9", element=None, bus=11),
    ]  # fmt: skip
    booked = read_booked(plan, rows)
    assert [order.id for order in booked.orders] == ["o-2", "o-3", "o-4", "o-7"]
    groups = [getattr(order, "exclusive_group", None) for order in booked.orders]
    assert groups == ["A/g", "A/g", "B/g", None]
    assert dict(booked.left_out)["o-1"] == "replaced by o-2"
    assert dict(booked.left_out)["o-5"] == "its parent o-99 is not cleared"
    assert dict(booked.left_out)["o-6"] == "its parent o-5 is not cleared"
    assert "price_eur_per_mwh is missing" in dict(booked.left_out)["o-8"]


def test_only_ones_own_day_ahead_order_is_restated() -> None:
    network = library_network("case33bw")
    load = {"asset": f"f/load:{network.loads.index[6]}", "bus": int(network.loads.bus[6]),
            "element": f"load:{network.loads.index[6]}"}  # fmt: skip
    plan = plan_of(make_case(network, [], periods=2))
    buys = {"p_mw_max": 0.1, "price_eur_per_mwh": 80}
    (stood,) = read_booked(plan, [row(1, "demand", buys, **load)]).orders
    cheaper = {"p_mw_max": 0.1, "price_eur_per_mwh": 20}
    rows = [
        row(2, "demand", buys, **load),
        row(3, "demand", cheaper, **load),
        row(4, "demand", cheaper, participant="B", **load),
        row(5, "demand", cheaper, asset="f/unit:1", element=None, bus=5),
        row(6, "shift", {"baseline_mw": 0.1, "p_mw_max": 0.1, "window_periods": 2,
                         "price_eur_per_mwh": 1}, **load),
    ]  # fmt: skip
    restated = restate(plan, [stood, generation("x", 3, 1.0, 1.0, 2)], rows)
    (order,) = restated.orders
    assert isinstance(order, DemandOrder)
    assert (order.id, order.steps[0].price_eur_per_mwh[0]) == ("o-1", 20.0)
    assert dict(restated.left_out) == {
        "o-2": "replaced by o-3",
        "o-4": "its party has no day-ahead position of the asset",
        "o-5": "its party has no day-ahead position of the asset",
        "o-6": "the day-ahead order o-1 is of another kind",
    }
