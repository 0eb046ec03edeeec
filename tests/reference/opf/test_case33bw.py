"""case33bw against published and independently computed truths (README.md of the case folder)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from data.records.clearing import ClearingCase, ClearingResult
from data.records.network import Network
from opf.clearing import clear_case
from tests.support.cases import generation, library_network, make_case

EXPECTED = json.loads((Path(__file__).parent / "case33bw" / "expected.json").read_text())
TOLERANCE = EXPECTED["tolerance"]


@pytest.fixture(scope="module")
def network() -> Network:
    return library_network("case33bw", slack_vm_pu=1.0)


def dlmp(result: ClearingResult, bus_from_1: int) -> float:
    return float(result.prices.dlmp_p_eur_per_mwh[bus_from_1 - 1, 0])


def variant(network: Network, name: str) -> ClearingCase:
    """One of the four constrained variants."""
    if name in ("v1", "v2"):
        pv = generation("pv", 17, 3.0, 0.0 if name == "v1" else -30.0)
        price = 20.0 if name == "v1" else -20.0
        return make_case(network, [pv], price=price, vm_pu_max=1.05)
    plants = [generation("dg18", 17, 2.0, 30.0), generation("dg33", 32, 2.0, 30.0)]
    if name == "v3":
        return make_case(network, list(plants), vm_pu_min=0.95)
    line = network.lines.index == 5
    max_i_ka = np.where(line, 0.035, network.lines.max_i_ka)
    limited = dataclasses.replace(
        network, lines=dataclasses.replace(network.lines, max_i_ka=max_i_ka)
    )
    loading = np.where(line, 100.0, 1e6)
    return make_case(limited, list(plants), line_loading_percent_max=loading)


def test_unconstrained_prices_and_loss_parts(network: Network) -> None:
    truth, tolerance = EXPECTED["unconstrained"], TOLERANCE["unconstrained"]
    result = clear_case(make_case(network, []))
    assert result.status == "certified"
    assert result.objective_eur == pytest.approx(truth["cost_eur"], abs=TOLERANCE["cost_eur"])
    for bus, (p, q) in truth["dlmp"].items():
        row = int(bus) - 1
        assert dlmp(result, int(bus)) == pytest.approx(p, abs=tolerance)
        assert result.prices.dlmp_q_eur_per_mvarh[row, 0] == pytest.approx(q, abs=tolerance)
        assert result.prices.loss_eur_per_mwh[row, 0] == pytest.approx(p - 20, abs=tolerance)
    assert not result.prices.congestion_eur_per_mwh.any()
    assert not result.prices.voltage_eur_per_mwh.any()


def test_marginal_losses_collect_1_44_times_the_loss_cost(network: Network) -> None:
    truth, tolerance = EXPECTED["unconstrained"], TOLERANCE["cost_eur"]
    result = clear_case(make_case(network, []))
    row = {int(bus): k for k, bus in enumerate(network.buses.index)}
    at = [row[int(bus)] for bus in network.loads.bus]
    paid_p = float(result.prices.dlmp_p_eur_per_mwh[at, 0] @ network.loads.p_mw)
    paid_q = float(result.prices.dlmp_q_eur_per_mvarh[at, 0] @ network.loads.q_mvar)
    assert paid_p == pytest.approx(truth["paid_p_eur"], abs=tolerance)
    assert paid_q == pytest.approx(truth["paid_q_eur"], abs=tolerance)
    assert paid_p - result.objective_eur == pytest.approx(truth["surplus_p_eur"], abs=tolerance)


@pytest.mark.parametrize("name", ["v1", "v2", "v3", "v4"])
def test_constrained_variants(network: Network, name: str) -> None:
    truth = EXPECTED[name]
    result = clear_case(variant(network, name))
    assert (result.status, result.message) == ("certified", "")
    assert result.objective_eur == pytest.approx(truth["cost_eur"], abs=TOLERANCE["cost_eur"])
    for award, power in zip(result.awards, truth["award_mw"], strict=True):
        assert award.injection_mw[0, 0] == pytest.approx(power, abs=TOLERANCE["award_mw"])
    for bus, price in truth["dlmp_p"].items():
        assert dlmp(result, int(bus)) == pytest.approx(price, abs=TOLERANCE["dlmp_p"])
    if "dlmp_p_max" in truth:
        highest = float(result.prices.dlmp_p_eur_per_mwh.max())
        assert highest == pytest.approx(truth["dlmp_p_max"], abs=TOLERANCE["dlmp_p"])


def test_a_binding_line_is_one_part_of_the_price(network: Network) -> None:
    result = clear_case(variant(network, "v4"))
    part = [p for p in result.prices.parts if p.element_kind == "line"]
    assert [(p.element, p.side) for p in part] == [(5, "from")]
