"""Splitting an order, or renaming it, moves no price and no total by a single byte."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.readers.pandapower_net import network_from_pandapower
from data.records.clearing import ClearingCase, ClearingResult
from data.records.network import Network
from data.records.order import (
    BilateralOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    PriceStep,
    ReactiveRange,
    ShiftOrder,
    StorageOrder,
)
from data.units import MICRO_PER_UNIT
from opf.clearing import clear_case
from opf.problem import prepare_problem
from opf.proportional_shares import share_pro_rata, share_ticks
from opf.warm_start import start_from
from tests.support.cases import make_case, storage
from tests.support.order_simulator import broken_rules

PERIODS = 2
HOURS = 8
LIMITS: dict[str, dict[str, Any]] = {
    "line": {"line_loading_percent_max": 60.0},
    "overvoltage": {"vm_pu_max": 1.008},
    "export": {"export_mw_max": 0.8},
}
GATE = datetime(2026, 5, 31, 11, 30, tzinfo=UTC)
SPLITS = ((1, 1), (1, 1, 1), (1, 2))


@cache
def feeder() -> Network:
    """Three buses in a row at 20 kV behind the substation, each with a load."""
    import pandapower as pp

    net = pp.create_empty_network()
    for _ in range(4):
        pp.create_bus(net, vn_kv=20.0)
    pp.create_ext_grid(net, 0, vm_pu=1.0)
    for start in range(3):
        pp.create_line_from_parameters(
            net, start, start + 1, length_km=4.0, r_ohm_per_km=0.4, x_ohm_per_km=0.35,
            c_nf_per_km=10.0, max_i_ka=0.06,
        )  # fmt: skip
        pp.create_load(net, start + 1, p_mw=0.3, q_mvar=0.1)
    return network_from_pandapower(net, "feeder")


def plant(name: str, sizes: list[float], prices: list[float], **fields: Any) -> GenerationOrder:
    """A generation order of one step per price; more than the limits admit in sum."""
    ones = np.ones(PERIODS)
    fields.setdefault("p_mw_min", 0.0 * ones)
    fields.setdefault("buses", ((3, 1.0),))
    return GenerationOrder(
        id=name,
        participant=name,
        steps=tuple(
            PriceStep(p_mw=size * ones, price_eur_per_mwh=price * ones)
            for size, price in zip(sizes, prices, strict=True)
        ),
        **fields,
    )


def scaled(order: Order, share: float, **names: Any) -> Order:
    """A part of an order: every power times a share, under other names."""
    sizes: dict[type[Order], tuple[str, ...]] = {
        GenerationOrder: ("p_mw_min", "ramp_mw_per_h", "p_mw_before"),
        DemandOrder: ("p_mw_min", "ramp_mw_per_h", "p_mw_before"),
        BilateralOrder: ("p_mw",),
        ShiftOrder: ("baseline_mw", "p_mw_min", "p_mw_max"),
        StorageOrder: (
            "charge_mw_max", "discharge_mw_max", "energy_mwh_min", "energy_mwh_max",
            "energy_mwh_start", "energy_mwh_end_min", "energy_mwh_departure_min",
        ),
    }  # fmt: skip

    def part(value: Any) -> Any:
        return None if value is None else value * share

    changes: dict[str, Any] = dict(names)
    changes |= {name: part(getattr(order, name)) for name in sizes[type(order)]}
    if isinstance(order, GenerationOrder | DemandOrder):
        changes["steps"] = tuple(
            dataclasses.replace(step, p_mw=step.p_mw * share) for step in order.steps
        )
    if order.reactive is not None:
        changes["reactive"] = dataclasses.replace(
            order.reactive,
            q_mvar_min=part(order.reactive.q_mvar_min),
            q_mvar_max=part(order.reactive.q_mvar_max),
        )
    return dataclasses.replace(order, **changes)


def split(order: Order, parts: tuple[int, ...]) -> list[Order]:
    """The order in parts, the last submitted first."""
    return [
        scaled(
            order, part / sum(parts), id=f"{order.id}.{k}", participant=f"party {k}",
            submitted_at=GATE - timedelta(minutes=k),
        )
        for k, part in enumerate(parts)
    ]  # fmt: skip


powers = st.integers(600_001, 1_500_000).map(lambda ticks: ticks / MICRO_PER_UNIT)
prices = st.sampled_from([-5.0, 3.0, 7.5, 12.0])


@st.composite
def markets(draw: st.DrawFn) -> tuple[ClearingCase, Order]:
    """A market with a limit that more plants than fit make bind, and one of its orders."""
    ones = np.ones(PERIODS)
    cheap = sorted(draw(st.lists(prices, min_size=2, max_size=2, unique=True)))
    orders: list[Order] = [
        plant("steps", [draw(powers), draw(powers)], cheap, p_mw_min=0.05 * ones),
        plant("single", [draw(powers)], [draw(prices)]),
        plant("portfolio", [draw(powers)], [draw(prices)], buses=((2, 0.25), (3, 0.75))),
        plant(
            "reactive", [draw(powers)], [draw(prices)], buses=((2, 1.0),),
            reactive=ReactiveRange(q_mvar_min=-0.2 * ones, q_mvar_max=0.1 * ones),
        ),
        plant("ramp", [0.3], [draw(prices)], buses=((1, 1.0),), ramp_mw_per_h=0.1),
        DemandOrder(
            id="buyer", participant="C", buses=((2, 1.0),), p_mw_min=0.0 * ones,
            steps=(PriceStep(p_mw=draw(powers) * ones, price_eur_per_mwh=draw(prices) * ones),),
        ),
        BilateralOrder(
            id="friends", participant="D", buses=((2, 1.0),), bus_to=3, participant_to="E",
            p_mw=draw(powers) * ones, price_eur_per_mwh=0.5 * ones,
        ),
        storage("battery", 3, p_mw=0.2, energy_mwh=0.4, periods=PERIODS, throughput=1.0),
    ]  # fmt: skip
    limit = draw(st.sampled_from(sorted(LIMITS)))
    case = make_case(
        feeder(), orders, price=np.array([20.0, 25.0]), periods=PERIODS, **LIMITS[limit]
    )
    names = ["buyer", "friends", "portfolio", "reactive", "single", "steps"]
    chosen = draw(st.sampled_from(names))
    return case, next(order for order in orders if order.id == chosen)


def published(result: ClearingResult) -> list[bytes]:
    """Every price and every total of a result, as bytes."""
    prices, grid = result.prices, result.grid
    arrays = [
        prices.dlmp_p_eur_per_mwh, prices.dlmp_q_eur_per_mvarh, prices.energy_eur_per_mwh,
        prices.loss_eur_per_mwh, prices.congestion_eur_per_mwh, prices.voltage_eur_per_mwh,
        *(part.p_eur_per_mwh for part in prices.parts), grid.vm_pu, grid.import_mw,
        grid.import_mvar, *(flow.p_from_mw for flow in grid.branches),
        np.array([result.objective_eur, result.penalty_eur]),
    ]  # fmt: skip
    return [
        json.dumps([result.status, result.bound_kind]).encode(),
        *map(np.ndarray.tobytes, arrays),
    ]


def injected_ticks(result: ClearingResult) -> dict[str, np.ndarray]:
    """Ticks injected by each order, or by all of its parts together; shape (buses, periods)."""
    total: dict[str, Any] = defaultdict(float)
    for award in result.awards:
        total[award.order.split(".")[0]] += award.injection_mw * MICRO_PER_UNIT
    return total


few = settings(
    max_examples=12, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip


@few
@given(market=markets(), parts=st.sampled_from(SPLITS))
def test_splitting_an_order_changes_no_price_and_no_total(
    market: tuple[ClearingCase, Order], parts: tuple[int, ...]
) -> None:
    case, order = market
    whole = clear_case(case)
    assert whole.status == "certified", whole.message
    assert any(part.p_eur_per_mwh.any() for part in whole.prices.parts), "no limit binds"
    others = [other for other in case.orders if other is not order]
    divided = clear_case(dataclasses.replace(case, orders=(*others, *split(order, parts))))
    assert published(divided) == published(whole)

    before, after = injected_ticks(whole), injected_ticks(divided)
    equal = {"single", "steps"} if order.id in ("single", "steps") else {order.id}
    assert np.allclose(
        sum(before[name] for name in equal), sum(after[name] for name in equal), atol=1e-6, rtol=0
    )
    for name in before.keys() - equal:
        assert np.array_equal(before[name], after[name]), name


@few
@given(market=markets(), seed=st.integers(0, 1000))
def test_other_names_change_who_is_first_and_nothing_else(
    market: tuple[ClearingCase, Order], seed: int
) -> None:
    case, order = market
    others = [other for other in case.orders if other is not order]
    book = [*others, *split(order, (1, 1))]
    first = clear_case(dataclasses.replace(case, orders=tuple(book)))
    places = np.random.default_rng(seed).permutation(len(book))
    renamed = [
        dataclasses.replace(entry, id=f"order {place}")
        for entry, place in zip(book, places, strict=True)
    ]
    renamed = [renamed[k] for k in np.argsort(places)]
    second = clear_case(dataclasses.replace(case, orders=tuple(renamed)))
    assert published(second) == published(first)
    award_of = {award.order: award for award in second.awards}
    for award in first.awards:
        place = places[[entry.id for entry in book].index(award.order)]
        other = award_of[f"order {place}"]
        moved = np.abs(other.injection_mw - award.injection_mw) * MICRO_PER_UNIT
        # submission decides between the halves; only where it is unknown may an id do
        stamped = award.order.startswith(f"{order.id}.")
        assert moved.max() <= (1e-3 if stamped else 1.001), award.order


# Sizes of which halves and thirds are whole ticks, and in energy what whole ticks just reach.
sixths = st.integers(10_000, 60_000).map(lambda sixth: 6 * sixth / MICRO_PER_UNIT)


@st.composite
def coupled_markets(draw: st.DrawFn) -> tuple[ClearingCase, Order]:
    """A market with a storage, a car, a shift, a ramp and a power factor, and one of them."""
    ones, later = np.ones(HOURS), np.arange(HOURS)
    reach = ReactiveRange(q_mvar_min=None, q_mvar_max=None, power_factor_min=0.9)
    power, throughput = draw(sixths), draw(st.sampled_from([0.0, 0.5, 1.0]))
    battery = storage(
        "battery", 3, p_mw=power, energy_mwh=2.0 * power, periods=HOURS, throughput=throughput,
        efficiency=draw(st.sampled_from([0.95, 1.0])), start=draw(st.sampled_from([0.0, 0.5])),
    )  # fmt: skip
    power = draw(sixths)
    car = dataclasses.replace(
        storage("car", 2, p_mw=power, energy_mwh=3.0 * power, periods=HOURS, start=0.25),
        availability=np.where((later >= 1) & (later < 6), 1.0, 0.0),
        energy_mwh_departure_min=draw(st.sampled_from([1.5, 2.5])) * power,
        energy_mwh_end_min=0.0, self_discharge_per_day=draw(st.sampled_from([0.0, 0.02])),
    )  # fmt: skip
    power = draw(sixths)
    shift = ShiftOrder(
        id="shift", participant="A", buses=((3, 1.0),), baseline_mw=power * (later % 2),
        p_mw_min=0.0 * ones, p_mw_max=power * ones, window_periods=4, price_eur_per_mwh=0.5 * ones,
    )  # fmt: skip
    plants = [
        dataclasses.replace(
            plant(name, [1.0], [5.0], buses=((2, 1.0),), **fields), p_mw_min=0.0 * ones,
            steps=(PriceStep(p_mw=draw(sixths) * ones, price_eur_per_mwh=5.0 * ones),),
        )
        for name, fields in (
            ("ramp", {"ramp_mw_per_h": 0.06, "p_mw_before": 0.0}), ("factor", {"reactive": reach}),
        )
    ]  # fmt: skip
    orders: list[Order] = [battery, car, shift, *plants, plant("rest", [2.0], [7.0], p_mw_min=0.0)]
    orders[-1] = dataclasses.replace(
        orders[-1], p_mw_min=0.0 * ones,
        steps=(PriceStep(p_mw=2.0 * ones, price_eur_per_mwh=7.0 * ones),),
    )  # fmt: skip
    price = np.array(draw(st.permutations([4.0, 6.0, 11.0, 15.0, 20.0, 25.0, 31.0, 40.0])))
    limit = draw(st.sampled_from(sorted(LIMITS)))
    case = make_case(feeder(), orders, price=price, periods=HOURS, **LIMITS[limit])
    chosen = draw(st.sampled_from([battery, battery, car, car, shift, shift, *plants]))
    return case, next(order for order in orders if order.id == chosen.id)


@few
@given(market=coupled_markets(), parts=st.sampled_from(SPLITS))
def test_parts_of_a_storage_or_shift_add_up_to_it_and_stand_alone(
    market: tuple[ClearingCase, Order], parts: tuple[int, ...]
) -> None:
    case, order = market
    whole = clear_case(case)
    assert whole.status == "certified", whole.message
    assert broken_rules(case, whole.awards) == []
    others = [other for other in case.orders if other is not order]
    book = (*split(order, parts), *others)
    divided_case = dataclasses.replace(case, orders=book)
    divided = clear_case(divided_case)
    assert published(divided) == published(whole)
    before, after = injected_ticks(whole), injected_ticks(divided)
    for name, total in before.items():
        assert np.array_equal(np.round(after[name]), np.round(total)), name
    # every part by itself, judged by plain arithmetic on what it states
    assert broken_rules(divided_case, divided.awards) == []
    # pro rata: no part is more than a tick off its share in any period
    awards = {award.order: award.injection_mw * MICRO_PER_UNIT for award in divided.awards}
    for k, part in enumerate(parts):
        off = awards[f"{order.id}.{k}"] - before[order.id] * part / sum(parts)
        assert np.abs(off).max() < 1.0 + 1e-6


def two_halves(**second: Any) -> list[Order]:
    """Two equal plants that together get an odd number of ticks from an export cap."""
    half = plant("a", [1.0], [3.0], submitted_at=GATE)
    return [half, dataclasses.replace(half, id="b", **second)]


@pytest.mark.parametrize(
    ("submitted_at", "first"),
    [(GATE, "a"), (GATE + timedelta(seconds=1), "a"), (GATE - timedelta(seconds=1), "b"),
     (None, "a")],
)  # fmt: skip
def test_the_tick_left_over_goes_to_the_earlier_then_to_the_lower_id(
    submitted_at: datetime | None, first: str
) -> None:
    orders = two_halves(submitted_at=submitted_at)
    case = make_case(feeder(), orders, periods=PERIODS)
    problem = prepare_problem(case)
    equal = problem.equal
    assert len(problem.resources.cost) == 1 + PERIODS
    x = np.array([0.0, 0.500001, 0.5])
    own = equal.split(x)
    got = {columns.order.id: own[columns.steps] for columns in equal.offers.orders}
    other = "b" if first == "a" else "a"
    assert got[first].ravel().tolist() == [0.250001, 0.25]
    assert got[other].ravel().tolist() == [0.25, 0.25]
    assert equal.total(own) == pytest.approx(x, abs=1e-15)


def test_a_warm_start_adds_up_what_equal_orders_got() -> None:
    case = make_case(feeder(), two_halves(), periods=PERIODS, export_mw_max=0.5)
    result = clear_case(case)
    assert result.status == "certified", result.message
    problem = prepare_problem(case)
    together = sum(award.injection_mw[0] for award in result.awards)
    assert 0.5 < together.min() < 2.0
    assert start_from(problem, result)[1:] == pytest.approx(together, abs=1e-12)


@given(
    sizes=st.lists(st.floats(0, 2, allow_subnormal=False), min_size=1, max_size=6),
    must=st.lists(st.floats(0, 1), min_size=6, max_size=6),
    share=st.floats(0, 1),
)
def test_shares_are_pro_rata_to_the_tick(
    sizes: list[float], must: list[float], share: float
) -> None:
    lower = [size * part for size, part in zip(sizes, must, strict=False)]
    least, most = sum(lower) * MICRO_PER_UNIT, sum(sizes) * MICRO_PER_UNIT
    ticks = min(max(round(least + share * (most - least)), int(np.ceil(least))), int(most))
    got = share_ticks(ticks, lower, sizes)
    assert sum(got) == ticks
    room = sum(sizes) - sum(lower)
    for own, low, high in zip(got, lower, sizes, strict=True):
        assert low * MICRO_PER_UNIT - 1.001 < own < high * MICRO_PER_UNIT + 1.001
        if room > 1e-3:
            above = (ticks / MICRO_PER_UNIT - sum(lower)) * (high - low) / room
            assert abs(own - (low + above) * MICRO_PER_UNIT) < 2


def test_sizes_on_the_tick_are_never_exceeded() -> None:
    assert share_ticks(5, [0, 0, 0], [1e-6, 2e-6, 2e-6]) == [1, 2, 2]
    assert share_ticks(4, [0, 0, 0], [1e-6, 2e-6, 2e-6]) == [1, 2, 1]
    # halves of an odd number of ticks: the sum holds, the first exceeds its half tick
    assert share_ticks(3, [0, 0], [1.5e-6, 1.5e-6]) == [2, 1]


def test_the_tick_left_over_goes_to_who_is_behind_then_to_the_earlier() -> None:
    assert share_pro_rata(5, [1, 1, 1], [9, 9, 9], [0.0, 0.0, 0.0]) == [2, 2, 1]
    assert share_pro_rata(5, [1, 1, 1], [9, 9, 9], [-0.5, 0.25, 0.25]) == [1, 2, 2]
    # nobody gets more than it has room for while another has it
    assert share_pro_rata(5, [1, 1, 1], [1, 9, 9], [0.5, 0.0, 0.0]) == [1, 2, 2]
