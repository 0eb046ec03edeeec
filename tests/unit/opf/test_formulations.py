"""Copper plate and linear branch flow against published and closed-form numbers.

The LinDistFlow numbers on case33bw were computed independently of this engine (its own linear
programme per variant, price 20 EUR/MWh, substation at 1.0 pu, no reactive power from plants).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandapower as pp
import pytest

from data.errors import InputError, UnsupportedComponent
from data.readers.pandapower_net import network_from_pandapower
from data.records.clearing import ClearingResult
from data.records.network import Network
from data.records.order import DemandOrder, GenerationOrder, PriceStep
from data.results import write_result
from opf.formulations.by_name import clear_approximation
from opf.formulations.copper_plate import clear_copper_plate
from opf.formulations.lindistflow import clear_lindistflow
from opf.formulations.linear_network import LinDistFlow
from opf.limits import CURRENT_FROM
from opf.power_flow import solve_state
from opf.problem import prepare_problem
from tests.support.cases import generation, library_network, make_case, storage


@pytest.fixture(scope="module")
def network() -> Network:
    return library_network("case33bw", slack_vm_pu=1.0)


def dlmp(result: ClearingResult, bus_from_1: int) -> float:
    return float(result.prices.dlmp_p_eur_per_mwh[bus_from_1 - 1, 0])


def award(result: ClearingResult, number: int = 0) -> float:
    return float(result.awards[number].injection_mw[0, 0])


def one_bus(load_mw: float = 1.0) -> Network:
    net = pp.create_empty_network()
    bus = pp.create_bus(net, vn_kv=20.0)
    pp.create_ext_grid(net, bus, vm_pu=1.0)
    pp.create_load(net, bus, p_mw=load_mw, q_mvar=0.0)
    return network_from_pandapower(net, "one bus")


def two_voltage_levels() -> Network:
    """110/20 kV with a tap off neutral, a charged cable, a ring main of two parallel cables."""
    net = pp.create_empty_network()
    hv, busbar = pp.create_bus(net, vn_kv=110.0), pp.create_bus(net, vn_kv=20.0)
    pp.create_ext_grid(net, hv, vm_pu=1.02)
    trafo = pp.create_transformer(net, hv, busbar, "25 MVA 110/20 kV")
    net.trafo.loc[trafo, "tap_pos"] = -3
    ends = [pp.create_bus(net, vn_kv=20.0) for _ in range(3)]
    for a, b, km in ((busbar, ends[0], 6.0), (ends[0], ends[1], 9.0), (ends[0], ends[1], 4.0)):
        pp.create_line(net, a, b, length_km=km, std_type="NA2XS2Y 1x185 RM/25 12/20 kV")
    # drawn from the far end to the near one
    pp.create_line(net, ends[2], ends[1], length_km=5.0, std_type="48-AL1/8-ST1A 20.0")
    pp.create_load(net, ends[2], p_mw=2.0, q_mvar=0.5)
    return network_from_pandapower(net, "two levels")


def test_linear_branch_flow_without_limits(network: Network) -> None:
    result = clear_lindistflow(make_case(network, []))
    assert result.objective_eur == pytest.approx(74.3, abs=1e-6)
    assert np.allclose(result.prices.dlmp_p_eur_per_mwh, 20.0, atol=1e-9)
    problem = prepare_problem(make_case(network, []))
    linear = LinDistFlow(problem.solver, problem.limits)
    squared = linear.vm_squared(problem.resources.injection(np.zeros(0)))
    assert np.sqrt(squared.min()) == pytest.approx(0.91593, abs=5e-6)


def test_linear_branch_flow_v1_overvoltage(network: Network) -> None:
    pv = generation("pv", 17, 3.0, 0.0)
    result = clear_lindistflow(make_case(network, [pv], vm_pu_max=1.05))
    # awards are on ticks of 1 W: at 20 EUR/MWh that is 1e-5 EUR
    assert result.objective_eur == pytest.approx(36.115351, abs=2e-5)
    assert award(result) == pytest.approx(1.90923, abs=5e-6)
    assert dlmp(result, 33) == pytest.approx(16.11075, abs=5e-6)
    assert dlmp(result, 18) == pytest.approx(0.0, abs=5e-6)
    assert not result.prices.loss_eur_per_mwh.any()


def test_linear_branch_flow_v2_negative_price(network: Network) -> None:
    pv = generation("pv", 17, 3.0, -30.0)
    result = clear_lindistflow(make_case(network, [pv], price=-20.0, vm_pu_max=1.05))
    assert result.objective_eur == pytest.approx(-93.392325, abs=2e-5)
    assert award(result) == pytest.approx(1.90923, abs=5e-6)
    assert dlmp(result, 33) == pytest.approx(-21.94463, abs=1e-5)


def test_linear_branch_flow_v3_undervoltage(network: Network) -> None:
    plants = [generation("dg18", 17, 2.0, 30.0), generation("dg33", 32, 2.0, 30.0)]
    result = clear_lindistflow(make_case(network, list(plants), vm_pu_min=0.95))
    assert result.objective_eur == pytest.approx(84.172925, abs=2e-5)
    assert award(result, 0) == pytest.approx(0.39207, abs=5e-6)
    assert award(result, 1) == pytest.approx(0.59522, abs=5e-6)


def test_an_approximation_says_what_the_grid_would_suffer(network: Network) -> None:
    pv = generation("pv", 17, 3.0, 0.0)
    result = clear_copper_plate(make_case(network, [pv], vm_pu_max=1.05))
    assert result.status == "uncertified"
    assert award(result) == 3.0
    assert result.certificate.worst_voltage_violation_pu == pytest.approx(0.0475, abs=1e-4)
    assert "voltage violation" in result.message
    assert "may not be posted" in result.message
    assert result.objective_eur == pytest.approx(20 * (3.715 - 3.0), abs=1e-9)
    assert result.bound_kind == "none"
    # its own programme is solved all the same
    assert result.certificate.stationarity < 1e-9


def test_where_there_is_no_grid_the_copper_plate_is_certified() -> None:
    plant = generation("g", 0, 0.4, 10.0)
    result = clear_copper_plate(make_case(one_bus(), [plant], price=50.0))
    assert result.status == "certified"
    assert result.objective_eur == pytest.approx(0.4 * 10 + 0.6 * 50, abs=1e-9)
    assert result.certificate.solver.startswith("highs ")


def ramped_market() -> tuple[Network, list[GenerationOrder]]:
    """Example 1 of MOST's `t_most_tlmp.m` (MATPOWER/matpower, most/lib/t)."""
    ones = np.ones(3)
    plants = [
        GenerationOrder(
            id=name, participant=name, buses=((0, 1.0),), p_mw_min=0.0 * ones,
            steps=(PriceStep(p_mw=500.0 * ones, price_eur_per_mwh=price * ones),),
            ramp_mw_per_h=ramp,
        )
        for name, price, ramp in (("G1", 25.0, 500.0), ("G2", 30.0, 50.0))
    ]  # fmt: skip
    return one_bus(1.0), plants


