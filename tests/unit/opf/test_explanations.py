"""Explanations whose answer can be worked out by hand, or by somebody else's power flow."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandapower as pp
import pytest

from data.readers.pandapower_net import network_from_pandapower
from data.records.clearing import ClearingCase, ClearingResult
from data.records.network import Network
from data.records.order import (
    BilateralOrder,
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    PriceStep,
    ReactiveRange,
    ShiftOrder,
)
from opf.clearing import clear_case
from opf.explanations.order import explain_order
from opf.explanations.price import explain_price
from opf.explanations.published import Published, publish
from opf.explanations.records import LimitKey, PriceLine
from opf.explanations.shortage import explain_status
from tests.reference.opf.test_case33bw import variant
from tests.support.cases import generation, library_network, make_case, storage

STEP_MW = 1e-3
ONE = np.ones(1)


def cleared(case: ClearingCase) -> Published:
    result = clear_case(case)
    assert result.status.startswith("certified"), result.message
    return publish(case, result)


def lossless_pair(load_mw: float = 2.0) -> Network:
    """Two buses, hardly any resistance, one load."""
    net = pp.create_empty_network()
    first, second = (pp.create_bus(net, vn_kv=20.0) for _ in range(2))
    pp.create_ext_grid(net, first, vm_pu=1.0)
    pp.create_line_from_parameters(
        net, first, second, length_km=1.0, r_ohm_per_km=1e-3, x_ohm_per_km=1e-3,
        c_nf_per_km=0.0, max_i_ka=1.0,
    )  # fmt: skip
    pp.create_load(net, second, p_mw=load_mw, q_mvar=0.0)
    return network_from_pandapower(net, "pair")


def demand(order_id: str, p_mw: float, price: float, **more: Any) -> DemandOrder:
    return DemandOrder(
        id=order_id, participant="D", buses=((1, 1.0),), p_mw_min=0.0 * ONE,
        steps=(PriceStep(p_mw=p_mw * ONE, price_eur_per_mwh=price * ONE),), **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def network() -> Network:
    return library_network("case33bw", slack_vm_pu=1.0)


def pandapower_state(published: Published) -> Any:
    """The cleared schedule of a case33bw variant in pandapower."""
    import pandapower.networks

    net = pandapower.networks.case33bw()
    net.ext_grid["vm_pu"] = 1.0
    net.line["max_i_ka"] = published.case.network.lines.max_i_ka
    for award in published.awards.values():
        pp.create_sgen(net, award.buses[0], p_mw=float(award.injection_mw[0, 0]))
    return net


def limited_quantity(net: Any, key: LimitKey) -> float:
    """Use of a limit by pandapower: voltage [pu], or current at nominal voltage [MVA]."""
    pp.runpp(net, tolerance_mva=1e-11, numba=False)
    if key.element_kind == "bus":
        sign = -1.0 if key.side == "lower" else 1.0
        return sign * float(net.res_bus.vm_pu.at[key.element])
    column = "i_from_ka" if key.side == "from" else "i_to_ka"
    current = float(net.res_line[column].at[key.element])
    vn_kv = float(net.bus.vn_kv.at[net.line.from_bus.at[key.element]])
    return float(np.sqrt(3.0) * vn_kv * current)


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("v1", {"bus:17:upper"}),
        ("v2", {"bus:17:upper"}),
        ("v3", {"bus:13:lower", "bus:30:lower"}),
        ("v4", {"line:5:from"}),
    ],
)
def test_sensitivities_are_those_of_pandapower_and_parts_their_products(
    network: Network, name: str, limits: set[str]
) -> None:
    published = cleared(variant(network, name))
    net = pandapower_state(published)
    probe = pp.create_load(net, 17, p_mw=0.0)
    for bus in (17, 32):
        net.load.loc[probe, "bus"] = bus
        price = explain_price(published, bus, 0)
        whole = [round(1e6 * line.part_eur_per_mwh) for line in price.lines]
        assert sum(whole) == round(1e6 * price.dlmp_p_eur_per_mwh)
        large = [line for line in price.lines if line.key and abs(line.part_eur_per_mwh) > 0.01]
        assert {str(line.key) for line in large} == limits
        for line in large:
            check_sensitivity(net, probe, line)


def check_sensitivity(net: Any, probe: int, line: PriceLine) -> None:
    """One more MW taken at the bus, by two power flows of pandapower."""
    assert line.key is not None
    assert line.sensitivity is not None
    assert line.shadow_price is not None
    uses = []
    for sign in (1.0, -1.0):
        net.load.loc[probe, "p_mw"] = sign * STEP_MW
        uses.append(limited_quantity(net, line.key))
    slope = (uses[0] - uses[1]) / (2.0 * STEP_MW)
    assert line.sensitivity == pytest.approx(slope, rel=2e-3, abs=1e-6)
    product = line.sensitivity * line.shadow_price
    assert product == pytest.approx(line.part_eur_per_mwh, abs=5e-7)
    assert abs(0.5 * (uses[0] + uses[1])) == pytest.approx(line.limit, abs=2e-5)


def test_shadow_price_is_what_a_little_more_of_the_limit_saves(network: Network) -> None:
    case = variant(network, "v4")
    line = explain_price(cleared(case), 17, 0).lines[2]
    assert line.limit is not None
    assert line.shadow_price is not None
    costs = []
    for sign in (1.0, -1.0):
        percent = case.limits.line_loading_percent_max.copy()
        percent[5] *= 1.0 + sign * 0.01
        wider = dataclasses.replace(case.limits, line_loading_percent_max=percent)
        costs.append(clear_case(dataclasses.replace(case, limits=wider)).objective_eur)
    saved = (costs[1] - costs[0]) / (0.02 * line.limit)
    assert line.shadow_price == pytest.approx(saved, rel=1e-3)


@pytest.mark.parametrize("name", ["v1", "v2", "v3", "v4"])
def test_a_marginal_order_names_the_limit_that_decides(network: Network, name: str) -> None:
    published = cleared(variant(network, name))
    order_id = "pv" if name in ("v1", "v2") else "dg18"
    explained = explain_order(published, order_id)
    expected = {"v1": "bus:17:upper", "v2": "bus:17:upper", "v3": "bus:13:lower",
                "v4": "line:5:from"}  # fmt: skip
    assert str(explained.binding) == expected[name]
    assert published.awards[order_id].binding_element == expected[name]
    assert explained.reason == ("binding_element" if name in ("v1", "v2") else "marginal")
    assert explained.size is not None
    assert explained.size.p_mw == published.awards[order_id].injection_mw[0, 0]


def cornered() -> ClearingCase:
    """An import cap of just what is left when cheap generation is full: prices 30 to 80 fit."""
    orders = [generation("cheap", 1, 1.0, 30.0), generation("dear", 1, 1.0, 80.0),
              demand("bid", 0.5, 25.0)]  # fmt: skip
    full = dataclasses.replace(orders[0], p_mw_min=ONE)
    exact = float(clear_case(make_case(lossless_pair(), [full], price=20.0)).grid.import_mw[0])
    return make_case(lossless_pair(), orders, price=20.0, import_mw_max=exact)


def test_in_a_corner_the_price_is_an_interval_and_the_threshold_its_end() -> None:
    published = cleared(cornered())
    price = explain_price(published, 1, 0)
    assert price.price_range is not None
    assert price.price_range.degenerate
    assert price.price_range.low_eur_per_mwh == pytest.approx(30.0, abs=0.01)
    assert price.price_range.high_eur_per_mwh == pytest.approx(80.0, abs=0.01)
    offer, bid = (explain_order(published, name).threshold for name in ("dear", "bid"))
    assert offer is not None
    assert bid is not None
    assert offer.price_eur_per_mwh == pytest.approx(30.0, abs=0.01)
    assert bid.price_eur_per_mwh == pytest.approx(80.0, abs=0.01)
    assert offer.price_range is not None


@pytest.mark.parametrize(
    ("order_id", "price", "accepted"),
    [("dear", 29.7, True), ("dear", 30.3, False), ("bid", 80.8, True), ("bid", 79.2, False)],
)
def test_the_end_of_the_interval_is_where_the_decision_turns(
    order_id: str, price: float, accepted: bool
) -> None:
    case = cornered()
    order = next(order for order in case.orders if order.id == order_id)
    step = dataclasses.replace(order.steps[0], price_eur_per_mwh=price * ONE)
    changed = dataclasses.replace(order, steps=(step,))
    others = [other for other in case.orders if other.id != order_id]
    result = clear_case(dataclasses.replace(case, orders=(*others, changed)))
    award = next(award for award in result.awards if award.order == order_id)
    assert bool(np.abs(award.injection_mw).max() > 1e-3) is accepted


def test_away_from_corners_the_price_is_one(network: Network) -> None:
    found = explain_price(cleared(variant(network, "v4")), 17, 0).price_range
    assert found is not None
    assert not found.degenerate
    assert found.high_eur_per_mwh - found.low_eur_per_mwh < 1e-3


def test_the_best_cycle_of_a_storage_by_hand() -> None:
    prices, periods = np.array([40.0, 10.0, 60.0, 30.0]), 4
    battery = storage("battery", 1, p_mw=0.1, energy_mwh=0.2, periods=periods, efficiency=0.9,
                      throughput=50.0)  # fmt: skip
    case = make_case(lossless_pair(), [battery], price=prices, periods=periods)
    explained = explain_order(cleared(case), "battery")
    best = (0.81 * 60.0 - 10.0) / 1.81
    assert explained.reason == "no_cycle_pays"
    assert explained.best_use is not None
    assert (explained.best_use.take_period, explained.best_use.give_period) == (1, 2)
    assert explained.threshold is not None
    assert explained.threshold.price_eur_per_mwh == pytest.approx(best, abs=0.02)
    assert explained.threshold.basis == "cycle"


def test_flat_prices_give_a_storage_nothing_at_any_cost() -> None:
    battery = storage("battery", 1, p_mw=0.1, energy_mwh=0.2, periods=4, throughput=1.0)
    explained = explain_order(
        cleared(make_case(lossless_pair(), [battery], price=50.0, periods=4)), "battery"
    )
    assert explained.reason == "no_cycle_pays"
    assert explained.threshold is None
    assert "even at no cost" in explained.notes[0]


def test_the_best_move_of_a_shift_stays_within_its_window() -> None:
    periods = 4
    ones = np.ones(periods)
    shift = ShiftOrder(
        id="shift", participant="S", buses=((1, 1.0),), baseline_mw=0.2 * ones,
        p_mw_min=0.0 * ones, p_mw_max=0.4 * ones, window_periods=2, price_eur_per_mwh=45.0 * ones,
    )  # fmt: skip
    prices = np.array([70.0, 40.0, 5.0, 20.0])
    explained = explain_order(
        cleared(make_case(lossless_pair(), [shift], price=prices, periods=periods)), "shift"
    )
    assert explained.reason == "no_move_pays"
    assert explained.best_use is not None
    assert (explained.best_use.take_period, explained.best_use.give_period) == (1, 0)
    assert explained.best_use.worth_eur_per_mwh == pytest.approx(30.0, abs=0.05)


def test_a_bilateral_is_held_against_the_price_difference(network: Network) -> None:
    pair = BilateralOrder(
        id="pair", participant="P", buses=((17, 1.0),), bus_to=32, participant_to="Q",
        p_mw=0.1 * ONE, price_eur_per_mwh=-1.0 * ONE,
    )  # fmt: skip
    case = variant(network, "v4")
    published = cleared(dataclasses.replace(case, orders=(*case.orders, pair)))
    explained = explain_order(published, "pair")
    dlmp = published.result.prices.dlmp_p_eur_per_mwh[:, 0]
    if explained.threshold is not None:
        assert explained.threshold.direction == "at_least"
        assert explained.threshold.price_eur_per_mwh == pytest.approx(dlmp[32] - dlmp[17])
    assert explained.market_price_eur_per_mwh == pytest.approx(dlmp[32] - dlmp[17], abs=1e-9)
    parts = sum(line.part_eur_per_mwh for line in explained.lines)
    assert parts == pytest.approx(dlmp[32] - dlmp[17], abs=5e-7)


def test_reactive_power_that_comes_with_a_load_is_part_of_its_price(network: Network) -> None:
    bid = dataclasses.replace(demand("bid", 0.1, 10.0), buses=((17, 1.0),), asset="load:16")
    published = cleared(make_case(network, [bid], price=20.0))
    explained = explain_order(published, "bid")
    row = int(np.flatnonzero(network.loads.index == 16)[0])
    tan = network.loads.q_mvar[row] / network.loads.p_mw[row]
    prices = published.result.prices
    expected = prices.dlmp_p_eur_per_mwh[17, 0] + tan * prices.dlmp_q_eur_per_mvarh[17, 0]
    assert tan > 0.1
    assert explained.threshold is not None
    assert explained.threshold.price_eur_per_mwh == pytest.approx(expected, abs=1e-6)
    assert "reactive" in {line.cause for line in explained.lines}


def test_a_power_factor_range_is_worth_something_to_a_plant(network: Network) -> None:
    plant = dataclasses.replace(
        generation("plant", 17, 0.5, 40.0), reactive=ReactiveRange(power_factor_min=0.9)
    )
    published = cleared(make_case(network, [plant], price=20.0))
    explained = explain_order(published, "plant")
    prices = published.result.prices
    tan = float(np.tan(np.arccos(0.9)))
    expected = prices.dlmp_p_eur_per_mwh[17, 0] + tan * abs(prices.dlmp_q_eur_per_mvarh[17, 0])
    assert explained.threshold is not None
    assert explained.threshold.price_eur_per_mwh == pytest.approx(expected, abs=1e-6)


def test_a_shortage_names_what_is_missing_and_who_could_have_helped(network: Network) -> None:
    near, far = generation("near", 2, 0.2, 30.0), generation("far", 17, 0.2, 30.0)
    case = make_case(network, [near, far], vm_pu_min=0.93)
    published = cleared(case)
    status = explain_status(published)
    violations = published.result.violations
    assert {str(short.key) for short in status.shortages} == {
        f"{v.element_kind}:{v.element}:{v.side}" for v in violations
    }
    worst = max(violations, key=lambda violation: violation.mw_short)
    first = status.shortages[0]
    assert first.key.element == worst.element
    assert max(first.mw_short) == worst.mw_short
    helped = {helper.order: helper.relief_mw_per_mw for helper in first.helpers}
    on_its_branch = "far" if worst.element == 17 else max(helped, key=lambda name: helped[name])
    assert first.helpers[0].order == on_its_branch
    assert helped["near"] < helped["far"]
    assert all(helper.unused_mw == 0.0 for helper in first.helpers)


def test_a_collapse_says_how_much_load_is_too_much(network: Network) -> None:
    heavy = dataclasses.replace(
        make_case(network, [generation("plant", 17, 0.1, 30.0)]),
        load_p_mw=5.0 * network.loads.p_mw[None, :],
        load_q_mvar=5.0 * network.loads.q_mvar[None, :],
    )
    result = clear_case(heavy)
    assert result.status == "infeasible"
    collapse = explain_status(publish(heavy, result)).collapse
    assert collapse is not None
    assert collapse.periods == (0,)
    total = 5.0 * float(network.loads.p_mw.sum())
    assert collapse.mw_short == pytest.approx((1.0 - collapse.carried_share) * total)
    import pandapower.networks

    for share, solves in ((collapse.carried_share, True), (collapse.carried_share + 0.02, False)):
        net = pandapower.networks.case33bw()
        net.ext_grid["vm_pu"] = 1.0
        net.load["scaling"] = 5.0 * share
        try:
            pp.runpp(net, numba=False, max_iteration=50)
            solved = bool(net.converged)
        except pp.LoadflowNotConverged:
            solved = False
        assert solved is solves
    assert explain_order(publish(heavy, result), "plant").reason == "no_clearing"
    assert [helper.order for helper in collapse.helpers] == ["plant"]


def block(order_id: str, p_mw: float, price: float, **more: Any) -> BlockOrder:
    return BlockOrder(
        id=order_id, participant="B", buses=((1, 1.0),), profile_mw=p_mw * ONE,
        price_eur_per_mwh=price * ONE, **more,
    )  # fmt: skip


def test_family_members_name_who_decides() -> None:
    orders = [
        block("good", 0.5, 10.0, exclusive_group="g"),
        block("second", 0.5, 12.0, exclusive_group="g"),
        block("parent", 0.2, 40.0),
        block("child", 0.2, 12.0, parent="parent"),
    ]
    published = cleared(make_case(lossless_pair(), orders, price=20.0))
    second, child = (explain_order(published, name) for name in ("second", "child"))
    assert (second.reason, second.other_order) == ("group_partner_accepted", "good")
    assert (child.reason, child.other_order) == ("parent_rejected", "parent")
    assert "good" in published.awards["second"].reason
    assert "parent" in published.awards["child"].reason


def test_the_threshold_of_a_block_by_hand() -> None:
    """Import at 20 sets the price whatever the block does."""
    published = cleared(make_case(lossless_pair(), [block("late", 0.5, 30.0)], price=20.0))
    explained = explain_order(published, "late")
    assert explained.threshold is not None
    assert explained.threshold.price_eur_per_mwh == pytest.approx(20.0, abs=0.01)
    assert explained.threshold.confirmed is True
    assert explained.reason == "price"


def test_a_paradoxical_rejection_names_the_size_that_fits() -> None:
    """Import is full at 1 MW: 1 MW of 2 is left to a plant at 50, a block of 1.5 would push to 20.

    As much of the block as replaces the plant, 1 MW but for losses, leaves the price at 50.
    """
    orders = [generation("plant", 1, 2.0, 50.0), block("big", 1.5, 40.0)]
    case = make_case(lossless_pair(), orders, price=20.0, import_mw_max=1.0, export_mw_max=0.0)
    published = cleared(case)
    explained = explain_order(published, "big")
    assert explained.status == "paradoxically_rejected"
    assert explained.reason == "paradoxical"
    assert explained.size is not None
    assert explained.size.confirmed is True
    assert explained.size.p_mw == pytest.approx(1.0, abs=0.02)
    assert explained.threshold is not None
    assert explained.threshold.confirmed is True


def test_a_curtailment_that_cannot_fit_says_so() -> None:
    periods = 3
    ones = np.ones(periods)
    order = CurtailOrder(
        id="cut", participant="C", buses=((1, 1.0),), asset="load:0", p_mw_max=0.5 * ones,
        p_mw_min_on=0.5 * ones, price_eur_per_mwh=1.0 * ones, duration_periods_min=2,
        rebound_share=0.5, rebound_periods=2,
    )  # fmt: skip
    published = cleared(make_case(lossless_pair(), [order], price=50.0, periods=periods))
    explained = explain_order(published, "cut")
    assert explained.reason == "not_feasible"
    assert explained.threshold is None


def test_an_accepted_order_shows_where_it_was_closest_to_being_cut() -> None:
    prices = np.array([60.0, 35.0, 50.0])
    plant = generation("plant", 1, 0.5, 30.0, periods=3)
    case = make_case(lossless_pair(), [plant], price=prices, periods=3)
    explained = explain_order(cleared(case), "plant")
    assert (explained.reason, explained.deciding_period) == ("accepted", 1)
    assert explained.threshold is None
    assert [round(each.gap_eur_per_mwh or 0.0) for each in explained.periods] == [-30, -5, -20]


def test_reasons_are_part_of_a_clearing(network: Network) -> None:
    result: ClearingResult = clear_case(variant(network, "v4"))
    refused = {award.order: award.reason for award in result.awards if award.status != "accepted"}
    assert set(refused) == {"dg18", "dg33"}
    assert "7.74 below its offer of 30.00" in refused["dg33"]
