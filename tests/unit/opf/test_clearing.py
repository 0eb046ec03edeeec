"""Clearing on grids small enough to know the answer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandapower as pp
import pytest

from data.errors import InputError
from data.readers.pandapower_net import network_from_pandapower
from data.records.network import Network
from data.records.order import DemandOrder, PriceStep, ReactiveRange
from opf.clearing import clear_case
from tests.support.cases import generation, library_network, make_case, storage


def two_buses(load_mw: float = 1.0) -> Network:
    """20 kV, one line, one load."""
    net = pp.create_empty_network()
    first, second = (pp.create_bus(net, vn_kv=20.0) for _ in range(2))
    pp.create_ext_grid(net, first, vm_pu=1.0)
    pp.create_line_from_parameters(
        net, first, second, length_km=10.0, r_ohm_per_km=0.2, x_ohm_per_km=0.0,
        c_nf_per_km=0.0, max_i_ka=0.2,
    )  # fmt: skip
    pp.create_load(net, second, p_mw=load_mw, q_mvar=0.0)
    return network_from_pandapower(net, "two buses")


@pytest.mark.parametrize("mtu_minutes", [5, 15, 60])
def test_the_price_does_not_depend_on_the_length_of_the_period(mtu_minutes: int) -> None:
    network = library_network("case33bw", slack_vm_pu=1.0)
    pv = generation("pv", 17, 3.0, 0.0)
    result = clear_case(make_case(network, [pv], vm_pu_max=1.05, mtu_minutes=mtu_minutes))
    assert result.prices.dlmp_p_eur_per_mwh[32, 0] == pytest.approx(16.91661, abs=1e-4)


def test_import_cap_sets_the_price_by_the_marginal_bid() -> None:
    bid = DemandOrder(
        id="flexible",
        participant="A",
        buses=((1, 1.0),),
        steps=(PriceStep(p_mw=np.array([2.0]), price_eur_per_mwh=np.array([80.0])),),
        p_mw_min=np.zeros(1),
    )
    result = clear_case(make_case(two_buses(), [bid], price=50.0, import_mw_max=2.0))
    assert result.status == "certified"
    assert result.grid.import_mw[0] == pytest.approx(2.0, abs=1e-5)
    assert result.prices.dlmp_p_eur_per_mwh[1, 0] == pytest.approx(80.0, abs=1e-4)
    assert {p.side for p in result.prices.parts} == {"import"}
    assert result.awards[0].status == "partial"


def test_scarcity_names_the_element_and_prices_it_at_the_most_sensitive_bus() -> None:
    result = clear_case(make_case(two_buses(6.0), [], price=50.0, line_loading_percent_max=50.0))
    assert result.status == "certified_with_slack"
    (short,) = result.violations
    assert (short.element_kind, short.element) == ("line", 0)
    assert short.value > short.limit
    (part,) = result.prices.parts
    assert np.abs(part.p_eur_per_mwh).max() == pytest.approx(4000.0, rel=1e-6)
    assert result.penalty_eur == pytest.approx(4000.0 * short.mw_short, rel=1e-9)


def test_storage_levels_losses_and_keeps_its_energy() -> None:
    network = library_network("case33bw", slack_vm_pu=1.0)
    scale = np.array([0.4, 0.4, 1.0, 1.0])
    unit = storage("s", 17, p_mw=0.5, energy_mwh=1.0, periods=4, efficiency=1.0)
    result = clear_case(make_case(network, [unit], periods=4, load_scale=scale, mtu_minutes=60))
    assert result.status == "certified"
    (award,) = result.awards
    assert award.soc_mwh is not None
    assert award.soc_mwh[-1] >= 0.5 - 1e-12
    energy = 0.5 + np.cumsum(award.charge_mw - award.discharge_mw)
    assert award.soc_mwh == pytest.approx(energy, abs=1e-12)
    price = result.prices.dlmp_p_eur_per_mwh[17]
    used = (award.charge_mw > 1e-3) | (award.discharge_mw > 1e-3)
    inside = (award.soc_mwh > 1e-5) & (award.soc_mwh < 1 - 1e-5)
    # while neither power nor energy binds, charging and discharging see one price
    if used.all() and inside[:-1].all():
        assert price == pytest.approx(np.full(4, price[0]), abs=1e-3)


def test_permuting_orders_changes_nothing() -> None:
    network = library_network("case33bw", slack_vm_pu=1.0)
    orders = [
        generation("a", 17, 1.0, 10.0),
        generation("b", 17, 1.0, 10.0),
        generation("c", 24, 0.5, 5.0),
    ]
    case = make_case(network, orders, vm_pu_max=1.02)
    first = clear_case(case)
    again = clear_case(dataclasses.replace(case, orders=tuple(reversed(case.orders))))
    by_id = {award.order: award for award in again.awards}
    assert np.array_equal(first.prices.dlmp_p_eur_per_mwh, again.prices.dlmp_p_eur_per_mwh)
    for award in first.awards:
        assert np.array_equal(award.injection_mw, by_id[award.order].injection_mw)
    assert first.awards[0].injection_mw[0, 0] == pytest.approx(
        first.awards[1].injection_mw[0, 0], abs=1.1e-6
    )


def test_reactive_power_relieves_an_overvoltage() -> None:
    network = library_network("case33bw", slack_vm_pu=1.0)
    pv = generation("pv", 17, 3.0, 0.0)
    able = dataclasses.replace(pv, reactive=ReactiveRange(power_factor_min=0.9))
    without = clear_case(make_case(network, [pv], vm_pu_max=1.05))
    with_q = clear_case(make_case(network, [able], vm_pu_max=1.05))
    assert with_q.objective_eur < without.objective_eur - 1
    (award,) = with_q.awards
    p, q = award.injection_mw[0, 0], award.injection_mvar[0, 0]
    assert abs(q) <= p * np.tan(np.arccos(0.9)) + 1e-12
    assert q < 0


def test_a_battery_burns_no_energy_at_negative_prices() -> None:
    network = library_network("case33bw", slack_vm_pu=1.0)
    pv = generation("pv", 17, 3.0, -30.0, periods=4)
    unit = storage("s", 17, p_mw=0.5, energy_mwh=1.0, periods=4, efficiency=0.9)
    price = np.array([-20.0, -5.0, 30.0, -20.0])
    case = make_case(network, [pv, unit], price=price, periods=4, vm_pu_max=1.05)
    result = clear_case(case)
    award = next(a for a in result.awards if a.order == "s")
    assert award.charge_mw is not None
    assert not np.any((award.charge_mw > 1e-5) & (award.discharge_mw > 1e-5))
    energy = 0.5 + np.cumsum(0.9 * award.charge_mw - award.discharge_mw / 0.9)
    assert award.soc_mwh == pytest.approx(energy, abs=1e-9)
    assert energy[-1] >= 0.5 - 1e-9
    assert result.status == "certified"


def test_an_order_that_contradicts_itself_is_named() -> None:
    unit = storage("full", 1, p_mw=0.1, energy_mwh=1.0, periods=2, start=0.1)
    unit = dataclasses.replace(unit, energy_mwh_end_min=0.9)
    fine = storage("fine", 1, p_mw=0.1, energy_mwh=1.0, periods=2)
    with pytest.raises(InputError, match="order full") as refused:
        clear_case(make_case(two_buses(), [unit, fine], periods=2, mtu_minutes=15))
    assert len(refused.value.problems) == 1


def test_a_load_no_grid_can_carry_gives_a_result_that_says_so() -> None:
    result = clear_case(make_case(two_buses(80.0), [generation("g", 1, 1.0, 5.0)]))
    assert result.status == "infeasible"
    assert "2026-06-01T00:00:00Z" in result.message
    assert "about" in result.message
    assert not result.awards[0].injection_mw.any()


def test_an_incumbent_is_reported_as_such() -> None:
    network = library_network("case33bw", slack_vm_pu=1.0)
    pv = generation("pv", 17, 3.0, 0.0)
    result = clear_case(make_case(network, [pv], vm_pu_max=1.05), out_of_time=lambda: True)
    assert result.status == "uncertified"
    assert "incumbent: the time limit came" in result.message
    assert result.certificate.iterations == 1


def test_relabelling_buses_moves_no_price() -> None:
    network = library_network("case33bw", slack_vm_pu=1.0)
    order = np.random.default_rng(7).permutation(33)
    new_name = {int(old): int(100 + k) for k, old in enumerate(order)}

    def renamed(buses: np.ndarray) -> np.ndarray:
        return np.array([new_name[int(bus)] for bus in buses])

    b, lines = network.buses, network.lines
    shuffled = dataclasses.replace(
        network,
        slack_bus=new_name[network.slack_bus],
        buses=dataclasses.replace(
            b,
            index=renamed(b.index)[order],
            name=tuple(b.name[k] for k in order),
            vn_kv=b.vn_kv[order],
        ),
        lines=dataclasses.replace(
            lines, from_bus=renamed(lines.to_bus), to_bus=renamed(lines.from_bus)
        ),
        loads=dataclasses.replace(network.loads, bus=renamed(network.loads.bus)),
    )
    pv = generation("pv", 17, 3.0, 0.0)
    moved = dataclasses.replace(pv, buses=((new_name[17], 1.0),))
    first = clear_case(make_case(network, [pv], vm_pu_max=1.05))
    again = clear_case(make_case(shuffled, [moved], vm_pu_max=1.05))
    price = dict(zip(b.index.tolist(), first.prices.dlmp_p_eur_per_mwh[:, 0], strict=True))
    for bus, value in zip(
        shuffled.buses.index.tolist(), again.prices.dlmp_p_eur_per_mwh[:, 0], strict=True
    ):
        old = next(o for o, n in new_name.items() if n == bus)
        assert value == pytest.approx(price[old], abs=1e-6)


def test_an_empty_bus_between_two_binding_lines_has_one_stated_price() -> None:
    net = pp.create_empty_network()
    buses = [pp.create_bus(net, vn_kv=20.0) for _ in range(3)]
    pp.create_ext_grid(net, buses[0], vm_pu=1.0)
    for first, second in ((0, 1), (1, 2)):
        pp.create_line_from_parameters(
            net, buses[first], buses[second], length_km=1.0, r_ohm_per_km=0.2,
            x_ohm_per_km=0.1, c_nf_per_km=0.0, max_i_ka=0.05,
        )  # fmt: skip
    network = network_from_pandapower(net, "two equal lines in series")
    plant = generation("g", 2, 5.0, 5.0)
    case = make_case(network, [plant], price=50.0, line_loading_percent_max=100.0)
    result = clear_case(case)
    again = clear_case(case)
    assert result.status == "certified"
    assert np.array_equal(result.prices.dlmp_p_eur_per_mwh, again.prices.dlmp_p_eur_per_mwh)
    substation, middle, end = result.prices.dlmp_p_eur_per_mwh[:, 0]
    assert end == pytest.approx(5.0, abs=1e-3)
    # any price between the ends is optimal; the analytic centre lies strictly inside
    assert end + 5 < middle < substation - 5


def test_no_orders_and_one_bus() -> None:
    net = pp.create_empty_network()
    bus = pp.create_bus(net, vn_kv=20.0)
    pp.create_ext_grid(net, bus, vm_pu=1.0)
    pp.create_load(net, bus, p_mw=1.0)
    network = network_from_pandapower(net, "one bus")
    result = clear_case(make_case(network, [], price=33.0))
    assert result.prices.dlmp_p_eur_per_mwh.tolist() == [[33.0]]
    assert result.grid.import_mw[0] == pytest.approx(1.0)
    assert result.status == "certified"