def test_most_example_1_prices_a_ramp_above_every_offer() -> None:
    network, plants = ramped_market()
    load = np.array([420.0, 590.0, 590.0]) - 1e-3
    case = make_case(
        network, list(plants), price=100.0, periods=3, load_scale=load,
        import_mw_max=0.0, export_mw_max=0.0,
    )  # fmt: skip
    result = clear_copper_plate(case)
    assert result.prices.dlmp_p_eur_per_mwh[0] == pytest.approx([25.0, 35.0, 30.0], abs=1e-6)
    first, second = (a.injection_mw[0] for a in result.awards)
    assert first == pytest.approx([380.0, 500.0, 500.0], abs=1e-6)
    assert second == pytest.approx([39.999, 89.999, 89.999], abs=1e-6)
    assert result.objective_eur == pytest.approx(41099.91, abs=1e-3)
    # what the caps add to the import price has a name
    assert {part.element_kind for part in result.prices.parts} == {"ext_grid"}
    assert result.status == "certified"


def test_an_import_cap_prices_the_copper_plate_by_the_marginal_bid() -> None:
    bid = DemandOrder(
        id="flexible", participant="A", buses=((0, 1.0),), p_mw_min=np.zeros(1),
        steps=(PriceStep(p_mw=np.array([2.0]), price_eur_per_mwh=np.array([80.0])),),
    )  # fmt: skip
    result = clear_copper_plate(make_case(one_bus(), [bid], price=50.0, import_mw_max=2.0))
    assert float(result.prices.dlmp_p_eur_per_mwh[0, 0]) == pytest.approx(80.0, abs=1e-9)
    assert award(result) == pytest.approx(-1.0, abs=1e-9)


