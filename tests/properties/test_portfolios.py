"""A portfolio's award always falls apart into awards that each device's own order admits."""

from __future__ import annotations

import dataclasses
from datetime import date

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.errors import InputError
from data.periods import DeliveryDay
from data.records.order import StorageOrder
from flexibility.devices import Conditions, Instruction, find_shortfalls
from flexibility.devices.shortfalls import ShortfallRule
from flexibility.portfolios import aggregate_storages, disaggregate, split_watts
from flexibility.portfolios.aggregate import rounding_margin_ticks
from tests.support.device_fleets import random_cars, random_storage_award

Floats = NDArray[np.float64]
ANY = settings(
    max_examples=30, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
SEED = st.integers(0, 2**32 - 1)
DAYS = [DeliveryDay(day=date(2016, m, d)).periods for m, d in ((3, 27), (7, 25), (10, 30))]
H = 0.25


def random_orders(rng: np.random.Generator, count: int, periods: int) -> list[StorageOrder]:
    """Batteries of two makes, of many sizes, with and without self-discharge."""
    ones, orders = np.ones(periods), []
    for k in range(count):
        efficiency, lost = [(0.95, 0.0), (0.9, 0.01)][rng.integers(2)]
        power = round(rng.uniform(0.001, 0.02), 6)
        high = power * rng.choice([1.0, 1.1, 2.0]) * rng.uniform(1.0, 1.05)
        low = high * rng.choice([0.0, 0.1])
        start = rng.uniform(low + 0.2 * (high - low), high)
        kept = start * (1 - lost) ** (periods * H / 24)
        orders.append(
            StorageOrder(
                id=f"battery-{k:03d}", participant="owner", buses=((int(rng.integers(1, 4)), 1.0),),
                charge_mw_max=power * ones, discharge_mw_max=round(power * 0.9, 6) * ones,
                energy_mwh_min=low, energy_mwh_max=high, energy_mwh_start=start,
                energy_mwh_end_min=min(max(kept, low), high) * rng.choice([0.5, 1.0]) + low * 0.5,
                efficiency_charge=efficiency, efficiency_discharge=efficiency,
                price_charge_eur_per_mwh=ones, price_discharge_eur_per_mwh=ones,
                self_discharge_per_day=lost, availability=ones,
            )
        )  # fmt: skip
        # Whole watts meet an end that lies a little below full.
        end = min(orders[-1].energy_mwh_end_min, high - 1e-6)
        orders[-1] = dataclasses.replace(orders[-1], energy_mwh_end_min=max(end, low))
    return orders


def check_member(order: StorageOrder, injection_mw: Floats) -> None:
    """The member's own order, by its own arithmetic: power, energy, end and departure."""
    charge, discharge = np.maximum(-injection_mw, 0.0), np.maximum(injection_mw, 0.0)
    assert (charge <= order.charge_mw_max * order.availability + 1e-12).all()
    assert (discharge <= order.discharge_mw_max * order.availability + 1e-12).all()
    energy, last = order.energy_mwh_start, np.flatnonzero(order.availability > 0)[-1]
    keep = (1 - order.self_discharge_per_day) ** (H / 24)
    for t in range(len(charge)):
        energy = energy * keep + H * (
            order.efficiency_charge * charge[t] - discharge[t] / order.efficiency_discharge
        )
        assert order.energy_mwh_min - 1e-12 <= energy <= order.energy_mwh_max + 1e-12
        if t == last and order.energy_mwh_departure_min is not None:
            assert energy >= order.energy_mwh_departure_min - 1e-12
    assert energy >= order.energy_mwh_end_min - 1e-12


@ANY
@given(SEED, st.sampled_from([0.0, 0.1, 0.5, 0.9]))
def test_every_award_of_a_portfolio_of_batteries_can_be_shared_out(seed: int, loss: float) -> None:
    share_out_and_check(seed, loss)


@pytest.mark.long
@settings(ANY, max_examples=500)
@given(SEED, st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9]))
def test_every_award_of_hundreds_of_portfolios_can_be_shared_out(seed: int, loss: float) -> None:
    share_out_and_check(seed, loss)


def share_out_and_check(seed: int, loss: float) -> None:
    rng = np.random.default_rng(seed)
    orders = random_orders(rng, 12, len(DAYS[seed % 3]))
    book = aggregate_storages(orders, H, participant="vpp", name="vpp", loss_share_max=loss)
    assert book.loss_share <= loss + 1e-12
    members = sorted(order.id for each in book.portfolios for order in each.members)
    assert members == [order.id for order in orders]
    for portfolio in book.portfolios:
        assert portfolio.shares.sum() == pytest.approx(1.0, abs=1e-12)
        assert sum(share for _, share in portfolio.order.buses) == pytest.approx(1.0, abs=1e-12)
        award = random_storage_award(rng, portfolio.order, H)
        rows = disaggregate(portfolio, award)
        # To the watt: nothing is lost, nothing is left over.
        assert (np.round(rows * 1e6).sum(axis=0) == np.round(award * 1e6)).all()
        for order, row in zip(portfolio.members, rows, strict=True):
            check_member(order, row)


