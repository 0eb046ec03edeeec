"""The interior point method finds the optimum by itself, and says when there is none to find."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from opf.interior_path import find_interior_point
from opf.interior_point import InteriorMethod
from opf.kkt_system import KktSystem
from opf.linearise import choose_limits, linearise
from opf.power_flow import PowerFlowDiverged, solve_state
from opf.problem import Problem, Tolerances, cost_eur, prepare_problem
from opf.quadratic import StepProgramme
from opf.successive import optimise
from tests.support.busy_feeder import busy_feeder
from tests.support.cases import generation, library_network, make_case, storage


def overvoltage(price: float = 20.0, offer: float = 0.0) -> Problem:
    """Variants V1 and V2 of case33bw: a plant pushes its bus to the upper voltage limit."""
    network = library_network("case33bw", slack_vm_pu=1.0)
    plant = generation("pv", 17, 3.0, offer)
    return prepare_problem(make_case(network, [plant], price=price, vm_pu_max=1.05))


@pytest.mark.parametrize(
    ("price", "offer", "optimum"), [(20.0, 0.0, 37.360577), (-20.0, -30.0, -99.927197)]
)
def test_it_needs_no_quadratic_programme(
    price: float, offer: float, optimum: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StepProgramme, "solve", lambda *_, **__: pytest.fail("it was solved"))
    problem = overvoltage(price, offer)
    solution = optimise(problem)
    assert solution.converged
    assert cost_eur(problem, solution.x, solution.state) == pytest.approx(optimum, abs=1e-5)


def test_it_ends_where_the_quadratic_steps_end(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = prepare_problem(busy_feeder(vm_pu_min=0.95))
    within = optimise(problem)
    monkeypatch.setattr("opf.successive.find_interior_point", lambda *_: None)
    by_steps = optimise(problem)
    assert within.converged
    assert by_steps.converged
    cost = cost_eur(problem, by_steps.x, by_steps.state)
    assert cost_eur(problem, within.x, within.state) == pytest.approx(cost, abs=1e-4)


def test_it_converges_to_1e_10() -> None:
    problem = overvoltage()
    tight = Tolerances(kkt=1e-10, voltage_pu=1e-10, loading_share=1e-10, cap_mw=1e-10)
    solution = optimise(dataclasses.replace(problem, tolerances=tight))
    assert solution.converged
    assert solution.residuals.worst < 1e-10


def test_every_iteration_is_reported_and_time_ends_it() -> None:
    seen: list[tuple[int, float, float]] = []
    problem = overvoltage()
    found = find_interior_point(
        problem, None, 1e-8, lambda *values: seen.append(values), lambda: len(seen) >= 3
    )
    assert found is not None
    assert [number for number, _, _ in seen] == [1, 2, 3]
    assert found.iterations == 3


def see_curvature(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Let every factorisation find that its step does not minimise; returns one entry for each."""
    factorise, seen = InteriorMethod.factorise, []

    def curved(method: InteriorMethod, *values: Any) -> Any:
        diagonal = factorise(method, *values)
        method.convexity.met = True
        seen.append(True)
        return diagonal

    monkeypatch.setattr(InteriorMethod, "factorise", curved)
    return seen


def test_a_start_that_meets_negative_curvature_gives_way_to_the_middle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = overvoltage()
    start = problem.resources.lower.copy()
    own = find_interior_point(problem, start, 1e-8)
    cold = find_interior_point(problem, None, 1e-8)
    seen = see_curvature(monkeypatch)
    found = find_interior_point(problem, start, 1e-8)
    assert own is not None
    assert cold is not None
    assert found is not None
    assert found.x.tobytes() == cold.x.tobytes() != own.x.tobytes()
    assert len(seen) == 1 + cold.iterations == 1 + found.iterations


def test_where_the_middle_leads_nowhere_the_start_is_followed_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = overvoltage()
    start = problem.resources.lower.copy()
    own = find_interior_point(problem, start, 1e-8)
    see_curvature(monkeypatch)
    begin = InteriorMethod.start

    def nowhere(method: InteriorMethod, x_start: Any) -> Any:
        if x_start is None:
            raise PowerFlowDiverged([0])
        return begin(method, x_start)

    monkeypatch.setattr(InteriorMethod, "start", nowhere)
    found = find_interior_point(problem, start, 1e-8)
    assert own is not None
    assert found is not None
    assert found.x.tobytes() == own.x.tobytes()