def test_a_cap_that_losses_break_is_named(network: Network) -> None:
    case = make_case(network, [generation("g", 17, 2.0, 30.0)], import_mw_max=3.5)
    result = clear_copper_plate(case)
    assert result.status == "uncertified"
    assert "import cap exceeded by 0.1" in result.message


def test_linear_branch_flow_is_the_no_load_derivative_of_ac() -> None:
    case = make_case(two_voltage_levels(), [], line_loading_percent_max=100.0)
    problem = prepare_problem(case)
    solver, limits = problem.solver, problem.limits
    linear = LinDistFlow(solver, limits)
    nodes = problem.grid.node_count
    zero = np.zeros((nodes, 1), dtype=complex)
    # at no load both are the same
    assert linear.vm_squared(zero) == pytest.approx(np.abs(linear.no_load.v) ** 2, abs=1e-12)
    size = 1e-3
    for node in range(1, nodes):
        for power in (size, 1j * size):
            injection = zero.copy()
            injection[node] = power
            state = solve_state(solver, injection)
            change = np.abs(state.v) ** 2 - np.abs(linear.no_load.v) ** 2
            expected = linear.vm_squared(injection) - linear.vm_squared(zero)
            assert expected == pytest.approx(change, abs=0.01 * np.abs(change).max())


def test_parallel_cables_share_the_current() -> None:
    case = make_case(two_voltage_levels(), [], line_loading_percent_max=100.0)
    problem = prepare_problem(case)
    linear = LinDistFlow(problem.solver, problem.limits)
    injection = np.zeros((problem.grid.node_count, 1), dtype=complex)
    injection[-1] = -1e-3 - 4e-4j
    b = problem.grid.branches
    powers = [
        state.v[b.node_from] * np.conj(state.current_from)
        for state in (solve_state(problem.solver, injection), linear.no_load)
    ]
    change = (powers[0] - powers[1])[:, 0]
    from_ends = np.flatnonzero(problem.limits.family == CURRENT_FROM)
    expected = (linear.end_power(injection) - linear.end_s[:, None])[from_ends, 0]
    assert len(from_ends) == len(b)
    assert expected == pytest.approx(change[problem.limits.place[from_ends]], abs=1e-5)


def test_gradients_are_those_of_the_values() -> None:
    case = make_case(
        two_voltage_levels(), [], line_loading_percent_max=100.0, import_mw_max=5.0,
        export_mw_max=5.0,
    )  # fmt: skip
    problem = prepare_problem(case)
    linear = LinDistFlow(problem.solver, problem.limits)
    injection = problem.resources.injection(np.zeros(0))
    chosen = np.arange(len(problem.limits))
    dp, dq = linear.gradients(chosen, np.zeros_like(chosen), injection)
    for node in range(problem.grid.node_count):
        for gradient, unit in ((dp, 1.0), (dq, 1j)):
            step = np.zeros_like(injection)
            step[node] = 1e-5 * unit
            slope = (linear.excess(injection + step) - linear.excess(injection - step)) / 2e-5
            assert gradient[node] == pytest.approx(slope[:, 0], abs=1e-6)
    assert np.all(np.abs(dp).max(axis=0) <= linear.scale(chosen) * (1 + 1e-9))


def test_a_current_limit_holds_on_its_circle(network: Network) -> None:
    limited = dataclasses.replace(
        network,
        lines=dataclasses.replace(network.lines, max_i_ka=0.14 + 0 * network.lines.max_i_ka),
    )
    plant = generation("g", 17, 3.0, 30.0)
    result = clear_lindistflow(make_case(limited, [plant], line_loading_percent_max=100.0))
    rating = np.sqrt(3) * 12.66 * 0.14
    net_p, net_q = 3.715 - award(result), 2.3
    assert np.hypot(net_p, net_q) == pytest.approx(rating, rel=2e-6)
    assert dlmp(result, 18) == pytest.approx(30.0, abs=1e-5)
    assert dlmp(result, 1) == pytest.approx(20.0, abs=1e-9)
    assert {part.element for part in result.prices.parts} == {0}
    assert result.certificate.complementarity < 1e-6


