"""What each kind of device does with a setpoint it can, and cannot, follow."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from data.errors import InputError
from data.records.dispatch import Delivery, Setpoint
from data.records.order import Order
from dispatch.simulated_fleet import FleetBehaviour, simulate_fleet
from tests.support.devices import DAY, demand, generation, storage, told

EXACT = FleetBehaviour(
    generation_error=0.0, demand_error=0.0, storage_error=0.0, ramp_share_per_period=1.0,
    late_share=0.0, dead_band_share=0.0,
)  # fmt: skip


def follow(
    setpoint: Setpoint,
    order: Order,
    recorded: list[float] | None = None,
    rules: FleetBehaviour = EXACT,
    day: date = DAY,
) -> Delivery:
    records = {} if recorded is None else {setpoint.asset: np.array(recorded)}
    (delivery,) = simulate_fleet(
        setpoints=(setpoint,), orders=(order,), recorded_mw=records, day=day, behaviour=rules
    )
    return delivery


def test_generation_delivers_the_smaller_of_setpoint_and_available() -> None:
    setpoint = told("sgen:1", [1.0, 1.0, 0.0], [0.2, -0.2, 0.0])
    delivery = follow(setpoint, generation("sgen:1", 3), [2.0, 0.5, 2.0])
    assert delivery.injection_mw.tolist() == [1.0, 0.5, 0.0]
    assert delivery.injection_mvar.tolist() == [0.2, -0.1, 0.0]  # the power factor is kept
    assert delivery.remarks == ("less available than the setpoint: 1 periods, first 1",)


def test_a_wind_parks_own_consumption_in_a_calm_is_metered() -> None:
    delivery = follow(told("sgen:1", [0.1]), generation("sgen:1", 1), [-2e-5])
    assert delivery.injection_mw.tolist() == [-2e-5]


def test_generation_ramps_up_but_a_lull_knows_no_ramp() -> None:
    rules = FleetBehaviour(**{**_as_dict(EXACT), "ramp_share_per_period": 0.25})
    setpoint = told("sgen:1", [0.0, 4.0, 4.0, 4.0, 4.0])
    delivery = follow(setpoint, generation("sgen:1", 5), [4.0, 4.0, 4.0, 0.5, 4.0], rules)
    assert delivery.injection_mw.tolist() == [0.0, 1.0, 2.0, 0.5, 1.5]
    assert "ramp limit: 3 periods, first 1" in delivery.remarks


def test_storage_follows_until_it_is_full_or_empty() -> None:
    order = storage("storage:1", 6, energy_mwh=(0.0, 1.0, 1.2), efficiency=0.8)
    delivery = follow(told("storage:1", [-0.5, -1.0, -1.0, 1.0, 3.0, -9.0]), order)
    # 1.0 -> 1.1 -> full after another 0.5 MW x 0.25 h x 0.8; 1 MW out costs 0.3125 MWh
    assert delivery.injection_mw == pytest.approx([-0.5, -0.5, 0.0, 1.0, 1.0, -1.0], abs=2e-6)
    assert delivery.soc_mwh == pytest.approx([1.1, 1.2, 1.2, 0.8875, 0.575, 0.775], abs=2e-6)
    assert delivery.remarks == ("cut by state of charge: 2 periods, first 1",)


def test_demand_takes_the_real_must_take_and_what_it_bought() -> None:
    order = demand("load:1", [0.8] * 4, [0.2] * 4)
    # accepted flexible: all, half, none, all; really demanded: as forecast, twice, half, a tenth
    setpoint = told("load:1", [-1.0, -0.9, -0.8, -1.0], [-0.5, -0.45, -0.4, -0.5])
    delivery = follow(setpoint, order, [1.0, 2.0, 0.5, 0.1])
    assert delivery.injection_mw == pytest.approx([-1.0, -1.7, -0.4, -0.1])
    assert delivery.injection_mvar == pytest.approx([-0.5, -0.85, -0.2, -0.05])
    assert delivery.remarks == ("bought more than was wanted: 1 periods, first 3",)


def test_late_and_dead_banded_devices_say_so() -> None:
    late = FleetBehaviour(**{**_as_dict(EXACT), "late_share": 1.0})
    order = generation("sgen:1", 3)
    delivery = follow(told("sgen:1", [1.0, 2.0, 3.0]), order, [9.0] * 3, late)
    assert delivery.injection_mw.tolist() == [1.0, 1.0, 2.0]
    assert delivery.remarks == ("followed one period late",)
    lazy = FleetBehaviour(**{**_as_dict(EXACT), "dead_band_share": 1.0, "dead_band": 0.1})
    delivery = follow(told("sgen:1", [1.0, 1.5, 3.0]), order, [9.0] * 3, lazy)
    assert delivery.injection_mw.tolist() == [1.0, 1.0, 3.0]
    assert delivery.remarks == ("dead band: 1 small changes ignored",)


def test_the_fleet_as_configured_follows_closely_and_a_few_devices_badly() -> None:
    assets = [f"storage:{i}" for i in range(200)]
    wave = np.round(0.1 * np.sin(np.arange(24)), 6).tolist()
    deliveries = simulate_fleet(
        setpoints=[told(a, wave) for a in assets], orders=[storage(a, 24) for a in assets],
        recorded_mw={}, day=DAY,
    )  # fmt: skip
    error = np.array([d.injection_mw - wave for d in deliveries]) / 0.1
    on_time = [not d.remarks for d in deliveries]
    assert 0.85 <= np.mean(on_time) < 1.0
    assert 0.005 < error[on_time].std() < 0.02
    assert np.abs(error[on_time]).max() <= 0.0301
    late = sum("followed one period late" in d.remarks for d in deliveries)
    assert 2 <= late <= 20


def test_another_day_or_asset_errs_differently_the_same_one_equally() -> None:
    rules = FleetBehaviour()
    setpoint, order = told("storage:1", [0.5] * 8), storage("storage:1", 8)
    first = follow(setpoint, order, None, rules).injection_mw
    assert first.tobytes() == follow(setpoint, order, None, rules).injection_mw.tobytes()
    other = follow(setpoint, order, None, rules, date(2016, 7, 26)).injection_mw
    assert first.tobytes() != other.tobytes()


def test_what_cannot_be_simulated_is_refused_together() -> None:
    sound = told("sgen:1", [1.0, 1.0])
    with pytest.raises(InputError) as caught:
        simulate_fleet(
            setpoints=(sound, sound, told("sgen:2", [1.0, 1.0]), told("load:4", [-1.0]),
                       told("sgen:5", [np.nan, 1.0])),
            orders=(generation("sgen:1", 3), demand("load:4", [1.0], [0.0]),
                    generation("sgen:5", 2)),
            recorded_mw={"sgen:1": np.array([1.0, np.nan]), "sgen:5": np.ones(2)}, day=DAY,
        )  # fmt: skip
    text = str(caught.value)
    for part in (
        "sgen:1: 2 setpoints",
        "setpoint order of sgen:2: no order",
        "3 periods",
        "load:4: no record",
        "sgen:1: record is not 2 finite",
        "a value is not finite",
    ):
        assert part in text
    with pytest.raises(InputError, match="late_share"):
        FleetBehaviour(late_share=2.0)


def _as_dict(rules: FleetBehaviour) -> dict[str, float]:
    return {name: getattr(rules, name) for name in FleetBehaviour.__dataclass_fields__}
