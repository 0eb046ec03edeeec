"""Reading networks and recorded profiles: switches, faults by name, a cache that heals."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import InputError
from data.periods import DeliveryDay, Periods
from data.readers.network_store import TABLES, network_from_plain, network_to_plain
from data.readers.pandapower_net import network_from_pandapower
from data.readers.simbench import (
    RecordedProfiles,
    SimbenchGrid,
    cache_folder,
    load_simbench,
    profiles_for,
)
from data.records.network import Network

CODE = "1-LV-rural1--0-sw"


@pytest.fixture
def net(network_json: str) -> Any:
    import pandapower as pp

    return pp.from_json_string(network_json)


def problems_of(net: Any) -> str:
    with pytest.raises(InputError) as refused:
        network_from_pandapower(net, "net")
    return str(refused.value)


def test_open_switches_stand_at_their_ends(net: Any) -> None:
    import pandapower as pp

    pp.create_switch(net, 2, 0, "l", closed=False)  # line 0 runs 1-2: its second end
    pp.create_switch(net, 2, 1, "l", closed=True)
    pp.create_switch(net, 0, 0, "t", closed=False)
    pp.create_switch(net, 2, 3, "b", closed=False)
    pp.create_switch(net, 1, 2, "b", closed=True)
    network = network_from_pandapower(net, "net")
    assert network.lines.closed_from.tolist() == [True, True]
    assert network.lines.closed_to.tolist() == [False, True]
    assert (network.trafos.closed_hv.tolist(), network.trafos.closed_lv.tolist()) == (
        [False], [True],
    )  # fmt: skip
    assert network.bus_links.tolist() == [[1, 2]]


def test_units_signs_and_scaling(network: Network) -> None:
    np.testing.assert_allclose(network.loads.p_mw, [0.21, 0.2])
    np.testing.assert_allclose(network.sgens.p_mw, [0.4])
    assert network.shunts.q_mvar.tolist() == [-0.1]  # two steps
    assert (network.slack_bus, network.slack_vm_pu) == (0, 1.02)
    assert network.buses.longitude.tolist() == [11.0] * 4
    assert np.all(np.isnan(network.buses.vm_pu_min))  # none stated, none invented
    assert network.storages.efficiency.tolist() == [1.0]
    assert network.other_elements == ()


def test_an_element_at_a_bus_out_of_service_does_not_run(net: Any) -> None:
    net.bus.loc[3, "in_service"] = False
    network = network_from_pandapower(net, "net")
    assert network.loads.in_service.tolist() == [True, False]
    assert network.sgens.in_service.tolist() == [False]


def test_every_fault_of_a_network_is_named_at_once(net: Any) -> None:
    import pandapower as pp

    net.line.loc[1, "r_ohm_per_km"] = np.nan
    net.line.loc[0, "max_i_ka"] = 0.0
    net.trafo.loc[0, "sn_mva"] = -1.0
    net.load.loc[1, "p_mw"] = np.nan
    net.load.loc[0, "const_z_p_percent"] = 10.0
    net.sgen.loc[0, "bus"] = 44
    net.bus.loc[2, "geo"] = "here"
    net.ext_grid.loc[0, "vm_pu"] = np.nan
    pp.create_switch(net, 1, 2, "b", closed=True, z_ohm=0.1)
    net.switch.loc[len(net.switch)] = net.switch.loc[0]
    net.switch.loc[1, ["et", "bus", "element"]] = ["l", 0, 0]
    text = problems_of(net)
    for expected in (
        "line 1 (L2): r_ohm_per_km is nan", "line 0 (L1): max_i_ka is not positive",
        "trafo 0 (T1): sn_mva is not positive", "load 1 (farm): p_mw is nan",
        "load 0 (village): const_z_p_percent is not 0", "sgen 0 (roof): bus 44 is not a bus",
        "bus 2 (middle): geo is not a GeoJSON point", "ext_grid 0: vm_pu is nan",
        "has z_ohm = 0.1", "joins bus 0 to line 0, which has no end there",
    ):  # fmt: skip
        assert expected in text, expected


def test_what_is_not_read_is_listed(net: Any) -> None:
    import pandapower as pp

    pp.create_gen(net, 3, p_mw=0.1)
    pp.create_gen(net, 3, p_mw=0.1, in_service=False)
    pp.create_motor(net, 3, pn_mech_mw=0.1, cos_phi=0.9)
    pp.create_impedance(net, 1, 2, rft_pu=0.1, xft_pu=0.1, sn_mva=1.0)
    pp.create_asymmetric_load(net, 3, p_a_mw=0.1)
    network = network_from_pandapower(net, "net")
    assert network.other_elements == ("asymmetric_load:0", "gen:0", "impedance:0", "motor:0")


def test_a_network_survives_being_stored(network: Network) -> None:
    import json

    again = network_from_plain(json.loads(json.dumps(network_to_plain(network), allow_nan=False)))
    for name in TABLES:
        ours, theirs = getattr(network, name), getattr(again, name)
        for field in dataclasses.fields(ours):
            a, b = getattr(ours, field.name), getattr(theirs, field.name)
            assert type(a) is type(b), field.name
            if isinstance(a, np.ndarray):
                assert a.dtype == b.dtype, field.name
                assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), field.name
            else:
                assert a == b
    assert network_to_plain(again) == network_to_plain(network)


# ---- recorded profiles


@pytest.fixture
def grid(network: Network) -> SimbenchGrid:
    """The small network with one day of profiles: ones, and a ramp that loads and sgens follow."""
    day = DeliveryDay(day=date(2016, 7, 25)).periods
    loads, sgens = network.loads, network.sgens
    return SimbenchGrid(
        network=network,
        profiles=RecordedProfiles(
            start=day.start,
            shares=np.column_stack([np.ones(96), np.arange(96.0)]),
            load_p_column=np.array([1, 0]),
            load_q_column=np.array([0, 1]),
            sgen_column=np.array([1]),
            load_p_mw_base=loads.p_mw,
            load_q_mvar_base=loads.q_mvar,
            sgen_p_mw_base=sgens.p_mw,
            sgen_q_mvar_base=sgens.q_mvar,
        ),
    )


def test_profiles_of_some_periods(grid: SimbenchGrid) -> None:
    periods = Periods(start=grid.profiles.start + timedelta(hours=1), count=3)
    profiles = profiles_for(grid, periods)
    np.testing.assert_allclose(profiles.load_p_mw, [[0.21 * k, 0.2] for k in (4, 5, 6)])
    np.testing.assert_allclose(profiles.load_q_mvar, [[0.07, 0.0]] * 3)
    np.testing.assert_allclose(profiles.sgen_p_mw[:, 0], [1.6, 2.0, 2.4])
    np.testing.assert_allclose(profiles.sgen_q_mvar[:, 0], [-0.4, -0.5, -0.6])


@pytest.mark.parametrize(
    ("shift_minutes", "count", "mtu_minutes", "message"),
    [
        (-15, 4, 15, "2016-07-24T21:45:00Z to 2016-07-24T22:45:00Z is not recorded"),
        (0, 97, 15, "is not recorded"),
        (0, 4, 60, "not 60 min periods"),
        (7, 4, 15, "2016-07-24T22:07:00Z is not the start of a quarter-hour"),
    ],
)
def test_periods_that_are_not_recorded(
    grid: SimbenchGrid, shift_minutes: int, count: int, mtu_minutes: int, message: str
) -> None:
    start = grid.profiles.start + timedelta(minutes=shift_minutes)
    with pytest.raises(InputError, match=message):
        profiles_for(grid, Periods(start=start, count=count, mtu_minutes=mtu_minutes))


def test_nan_in_a_profile_names_element_and_time(grid: SimbenchGrid) -> None:
    shares = grid.profiles.shares.copy()
    shares[5, 1] = np.nan
    broken = dataclasses.replace(grid, profiles=dataclasses.replace(grid.profiles, shares=shares))
    profiles_for(broken, Periods(start=grid.profiles.start, count=5))
    with pytest.raises(InputError) as refused:
        profiles_for(broken, grid.profiles.periods)
    text = str(refused.value)
    assert "profile of load 0 (village): p_mw is nan at 2016-07-24T23:15:00Z" in text
    assert "profile of sgen 0 (roof): p_mw is nan" in text


@pytest.mark.long
def test_a_damaged_cache_is_parsed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    grid = load_simbench(CODE)
    (path,) = cache_folder().iterdir()
    assert path.is_relative_to(tmp_path)
    stored = path.read_bytes()
    flipped = bytearray(stored)
    flipped[len(flipped) // 2] ^= 1
    path.write_bytes(bytes(flipped))
    again = load_simbench(CODE)
    assert path.read_bytes() == stored
    assert list(cache_folder().iterdir()) == [path]
    assert np.array_equal(again.profiles.load_p_mw, grid.profiles.load_p_mw)


@pytest.mark.parametrize("code", ["", "../secret", "1-MV-rural", "9-XX-rural--2-sw"])
def test_unknown_codes(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InputError, match="SimBench"):
        load_simbench(code)
    assert not cache_folder().exists()
