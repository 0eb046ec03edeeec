"""Operating envelopes against their definition, by other engines than the one that made them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from data.errors import InputError
from opf.problems.envelopes import (
    Connections,
    Envelopes,
    FairnessRule,
    fill_progressively,
    operating_envelopes,
)
from opf.replay import ReplayReport, replay_violations
from tests.support.realtime_scenes import (
    NOON,
    load_by_node,
    rural_fleet,
    rural_grid,
    rural_limits,
    rural_monitored,
)

QUIET = 0.3  # share of the load that is sure to be there


def rural_connections(tan: float) -> Connections:
    fleet = rural_fleet()
    wants = np.where(np.arange(len(fleet.assets)) < fleet.plant_count, 0.0, fleet.rating_mw)
    return Connections(
        name=fleet.assets,
        bus=fleet.buses,
        import_mw=3.0 * wants,
        export_mw=fleet.rating_mw,
        tan_max=np.full(len(fleet.assets), tan),
    )


@cache
def shared(rule: FairnessRule, tan: float = 0.0) -> tuple[Connections, Envelopes]:
    at, connections = rural_monitored(), rural_connections(tan)
    background = (load_by_node(NOON, QUIET), load_by_node(NOON, 1.2))
    answer = operating_envelopes(at, background, connections, rule, np.zeros(len(at.limits)))
    return connections, answer


def use(connections: Connections, load_share: float, power: np.ndarray) -> ReplayReport:
    """What power-grid-model says of uses, shape (connections, columns) [MW + j Mvar]."""
    network = rural_grid().network
    monitored = rural_monitored()
    first = {int(node): row for row, node in reversed(list(enumerate(monitored.grid.bus_node)))}
    total = np.zeros((len(network.buses.index), power.shape[1]), dtype=complex)
    for node, value in enumerate(load_by_node(NOON, load_share)):
        if value:
            total[first[node]] += value
    row = {int(bus): k for k, bus in enumerate(network.buses.index)}
    for k, bus in enumerate(connections.bus):
        total[row[int(bus)]] += power[k]
    return replay_violations(network, rural_limits(), power.shape[1], total.real, total.imag)


def worst(report: ReplayReport) -> float:
    """Largest excess over a voltage limit [pu], or over a loading limit as a share of it."""
    return max(
        (abs(each.value - each.limit) / (1.0 if each.element_kind == "bus" else 100.0)
         for each in report.violations),
        default=0.0,
    )  # fmt: skip


@pytest.mark.parametrize(("rule", "tan"), [("max_min", 0.0), ("pro_rata", 0.0), ("max_min", 0.33)])
def test_any_use_inside_the_envelopes_keeps_the_limits(rule: FairnessRule, tan: float) -> None:
    connections, answer = shared(rule, tan)
    draw = np.random.default_rng(7)
    count, columns = len(connections.name), 120
    share = draw.choice([0.0, 1.0], size=(count, columns))
    share[:, columns // 2 :] = draw.random((count, columns // 2))
    share[:, :2] = 1.0
    turn = tan * draw.choice([-1.0, 1.0], size=(count, columns)) * np.ones((count, columns))
    turn[:, 0], turn[:, 1] = tan, -tan
    fed = share * answer.export.p_mw[:, None] * (1.0 + 1j * turn)
    assert worst(use(connections, QUIET, fed)) < 3e-5
    drawn = share * answer.draw.p_mw[:, None] * (-1.0 + 1j * turn)
    assert worst(use(connections, 1.2, drawn)) < 3e-5
    mixed = np.where(draw.random((count, columns)) < 0.5, fed, drawn)
    for load in (QUIET, 1.2):
        assert worst(use(connections, load, mixed)) < 3e-5


def test_the_rules_differ_as_their_definitions_do() -> None:
    connections, equal = shared("max_min")
    _, shares = shared("pro_rata")
    held = np.array([why != "request" for why in equal.export.held_by])
    by_limit = np.array(equal.export.held_by)
    for limit in set(by_limit[held]):
        same = by_limit == limit
        assert np.ptp(equal.export.p_mw[same]) < 1e-9
    part = shares.export.p_mw / connections.export_mw
    by_limit = np.array(shares.export.held_by)
    for limit in set(by_limit) - {"request"}:
        assert np.ptp(part[by_limit == limit]) < 1e-9
    met = np.array([why == "request" for why in equal.export.held_by])
    assert equal.export.p_mw[met] == pytest.approx(connections.export_mw[met])
    assert equal.export.p_mw.min() > shares.export.p_mw.min()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9), st.integers(2, 7), st.integers(1, 4))
def test_filling_is_max_min_by_another_solver(seed: int, size: int, limits: int) -> None:
    """For everybody held: a linear programme finds no more without taking from those with less."""
    draw = np.random.default_rng(seed)
    rows = (0.1 + 0.9 * draw.random((limits, size))) * (draw.random((limits, size)) < 0.7)
    room = draw.random(limits) * 3.0
    request, weights = draw.random(size) * 2.0, draw.choice([1.0, 1.0, 0.5, 2.0], size)
    x, stopped = fill_progressively(rows, room, request, weights)
    assert (rows @ x <= room + 1e-9).all()
    assert (x <= request + 1e-12).all()
    level = x / weights
    for row in np.flatnonzero(stopped >= 0):
        keep = level <= level[row] + 1e-9
        keep[row] = False
        goal = np.zeros(size)
        goal[row] = -1.0
        bounds = [(x[k] - 1e-9 if keep[k] else 0.0, request[k]) for k in range(size)]
        best = linprog(goal, A_ub=rows, b_ub=room + 1e-9, bounds=bounds)
        assert best.success
        assert -best.fun <= x[row] + 1e-6
    for row in np.flatnonzero((stopped < 0) & (weights > 0)):
        assert x[row] == pytest.approx(request[row])


def test_names_limits_that_are_broken_without_any_use() -> None:
    at, connections = rural_monitored(), rural_connections(0.0)
    fleet = rural_fleet()
    full = load_by_node(NOON, QUIET)
    np.add.at(full, at.nodes_of(fleet.buses), fleet.rating_mw + 0j)
    answer = operating_envelopes(at, (full, full), connections, "max_min", np.zeros(len(at.limits)))
    assert answer.export.background_breaks
    assert answer.export.p_mw[[why != "request" for why in answer.export.held_by]].max() == 0.0


def test_refuses_what_is_no_request() -> None:
    at, connections = rural_monitored(), rural_connections(0.0)
    connections = replace(connections, export_mw=connections.export_mw.copy())
    connections.export_mw[3] = np.nan
    connections.import_mw[4] = -1.0
    idle = load_by_node(NOON)
    with pytest.raises(InputError) as caught:
        operating_envelopes(at, (idle, idle), connections, "first_come", np.zeros(len(at.limits)))  # type: ignore[arg-type]
    text = str(caught.value)
    for part in ("first_come", connections.name[3], connections.name[4]):
        assert part in text
