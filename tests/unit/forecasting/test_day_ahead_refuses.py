"""Bad readings are refused with every problem found; odd ones are named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data.errors import InputError
from data.periods import Periods
from data.records.forecast import Forecast, Reading
from forecasting.day_ahead import forecast_day_ahead
from forecasting.readings import kind_of_technology

START = datetime(2016, 5, 1, tzinfo=UTC)
SERIES = ("load:0", "sgen:0", "sgen:1", "sgen:2")
KINDS = {"load:0": "load", "sgen:0": "pv", "sgen:1": "wind", "sgen:2": "other"}
CAPACITY = {"sgen:0": 1.0, "sgen:1": 2.0, "sgen:2": 0.5}


def readings(days: float = 20.0, seed: int = 5) -> Reading:
    count = int(days * 96)
    rng = np.random.default_rng(seed)
    hour = np.arange(count) % 96 / 4
    sun = np.clip(np.sin((hour - 4) / 14 * np.pi), 0.0, None) * ((hour > 4) & (hour < 18))
    value = np.column_stack(
        [1.0 + 0.3 * rng.random(count), 0.8 * sun * rng.random(count), 2.0 * rng.random(count),
         0.4 * rng.random(count)]
    )  # fmt: skip
    periods = Periods(start=START, count=count)
    return Reading(series=SERIES, periods=periods, value_mw=value, known_at=periods.end)


def forecast(reading: Reading, **changes: Any) -> Forecast:
    arguments: dict[str, Any] = {
        "kinds": KINDS,
        "capacity_mw": CAPACITY,
        "periods": Periods(start=reading.periods.end + timedelta(hours=10), count=96),
        "known_at": reading.known_at,
        "latitude": 53.6,
        "longitude": 11.4,
    }
    return forecast_day_ahead(reading=reading, **(arguments | changes))


def with_value(reading: Reading, value_mw: NDArray[np.float64]) -> Reading:
    return Reading(series=reading.series, periods=reading.periods, value_mw=value_mw,
                   known_at=reading.known_at)  # fmt: skip


def problems_of(reading: Reading, **changes: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        forecast(reading, **changes)
    return [str(problem) for problem in caught.value.problems]


def test_nan_is_refused_with_series_and_time() -> None:
    reading = readings()
    value = reading.value_mw.copy()
    value[5, 0], value[9:12, 2] = np.nan, np.inf
    found = problems_of(with_value(reading, value))
    assert len(found) == 2
    assert "load:0 at 2016-05-01T01:15:00Z" in found[0]
    assert "sgen:1 at 2016-05-01T02:15:00Z" in found[1]
    assert "3 periods" in found[1]


def test_readings_after_the_gate_are_refused() -> None:
    reading = readings()
    late = problems_of(reading, known_at=reading.known_at - timedelta(minutes=1))
    assert "after the gate" in late[0]


def test_all_problems_come_together() -> None:
    reading = readings(days=0.9)
    found = problems_of(
        reading,
        kinds={"load:0": "load", "sgen:0": "pv", "sgen:1": "tidal"},
        capacity_mw={"sgen:0": -1.0, "sgen:2": 0.5},
        quantiles=(0.1, 0.9),
        latitude=97.0,
        periods=Periods(start=START, count=96),
    )
    text = "\n".join(found)
    for part in ("tidal", "sgen:2: kind is None", "no installed capacity", "-1.0 MW", "quantiles",
                 "97.0", "21.5 h of history", "before the readings end"):  # fmt: skip
        assert part in text


def test_one_day_of_history_is_the_least() -> None:
    assert forecast(readings(days=1.0)).fallbacks
    assert "history" in problems_of(readings(days=0.99))[0]


def test_capacity_caps_and_more_output_than_capacity_is_named() -> None:
    plain = forecast(readings())
    assert (plain.value_mw[1:].max(axis=(1, 2)) <= [1.0, 2.0, 0.5]).all()
    exceeded = forecast(readings(), capacity_mw=CAPACITY | {"sgen:1": 1.0})
    assert any(warning.startswith("sgen:1: read 1.99") for warning in exceeded.warnings)


def test_a_dead_meter_and_a_wrong_sign_are_named() -> None:
    reading = readings()
    value = reading.value_mw.copy()
    value[-96:, 0] = 1.0
    value[100, 3] = -0.3
    warnings = forecast(with_value(reading, value)).warnings
    assert "load:0: the last 24 h of readings are one constant value" in warnings
    assert "negative readings, forecast from 0 MW up: sgen:2" in warnings


def test_a_pv_meters_noise_at_night_is_not_forecast() -> None:
    reading = readings()
    value = reading.value_mw.copy()
    value[:, 1] += 5e-4  # under a thousandth of the capacity: still PV, still dark
    noisy = forecast(with_value(reading, value))
    midnight = [s.hour in (23, 0) for s in noisy.periods.starts]
    assert not any("pv" in note for note in noisy.fallbacks)
    assert (noisy.value_mw[1, midnight] == 0.0).all()


def test_old_readings_are_named() -> None:
    reading = readings()
    later = reading.known_at + timedelta(hours=30)
    found = forecast(
        reading, known_at=later, periods=Periods(start=later + timedelta(hours=10), count=96)
    )
    assert "readings end 30.0 h before the gate" in found.warnings


def test_same_readings_give_the_same_bytes() -> None:
    assert forecast(readings()).value_mw.tobytes() == forecast(readings()).value_mw.tobytes()


@pytest.mark.parametrize(
    ("technology", "kind"),
    [("Wind_MV", "wind"), ("lv_RES", "pv"), ("PV_MV", "pv"), ("Biomass_MV", "other"),
     ("Hydro_MV", "other")],
)  # fmt: skip
def test_simbench_technologies(technology: str, kind: str) -> None:
    assert kind_of_technology(technology) == kind
