"""Zones and sweeps by depth change how a clearing is found, not what is found."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pandapower as pp
import pytest
from scipy.sparse import linalg

from data.readers.pandapower_net import network_from_pandapower
from data.records.clearing import ClearingCase
from data.records.order import Order
from opf import power_flow
from opf.clearing import clear_case
from opf.grid import build_grid
from opf.limits import limit_gradients
from opf.linearise import (
    Linearisation,
    choose_limits,
    limit_field,
    linearise,
    price_field,
)
from opf.power_flow import NodalSolver, solve_state
from opf.prices import price_buses
from opf.problem import Problem, cost_eur, prepare_problem
from opf.successive import optimise
from opf.zones import Zones, find_zones, one_zone, zones_at_transformers, zones_by_size
from tests.support.busy_feeder import busy_feeder
from tests.support.cases import generation, library_network, make_case, storage

LV_BUSES = 3


def low_voltage(net: Any, mv_bus: int, name: str, *, load_mw: float = 0.02) -> list[int]:
    """Hang a low-voltage feeder on a medium-voltage bus; returns its buses, the busbar first."""
    buses = [pp.create_bus(net, 0.4, name=f"{name} {k}") for k in range(LV_BUSES)]
    pp.create_transformer(net, mv_bus, buses[0], "0.4 MVA 20/0.4 kV")
    for a, b in itertools.pairwise(buses):
        pp.create_line(net, a, b, 0.15, "NAYY 4x150 SE")
    pp.create_load(net, buses[-1], load_mw, 0.3 * load_mw)
    return buses


def town(*, ring: bool = False) -> tuple[Any, list[int], list[list[int]]]:
    """Three low-voltage feeders on a medium-voltage line, or ring, behind a substation."""
    net = pp.create_empty_network()
    top = pp.create_bus(net, 110.0)
    pp.create_ext_grid(net, top, vm_pu=1.02)
    mv = [pp.create_bus(net, 20.0) for _ in range(4)]
    pp.create_transformer(net, top, mv[0], "25 MVA 110/20 kV")
    for a, b in itertools.pairwise(mv):
        pp.create_line(net, a, b, 4.0, "NA2XS2Y 1x185 RM/25 12/20 kV")
    if ring:
        pp.create_line(net, mv[-1], mv[0], 4.0, "NA2XS2Y 1x185 RM/25 12/20 kV")
    return net, mv, [low_voltage(net, bus, f"zone {bus}") for bus in mv[1:]]


def case_of(net: Any, feeders: list[list[int]]) -> ClearingCase:
    """A sunny afternoon: each feeder's end sells more than its voltage lets it, and can store."""
    orders: list[Order] = []
    for k, feeder in enumerate(feeders):
        orders.append(generation(f"pv{k}", feeder[-1], np.array([0.12, 0.2]), 0.0, periods=2))
        orders.append(
            storage(f"battery{k}", feeder[1], p_mw=0.02, energy_mwh=0.04, periods=2, throughput=1.0)
        )
    price = np.array([20.0, 30.0])
    network = network_from_pandapower(net, "town")
    return make_case(network, orders, price=price, periods=2, vm_pu_max=1.05)


def zoned(case: ClearingCase, count: int | None) -> Problem:
    """The problem with so many zones; None cuts at transformers."""
    grid = build_grid(case.network)
    if count == 0:
        return prepare_problem(case, zones=one_zone(grid))
    zones = zones_at_transformers(grid) if count is None else zones_by_size(grid, count)
    assert zones.count == (count or zones.count)
    return prepare_problem(case, zones=zones)


def solved(problem: Problem) -> tuple[float, np.ndarray]:
    """Cost and prices at the optimum."""
    found = optimise(problem)
    assert found.converged
    lin = linearise(
        problem, found.state, {*zip(*map(np.ndarray.tolist, _pairs(found)), strict=True)}
    )
    priced = price_buses(problem, lin, found.multipliers.limit)
    return cost_eur(problem, found.x, found.state), priced.prices.dlmp_p_eur_per_mwh


def _pairs(found: Any) -> tuple[np.ndarray, np.ndarray]:
    return found.linearisation.chosen, found.linearisation.period


