"""Loss over-collection on case33bw against published figures, prices from pandapower.

Price 20 EUR/MWh, one hour. The figures come from a finite difference of a Newton power flow of
the MATPOWER case: payments of the loads 80.144860 EUR, grid cost 78.353543 EUR, difference
1.791318 EUR, price at the last bus of the main 22.943849 EUR/MWh.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from data.periods import Periods
from data.records.settlement import (
    BusPrices,
    ConnectionPosition,
    SettlementCase,
    SettlementRules,
    SubstationSeries,
)
from data.units import price_micro_eur
from dso.settlement import check_settlement, settle

IMPORT_PRICE = 20.0
STEP_MW = 1e-3


@pytest.fixture(scope="module")
def case33() -> SettlementCase:
    import pandapower
    from pandapower.networks import case33bw

    net = case33bw()
    probe = pandapower.create_load(net, 0, p_mw=0.0, q_mvar=0.0)

    def import_mw(bus: int, extra_mw: float) -> float:
        net.load.loc[probe, ["bus", "p_mw"]] = [bus, extra_mw]
        pandapower.runpp(net, tolerance_mva=1e-11, numba=False, init="results")
        return float(net.res_ext_grid.p_mw.iloc[0])

    pandapower.runpp(net, tolerance_mva=1e-11, numba=False)
    loads = net.load.drop(index=probe)
    dlmp = {
        int(bus): IMPORT_PRICE
        * (import_mw(int(bus), STEP_MW) - import_mw(int(bus), -STEP_MW))
        / (2 * STEP_MW)
        for bus in loads.bus
    }
    return SettlementCase(
        periods=Periods(start=datetime(2026, 1, 1, tzinfo=UTC), count=1, mtu_minutes=60),
        rules=SettlementRules(refund="retain"),
        positions=tuple(
            ConnectionPosition(
                participant=f"load {load}", connection=f"load {load}", bus=int(bus),
                da_wh=(-round(p_mw * 1e6),), id_wh=(-round(p_mw * 1e6),),
                meter_wh=(-round(p_mw * 1e6),),
            )
            for load, bus, p_mw in zip(loads.index, loads.bus, loads.p_mw, strict=True)
        ),
        prices=tuple(
            BusPrices(
                bus=bus,
                dlmp_da_micro_eur_per_mwh=(price_micro_eur(value),),
                dlmp_id_micro_eur_per_mwh=(price_micro_eur(value),),
                imbalance_micro_eur_per_mwh=(price_micro_eur(value),),
            )
            for bus, value in dlmp.items()
        ),
        substation=SubstationSeries(
            import_wh=(round(import_mw(0, 0.0) * 1e6),),
            import_price_micro_eur_per_mwh=(price_micro_eur(IMPORT_PRICE),),
        ),
        split="all",
    )  # fmt: skip


def eur(case: SettlementCase, prefix: str) -> float:
    result = settle(case)
    assert check_settlement(case, result) == ()
    return sum(x.amount_micro_eur for x in result.lines if x.participant.startswith(prefix)) / 1e6


def test_payments_bill_and_loss_over_collection(case33: SettlementCase) -> None:
    prices = {price.bus: price.dlmp_da_micro_eur_per_mwh[0] / 1e6 for price in case33.prices}
    assert prices[17] == pytest.approx(22.943849, abs=2e-6)
    assert eur(case33, "load") == pytest.approx(-80.144860, abs=1e-5)
    assert eur(case33, "account:upstream") == pytest.approx(78.353543, abs=1e-5)
    assert eur(case33, "account:rent_loss") == pytest.approx(1.791318, abs=1e-5)
    assert eur(case33, "account:rent_import") == 0.0


def test_the_refund_leaves_the_loads_with_the_cost_of_the_grid(case33: SettlementCase) -> None:
    refunded = replace(case33, rules=SettlementRules())
    assert eur(refunded, "load") == pytest.approx(-78.353543, abs=1e-5)
