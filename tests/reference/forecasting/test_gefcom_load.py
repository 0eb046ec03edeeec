"""GEFCom2014-L: our metric and alignment give the published numbers, and a task is beaten.

The competition's data is read from DSO_REFERENCE_DATA and is not shipped; where that is not set
these tests are listed as not run.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from benchmarks.forecast_load import TASKS, official_scores, read_load_set
from benchmarks.forecast_sets import PERCENTILES
from forecasting.month_ahead import MonthAheadRule, forecast_month_ahead
from forecasting.scores import pinball_losses

pytestmark = pytest.mark.skipif(
    "DSO_REFERENCE_DATA" not in os.environ,
    reason="DSO_REFERENCE_DATA is not set: GEFCom2014 is competition data and not shipped",
)


def month_days(month: str) -> np.ndarray:
    first = np.datetime64(month, "D")
    days = np.arange(first, np.datetime64(month, "M") + 1, dtype="datetime64[D]")
    return days.astype(np.int64) + 719_163  # ordinal of 1 January 1970


def test_the_official_benchmark_is_reproduced_to_three_decimals() -> None:
    """It is the load of the same date a year before, for all 99 quantiles."""
    series = read_load_set()
    found = []
    for number in range(len(TASKS)):
        month = str(np.datetime64("2011-01") + number)
        year_before = month_days(f"2010-{month[5:]}")
        naive = np.repeat(series.load_of(year_before)[:, None], 99, axis=1)
        actual = series.load_of(month_days(month))
        found.append(pinball_losses(naive, actual, PERCENTILES).mean())
    assert found == pytest.approx(official_scores()["benchmark"], abs=5e-4)


def test_february_2011_is_under_every_month_ahead_entry_but_the_best_few() -> None:
    """Data up to 31 January only: 12.523 of the competition's winner, 22.758 of its benchmark."""
    series = read_load_set()
    days = month_days("2011-02")
    value = forecast_month_ahead(
        series.known_before(int(days[0])), len(days), PERCENTILES, MonthAheadRule()
    )
    loss = pinball_losses(value, series.load_of(days), PERCENTILES).mean()
    assert loss < 0.8 * 12.523
    assert (np.diff(value, axis=1) >= 0.0).all()
