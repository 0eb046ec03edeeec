"""What a forecast may use: only what was known at its gate, and a planted leak is caught."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from data.periods import Periods
from data.records.forecast import Reading
from forecasting.as_of import (
    VersionedTable,
    cut_reading,
    instant64,
    leak_problems,
    starts64,
    table_of_reading,
)
from forecasting.model import KnownData, LikeDayModel

START = datetime(2021, 3, 1, tzinfo=UTC)
GATE = START + timedelta(days=10, hours=10)
ORIGIN = np.datetime64("2021-03-01T00:00:00", "s")


def hours(*count: int) -> np.ndarray:
    return ORIGIN + np.array(count) * np.timedelta64(3600, "s")


def reading_of(days: int, mtu_minutes: int = 60) -> Reading:
    count = days * 24 * 60 // mtu_minutes
    periods = Periods(start=START, count=count, mtu_minutes=mtu_minutes)
    value = 2.0 + np.sin(np.arange(count) * 2 * np.pi / 24)[:, None]
    return Reading(series=("a",), periods=periods, value_mw=value, known_at=periods.end)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), max_size=25, unique=True),
    asked=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=10),
)
def test_a_join_finds_the_newest_version_known_and_never_a_later_one(
    rows: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    table = VersionedTable(
        names=("x",),
        mtu_minutes=60,
        valid_at=hours(*(v for v, _ in rows)),
        known_at=hours(*(k for _, k in rows)),
        value=np.array([[10.0 * v + k] for v, k in rows]).reshape(-1, 1),
    )
    found = table.join(hours(*(v for v, _ in asked)), hours(*(g for _, g in asked)))
    for row, (valid, gate) in enumerate(asked):
        versions = [known for v, known in rows if v == valid and known <= gate]
        if versions:
            assert found.value[row, 0] == 10.0 * valid + max(versions)
            assert found.known_at[row] == hours(max(versions))[0]
        else:
            assert np.isnan(found.value[row, 0])
            assert not found.found[row]


def test_what_comes_after_the_gate_changes_nothing() -> None:
    reading = reading_of(20)
    table = table_of_reading(reading)
    asked = starts64(reading.periods) - np.timedelta64(24 * 3600, "s")
    before = table.join(asked, GATE)
    changed = VersionedTable(
        names=table.names, mtu_minutes=60, valid_at=table.valid_at, known_at=table.known_at,
        value=np.where((table.known_at > instant64(GATE))[:, None], 1e9, table.value),
    )  # fmt: skip
    np.testing.assert_array_equal(changed.join(asked, GATE).value, before.value)
    assert (changed.known_before(GATE).value < 1e9).all()


def test_a_reading_is_known_at_the_end_of_its_period_plus_the_delay() -> None:
    table = table_of_reading(reading_of(1), timedelta(hours=6))
    at_noon = table.join(hours(5, 6), START + timedelta(hours=12))
    assert at_noon.found.tolist() == [True, False]


def test_a_planted_leak_is_caught() -> None:
    """Tomorrow's own reading as a feature: the check before a model names it."""
    reading = reading_of(20)
    table = table_of_reading(reading)
    target = starts64(Periods(start=GATE + timedelta(hours=14), count=24, mtu_minutes=60))
    day = np.timedelta64(24 * 3600, "s")
    honest = table.join(target - 2 * day, GATE)
    leaking = table.join(target, datetime(2021, 3, 20, tzinfo=UTC))
    known_at = np.column_stack([honest.known_at, leaking.known_at])
    problems = leak_problems(["two_days_ago", "tomorrow"], known_at, GATE)
    assert [problem.where for problem in problems] == ["feature tomorrow"]
    assert "24 rows" in problems[0].what
    assert leak_problems(["two_days_ago"], known_at[:, :1], GATE) == []


def test_a_feature_without_source_cannot_leak() -> None:
    nothing = np.full((3, 1), np.datetime64("NaT"), dtype="datetime64[s]")
    assert leak_problems(["weekday"], nothing, GATE) == []


def test_a_model_cannot_be_handed_later_readings_or_weather() -> None:
    reading = reading_of(20)
    weather = VersionedTable(
        names=("temperature_c",), mtu_minutes=60, valid_at=hours(1), known_at=hours(24 * 11),
        value=np.ones((1, 1)),
    )  # fmt: skip
    with pytest.raises(InputError) as refused:
        KnownData(kind="load", reading=reading, known_at=GATE, weather=weather)
    assert {problem.where for problem in refused.value.problems} == {"readings", "weather"}
    known = KnownData(
        kind="load", reading=cut_reading(reading, GATE), known_at=GATE,
        weather=weather.known_before(GATE),
    )  # fmt: skip
    assert known.reading.periods.end == GATE


def test_the_forecast_of_a_past_gate_is_the_same_whenever_it_is_made() -> None:
    short, long = reading_of(12), reading_of(20)
    ahead = Periods(start=GATE + timedelta(hours=14), count=24, mtu_minutes=60)
    forecasts = [
        LikeDayModel().predict(
            KnownData(kind="load", reading=cut_reading(reading, GATE), known_at=GATE),
            ahead, (0.1, 0.5, 0.9),
        )
        for reading in (short, long)
    ]  # fmt: skip
    np.testing.assert_array_equal(forecasts[0].value_mw, forecasts[1].value_mw)


def test_a_gap_is_refused_before_it_reaches_a_model() -> None:
    reading = reading_of(10)
    reading.value_mw[5, 0] = np.nan
    with pytest.raises(InputError, match="not a number"):
        KnownData(kind="load", reading=reading, known_at=GATE)


def test_nothing_known_is_said() -> None:
    with pytest.raises(InputError, match="none known"):
        cut_reading(reading_of(2), START)


def test_a_table_that_does_not_fit_itself_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        VersionedTable(
            names=("x", "x"), mtu_minutes=60, valid_at=hours(0), known_at=hours(0, 1),
            value=np.ones((1, 2)),
        )  # fmt: skip
    assert len(refused.value.problems) == 2
