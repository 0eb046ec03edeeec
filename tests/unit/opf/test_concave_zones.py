"""Zones whose flows are concave are found, and hold up neither the others nor the barrier."""

from __future__ import annotations

import numpy as np
import pandapower as pp
import pytest

from data.readers.pandapower_net import network_from_pandapower
from data.records.order import Order
from opf.interior_path import find_interior_point
from opf.interior_point import InteriorMethod
from opf.kkt_system import KktSystem
from opf.linearise import linearise
from opf.problem import Problem, prepare_problem
from opf.zone_places import ZonePlaces
from opf.zones import zones_at_transformers
from tests.support.cases import generation, make_case, storage

ZONES = 3
CONCAVE = 2


def town() -> Problem:
    """Three low-voltage feeders on one line: their ends sell more than the voltage lets them."""
    net = pp.create_empty_network()
    top, first = pp.create_bus(net, 110.0), pp.create_bus(net, 20.0)
    pp.create_ext_grid(net, top, vm_pu=1.02)
    pp.create_transformer(net, top, first, "25 MVA 110/20 kV")
    orders: list[Order] = []
    for k in range(ZONES):
        mv, busbar, end = (pp.create_bus(net, kv) for kv in (20.0, 0.4, 0.4))
        pp.create_line(net, first, mv, 4.0, "NA2XS2Y 1x185 RM/25 12/20 kV")
        pp.create_transformer(net, mv, busbar, "0.4 MVA 20/0.4 kV")
        pp.create_line(net, busbar, end, 0.3, "NAYY 4x150 SE")
        pp.create_load(net, end, 0.02, 0.006)
        orders.append(generation(f"pv{k}", end, np.array([0.12, 0.2]), 0.0, periods=2))
        orders.append(
            storage(f"battery{k}", busbar, p_mw=0.02, energy_mwh=0.04, periods=2, throughput=1.0)
        )
    case = make_case(
        network_from_pandapower(net, "town"),
        orders,
        price=np.array([20.0, 30.0]),
        periods=2,
        vm_pu_max=1.05,
    )
    problem = prepare_problem(case)
    problem.zones = zones_at_transformers(problem.grid)
    assert problem.zones.count == ZONES
    return problem


def concave_in_one_zone(
    method: InteriorMethod, system: KktSystem, places: ZonePlaces
) -> np.ndarray:
    """Factorise with flows that are concave in one zone alone; returns their curvature."""
    flows = np.where(places.of_flow == CONCAVE, -1.0, 1.0)
    system.factorise(
        np.full(system.columns, 1e-3), flows, np.ones(system.rows), np.ones(system.limits)
    )
    method.system = system
    return flows


def test_pivots_say_which_zone_is_concave() -> None:
    problem = town()
    method = InteriorMethod(problem)
    at = method.start(None)
    system, places = KktSystem(problem.programme, at.lin.rows), ZonePlaces(problem)
    system.take_limits(problem.programme, at.lin.rows)
    ones = [np.ones(n) for n in (system.columns, system.flows, system.rows, system.limits)]
    system.factorise(*ones)
    zone = places.of_system(at.lin)
    assert not system.missing_pivots(zone, places.count).any()
    flows = concave_in_one_zone(method, system, places)
    lacking = system.missing_pivots(zone, places.count)
    assert np.flatnonzero(lacking[1:]).tolist() == [CONCAVE - 1]
    assert lacking.sum() > 0
    assert not system.is_convex()
    assert not method.convexity.by_zone(system, at.lin, flows)
    assert np.flatnonzero(method.convexity.straight).tolist() == [CONCAVE]


def test_zones_have_steps_of_their_own() -> None:
    problem = town()
    method = InteriorMethod(problem)
    at = method.start(None)
    left = method.residuals(at)
    step = method.improve(at, left, *method.factorise(at, left))
    ways = method.ways(at, left, step)
    assert ways[0].min() == pytest.approx(step.primal)
    assert ways[1].min() == pytest.approx(step.dual)
    method.convexity.shift = np.full(ZONES + 1, 8.0)
    method.convexity.learn(np.array([1.0, 0.05, 0.5, 1.0]))
    assert method.convexity.shift.tolist() == [2.0, 32.0, 8.0, 2.0]


def test_limits_that_join_do_not_lift_the_barrier() -> None:
    problem = town()
    method = InteriorMethod(problem)
    at = method.start(None)
    own = len(method.own_lower)
    at.lin = linearise(problem, at.state, set(), by_node=False)
    at.u, at.limit_price = at.u[:own], at.limit_price[:0]
    at.lower_price, at.upper_price = at.lower_price[:own], at.upper_price[:own]
    low = 1e-7
    joined = method.linearise(at, low)
    assert len(joined.limit_price) > 0
    slack = own + len(joined.limit_price)
    assert np.all(joined.u[slack:] * joined.lower_price[slack:] <= 1.01 * low)


def test_where_a_solve_starts_does_not_choose_where_it_ends() -> None:
    problem = town()
    cold = find_interior_point(problem, None, 1e-8)
    warm = find_interior_point(problem, problem.resources.lower.copy(), 1e-8)
    assert cold is not None
    assert warm is not None
    assert cold.accurate
    assert warm.x.tobytes() == cold.x.tobytes()
    assert warm.iterations == cold.iterations
