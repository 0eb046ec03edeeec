"""GEFCom2014-L as the competition set it: each month from what was known at its start.

Tasks 4-9 are January to June 2011. Weights of the two parts and the width of the bands come from
the 24 months before each month, forecast the same way.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecast_sets import PERCENTILES, ScoredMonth, reference_folder
from forecasting.calibration import CalibrationRule, apply_calibration, fit_calibration
from forecasting.features import public_holidays
from forecasting.month_ahead import (
    HourlyHistory,
    MonthAheadRule,
    blend_month_ahead,
    climatology,
    lines_with_scenarios,
)
from forecasting.scores import pinball_losses

Floats = NDArray[np.float64]
RULE: Final = MonthAheadRule()
# Months that weights and widths are learnt from, before each month scored.
LEARN_MONTHS: Final = 24
FIRST_TASK: Final = (2010, 10)
TASKS: Final = tuple(range(4, 10))
TEAMS: Final = {"benchmark": "Benchmark - Load", "Tololo": "Tololo"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSet:
    """Series as they lie in the file, by whole days."""

    day: NDArray[np.int64]
    load_mw: Floats
    temperature: Floats
    holidays: frozenset[int]

    def known_before(self, first: int) -> HourlyHistory:
        """Return the days before an ordinal, and no others."""
        kept = self.day < first
        return HourlyHistory(
            day=self.day[kept], load_mw=self.load_mw[kept], temperature=self.temperature[kept],
            holidays=self.holidays,
        )  # fmt: skip

    def load_of(self, days: NDArray[np.int64]) -> Floats:
        """Return the load of days, shape (days x 24,) [MW]."""
        return self.load_mw[days - self.day[0]].ravel()


def read_load_set() -> LoadSet:
    """Read GEFCom2014-L (hours are labelled by their end; every day has 24)."""
    import pandas as pd

    table = pd.read_parquet(reference_folder("gefcom2014_load") / "load_temps.parquet")
    count = len(table) // 24
    first = (table.index[0] - pd.Timedelta(hours=1)).date().toordinal()
    days = first + np.arange(count)
    years = range(2001, 2013)
    return LoadSet(
        day=days.astype(np.int64),
        load_mw=table["LOAD"].to_numpy(dtype=float).reshape(count, 24),
        temperature=table.filter(regex=r"^w\d+$").to_numpy(dtype=float).reshape(count, 24, -1),
        holidays=frozenset(d.toordinal() for y in years for d in public_holidays("US", y)),
    )


def official_scores(tasks: tuple[int, ...] = TASKS) -> dict[str, list[float]]:
    """Return published pinball of the benchmark, the winner and the best entry of each task."""
    path = reference_folder("gefcom2014_load") / "official_scores.csv"
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = list(csv.reader(file))
    places = [head.index(f"Task{task}") for task in tasks]
    found = {
        name: [float(row[place]) for place in places]
        for name, team in TEAMS.items()
        for row in rows
        if row[0] == team
    }
    entries = [[float(row[place]) for row in rows if row[place]] for place in places]
    found["best entry"] = [min(scores) for scores in entries]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """Both parts of one month and what happened."""

    month: str
    days: NDArray[np.int64]
    lines: Floats
    climate: Floats
    actual: Floats
    seconds: float

    def losses(self) -> tuple[float, float]:
        """Return the pinball loss of lines and climatology [MW]."""
        return (
            float(pinball_losses(self.lines, self.actual, PERCENTILES).mean()),
            float(pinball_losses(self.climate, self.actual, PERCENTILES).mean()),
        )


def score_load(progress: Callable[[str], None]) -> list[ScoredMonth]:
    """Forecast and score the months of `TASKS`, each from the data before it."""
    series = read_load_set()
    month_of_task = {task: _month(FIRST_TASK, task - 1) for task in TASKS}
    earliest = _month(month_of_task[TASKS[0]], -LEARN_MONTHS)
    parts: dict[tuple[int, int], _Parts] = {}
    month = earliest
    while month <= month_of_task[TASKS[-1]]:
        parts[month] = _forecast_parts(series, month)
        lines, climate = parts[month].losses()
        progress(f"GEFCom2014-L {parts[month].month}: lines {lines:.3f}, climatology {climate:.3f}")
        month = _month(month, 1)
    return [_score(series, parts, month_of_task[task]) for task in TASKS]


def _score(
    series: LoadSet, parts: dict[tuple[int, int], _Parts], month: tuple[int, int]
) -> ScoredMonth:
    now = parts[month]
    past = [parts[_month(month, -back)] for back in range(LEARN_MONTHS, 0, -1)]
    # Bates and Granger (1969): weights inverse to recent loss.
    loss = np.array([part.losses() for part in past]).mean(axis=0)
    weight = float(loss[0] / loss.sum())
    raw = blend_month_ahead(now.lines, now.climate, weight)
    scored = np.concatenate([blend_month_ahead(p.lines, p.climate, weight) for p in past])
    truth = np.concatenate([p.actual for p in past])
    days = len(truth) // 24
    learnt = fit_calibration(
        scored.reshape(days, 24, -1), truth.reshape(days, 24), np.zeros(24, dtype=np.int64),
        PERCENTILES, # Days of a month err together: shrinkage counts months.
        rule=CalibrationRule(window_days=days, shrink_days=90.0),
    )  # fmt: skip
    # One group: a month ahead the error of the weather is all that is left.
    served = apply_calibration(raw, np.zeros(len(raw), dtype=np.int64), learnt, 0.0)
    year_before = np.array([_year_before(int(day)) for day in now.days])
    naive = np.repeat(series.load_of(year_before)[:, None], len(PERCENTILES), axis=1)
    return ScoredMonth(
        month=now.month,
        levels=PERCENTILES,
        actual=now.actual,
        raw=raw,
        served=served,
        others={"naive": naive, "climatology": now.climate, "lines": now.lines},
        day=np.repeat(now.days, 24).astype(np.float64),
        lead_h=np.arange(len(now.actual), dtype=np.float64),
        seconds=now.seconds,
    )


def _forecast_parts(series: LoadSet, month: tuple[int, int]) -> _Parts:
    began = time.perf_counter()
    first = date(*month, 1).toordinal()
    days = np.arange(first, date(*_month(month, 1), 1).toordinal())
    history = series.known_before(first)
    lines = lines_with_scenarios(history, days, PERCENTILES, RULE)
    climate = climatology(history, days, PERCENTILES, RULE)
    return _Parts(
        month=f"{month[0]}-{month[1]:02d}",
        days=days,
        lines=lines,
        climate=climate,
        actual=series.load_of(days),
        seconds=time.perf_counter() - began,
    )


def _month(start: tuple[int, int], months: int) -> tuple[int, int]:
    number = start[0] * 12 + start[1] - 1 + months
    return number // 12, number % 12 + 1


def _year_before(ordinal: int) -> int:
    day = date.fromordinal(ordinal)
    if (day.month, day.day) == (2, 29):
        return (day - timedelta(days=366)).toordinal()
    return day.replace(year=day.year - 1).toordinal()
