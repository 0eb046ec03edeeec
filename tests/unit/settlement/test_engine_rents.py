"""Rents of clearings of the real engine on case33bw: published surpluses and what losses collect.

V1 of the constrained variants: 3 MW of photovoltaics at the last bus, upper voltage limit 1.05 pu,
import at 20 EUR/MWh. Rent of one hour: 21.36 EUR with active power alone, 16.67 EUR where reactive
power is paid as well. Without the plant losses are collected 1.44 and 2.16 times.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import get_args

import pytest

from data.records.clearing import ClearingCase, ClearingResult
from data.records.settlement import (
    BusPrices,
    ConnectionCapacity,
    ConnectionPosition,
    PricePartLine,
    ReactivePosition,
    RefundRule,
    SettlementCase,
    SettlementRules,
    SubstationSeries,
)
from data.units import energy_wh, price_micro_eur
from dso.settlement import check_settlement, settle
from opf.clearing import clear_case
from tests.support.cases import generation, library_network, make_case

PRICE = 20.0


def settled_case(case: ClearingCase, result: ClearingResult) -> SettlementCase:
    """What the clearing sold, as a settlement case with every part of its prices."""
    network, prices = case.network, result.prices
    row = {int(bus): k for k, bus in enumerate(network.buses.index)}
    loads = network.loads
    entries = [
        (f"load {n}", int(bus), -float(p), -float(q))
        for n, bus, p, q in zip(loads.index, loads.bus, loads.p_mw, loads.q_mvar, strict=True)
    ]
    entries += [
        (award.order, award.buses[0], float(award.injection_mw[0, 0]),
         float(award.injection_mvar[0, 0]))
        for award in result.awards
    ]  # fmt: skip
    positions = tuple(
        ConnectionPosition(
            participant=name, connection=name, bus=bus, da_wh=(energy_wh(p, 60),),
            id_wh=(energy_wh(p, 60),), meter_wh=(energy_wh(p, 60),),
        )
        for name, bus, p, _ in entries
    )  # fmt: skip
    buses = sorted({position.bus for position in positions})
    dlmp = {bus: price_micro_eur(float(prices.dlmp_p_eur_per_mwh[row[bus], 0])) for bus in buses}
    return SettlementCase(
        periods=case.periods,
        rules=SettlementRules(refund="retain"),
        positions=positions,
        prices=tuple(
            BusPrices(
                bus=bus, dlmp_da_micro_eur_per_mwh=(dlmp[bus],),
                dlmp_id_micro_eur_per_mwh=(dlmp[bus],), imbalance_micro_eur_per_mwh=(dlmp[bus],),
            )
            for bus in buses
        ),
        substation=SubstationSeries(
            import_wh=(energy_wh(round(float(result.grid.import_mw[0]), 6), 60),),
            import_price_micro_eur_per_mwh=(price_micro_eur(PRICE),),
        ),
        parts=tuple(
            PricePartLine(
                market="da", bus=bus, period=0, element_kind=part.element_kind,
                element=str(part.element), side=part.side,
                p_micro_eur_per_mwh=price_micro_eur(float(part.p_eur_per_mwh[row[bus], 0])),
            )
            for part in prices.parts
            for bus in buses
        ),
        split="da",
        reactive=tuple(
            ReactivePosition(
                participant=name, connection=name, period=0, q_varh=round(q * 1e6),
                price_micro_eur_per_mvarh=price_micro_eur(
                    float(prices.dlmp_q_eur_per_mvarh[row[bus], 0])
                ),
            )
            for name, bus, _, q in entries
        ),
        capacities=tuple(
            ConnectionCapacity(participant=name, connection=name, capacity_w=round(abs(p) * 1e6))
            for name, _, p, _ in entries
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def v1() -> SettlementCase:
    network = library_network("case33bw", slack_vm_pu=1.0)
    case = make_case(network, [generation("pv", 17, 3.0, 0.0)], price=PRICE, vm_pu_max=1.05)
    return settled_case(case, clear_case(case))


@pytest.fixture(scope="module")
def unconstrained() -> SettlementCase:
    case = make_case(library_network("case33bw", slack_vm_pu=1.0), [], price=PRICE)
    return settled_case(case, clear_case(case))


def rents(case: SettlementCase, *, reactive: bool) -> Counter[str]:
    """Return the operator's accounts [EUR] of a checked settlement."""
    case = replace(case, rules=replace(case.rules, settle_reactive=reactive))
    result = settle(case)
    assert check_settlement(case, result) == ()
    found: Counter[str] = Counter()
    for line in result.lines:
        if line.kind.startswith("rent_"):
            found[line.participant.removeprefix("account:")] += line.amount_micro_eur
    return found


