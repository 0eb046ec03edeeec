"""Taps and capacitor banks: two ways to the best positions agree, prices are those of the fixed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest

from data.errors import InputError
from data.records.clearing import ClearingCase
from data.records.network import Network, Shunts
from opf.problems.taps import (
    Pricer,
    at_positions,
    bank_control,
    position_gradient,
    relax_and_round,
    sweep,
    tap_controls,
)
from tests.support.cases import generation, library_network, make_case, storage

SUN = np.array([0.0, 0.3, 0.8, 1.0, 0.5, 0.0])
PRICE = np.array([40.0, 30.0, 10.0, -5.0, 50.0, 80.0])
LOAD = np.array([0.6, 0.7, 0.8, 0.7, 1.0, 1.2])


def day_of(network: Network, size_mw: float, **limits: float) -> ClearingCase:
    """Six hours with PV at the last bus and a battery near it."""
    last, before = (int(bus) for bus in network.buses.index[[-1, -3]])
    return make_case(
        network,
        [
            generation("pv", last, size_mw * SUN, 5.0, 6),
            storage("battery", before, p_mw=size_mw / 4, energy_mwh=size_mw / 2, periods=6,
                    throughput=1.0),
        ],
        price=PRICE,
        periods=6,
        load_scale=LOAD,
        **({"vm_pu_min": 0.95, "vm_pu_max": 1.05} | limits),
    )  # fmt: skip


def with_banks(network: Network, buses: list[int]) -> Network:
    """Capacitor banks that are off."""
    count = len(buses)
    shunts = Shunts(
        index=np.arange(count),
        bus=np.array(buses),
        p_mw=np.zeros(count),
        q_mvar=np.zeros(count),
        in_service=np.ones(count, dtype=bool),
    )
    return dataclasses.replace(network, shunts=shunts)


def open_ring() -> Pricer:
    network = library_network("simple_mv_open_ring_net")
    return Pricer(day_of(network, 3.0), tap_controls(network))


def village() -> Pricer:
    network = library_network("create_synthetic_voltage_control_lv_network")
    return Pricer(day_of(network, 0.05), tap_controls(network))


def banks() -> Pricer:
    network = with_banks(library_network("case33bw", slack_vm_pu=1.0), [29, 12])
    controls = (bank_control(network, 0, -0.3, 4), bank_control(network, 1, -0.2, 3))
    return Pricer(day_of(network, 1.0, vm_pu_min=0.915), controls)


@pytest.mark.parametrize(
    "make",
    [open_ring, *(pytest.param(make, marks=pytest.mark.long) for make in (village, banks))],
)
def test_sweep_and_relaxation_agree_within_a_thousandth(make: Callable[[], Pricer]) -> None:
    every, few = make(), make()
    swept, relaxed = sweep(every, 100), relax_and_round(few)
    assert swept.status == relaxed.status == "certified"
    assert relaxed.whole
    assert relaxed.total_eur == pytest.approx(swept.total_eur, rel=1e-3)
    # the positions matter: the worst of the sweep is farther away than the two methods may differ
    worst = max(trial.total_eur for trial in every.trials.values())
    assert worst > swept.total_eur + 2e-3 * abs(swept.total_eur)
    count = math.prod(control.last - control.first + 1 for control in every.controls)
    assert len(every.trials) == count


@pytest.mark.parametrize(("make", "positions"), [(open_ring, (1.3,)), (banks, (1.4, 0.0))])
def test_gradient_equals_the_change_of_clearings(
    make: Callable[[], Pricer], positions: tuple[float, ...]
) -> None:
    pricer = make()
    gradient = position_gradient(pricer, positions)
    for k, position in enumerate(positions):
        low, high = max(position - 5e-3, 0.0), position + 5e-3
        change = [
            pricer.price((*positions[:k], end, *positions[k + 1 :])).total_eur
            for end in (low, high)
        ]
        expected = (change[1] - change[0]) / (high - low)
        assert gradient[k] == pytest.approx(expected, rel=1e-2, abs=1e-4)


def test_one_position_changes_ratio_and_nothing_else() -> None:
    network = library_network("simple_mv_open_ring_net")
    controls = tap_controls(network)
    assert [(c.trafos, c.first, c.last, c.present) for c in controls] == [((0,), -9, 9, 0.0)]
    moved = at_positions(network, controls, (2.0,))
    assert moved.trafos.ratio_hv[0] == pytest.approx(1.03)
    assert moved.trafos.shift_degree[0] == network.trafos.shift_degree[0]
    with pytest.raises(InputError, match="tap_pos is 10"):
        at_positions(network, controls, (10.0,))


def test_parallel_transformers_move_together_or_are_refused() -> None:
    import pandapower.networks

    from data.readers.pandapower_net import network_from_pandapower

    net = pandapower.networks.simple_mv_open_ring_net()
    net.trafo.loc[1] = net.trafo.loc[0]
    (control,) = tap_controls(network_from_pandapower(net, "twins"))
    assert control.trafos == (0, 1)
    moved = at_positions(network_from_pandapower(net, "twins"), [control], (-3.0,))
    assert moved.trafos.ratio_hv.tolist() == pytest.approx([0.955, 0.955])
    net.trafo.loc[1, "tap_pos"] = 1
    with pytest.raises(InputError, match="trafo 0, 1: are parallel and their tap positions"):
        tap_controls(network_from_pandapower(net, "twins"))


def test_too_many_combinations_are_refused_before_any_clearing() -> None:
    pricer = open_ring()
    with pytest.raises(InputError, match="19 combinations of positions, more than 18"):
        sweep(pricer, 18)
    assert pricer.trials == {}


def test_a_bank_that_is_none_is_refused() -> None:
    network = library_network("case33bw")
    with pytest.raises(InputError) as refused:
        bank_control(network, 3, 0.0, 0)
    assert len(refused.value.problems) == 2
