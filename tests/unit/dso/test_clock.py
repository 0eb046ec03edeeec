"""Clocks tell aware UTC instants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from dso.clock import ReplayClock, Stopwatch, SystemClock


def test_the_system_clock_is_utc_and_moves() -> None:
    first = SystemClock().now()
    assert first.utcoffset() == timedelta(0)
    assert SystemClock().now() >= first


def test_a_replay_clock_stands_still_in_utc() -> None:
    clock = ReplayClock(at=datetime(2016, 7, 24, 13, 30, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now() == clock.now() == datetime(2016, 7, 24, 11, 30, tzinfo=UTC)
    assert clock.now().tzinfo is UTC


def test_a_clock_without_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        ReplayClock(at=datetime(2016, 7, 24, 13, 30))  # noqa: DTZ001  the fault under test


def test_a_stopwatch_counts_up() -> None:
    watch = Stopwatch.start()
    first = watch.elapsed_s()
    assert 0.0 <= first <= watch.elapsed_s()
