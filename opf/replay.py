"""Replay of a schedule in an AC power flow that is not ours: power-grid-model.

Its grid is built from the engineering values of the network, by its own line and transformer
models, so a mistake in our admittance matrix, sweeps or per-unit bridge shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import LimitMargins, Limits, Violation
from data.records.network import Network

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Short-circuit power of the substation [VA]: large enough for a drop below 1e-7 pu.
SOURCE_SK_VA: Final = 1e15


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """What the independent engine found.

    Parameters
    ----------
    engine : str
        Its name and version.
    vm_pu : ndarray, shape (buses, periods)
        Voltages; NaN for buses out of service.
    line_loading_percent, trafo_loading_percent : ndarray, shape (elements, periods)
        Current loading of the larger end; 0 where out of service.
    import_mw, import_mvar : ndarray, shape (periods,)
        Exchange at the substation, + import.
    losses_mw : ndarray, shape (periods,)
        Losses of lines and transformers.
    violations : tuple of Violation
        Every limit broken, worst value first kept per element and period.
    """

    engine: str
    vm_pu: Floats
    line_loading_percent: Floats
    trafo_loading_percent: Floats
    import_mw: Floats
    import_mvar: Floats
    losses_mw: Floats
    violations: tuple[Violation, ...]

    def losses_mwh(self, mtu_h: float) -> float:
        """Total losses over the periods [MWh]."""
        return float(self.losses_mw.sum()) * mtu_h


def _node_of_bus(network: Network) -> dict[int, int]:
    """Smallest bus index of each group joined by closed bus-bus switches."""
    leader = {int(bus): int(bus) for bus in network.buses.index}

    def find(bus: int) -> int:
        while leader[bus] != bus:
            bus = leader[bus]
        return bus

    for a, b in network.bus_links.tolist():
        first, second = sorted((find(a), find(b)))
        leader[second] = first
    return {bus: find(bus) for bus in leader}


def _grid_input(network: Network, node_of_bus: dict[int, int]) -> tuple[dict[str, Any], Ints]:
    """Input of power-grid-model and the nodes in the order of its injections."""
    from power_grid_model import LoadGenType, initialize_array

    buses, lines = network.buses, network.lines
    vn = dict(zip(buses.index.tolist(), buses.vn_kv.tolist(), strict=True))
    used = buses.in_service
    nodes = np.array(sorted({node_of_bus[int(b)] for b in buses.index[used]}), dtype=np.int64)
    first_id = int(buses.index.max()) + 1
    node = initialize_array("input", "node", len(nodes))
    node["id"], node["u_rated"] = nodes, [vn[int(n)] * 1e3 for n in nodes]

    count = len(lines.index)
    line = initialize_array("input", "line", count)
    line["id"] = first_id + np.arange(count)
    line["from_node"] = [node_of_bus[int(b)] for b in lines.from_bus]
    line["to_node"] = [node_of_bus[int(b)] for b in lines.to_bus]
    line["from_status"] = lines.closed_from & lines.in_service
    line["to_status"] = lines.closed_to & lines.in_service
    line["r1"] = lines.r_ohm_per_km * lines.length_km / lines.parallel
    line["x1"] = lines.x_ohm_per_km * lines.length_km / lines.parallel
    line["c1"] = lines.c_nf_per_km * 1e-9 * lines.length_km * lines.parallel
    omega_c = 2 * np.pi * network.frequency_hz * lines.c_nf_per_km * 1e-9
    line["tan1"] = np.divide(
        lines.g_us_per_km * 1e-6, omega_c, out=np.zeros(count), where=omega_c > 0
    )
    line["i_n"] = lines.max_i_ka * 1e3 * lines.derating * lines.parallel

    trafo = _trafo_input(network, node_of_bus, first_id + count)
    source = initialize_array("input", "source", 1)
    source["id"] = first_id + count + len(trafo)
    source["node"], source["status"] = node_of_bus[network.slack_bus], 1
    source["u_ref"], source["sk"] = network.slack_vm_pu, SOURCE_SK_VA
    source["u_ref_angle"] = np.deg2rad(network.slack_va_degree)

    gen = initialize_array("input", "sym_gen", len(nodes))
    gen["id"] = int(source["id"][0]) + 1 + np.arange(len(nodes))
    gen["node"], gen["status"], gen["type"] = nodes, 1, LoadGenType.const_power
    gen["p_specified"], gen["q_specified"] = 0.0, 0.0

    shunts = network.shunts
    shunt = initialize_array("input", "shunt", len(shunts.index))
    shunt["id"] = int(gen["id"].max()) + 1 + np.arange(len(shunts.index))
    shunt["node"] = [node_of_bus[int(b)] for b in shunts.bus]
    shunt["status"] = shunts.in_service
    base = np.array([vn[int(b)] for b in shunts.bus]) ** 2
    shunt["g1"] = shunts.p_mw / base if len(base) else 0.0
    shunt["b1"] = -shunts.q_mvar / base if len(base) else 0.0
    grid = {
        "node": node, "line": line, "transformer": trafo, "source": source, "sym_gen": gen,
        "shunt": shunt,
    }  # fmt: skip
    return grid, nodes


def _trafo_input(network: Network, node_of_bus: dict[int, int], first_id: int) -> Any:  # noqa: ANN401
    """Transformers for power-grid-model; phase shifts are left out (magnitudes do not need them).

    On a meshed grid whose loops hold different shifts this would differ; the caller sees it as a
    replay error, never silently.
    """
    from power_grid_model import BranchSide, WindingType, initialize_array

    trafos = network.trafos
    trafo = initialize_array("input", "transformer", len(trafos.index))
    mva = trafos.sn_mva * trafos.parallel
    trafo["id"] = first_id + np.arange(len(trafos.index))
    trafo["from_node"] = [node_of_bus[int(b)] for b in trafos.hv_bus]
    trafo["to_node"] = [node_of_bus[int(b)] for b in trafos.lv_bus]
    trafo["from_status"] = trafos.closed_hv & trafos.in_service
    trafo["to_status"] = trafos.closed_lv & trafos.in_service
    trafo["u1"] = trafos.vn_hv_kv * trafos.ratio_hv * 1e3
    trafo["u2"] = trafos.vn_lv_kv * trafos.ratio_lv * 1e3
    trafo["sn"], trafo["uk"] = mva * 1e6, trafos.vk_percent / 100
    trafo["pk"] = trafos.vkr_percent / 100 * mva * 1e6
    trafo["i0"] = np.maximum(
        trafos.i0_percent / 100, trafos.pfe_kw * 1e-3 * trafos.parallel / np.maximum(mva, 1e-12)
    )
    trafo["p0"] = trafos.pfe_kw * 1e3 * trafos.parallel
    trafo["winding_from"] = trafo["winding_to"] = WindingType.wye_n
    trafo["clock"] = 0
    trafo["tap_side"] = BranchSide.from_side
    for name in ("tap_pos", "tap_min", "tap_max", "tap_nom"):
        trafo[name] = 0
    trafo["tap_size"] = 0.0
    return trafo


def replay_violations(
    network: Network,
    limits: Limits,
    periods_count: int,
    injection_mw: Floats,
    injection_mvar: Floats,
    margins: LimitMargins | None = None,
) -> ReplayReport:
    """Replay bus injections in power-grid-model and list every limit they break.

    Parameters
    ----------
    network : Network
        The grid.
    limits : Limits
        Limits in force; voltage limits do not apply at the substation.
    periods_count : int
        Number of periods.
    injection_mw, injection_mvar : ndarray, shape (buses, periods)
        Net injection of everything connected at each bus, rows as in ``network.buses``.
    margins : LimitMargins, optional
        Security margins that the limits are drawn in by.

    Raises
    ------
    power_grid_model.errors.PowerGridError
        When it finds no solution.
    """
    from power_grid_model import CalculationMethod, PowerGridModel, initialize_array

    node_of_bus = _node_of_bus(network)
    grid, nodes = _grid_input(network, node_of_bus)
    position = {int(n): k for k, n in enumerate(nodes)}
    at = np.array([position.get(node_of_bus[int(b)], -1) for b in network.buses.index])
    supplied = at >= 0
    total = np.zeros((len(nodes), periods_count), dtype=complex)
    np.add.at(total, at[supplied], (injection_mw + 1j * injection_mvar)[supplied])
    update = initialize_array("update", "sym_gen", (periods_count, len(nodes)))
    update["id"] = grid["sym_gen"]["id"][None, :]
    update["p_specified"], update["q_specified"] = total.real.T * 1e6, total.imag.T * 1e6
    output = PowerGridModel(grid, system_frequency=network.frequency_hz).calculate_power_flow(
        update_data={"sym_gen": update},
        calculation_method=CalculationMethod.newton_raphson,
        error_tolerance=1e-10,
        max_iterations=50,
        threading=-1,
    )
    result: dict[str, Any] = {
        getattr(kind, "value", str(kind)): table for kind, table in output.items()
    }
    source = result["source"]
    line = _ends(result.get("line"), periods_count)
    trafo = _ends(result.get("transformer"), periods_count)
    vm = np.full((len(network.buses.index), periods_count), np.nan)
    vm[supplied] = result["node"]["u_pu"].T[at[supplied]]
    rated = network.lines.max_i_ka * 1e3 * network.lines.derating * network.lines.parallel
    line_loading = np.maximum(line["i_from"], line["i_to"]).T / rated[:, None] * 100
    t = network.trafos
    trafo_va = (t.sn_mva * t.parallel * t.derating * 1e6)[:, None]
    trafo_loading = (
        np.maximum(
            trafo["i_from"].T * t.vn_hv_kv[:, None] * 1e3,
            trafo["i_to"].T * t.vn_lv_kv[:, None] * 1e3,
        )
        * np.sqrt(3.0) / trafo_va * 100
    )  # fmt: skip
    losses = (
        (line["p_from"] + line["p_to"]).sum(axis=1) + (trafo["p_from"] + trafo["p_to"]).sum(axis=1)
    ) / 1e6
    return ReplayReport(
        engine=f"power-grid-model {version('power-grid-model')}",
        vm_pu=vm,
        line_loading_percent=line_loading,
        trafo_loading_percent=trafo_loading,
        import_mw=source["p"][:, 0] / 1e6,
        import_mvar=source["q"][:, 0] / 1e6,
        losses_mw=losses,
        violations=_list_violations(
            network, limits, node_of_bus, vm, line_loading, trafo_loading, margins
        ),
    )


def _ends(table: Any, periods_count: int) -> dict[str, Floats]:  # noqa: ANN401
    """Currents and powers at both ends; the engine leaves out kinds it has none of."""
    fields = ("i_from", "i_to", "p_from", "p_to")
    if table is None:
        return {name: np.zeros((periods_count, 0)) for name in fields}
    return {name: table[name] for name in fields}


def _list_violations(
    network: Network,
    limits: Limits,
    node_of_bus: dict[int, int],
    vm: Floats,
    line_loading: Floats,
    trafo_loading: Floats,
    margins: LimitMargins | None,
) -> tuple[Violation, ...]:
    """Every limit broken by more than rounding (1e-9 pu, 1e-7 percent)."""
    at_substation = np.array(
        [node_of_bus[int(b)] == node_of_bus[network.slack_bus] for b in network.buses.index]
    )
    tables = (
        ("bus", network.buses.index, "upper", vm, limits.vm_pu_max, 1.0),
        ("bus", network.buses.index, "lower", vm, limits.vm_pu_min, -1.0),
        ("line", network.lines.index, "", line_loading, limits.line_loading_percent_max, 1.0),
        ("trafo", network.trafos.index, "", trafo_loading, limits.trafo_loading_percent_max, 1.0),
    )
    found = []
    drawn: tuple[Floats | None, ...] = (None,) * len(tables)
    if margins is not None:
        drawn = (
            margins.vm_pu_upper, -margins.vm_pu_lower,
            margins.line_loading_percent, margins.trafo_loading_percent,
        )  # fmt: skip
    for (kind, index, side, value, stated, sign), margin in zip(tables, drawn, strict=True):
        limit = np.repeat(stated[:, None], value.shape[1], axis=1)
        limit = limit if margin is None else limit - margin
        with np.errstate(invalid="ignore"):
            over = sign * (value - limit) > (1e-9 if kind == "bus" else 1e-7)
        if kind == "bus":
            over &= ~at_substation[:, None]
        found += [
            Violation(
                element_kind=kind,
                element=int(index[row]),
                side=side,
                period=int(period),
                value=float(value[row, period]),
                limit=float(limit[row, period]),
                mw_short=0.0,
            )
            for row, period in zip(*np.nonzero(over), strict=True)
        ]
    return tuple(found)
