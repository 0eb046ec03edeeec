"""The feeder as the page draws it: from the study's network, with distances."""

from __future__ import annotations

import heapq

import numpy as np

from data.records.clearing import Limits
from data.records.network import Network
from dso.report.views import FeederView
from dso.show.views import Reach


def view_feeder(network: Network, limits: Limits) -> FeederView:
    """Return the buses in service and all lines and transformers, with the limits in force."""
    buses, lines, trafos = network.buses, network.lines, network.trafos
    rows = np.flatnonzero(buses.in_service)
    position = {int(bus): k for k, bus in enumerate(buses.index[rows])}
    ends: list[tuple[int, int]] = []
    kinds: list[str] = []
    elements: list[int] = []
    names: list[str] = []
    closed: list[bool] = []
    most: list[float] = []
    tables = (
        ("line", lines.index, lines.name, lines.from_bus, lines.to_bus,
         lines.in_service & lines.closed_from & lines.closed_to, limits.line_loading_percent_max),
        ("trafo", trafos.index, trafos.name, trafos.hv_bus, trafos.lv_bus,
         trafos.in_service & trafos.closed_hv & trafos.closed_lv,
         limits.trafo_loading_percent_max),
    )  # fmt: skip
    for kind, index, name, start, end, in_service, maximum in tables:
        for row, element in enumerate(index.tolist()):
            pair = (position.get(int(start[row])), position.get(int(end[row])))
            if pair[0] is None or pair[1] is None:
                continue  # it hangs on a bus out of service
            ends.append((pair[0], pair[1]))
            kinds.append(kind)
            elements.append(element)
            names.append(name[row] or f"{kind} {element}")
            closed.append(bool(in_service[row]))
            most.append(float(maximum[row]))
    pairs = np.array(ends, dtype=np.int64).reshape(-1, 2)
    return FeederView(
        bus=buses.index[rows],
        bus_name=tuple(_bus_name(buses.name[row], int(buses.index[row])) for row in rows),
        longitude=buses.longitude[rows],
        latitude=buses.latitude[rows],
        vn_kv=buses.vn_kv[rows],
        vm_pu_min=limits.vm_pu_min[rows],
        vm_pu_max=limits.vm_pu_max[rows],
        branch_kind=tuple(kinds),
        branch_element=tuple(elements),
        branch_name=tuple(names),
        branch_from=pairs[:, 0],
        branch_to=pairs[:, 1],
        branch_in_service=np.array(closed, dtype=bool),
        loading_percent_max=np.array(most, dtype=float),
        links=tuple(
            (position[int(a)], position[int(b)])
            for a, b in network.bus_links
            if int(a) in position and int(b) in position
        ),
        substation=position[network.slack_bus],
    )


def _bus_name(name: str, index: int) -> str:
    """Return a name that says it is a bus: many networks number their buses only."""
    text = name.strip()
    return f"Bus {text or index}" if not text or text.isdigit() else text


def reach_of(feeder: FeederView, network: Network) -> Reach:
    """Return the shortest closed way from the substation to each bus.

    Lengths are those of lines; transformers and closed switches have none. Dijkstra's algorithm,
    ties by bus position.
    """
    length = dict(zip(network.lines.index.tolist(), network.lines.length_km, strict=True))
    near: list[list[tuple[int, float]]] = [[] for _ in feeder.bus]
    ways = [
        (int(a), int(b), float(length[element]) if kind == "line" else 0.0)
        for kind, element, a, b, on in zip(
            feeder.branch_kind, feeder.branch_element, feeder.branch_from, feeder.branch_to,
            feeder.branch_in_service, strict=True,
        )
        if on
    ]  # fmt: skip
    for a, b, km in (*ways, *((a, b, 0.0) for a, b in feeder.links)):
        near[a].append((b, km))
        near[b].append((a, km))
    distance = np.full(len(near), np.nan)
    parent = np.full(len(near), -1, dtype=np.int64)
    queue: list[tuple[float, int, int]] = [(0.0, feeder.substation, -1)]
    while queue:
        km, bus, before = heapq.heappop(queue)
        if np.isfinite(distance[bus]):
            continue
        distance[bus], parent[bus] = km, before
        for other, further in near[bus]:
            if not np.isfinite(distance[other]):
                heapq.heappush(queue, (km + further, other, bus))
    return Reach(distance_km=distance, parent=parent)
