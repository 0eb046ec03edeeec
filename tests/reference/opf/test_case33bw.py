"""case33bw against published and independently computed truths.

Truth: central finite differences of a Newton power flow solved to 1e-12 MVA and a re-solved AC
optimum, price 20 EUR/MWh, substation at 1.0 pu. Network: Baran and Wu, IEEE Trans. Power Delivery
4(2), 1989, doi 10.1109/61.25627, as pandapower ships it (buses are counted from 0 here).
"""

from __future__ import annotations

import numpy as np
import pytest

from data.records.clearing import ClearingResult
from data.records.network import Network
from opf.clearing import clear_case
from tests.support.cases import generation, library_network, make_case


@pytest.fixture(scope="module")
def network() -> Network:
    return library_network("case33bw", slack_vm_pu=1.0)


def dlmp(result: ClearingResult, bus_from_1: int) -> float:
    return float(result.prices.dlmp_p_eur_per_mwh[bus_from_1 - 1, 0])


def test_unconstrained_prices_and_loss_parts(network: Network) -> None:
    result = clear_case(make_case(network, []))
    assert result.status == "certified"
    assert result.objective_eur == pytest.approx(78.353543, abs=1e-5)
    truth = {
        1: (20.000000, 0.0),
        2: (20.095814, 0.058984),
        6: (21.595065, 1.096550),
        18: (22.943849, 1.714215),
        22: (20.250518, 0.128022),
        25: (20.991185, 0.560908),
        33: (22.530778, 2.047992),
    }
    for bus, (p, q) in truth.items():
        assert dlmp(result, bus) == pytest.approx(p, abs=2e-6)
        assert result.prices.dlmp_q_eur_per_mvarh[bus - 1, 0] == pytest.approx(q, abs=2e-6)
        assert result.prices.loss_eur_per_mwh[bus - 1, 0] == pytest.approx(p - 20, abs=2e-6)
    assert not result.prices.congestion_eur_per_mwh.any()
    assert not result.prices.voltage_eur_per_mwh.any()


def test_marginal_losses_collect_1_44_times_the_loss_cost(network: Network) -> None:
    result = clear_case(make_case(network, []))
    row = {int(bus): k for k, bus in enumerate(network.buses.index)}
    at = [row[int(bus)] for bus in network.loads.bus]
    paid_p = float(result.prices.dlmp_p_eur_per_mwh[at, 0] @ network.loads.p_mw)
    paid_q = float(result.prices.dlmp_q_eur_per_mvarh[at, 0] @ network.loads.q_mvar)
    assert paid_p == pytest.approx(80.144860, abs=1e-5)
    assert paid_q == pytest.approx(2.899602, abs=1e-5)
    assert paid_p - result.objective_eur == pytest.approx(1.791318, abs=1e-5)


def test_v1_overvoltage_stops_a_plant_where_the_cone_relaxation_fails(network: Network) -> None:
    pv = generation("pv", 17, 3.0, 0.0)
    result = clear_case(make_case(network, [pv], vm_pu_max=1.05))
    assert result.status == "certified"
    assert result.objective_eur == pytest.approx(37.360577, abs=1e-4)
    assert result.awards[0].injection_mw[0, 0] == pytest.approx(2.08555, abs=1e-5)
    assert dlmp(result, 18) == pytest.approx(0.0, abs=1e-4)
    assert dlmp(result, 33) == pytest.approx(16.91661, abs=1e-4)
    assert dlmp(result, 25) == pytest.approx(19.52726, abs=1e-4)


def test_v2_negative_price(network: Network) -> None:
    pv = generation("pv", 17, 3.0, -30.0)
    result = clear_case(make_case(network, [pv], price=-20.0, vm_pu_max=1.05))
    assert result.objective_eur == pytest.approx(-99.927197, abs=1e-4)
    assert dlmp(result, 18) == pytest.approx(-30.0, abs=1e-4)
    assert dlmp(result, 33) == pytest.approx(-24.50106, abs=1e-4)
    assert dlmp(result, 25) == pytest.approx(-21.53182, abs=1e-4)


def test_v3_undervoltage_calls_two_plants(network: Network) -> None:
    plants = [generation("dg18", 17, 2.0, 30.0), generation("dg33", 32, 2.0, 30.0)]
    result = clear_case(make_case(network, list(plants), vm_pu_min=0.95))
    assert result.objective_eur == pytest.approx(86.896502, abs=1e-4)
    assert result.awards[0].injection_mw[0, 0] == pytest.approx(0.41016, abs=2e-5)
    assert result.awards[1].injection_mw[0, 0] == pytest.approx(0.62590, abs=2e-5)
    assert dlmp(result, 18) == pytest.approx(30.0, abs=1e-4)
    assert dlmp(result, 25) == pytest.approx(22.0468, abs=1e-4)
    assert float(result.prices.dlmp_p_eur_per_mwh.max()) == pytest.approx(30.42460, abs=1e-4)


def test_v4_current_limit(network: Network) -> None:
    import dataclasses

    max_i_ka = network.lines.max_i_ka.copy()
    max_i_ka[network.lines.index == 5] = 0.035
    limited = dataclasses.replace(
        network, lines=dataclasses.replace(network.lines, max_i_ka=max_i_ka)
    )
    loading = np.full(len(network.lines.index), 1e6)
    loading[network.lines.index == 5] = 100.0
    plants = [generation("dg18", 17, 2.0, 30.0), generation("dg33", 32, 2.0, 30.0)]
    result = clear_case(make_case(limited, list(plants), line_loading_percent_max=loading))
    assert result.status == "certified"
    assert result.objective_eur == pytest.approx(82.923985, abs=1e-4)
    assert result.awards[0].injection_mw[0, 0] == pytest.approx(0.56156, abs=2e-5)
    assert dlmp(result, 18) == pytest.approx(30.0, abs=1e-4)
    assert dlmp(result, 33) == pytest.approx(22.25674, abs=1e-4)
    assert dlmp(result, 25) == pytest.approx(20.92578, abs=1e-4)
    assert float(result.prices.dlmp_p_eur_per_mwh.max()) == pytest.approx(30.89279, abs=1e-4)
    part = [p for p in result.prices.parts if p.element_kind == "line"]
    assert [(p.element, p.side) for p in part] in ([(5, "from")], [(5, "to")])
