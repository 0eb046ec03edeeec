"""Awards of hundreds of drawn markets, replayed step by step: nothing is ever broken.

Every kind of order with every field it has, on a small AC grid with a limit that may bind; the
replay is tests/support/order_simulator.py, which knows the market rules and nothing of the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.records.clearing import ClearingCase
from data.records.order import (
    BilateralOrder,
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    PriceStep,
    ReactiveRange,
    ShiftOrder,
    StorageOrder,
)
from opf.clearing import clear_case
from tests.support.cases import make_case
from tests.support.order_simulator import broken_rules
from tests.support.random_markets import tree_network

Floats = NDArray[np.float64]
Draw = Callable[[st.SearchStrategy[Any]], Any]
BUSES = 4
ANY = settings(
    max_examples=40, deadline=None, derandomize=True, database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip


def number(low: float, high: float, digits: int = 3) -> st.SearchStrategy[float]:
    """A decimal number with few digits."""
    scale = 10**digits
    whole = st.integers(round(low * scale), round(high * scale))
    return whole.map(lambda value: value / scale)


def series(size: int, low: float, high: float, digits: int = 3) -> st.SearchStrategy[Floats]:
    """One number per period."""
    one = number(low, high, digits)
    return st.lists(one, min_size=size, max_size=size).map(lambda v: np.array(v, dtype=float))


def steps(draw: Draw, size: int, *, rising: bool) -> tuple[PriceStep, ...]:
    """One to three steps with prices in order."""
    prices = sorted(
        draw(st.lists(number(0, 120, 1), min_size=1, max_size=3)), reverse=not rising
    )  # fmt: skip
    ones = np.ones(size)
    return tuple(
        PriceStep(p_mw=draw(series(size, 0.0, 0.8)), price_eur_per_mwh=price * ones)
        for price in prices
    )


def place(draw: Draw) -> dict[str, Any]:
    return {"participant": "A", "buses": ((draw(st.integers(1, BUSES - 1)), 1.0),)}


def plant(draw: Draw, size: int) -> GenerationOrder:
    """Steps with or without must-run, ramp, reactive range, or several buses."""
    offered = steps(draw, size, rising=True)
    total = np.sum([step.p_mw for step in offered], axis=0)
    ramp = draw(st.none() | number(0.2, 3.0, 1))
    key = draw(number(0.1, 0.9, 2))
    where = place(draw)
    if draw(st.booleans()):
        where["buses"] = ((1, key), (2, round(1.0 - key, 2)))
    reactive = draw(
        st.none()
        | st.just(ReactiveRange(power_factor_min=0.95))
        | st.just(ReactiveRange(q_mvar_min=np.full(size, -0.2), q_mvar_max=np.full(size, 0.1)))
    )
    must = 0.0 if ramp is not None else draw(number(0.0, 0.5, 1))
    before = None if ramp is None else draw(st.none() | number(0.0, 0.2, 2))
    if before is not None and ramp is not None:
        before = min(before, float(total.min()))
    return GenerationOrder(
        id="plant", steps=offered, p_mw_min=np.round(must * total, 3), ramp_mw_per_h=ramp,
        p_mw_before=before, reactive=reactive, **where,
    )  # fmt: skip


def heating(draw: Draw, size: int) -> DemandOrder:
    return DemandOrder(
        id="heating", participant="B", buses=((1, 1.0),), asset="load:0",
        steps=steps(draw, size, rising=False), p_mw_min=np.zeros(size),
        ramp_mw_per_h=draw(st.none() | number(0.5, 2.0, 1)),
    )  # fmt: skip


def battery(draw: Draw, size: int) -> StorageOrder:
    """A storage that must end no fuller than it began."""
    most = draw(number(0.1, 1.0))
    start = draw(number(0.0, 1.0, 2)) * most
    leak = draw(st.sampled_from([0.0, 0.0, 0.02]))
    return StorageOrder(
        id="battery", charge_mw_max=draw(series(size, 0.0, 0.5)),
        discharge_mw_max=draw(series(size, 0.0, 0.5)), energy_mwh_min=0.0, energy_mwh_max=most,
        energy_mwh_start=start, energy_mwh_end_min=0.0 if leak else start,
        efficiency_charge=draw(number(0.8, 1.0, 2)), efficiency_discharge=draw(number(0.8, 1.0, 2)),
        price_charge_eur_per_mwh=np.full(size, draw(number(0.5, 5.0, 1))),
        price_discharge_eur_per_mwh=np.full(size, draw(number(0.5, 5.0, 1))),
        self_discharge_per_day=leak, availability=np.ones(size), **place(draw),
    )  # fmt: skip


def car(draw: Draw, size: int, h: float) -> StorageOrder:
    """A session that leaves with what it can have charged, or less."""
    first = draw(st.integers(0, size - 1))
    last = draw(st.integers(first, size - 1))
    power, start = draw(number(0.02, 0.3)), draw(number(0.0, 0.2))
    reach = 0.9 * 0.95 * h * power * (last - first + 1)
    # a full battery to the last digit cannot be had in whole ticks of power
    departure = min(0.49, start + draw(number(0.0, 1.0, 1)) * reach)
    plugged = (np.arange(size) >= first) & (np.arange(size) <= last)
    ones = np.ones(size)
    return StorageOrder(
        id="car", charge_mw_max=power * ones,
        discharge_mw_max=draw(st.sampled_from([0.0, 0.1])) * ones,
        energy_mwh_min=0.0, energy_mwh_max=0.5, energy_mwh_start=start, energy_mwh_end_min=0.0,
        efficiency_charge=0.95, efficiency_discharge=0.95, price_charge_eur_per_mwh=0.5 * ones,
        price_discharge_eur_per_mwh=2.0 * ones, self_discharge_per_day=0.0,
        availability=plugged.astype(float), energy_mwh_departure_min=departure, **place(draw),
    )  # fmt: skip


def washing(draw: Draw, size: int) -> ShiftOrder:
    baseline = draw(series(size, 0.0, 0.3))
    return ShiftOrder(
        id="washing", baseline_mw=baseline, p_mw_min=np.zeros(size), p_mw_max=np.full(size, 0.4),
        window_periods=draw(st.integers(1, size)),
        price_eur_per_mwh=np.full(size, draw(number(0.1, 20.0, 1))), **place(draw),
    )  # fmt: skip


def swap(draw: Draw, size: int) -> BilateralOrder:
    return BilateralOrder(
        id="swap", participant="A", participant_to="B", buses=((3, 1.0),), bus_to=1,
        p_mw=draw(series(size, 0.0, 0.5)), price_eur_per_mwh=np.full(size, draw(number(0, 5, 1))),
    )  # fmt: skip


def curtail(draw: Draw, size: int, name: str) -> CurtailOrder:
    """At a load of bus 2 or 3, or by itself."""
    bus = draw(st.integers(2, BUSES - 1))
    power = draw(number(0.05, 0.6))
    shortest = draw(st.integers(1, min(3, size)))
    share = draw(st.just(0.0) | number(0.1, 1.2, 1))
    return CurtailOrder(
        id=name, participant="C", buses=((bus, 1.0),),
        asset=f"load:{bus - 1}" if name == f"curtail{bus}" else None,
        p_mw_max=np.full(size, power),
        p_mw_min_on=np.full(size, round(power * draw(st.sampled_from([0.1, 0.5, 1.0])), 3)),
        price_eur_per_mwh=draw(series(size, 0.0, 60.0, 1)), duration_periods_min=shortest,
        duration_periods_max=draw(st.none() | st.integers(shortest, shortest + 2)),
        cooldown_periods=draw(st.integers(0, 4)),
        activations_max=draw(st.none() | st.integers(1, 3)), rebound_share=share,
        rebound_periods=draw(st.integers(1, 3)) if share else None,
    )  # fmt: skip


def block(draw: Draw, size: int, name: str, **link: Any) -> BlockOrder:
    profile = draw(series(size, 0.0, 0.5, 2))
    if not profile.any():
        profile[0] = 0.1
    return BlockOrder(
        id=name, profile_mw=profile * draw(st.sampled_from([1.0, 1.0, -1.0])) + 0.0,
        price_eur_per_mwh=np.full(size, draw(number(0.0, 120.0, 1))),
        acceptance_min=draw(st.just(1.0) | number(0.1, 0.9, 1)), **place(draw), **link,
    )  # fmt: skip


@st.composite
def market(draw: Draw) -> ClearingCase:
    """Some orders of every family on four buses, over two to twelve periods."""
    size, minutes = draw(st.integers(2, 12)), draw(st.sampled_from([15, 60]))
    orders: list[Order] = []
    some: list[Callable[[], Order]] = [
        lambda: plant(draw, size), lambda: heating(draw, size), lambda: battery(draw, size),
        lambda: car(draw, size, minutes / 60.0), lambda: washing(draw, size),
        lambda: swap(draw, size),
    ]  # fmt: skip
    orders += [make() for make in some if draw(st.booleans())]
    orders += [curtail(draw, size, f"curtail{k}") for k in range(2, 4) if draw(st.booleans())]
    if draw(st.booleans()):
        orders.append(block(draw, size, "above"))
        orders.append(block(draw, size, "below", parent="above"))
    for k in range(draw(st.integers(0, 2))):
        orders.append(block(draw, size, f"one{k}", exclusive_group="one"))
    if draw(st.booleans()):
        orders.append(block(draw, size, "single"))
    network = tree_network(
        [0, 1, draw(st.sampled_from([1, 2]))], length_km=np.full(3, 3.0),
        r_ohm_per_km=np.full(3, 0.3), x_ohm_per_km=np.full(3, 0.2), c_nf_per_km=10.0,
        load_mw=np.array([0.5, 0.8, 0.6]), load_mvar=np.array([0.1, 0.2, 0.0]),
    )  # fmt: skip
    limits = draw(st.sampled_from([{}, {"import_mw_max": 1.2}, {"export_mw_max": 0.1},
                                   {"vm_pu_max": 1.004}]))  # fmt: skip
    return make_case(
        network, orders, price=draw(series(size, 5.0, 90.0, 1)), periods=size,
        mtu_minutes=minutes, load_scale=draw(series(size, 0.6, 1.0, 2)), **limits,
    )  # fmt: skip


@ANY
@given(market())
def test_replay_of_awards_breaks_nothing(case: ClearingCase) -> None:
    result = clear_case(case)
    assert result.status in ("certified", "certified_with_slack"), result.message
    assert broken_rules(case, result.awards) == []


@pytest.mark.long
@settings(ANY, max_examples=300)
@given(market())
def test_replay_of_hundreds_of_markets_breaks_nothing(case: ClearingCase) -> None:
    result = clear_case(case)
    assert result.status in ("certified", "certified_with_slack"), result.message
    assert broken_rules(case, result.awards) == []
