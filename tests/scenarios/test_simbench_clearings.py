"""Whole days on SimBench grids end certified, or name the limits that could not hold."""

from __future__ import annotations

import warnings
from datetime import date
from typing import Any

import numpy as np
import pytest

from benchmarks.simbench_cases import SUNNY, WINTER, simbench_case
from data.records.clearing import ClearingCase, ClearingResult
from opf.clearing import clear_case
from tests.support.simbench_nets import simbench_net

# The winter days of rural3 once ended uncertified; semiurb5 states a voltage limit of 1.01 pu at
# two buses of a grid fed with 1.025 pu, which nothing can keep.
CERTIFIED = (
    ("1-LV-rural1--2-sw", SUNNY),
    ("1-LV-rural1--1-sw", WINTER),
    ("1-LV-rural2--2-sw", SUNNY),
    ("1-LV-semiurb4--2-sw", WINTER),
    ("1-LV-rural3--1-sw", WINTER),
)
NOON = 48


def powers_of(case: ClearingCase, result: ClearingResult, net: Any) -> None:
    """Give pandapower's own network the fixed powers and the awards of noon."""
    net.load["scaling"] = net.sgen["scaling"] = net.storage["scaling"] = 1.0
    net.load["p_mw"], net.load["q_mvar"] = case.load_p_mw[NOON], case.load_q_mvar[NOON]
    net.sgen["p_mw"], net.sgen["q_mvar"] = case.sgen_p_mw[NOON], case.sgen_q_mvar[NOON]
    asset = {order.id: str(order.asset) for order in case.orders}
    for award in result.awards:
        kind, _, element = asset[award.order].partition(":")
        sign = 1.0 if kind == "sgen" else -1.0
        table = getattr(net, kind)
        table.loc[int(element), "p_mw"] = sign * award.injection_mw[0, NOON]
        table.loc[int(element), "q_mvar"] = sign * award.injection_mvar[0, NOON]


def voltages_of_pandapower(code: str, case: ClearingCase, result: ClearingResult) -> np.ndarray:
    with warnings.catch_warnings():
        # Deprecations inside simbench and pandapower concern their authors.
        warnings.simplefilter("ignore")
        import pandapower

        net = simbench_net(code)
        powers_of(case, result, net)
        pandapower.runpp(net, trafo_model="pi", tolerance_mva=1e-10, numba=False)
        return np.array(net.res_bus.vm_pu.loc[case.network.buses.index.tolist()])


@pytest.mark.parametrize(("code", "day"), CERTIFIED)
def test_the_day_is_certified_and_pandapower_sees_the_same_voltages(code: str, day: date) -> None:
    case = simbench_case(code, day)
    result = clear_case(case)
    assert (result.status, result.message) == ("certified", "")
    assert result.violations == ()
    seen = voltages_of_pandapower(code, case, result)
    np.testing.assert_allclose(seen, result.grid.vm_pu[:, NOON], atol=1e-6)
    inside = case.network.buses.index != case.network.slack_bus
    assert np.all(seen[inside] <= case.limits.vm_pu_max[inside] + 1e-5)
    assert np.all(seen[inside] >= case.limits.vm_pu_min[inside] - 1e-5)


def test_limits_that_nothing_can_keep_are_named_in_every_period() -> None:
    code = "1-LV-semiurb5--0-sw"
    case = simbench_case(code, SUNNY)
    result = clear_case(case)
    assert result.status == "certified_with_slack"
    named = {(v.element_kind, v.element, v.side) for v in result.violations}
    low = case.network.buses.index[case.limits.vm_pu_max < 1.02]
    assert named == {("bus", int(bus), "upper") for bus in low}
    assert len(result.violations) == 2 * len(case.periods)
    assert all(v.mw_short > 0 and v.value > v.limit for v in result.violations)
    seen = voltages_of_pandapower(code, case, result)
    rows = np.isin(case.network.buses.index, low)
    assert np.all(seen[rows] > case.limits.vm_pu_max[rows])
