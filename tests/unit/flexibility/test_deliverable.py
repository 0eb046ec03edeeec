"""An order that leaves room for what was bought: whatever it is awarded, both can be done."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from data.records.order import DemandOrder, GenerationOrder, PriceStep, StorageOrder
from flexibility.battery import Battery, energy_path_mwh, power_limits_mw
from flexibility.procurement.deliverable import Room, keep_deliverable
from opf.clearing import clear_case
from tests.support.cases import generation, library_network, make_case, storage

H = 0.25
COUNT = 12
NOTHING = np.zeros(COUNT)


def _room(bought_mw: np.ndarray, reserved_mw: np.ndarray = NOTHING) -> Room:
    return Room(
        up_mw=np.maximum(bought_mw, 0.0),
        down_mw=np.maximum(-bought_mw, 0.0),
        reserved_up_mw=np.maximum(reserved_mw, 0.0),
        reserved_down_mw=np.maximum(-reserved_mw, 0.0),
    )


def _demand(p_mw: float, must_take: float) -> DemandOrder:
    ones = np.ones(COUNT)
    steps = tuple(
        PriceStep(p_mw=size * ones, price_eur_per_mwh=price * ones)
        for size, price in ((must_take, 1000.0), (p_mw - must_take, 120.0))
    )
    return DemandOrder(
        id="load", participant="A", buses=((5, 1.0),), steps=steps, p_mw_min=must_take * ones
    )


def _size(order: GenerationOrder | DemandOrder) -> np.ndarray:
    return np.asarray(np.sum([step.p_mw for step in order.steps], axis=0))


def test_generation_sells_what_is_to_be_reduced_and_keeps_what_is_to_be_added() -> None:
    bought = np.repeat([0.2, 0.0, -0.3], 4)
    order, remarks = keep_deliverable(generation("pv", 5, 0.5, 0.0, COUNT), _room(bought), H)
    assert isinstance(order, GenerationOrder)
    assert remarks == ()
    np.testing.assert_allclose(order.p_mw_min, np.repeat([0.0, 0.0, 0.3], 4))
    np.testing.assert_allclose(_size(order), np.repeat([0.3, 0.5, 0.5], 4))


def test_a_load_takes_what_it_is_to_drop_and_keeps_what_it_is_to_take() -> None:
    bought = np.repeat([0.4, 0.02, 0.0, -0.1], 3)
    reserved = np.repeat([0.05, 0.0, 0.05, 0.0], 3)
    order, remarks = keep_deliverable(_demand(0.5, 0.3), _room(bought, reserved), H)
    assert isinstance(order, DemandOrder)
    assert remarks == ()
    # what is reserved under a contract comes on top of what was bought beside it
    np.testing.assert_allclose(order.p_mw_min, np.repeat([0.45, 0.3, 0.3, 0.3], 3))
    np.testing.assert_allclose(_size(order), np.repeat([0.5, 0.5, 0.5, 0.4], 3))
    np.testing.assert_allclose(order.steps[0].p_mw, 0.3)  # the dearest part is bought first


def test_where_there_is_less_than_was_bought_it_is_said_and_the_rest_is_kept() -> None:
    order, remarks = keep_deliverable(_demand(0.5, 0.3), _room(np.full(COUNT, 0.6)), H)
    assert isinstance(order, DemandOrder)
    np.testing.assert_allclose(order.p_mw_min, 0.5)
    assert remarks == ("load: up to 0.1 MW of what was bought has no room",)
    night, remarks = keep_deliverable(
        generation("pv", 5, 0.1, 0.0, COUNT), _room(np.full(COUNT, 0.25)), H
    )
    assert isinstance(night, GenerationOrder)
    np.testing.assert_allclose(_size(night), 0.0)
    assert remarks == ("pv: up to 0.15 MW of what was bought has no room",)


def _walk(rng: np.random.Generator, order: StorageOrder) -> tuple[np.ndarray, np.ndarray]:
    """Draw charges and discharges that the order allows, often at its bounds."""
    battery, energy = Battery.of_order(order), order.energy_mwh_start
    charge, discharge = np.zeros(COUNT), np.zeros(COUNT)
    for t in range(COUNT):
        room, content = power_limits_mw(battery, energy, H)
        share = rng.choice([0.3, 1.0])
        if rng.random() < 0.5:
            charge[t] = share * min(room, order.charge_mw_max[t] * order.availability[t])
        else:
            discharge[t] = share * min(content, order.discharge_mw_max[t] * order.availability[t])
        energy = float(
            energy_path_mwh(battery, energy, charge[t : t + 1], discharge[t : t + 1], H)[0]
        )
    return charge, discharge


@pytest.mark.parametrize("seed", range(60))
def test_a_storage_can_do_what_it_sells_and_what_was_bought(seed: int) -> None:
    rng = np.random.default_rng(seed)
    order = dataclasses.replace(
        storage("store", 5, p_mw=0.5, energy_mwh=2.0, periods=COUNT, efficiency=0.9),
        self_discharge_per_day=float(rng.choice([0.0, 0.05])),
        energy_mwh_end_min=0.0,
    )
    bought = np.zeros(COUNT)
    at = rng.integers(0, COUNT - 3)
    bought[at : at + 3] = rng.choice([-1.0, 1.0]) * rng.uniform(0.05, 0.5)
    if rng.random() < 0.5:
        bought[(at + 5) % COUNT] = -0.5 * bought[at]
    kept, remarks = keep_deliverable(order, _room(bought), H)
    assert isinstance(kept, StorageOrder)
    assert remarks == ()
    for _ in range(20):
        charge, discharge = _walk(rng, kept)
        net = discharge - charge + bought
        assert np.all(np.abs(net) <= 0.5 + 1e-9)
        path = energy_path_mwh(
            Battery.of_order(order), order.energy_mwh_start,
            np.maximum(-net, 0.0), np.maximum(net, 0.0), H,
        )  # fmt: skip
        assert path.min() >= -1e-9
        assert path.max() <= 2.0 + 1e-9


@pytest.mark.parametrize(
    ("start", "power", "availability"), [(0.05, 0.5, 1.0), (0.0, 0.3, 0.5), (1.0, -0.6, 0.5)]
)
def test_an_order_that_cannot_keep_it_all_still_clears(
    start: float, power: float, availability: float
) -> None:
    order = dataclasses.replace(
        storage("store", 5, p_mw=0.5, energy_mwh=1.0, periods=COUNT, efficiency=0.9, start=start),
        self_discharge_per_day=0.1,
        availability=np.full(COUNT, availability),
        energy_mwh_departure_min=0.5 * start,
    )
    # what no storage could end with is asked for by no round, with or without a purchase
    order = dataclasses.replace(order, energy_mwh_end_min=0.9 * start)
    kept, remarks = keep_deliverable(order, _room(np.full(COUNT, power)), H)
    assert any("cannot be kept" in each for each in remarks)
    case = make_case(library_network("case33bw"), [kept], periods=COUNT)
    assert clear_case(case).status == "certified"
