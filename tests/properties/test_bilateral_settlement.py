"""A bilateral order in the settlement: its charge is exact, and its two ends move no other line."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.records.settlement import (
    ConnectionPosition,
    SettlementCase,
    SettlementResult,
)
from data.units import money_micro_eur
from dso.settlement import (
    check_settlement,
    read_settlement,
    settle,
    settlement_files,
    write_settlement_case,
)
from tests.properties.test_settlement import BUSES, cases

FEW = settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
carried = st.integers(0, 3_000_000)


@st.composite
def with_bilateral(draw: st.DrawFn) -> tuple[SettlementCase, ConnectionPosition]:
    """A market with one bilateral order; where rounds are listed, none of them changes it."""
    case = draw(cases())
    count = case.periods.count
    bus, bus_to = draw(st.permutations(BUSES))[:2]
    da_wh = tuple(draw(st.lists(carried, min_size=count, max_size=count)))
    id_wh = da_wh
    if case.rounds is None:
        id_wh = tuple(draw(st.lists(carried, min_size=count, max_size=count)))
    order = ConnectionPosition(
        participant="carrier", connection="friends", bus=bus, bus_to=bus_to,
        da_wh=da_wh, id_wh=id_wh, meter_wh=id_wh,
    )  # fmt: skip
    return replace(case, positions=(*case.positions, order)), order


@FEW
@given(with_bilateral())
def test_the_charge_is_energy_times_the_difference_of_the_prices(
    drawn: tuple[SettlementCase, ConnectionPosition],
) -> None:
    case, order = drawn
    result = settle(case)
    assert check_settlement(case, result) == ()
    prices = {price.bus: price for price in case.prices}
    start, end = prices[order.bus], prices[order.bus_to or 0]
    booked = {
        (line.kind, line.period_start): line
        for line in result.lines
        if line.connection == order.connection
    }
    for t, instant in enumerate(case.periods.starts):
        da = end.dlmp_da_micro_eur_per_mwh[t] - start.dlmp_da_micro_eur_per_mwh[t]
        last = end.dlmp_id_micro_eur_per_mwh[t] - start.dlmp_id_micro_eur_per_mwh[t]
        line = booked.pop(("da", instant))
        assert -line.amount_micro_eur == money_micro_eur(order.da_wh[t], da)
        change = order.id_wh[t] - order.da_wh[t]
        if change:
            line = booked.pop(("id", instant))
            assert -line.amount_micro_eur == money_micro_eur(change, last)
    assert not booked, "nothing else is due: no imbalance, no refund"


@FEW
@given(with_bilateral())
def test_everybody_else_is_settled_as_if_both_ends_were_connections(
    drawn: tuple[SettlementCase, ConnectionPosition],
) -> None:
    case, order = drawn
    case = replace(case, rules=replace(case.rules, refund="retain"), capacities=())
    injects = replace(order, bus_to=None, connection="injects")
    withdraws = replace(
        order, bus=order.bus_to or 0, bus_to=None, connection="withdraws",
        **{name: tuple(-wh for wh in getattr(order, name))
           for name in ("da_wh", "id_wh", "meter_wh")},
    )  # fmt: skip
    others = tuple(p for p in case.positions if p is not order)

    def of_others(result: SettlementResult) -> Counter[tuple[str, str, str, datetime, int]]:
        return Counter(
            (line.participant, line.connection, line.market, line.period_start,
             line.amount_micro_eur)
            for line in result.lines
            if line.participant != "carrier" and line.kind != "rounding"
        )  # fmt: skip

    ends = settle(replace(case, positions=(*others, injects, withdraws)))
    assert of_others(settle(case)) == of_others(ends)


@FEW
@given(with_bilateral())
def test_its_folder_reads_back_and_settles_alike(
    drawn: tuple[SettlementCase, ConnectionPosition],
) -> None:
    case, _ = drawn
    with tempfile.TemporaryDirectory() as name:
        write_settlement_case(case, Path(name))
        assert (Path(name) / "positions.csv").read_text().splitlines()[0].endswith(",bus_to")
        again = read_settlement(Path(name))
    assert settlement_files(settle(again)) == settlement_files(settle(case))
