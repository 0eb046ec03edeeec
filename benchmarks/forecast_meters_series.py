"""Forty households of Zonnedael for the benchmark: what is known at each gate, and our forecasts.

Read from the folder that DSO_REFERENCE_DATA names (Liander open data). The series has 96 slots
every day on its own clock, so it is taken as UTC with the holidays of the Netherlands. Transformers
of ten meters each are ours: the set does not say where the meters are.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem
from data.periods import Periods
from data.records.forecast import Reading
from forecasting.hierarchy import Hierarchy, build_hierarchy
from forecasting.meter_days import arrange_days, forecast_like_days
from forecasting.meter_model import MeterForecaster, MeterModel
from forecasting.model import KnownData, Site

Floats = NDArray[np.float64]

FILE: Final = Path("forecast/zonnedael/load_40meters_15min_wh.parquet")
START: Final = datetime(2013, 1, 1, tzinfo=UTC)
COUNTRY: Final = "NL"
LEVELS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
DAYS: Final = 151
SLOTS: Final = 96
# Slots of D-1 that are known at the gate, 10:00.
GATE_SLOT: Final = 40
# First day (counted from 1 January) and number of days; the model is fitted at each month's start.
MONTHS: Final = {"March": (59, 31), "April": (90, 30), "May": (120, 31)}
ROWS_OF_LEVELS: Final = {"feeder": slice(0, 1), "transformers": slice(1, 5), "meters": slice(5, 45)}


@cache
def tree() -> Hierarchy:
    """Return forty meters on four transformers on one feeder."""
    meters = {f"meter:{k}": f"transformer:{k // 10}" for k in range(40)}
    return build_hierarchy(meters | {f"transformer:{k}": "feeder" for k in range(4)}, START)


@cache
def power_mw() -> Floats:
    """Return the power of all nodes, shape (45 nodes, days, slots) [MW].

    Raises
    ------
    InputError
        If DSO_REFERENCE_DATA is not set.
    """
    import pandas as pd

    folder = os.environ.get("DSO_REFERENCE_DATA")
    if not folder:
        raise InputError(
            [Problem(where="DSO_REFERENCE_DATA", what="is not set",
                     remedy="name the folder of the reference series")]
        )  # fmt: skip
    wh = pd.read_parquet(Path(folder) / FILE).to_numpy(dtype=float)
    return tree().sum_meters(wh.T.reshape(40, DAYS, SLOTS) * 4e-6)


def known_at_gate(day: int, rows: slice = slice(5, 45)) -> KnownData:
    """Return the readings of some nodes known at 10:00 of the day before ``day``."""
    count = (day - 1) * SLOTS + GATE_SLOT
    value = power_mw()[rows].reshape(-1, DAYS * SLOTS)[:, :count]
    periods = Periods(start=START, count=count)
    reading = Reading(
        series=tree().nodes[rows], periods=periods, value_mw=np.ascontiguousarray(value.T),
        known_at=periods.end,
    )  # fmt: skip
    return KnownData(kind="load", reading=reading, known_at=periods.end, site=Site(timezone="UTC"))


def periods_of(day: int) -> Periods:
    """Return the periods of a day."""
    return Periods(start=START + timedelta(days=day), count=SLOTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolled:
    """Forecasts of all nodes for every day of the three months, one origin a day.

    Parameters
    ----------
    quantile_mw : ndarray, shape (days of the year so far, nodes, slots, levels)
        Ours, NaN before the first month [MW].
    raw_mw, like_day_mw : ndarray, same shape
        Before calibration; like days alone [MW].
    fit_s, predict_s : float
        Processor time of one fit and of one day's forecast of all nodes [s].
    shares : mapping of month to the trees' share at the feeder, transformers and meters
    models : mapping of level to the last month's model
    """

    quantile_mw: Floats
    raw_mw: Floats
    like_day_mw: Floats
    fit_s: float
    predict_s: float
    shares: dict[str, tuple[float, ...]]
    models: dict[str, MeterModel]

    def predict_all(self, day: int, levels: Sequence[float]) -> Floats:
        """Forecast all nodes for a day of the last month, shape (nodes, slots, levels) [MW]."""
        made = []
        for level, rows in ROWS_OF_LEVELS.items():
            seen = arrange_days(known_at_gate(day, rows).reading, "UTC", 2, COUNTRY)
            made.append(self.models[level].predict_day(seen, day, levels))
        return np.concatenate(made)


@cache
def rolled() -> Rolled:
    """Forecast each day of March, April and May at 10:00 of the day before."""
    shape = (DAYS, len(tree().nodes), SLOTS, len(LEVELS))
    made = [np.full(shape, np.nan) for _ in range(3)]
    shares, fits, predictions = {}, [], []
    models: dict[str, MeterModel] = {}
    for month, (first, count) in MONTHS.items():
        clock = time.process_time()
        fitted = MeterForecaster(country=COUNTRY).fit(known_at_gate(first))
        fits.append(time.process_time() - clock)
        for level, rows in ROWS_OF_LEVELS.items():
            own = level == "meters"
            models[level] = fitted if own else fitted.adapted_to(known_at_gate(first, rows))
        shares[month] = tuple(model.share for model in models.values())
        clock = time.process_time()
        for day in range(first, first + count):
            for level, rows in ROWS_OF_LEVELS.items():
                seen = arrange_days(known_at_gate(day, rows).reading, "UTC", 2, COUNTRY)
                made[0][day, rows] = models[level].predict_day(seen, day, LEVELS)
                made[1][day, rows] = models[level].predict_raw(seen, day, LEVELS)
                made[2][day, rows] = forecast_like_days(seen, day, LEVELS)
        predictions.append((time.process_time() - clock) / count)
    return Rolled(
        quantile_mw=made[0], raw_mw=made[1], like_day_mw=made[2], fit_s=max(fits),
        predict_s=max(predictions), shares=shares, models=models,
    )  # fmt: skip


def losses(quantile: Floats, actual: Floats, levels: Sequence[float] = LEVELS) -> Floats:
    """Return GEFCom's pinball loss, the mean over levels; shape of ``actual``."""
    level = np.asarray(levels)
    error = actual[..., None] - quantile
    return np.asarray(np.maximum(level * error, (level - 1.0) * error).mean(axis=-1))


def inside(quantile: Floats, actual: Floats) -> Floats:
    """Return 1 where the value lies in the 10-90 % band, else 0; shape of ``actual``."""
    return np.asarray((actual >= quantile[..., 0]) & (actual <= quantile[..., -1]), dtype=float)