def test_orders_that_contradict_themselves_lead_nowhere() -> None:
    unit = storage("full", 17, p_mw=0.1, energy_mwh=1.0, periods=2, start=0.1)
    unit = dataclasses.replace(unit, energy_mwh_end_min=0.9)
    network = library_network("case33bw", slack_vm_pu=1.0)
    problem = prepare_problem(make_case(network, [unit], periods=2, mtu_minutes=15))
    found = find_interior_point(problem, None, 1e-7)
    if found is not None:
        broken = problem.resources.rows @ found.x - problem.resources.rows_upper
        assert float(np.abs(broken).max()) > 1e-3


def system_at_start(problem: Problem) -> tuple[KktSystem, Any]:
    """The system of a problem at the schedule without any award."""
    lower = problem.resources.lower
    x = np.where(np.isfinite(lower), lower, 0.0)
    state = solve_state(problem.solver, problem.resources.injection(x))
    lin = linearise(problem, state, choose_limits(problem, state, {(20, 0)}))
    system = KktSystem(problem.programme, lin.rows)
    assert system.take_limits(problem.programme, lin.rows)
    return system, lin


def test_a_solve_satisfies_the_full_matrix() -> None:
    problem = prepare_problem(busy_feeder(vm_pu_min=0.95))
    system, _ = system_at_start(problem)
    rng = np.random.default_rng(5)
    sizes = (system.columns, system.flows, system.rows, system.limits)
    columns, flows, rows, limits = (10.0 ** rng.uniform(-6, 6, size) for size in sizes)
    own = problem.resources.rows[:, problem.programme.free].tocsr()
    rows[(np.diff(own.indptr) > 0) & (np.arange(len(rows)) % 2 == 0)] = 0.0
    system.factorise(columns, flows, rows, limits)
    assert system.is_convex()
    right = [rng.standard_normal(size) for size in (sizes[0], sizes[2], sizes[3])]
    x, row, limit = system.solve(*right)
    # rows of the orders contain no flow: they can be checked without them
    assert own @ x - rows * row == pytest.approx(right[1], abs=1e-7)
    dense = (system.upper + system.upper.T).toarray()
    np.fill_diagonal(dense, system.diagonal)
    full = np.concatenate([right[0], np.zeros(2 * sizes[1]), right[1], right[2]])
    truth = np.linalg.solve(dense, full)
    assert x == pytest.approx(truth[: sizes[0]], rel=1e-5, abs=1e-7)
    assert limit == pytest.approx(truth[len(truth) - sizes[3] :], rel=1e-5, abs=1e-7)
    assert len(row) == sizes[2]


def test_concave_flows_are_seen() -> None:
    system, _ = system_at_start(overvoltage())
    ones = [np.ones(size) for size in (system.columns, system.flows, system.rows, system.limits)]
    system.factorise(*ones)
    assert system.is_convex()
    system.factorise(1e-3 * ones[0], -ones[1], ones[2], ones[3])
    assert not system.is_convex()


def test_the_pattern_takes_what_is_negligible_and_nothing_more() -> None:
    problem = overvoltage()
    system, lin = system_at_start(problem)
    fewer = lin.rows.by_flow.copy()
    fewer.data[np.abs(fewer.data) < 0.5] = 0.0
    fewer.eliminate_zeros()
    narrow = KktSystem(problem.programme, dataclasses.replace(lin.rows, by_flow=fewer))
    assert not narrow.take_limits(problem.programme, lin.rows)
    wider = KktSystem(problem.programme, lin.rows, narrow)
    assert wider.take_limits(problem.programme, lin.rows)
    assert len(wider.pattern) == lin.rows.by_flow.nnz
    assert system.pattern.tolist() == wider.pattern.tolist()


def test_a_new_scale_keeps_what_a_limit_is_worth() -> None:
    problem = overvoltage()
    method = InteriorMethod(problem)
    at = method.start(problem.resources.upper.copy())
    assert len(at.limit_price) > 1
    own, count = len(method.own_lower), len(at.limit_price)
    room, slack = slice(own, own + count), slice(own + count, own + 2 * count)
    # one that would cost more than the scarcity price in the new unit keeps its own
    at.limit_price[0] = 0.4 * method.scarcity
    at.lower_price[room] = at.limit_price
    at.lower_price[slack] = method.scarcity - at.limit_price
    price, left, products = at.limit_price.copy(), at.u[room].copy(), at.u * at.lower_price
    at = method.rescale(at, np.full(count, 3.0))
    assert at.limit_price[0] == price[0]
    np.testing.assert_allclose(at.limit_price[1:], 3.0 * price[1:])
    np.testing.assert_allclose(at.u[room], left / 3.0)
    np.testing.assert_allclose((at.u * at.lower_price)[room][1:], products[room][1:])
    np.testing.assert_allclose(at.lower_price[slack], method.scarcity - at.limit_price)
    assert (at.lower_price[slack] > 0.0).all()