def test_scarcity_is_priced_and_listed(network: Network) -> None:
    result = clear_lindistflow(make_case(network, [], vm_pu_min=0.93))
    assert result.violations
    assert result.penalty_eur == pytest.approx(4000 * sum(v.mw_short for v in result.violations))
    highest = [np.abs(part.p_eur_per_mwh).max() for part in result.prices.parts]
    assert highest == pytest.approx([4000.0] * len(highest), rel=1e-6)


def test_a_storage_does_not_burn_energy_at_a_negative_price(network: Network) -> None:
    unit = storage("s", 17, p_mw=1.0, energy_mwh=2.0, periods=3, efficiency=0.8)
    case = make_case(network, [unit], periods=3, price=np.array([-30.0, -20.0, 40.0]))
    result = clear_lindistflow(case)
    charge, discharge = result.awards[0].charge_mw, result.awards[0].discharge_mw
    assert charge is not None
    assert discharge is not None
    assert np.minimum(charge, discharge).max() == 0.0
    assert charge.max() > 0.0


def test_a_schedule_without_ac_solution_is_said_to_have_none(tmp_path: Path) -> None:
    net = pp.create_empty_network()
    first, second = (pp.create_bus(net, vn_kv=20.0) for _ in range(2))
    pp.create_ext_grid(net, first, vm_pu=1.0)
    pp.create_line_from_parameters(
        net, first, second, length_km=10.0, r_ohm_per_km=0.5, x_ohm_per_km=0.5, c_nf_per_km=0.0,
        max_i_ka=0.2,
    )  # fmt: skip
    pp.create_load(net, second, p_mw=1.0, q_mvar=0.0)
    case = make_case(
        network_from_pandapower(net, "weak"), [], periods=2, load_scale=np.array([1.0, 90.0])
    )
    result = clear_copper_plate(case)
    assert result.status == "uncertified"
    assert "no AC power flow solution in periods [1]" in result.message
    assert np.isnan(result.grid.vm_pu[:, 1]).all()
    assert np.isfinite(result.grid.vm_pu[:, 0]).all()
    assert result.objective_eur == pytest.approx(20.0 * 91.0)
    write_result(result, case, tmp_path / "out")


def test_meshed_grids_are_refused() -> None:
    net = pp.create_empty_network()
    buses = [pp.create_bus(net, vn_kv=20.0) for _ in range(3)]
    pp.create_ext_grid(net, buses[0])
    for a, b in ((0, 1), (1, 2), (2, 0)):
        pp.create_line(net, buses[a], buses[b], 1.0, "NA2XS2Y 1x185 RM/25 12/20 kV")
    case = make_case(network_from_pandapower(net, "ring"), [])
    with pytest.raises(UnsupportedComponent, match=r"lindistflow.*meshed"):
        clear_lindistflow(case)
    assert clear_copper_plate(case).objective_eur == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", ["copper_plate", "lindistflow", "branch_flow_soc"])
def test_formulations_are_chosen_by_name_and_repeat_to_the_byte(
    network: Network, name: str, tmp_path: Path
) -> None:
    plants = [generation("a", 17, 1.0, 10.0), generation("b", 32, 1.0, 10.0)]
    case = make_case(network, list(plants), vm_pu_max=1.0)
    case = dataclasses.replace(case, formulation=name)
    first, again = clear_approximation(case), clear_approximation(case)
    assert name in first.message
    for folder, result in (("first", first), ("again", again)):
        write_result(result, case, tmp_path / folder)
    for path in sorted((tmp_path / "first").iterdir()):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_an_unknown_name_is_refused(network: Network) -> None:
    case = dataclasses.replace(make_case(network, []), formulation="dc")
    with pytest.raises(UnsupportedComponent, match="'dc' is none of ac, copper_plate"):
        clear_approximation(case)


def test_orders_that_contradict_themselves_are_named(network: Network) -> None:
    unit = dataclasses.replace(
        storage("s", 17, p_mw=0.1, energy_mwh=2.0, periods=2), energy_mwh_end_min=2.0
    )
    case = make_case(network, [unit], periods=2)
    for name in ("lindistflow", "branch_flow_soc"):
        with pytest.raises(InputError, match="s"):
            clear_approximation(dataclasses.replace(case, formulation=name))
