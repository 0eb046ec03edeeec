"""Power flow and adjoints against pandapower and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import InputError
from data.readers.pandapower_net import network_from_pandapower
from data.records.network import Network
from opf.grid import build_grid
from opf.limits import import_gradient, limit_gradients, limit_values, list_limits
from opf.power_flow import NodalSolver, PowerFlowDiverged, solve_state
from tests.support.cases import make_case


def own_injection(network: Network, bus_node: np.ndarray, nodes: int) -> np.ndarray:
    """Injection of the network's own loads and sgens, shape (nodes, 1)."""
    row = {int(bus): k for k, bus in enumerate(network.buses.index)}
    total = np.zeros((nodes, 1), dtype=complex)
    for table, sign in ((network.loads, -1.0), (network.sgens, 1.0)):
        for k, bus in enumerate(table.bus):
            if table.in_service[k]:
                total[bus_node[row[int(bus)]]] += sign * (table.p_mw[k] + 1j * table.q_mvar[k])
    return total


@pytest.mark.filterwarnings("ignore:tap_dependency_table is missing:DeprecationWarning")
@pytest.mark.parametrize(
    "name",
    ["case33bw", "create_cigre_network_mv", "mv_oberrhein", "create_kerber_landnetz_kabel_2"],
)
def test_voltages_loadings_and_import_equal_pandapower(name: str) -> None:
    import pandapower as pp
    import pandapower.networks as library

    net = getattr(library, name)()
    pp.runpp(net, tolerance_mva=1e-11, numba=False)
    if len(net.ext_grid) > 1:
        net.ext_grid = net.ext_grid.iloc[:1]
        net.trafo.loc[net.trafo.hv_bus != net.ext_grid.bus.iloc[0], "in_service"] = False
        for switch in net.switch.index[~net.switch.closed]:
            net.switch.loc[switch, "closed"] = True
        pp.runpp(net, tolerance_mva=1e-11, numba=False)
        net.bus.loc[net.res_bus.vm_pu.isna(), "in_service"] = False
    network = network_from_pandapower(net, name)
    grid = build_grid(network)
    solver = NodalSolver(grid)
    state = solve_state(solver, own_injection(network, grid.bus_node, grid.node_count))
    alive = grid.bus_node >= 0
    assert np.abs(state.v[grid.bus_node[alive], 0]) == pytest.approx(
        net.res_bus.vm_pu.to_numpy()[alive], abs=1e-9
    )
    assert state.exchange[0].real == pytest.approx(float(net.res_ext_grid.p_mw.sum()), abs=1e-7)
    assert state.exchange[0].imag == pytest.approx(float(net.res_ext_grid.q_mvar.sum()), abs=1e-7)
    b = grid.branches
    loading = 100 * np.maximum(
        np.abs(state.current_from[:, 0]) / b.rating_from,
        np.abs(state.current_to[:, 0]) / b.rating_to,
    )
    for kind, table in (("line", net.res_line), ("trafo", net.res_trafo)):
        of_kind = b.kind == kind
        expected = table.loading_percent.to_numpy()[b.row[of_kind]]
        assert loading[of_kind] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_adjoints_equal_finite_differences_of_power_flows() -> None:
    import pandapower.networks as library

    network = network_from_pandapower(library.create_cigre_network_mv(), "cigre")
    case = make_case(network, [], import_mw_max=100.0)
    grid = build_grid(network)
    solver = NodalSolver(grid)
    injection = own_injection(network, grid.bus_node, grid.node_count)
    state = solve_state(solver, injection)
    limits = list_limits(case, grid)
    every = np.arange(len(limits))
    first = np.zeros(len(limits), dtype=int)
    dp, dq = limit_gradients(solver, state, limits, every, first)
    import_p, import_q = import_gradient(solver, state)
    # an open end carries no current, and |0| has no derivative
    flowing = np.abs(limit_values(limits, state)[:, 0]) > 1e-6
    step = 1e-4
    for node in range(0, grid.node_count, 3):
        for direction, gradient, slope in ((1.0, dp, import_p), (1j, dq, import_q)):
            moved = []
            for sign in (1.0, -1.0):
                changed = injection.copy()
                changed[node] += sign * step * direction
                moved.append(solve_state(solver, changed, state))
            difference = (limit_values(limits, moved[0]) - limit_values(limits, moved[1]))[:, 0] / (
                2 * step
            )
            assert gradient[node, flowing] == pytest.approx(difference[flowing], abs=2e-7)
            exchange = (moved[0].exchange.real - moved[1].exchange.real)[0] / (2 * step)
            assert slope[node, 0] == pytest.approx(exchange, abs=2e-7)


def test_newton_takes_over_where_the_fixed_point_does_not_contract() -> None:
    import pandapower.networks as library

    network = network_from_pandapower(library.case33bw(), "case33bw")
    grid = build_grid(network)
    solver = NodalSolver(grid)
    heavy = 3.2 * own_injection(network, grid.bus_node, grid.node_count)
    state = solve_state(solver, heavy)
    residual = solver.a @ state.v[1:] - solver.rhs_slack[:, None] - np.conj(heavy[1:] / state.v[1:])
    assert np.abs(residual).max() < 1e-8
    with pytest.raises(PowerFlowDiverged):
        solve_state(solver, 20.0 * heavy)


def test_an_island_is_refused_by_name() -> None:
    import pandapower.networks as library

    net = library.case33bw()
    net.line.loc[16, "in_service"] = False
    network = network_from_pandapower(net, "case33bw")
    with pytest.raises(InputError, match="bus 17"):
        build_grid(network)
