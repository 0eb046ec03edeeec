"""The cone relaxation against published numbers, and as a bound on the AC engine.

On case33bw at 20 EUR/MWh, computed independently of this engine: exact without limits, with
undervoltage (V3) and with a current limit (V4); inexact with export overvoltage (V1) and at a
negative price (V2).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandapower as pp
import pytest

from data.errors import UnsupportedComponent
from data.readers.pandapower_net import network_from_pandapower
from data.records.clearing import ClearingResult
from data.records.network import Network
from opf.bound import soc_bound_eur
from opf.clearing import clear_case
from opf.formulations import cone_programme
from opf.formulations.branch_flow_soc import clear_branch_flow_soc
from tests.support.busy_feeder import busy_feeder
from tests.support.cases import generation, library_network, make_case


@pytest.fixture(scope="module")
def network() -> Network:
    return library_network("case33bw", slack_vm_pu=1.0)


def dlmp(result: ClearingResult, bus_from_1: int) -> float:
    return float(result.prices.dlmp_p_eur_per_mwh[bus_from_1 - 1, 0])


def test_without_limits_the_relaxation_is_exact(network: Network) -> None:
    result = clear_branch_flow_soc(make_case(network, []))
    assert result.objective_eur == pytest.approx(78.35354253, abs=2e-8)
    assert result.bound_kind == "soc"
    assert result.bound_eur == pytest.approx(78.35354253, abs=1e-7)
    assert "the relaxation is exact" in result.message
    for bus, price, q_price in (
        (1, 20.0, 0.0), (6, 21.595065, 1.096550), (18, 22.943849, 1.714215),
        (25, 20.991185, 0.560908), (33, 22.530778, 2.047992),
    ):  # fmt: skip
        assert dlmp(result, bus) == pytest.approx(price, abs=2e-5)
        q_found = float(result.prices.dlmp_q_eur_per_mvarh[bus - 1, 0])
        assert q_found == pytest.approx(q_price, abs=2e-5)


def test_v1_export_overvoltage_makes_it_inexact_and_the_result_says_so(network: Network) -> None:
    pv = generation("pv", 17, 3.0, 0.0)
    result = clear_branch_flow_soc(make_case(network, [pv], vm_pu_max=1.05))
    assert result.objective_eur == pytest.approx(31.037458, abs=2e-6)
    assert float(result.awards[0].injection_mw[0, 0]) == pytest.approx(3.0, abs=1e-6)
    assert dlmp(result, 18) == pytest.approx(6.41, abs=5e-3)
    assert "not exact" in result.message
    assert "cone gap 55 MVA^2" in result.message
    assert result.status == "uncertified"
    # still a bound on the AC optimum, 37.360577
    assert result.bound_eur is not None
    assert result.bound_eur < 37.360577


def test_v2_at_a_negative_price_it_burns_losses(network: Network) -> None:
    pv = generation("pv", 17, 3.0, -30.0)
    case = make_case(network, [pv], price=-20.0, vm_pu_min=0.9, vm_pu_max=1.05)
    result = clear_branch_flow_soc(case)
    assert result.objective_eur == pytest.approx(-2825, abs=1.0)
    assert result.status == "uncertified"
    bound = soc_bound_eur(case)
    assert bound is not None
    assert bound < -99.927197


def test_v3_undervoltage(network: Network) -> None:
    plants = [generation("dg18", 17, 2.0, 30.0), generation("dg33", 32, 2.0, 30.0)]
    result = clear_branch_flow_soc(make_case(network, list(plants), vm_pu_min=0.95))
    assert result.objective_eur == pytest.approx(86.896502, abs=1e-6)
    assert float(result.awards[0].injection_mw[0, 0]) == pytest.approx(0.41016, abs=5e-6)
    assert float(result.awards[1].injection_mw[0, 0]) == pytest.approx(0.62590, abs=5e-6)
    assert dlmp(result, 25) == pytest.approx(22.0468, abs=5e-5)
    assert float(result.prices.dlmp_p_eur_per_mwh.max()) == pytest.approx(30.42460, abs=2e-5)
    # the cone's own multipliers satisfy the AC conditions: it found the AC optimum
    assert result.certificate.stationarity < 1e-6
    assert result.certificate.parts_residual_eur_per_mwh < 1e-4


def test_v4_current_limit(network: Network) -> None:
    max_i_ka = network.lines.max_i_ka.copy()
    max_i_ka[network.lines.index == 5] = 0.035
    limited = dataclasses.replace(
        network, lines=dataclasses.replace(network.lines, max_i_ka=max_i_ka)
    )
    loading = np.full(len(network.lines.index), 1e6)
    loading[network.lines.index == 5] = 100.0
    plants = [generation("dg18", 17, 2.0, 30.0), generation("dg33", 32, 2.0, 30.0)]
    result = clear_branch_flow_soc(
        make_case(limited, list(plants), line_loading_percent_max=loading)
    )
    assert result.objective_eur == pytest.approx(82.923985, abs=1e-6)
    assert float(result.awards[0].injection_mw[0, 0]) == pytest.approx(0.56156, abs=5e-6)
    assert dlmp(result, 33) == pytest.approx(22.25674, abs=3e-5)
    assert float(result.prices.dlmp_p_eur_per_mwh.max()) == pytest.approx(30.89279, abs=3e-5)
    assert {(p.element_kind, p.element) for p in result.prices.parts} == {("line", 5)}
    assert result.certificate.stationarity < 2e-6


def charged_feeder() -> Network:
    """110/20 kV with a tap off neutral, charged cables, two of them in parallel, a shunt."""
    net = pp.create_empty_network()
    hv, busbar = pp.create_bus(net, vn_kv=110.0), pp.create_bus(net, vn_kv=20.0)
    pp.create_ext_grid(net, hv, vm_pu=1.02)
    trafo = pp.create_transformer(net, hv, busbar, "25 MVA 110/20 kV")
    net.trafo.loc[trafo, "tap_pos"] = -3
    ends = [pp.create_bus(net, vn_kv=20.0) for _ in range(3)]
    for a, b, km in ((busbar, ends[0], 6.0), (ends[0], ends[1], 9.0), (ends[0], ends[1], 4.0)):
        pp.create_line(net, a, b, length_km=km, std_type="NA2XS2Y 1x185 RM/25 12/20 kV")
    pp.create_line(net, ends[2], ends[1], length_km=12.0, std_type="48-AL1/8-ST1A 20.0")
    pp.create_load(net, ends[2], p_mw=2.5, q_mvar=0.8)
    pp.create_load(net, ends[1], p_mw=1.5, q_mvar=0.2)
    pp.create_shunt(net, ends[1], q_mvar=-0.3, p_mw=0.01)
    return network_from_pandapower(net, "charged feeder")


def test_it_is_the_ac_optimum_with_transformer_charging_and_parallel_cables() -> None:
    plants = [generation("a", 4, 3.0, 45.0), generation("b", 3, 2.0, 33.0)]
    case = make_case(
        charged_feeder(), list(plants), price=30.0, vm_pu_min=0.985, vm_pu_max=1.2,
        line_loading_percent_max=18.0,
    )  # fmt: skip
    cone, ac = clear_branch_flow_soc(case), clear_case(case)
    assert ac.status == "certified"
    assert cone.objective_eur == pytest.approx(ac.objective_eur, abs=1e-4)
    assert {(p.element_kind, p.element) for p in cone.prices.parts} == {
        (p.element_kind, p.element) for p in ac.prices.parts
    }
    assert len(ac.prices.parts) >= 2
    assert cone.prices.dlmp_p_eur_per_mwh == pytest.approx(ac.prices.dlmp_p_eur_per_mwh, abs=1e-3)


def test_the_bound_holds_over_a_day_with_every_order_kind() -> None:
    case = busy_feeder(vm_pu_min=0.95)
    ac = clear_case(case)
    assert ac.status == "certified"
    bound = soc_bound_eur(case)
    assert bound is not None
    assert bound <= ac.objective_eur + 1e-4
    # no upper voltage limit binds here: the relaxation is tight
    assert bound == pytest.approx(ac.objective_eur, rel=1e-5)


def test_where_the_cone_programme_is_stopped_the_answer_names_its_source(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cone_programme, "_OPTIONS", (("max_iter", 2),))
    pv = generation("pv", 17, 3.0, 0.0)
    case = make_case(network, [pv], vm_pu_max=1.05)
    result = clear_branch_flow_soc(case)
    assert result.status == "uncertified"
    assert "ended MaxIterations without an optimum" in result.message
    assert "those of lindistflow" in result.message
    assert result.objective_eur == pytest.approx(36.115351, abs=2e-5)
    assert (result.bound_eur, result.bound_kind) == (None, "none")
    assert soc_bound_eur(case) is None


def test_unequal_parallel_transformers_are_refused() -> None:
    net = pp.create_empty_network()
    hv, lv = pp.create_bus(net, vn_kv=110.0), pp.create_bus(net, vn_kv=20.0)
    pp.create_ext_grid(net, hv)
    for tap in (0, 2):
        trafo = pp.create_transformer(net, hv, lv, "25 MVA 110/20 kV")
        net.trafo.loc[trafo, "tap_pos"] = tap
    case = make_case(network_from_pandapower(net, "unequal"), [])
    with pytest.raises(UnsupportedComponent, match="unequal ratio"):
        clear_branch_flow_soc(case)
