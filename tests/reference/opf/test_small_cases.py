"""Cases small enough to be computed by hand (README.md of each case folder)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pytest

from data.readers.pandapower_net import network_from_pandapower
from opf.clearing import clear_case
from tests.support.cases import generation, make_case

FOLDER = Path(__file__).parent


def expected_of(case: str) -> dict[str, Any]:
    return dict(json.loads((FOLDER / case / "expected.json").read_text()))


def test_two_buses_in_closed_form() -> None:
    truth = expected_of("two_buses")
    net = pp.create_empty_network()
    first, second = (pp.create_bus(net, vn_kv=20.0) for _ in range(2))
    pp.create_ext_grid(net, first, vm_pu=1.0)
    pp.create_line_from_parameters(
        net, first, second, length_km=1.0, r_ohm_per_km=truth["resistance_ohm"],
        x_ohm_per_km=0.0, c_nf_per_km=0.0, max_i_ka=0.2,
    )  # fmt: skip
    pp.create_load(net, second, p_mw=truth["load_mw"], q_mvar=0.0)
    network = network_from_pandapower(net, "two buses")
    result = clear_case(make_case(network, [], price=truth["price_eur_per_mwh"]))
    r = truth["resistance_ohm"] / 20.0**2
    v = (1 + np.sqrt(1 - 4 * r * truth["load_mw"])) / 2
    tolerance = truth["tolerance"]
    assert result.status == "certified"
    assert result.grid.vm_pu[1, 0] == pytest.approx(v, abs=tolerance["vm_pu"])
    assert result.prices.dlmp_p_eur_per_mwh[1, 0] == pytest.approx(
        truth["price_eur_per_mwh"] / (2 * v - 1), abs=tolerance["dlmp_eur_per_mwh"]
    )


def test_most_example_1_prices_a_ramp_above_every_offer() -> None:
    truth = expected_of("most_ramp")
    net = pp.create_empty_network()
    bus = pp.create_bus(net, vn_kv=110.0)
    pp.create_ext_grid(net, bus)
    pp.create_load(net, bus, p_mw=1.0, q_mvar=0.0)
    plants = [
        dataclasses.replace(generation(name, 0, 500.0, price, 3), ramp_mw_per_h=ramp)
        for name, price, ramp in (("G1", 25.0, 500.0), ("G2", 30.0, 50.0))
    ]
    case = make_case(
        network_from_pandapower(net, "one bus"), list(plants), price=100.0, periods=3,
        load_scale=np.array([420.0, 590.0, 590.0]) - 1e-3, import_mw_max=0.0, export_mw_max=0.0,
    )  # fmt: skip
    result = clear_case(case)
    tolerance = truth["tolerance"]
    assert (result.status, result.message) == ("certified", "")
    assert result.objective_eur == pytest.approx(truth["cost_eur"], abs=tolerance["cost_eur"])
    price = result.prices.dlmp_p_eur_per_mwh[0]
    assert price == pytest.approx(truth["price_eur_per_mwh"], abs=tolerance["price_eur_per_mwh"])
    for award, name in zip(result.awards, ("g1_mw", "g2_mw"), strict=True):
        assert award.injection_mw[0] == pytest.approx(truth[name], abs=tolerance["power_mw"])
