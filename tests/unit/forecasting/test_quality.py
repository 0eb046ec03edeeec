"""Planted faults are found and named, and cost the forecast at most 15 % of its pinball loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pytest

from data.errors import InputError
from data.periods import Periods
from data.records.forecast import Reading
from forecasting.model import ForecastKind, KnownData, LikeDayModel, Site
from forecasting.quality import Fault, check_readings
from tests.support.faulty_series import (
    GOLDEN,
    MELBOURNE,
    forecast_week,
    pinball,
    read_series,
    read_zones,
    split,
    with_values,
)

Values = np.ndarray
ALLOWED = 1.15
# A week of hourly readings before the last row: where the faults are planted.
HOURS = 24


@dataclass(frozen=True)
class Planted:
    """A fault: what it is called, how it is planted from row ``first`` to ``past``, how found.

    ``scale`` is what the plant's coming output is multiplied by (a doubled plant yields double).
    """

    kind: str
    plant: Callable[[Values, int, int], None]
    first_h: int  # before the gate
    length_h: int
    tolerance_h: int = 1
    scale: float = 1.0
    amount: float | None = None


def gap(x: Values, a: int, b: int) -> None:
    x[a:b] = np.nan


def freeze(x: Values, a: int, b: int) -> None:
    x[a:b] = x[a]


def spike(x: Values, a: int, b: int) -> None:
    x[a:b] = 3.5 * np.nanmax(x)


def sign(x: Values, a: int, b: int) -> None:
    x[a:b] *= -1.0


def kilo(x: Values, a: int, b: int) -> None:
    x[a:b] *= 1000.0


def milli(x: Values, a: int, b: int) -> None:
    x[a:b] /= 1000.0


def late(x: Values, a: int, b: int) -> None:
    x[a:b] = x[a - 1 : b - 1].copy()


def early(x: Values, a: int, b: int) -> None:
    x[a : b - 1] = x[a + 1 : b].copy()


def double(x: Values, a: int, b: int) -> None:
    x[a:b] *= 2.0


def kill(x: Values, a: int, b: int) -> None:
    x[a:b] = 0.0


LOAD_FAULTS = [
    Planted("gap", gap, 40, 40),
    Planted("gap", gap, 9 * HOURS, 30),
    Planted("flatline", freeze, 30, 30),
    Planted("flatline", freeze, 6 * HOURS, 20),
    Planted("spike", spike, 30, 1),
    Planted("sign flip", sign, 3 * HOURS, 3 * HOURS),
    Planted("sign flip", sign, 10 * HOURS + 5, 30),
    Planted("unit flip", kilo, 2 * HOURS, 2 * HOURS, amount=1e3),
    Planted("unit flip", milli, 9 * HOURS, 4 * HOURS, amount=1e-3),
    Planted("clock shift", late, 14 * HOURS, 14 * HOURS, tolerance_h=36, amount=1.0),
    Planted("clock shift", early, 14 * HOURS, 14 * HOURS, tolerance_h=36, amount=-1.0),
]
PV_FAULTS = [
    Planted("gap", gap, 40, 40),
    Planted("flatline", freeze, 7 * HOURS - 12, 20),
    Planted("dead", kill, 3 * HOURS, 3 * HOURS, tolerance_h=16),
    Planted("spike", spike, 12, 1),
    Planted("sign flip", sign, 3 * HOURS, 3 * HOURS, tolerance_h=16),
    Planted("unit flip", kilo, 3 * HOURS, 3 * HOURS, tolerance_h=16, amount=1e3),
    Planted("clock shift", late, 14 * HOURS, 14 * HOURS, tolerance_h=4 * HOURS, amount=1.0),
    Planted("clock shift", early, 14 * HOURS, 14 * HOURS, tolerance_h=4 * HOURS, amount=-1.0),
    Planted("capacity change", double, 10 * HOURS, 10 * HOURS, tolerance_h=3 * HOURS, scale=2.0),
]


def name_of(fault: Planted) -> str:
    return f"{fault.kind}-{fault.plant.__name__}-{fault.first_h}h"


def found_at(faults: tuple[Fault, ...], planted: Planted, reading: Reading, gate: int) -> Fault:
    """Return the fault found where one was planted."""
    start = reading.periods.start + (gate - planted.first_h) * reading.periods.mtu
    end = start + timedelta(hours=planted.length_h)
    near = timedelta(hours=planted.tolerance_h)
    for fault in faults:
        if fault.kind == planted.kind and abs(fault.start - start) <= near:
            assert abs(fault.end - end) <= near, f"{fault}, planted until {end}"
            assert fault.ongoing == (planted.length_h == planted.first_h)
            return fault
    raise AssertionError(f"{planted.kind} from {start} not among {[str(f) for f in faults]}")


@pytest.mark.parametrize("fault", LOAD_FAULTS, ids=name_of)
def test_a_fault_of_a_load_is_named_and_costs_little(fault: Planted) -> None:
    check_planted("victoria_readings.csv", "load", MELBOURNE, 110 * HOURS + 1, fault)


@pytest.mark.parametrize("fault", PV_FAULTS, ids=name_of)
def test_a_fault_of_a_pv_plant_is_named_and_costs_little(fault: Planted) -> None:
    check_planted("golden_pv_readings.csv", "pv", GOLDEN, 70 * HOURS, fault)


@cache
def clean_forecast(name: str, kind: ForecastKind, site: Site, gate: int) -> Values:
    value, _, fallbacks = forecast_week(read_series(name), kind, site, gate)
    assert fallbacks == ()
    return value


def check_planted(name: str, kind: ForecastKind, site: Site, gate: int, planted: Planted) -> None:
    reading = read_series(name)
    actual = reading.value_mw[gate : gate + 7 * HOURS]
    clean = clean_forecast(name, kind, site, gate)
    faulty = reading.value_mw.copy()
    first = gate - planted.first_h
    planted.plant(faulty[:, 0], first, first + planted.length_h)
    value, checked, fallbacks = forecast_week(with_values(reading, faulty), kind, site, gate)
    fault = found_at(checked.faults, planted, reading, gate)
    if planted.amount is not None:
        assert fault.amount == pytest.approx(planted.amount)
    best = pinball(clean * planted.scale, actual * planted.scale)
    worse = pinball(value, actual * planted.scale)
    assert worse <= ALLOWED * best, f"{worse / best - 1:.1%} worse; {fallbacks}"
    if fault.ongoing and planted.kind in ("gap", "flatline", "dead"):
        assert any("readings dead since" in note for note in fallbacks)


def test_load_that_moves_to_the_neighbour_is_named_in_both() -> None:
    reading = read_zones(("NH", "VT", "RI", "ME"))
    gate, moved = 52 * HOURS, 150.0
    first = gate - 9 * HOURS - 7
    after = reading.value_mw.copy()
    after[first:, 0] -= moved
    after[first:, 2] += moved
    switched = with_values(reading, after)
    value, checked, _ = forecast_week(switched, "load", MELBOURNE, gate)
    switches = [fault for fault in checked.faults if fault.kind == "feeder switch"]
    assert {(fault.series, fault.neighbour) for fault in switches} == {("NH", "RI"), ("RI", "NH")}
    start = reading.periods.start + first * reading.periods.mtu
    for fault in switches:
        assert abs(fault.start - start) <= timedelta(hours=2)
        assert abs(fault.amount) == pytest.approx(moved, rel=0.2)
    clean, _, _ = forecast_week(reading, "load", MELBOURNE, gate)
    actual = slice(gate, gate + 7 * HOURS)
    best = pinball(clean, reading.value_mw[actual])
    assert pinball(value, after[actual]) <= ALLOWED * best


def test_without_the_check_the_same_faults_cost_far_more() -> None:
    """The bound of 15 % means something: a flipped sign alone costs several times that."""
    reading = read_series("victoria_readings.csv")
    gate = 110 * HOURS + 1
    losses = []
    for flip in (False, True):
        past = split(reading, gate)
        if flip:
            past.value_mw[-72:] *= -1.0
        known = KnownData(kind="load", reading=past, known_at=past.periods.end, site=MELBOURNE)
        ahead = Periods(start=past.periods.end, count=24, mtu_minutes=60)
        value = LikeDayModel().predict(known, ahead, tuple(k / 10 for k in range(1, 10))).value_mw
        losses.append(pinball(value, reading.value_mw[gate : gate + 24]))
    assert losses[1] > 2.0 * losses[0]


def test_real_demand_has_no_fault() -> None:
    checked = check_readings(read_series("victoria_readings.csv"), "load", "Australia/Melbourne")
    assert checked.faults == ()
    assert not checked.suspect.any()


def test_the_real_gaps_of_a_real_plant_are_named_and_nothing_else() -> None:
    checked = check_readings(read_series("golden_pv_readings.csv"), "pv")
    assert {fault.kind for fault in checked.faults} == {"gap"}
    assert np.isfinite(checked.reading.value_mw).all()


def test_a_clock_change_nobody_told_us_of_is_found_in_real_demand() -> None:
    """New England's wall-clock hours taken for standard time: off by one from 2017-03-12 on."""
    reading = read_zones(("CT", "ME", "NH", "RI", "SEMASS", "VT", "WCMASS"), days=100)
    checked = check_readings(reading, "load", "America/New_York")
    assert {fault.kind for fault in checked.faults} == {"clock shift"}
    assert len({fault.series for fault in checked.faults}) >= 6
    changed = datetime(2017, 3, 12, 5, tzinfo=UTC)
    assert all(abs(fault.start - changed) <= timedelta(days=1) for fault in checked.faults)


def test_a_series_without_any_reading_is_refused() -> None:
    reading = split(read_series("victoria_readings.csv"), 240)
    with pytest.raises(InputError, match="no reading at all"):
        check_readings(with_values(reading, np.full((240, 1), np.nan)), "load")


def test_a_fault_says_what_was_done() -> None:
    reading = split(read_series("victoria_readings.csv"), 60 * HOURS)
    reading.value_mw[-5 * HOURS :] *= 1000.0
    fault = check_readings(reading, "load", "Australia/Melbourne").faults[0]
    assert str(fault) == (
        "value_mw: unit flip (+1000 times) from 2014-03-27T13:00:00Z until now; undone"
    )
