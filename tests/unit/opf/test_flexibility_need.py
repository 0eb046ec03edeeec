"""Need and room of congestion points against full power flows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from data.records.clearing import ClearingCase
from opf.limits import limit_values
from opf.power_flow import solve_state
from opf.problems.flexibility_need import ROOM_MAX_MW, bus_effects, point_need
from opf.problems.scenario_limits import ExpectedGrid, expected_grid
from tests.support.cases import library_network, make_case

LINE = 5


@pytest.fixture(scope="module")
def case() -> ClearingCase:
    """case33bw with a rating on one line and voltage limits."""
    network = library_network("case33bw", slack_vm_pu=1.0)
    rating = np.full(len(network.lines.index), 1e6)
    made = make_case(network, [], periods=3, vm_pu_min=0.9, vm_pu_max=1.05,
                     load_scale=np.array([1.0, 0.8, 0.5]))  # fmt: skip
    loading = expected_grid(made).state.current_from[LINE]
    limit = made.limits.line_loading_percent_max * 0 + rating
    limit[LINE] = 1e2
    lines = dataclasses.replace(made.limits, line_loading_percent_max=limit)
    probe = dataclasses.replace(made, limits=lines)
    unlimited = expected_grid(probe).limits
    row = next(
        k for k in range(len(unlimited))
        if (unlimited.element_kind[k], int(unlimited.element[k])) == ("line", LINE)
    )  # fmt: skip
    limit[LINE] = 100.0 * 0.9 * abs(loading[0]) / unlimited.maximum[row]
    return dataclasses.replace(
        made, limits=dataclasses.replace(made.limits, line_loading_percent_max=limit)
    )


def _over(expected: ExpectedGrid, bus: int, power_mw: np.ndarray) -> np.ndarray:
    """How far each limit is exceeded with more injection at a bus, by full power flows."""
    injection = expected.state.injection.copy()
    injection[int(expected.grid.bus_node[bus])] += power_mw
    state = solve_state(expected.solver, injection, expected.state)
    return np.asarray(limit_values(expected.limits, state) - expected.limits.maximum[:, None])


def _shares(bus: int) -> np.ndarray:
    return np.eye(33)[bus]


@pytest.mark.parametrize("bus", [12, 16])
def test_the_need_at_a_point_relieves_its_line(case: ClearingCase, bus: int) -> None:
    expected = expected_grid(case)
    over = np.maximum(_over(expected, bus, np.zeros(3)), 0.0)
    line = [kind == "line" for kind in expected.limits.element_kind]
    assert np.any(over[line] > 0.0)
    # MW at the best bus, by finite differences at every bus
    slope = np.max(
        [np.abs(_over(expected, k, np.full(3, 1e-3)) - _over(expected, k, np.zeros(3))) / 1e-3
         for k in range(1, 33)], axis=0,
    )  # fmt: skip
    need = np.divide(over, slope, out=np.zeros_like(over), where=over > 0.0)
    found = point_need(expected, frozenset({("line", LINE)}), _shares(bus), need)
    assert found.need_mw[0] > 0.0
    assert np.all(found.need_mw[1:] == 0.0)
    assert found.unserved == found.contradicting == ()
    after = np.maximum(_over(expected, bus, found.need_mw), 0.0)
    # to first order: what is left is second order in the step
    assert np.all(after[line] <= 0.1 * over[line].max())


def test_a_point_beside_the_line_does_not_serve_it(case: ClearingCase) -> None:
    expected = expected_grid(case)
    over = np.maximum(expected.values - expected.limits.maximum[:, None], 0.0)
    found = point_need(expected, frozenset({("line", LINE)}), _shares(20), over)
    assert np.all(found.need_mw == 0.0)
    assert len(found.unserved) >= 1


@pytest.mark.parametrize("bus", [12, 20, 32])
def test_room_ends_where_the_first_limit_is_met(case: ClearingCase, bus: int) -> None:
    expected = expected_grid(case)
    found = point_need(
        expected, frozenset({("line", LINE)}), _shares(bus), np.zeros_like(expected.values)
    )
    for sign, room in ((1.0, found.room_inject_mw), (-1.0, found.room_withdraw_mw)):
        inside = np.all(expected.values <= expected.limits.maximum[:, None], axis=0)
        assert np.all((room > 0.0) == inside)
        assert np.all(room < ROOM_MAX_MW)
        within = _over(expected, bus, sign * 0.75 * room)[:, inside]
        assert np.all(within <= 0.0)
        # voltages are taken linear, over megawatts here: a full power flow meets the limit later
        beyond = _over(expected, bus, sign * 1.4 * room)[:, inside]
        assert np.all(beyond.max(axis=0) > 0.0)


def test_effects_are_relative_slopes_of_the_nearest_limit(case: ClearingCase) -> None:
    expected = expected_grid(case)
    effects = bus_effects(
        expected, frozenset({("line", LINE)}), [_shares(12), _shares(28), _shares(20)]
    )
    line = [
        k for k, kind in enumerate(expected.limits.element_kind)
        if kind == "line" and expected.limits.element[k] == LINE
    ]  # fmt: skip
    base = _over(expected, 12, np.zeros(3))[line].max(axis=0)[0]
    for bus, effect in zip((12, 28, 20), effects, strict=True):
        moved = _over(expected, bus, np.full(3, 1e-3))[line].max(axis=0)[0]
        assert effect == pytest.approx((moved - base) / 1e-3, rel=1e-2, abs=1e-6)
