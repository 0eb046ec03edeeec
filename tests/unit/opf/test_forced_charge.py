"""A storage with nothing left to decide: full power until its end, and still certified prices."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from data.records.order import StorageOrder
from opf.clearing import clear_case
from opf.resources import count_forced_charge
from tests.support.cases import library_network, make_case

PERIODS = 4


def battery(end_mwh: float, *, start_mwh: float = 0.1, number: int = 0) -> StorageOrder:
    """0.4 MWh, 0.2 MW, 95 % each way."""
    ones = np.ones(PERIODS)
    return StorageOrder(
        id=f"battery-{number}",
        participant="anna",
        buses=((5 + number, 1.0),),
        charge_mw_max=0.2 * ones,
        discharge_mw_max=0.2 * ones,
        energy_mwh_min=0.0,
        energy_mwh_max=0.4,
        energy_mwh_start=start_mwh,
        energy_mwh_end_min=end_mwh,
        efficiency_charge=0.95,
        efficiency_discharge=0.95,
        price_charge_eur_per_mwh=ones,
        price_discharge_eur_per_mwh=ones,
        self_discharge_per_day=0.0,
        availability=ones,
    )


def floor_of(order: StorageOrder) -> np.ndarray:
    return np.array([0.0, 0.0, 0.0, order.energy_mwh_end_min])


@pytest.mark.parametrize(
    ("end_mwh", "forced"),
    [
        (0.29, 4),  # 0.1 + 4 x 0.25 h x 0.2 MW x 0.95: exactly what can be reached
        (0.29 - 5e-7, 4),  # less than awards are rounded to
        (0.28, 0),
        (0.3, 0),  # out of reach: a contradiction is not hidden
    ],
)
def test_full_power_is_forced_where_nothing_else_reaches_the_end(
    end_mwh: float, forced: int
) -> None:
    order = battery(end_mwh)
    assert count_forced_charge(order, floor_of(order), 0.25) == forced


def test_a_departure_in_between_forces_only_what_comes_before() -> None:
    order = battery(0.0)
    floor = np.array([0.0, 0.1 + 2 * 0.25 * 0.2 * 0.95, 0.0, 0.0])
    assert count_forced_charge(order, floor, 0.25) == 2


def test_a_full_storage_has_a_choice() -> None:
    order = battery(0.4, start_mwh=0.39)
    assert count_forced_charge(order, floor_of(order), 0.25) == 0


def test_storages_without_a_choice_charge_and_are_certified() -> None:
    network = library_network("case33bw")
    orders = [battery(0.29 - number * 1e-8, number=number) for number in range(6)]
    case = make_case(network, list(orders), periods=PERIODS, mtu_minutes=15, price=68.53)
    result = clear_case(case)
    assert result.status == "certified", result.message
    for award, order in zip(result.awards, case.orders, strict=True):
        assert isinstance(order, StorageOrder)
        assert award.charge_mw is not None
        assert award.soc_mwh is not None
        assert np.allclose(award.charge_mw, 0.2, atol=1e-6)
        assert award.soc_mwh[-1] >= order.energy_mwh_end_min - 1e-9


def test_a_car_that_leaves_full_is_not_filled_beyond_its_capacity() -> None:
    """Whole ticks of power cannot meet both bounds: it leaves less than a tick short."""
    ones = np.ones(PERIODS)
    car = dataclasses.replace(
        battery(0.0, start_mwh=0.126),
        discharge_mw_max=0.0 * ones,
        energy_mwh_max=0.5,
        energy_mwh_departure_min=0.5,
        efficiency_charge=0.93,
    )
    case = make_case(
        library_network("case33bw"), [car], price=np.array([20.0, 30.0, 10.0, 15.0]),
        periods=PERIODS,
    )  # fmt: skip
    result = clear_case(case)
    energy = result.awards[0].soc_mwh
    assert energy is not None
    assert float(energy.max()) <= 0.5 + 1e-12
    assert float(energy[-1]) >= 0.5 - 1e-6
