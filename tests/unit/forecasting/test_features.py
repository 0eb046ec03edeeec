"""Features: holidays and clocks as people know them; nothing from after a row's gate."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from data.errors import InputError
from data.periods import Periods
from data.records.forecast import Reading
from forecasting.as_of import VersionedTable, instant64, starts64, table_of_reading
from forecasting.features import (
    FeatureTable,
    calendar_features,
    country_of_zone,
    day_ahead_gates,
    lag_features,
    local_calendar,
    public_holidays,
    recent_mean_features,
    weather_as_forecast,
    weather_features,
)

BERLIN = "Europe/Berlin"


def hours(start: datetime, count: int) -> Periods:
    return Periods(start=start, count=count, mtu_minutes=60)


def test_holidays_bridge_days_and_the_wall_clock() -> None:
    # Ascension 2016 is Thursday 5 May: the Friday is a bridge day.
    year = Periods(start=datetime(2016, 1, 1, tzinfo=UTC), count=366 * 24, mtu_minutes=60)
    calendar = local_calendar(starts64(year), BERLIN)

    def marks(day: date) -> tuple[int, int, int]:
        row = int(np.argmax(calendar.day == day.toordinal())) + 5
        return int(calendar.holiday[row]), int(calendar.bridge[row]), int(calendar.day_class[row])

    assert marks(date(2016, 5, 5)) == (1, 0, 2)
    assert marks(date(2016, 5, 6)) == (0, 1, 1)
    assert marks(date(2016, 5, 9)) == (0, 0, 0)
    assert marks(date(2016, 12, 25)) == (1, 0, 2)
    # 02:30 does not exist on 27 March and comes twice on 30 October.
    on = calendar.day == date(2016, 3, 27).toordinal()
    assert sorted(set(calendar.minute[on] // 60)) == [0, 1, *range(3, 24)]
    on = calendar.day == date(2016, 10, 30).toordinal()
    assert (calendar.minute[on] == 120).sum() == 2
    assert country_of_zone(BERLIN) == "DE"
    assert public_holidays("", 2016) == frozenset()


def ramp(days: int) -> tuple[Reading, VersionedTable]:
    """Readings whose value is the number of the hour: a lag tells where it was read."""
    periods = hours(datetime(2016, 3, 1, tzinfo=UTC), 24 * days)
    reading = Reading(
        series=("load",), periods=periods, value_mw=np.arange(24.0 * days)[:, None],
        known_at=periods.end,
    )  # fmt: skip
    return reading, table_of_reading(reading)


def test_lags_are_the_newest_days_known_at_the_gate() -> None:
    _, table = ramp(30)
    day = hours(datetime(2016, 3, 20, tzinfo=UTC), 24)
    gate = datetime(2016, 3, 19, 11, tzinfo=UTC)
    valid = starts64(day)
    found = lag_features(table, "load", valid, np.full(24, instant64(gate)), (1, 7))
    target = 19 * 24 + np.arange(24)
    age = np.where(np.arange(24) < 11, 1, 2)  # at 11:00 the hours up to 10:00-11:00 are read
    assert found.column("lag_age_days").tolist() == age.tolist()
    assert found.column("load_lag_1_days").tolist() == (target - 24 * age).tolist()
    assert found.column("load_lag_7_days").tolist() == (target - 168).tolist()
    means = recent_mean_features(table, "load", np.full(24, instant64(gate)), (24,))
    newest = 18 * 24 + 10  # the hour that ended at the gate
    assert means.value[0, 0] == pytest.approx(newest - 11.5)


def test_a_planted_leak_is_caught_and_cannot_be_joined() -> None:
    _, table = ramp(30)
    day = hours(datetime(2016, 3, 20, tzinfo=UTC), 24)
    gates = np.full(24, instant64(datetime(2016, 3, 19, 11, tzinfo=UTC)))
    honest = lag_features(table, "load", starts64(day), gates, (1,))
    # What came after the gate is changed: the honest features do not see it.
    value = table.value.copy()
    value[table.known_at > gates[0]] = -1.0
    changed = VersionedTable(
        names=table.names, mtu_minutes=60, valid_at=table.valid_at, known_at=table.known_at,
        value=value,
    )  # fmt: skip
    again = lag_features(changed, "load", starts64(day), gates, (1,))
    assert (again.value == honest.value).all()
    # The reading of the hour itself, planted as a feature, is refused by name.
    with pytest.raises(InputError, match="feature load_now"):
        FeatureTable(
            names=("load_now",), value=table.join(starts64(day), gates[0] + 86_400 * 2).value,
            known_at=(starts64(day) + np.timedelta64(3600, "s"))[:, None], gates=gates,
        )  # fmt: skip


def test_weather_is_the_newest_forecast_at_the_gate_and_observed_rows_are_told() -> None:
    valid = starts64(hours(datetime(2016, 3, 20, tzinfo=UTC), 2))
    issued = [datetime(2016, 3, 18, tzinfo=UTC), datetime(2016, 3, 19, tzinfo=UTC),
              datetime(2016, 3, 20, 6, tzinfo=UTC)]  # fmt: skip
    table = VersionedTable(
        names=("temperature_c",), mtu_minutes=60, valid_at=np.tile(valid, 3),
        known_at=np.repeat([instant64(i) for i in issued], 2),
        value=np.array([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]]),
    )  # fmt: skip
    gate = datetime(2016, 3, 19, 11, tzinfo=UTC)
    gates = np.full(2, instant64(gate))
    assert weather_features(table, valid, gates, table.names).value[:, 0].tolist() == [3.0, 4.0]
    # A quarter-hour reads its hour.
    late = valid + np.timedelta64(45 * 60, "s")
    assert weather_features(table, late, gates, table.names).value[:, 0].tolist() == [3.0, 4.0]
    early = np.full(2, instant64(datetime(2016, 3, 1, tzinfo=UTC)))
    now = instant64(datetime(2016, 3, 21, tzinfo=UTC))
    value, observed = weather_as_forecast(table, valid, early, now, table.names)
    assert (value[:, 0].tolist(), observed) == ([5.0, 6.0], True)
    assert weather_as_forecast(table, valid, gates, now, table.names)[1] is False


def test_past_gates_lie_as_long_before_midnight_as_the_one_asked_for() -> None:
    reading, _ = ramp(10)
    gate = datetime(2016, 3, 30, 11, 30, tzinfo=UTC)
    gates = day_ahead_gates(reading.periods, gate, datetime(2016, 3, 30, 22, tzinfo=UTC), BERLIN)
    # Local midnight of 2 March is 23:00 UTC on the 1st; 10.5 h before it is 12:30 UTC.
    row = int(timedelta(hours=30) / timedelta(hours=1))
    assert gates[row] == np.datetime64("2016-03-01T12:30:00")
    calendar = calendar_features(local_calendar(starts64(reading.periods), BERLIN), gates)
    assert np.isnat(calendar.known_at).all()
