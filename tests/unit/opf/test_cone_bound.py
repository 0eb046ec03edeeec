"""The cone's bound in a result of the AC engine: where asked for, and where it says something.

AC optima of the case33bw variants: tests/reference/opf/case33bw; cone optima computed independently
of this engine: reference numbers of test_formulations_soc.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandapower as pp
import pytest

from data.errors import UnsupportedComponent
from data.readers.pandapower_net import network_from_pandapower
from data.records.network import Network
from data.study import write_study
from dso.cli.main import main
from opf import bound
from opf.clearing import clear_case
from tests.support.cases import generation, library_network, make_case


@pytest.fixture(scope="module")
def network() -> Network:
    return library_network("case33bw", slack_vm_pu=1.0)


def test_v1_under_overvoltage_has_the_bound_of_the_cone(network: Network) -> None:
    case = make_case(network, [generation("pv", 17, 3.0, 0.0)], vm_pu_max=1.05)
    without, result = clear_case(case), clear_case(case, cone_bound=True)
    assert (without.bound_eur, without.bound_kind) == (None, "none")
    assert result.bound_kind == "soc"
    assert result.bound_eur == pytest.approx(31.037458, abs=2e-6)
    assert result.objective_eur == pytest.approx(37.360577, abs=2e-6)
    assert "cvxpy" in dict(result.versions)
    same = dataclasses.replace(result, bound_eur=None, bound_kind="none", versions=without.versions)
    for field in ("status", "objective_eur", "certificate", "input_sha256"):
        assert getattr(same, field) == getattr(without, field)
    assert np.array_equal(result.prices.dlmp_p_eur_per_mwh, without.prices.dlmp_p_eur_per_mwh)


def test_v2_at_a_negative_price_has_a_bound_far_below(network: Network) -> None:
    case = make_case(network, [generation("pv", 17, 3.0, -30.0)], price=-20.0, vm_pu_max=1.05)
    result = clear_case(case, cone_bound=True)
    assert result.status == "certified"
    assert result.bound_kind == "soc"
    assert result.bound_eur is not None
    assert result.bound_eur < result.objective_eur == pytest.approx(-99.927197, abs=2e-6)


def test_where_the_linear_bound_holds_no_cone_is_solved(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    plants = [generation("dg18", 17, 2.0, 30.0), generation("dg33", 32, 2.0, 30.0)]
    case = make_case(network, list(plants), vm_pu_min=0.95)
    cone = bound.soc_bound_eur(case)
    monkeypatch.setattr(bound, "soc_bound_eur", lambda _: pytest.fail("the cone was solved"))
    result = clear_case(case, cone_bound=True)
    assert result.bound_kind == "lp"
    # two proofs of one optimum
    assert result.bound_eur == pytest.approx(cone, abs=1e-5)
    assert result.bound_eur == pytest.approx(86.896502, abs=1e-5)


def test_with_slack_there_is_no_bound_of_the_cone(network: Network) -> None:
    pv = dataclasses.replace(generation("pv", 17, 3.0, 0.0), p_mw_min=np.full(1, 3.0))
    result = clear_case(make_case(network, [pv], vm_pu_max=1.05), cone_bound=True)
    assert result.status == "certified_with_slack"
    assert (result.bound_eur, result.bound_kind) == (None, "none")


def test_what_has_no_cone_is_refused_before_the_solve(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = pp.create_empty_network()
    buses = [pp.create_bus(net, vn_kv=20.0) for _ in range(3)]
    pp.create_ext_grid(net, buses[0])
    for a, b in ((0, 1), (1, 2), (2, 0)):
        pp.create_line(net, buses[a], buses[b], 1.0, "NA2XS2Y 1x185 RM/25 12/20 kV")
    ring = make_case(network_from_pandapower(net, "ring"), [])
    monkeypatch.setattr("opf.clearing.optimise_one_way", lambda *_: pytest.fail("it was solved"))
    with pytest.raises(UnsupportedComponent, match=r"branch_flow_soc.*meshed"):
        clear_case(ring, cone_bound=True)
    linear = dataclasses.replace(make_case(network, []), formulation="lindistflow")
    with pytest.raises(UnsupportedComponent, match=r"'lindistflow'.*'ac'"):
        clear_case(linear, cone_bound=True)


def test_the_command_writes_bound_and_gap(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = make_case(network, [generation("pv", 17, 3.0, 0.0)], vm_pu_max=1.05)
    write_study(case, tmp_path / "study", "pandapower:case33bw")
    words = ["clear", str(tmp_path / "study"), "--out", str(tmp_path / "out"), "--cone-bound"]
    assert main(words) == 0
    assert "31.04 EUR (soc)" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["bound_kind"] == "soc"
    cost, lower = summary["objective_eur"], summary["bound_eur"]
    assert summary["gap"] == pytest.approx((cost - lower) / cost)
