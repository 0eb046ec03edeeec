"""Hosting capacities against bisection in pandapower, which shares no code with the search."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.simbench_cases import SUNNY, WINTER, simbench_case
from data.periods import Periods
from data.records.clearing import ClearingCase
from opf.problems.hosting import Addition, hosting_capacities, hosting_with_market
from tests.support.cases import library_network, make_case, storage
from tests.support.pandapower_state import pandapower_net, set_powers, solves, within_limits


def at_quarter_hours(case: ClearingCase, rows: list[int]) -> ClearingCase:
    """Some quarter-hours of a day as a case of their own."""
    return dataclasses.replace(
        case,
        periods=Periods(start=case.periods.start, count=len(rows)),
        load_p_mw=case.load_p_mw[rows],
        load_q_mvar=case.load_q_mvar[rows],
        sgen_p_mw=case.sgen_p_mw[rows],
        sgen_q_mvar=case.sgen_q_mvar[rows],
        import_price_eur_per_mwh=case.import_price_eur_per_mwh[rows],
        orders=(),
    )


def bisect(holds: Callable[[float], bool], low: float, high: float, tick: float) -> float:
    """The last size that holds, to a tick; ``low`` holds and ``high`` does not."""
    while high - low > tick:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def pandapower_capacity(
    nets: list[Any], case: ClearingCase, bus: int, injection: list[float], high: float, tick: float
) -> float:
    """Bisection over pandapower power flows of every period, one network each."""
    import pandapower

    added = [pandapower.create_sgen(net, bus, p_mw=0.0) for net in nets]

    def holds(size: float) -> bool:
        for net, sgen, share in zip(nets, added, injection, strict=True):
            net.sgen.loc[sgen, "p_mw"] = size * share
            if not solves(net) or not within_limits(net, case):
                return False
        return True

    try:
        return bisect(holds, 0.0, high, tick)
    finally:
        for net, sgen in zip(nets, added, strict=True):
            net.sgen.drop(sgen, inplace=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "day", "injection", "rows", "count", "high", "tick"),
    [
        pytest.param(
            "1-MV-rural--0-sw", SUNNY, [0.9, 0.0], [54, 20], 20, 25.6, 0.1, marks=pytest.mark.long
        ),
        ("1-LV-semiurb4--0-sw", WINTER, [-0.8, -0.4], [74, 48], 6, 0.512, 0.002),
    ],
)
def test_buses_host_what_pandapower_finds(
    code: str, day: Any, injection: list[float], rows: list[int], count: int, high: float,
    tick: float,
) -> None:  # fmt: skip
    case = at_quarter_hours(simbench_case(code, day), rows)
    # wider than SimBench's own 1.055 pu, which the medium voltage exceeds without a market
    wide = np.full(len(case.network.buses.index), 1.1)
    case = dataclasses.replace(case, limits=dataclasses.replace(case.limits, vm_pu_max=wide))
    possible = [int(b) for b in case.network.buses.index if int(b) != case.network.slack_bus]
    buses = [possible[k] for k in np.linspace(3, len(possible) - 1, count).astype(int)]
    addition = Addition(injection=np.array(injection, dtype=complex), tick_mw=tick)
    found = hosting_capacities(case, addition, buses)
    net = pandapower_net(f"simbench:{code}")
    nets = [copy.deepcopy(net) for _ in rows]
    for period, own in enumerate(nets):
        set_powers(own, case, period)
    for capacity in found:
        expected = pandapower_capacity(nets, case, capacity.bus, injection, high, tick)
        assert abs(capacity.capacity_mw - expected) <= tick * (1 + 1e-9), capacity
    sizes = np.array([capacity.capacity_mw for capacity in found])
    assert sizes.min() > 0
    assert len(np.unique(sizes)) >= 5, "the buses must differ for this to say anything"


def test_one_more_tick_breaks_the_limit_that_is_named() -> None:
    network = library_network("case33bw", slack_vm_pu=1.0)
    case = make_case(network, [], periods=2, vm_pu_min=0.85, vm_pu_max=1.05,
                     line_loading_percent_max=1e5)  # fmt: skip
    addition = Addition(injection=np.array([0.5, 1.0]) + 0j, tick_mw=0.01)
    (found,) = hosting_capacities(case, addition, [17])
    net = pandapower_net("pandapower:case33bw")
    net.ext_grid["vm_pu"] = 1.0
    import pandapower

    added = pandapower.create_sgen(net, 17, p_mw=found.capacity_mw)
    assert solves(net)
    assert net.res_bus.vm_pu.max() <= 1.05
    net.sgen.loc[added, "p_mw"] = found.capacity_mw + 0.01
    assert solves(net)
    assert net.res_bus.vm_pu.max() > 1.05
    reached = found.reached
    assert reached is not None
    assert (reached.element_kind, reached.side, reached.period) == ("bus", "upper", 1)
    assert reached.element == int(net.res_bus.vm_pu.idxmax())
    assert reached.value == pytest.approx(float(net.res_bus.vm_pu.max()), abs=1e-7)


def test_a_line_is_named_with_its_loading_and_its_limit_in_percent() -> None:
    network = library_network("case33bw", slack_vm_pu=1.0)
    max_i_ka = np.full(len(network.lines.index), 0.4)
    lines = dataclasses.replace(network.lines, max_i_ka=max_i_ka)
    case = make_case(dataclasses.replace(network, lines=lines), [], line_loading_percent_max=60.0)
    (found,) = hosting_capacities(case, Addition(injection=-np.ones(1) + 0j, tick_mw=0.01), [21])
    net = pandapower_net("pandapower:case33bw")
    net.ext_grid["vm_pu"], net.line["max_i_ka"] = 1.0, 0.4
    import pandapower

    pandapower.create_load(net, 21, p_mw=found.capacity_mw + 0.01)
    assert solves(net)
    reached = found.reached
    assert reached is not None
    fullest = int(net.res_line.loading_percent.idxmax())
    assert (reached.element_kind, reached.element) == ("line", fullest)
    assert reached.value == pytest.approx(float(net.res_line.loading_percent.max()), abs=1e-5)
    assert (reached.limit, reached.value > 60.0) == (60.0, True)


def test_nothing_is_hosted_where_a_limit_is_broken_already() -> None:
    network = library_network("case33bw", slack_vm_pu=1.0)
    case = make_case(network, [], vm_pu_min=0.95)
    (found,) = hosting_capacities(case, Addition(injection=np.ones(1) + 0j, tick_mw=0.01), [17])
    assert found.capacity_mw == 0
    assert found.reached is not None
    assert (found.reached.element, found.reached.side) == (17, "lower")


def test_a_battery_makes_room_for_what_the_grid_alone_cannot_host() -> None:
    network = library_network("case33bw", slack_vm_pu=1.0)
    periods = 4
    battery = storage("battery", 17, p_mw=0.5, energy_mwh=2.0, periods=periods, start=0.25)
    case = make_case(network, [battery], periods=periods, vm_pu_min=0.85, vm_pu_max=1.05)
    sun = np.array([0.0, 0.5, 1.0, 0.0])
    addition = Addition(injection=sun + 0j, tick_mw=0.05)
    (alone,) = hosting_capacities(case, addition, [17])
    with_market = hosting_with_market(case, addition, 17, from_mw=alone.capacity_mw)
    # at noon the battery takes 0.5 MW of what is too much; in the hour before, half counts
    assert with_market == pytest.approx(alone.capacity_mw + 0.5, abs=0.05 + 1e-9)
