"""The orders of two aggregators on a real feeder."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from data.errors import InputError
from data.periods import Periods
from data.readers.simbench import load_simbench
from data.records.forecast import Forecast
from data.records.network import Network
from data.records.order import DemandOrder, GenerationOrder, Order, StorageOrder
from flexibility.offers import make_intraday_orders, make_orders, splice_orders
from flexibility.policy import OfferPolicy

PERIODS = Periods(start=datetime(2016, 7, 24, 22, tzinfo=UTC), count=8)
POLICY = OfferPolicy()


@pytest.fixture(scope="module")
def network() -> Network:
    return load_simbench("1-MV-rural--2-sw").network


def forecast_of(network: Network, periods: Periods = PERIODS, scale: float = 1.0) -> Forecast:
    series = [f"load:{i}" for i in network.loads.index]
    series += [f"sgen:{i}" for i in network.sgens.index]
    median = np.concatenate([network.loads.p_mw, network.sgens.p_mw]) * scale / 3.0
    value = np.stack([median * 0.5, median, median * 1.5], axis=1)[:, None, :]
    return Forecast(
        series=tuple(series), periods=periods, quantiles=(0.1, 0.5, 0.9),
        value_mw=np.repeat(value, len(periods), axis=1),
        known_at=periods.start, model_id="m/1",
    )  # fmt: skip


def day_ahead(network: Network) -> tuple[Order, ...]:
    return make_orders(
        network=network, forecast=forecast_of(network), periods=PERIODS, policy=POLICY
    )


def test_every_sgen_and_storage_and_every_fourth_load_has_one_order(network: Network) -> None:
    orders = day_ahead(network)
    kinds = Counter(type(order) for order in orders)
    assert kinds == {GenerationOrder: 102, StorageOrder: 90, DemandOrder: 24}
    assert [order.id for order in orders] == sorted({order.id for order in orders})
    assert len({order.asset for order in orders}) == len(orders)
    bus_of = {f"sgen:{i}": b for i, b in zip(network.sgens.index, network.sgens.bus, strict=True)}
    for order in orders:
        if isinstance(order, GenerationOrder):
            assert order.buses == ((bus_of[str(order.asset)], 1.0),)


def test_both_aggregators_own_every_kind(network: Network) -> None:
    owned = Counter((order.participant, type(order)) for order in day_ahead(network))
    for kind in (GenerationOrder, StorageOrder, DemandOrder):
        a, b = (owned[(name, kind)] for name in POLICY.aggregators)
        assert abs(a - b) <= 4
        assert min(a, b) > 0


def test_generation_terms(network: Network) -> None:
    technology = dict(zip(network.sgens.index.tolist(), network.sgens.technology, strict=True))
    prices = {"Wind_MV": 0.0, "PV_MV": 0.0, "lv_RES": 0.0, "Biomass_MV": 60.0, "Hydro_MV": 5.0}
    seen = set()
    for order in day_ahead(network):
        if not isinstance(order, GenerationOrder):
            continue
        index = int(str(order.asset).split(":")[1])
        name = technology[index]
        seen.add(name)
        assert (order.steps[0].price_eur_per_mwh == prices[name]).all()
        rated = network.sgens.p_mw[network.sgens.index == index][0]
        assert order.steps[0].p_mw == pytest.approx(np.full(8, rated / 3.0), abs=6e-7)
        factor = order.reactive.power_factor_min if order.reactive else None
        assert factor == (0.95 if name == "Wind_MV" else None)
        assert (order.p_mw_min == 0.0).all()
    assert seen == set(prices)


def test_storage_terms_come_from_the_network(network: Network) -> None:
    order = next(o for o in day_ahead(network) if isinstance(o, StorageOrder))
    assert order.asset == "storage:0"
    assert order.charge_mw_max == pytest.approx(np.full(8, 0.206))
    assert (order.energy_mwh_max, order.efficiency_charge) == pytest.approx((0.4119, 0.95))
    assert order.energy_mwh_start == order.energy_mwh_end_min == pytest.approx(0.4119 / 2)
    assert (order.price_discharge_eur_per_mwh == 1.0).all()


def test_flexible_load_must_take_four_fifths(network: Network) -> None:
    for order in day_ahead(network):
        if isinstance(order, DemandOrder):
            must, flexible = (step.p_mw for step in order.steps)
            assert (order.p_mw_min == must).all()
            assert must == pytest.approx(0.8 * (must + flexible), abs=1e-6)
            assert (must + flexible > 0.0).all()
            prices = [step.price_eur_per_mwh[0] for step in order.steps]
            assert prices == [1000.0, 120.0]


def test_powers_are_on_the_tick(network: Network) -> None:
    for order in day_ahead(network):
        if isinstance(order, GenerationOrder | DemandOrder):
            for step in order.steps:
                ticks = step.p_mw * 1e6
                assert ticks == pytest.approx(np.round(ticks), abs=1e-4)


def test_missing_forecasts_prices_and_limits_are_refused_together(network: Network) -> None:
    whole = forecast_of(network)
    storages = replace(network.storages, efficiency=np.full(90, np.nan))
    with pytest.raises(InputError) as caught:
        make_orders(
            network=replace(network, storages=storages),
            forecast=replace(whole, series=("load:0", *whole.series[1:-1], "sgen:none")),
            periods=PERIODS,
            policy=replace(POLICY, generation_price_eur_per_mwh={"Wind": 0.0, "lv_RES": 0.0}),
        )
    text = str(caught.value)
    for part in ("sgen:101: no forecast", "'Biomass_MV'", "'PV_MV'", "storage:89"):
        assert part in text
    with pytest.raises(InputError, match="does not cover"):
        make_orders(
            network=network, forecast=whole, policy=POLICY,
            periods=Periods(start=PERIODS.start, count=9),
        )  # fmt: skip


def test_intraday_orders_are_the_same_for_the_rest_of_the_day(network: Network) -> None:
    orders = day_ahead(network)
    energy = {o.id: o.energy_mwh_max * 0.6 for o in orders if isinstance(o, StorageOrder)}
    gate = datetime(2016, 7, 24, 22, 30, tzinfo=UTC)
    book = make_intraday_orders(
        day_ahead=orders, forecast=forecast_of(network, scale=2.0), periods=PERIODS.from_index(4),
        energy_mwh=energy, policy=POLICY, submitted_at=gate,
    )  # fmt: skip
    assert book.remarks == ()
    assert [o.id for o in book.orders] == [o.id for o in orders]
    assert all(o.submitted_at == gate for o in book.orders)
    for before, now in zip(orders, book.orders, strict=True):
        assert (before.participant, before.asset, before.reactive) == (
            now.participant, now.asset, now.reactive,
        )  # fmt: skip
        if isinstance(now, StorageOrder):
            assert isinstance(before, StorageOrder)
            assert len(now.availability) == len(now.charge_mw_max) == 4
            assert now.energy_mwh_start == energy[now.id]
            assert now.energy_mwh_end_min == before.energy_mwh_start
        elif isinstance(now, GenerationOrder | DemandOrder):
            assert isinstance(before, GenerationOrder | DemandOrder)
            total = sum(step.p_mw for step in now.steps)
            assert total == pytest.approx(2.0 * sum(s.p_mw[:4] for s in before.steps), abs=2e-6)


def test_an_end_energy_out_of_reach_is_lowered_and_named(network: Network) -> None:
    orders = day_ahead(network)
    energy = {o.id: o.energy_mwh_max * 0.6 for o in orders if isinstance(o, StorageOrder)}
    energy["storage-0000"] = 0.0
    book = make_intraday_orders(
        day_ahead=orders, forecast=forecast_of(network), periods=PERIODS.from_index(7),
        energy_mwh=energy, policy=POLICY,
    )  # fmt: skip
    order = next(o for o in book.orders if o.id == "storage-0000")
    assert isinstance(order, StorageOrder)
    assert order.energy_mwh_end_min == pytest.approx(0.95 * 0.206 * 0.25)
    assert book.remarks == (
        "storage-0000: end energy 0.205950 MWh is out of reach, 0.048925 MWh asked for",
    )


def test_a_storage_without_or_outside_its_energy_is_refused(network: Network) -> None:
    orders = day_ahead(network)
    energy = {o.id: 0.01 for o in orders if isinstance(o, StorageOrder)}
    energy["storage-0003"] = 9.0
    del energy["storage-0007"]
    with pytest.raises(InputError) as caught:
        make_intraday_orders(
            day_ahead=orders, forecast=forecast_of(network), periods=PERIODS.from_index(4),
            energy_mwh=energy, policy=POLICY,
        )  # fmt: skip
    assert [p.where for p in caught.value.problems] == ["storage-0003", "storage-0007"]


def test_splicing_keeps_what_was_in_force(network: Network) -> None:
    orders = day_ahead(network)
    energy = {o.id: o.energy_mwh_start for o in orders if isinstance(o, StorageOrder)}
    later = make_intraday_orders(
        day_ahead=orders, forecast=forecast_of(network, scale=2.0), periods=PERIODS.from_index(4),
        energy_mwh=energy, policy=POLICY,
    ).orders  # fmt: skip
    spliced = {o.id: o for o in splice_orders(orders, later)}
    for before, now in zip(orders, later, strict=True):
        result = spliced[before.id]
        if isinstance(before, StorageOrder):
            assert result is before
        else:
            assert isinstance(before, GenerationOrder | DemandOrder)
            assert isinstance(now, GenerationOrder | DemandOrder)
            assert isinstance(result, GenerationOrder | DemandOrder)
            assert (result.steps[-1].p_mw[:4] == before.steps[-1].p_mw[:4]).all()
            assert (result.steps[-1].p_mw[4:] == now.steps[-1].p_mw).all()
            assert len(result.p_mw_min) == 8
    with pytest.raises(InputError):
        splice_orders(orders, later[1:])


def test_a_policy_that_makes_no_sense_is_refused_together() -> None:
    with pytest.raises(InputError) as caught:
        OfferPolicy(
            aggregators=("a", "a"), storage_energy_share_start=1.5, flexible_load_every=-1,
            storage_price_eur_per_mwh=float("nan"), must_take_price_eur_per_mwh=10.0,
            generation_price_eur_per_mwh={"Wind": float("inf")},
            reactive_power_factor_min={"Wind": 0.0},
        )  # fmt: skip
    assert len(caught.value.problems) == 7
