"""The one-minute correction: least cost by enumeration in another engine, quick, and honest."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from data.errors import InputError
from opf.problems.correction import Units, correct_setpoints
from opf.replay import replay_violations
from tests.support.realtime_scenes import (
    NOON,
    load_by_node,
    rural_fleet,
    rural_grid,
    rural_limits,
    rural_monitored,
)


def all_units(share: float) -> Units:
    """Every device of the feeder; plants want a share of their rating, storages rest."""
    fleet = rural_fleet()
    count, total = fleet.plant_count, len(fleet.assets)
    plants = np.arange(total) < count
    tan = np.where(fleet.rating_mw > 1.0, 0.3287, 0.0)
    return Units(
        name=fleet.assets,
        bus=fleet.buses,
        p_mw=np.where(plants, share * fleet.rating_mw, 0.0),
        q_mvar=np.zeros(total),
        p_mw_min=np.where(plants, 0.0, -fleet.rating_mw),
        p_mw_max=np.where(plants, share * fleet.rating_mw, fleet.rating_mw),
        q_mvar_min=-tan * fleet.rating_mw,
        q_mvar_max=tan * fleet.rating_mw,
        tan_max=np.where(tan > 0.0, tan, np.inf),
        up_eur_per_mwh=np.where(plants, 30.0, 5.0),
        down_eur_per_mwh=np.where(plants, 30.0, 5.0),
        var_eur_per_mvarh=np.ones(total),
    )


def chosen(units: Units, rows: list[int]) -> Units:
    """Some of the units."""
    fields: dict[str, Any] = {
        name: getattr(units, name)[rows] for name in Units.__dataclass_fields__ if name != "name"
    }
    return Units(name=tuple(units.name[row] for row in rows), **fields)


def broken_elsewhere(injection: np.ndarray) -> np.ndarray:
    """Whether power-grid-model finds a broken limit in each column of bus injections."""
    columns = injection.shape[1]
    report = replay_violations(
        rural_grid().network, rural_limits(), columns, injection.real, injection.imag
    )
    bad = np.zeros(columns, dtype=bool)
    for each in report.violations:
        tolerance = 2e-5 if each.element_kind == "bus" else 2e-2
        bad[each.period] |= abs(each.value - each.limit) > tolerance
    return bad


def bus_injection(units: Units, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Injection by bus of loads at noon and units, shape (buses, columns)."""
    network, monitored = rural_grid().network, rural_monitored()
    first = {int(node): row for row, node in reversed(list(enumerate(monitored.grid.bus_node)))}
    total = np.zeros((len(network.buses.index), p.shape[1]), dtype=complex)
    for node, value in enumerate(load_by_node(NOON)):
        if value:
            total[first[node]] += value
    row = {int(bus): k for k, bus in enumerate(network.buses.index)}
    for k, bus in enumerate(units.bus):
        total[row[int(bus)]] += p[k] + 1j * q[k]
    return total


def test_costs_least_of_all_points_of_a_grid_in_another_engine() -> None:
    at, units = rural_monitored(), all_units(1.0)
    wind = np.argsort(-units.p_mw_max)[:2].tolist()
    rest = [row for row in range(len(units)) if row not in wind]
    two = replace(
        chosen(units, wind),
        q_mvar_min=np.zeros(2),
        q_mvar_max=np.zeros(2),
        down_eur_per_mwh=np.array([30.0, 45.0]),
    )
    other = load_by_node(NOON)
    np.add.at(other, at.nodes_of(units.bus[rest]), 0.42 * units.p_mw[rest] + 0j)
    answer = correct_setpoints(at, other, two, at.margins(0.0, 0.0))
    assert answer.before, "the case must break a limit"
    assert answer.unmended == ()

    steps = 61
    grid = np.stack(
        np.meshgrid(*(np.linspace(0.0, high, steps) for high in two.p_mw_max)), axis=0
    ).reshape(2, -1)
    everything = Units(
        name=two.name + tuple(units.name[row] for row in rest),
        **{
            name: np.concatenate([getattr(two, name), getattr(units, name)[rest]])
            for name in Units.__dataclass_fields__
            if name != "name"
        },
    )
    others = np.repeat(0.42 * units.p_mw[rest][:, None], grid.shape[1], axis=1)
    p = np.vstack([grid, others])
    fine = ~broken_elsewhere(bus_injection(everything, p, np.zeros_like(p)))
    cost = two.down_eur_per_mwh @ (two.p_mw[:, None] - grid)
    best = float(cost[fine].min())
    step_cost = float(two.down_eur_per_mwh @ (two.p_mw_max / (steps - 1)))
    assert best - step_cost <= answer.cost_eur_per_h <= best + 1e-6
    own = np.vstack([answer.p_mw[:, None], others[:, :1]])
    assert not broken_elsewhere(bus_injection(everything, own, np.zeros_like(own)))[0]


