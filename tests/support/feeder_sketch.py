"""A feeder drawn with a few numbers, and a linear power flow on it: for pictures, not for truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.records.network import Network

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    element_kind: str
    element: int
    name: str
    from_bus: int
    to_bus: int
    in_service: bool
    r_pu: float  # on 1 MVA
    x_pu: float
    s_mva_max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FeederSketch:
    buses: tuple[dict[str, object], ...]
    branches: tuple[Branch, ...]
    links: tuple[tuple[int, int], ...]
    substation_bus: int
    sites: tuple[int, ...]  # buses with load, renewables and a storage
    vm_pu_max: float = 1.055

    def feeder_map(self) -> dict[str, object]:
        kept = ("element_kind", "element", "name", "from_bus", "to_bus", "in_service")
        return {
            "buses": list(self.buses),
            "branches": [{key: getattr(branch, key) for key in kept} for branch in self.branches],
            "substation_bus": self.substation_bus,
        }


def tree(sketch: FeederSketch) -> list[tuple[int, int, int]]:
    """Walk from the substation: (parent bus, bus, branch position or -1 for a switch)."""
    near: dict[int, list[tuple[int, int]]] = {int(str(b["bus"])): [] for b in sketch.buses}
    for a, b in sketch.links:
        near[a].append((b, -1))
        near[b].append((a, -1))
    for place, branch in enumerate(sketch.branches):
        if branch.in_service:
            near[branch.from_bus].append((branch.to_bus, place))
            near[branch.to_bus].append((branch.from_bus, place))
    seen, queue, walk = {sketch.substation_bus}, [sketch.substation_bus], []
    while queue:
        bus = queue.pop(0)
        for other, place in near[bus]:
            if other not in seen:
                seen.add(other)
                queue.append(other)
                walk.append((bus, other, place))
    return walk


def linear_flow(
    sketch: FeederSketch, injection_mw: Floats, v_substation: float = 1.025
) -> tuple[Floats, Floats, Floats, Floats]:
    """Voltages, loadings, powers from the ``from`` side, and d(voltage)/d(injection) per bus.

    Arrays are (buses or branches, periods); ``injection_mw`` is (buses, periods).
    """
    row = {int(str(bus["bus"])): k for k, bus in enumerate(sketch.buses)}
    walk = tree(sketch)
    flow = injection_mw.copy()  # towards the substation
    for parent, bus, _ in reversed(walk):
        flow[row[parent]] += flow[row[bus]]
    vm = np.full_like(injection_mw, v_substation)
    resistance = np.zeros(len(row))
    power = np.zeros((len(sketch.branches), injection_mw.shape[1]))
    loading = np.zeros_like(power)
    for parent, bus, place in walk:
        vm[row[bus]] = vm[row[parent]]
        resistance[row[bus]] = resistance[row[parent]]
        if place >= 0:
            branch = sketch.branches[place]
            drop = branch.r_pu + 0.2 * branch.x_pu
            vm[row[bus]] = vm[row[parent]] + drop * flow[row[bus]]
            resistance[row[bus]] += drop
            sign = -1.0 if branch.from_bus == parent else 1.0
            power[place] = sign * flow[row[bus]]
            loading[place] = 100 * np.hypot(flow[row[bus]], 0.15) / branch.s_mva_max
    return vm, loading, power, resistance


def sketch_of(network: Network) -> FeederSketch:
    """Sketch a real network."""
    vn = dict(zip(network.buses.index.tolist(), network.buses.vn_kv.tolist(), strict=True))
    branches = []
    lines, trafos = network.lines, network.trafos
    for k, index in enumerate(lines.index.tolist()):
        base = vn[int(lines.from_bus[k])] ** 2
        closed = bool(lines.in_service[k] and lines.closed_from[k] and lines.closed_to[k])
        branches.append(
            Branch(
                element_kind="line", element=index, name=lines.name[k],
                from_bus=int(lines.from_bus[k]), to_bus=int(lines.to_bus[k]), in_service=closed,
                r_pu=float(lines.r_ohm_per_km[k] * lines.length_km[k] / base),
                x_pu=float(lines.x_ohm_per_km[k] * lines.length_km[k] / base),
                # less than the real rating, so that lines overload on the invented day
                s_mva_max=float(0.7 * np.sqrt(3 * base) * lines.max_i_ka[k]),
            )
        )  # fmt: skip
    for k, index in enumerate(trafos.index.tolist()):
        branches.append(
            Branch(
                element_kind="trafo", element=index, name=trafos.name[k],
                from_bus=int(trafos.hv_bus[k]), to_bus=int(trafos.lv_bus[k]), in_service=True,
                r_pu=float(trafos.vkr_percent[k] / 100 / trafos.sn_mva[k]),
                x_pu=float(trafos.vk_percent[k] / 100 / trafos.sn_mva[k] / 4),
                s_mva_max=float(trafos.sn_mva[k]),
            )
        )  # fmt: skip
    buses = network.buses
    return FeederSketch(
        buses=tuple(
            {
                "bus": int(buses.index[k]), "name": buses.name[k], "vn_kv": float(buses.vn_kv[k]),
                "longitude": float(buses.longitude[k]), "latitude": float(buses.latitude[k]),
            }
            for k in range(len(buses.index))
        ),
        branches=tuple(branches),
        links=tuple((int(a), int(b)) for a, b in network.bus_links.tolist()),
        substation_bus=network.slack_bus,
        sites=tuple(sorted({int(bus) for bus in network.storages.bus})),
    )  # fmt: skip


def small_sketch() -> FeederSketch:
    """Seven buses: a transformer, two branches of a feeder and an open loop line."""
    buses = [
        (0, "HV", 110.0, 11.400, 53.640), (1, "busbar", 20.0, 11.400, 53.640),
        (2, "North 1", 20.0, 11.402, 53.648), (3, "North 2", 20.0, 11.405, 53.655),
        (4, "South 1", 20.0, 11.395, 53.632), (5, "South 2", 20.0, 11.390, 53.625),
        (6, "South <3>", 20.0, 11.384, 53.619),
    ]  # fmt: skip
    ends = [(1, 2), (2, 3), (1, 4), (4, 5), (5, 6), (3, 6)]
    lines = [
        Branch(
            element_kind="line", element=k, name=f"Line {k + 1}", from_bus=a, to_bus=b,
            in_service=k != 5, r_pu=0.006, x_pu=0.004, s_mva_max=4.0,
        )
        for k, (a, b) in enumerate(ends)
    ]  # fmt: skip
    trafo = Branch(
        element_kind="trafo", element=0, name="Transformer 1", from_bus=0, to_bus=1,
        in_service=True, r_pu=0.0002, x_pu=0.001, s_mva_max=25.0,
    )  # fmt: skip
    return FeederSketch(
        buses=tuple(
            {"bus": bus, "name": name, "vn_kv": kv, "longitude": lon, "latitude": lat}
            for bus, name, kv, lon, lat in buses
        ),
        branches=(*lines, trafo),
        links=(),
        substation_bus=0,
        sites=(2, 3, 4, 5, 6),
    )