@settings(ANY, max_examples=15)
@given(SEED)
def test_a_fleet_of_cars_in_portfolios_leaves_with_its_energy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    periods = DAYS[seed % 3]
    cars = random_cars(rng, 30, len(periods) * H)
    # A company's fleet: few arrivals and departures, one make.
    cars = dataclasses.replace(
        cars, arrival_h=rng.choice([0.0, 8.0], 30), departure_h=rng.choice([16.0, 17.0], 30),
        efficiency_charge=np.full(30, 0.92), efficiency_discharge=np.full(30, 0.92),
        energy_mwh_arrival=np.maximum(cars.energy_mwh_arrival, cars.energy_mwh_reserve),
        discharge_mw_max=rng.choice([0.0, 0.0, 0.0, 0.011], 30),
    )  # fmt: skip
    orders = cars.to_orders(periods, participant="owner")
    book = aggregate_storages(orders, H, participant="vpp", name="fleet", loss_share_max=0.5)
    assert len(book.portfolios) < len(orders)
    told = np.zeros((30, len(periods)))
    for portfolio in book.portfolios:
        award = random_storage_award(rng, portfolio.order, H)
        for order, row in zip(portfolio.members, disaggregate(portfolio, award), strict=True):
            check_member(order, row)
            told[cars.ids.index(order.id)] = row
    state = cars.start()
    for t in range(len(periods)):
        done = cars.step(state, Instruction.active(told[:, t]), Conditions(), H)
        np.testing.assert_allclose(done.injection_mw, told[:, t], rtol=0, atol=2e-6)
        state = done.state
    rule = ShortfallRule(price_micro_eur_per_mwh=1)
    for each in find_shortfalls(cars, state, rule, dt_h=H):
        assert each.reason == "asked for more than it can reach"


@ANY
@given(SEED)
def test_nobody_gets_more_than_the_margin_ahead_or_behind(seed: int) -> None:
    rng = np.random.default_rng(seed)
    devices = int(rng.integers(1, 60))
    shares = rng.uniform(0.01, 1.0, devices) ** int(rng.integers(1, 4))
    shares = shares / shares.sum()
    total = rng.integers(-5 * devices, 5 * devices, 300)
    given_w = split_watts(total, shares)
    assert (given_w.sum(axis=0) == total).all()
    exact = shares[:, None] * total
    assert (np.abs(given_w - exact) < 1.0 + 1e-6).all()
    for part in (np.maximum(total, 0), np.minimum(total, 0)):
        ahead = np.cumsum(np.where(part != 0, given_w - exact, 0.0), axis=1)
        assert np.abs(ahead).max() <= rounding_margin_ticks(devices)


def test_alike_devices_make_one_portfolio_that_loses_only_watts() -> None:
    rng = np.random.default_rng(0)
    (first,) = random_orders(rng, 1, 96)
    orders = [
        dataclasses.replace(first, id=f"unit-{k}", buses=((k % 2 + 1, 1.0),)) for k in range(20)
    ]
    book = aggregate_storages(orders, H, participant="vpp", name="vpp")
    (portfolio,) = book.portfolios
    assert portfolio.order.buses == ((1, pytest.approx(0.5)), (2, pytest.approx(0.5)))
    assert book.loss_share < 2e-3
    split = aggregate_storages(orders, H, participant="vpp", name="vpp", same_bus=True)
    assert [each.order.buses for each in split.portfolios] == [((1, 1.0),), ((2, 1.0),)]


def test_a_portfolio_of_cars_charges_little_beyond_what_each_asks_for() -> None:
    cars = random_cars(np.random.default_rng(4), 40, 24.0)
    cars = dataclasses.replace(
        cars, arrival_h=np.zeros(40), departure_h=np.full(40, 16.0),
        discharge_mw_max=np.zeros(40), efficiency_charge=np.ones(40),
        efficiency_discharge=np.ones(40),
    )  # fmt: skip
    orders = cars.to_orders(DAYS[1], participant="owner")
    for loss in (0.1, 0.4):
        book = aggregate_storages(orders, H, participant="v", name="v", loss_share_max=loss)
        assert len(book.portfolios) < 40
        for each in book.portfolios:
            if len(each.members) == 1:
                continue
            goal = each.order.energy_mwh_departure_min or 0.0
            for member, share in zip(each.members, each.shares, strict=True):
                gets = share * (goal - each.order.energy_mwh_start)
                asked = (member.energy_mwh_departure_min or 0.0) - member.energy_mwh_start
                assert asked - 1e-9 <= gets
                assert gets - max(asked, 0.0) <= loss * gets + 1e-5


def test_all_that_is_wrong_is_named_at_once() -> None:
    rng = np.random.default_rng(0)
    first, second = random_orders(rng, 2, 96)
    wrong = [
        first, first, dataclasses.replace(second, buses=((1, 0.5), (2, 0.5))),
        dataclasses.replace(second, id="x", asset="storage:1"),
    ]  # fmt: skip
    with pytest.raises(InputError) as caught:
        aggregate_storages(wrong, H, participant="vpp", name="vpp", loss_share_max=1.5)
    assert len(caught.value.problems) == 4
    book = aggregate_storages([first], H, participant="vpp", name="vpp")
    with pytest.raises(InputError, match="possible"):
        disaggregate(book.portfolios[0], np.full(96, 1.0))
    with pytest.raises(InputError, match="finite"):
        disaggregate(book.portfolios[0], np.full(96, np.nan))
