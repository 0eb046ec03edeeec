"""The shed list: sufficient and irreducible by another engine, in the order of its rule."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from data.errors import InputError
from data.periods import Periods
from data.readers.simbench import profiles_for
from opf.problems.shed import SHED_RULES, Sheddable, ShedRule, shed_list
from opf.replay import replay_violations
from tests.support.realtime_scenes import rural_grid, rural_limits, rural_monitored

WINTER = datetime(2016, 1, 19, 17, 0, tzinfo=UTC)
TOO_MUCH = 4.5  # times the load of a winter evening: beyond what the feeder carries


def candidates() -> Sheddable:
    grid = rural_grid()
    loads = grid.network.loads
    recorded = profiles_for(grid, Periods(start=WINTER, count=1))
    drawn = TOO_MUCH * (recorded.load_p_mw[0] + 1j * recorded.load_q_mvar[0])
    count = len(loads.index)
    draw = np.random.default_rng(3)
    return Sheddable(
        name=tuple(f"load:{index}" for index in loads.index),
        bus=loads.bus,
        injection=-drawn,
        priority=draw.permutation(count),
        times_shed=draw.integers(0, 3, count),
    )


def breaks(of: Sheddable, off: np.ndarray) -> np.ndarray:
    """Whether power-grid-model finds a broken limit, for each column of who is off."""
    network = rural_grid().network
    row = {int(bus): k for k, bus in enumerate(network.buses.index)}
    total = np.zeros((len(row), off.shape[1]), dtype=complex)
    for k, bus in enumerate(of.bus):
        total[row[int(bus)]] += of.injection[k] * ~off[k]
    report = replay_violations(network, rural_limits(), off.shape[1], total.real, total.imag)
    bad = np.zeros(off.shape[1], dtype=bool)
    for each in report.violations:
        tolerance = 1e-5 if each.element_kind == "bus" else 1e-2
        bad[each.period] |= abs(each.value - each.limit) > tolerance
    return bad


@pytest.mark.parametrize("rule", SHED_RULES)
def test_is_sufficient_and_nobody_on_it_can_be_left_out(rule: ShedRule) -> None:
    at, of = rural_monitored(), candidates()
    injection = np.zeros(at.grid.node_count, dtype=complex)
    np.add.at(injection, at.nodes_of(of.bus), of.injection)
    answer = shed_list(at, injection, of, rule)
    assert answer.before
    assert answer.solved
    assert answer.unmended == ()
    taken = answer.taken.tolist()
    assert 0 < len(taken) < len(of.name)
    off = np.zeros((len(of.name), len(taken) + 1), dtype=bool)
    off[taken] = True
    for column, row in enumerate(taken):
        off[row, column] = False
    assert breaks(of, off).tolist() == [True] * len(taken) + [False]
    rank = of.priority if rule == "priority" else of.times_shed
    order = sorted(range(len(rank)), key=lambda k: (rank[k], of.name[k]))
    place = [order.index(row) for row in taken]
    assert place == sorted(place)
    # whoever stands before the last of the list was taken or would not have helped
    assert set(order[: place[-1] + 1]) == set(taken) | set(answer.spared.tolist())


def test_rotates_those_who_were_shed_before_to_the_end() -> None:
    at, of = rural_monitored(), candidates()
    injection = np.zeros(at.grid.node_count, dtype=complex)
    np.add.at(injection, at.nodes_of(of.bus), of.injection)
    first = shed_list(
        at, injection, replace(of, times_shed=np.zeros(len(of.name), int)), "rotating"
    )
    times = np.zeros(len(of.name), int)
    times[first.taken] = 1
    second = shed_list(at, injection, replace(of, times_shed=times), "rotating")
    assert second.unmended == ()
    assert not set(first.taken.tolist()) & set(second.taken.tolist())


def test_sheds_nobody_where_nothing_is_broken_and_says_what_stays_broken() -> None:
    at, of = rural_monitored(), candidates()
    nothing = shed_list(at, np.zeros(at.grid.node_count, dtype=complex), of, "priority")
    assert len(nothing.taken) == 0
    injection = np.zeros(at.grid.node_count, dtype=complex)
    np.add.at(injection, at.nodes_of(of.bus), of.injection)
    few = Sheddable(
        name=of.name[:2], bus=of.bus[:2], injection=of.injection[:2], priority=of.priority[:2],
        times_shed=of.times_shed[:2],
    )  # fmt: skip
    short = shed_list(at, injection, few, "priority")
    assert sorted(short.taken.tolist()) == [0, 1]
    assert short.unmended


def test_refuses_unknown_rules_and_candidates_that_are_no_numbers() -> None:
    at, of = rural_monitored(), candidates()
    of.injection[4] = np.nan
    with pytest.raises(InputError, match="load:4") as caught:
        shed_list(at, np.zeros(at.grid.node_count, dtype=complex), of, "loudest")  # type: ignore[arg-type]
    assert "loudest" in str(caught.value)
