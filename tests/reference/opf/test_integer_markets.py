"""Markets with integer orders, small enough to be cleared by hand (README.md of each folder)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pytest

from data.errors import Problem
from data.readers.pandapower_net import network_from_pandapower
from data.records.clearing import ClearingCase
from data.records.order import BlockOrder, CurtailOrder
from data.study.order_fields import context_of
from data.study.read_orders import read_orders
from opf.clearing import clear_case
from tests.support.cases import make_case
from tests.support.enumerated_market import (
    Market,
    enumerate_market,
    exhaust_market,
    paradoxically_rejected,
)
from tests.support.fixed_choice import FixedChoiceMarket
from tests.support.linear_market import LinearMarket
from tests.support.order_simulator import broken_rules

FOLDER = Path(__file__).parent
CASES = (
    "integer_paradoxical_rejection",
    "integer_exclusive_group",
    "integer_loss_making_parent",
    "integer_curtail_rebound",
    "integer_minimum_acceptance",
)


def read_case(name: str) -> ClearingCase:
    """One bus with a load; where a line is stated, a second bus behind it."""
    stated = json.loads((FOLDER / name / "case.json").read_text())
    net = pp.create_empty_network()
    pp.create_bus(net, vn_kv=20.0)
    pp.create_ext_grid(net, 0, vm_pu=1.0)
    pp.create_load(net, 0, p_mw=1.0, q_mvar=0.0)
    if "line_mw" in stated:
        pp.create_bus(net, vn_kv=20.0)
        pp.create_line_from_parameters(
            net, 0, 1, length_km=1.0, r_ohm_per_km=1e-5, x_ohm_per_km=1e-5, c_nf_per_km=0.0,
            max_i_ka=stated["line_mw"] / (20.0 * np.sqrt(3.0)),
        )  # fmt: skip
    network = network_from_pandapower(net, name)
    problems: list[Problem] = []
    context = context_of(network, stated["periods"])
    orders, _ = read_orders(FOLDER / name, context, problems)
    assert problems == []
    return make_case(
        network, list(orders), price=np.array(stated["import_price_eur_per_mwh"]),
        periods=stated["periods"], load_scale=np.array(stated["load_mw"]),
        export_mw_max=stated.get("export_mw_max"), line_loading_percent_max=100.0,
    )  # fmt: skip


def expected_of(name: str) -> dict[str, Any]:
    return dict(json.loads((FOLDER / name / "expected.json").read_text()))


@pytest.mark.parametrize("name", CASES)
def test_engine_clears_as_by_hand(name: str) -> None:
    case, truth = read_case(name), expected_of(name)
    tolerance = truth["tolerance"]
    result = clear_case(case)
    assert (result.status, result.message) == ("certified", "")
    assert result.objective_eur == pytest.approx(truth["cost_eur"], abs=tolerance["cost_eur"])
    for bus, price in truth["price_eur_per_mwh"].items():
        found = result.prices.dlmp_p_eur_per_mwh[int(bus)]
        assert found == pytest.approx(price, abs=tolerance["price_eur_per_mwh"])
    assert broken_rules(case, result.awards) == []
    awards = {award.order: award for award in result.awards}
    orders = {order.id: order for order in case.orders}
    for order_id, expected in truth["orders"].items():
        award, order = awards[order_id], orders[order_id]
        if "status" in expected:
            assert (order_id, award.status) == (order_id, expected["status"])
        injection = expected.get("injection_mw")
        if "share" in expected:
            assert isinstance(order, BlockOrder)
            injection = expected["share"] * order.profile_mw
        assert award.injection_mw[0] == pytest.approx(injection, abs=tolerance["power_mw"])
        if "surplus_eur" in expected:
            assert award.surplus_eur == pytest.approx(
                expected["surplus_eur"], abs=tolerance["surplus_eur"]
            )


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("market_of", [FixedChoiceMarket, LinearMarket])
def test_enumeration_finds_what_was_found_by_hand(name: str, market_of: type[Market]) -> None:
    case, truth = read_case(name), expected_of(name)
    tolerance = truth["tolerance"]
    found = exhaust_market(market_of(case))
    best = found.best.clearing
    assert best.total_eur == pytest.approx(truth["cost_eur"], abs=tolerance["cost_eur"])
    assert enumerate_market(market_of(case)).best.clearing.choice == best.choice
    for bus, price in truth["price_eur_per_mwh"].items():
        assert best.price[int(bus)] == pytest.approx(price, abs=tolerance["price_eur_per_mwh"])
    kept_out = paradoxically_rejected(case, found.best)
    stated = {
        name: expected["would_earn_eur"]
        for name, expected in truth["orders"].items()
        if "would_earn_eur" in expected
    }
    assert kept_out == pytest.approx(stated, abs=tolerance["surplus_eur"])
    for order in case.orders:
        if not isinstance(order, BlockOrder | CurtailOrder):
            continue
        expected = truth["orders"][order.id]
        accepted = order.id in best.injection_mw
        assert accepted == (expected["status"] in ("accepted", "partial"))
        if "surplus_eur" in expected:
            surplus = found.best.surplus[order.id]
            assert surplus == pytest.approx(expected["surplus_eur"], abs=tolerance["surplus_eur"])
        if "share" in expected and accepted:
            assert best.ratio[order.id] == pytest.approx(expected["share"], abs=1e-6)
