"""The network as an admittance matrix: nodes, branch ends and their ratings, in per unit.

The only bridge between engineering units and per unit. Base power is 1 MVA, so per-unit power is
MW and Mvar. Closed bus-bus switches and impedance-free links merge buses into one node; an open
switch at one end of a line leaves its charging on a dangling auxiliary node.

Transformer model: pandapower's T equivalent (`e2nIEE/pandapower`, documentation of ``trafo``),
complex ratio on the high-voltage side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from data.errors import InputError, Problem, UnsupportedComponent
from data.records.network import Lines, Network, Trafos

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]

BASE_MVA = 1.0
SIDES = {"line": ("from", "to"), "trafo": ("hv", "lv")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Branches:
    """Branches in service as two-ports, ``i_f = yff v_f + yft v_t``, ``i_t = ytf v_f + ytt v_t``.

    ``rating_from``/``rating_to`` are the currents [pu] at 100 % loading. All arrays have one entry
    per branch; ``row`` is the position in the network's table of its kind, ``impedance`` the series
    impedance seen from the to side [pu].
    """

    kind: NDArray[np.str_]
    element: Ints
    row: Ints
    node_from: Ints
    node_to: Ints
    yff: Complexes
    yft: Complexes
    ytf: Complexes
    ytt: Complexes
    impedance: Complexes
    rating_from: Floats
    rating_to: Floats

    def __len__(self) -> int:
        return len(self.element)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Nodes 0..n-1 (0 is the substation), their admittance matrix and the branches.

    ``bus_node`` maps a row of the network's bus table to its node (-1: bus out of service).
    """

    bus_node: Ints
    node_count: int
    slack_v: complex
    admittance: sparse.csc_matrix
    branches: Branches
    radial: bool


def _line_two_ports(lines: Lines, vn_kv: Floats, omega: float) -> tuple[Complexes, Complexes]:
    """Return (series impedance, shunt admittance of the whole line) in per unit."""
    z_base = vn_kv**2 / BASE_MVA
    length, parallel = lines.length_km, lines.parallel
    z = (lines.r_ohm_per_km + 1j * lines.x_ohm_per_km) * length / parallel / z_base
    y = (lines.g_us_per_km * 1e-6 + 1j * omega * lines.c_nf_per_km * 1e-9) * length * parallel
    return np.asarray(z, dtype=complex), np.asarray(y * z_base, dtype=complex)


def _trafo_two_ports(
    trafos: Trafos, vn_hv: Floats, vn_lv: Floats
) -> tuple[Complexes, Complexes, Complexes]:
    """Return (series impedance, shunt at each end, complex ratio) in per unit.

    Short-circuit values refer to the rated low voltage with its tap; the star of leakage and
    magnetising branch becomes a delta.
    """
    rated_hv = trafos.vn_hv_kv * trafos.ratio_hv
    rated_lv = trafos.vn_lv_kv * trafos.ratio_lv
    scale = (rated_lv / vn_lv) ** 2 * BASE_MVA / trafos.sn_mva / trafos.parallel
    z_abs = trafos.vk_percent / 100.0 * scale
    r = trafos.vkr_percent / 100.0 * scale
    z = r + 1j * np.sqrt(np.maximum(z_abs**2 - r**2, 0.0))
    iron_mw = trafos.pfe_kw * 1e-3
    magnetising = np.sqrt(
        np.maximum((trafos.i0_percent / 100.0 * trafos.sn_mva) ** 2 - iron_mw**2, 0.0)
    )
    y = (iron_mw - 1j * magnetising) / BASE_MVA * trafos.parallel * (vn_lv / rated_lv) ** 2
    # star (z/2, z/2, 1/y) to delta: series z + z^2 y / 4, each shunt y / (2 + z y / 2)
    shunt = y / (2.0 + z * y / 2.0)
    series = z + z * z * y / 4.0
    ratio = rated_hv / rated_lv * vn_lv / vn_hv * np.exp(1j * np.deg2rad(trafos.shift_degree))
    return series, shunt, np.asarray(ratio, dtype=complex)


def _merge_buses(network: Network) -> tuple[Ints, int]:
    """Return the node of each bus row (closed bus-bus switches merged) and the node count."""
    buses = network.buses
    row_of = {int(bus): row for row, bus in enumerate(buses.index)}
    count = len(buses.index)
    links = [(row_of[int(a)], row_of[int(b)]) for a, b in network.bus_links]
    links = [(a, b) for a, b in links if buses.in_service[a] and buses.in_service[b]]
    rows = np.array([a for a, _ in links], dtype=int)
    columns = np.array([b for _, b in links], dtype=int)
    graph = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    _, label = csgraph.connected_components(graph, directed=False)
    node = np.full(count, -1, dtype=np.int64)
    slack_label = label[row_of[network.slack_bus]]
    number: dict[int, int] = {int(slack_label): 0}
    for row in range(count):
        if buses.in_service[row]:
            node[row] = number.setdefault(int(label[row]), len(number))
    return node, len(number)


def _end_nodes(
    in_service: NDArray[np.bool_],
    ends: tuple[Ints, Ints],
    closed: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    next_node: int,
) -> tuple[Ints, Ints, NDArray[np.bool_], int]:
    """Give each open end an auxiliary node of its own; drop branches open at both ends."""
    keep = in_service & (ends[0] >= 0) & (ends[1] >= 0) & (closed[0] | closed[1])
    node_from, node_to = ends[0].copy(), ends[1].copy()
    for nodes, is_closed in ((node_from, closed[0]), (node_to, closed[1])):
        dangling = np.flatnonzero(keep & ~is_closed)
        nodes[dangling] = next_node + np.arange(len(dangling))
        next_node += len(dangling)
    return node_from, node_to, keep, next_node


