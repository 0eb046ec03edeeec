"""Two statements of one problem cost the same: the engine's arrays and Pyomo's sentences.

The second statement (`opf.pyomo_statement`) writes orders and network again from the market's
rules and from engineering values; it shares no column, matrix or sensitivity with the engine.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandapower as pp
import pytest

from data.errors import UnsupportedComponent
from data.readers.pandapower_net import network_from_pandapower
from data.records.clearing import ClearingCase
from data.records.network import Network
from data.records.order import DemandOrder, GenerationOrder, PriceStep, ReactiveRange
from opf.formulations.copper_plate import clear_copper_plate
from opf.formulations.lindistflow import clear_lindistflow
from opf.linear_point import linear_point
from opf.problem import cost_eur, prepare_problem
from opf.pyomo_statement import (
    LinearPoint,
    StatementNotSolved,
    solve_at_point,
    solve_copper_plate,
    solve_lindistflow,
)
from opf.successive import optimise
from tests.support.busy_feeder import busy_feeder
from tests.support.cases import generation, library_network, make_case

EQUAL = 1e-6


@pytest.fixture(scope="module")
def network() -> Network:
    return library_network("case33bw", slack_vm_pu=1.0)


def limited_currents(network: Network, max_i_ka: float) -> Network:
    lines = dataclasses.replace(network.lines, max_i_ka=max_i_ka + 0 * network.lines.max_i_ka)
    return dataclasses.replace(network, lines=lines)


def test_copper_plate_with_every_order_kind(network: Network) -> None:
    for limits in ({}, {"import_mw_max": 1.5}, {"import_mw_max": 1.5, "export_mw_max": 0.0}):
        case = busy_feeder(network, **limits)
        ours, theirs = clear_copper_plate(case), solve_copper_plate(case)
        assert ours.objective_eur == pytest.approx(theirs.objective_eur, rel=EQUAL)
        assert ours.penalty_eur == pytest.approx(theirs.penalty_eur, rel=EQUAL, abs=1e-6)
        assert ours.prices.dlmp_p_eur_per_mwh == pytest.approx(theirs.price_eur_per_mwh, abs=1e-5)


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"vm_pu_min": 0.95},
        {"vm_pu_min": 0.95, "import_mw_max": 3.0},
        {"vm_pu_min": 0.955, "vm_pu_max": 1.02},  # cannot all hold: scarcity prices
    ],
)
def test_linear_branch_flow_with_every_order_kind(
    network: Network, limits: dict[str, float]
) -> None:
    case = busy_feeder(network, **limits)
    ours, theirs = clear_lindistflow(case), solve_lindistflow(case)
    assert ours.objective_eur == pytest.approx(theirs.objective_eur, rel=EQUAL)
    assert ours.penalty_eur == pytest.approx(theirs.penalty_eur, rel=EQUAL, abs=1e-6)
    assert ours.prices.dlmp_p_eur_per_mwh == pytest.approx(theirs.price_eur_per_mwh, abs=1e-4)


def test_linear_branch_flow_with_current_limits(network: Network) -> None:
    case = busy_feeder(limited_currents(network, 0.13), line_loading_percent_max=100.0)
    ours, theirs = clear_lindistflow(case), solve_lindistflow(case)
    assert {part.element_kind for part in ours.prices.parts} == {"line"}
    assert ours.objective_eur == pytest.approx(theirs.objective_eur, rel=EQUAL)
    # each stops its tangents on its own: prices agree to the tangents' last step
    assert ours.prices.dlmp_p_eur_per_mwh == pytest.approx(theirs.price_eur_per_mwh, abs=1e-2)


def check_optimal_at_its_point(case: ClearingCase) -> LinearPoint:
    """At the AC optimum no linear programme over the same orders is cheaper (or dearer)."""
    problem = prepare_problem(case)
    solution = optimise(problem)
    assert solution.converged
    point = linear_point(problem, solution)
    cost = cost_eur(problem, solution.x, solution.state)
    theirs = solve_at_point(case, point)
    assert theirs.penalty_eur == pytest.approx(0.0, abs=1e-6)
    assert theirs.objective_eur == pytest.approx(cost, rel=EQUAL)
    return point


@pytest.mark.parametrize(
    "limits", [{}, {"vm_pu_min": 0.95}, {"vm_pu_min": 0.95, "import_mw_max": 3.0}]
)
def test_the_ac_optimum_is_optimal_in_the_second_statement(
    network: Network, limits: dict[str, float]
) -> None:
    point = check_optimal_at_its_point(busy_feeder(network, **limits))
    assert bool(limits) == bool(len(point.excess))


def test_the_ac_optimum_under_current_limits(network: Network) -> None:
    case = busy_feeder(limited_currents(network, 0.14), line_loading_percent_max=100.0)
    point = check_optimal_at_its_point(case)
    assert np.abs(point.excess).min() < 1e-5


def test_overvoltage_and_a_negative_price(network: Network) -> None:
    pv = generation("pv", 17, 3.0, -30.0)
    check_optimal_at_its_point(make_case(network, [pv], price=-20.0, vm_pu_max=1.05))


@pytest.mark.parametrize("error", ["sign", "efficiency", "ramp"])
def test_a_planted_mistake_shows(network: Network, error: str) -> None:
    """The comparison can fail: one statement of a slightly different problem differs."""
    case = busy_feeder(network, vm_pu_min=0.95)
    problem = prepare_problem(case)
    solution = optimise(problem)
    point = linear_point(problem, solution)
    cost = cost_eur(problem, solution.x, solution.state)
    other = case
    if error == "sign":
        point = dataclasses.replace(point, limit_p=-point.limit_p)
    else:
        changes = {"battery": {"efficiency_charge": 0.94}, "engine": {"ramp_mw_per_h": 0.4}}
        name = {"efficiency": "battery", "ramp": "engine"}[error]
        orders = tuple(
            dataclasses.replace(order, **changes[name]) if order.id == name else order
            for order in case.orders
        )
        other = dataclasses.replace(case, orders=orders)
    theirs = solve_at_point(other, point)
    total = theirs.objective_eur + theirs.penalty_eur
    assert abs(total - cost) > 10 * EQUAL * cost


def test_most_example_1() -> None:
    """MOST's `t_most_tlmp.m` (MATPOWER/matpower, most/lib/t), example 1: LMP 25, 35, 30."""
    net = pp.create_empty_network()
    bus = pp.create_bus(net, vn_kv=110.0)
    pp.create_ext_grid(net, bus)
    pp.create_load(net, bus, p_mw=1.0, q_mvar=0.0)
    ones = np.ones(3)
    plants = [
        GenerationOrder(
            id=name, participant=name, buses=((0, 1.0),), p_mw_min=0.0 * ones,
            steps=(PriceStep(p_mw=500.0 * ones, price_eur_per_mwh=price * ones),),
            ramp_mw_per_h=ramp,
        )
        for name, price, ramp in (("G1", 25.0, 500.0), ("G2", 30.0, 50.0))
    ]  # fmt: skip
    case = make_case(
        network_from_pandapower(net, "one bus"), list(plants), price=100.0, periods=3,
        load_scale=np.array([420.0, 590.0, 590.0]) - 1e-3, import_mw_max=0.0, export_mw_max=0.0,
    )  # fmt: skip
    ours, theirs = clear_copper_plate(case), solve_copper_plate(case)
    assert theirs.price_eur_per_mwh[0] == pytest.approx([25.0, 35.0, 30.0], abs=1e-6)
    assert theirs.objective_eur == pytest.approx(41099.91, abs=1e-3)
    assert theirs.injection_mw["G2"] == pytest.approx([39.999, 89.999, 89.999], abs=1e-6)
    assert ours.objective_eur == pytest.approx(theirs.objective_eur, rel=EQUAL)


