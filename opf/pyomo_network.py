"""A radial network of plain lines, read from its engineering values for the second statement.

Nothing of `opf.grid` is used. What is not a line closed at both ends without charging is refused.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from data.errors import UnsupportedComponent
from data.records.network import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class RadialLines:
    """A tree of lines; every line is named by the node below it (base power 1 MVA).

    ``order`` runs from the substation (``top``) outwards; ``path_r_pu`` sums the resistance from
    there; ``rating_mva`` is the rating at nominal voltage; ``line_above`` the line's row in the
    network's table.
    """

    top: int
    order: tuple[int, ...]
    parent: dict[int, int]
    children: dict[int, list[int]]
    node_of_bus: dict[int, int]
    r_pu: dict[int, float]
    x_pu: dict[int, float]
    path_r_pu: dict[int, float]
    rating_mva: dict[int, float]
    line_above: dict[int, int]


def _refuse_what_is_not_plain(network: Network) -> None:
    """Raise for elements that the second statement leaves out."""
    lines = network.lines
    used = lines.in_service & (lines.closed_from | lines.closed_to)
    found = [f"trafo:{k}" for k in network.trafos.index[network.trafos.in_service].tolist()]
    found += [f"shunt:{k}" for k in network.shunts.index[network.shunts.in_service].tolist()]
    charged = (lines.c_nf_per_km != 0) | (lines.g_us_per_km != 0)
    half_open = ~(lines.closed_from & lines.closed_to) & charged
    odd = used & ((charged & lines.closed_from & lines.closed_to) | half_open)
    found += [f"line:{k} with charging" for k in lines.index[odd].tolist()]
    if found:
        raise UnsupportedComponent(f"second statement of lindistflow: {', '.join(found[:10])}")


def read_radial_lines(network: Network) -> RadialLines:
    """Read the tree.

    Raises
    ------
    UnsupportedComponent
        Transformers, shunts, charging, loops or parallel lines.
    """
    _refuse_what_is_not_plain(network)
    buses, lines = network.buses, network.lines
    node = {int(bus): int(bus) for bus, on in zip(buses.index, buses.in_service, strict=True) if on}
    for a, b in network.bus_links.tolist():
        if a in node and b in node:
            keep, gone = node[a], node[b]
            node = {bus: keep if place == gone else place for bus, place in node.items()}
    vn = dict(zip(buses.index.tolist(), buses.vn_kv.tolist(), strict=True))
    ends: dict[int, list[tuple[int, int]]] = defaultdict(list)
    closed = np.flatnonzero(lines.in_service & lines.closed_from & lines.closed_to)
    for row in closed.tolist():
        a, b = node.get(int(lines.from_bus[row])), node.get(int(lines.to_bus[row]))
        if a is not None and b is not None:
            ends[a].append((b, row))
            ends[b].append((a, row))
    top = node[network.slack_bus]
    order = [top]
    parent: dict[int, int] = {}
    above: dict[int, int] = {}
    for place in order:
        for other, row in ends[place]:
            if row == above.get(place):
                continue
            if other in parent or other == top:
                raise UnsupportedComponent(f"line:{int(lines.index[row])} closes a loop: use 'ac'")
            parent[other], above[other] = place, row
            order.append(other)
    children: dict[int, list[int]] = defaultdict(list)
    r: dict[int, float] = {}
    x: dict[int, float] = {}
    rating: dict[int, float] = {}
    path_r = {top: 0.0}
    for place in order[1:]:
        row = above[place]
        children[parent[place]].append(place)
        kv = vn[int(lines.from_bus[row])]
        per_pu = lines.length_km[row] / lines.parallel[row] / kv**2
        r[place] = float(lines.r_ohm_per_km[row] * per_pu)
        x[place] = float(lines.x_ohm_per_km[row] * per_pu)
        path_r[place] = path_r[parent[place]] + r[place]
        ampacity = lines.max_i_ka[row] * lines.derating[row] * lines.parallel[row]
        rating[place] = float(np.sqrt(3.0) * kv * ampacity)
    return RadialLines(
        top=top,
        order=tuple(order),
        parent=parent,
        children=children,
        node_of_bus=node,
        r_pu=r,
        x_pu=x,
        path_r_pu=path_r,
        rating_mva=rating,
        line_above=above,
    )
