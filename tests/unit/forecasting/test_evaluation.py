"""Scores against numbers worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from data.errors import InputError
from data.periods import Periods
from data.records.forecast import Forecast
from forecasting.evaluation import coverage, pinball_mw

START = datetime(2016, 5, 1, tzinfo=UTC)
FORECAST = Forecast(
    series=("load:0",),
    periods=Periods(start=START, count=4),
    quantiles=(0.1, 0.5, 0.9),
    value_mw=np.array([[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]]),
    known_at=START,
    model_id="m/1",
)


def test_pinball_by_hand() -> None:
    actual = np.array([[2.0, 4.0, 0.0, 0.0]])
    # y=2: .1*1 + 0 + .1*1; y=4: .1*3 + .5*2 + .9*1; y=0: .9*1 + .5*2 + .1*3; y=0 on zeros: 0
    assert pinball_mw(FORECAST, actual) == pytest.approx([(0.2 + 2.2 + 2.2) / 12])


def test_coverage_counts_the_bands_ends_and_leaves_out_nights() -> None:
    assert coverage(FORECAST, np.array([[3.0, 4.0, 1.0, 0.0]])) == pytest.approx([2 / 3])


def test_a_wrong_shape_nan_or_level_is_refused() -> None:
    for actual in (np.zeros((1, 3)), np.full((1, 4), np.nan)):
        with pytest.raises(InputError):
            pinball_mw(FORECAST, actual)
    with pytest.raises(InputError, match=r"no level 0\.2"):
        coverage(FORECAST, np.zeros((1, 4)), 0.2, 0.9)
