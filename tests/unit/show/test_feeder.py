"""Ways and distances against pandapower's own search through its graph."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pandapower as pp
import pandapower.networks
import pandapower.topology
import pytest

from data.readers.pandapower_net import network_from_pandapower
from data.records.clearing import Limits
from data.records.network import Network
from dso.report.views import FeederView
from dso.show.feeder import reach_of, view_feeder


def no_limits(network: Network) -> Limits:
    return Limits(
        vm_pu_min=np.full(len(network.buses.index), 0.9),
        vm_pu_max=np.full(len(network.buses.index), 1.1),
        line_loading_percent_max=np.full(len(network.lines.index), 100.0),
        trafo_loading_percent_max=np.full(len(network.trafos.index), 100.0),
    )


@pytest.mark.parametrize("name", ["case33bw", "create_cigre_network_mv", "create_kerber_dorfnetz"])
def test_distances_are_those_of_pandapower(name: str) -> None:
    net = getattr(pandapower.networks, name)()
    network = network_from_pandapower(net, name)
    feeder = view_feeder(network, no_limits(network))
    reach = reach_of(feeder, network)
    graph = pandapower.topology.create_nxgraph(net, respect_switches=True, multi=False)
    expected = nx.single_source_dijkstra_path_length(graph, network.slack_bus)
    for position, bus in enumerate(feeder.bus.tolist()):
        assert reach.distance_km[position] == pytest.approx(expected[bus], abs=1e-9)
        way = reach.path(position)
        assert way[0] == feeder.substation
        assert way[-1] == position


def ring() -> tuple[FeederView, Network]:
    """Two ways to the last bus: 1 + 1 km, and 3 km; a bus behind an open switch."""
    net = pp.create_empty_network()
    a, b, c, d = (pp.create_bus(net, vn_kv=20.0, name=str(k)) for k in range(4))
    pp.create_ext_grid(net, a)
    for first, second, km in ((a, b, 1.0), (b, c, 1.0), (a, c, 3.0), (c, d, 1.0)):
        pp.create_line_from_parameters(net, first, second, km, 0.1, 0.1, 0.0, 0.2)
    pp.create_switch(net, c, 3, et="l", closed=False)
    network = network_from_pandapower(net, "ring")
    return view_feeder(network, no_limits(network)), network


def test_a_ring_takes_the_shorter_way_and_an_open_switch_ends_it() -> None:
    feeder, network = ring()
    reach = reach_of(feeder, network)
    assert reach.distance_km[:3].tolist() == [0.0, 1.0, 2.0]
    assert reach.path(2) == (0, 1, 2)
    assert np.isnan(reach.distance_km[3])
    assert feeder.branch_in_service.tolist() == [True, True, True, False]


def test_numbered_buses_are_called_buses() -> None:
    feeder, _ = ring()
    assert feeder.bus_name == ("Bus 0", "Bus 1", "Bus 2", "Bus 3")