def _refuse_unsupplied(network: Network, bus_node: Ints, admittance: sparse.csc_matrix) -> None:
    """Raise with the names of all buses that no closed path joins to the substation."""
    _, label = csgraph.connected_components(abs(admittance), directed=False)
    problems = [
        Problem(
            where=f"bus {network.buses.index[row]} ({network.buses.name[row]})",
            what="is not connected to the substation",
            remedy="close a switch, or take the bus out of service",
        )
        for row, node in enumerate(bus_node)
        if node >= 0 and label[node] != label[0]
    ]
    if problems:
        raise InputError(problems)


def build_grid(network: Network) -> Grid:
    """Build the per-unit model of a network.

    Parameters
    ----------
    network : Network
        The grid in engineering units.

    Returns
    -------
    Grid
        Node 0 is the substation.

    Raises
    ------
    InputError
        Buses that are not connected to the substation, with their names.
    UnsupportedComponent
        Branches without impedance that are not bus-bus switches.
    """
    buses, lines, trafos = network.buses, network.lines, network.trafos
    bus_node, next_node = _merge_buses(network)
    row_of = {int(bus): row for row, bus in enumerate(buses.index)}

    def rows(bus_ids: Ints) -> Ints:
        return np.array([row_of[int(bus)] for bus in bus_ids], dtype=np.int64)

    lf, lt, th, tl = map(rows, (lines.from_bus, lines.to_bus, trafos.hv_bus, trafos.lv_bus))
    line_f, line_t, line_keep, next_node = _end_nodes(
        lines.in_service,
        (bus_node[lf], bus_node[lt]),
        (lines.closed_from, lines.closed_to),
        next_node,
    )
    trafo_f, trafo_t, trafo_keep, next_node = _end_nodes(
        trafos.in_service,
        (bus_node[th], bus_node[tl]),
        (trafos.closed_hv, trafos.closed_lv),
        next_node,
    )
    line_z, line_y = _line_two_ports(lines, buses.vn_kv[lf], 2 * np.pi * network.frequency_hz)
    vn_hv, vn_lv = buses.vn_kv[th], buses.vn_kv[tl]
    trafo_z, trafo_y, ratio = _trafo_two_ports(trafos, vn_hv, vn_lv)
    z = np.concatenate([line_z, trafo_z])
    keep = np.concatenate([line_keep, trafo_keep])
    if np.any(keep & (z == 0)):
        raise UnsupportedComponent("a line or transformer without impedance: use a bus-bus switch")
    with np.errstate(divide="ignore", invalid="ignore"):
        series = 1.0 / z
    shunt = np.concatenate([line_y / 2, trafo_y])
    tap = np.concatenate([np.ones(len(line_z), dtype=complex), ratio])
    root3 = np.sqrt(3.0)
    line_rating = (
        root3 * lines.max_i_ka * lines.derating * lines.parallel * buses.vn_kv[lf] / BASE_MVA
    )
    trafo_mva = trafos.sn_mva * trafos.parallel * trafos.derating / BASE_MVA
    names = np.array(["line"] * len(line_z) + ["trafo"] * len(trafo_z))
    branches = Branches(
        kind=names[keep],
        element=np.concatenate([lines.index, trafos.index])[keep],
        row=np.concatenate([np.arange(len(line_z)), np.arange(len(trafo_z))])[keep],
        node_from=np.concatenate([line_f, trafo_f])[keep],
        node_to=np.concatenate([line_t, trafo_t])[keep],
        yff=((series + shunt) / np.abs(tap) ** 2)[keep],
        yft=(-series / np.conj(tap))[keep],
        ytf=(-series / tap)[keep],
        ytt=(series + shunt)[keep],
        impedance=z[keep],
        rating_from=np.concatenate([line_rating, trafo_mva * vn_hv / trafos.vn_hv_kv])[keep],
        rating_to=np.concatenate([line_rating, trafo_mva * vn_lv / trafos.vn_lv_kv])[keep],
    )
    admittance = _admittance(branches, network, bus_node, row_of, next_node)
    _refuse_unsupplied(network, bus_node, admittance)
    angle = np.deg2rad(network.slack_va_degree)
    pairs = {
        (min(f, t), max(f, t))
        for f, t in zip(branches.node_from.tolist(), branches.node_to.tolist(), strict=True)
    }
    return Grid(
        bus_node=bus_node,
        node_count=next_node,
        slack_v=complex(network.slack_vm_pu * np.exp(1j * angle)),
        admittance=admittance,
        branches=branches,
        radial=len(pairs) == next_node - 1,
    )


def _admittance(
    branches: Branches, network: Network, bus_node: Ints, row_of: dict[int, int], count: int
) -> sparse.csc_matrix:
    """Sum branch two-ports and shunts into the nodal admittance matrix, shape (count, count)."""
    f, t = branches.node_from, branches.node_to
    shunts = network.shunts
    at = np.array([bus_node[row_of[int(bus)]] for bus in shunts.bus], dtype=np.int64)
    drawn = (shunts.p_mw - 1j * shunts.q_mvar) * shunts.in_service / BASE_MVA
    on_grid = at >= 0
    rows = np.concatenate([f, f, t, t, at[on_grid]])
    columns = np.concatenate([f, t, f, t, at[on_grid]])
    values = np.concatenate(
        [branches.yff, branches.yft, branches.ytf, branches.ytt, drawn[on_grid]]
    )
    return sparse.csc_matrix((values, (rows, columns)), shape=(count, count))
