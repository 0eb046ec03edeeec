"""Energy of orders that act at several buses: whole Wh, none lost, none made."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.records.order import BilateralOrder, GenerationOrder, PriceStep
from data.result_trades import energy_by_bus
from data.units import MICRO_PER_UNIT, energy_wh, share_out

ONE = np.ones(1)
PORTFOLIO = GenerationOrder(
    id="portfolio", participant="A", buses=((1, 1.0),), p_mw_min=0 * ONE,
    steps=(PriceStep(p_mw=ONE, price_eur_per_mwh=ONE),),
)  # fmt: skip
BILATERAL = BilateralOrder(
    id="friends", participant="A", participant_to="B", buses=((1, 1.0),), bus_to=2, p_mw=ONE,
    price_eur_per_mwh=ONE,
)  # fmt: skip
ticks = st.integers(-3_000_000, 3_000_000)
minutes = st.sampled_from([1, 15, 30, 60])


@given(
    ticks=ticks, mtu_minutes=minutes,
    raw=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=7),
)  # fmt: skip
def test_the_buses_of_a_portfolio_sum_to_its_own_energy(
    ticks: int, mtu_minutes: int, raw: list[float]
) -> None:
    key = [float(f"{share / sum(raw):.12g}") for share in raw]
    order = dataclasses.replace(PORTFOLIO, buses=tuple(enumerate(key)))
    power = ticks / MICRO_PER_UNIT
    found = energy_by_bus(order, power, mtu_minutes)
    own = energy_wh(power, mtu_minutes)
    assert sum(found) == own
    assert all(abs(wh - share * own) < 1 + 1e-3 for wh, share in zip(found, key, strict=True))


@given(ticks=ticks, mtu_minutes=minutes)
def test_a_bilateral_withdraws_the_wh_that_it_injects(ticks: int, mtu_minutes: int) -> None:
    power = ticks / MICRO_PER_UNIT
    found = energy_by_bus(BILATERAL, power, mtu_minutes)
    assert found == [energy_wh(power, mtu_minutes), -energy_wh(power, mtu_minutes)]


@pytest.mark.parametrize("total", [0, 1, -1, 2, 7, -7, 10**15])
def test_thirds_are_served_in_turn(total: int) -> None:
    parts = share_out(total, [1, 1, 1])
    assert sum(parts) == total
    assert sorted(parts, key=abs, reverse=True) == parts
    assert max(parts) - min(parts) <= 1
