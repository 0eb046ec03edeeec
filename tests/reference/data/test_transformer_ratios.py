"""Ratio and phase shift of transformers against pandapower's own branch table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks
import pytest

from data.errors import InputError
from data.readers.pandapower_net import network_from_pandapower
from tests.support.simbench_nets import simbench_net

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
TAP, SHIFT = 8, 9  # columns of PYPOWER's branch table

CHANGERS = [
    # tap_changer_type, side, pos, step_percent, step_degree
    ("Ratio", "hv", -2, 1.5, 0.0),
    ("Ratio", "lv", 3, 2.5, 0.0),
    ("Ratio", "hv", 4, 1.25, 60.0),
    ("Ratio", "lv", -4, 1.25, 90.0),
    ("Symmetrical", "hv", 5, 1.0, 90.0),
    ("Symmetrical", "lv", 5, 1.0, 30.0),
    ("Ideal", "hv", 3, 0.0, 2.0),
    ("Ideal", "lv", 3, 0.0, 2.0),
    ("Ideal", "hv", -3, 2.0, 0.0),
    ("Ideal", "lv", -3, 2.0, 0.0),
    (None, "hv", 7, 1.5, 0.0),
    (None, "lv", 7, 1.5, 10.0),
    (np.nan, "hv", 7, 1.5, 0.0),
]


def two_bus_net(kind: object, side: str, pos: int, percent: float, degree: float) -> Any:
    net = pp.create_empty_network()
    top, bottom = (pp.create_bus(net, vn_kv=kv) for kv in (110.0, 20.0))
    pp.create_ext_grid(net, top)
    pp.create_transformer_from_parameters(
        net, top, bottom, sn_mva=25.0, vn_hv_kv=112.0, vn_lv_kv=20.5, vk_percent=12.0,
        vkr_percent=0.4, pfe_kw=14.0, i0_percent=0.07, shift_degree=150.0, tap_side=side,
        tap_neutral=1, tap_min=-9, tap_max=9, tap_pos=pos, tap_step_percent=percent,
        tap_step_degree=degree, tap_changer_type="Ratio",
    )  # fmt: skip
    net.trafo["tap_changer_type"] = net.trafo["tap_changer_type"].astype(object)
    net.trafo.loc[0, "tap_changer_type"] = kind
    return net


def assert_ratios_equal(net: Any) -> None:
    pp.runpp(net)
    first, end = net._pd2ppc_lookups["branch"]["trafo"]
    branch = net._ppc["branch"][first:end].real
    network = network_from_pandapower(net, "net")
    trafos = network.trafos
    base = dict(zip(network.buses.index.tolist(), network.buses.vn_kv.tolist(), strict=True))
    nominal = np.array(
        [base[hv] / base[lv] for hv, lv in zip(trafos.hv_bus, trafos.lv_bus, strict=True)]
    )
    rated = trafos.vn_hv_kv * trafos.ratio_hv / (trafos.vn_lv_kv * trafos.ratio_lv)
    np.testing.assert_allclose(rated / nominal, branch[:, TAP], rtol=1e-12)
    np.testing.assert_allclose(trafos.shift_degree, branch[:, SHIFT], rtol=0, atol=1e-9)


@pytest.mark.parametrize("changer", CHANGERS, ids=str)
def test_every_kind_of_tap_changer_means_what_pandapower_makes_of_it(changer: Any) -> None:
    assert_ratios_equal(two_bus_net(*changer))


def test_the_cases_move_what_they_should_move() -> None:
    moved = [network_from_pandapower(two_bus_net(*c), "net").trafos for c in CHANGERS]
    assert moved[0].ratio_hv[0] == pytest.approx(1 - 3 * 0.015)
    assert moved[1].ratio_lv[0] == pytest.approx(1 + 2 * 0.025)
    assert moved[6].shift_degree[0] == pytest.approx(154.0)
    assert moved[7].shift_degree[0] == pytest.approx(146.0)
    for untouched in moved[10:]:
        assert untouched.ratio_hv[0] == untouched.ratio_lv[0] == 1.0
        assert untouched.shift_degree[0] == 150.0


def test_a_second_tap_changer_counts_too() -> None:
    net = two_bus_net("Ratio", "hv", 3, 1.5, 0.0)
    for column, value in (
        ("tap2_side", "lv"), ("tap2_neutral", 0), ("tap2_pos", 2), ("tap2_step_percent", 2.0),
        ("tap2_step_degree", 0.0), ("tap2_changer_type", "Ratio"),
    ):  # fmt: skip
        net.trafo[column] = value
    assert_ratios_equal(net)
    assert network_from_pandapower(net, "net").trafos.ratio_lv[0] == pytest.approx(1.04)


@pytest.mark.parametrize(
    "name", ["create_cigre_network_mv", "case118", "create_kerber_landnetz_freileitung_1"]
)
def test_published_networks(name: str) -> None:
    assert_ratios_equal(getattr(pandapower.networks, name)())


@pytest.mark.parametrize("code", ["1-MV-rural--2-sw", "1-LV-rural1--0-sw"])
def test_simbench_grids(code: str) -> None:
    net = simbench_net(code)
    assert_ratios_equal(net)
    net.trafo["tap_changer_type"] = "Ratio"
    net.trafo["tap_pos"] = 2.0
    assert_ratios_equal(net)


def test_a_tap_table_is_refused_by_name() -> None:
    net = two_bus_net("Ratio", "hv", 3, 1.5, 0.0)
    net.trafo["name"] = "T1"
    net.trafo["tap_dependency_table"] = True
    with pytest.raises(InputError, match=r"trafo 0 \(T1\): tap_dependency_table is set"):
        network_from_pandapower(net, "net")


def test_an_ideal_shifter_with_two_steps_is_refused() -> None:
    with pytest.raises(InputError, match="ideal phase shifter"):
        network_from_pandapower(two_bus_net("Ideal", "hv", 3, 1.5, 2.0), "net")