def assert_same(case: ClearingCase, count: int | None) -> None:
    """Zones and one system agree: the objective to 1e-6, every price to 1e-4."""
    cost, price = solved(zoned(case, 0))
    other_cost, other_price = solved(zoned(case, count))
    assert other_cost == pytest.approx(cost, rel=1e-6, abs=1e-6)
    np.testing.assert_allclose(other_price, price, rtol=0, atol=1e-4 * np.abs(price).max())


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize(
    ("price", "offer", "band"),
    [
        (20.0, 0.0, (0.5, 1.05)),
        (-20.0, -30.0, (0.5, 1.05)),
        (20.0, 30.0, (0.95, 1.5)),
    ],
)
def test_zones_and_one_system_agree_on_case33bw(
    count: int, price: float, offer: float, band: tuple[float, float]
) -> None:
    network = library_network("case33bw", slack_vm_pu=1.0)
    plants = [generation("pv", 17, 3.0, offer), generation("wind", 32, 1.0, offer)]
    low, high = band
    case = make_case(network, list(plants), price=price, vm_pu_min=low, vm_pu_max=high)
    assert_same(case, count)


@pytest.mark.parametrize("count", [2, 5])
def test_zones_and_one_system_agree_on_a_day_with_storage(count: int) -> None:
    assert_same(busy_feeder(vm_pu_min=0.95), count)


@pytest.mark.parametrize("count", [2, 5, 90])
def test_zones_and_one_system_agree_on_a_long_feeder(count: int) -> None:
    net = pp.create_empty_network()
    buses = [pp.create_bus(net, 20.0) for _ in range(100)]
    pp.create_ext_grid(net, buses[0], vm_pu=1.0)
    for k, bus in enumerate(buses[1:], start=1):
        above = buses[k - 2] if k % 2 == 0 and k > 2 else buses[k - 1]
        pp.create_line(net, above, bus, 0.3, "NA2XS2Y 1x185 RM/25 12/20 kV")
        pp.create_load(net, bus, 0.01, 0.003)
    network = network_from_pandapower(net, "long")
    plants = [generation(f"pv{k}", buses[k], 1.5, 0.0) for k in (33, 66, 99)]
    assert_same(make_case(network, list(plants), price=25.0, vm_pu_max=1.04), count)


def test_parallel_transformers_are_one_cut() -> None:
    net, mv, feeders = town()
    pp.create_transformer(net, mv[1], feeders[0][0], "0.4 MVA 20/0.4 kV")
    case = case_of(net, feeders)
    zones = zones_at_transformers(build_grid(case.network))
    assert zones.count == 3
    assert_same(case, None)


def test_a_meshed_ring_carries_radial_zones() -> None:
    net, _, feeders = town(ring=True)
    case = case_of(net, feeders)
    grid = build_grid(case.network)
    assert not grid.radial
    assert zones_at_transformers(grid).count == 3
    assert_same(case, None)
    assert clear_case(case).status == "certified"


def test_a_zone_with_its_own_tie_to_a_neighbour_is_none() -> None:
    net, _, feeders = town()
    pp.create_line(net, feeders[0][-1], feeders[1][-1], 0.1, "NAYY 4x150 SE")
    net2, mv, more = town()
    low_voltage(net2, mv[1], "fourth")
    pp.create_line(net2, more[0][-1], more[1][-1], 0.1, "NAYY 4x150 SE")
    tied = case_of(net2, more)
    grid = build_grid(tied.network)
    zones = zones_at_transformers(grid)
    # the two that are tied stay with what carries them; the third and the fourth are zones
    assert zones.count == 2
    tied_buses = [bus for feeder in more[:2] for bus in feeder]
    assert not zones.of_node[grid.bus_node[tied_buses]].any()
    assert_same(tied, None)
    # with one feeder left there is nothing to divide
    case = case_of(net, feeders)
    assert zones_at_transformers(build_grid(case.network)).count == 0
    assert clear_case(case).status == "certified"


def test_a_zone_without_resources_is_priced_like_any_other() -> None:
    net, _, feeders = town()
    case = case_of(net, feeders[:2])
    assert zones_at_transformers(build_grid(case.network)).count == 3
    assert_same(case, None)
    prices = clear_case(case).prices.dlmp_p_eur_per_mwh
    assert np.isfinite(prices[feeders[2]]).all()


def test_small_grids_are_one_system() -> None:
    net, _, feeders = town()
    assert find_zones(build_grid(case_of(net, feeders).network)).count == 0


def by_sweeps(case: ClearingCase, monkeypatch: pytest.MonkeyPatch, zones: Zones | None) -> Problem:
    """The problem as a large radial grid is solved."""
    monkeypatch.setattr(power_flow, "RADIAL_DENSE_NODES_MAX", 0)
    problem = prepare_problem(case, zones=zones)
    assert problem.solver.tree is not None
    return problem


