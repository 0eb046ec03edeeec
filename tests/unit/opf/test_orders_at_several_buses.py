"""Portfolios keep their key; a bilateral costs what the grid between its ends costs."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from data.readers.result_tables import read_result_table
from data.records.clearing import ClearingCase, ClearingResult
from data.records.order import BilateralOrder, DemandOrder, GenerationOrder, PriceStep
from data.results import write_result
from data.units import MICRO_PER_UNIT, energy_wh, money_micro_eur, price_micro_eur
from opf.clearing import clear_case
from tests.support.cases import generation, library_network, make_case

PERIODS = 3
KEY = ((7, 0.333333333333), (17, 0.45), (30, 0.216666666667))


@cache
def market() -> tuple[ClearingCase, ClearingResult]:
    """case33bw with an overvoltage that cuts a portfolio, and a bilateral from bus 17 to bus 24."""
    ones = np.ones(PERIODS)
    orders = [
        GenerationOrder(
            id="plants", participant="A", buses=KEY, p_mw_min=0.1 * ones,
            steps=(PriceStep(p_mw=np.array([6.0, 5.0, 0.7]), price_eur_per_mwh=2.0 * ones),),
        ),
        DemandOrder(
            id="pumps", participant="B", buses=((5, 0.3), (17, 0.7)), p_mw_min=0 * ones,
            steps=(PriceStep(p_mw=0.2000011 * ones, price_eur_per_mwh=35.0 * ones),),
        ),
        BilateralOrder(
            id="friends", participant="C", participant_to="D", buses=((24, 1.0),), bus_to=17,
            p_mw=np.array([0.123457, 0.3, 0.0]), price_eur_per_mwh=50.0 * ones,
        ),
        generation("plant", 17, 1.0, 3.0, PERIODS),
    ]  # fmt: skip
    case = make_case(
        library_network("case33bw"), orders, price=np.array([20.0, 31.7, 45.3]), periods=PERIODS,
        mtu_minutes=15, vm_pu_max=1.02,
    )  # fmt: skip
    return case, clear_case(case)


def test_the_market_is_one_in_which_limits_bind() -> None:
    _, result = market()
    assert result.status == "certified", result.message
    assert any(part.element_kind == "bus" for part in result.prices.parts)
    plants = next(award for award in result.awards if award.order == "plants")
    assert 0.01 < plants.accepted_share[0] < 0.99


@pytest.mark.parametrize(("order", "key"), [("plants", KEY), ("pumps", ((5, 0.3), (17, 0.7)))])
def test_the_distribution_key_holds_at_every_bus_and_period(
    order: str, key: tuple[tuple[int, float], ...]
) -> None:
    _, result = market()
    award = next(award for award in result.awards if award.order == order)
    assert award.buses == tuple(bus for bus, _ in key)
    whole = np.round(award.injection_mw.sum(axis=0) * MICRO_PER_UNIT) / MICRO_PER_UNIT
    assert np.abs(whole).max() > 0
    for row, (_, share) in enumerate(key):
        assert np.array_equal(award.injection_mw[row], share * whole)


def test_the_grid_sees_each_bus_with_its_share() -> None:
    """Import falls by what the key says each bus injects: the replay's balance holds to 1e-6 MW."""
    case, result = market()
    assert result.certificate.energy_balance_mw < 1e-6
    net = sum(award.injection_mw.sum(axis=0) for award in result.awards)
    flows = {flow.element: flow for flow in result.grid.branches}
    assert flows
    losses = result.grid.import_mw + net - case.load_p_mw.sum(axis=1)
    assert np.all(losses > 0)
    assert np.all(losses < 0.1 * case.load_p_mw.sum(axis=1))


def test_the_wh_of_a_portfolio_and_the_charge_of_a_bilateral_are_exact(tmp_path: Path) -> None:
    case, result = market()
    write_result(result, case, tmp_path)
    trades = read_result_table(tmp_path, "trades.csv")
    energy: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    paid: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    for order, bus, start, wh, price in zip(
        *(
            trades[name].tolist()
            for name in (
                "order", "bus", "period_start", "energy_wh", "price_micro_eur_per_mwh",
            )
        ),
        strict=True,
    ):  # fmt: skip
        energy[order, start][bus] = wh
        paid[order, start] += Fraction(wh * price, MICRO_PER_UNIT)
    row_of = {bus: row for row, bus in enumerate(case.network.buses.index.tolist())}
    for award in result.awards:
        for t, start in enumerate(case.periods.labels()):
            own = award.injection_mw[:, t]
            if award.order == "friends":
                wh = energy_wh(float(own[0]), 15)
                assert energy[award.order, start] == ({24: wh, 17: -wh} if wh else {})
                price = [
                    price_micro_eur(float(result.prices.dlmp_p_eur_per_mwh[row_of[bus], t]))
                    for bus in (24, 17)
                ]
                # what its participant pays, rounded once: energy x (DLMP to - DLMP from)
                charge = money_micro_eur(wh, price[1] - price[0])
                assert round(-paid[award.order, start]) == charge
            else:
                assert sum(energy[award.order, start].values()) == energy_wh(float(own.sum()), 15)
