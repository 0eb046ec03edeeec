"""Every outage and every tie that helps, against pandapower's topology and power flow."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from benchmarks.simbench_cases import SUNNY, simbench_case
from data.records.clearing import ClearingCase
from opf.problems.contingency import (
    Restoration,
    Switched,
    list_branches,
    run_contingencies,
)
from tests.reference.opf.test_hosting_capacity import at_quarter_hours
from tests.support.cases import library_network, make_case
from tests.support.pandapower_state import pandapower_net, set_powers, solves


def run_all(case: ClearingCase) -> tuple[tuple[Switched, ...], tuple[Restoration, ...]]:
    branches = list_branches(case.network)
    ties = tuple(branch for branch, closed in branches if not closed)
    return ties, run_contingencies(case, ties, tuple(b for b, closed in branches if closed))


def switch(net: Any, branch: Switched, *, closed: bool) -> None:
    """Open or close a line or transformer of pandapower's network, with its switches."""
    table = net.line if branch.kind == "line" else net.trafo
    table.loc[branch.element, "in_service"] = closed
    if closed:
        kind = "l" if branch.kind == "line" else "t"
        at = (net.switch.et == kind) & (net.switch.element == branch.element)
        net.switch.loc[at, "closed"] = True


def seen_by_pandapower(
    net: Any, case: ClearingCase, row: Restoration
) -> tuple[set[int], list[tuple[float, float, float]]] | None:
    """Dark buses, and lowest and highest voltage and highest loading of every period.

    None where pandapower finds no power flow.
    """
    from pandapower.topology import unsupplied_buses

    switch(net, row.outage, closed=False)
    if row.tie is not None:
        switch(net, row.tie, closed=True)
    dark = {int(bus) for bus in unsupplied_buses(net)}
    states = []
    for period in range(len(case.periods)):
        set_powers(net, case, period)
        if not solves(net):
            return None
        vm = net.res_bus.vm_pu.to_numpy()
        inside = np.isfinite(vm) & (np.abs(vm - case.network.slack_vm_pu) > 1e-12)
        loading = [net.res_line.loading_percent.max(), net.res_trafo.loading_percent.max(), 0.0]
        if inside.any():
            states.append((vm[inside].min(), vm[inside].max(), float(np.nanmax(loading))))
    return dark, states


def assert_as_pandapower(net: Any, case: ClearingCase, row: Restoration) -> None:
    seen = seen_by_pandapower(net, case, row)
    assert row.solved == (seen is not None)
    if seen is None:
        return
    dark, states = seen
    assert set(row.dark) == dark
    if len(dark) == len(case.network.buses.index) - 1:
        assert row.vm_min is None
        return
    assert row.vm_min is not None
    assert row.vm_max is not None
    assert row.loading_max is not None
    assert row.vm_min.value == pytest.approx(min(s[0] for s in states), abs=2e-6)
    assert row.vm_max.value == pytest.approx(max(s[1] for s in states), abs=2e-6)
    assert row.loading_max.value == pytest.approx(max(s[2] for s in states), rel=2e-5)


def test_every_branch_exchange_of_case33bw() -> None:
    case = make_case(library_network("case33bw"), [], vm_pu_min=0.9, vm_pu_max=1.1)
    ties, rows = run_all(case)
    assert len(ties) == 5
    assert {row.outage.element for row in rows} == set(range(32))
    net = pandapower_net("pandapower:case33bw")
    for row in rows:
        assert_as_pandapower(copy.deepcopy(net), case, row)
    # only the first line has no way around it: all but the substation goes dark
    dark = [row for row in rows if row.dark]
    assert [(row.outage.element, row.tie, len(row.dark)) for row in dark] == [(0, None, 32)]
    # every tie closed and one branch of its loop opened: nobody dark, and all but one can run
    exchanges = [row for row in rows if row.tie is not None]
    assert {row.tie.element for row in exchanges if row.tie} == {32, 33, 34, 35, 36}
    assert not any(row.dark for row in exchanges)
    assert sum(not row.solved for row in exchanges) == 1


@pytest.mark.slow
def test_outages_of_a_simbench_feeder() -> None:
    code = "1-MV-rural--0-sw"
    case = at_quarter_hours(simbench_case(code, SUNNY), [54, 74])
    ties, rows = run_all(case)
    assert {tie.element for tie in ties} == {93, 94, 95, 96, 97, 98}
    net = pandapower_net(f"simbench:{code}")
    # a transformer, an end without tie, and every ninth pair of outage and tie
    chosen = [row for row in rows if row.outage.kind == "trafo" or row.dark][:6] + list(rows[::9])
    assert any(row.dark for row in chosen)
    for row in chosen:
        assert_as_pandapower(copy.deepcopy(net), case, row)


def test_load_left_dark_and_limits_exceeded_are_said() -> None:
    case = make_case(library_network("case33bw"), [], vm_pu_min=0.9, vm_pu_max=1.1)
    _, rows = run_all(case)
    first = next(row for row in rows if row.outage.element == 0)
    assert first.dark_mw == pytest.approx(case.load_p_mw.sum(), rel=1e-12)
    assert not first.holds
    low = [row for row in rows if row.vm_min is not None and row.vm_min.value < 0.9]
    assert low
    for row in low:
        assert row.reached is not None
        assert row.reached.side == "lower"
        assert row.periods_exceeded == 1
        assert row.vm_min is not None
        assert row.reached.value == pytest.approx(row.vm_min.value, abs=1e-12)
    held = [row for row in rows if row.holds]
    assert held
    assert all(row.vm_min is not None and row.vm_min.value >= 0.9 for row in held)
