"""MATPOWER's radial distribution cases: losses, voltages, cost and prices of PYPOWER."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.readers.matpower import load_matpower
from data.records.clearing import ClearingResult
from data.records.network import Network
from opf.clearing import clear_case
from tests.support.cases import make_case

EXPECTED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "radial_cases" / "expected.json").read_text()
)


def clear(network: Network) -> ClearingResult:
    result = clear_case(make_case(network, [], price=20.0))
    assert result.status == "certified"
    return result


def loss_kw(network: Network, result: ClearingResult) -> float:
    return 1e3 * float(result.grid.import_mw[0] - network.loads.p_mw.sum())


@pytest.mark.parametrize("name", list(EXPECTED["priced"]))
def test_losses_voltages_cost_and_prices(name: str) -> None:
    expected, network = EXPECTED["priced"][name], load_matpower(name)
    result = clear(network)
    vm_pu = result.grid.vm_pu[:, 0]
    assert loss_kw(network, result) == pytest.approx(expected["loss_kw"], abs=1e-4)
    assert vm_pu.min() == pytest.approx(expected["vm_pu_min"], abs=1e-5)
    assert network.buses.index[int(np.argmin(vm_pu))] == expected["vm_pu_min_bus"]
    if network.slack_vm_pu != expected["slack_vm_pu"]:
        result = clear(dataclasses.replace(network, slack_vm_pu=expected["slack_vm_pu"]))
    prices = result.prices
    assert result.objective_eur == pytest.approx(expected["cost_eur"], abs=1e-4)
    assert prices.dlmp_p_eur_per_mwh.max() == pytest.approx(expected["dlmp_p_max"], abs=1e-5)
    assert prices.dlmp_q_eur_per_mvarh.max() == pytest.approx(expected["dlmp_q_max"], abs=1e-5)


@pytest.mark.parametrize("name", list(EXPECTED["flows"]))
def test_losses_where_the_cases_break_their_own_voltage_limits(name: str) -> None:
    expected, network = EXPECTED["flows"][name], load_matpower(name)
    result = clear(network)
    assert loss_kw(network, result) == pytest.approx(expected["loss_kw"], abs=1e-4)
    if "vm_pu_min" in expected:
        assert result.grid.vm_pu.min() == pytest.approx(expected["vm_pu_min"], abs=1e-5)
        assert result.grid.vm_pu.min() < network.buses.vm_pu_min[1:].min()