def test_sweeps_give_the_power_flow_and_the_gradients_of_the_admittance_matrix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net, _, feeders = town()
    case = case_of(net, feeders)
    problem = by_sweeps(case, monkeypatch, None)
    monkeypatch.setattr(power_flow, "RADIAL_DENSE_NODES_MAX", 600)
    plain = NodalSolver(problem.grid)
    assert plain.tree is None
    x = 0.7 * problem.resources.upper
    injection = problem.resources.injection(np.where(np.isfinite(x), x, 0.0))
    state, other = solve_state(problem.solver, injection), solve_state(plain, injection)
    np.testing.assert_allclose(state.v, other.v, rtol=0, atol=1e-11)
    pairs = choose_limits(problem, state, {(0, 0), (len(problem.limits) - 1, 1)})
    lin = linearise(problem, state, pairs)
    expected = limit_gradients(plain, other, problem.limits, lin.chosen, lin.period)
    np.testing.assert_allclose(lin.limit_p, expected[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(lin.limit_q, expected[1], rtol=0, atol=1e-9)


def test_prices_of_many_limits_take_one_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    net, _, feeders = town()
    problem = by_sweeps(case_of(net, feeders), monkeypatch, None)
    state = solve_state(problem.solver, problem.resources.fixed)
    every = {(k, t) for k in range(len(problem.limits)) for t in range(problem.periods)}
    whole = linearise(problem, state, every)
    along = linearise(problem, state, every, by_node=False)
    assert along.limit_p.shape[1] == 0
    price = np.random.default_rng(1).uniform(0.0, 50.0, len(whole.chosen))
    expected = price_field(problem, whole, price, (whole.limit_p, whole.limit_q))
    for found, wanted in zip(limit_field(problem, along, price), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


def moved_by_rows(problem: Problem, lin: Linearisation, change: np.ndarray) -> np.ndarray:
    """What the rows of a step say of every limit when the columns change [unit of the limit]."""
    rows, free = lin.rows, problem.programme.free
    into, between = rows.balances[:, : len(free)], rows.balances[:, len(free) :]
    flows = linalg.spsolve(between.tocsc(), -(into @ change[free]))
    return np.asarray((rows.by_flow @ flows + rows.by_column @ change) * lin.scale)


def moved_by_nodes(problem: Problem, lin: Linearisation, change: np.ndarray) -> np.ndarray:
    """The same by the gradient of each limit by each node."""
    res = problem.resources
    injected = (res.injection(change) - res.injection(0.0 * change))[:, lin.period]
    return np.asarray((lin.limit_p * injected.real + lin.limit_q * injected.imag).sum(axis=0))


def test_rows_by_flows_know_every_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    net, _, feeders = town()
    case = case_of(net, feeders)
    capped = dataclasses.replace(case, import_mw_max=5.0, export_mw_max=5.0)
    problem = by_sweeps(capped, monkeypatch, None)
    x = np.where(np.isfinite(problem.resources.upper), problem.resources.upper, 0.0)
    state = solve_state(problem.solver, problem.resources.injection(x))
    every = {(k, t) for k in range(len(problem.limits)) for t in range(problem.periods)}
    lin = linearise(problem, state, every)
    change = np.zeros(len(x))
    change[problem.programme.free] = np.random.default_rng(2).normal(
        size=len(problem.programme.free)
    )
    expected = moved_by_nodes(problem, lin, change)
    np.testing.assert_allclose(moved_by_rows(problem, lin, change), expected, atol=1e-12)
    # flows without their losses would be off by percents
    lossless = dataclasses.replace(lin.rows, balances=problem.programme.flow_rows)
    off = moved_by_rows(problem, dataclasses.replace(lin, rows=lossless), change) - expected
    assert np.abs(off / lin.scale).max() > 1e-3 * np.abs(change).max()


def test_a_grid_solved_by_sweeps_clears_as_by_the_admittance_matrix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net, _, feeders = town()
    case = case_of(net, feeders)
    cost, price = solved(zoned(case, 0))
    problem = by_sweeps(case, monkeypatch, zones_at_transformers(build_grid(case.network)))
    other_cost, other_price = solved(problem)
    assert other_cost == pytest.approx(cost, rel=1e-6)
    np.testing.assert_allclose(other_price, price, rtol=0, atol=1e-4 * np.abs(price).max())
    result = clear_case(case)
    assert result.status == "certified"
    assert result.certificate.stationarity < 1e-6


def test_wrong_weights_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    net, _, feeders = town()
    case = case_of(net, feeders)
    cost, _ = solved(zoned(case, 0))
    problem = by_sweeps(case, monkeypatch, None)
    tree = problem.solver.tree
    assert tree is not None
    tree.child_parent = -tree.child_parent
    other = optimise(dataclasses.replace(problem))
    assert not other.converged or cost_eur(problem, other.x, other.state) != pytest.approx(
        cost, rel=1e-6
    )
