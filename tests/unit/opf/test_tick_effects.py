"""Ticks explain what rounding does, in a low voltage feeder too, and nothing beyond it."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pandapower as pp
import pytest

from data.readers.pandapower_net import network_from_pandapower
from opf import settled
from opf.awards import quantise
from opf.certificate import KKT_MAX, certify, replay_state
from opf.describe import describe_grid
from opf.kkt import kkt_residuals, projected_gradient, reduced_costs
from opf.one_direction import optimise_one_way
from opf.prices import price_buses
from opf.problem import Problem, prepare_problem
from opf.successive import Solution
from tests.support.cases import make_case, storage

PERIODS = 24
TICK_MW = 1e-6


@cache
def solved() -> tuple[Problem, Solution]:
    """A weak 0.4 kV feeder with thirty storages of a few kW, all led by one price."""
    net = pp.create_empty_network()
    for _ in range(4):
        pp.create_bus(net, vn_kv=0.4)
    pp.create_ext_grid(net, 0, vm_pu=1.0)
    for start in range(3):
        pp.create_line_from_parameters(
            net, start, start + 1, length_km=0.1, r_ohm_per_km=0.4, x_ohm_per_km=0.1,
            c_nf_per_km=0.0, max_i_ka=0.2,
        )  # fmt: skip
        pp.create_load(net, start + 1, p_mw=0.01, q_mvar=0.002)
    orders = [
        storage(
            f"home {k:02d}", 1 + k % 3, p_mw=0.004 + 1e-5 * k, energy_mwh=0.012 + 1e-4 * (k % 7),
            periods=PERIODS, throughput=2.0,
        )
        for k in range(30)
    ]  # fmt: skip
    price = 60.0 + 50.0 * np.sin(np.arange(PERIODS) / 24.0 * 4.0 * np.pi)
    case = make_case(
        network_from_pandapower(net, "weak"), orders, price=price, periods=PERIODS, mtu_minutes=15,
        line_loading_percent_max=60.0,
    )  # fmt: skip
    return optimise_one_way(prepare_problem(case), None, None, None)


def status_of(problem: Problem, solution: Solution, on_ticks: Solution) -> tuple[str, str]:
    priced = price_buses(problem, on_ticks.linearisation, on_ticks.multipliers.limit)
    verdict = certify(
        problem, on_ticks, solution.residuals, priced, replay_state(problem, on_ticks.state),
        describe_grid(problem, on_ticks), "0" * 64,
    )  # fmt: skip
    return verdict.status, verdict.message


def test_ticks_cost_a_low_voltage_feeder_no_certificate() -> None:
    problem, solution = solved()
    assert solution.residuals.worst < 0.5 * KKT_MAX
    on_ticks = settled.settle_on_ticks(problem, solution)
    assert status_of(problem, solution, on_ticks) == ("certified", "")
    # what ticks do is there to be explained, and all of it is
    bare = kkt_residuals(problem, on_ticks.x, on_ticks.linearisation, on_ticks.multipliers)
    assert bare.worst > KKT_MAX
    assert on_ticks.residuals.worst < 0.5 * KKT_MAX


def test_what_ticks_explain_covers_what_they_did_and_little_more() -> None:
    problem, solution = solved()
    on_ticks = settled.settle_on_ticks(problem, solution)
    assert on_ticks.ticks is not None
    free = problem.programme.free
    before = reduced_costs(problem, solution.linearisation, solution.multipliers)[free]
    after = reduced_costs(problem, on_ticks.linearisation, on_ticks.multipliers)[free]
    explained = on_ticks.ticks.gradient[free]
    changed = np.abs(after - before)
    scale = 110.0 * problem.case.periods.mtu_h
    assert np.all(changed <= 1.1 * explained + 0.1 * KKT_MAX * scale)
    assert explained.max() < 20.0 * changed.max()
    assert np.abs(on_ticks.x - solution.x)[free].max() < 5 * TICK_MW


@pytest.mark.parametrize(("ticks", "status"), [(0, "certified"), (300, "uncertified")])
def test_what_is_no_rounding_is_refused(
    ticks: int, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, solution = solved()

    def displaced(*values: object) -> np.ndarray:
        x = quantise(*values)  # type: ignore[arg-type]
        for columns in problem.resources.orders:
            assert columns.discharge is not None
            flowing = (x[columns.discharge] > 0.001) & (columns.discharge > 0)
            x[columns.discharge[flowing]] -= ticks * TICK_MW
        return x

    monkeypatch.setattr(settled, "quantise", displaced)
    on_ticks = settled.settle_on_ticks(problem, solution)
    assert status_of(problem, solution, on_ticks)[0] == status


def test_a_price_that_is_off_is_refused() -> None:
    problem, solution = solved()
    on_ticks = settled.settle_on_ticks(problem, solution)
    rows = solution.multipliers.row * (1.0 + 1e-4)
    multipliers = dataclasses.replace(on_ticks.multipliers, row=rows)
    residuals = kkt_residuals(
        problem, on_ticks.x, on_ticks.linearisation, multipliers, on_ticks.ticks
    )
    assert residuals.worst > KKT_MAX


@pytest.mark.parametrize(
    ("x", "pull", "residual"),
    [
        (2.6e-6, 0.5, 0.0),  # pulled to a bound that ticks keep it off: at it
        (2.6e-6, 1.9e-6, 0.0),  # and so it is where the pull is as small as the distance
        (9.0e-6, 0.5, 5.0e-6),  # further off than ticks explain
        (9.0e-6, 1.9e-6, 1.9e-6),
        (2.6e-6, -1.9e-6, 1.9e-6),  # pulled away from it
        (0.5, 1.9e-6, 1.9e-6),  # in the middle of its bounds
        (-6.0e-6, 0.5, 2.0e-6),  # outside of them
    ],
)
def test_a_column_that_ticks_keep_off_its_bound_is_at_it(
    x: float, pull: float, residual: float
) -> None:
    one = np.ones(1)
    found = projected_gradient(x * one, pull * one, 0.0 * one, one, 4.0e-6 * one)
    assert found == pytest.approx(residual, abs=1e-12)
