"""Weather forecasts for a recorded feeder: what its plants tell of the sky, with an error."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np

from data.canonical import csv_bytes
from data.periods import format_utc
from dso.cycles.plan import DayPlan

HEADER = ("period_start", "known_at", "ghi_w_per_m2")
FULL_SUN_W_PER_M2 = 1400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with the feed: it ends at an instant, or a day's values have another unit."""

    issued_until: datetime | None = None
    implausible_on: date | None = None


def write_weather_file(path: Path, plan: DayPlan, fault: Fault | None = None) -> None:
    """Write hourly irradiance, issued at 05:00 of each day for that day and the two after it.

    It follows the recorded output of the feeder's plants, off by a tenth from issue to issue.
    """
    wrong = fault or Fault()
    recorded = plan.recorded
    column = recorded.series.index("total:renewables")
    share = recorded.values_mw()[:, column] / recorded.expected.capacity_mw["total:renewables"]
    hourly = share[: len(share) // 4 * 4].reshape(-1, 4).mean(axis=1) * FULL_SUN_W_PER_M2
    start, chance = recorded.periods.start, np.random.default_rng(1)
    rows = []
    for day in range(len(hourly) // 24):
        issued = start + timedelta(days=day, hours=5)
        off = 1.0 + 0.1 * chance.standard_normal()
        if wrong.issued_until is not None and issued > wrong.issued_until:
            break
        for hour in range(day * 24, min(day * 24 + 72, len(hourly))):
            at = start + timedelta(hours=hour)
            factor = 1000.0 if wrong.implausible_on in (at.date(), issued.date()) else off
            rows.append((format_utc(at), format_utc(issued), round(hourly[hour] * factor, 3)))
    path.write_bytes(csv_bytes(HEADER, rows))
