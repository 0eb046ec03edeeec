"""Third-party inputs: implausible values go, and two sources that disagree are told apart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from data.periods import Periods
from forecasting.as_of import VersionedTable, instant64, starts64
from forecasting.sources import combine_sources, leave_out_implausible, range_of

GATE = datetime(2026, 5, 1, 10, tzinfo=UTC)
AHEAD = Periods(start=GATE + timedelta(hours=12), count=24, mtu_minutes=60)


def source(
    value: np.ndarray | float, name: str = "temperature_c", issued_h: int = -4
) -> VersionedTable:
    column = np.broadcast_to(np.asarray(value, dtype=float), (24,)).copy()
    issued = instant64(GATE + timedelta(hours=issued_h))
    return VersionedTable(
        names=(name,), mtu_minutes=60, valid_at=starts64(AHEAD),
        known_at=np.full(24, issued), value=column[:, None],
    )  # fmt: skip


def test_what_the_unit_forbids_is_left_out_and_counted() -> None:
    value = np.full(24, 12.0)
    value[3], value[5] = 285.2, -273.0  # kelvin, absolute zero
    cleaned, count = leave_out_implausible(source(value))
    assert count == 2
    assert np.isnan(cleaned.value[[3, 5], 0]).all()
    assert np.isfinite(np.delete(cleaned.value[:, 0], [3, 5])).all()


def test_a_column_without_a_known_unit_is_taken_as_it_is() -> None:
    assert range_of("VAR78")[2] == np.inf
    assert leave_out_implausible(source(1e9, "VAR78"))[1] == 0


def test_of_two_sources_the_first_counts_and_the_doubt_is_said() -> None:
    combined = combine_sources([("a.csv", source(12.0)), ("b.csv", source(19.0))], GATE, AHEAD)
    assert (combined.table.latest(AHEAD) == 12.0).all()
    assert len(combined.warnings) == 1
    assert "100% of the coming periods (most: 7)" in combined.warnings[0]


def test_within_the_tolerance_nothing_is_said() -> None:
    combined = combine_sources([("a.csv", source(12.0)), ("b.csv", source(14.0))], GATE, AHEAD)
    assert combined.warnings == ()


def test_of_three_sources_the_median_counts() -> None:
    tables = [("a.csv", source(40.0)), ("b.csv", source(12.0)), ("c.csv", source(13.0))]
    combined = combine_sources(tables, GATE, AHEAD)
    assert (combined.table.latest(AHEAD) == 13.0).all()


def test_the_second_source_fills_what_the_first_lacks_or_has_wrong() -> None:
    first = np.full(24, 12.0)
    first[4], first[6] = np.nan, 900.0
    combined = combine_sources([("a.csv", source(first)), ("b.csv", source(14.0))], GATE, AHEAD)
    value = combined.table.latest(AHEAD)[:, 0]
    assert value[[4, 6]].tolist() == [14.0, 14.0]
    assert (np.delete(value, [4, 6]) == 12.0).all()
    assert combined.left_out == (1, 0)


@pytest.mark.parametrize("count", [1, 2])
def test_what_was_issued_after_the_gate_is_not_used(count: int) -> None:
    late = source(30.0, issued_h=1)
    tables = [("late.csv", late), ("b.csv", source(14.0))][:count]
    combined = combine_sources(tables, GATE, AHEAD)
    value = combined.table.latest(AHEAD)
    assert np.isnan(value).all() if count == 1 else (value == 14.0).all()


def test_prices_have_bounds_and_a_tolerance_too() -> None:
    cheap, dear = source(50.0, "price_eur_per_mwh"), source(95.0, "price_eur_per_mwh")
    assert combine_sources([("a", cheap), ("b", dear)], GATE, AHEAD).warnings
    assert leave_out_implausible(source(5e4, "price_eur_per_mwh"))[1] == 24