def test_v1_rent_with_and_without_reactive_power(v1: SettlementCase) -> None:
    active = rents(v1, reactive=False)
    assert sum(active.values()) / 1e6 == pytest.approx(21.36, abs=0.005)
    both = rents(v1, reactive=True)
    assert sum(both.values()) / 1e6 == pytest.approx(16.67, abs=0.005)


def test_v1_rent_stands_on_the_voltage_limit_and_on_losses(v1: SettlementCase) -> None:
    found = rents(v1, reactive=False)
    assert set(found) == {"rent_voltage/bus:17:upper", "rent_loss"}
    assert found["rent_voltage/bus:17:upper"] > 0.9 * sum(found.values())


def test_losses_are_collected_1_44_and_2_16_times(unconstrained: SettlementCase) -> None:
    """Collected: loss part of what the loads pay; cost: losses x 20 EUR/MWh = 4.053543 EUR."""
    case = unconstrained
    withdrawn = -sum(p.da_wh[0] for p in case.positions)
    cost = (case.substation.import_wh[0] - withdrawn) * PRICE / 1e6
    assert cost == pytest.approx(4.053543, abs=1e-4)
    active, both = rents(case, reactive=False), rents(case, reactive=True)
    assert (cost + active["rent_loss"] / 1e6) / cost == pytest.approx(1.44, abs=0.005)
    assert (cost + sum(both.values()) / 1e6) / cost == pytest.approx(2.16, abs=0.005)


@pytest.mark.parametrize("rule", get_args(RefundRule))
@pytest.mark.parametrize("sign", [1, -1])
def test_every_rule_refunds_in_both_directions(
    v1: SettlementCase, rule: RefundRule, sign: int
) -> None:
    """A rent is given back, a negative one (import dearer than its price) is borne."""
    case = replace(v1, rules=SettlementRules(refund=rule))
    if sign < 0:
        dear = replace(case.substation, import_price_micro_eur_per_mwh=(price_micro_eur(60.0),),
                       da_energy_micro_eur_per_mwh=(price_micro_eur(PRICE),),
                       id_energy_micro_eur_per_mwh=(price_micro_eur(PRICE),))  # fmt: skip
        case = replace(case, substation=dear)
    result = settle(case)
    assert check_settlement(case, result) == ()
    rent = sum(x.amount_micro_eur for x in result.lines if x.kind.startswith("rent_"))
    assert rent * sign > 0
    shares = {
        x.participant: x.amount_micro_eur
        for x in result.lines
        if x.kind == "refund" and not x.participant.startswith("account:")
    }
    if rule == "retain":
        assert shares == {}
        return
    assert abs(sum(shares.values()) - rent) <= len(shares)
    assert all(amount * sign > 0 for amount in shares.values())
    assert ("pv" in shares) == (rule == "pro_rata_capacity")


def test_no_accepted_order_loses_on_what_it_sold() -> None:
    """Day-ahead cash less offered cost is at least -1e-5 EUR/MWh times the order's energy.

    Two plants and a demand bid on a feeder whose voltage limit binds; none of them must run.
    """
    network = library_network("case33bw", slack_vm_pu=1.0)
    bids = [generation("dear", 32, 2.0, 30.0), generation("cheap", 17, 2.0, 12.0)]
    bids.append(generation("sun", 24, 1.5, 0.0))
    case = make_case(network, list(bids), price=PRICE, vm_pu_min=0.95, vm_pu_max=1.05)
    settled = settled_case(case, clear_case(case))
    cash = {
        line.participant: line.amount_micro_eur
        for line in settle(settled).lines
        if line.kind == "da"
    }
    accepted = {p.participant: p.da_wh[0] for p in settled.positions if p.da_wh[0] > 0}
    assert set(accepted) == {"dear", "cheap", "sun"}
    for bid in bids:
        energy_mwh = accepted[bid.id] / 1e6
        offered_eur = energy_mwh * float(bid.steps[0].price_eur_per_mwh[0])
        assert cash[bid.id] / 1e6 - offered_eur >= -1e-5 * energy_mwh - 1e-6