@pytest.mark.parametrize("share", [0.5, 0.7, 1.0])
def test_brings_a_whole_feeder_back_within_its_margin(share: float) -> None:
    at, units = rural_monitored(), all_units(share)
    margin = at.margins(0.002, 1.0)
    other = load_by_node(NOON)
    answer = correct_setpoints(at, other, units, margin)
    took = []
    for _ in range(3):
        began = time.process_time()
        correct_setpoints(at, other, units, margin)
        took.append(time.process_time() - began)
    assert min(took) < 0.3
    assert len(answer.before) > 3
    assert answer.unmended == ()
    assert answer.binding
    np.add.at(other, at.nodes_of(units.bus), answer.p_mw + 1j * answer.q_mvar)
    over = at.values(at.state(other))[:, 0] - (at.limits.maximum - margin)
    assert (over <= 2 * at.tolerance).all()
    p, q = answer.p_mw[:, None], answer.q_mvar[:, None]
    assert not broken_elsewhere(bus_injection(units, p, q))[0]
    assert (answer.p_mw >= units.p_mw_min - 1e-6).all()
    assert (answer.p_mw <= units.p_mw_max + 1e-6).all()
    turned = np.isfinite(units.tan_max)
    room = units.tan_max[turned] * np.abs(answer.p_mw[turned])
    assert (np.abs(answer.q_mvar[turned]) <= room + 2e-6).all()


def test_leaves_everybody_alone_where_nothing_is_near_a_limit() -> None:
    at, units = rural_monitored(), all_units(0.1)
    answer = correct_setpoints(at, load_by_node(NOON), units, at.margins(0.002, 1.0))
    assert not answer.changed.any()
    assert (answer.before, answer.unmended, answer.rounds) == ((), (), 0)


def test_names_what_it_cannot_mend() -> None:
    at, units = rural_monitored(), all_units(1.0)
    stuck = replace(units, p_mw_min=units.p_mw, p_mw_max=units.p_mw, q_mvar_min=units.q_mvar,
                    q_mvar_max=units.q_mvar)  # fmt: skip
    answer = correct_setpoints(at, load_by_node(NOON), stuck, at.margins(0.0, 0.0))
    assert {each.element for each in answer.unmended} == {each.element for each in answer.before}
    worst = answer.unmended[0]
    assert worst.element_kind == "bus"
    assert worst.value > worst.limit
    assert worst.mw_short > 0.0
    some = replace(stuck, p_mw_min=np.where(units.p_mw > 1.0, 0.9 * units.p_mw, units.p_mw))
    less = correct_setpoints(at, load_by_node(NOON), some, at.margins(0.0, 0.0))
    assert 0.0 < less.unmended[0].mw_short < worst.mw_short


def test_lists_all_that_is_wrong_with_its_input() -> None:
    at, units = rural_monitored(), all_units(0.5)
    p = units.p_mw.copy()
    p[3] = np.nan
    low = units.p_mw_min.copy()
    low[5] = units.p_mw_max[5] + 1.0
    other = load_by_node(NOON)
    other[2] = np.inf
    faulty = replace(units, p_mw=p, p_mw_min=low, name=(units.name[1], *units.name[1:]))
    with pytest.raises(InputError) as caught:
        correct_setpoints(at, other, faulty, at.margins(0.0, 0.0))
    text = str(caught.value)
    for part in (units.name[1], units.name[3], units.name[5], "other"):
        assert part in text
