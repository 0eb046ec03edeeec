"""Real series with faults planted in them, and the score of a forecast made in spite of them."""

from __future__ import annotations

import csv
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from data.periods import Periods, parse_utc
from data.records.forecast import Reading
from forecasting.fallback import forecast_with_ladder
from forecasting.model import ForecastKind, KnownData, LikeDayModel, Site
from forecasting.quality import CheckedReading, check_readings

SERIES = Path(__file__).resolve().parents[2] / "data" / "series"
DECILES = tuple(k / 10 for k in range(1, 10))
MELBOURNE = Site(latitude=-37.81, longitude=144.96, timezone="Australia/Melbourne")
GOLDEN = Site(latitude=39.7406, longitude=-105.1775, capacity_mw=0.0034, timezone="America/Denver")


def read_series(name: str) -> Reading:
    """Read a series of data/series; blanks are NaN."""
    with (SERIES / name).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    periods = Periods(start=parse_utc(rows[0]["period_start"]), count=len(rows), mtu_minutes=60)
    value = np.array([[float(row["value_mw"] or "nan")] for row in rows])
    return Reading(series=("value_mw",), periods=periods, value_mw=value, known_at=periods.end)


def read_zones(names: tuple[str, ...], days: int = 59) -> Reading:
    """Read zones of ISO New England from 2017-01-01, hourly, as if all were standard time."""
    folder = os.environ.get("DSO_REFERENCE_DATA")
    if not folder:
        pytest.skip("reference series not there: set DSO_REFERENCE_DATA")
    import pandas as pd

    path = Path(folder) / "forecast" / "isone2017" / "smd_hourly_2017_janapr.parquet"
    demand = pd.read_parquet(path)["DEMAND"].unstack(0)
    value = demand[list(names)].to_numpy(dtype=float)[: days * 24]
    periods = Periods(start=datetime(2017, 1, 1, 5, tzinfo=UTC), count=len(value), mtu_minutes=60)
    return Reading(series=names, periods=periods, value_mw=value, known_at=periods.end)


def with_values(reading: Reading, value_mw: np.ndarray) -> Reading:
    """Return readings with other values."""
    return Reading(
        series=reading.series, periods=reading.periods, value_mw=value_mw,
        known_at=reading.known_at,
    )  # fmt: skip


def split(reading: Reading, rows: int) -> Reading:
    """Return the first rows."""
    periods = Periods(
        start=reading.periods.start, count=rows, mtu_minutes=reading.periods.mtu_minutes
    )
    return Reading(
        series=reading.series, periods=periods, value_mw=reading.value_mw[:rows].copy(),
        known_at=periods.end,
    )  # fmt: skip


def forecast_week(
    reading: Reading, kind: ForecastKind, site: Site, first_row: int
) -> tuple[np.ndarray, CheckedReading, tuple[str, ...]]:
    """Check what was read before ``first_row`` and forecast the week after it by the ladder.

    Returns
    -------
    (quantiles [MW] of shape (series, hours, 9), the check, fallbacks)
    """
    past = split(reading, first_row)
    checked = check_readings(past, kind, site.timezone)
    known = KnownData(
        kind=kind, reading=checked.reading, known_at=past.periods.end, site=site,
        suspect=checked.suspect,
    )  # fmt: skip
    ahead = Periods(start=past.periods.end, count=7 * 24, mtu_minutes=60)
    forecast = forecast_with_ladder(LikeDayModel(), known, checked, ahead, DECILES)
    return forecast.value_mw, checked, forecast.fallbacks


def pinball(value_mw: np.ndarray, actual_mw: np.ndarray) -> float:
    """Return the mean pinball loss over series, periods and deciles; NaN actuals left out."""
    error = actual_mw.T[:, :, None] - value_mw
    level = np.array(DECILES)
    return float(np.nanmean(np.maximum(level * error, (level - 1) * error)))
