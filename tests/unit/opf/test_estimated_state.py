"""The estimate of the state: nearer to the truth than what was expected, and in doubt by name."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import InputError
from opf.power_flow import AcState
from opf.problems.estimated_state import Measured, _measurement, estimate_state
from tests.support.realtime_scenes import NOON, load_by_node, rural_fleet, rural_monitored


def truth(seed: int) -> tuple[np.ndarray, np.ndarray, AcState]:
    """True injections, what was expected of the loads, and the true state."""
    at, fleet = rural_monitored(), rural_fleet()
    draw = np.random.default_rng(seed)
    devices = np.zeros(at.grid.node_count, dtype=complex)
    np.add.at(devices, at.nodes_of(fleet.buses), 0.5 * draw.random(len(fleet.assets)) + 0j)
    loads = load_by_node(NOON)
    wrong = loads * (1.0 + 0.3 * draw.standard_normal(len(loads)))
    return devices + wrong, devices + loads, at.state(devices + wrong)


def measured(state: AcState, seed: int, every: int = 2) -> Measured:
    draw = np.random.default_rng(seed)
    nodes = np.arange(1, state.v.shape[0], every)
    noise = 5e-4 * draw.standard_normal(len(nodes))
    return Measured(nodes=nodes, vm_pu=np.abs(state.v[nodes, 0]) + noise,
                    exchange=complex(state.exchange[0]))  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_comes_nearer_to_voltages_that_nobody_measured(seed: int) -> None:
    at = rural_monitored()
    true, expected, state = truth(seed)
    deviation = 0.3 * np.abs((expected - true).real) + 0.3 * np.abs(load_by_node(NOON).real)
    found = estimate_state(at, expected, deviation, measured(state, seed))
    unmeasured = np.arange(2, state.v.shape[0], 2)

    def off(of: AcState) -> float:
        return float(np.abs(np.abs(of.v) - np.abs(state.v))[unmeasured].max())

    assert off(found.state) < 0.5 * off(at.state(expected))
    assert abs(found.state.exchange[0] - state.exchange[0]) < 0.2
    assert found.suspects == ()
    known = deviation == 0.0
    assert np.array_equal(found.injection[known], expected[known])


def test_leaves_out_and_names_a_reading_that_fits_nothing() -> None:
    at = rural_monitored()
    true, expected, state = truth(1)
    readings = measured(state, 1)
    vm = readings.vm_pu.copy()
    vm[7] += 0.05
    lying = Measured(nodes=readings.nodes, vm_pu=vm, exchange=readings.exchange)
    found = estimate_state(at, expected, 0.3 * np.abs(load_by_node(NOON).real), lying)
    assert int(readings.nodes[7]) in found.suspects
    assert np.abs(np.abs(found.state.v) - np.abs(state.v)).max() < 1.5e-3
    assert np.isfinite(true).all()


def test_gradients_of_measurements_are_those_of_finite_differences() -> None:
    at = rural_monitored()
    _, expected, _ = truth(2)
    nodes = np.array([5, 40])
    value, jacobian = _measurement(at, at.state(expected), nodes, exchange=True)
    step, count = 1e-4, len(expected)
    for node in (3, 17, 60):
        for column, move in ((node, step), (count + node, 1j * step)):
            ends = []
            for sign in (1.0, -1.0):
                moved = expected.copy()
                moved[node] += sign * move
                state = at.state(moved)
                power = complex(state.exchange[0])
                ends.append(np.array([*np.abs(state.v[nodes, 0]), power.real, power.imag]))
            slope = (ends[0] - ends[1]) / (2.0 * step)
            assert jacobian[:, column] == pytest.approx(slope, abs=1e-6)
    assert len(value) == 4


def test_without_readings_nothing_is_changed_and_nan_is_refused() -> None:
    at = rural_monitored()
    _, expected, _ = truth(3)
    none = Measured(nodes=np.zeros(0, dtype=np.int64), vm_pu=np.zeros(0), exchange=None)
    found = estimate_state(at, expected, np.ones(len(expected)), none)
    assert np.array_equal(found.injection, expected)
    spoilt = Measured(nodes=np.array([4]), vm_pu=np.array([np.nan]), exchange=complex(np.nan, 0))
    deviation = np.ones(len(expected))
    deviation[9] = -1.0
    with pytest.raises(InputError) as caught:
        estimate_state(at, expected, deviation, spoilt)
    for part in ("node 4", "node 9", "exchange"):
        assert part in str(caught.value)