def test_a_portfolio_with_reactive_power_under_a_voltage_limit(network: Network) -> None:
    ones = np.ones(2)
    plant = GenerationOrder(
        id="portfolio", participant="A", buses=((17, 0.4), (32, 0.6)), p_mw_min=0.05 * ones,
        steps=(PriceStep(p_mw=3.0 * ones, price_eur_per_mwh=30.0 * ones),),
        reactive=ReactiveRange(q_mvar_max=0.4 * ones, power_factor_min=0.95),
        ramp_mw_per_h=0.5, p_mw_before=0.0,
    )  # fmt: skip
    bid = DemandOrder(
        id="bid", participant="B", buses=((8, 1.0),), asset=f"load:{network.loads.index[7]}",
        p_mw_min=0.01 * ones,
        steps=(PriceStep(p_mw=0.05 * ones, price_eur_per_mwh=np.array([35.0, 10.0])),),
    )  # fmt: skip
    case = make_case(network, [plant, bid], periods=2, vm_pu_min=0.94)
    ours, theirs = clear_lindistflow(case), solve_lindistflow(case)
    assert ours.objective_eur == pytest.approx(theirs.objective_eur, rel=EQUAL)
    assert ours.penalty_eur == pytest.approx(theirs.penalty_eur, rel=EQUAL, abs=1e-6)
    for award in ours.awards:
        total = award.injection_mw.sum(axis=0)
        assert total == pytest.approx(theirs.injection_mw[award.order], abs=2e-6)


def test_what_the_second_statement_leaves_out_is_refused() -> None:
    net = pp.create_empty_network()
    hv, lv = pp.create_bus(net, vn_kv=110.0), pp.create_bus(net, vn_kv=20.0)
    pp.create_ext_grid(net, hv)
    pp.create_transformer(net, hv, lv, "25 MVA 110/20 kV")
    with pytest.raises(UnsupportedComponent, match="trafo:0"):
        solve_lindistflow(make_case(network_from_pandapower(net, "trafo"), []))


def test_contradicting_orders_have_no_optimum(network: Network) -> None:
    plant = dataclasses.replace(generation("g", 17, 1.0, 30.0, 2), p_mw_min=np.array([0.0, 1.0]))
    slow = dataclasses.replace(plant, ramp_mw_per_h=0.1, p_mw_before=0.0)
    with pytest.raises(StatementNotSolved, match="infeasible"):
        solve_copper_plate(make_case(network, [slow], periods=2))
