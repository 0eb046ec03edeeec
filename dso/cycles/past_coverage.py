"""How often the bands of the last days held: forecasts made again as of their own gates."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import write_atomically
from data.csv_table import table_bytes
from data.periods import DeliveryDay
from data.records.forecast import Forecast, Reading
from dso.cycles.plan import DayPlan
from dso.cycles.recorded import TOTAL, Recorded

Floats = NDArray[np.float64]
COVERAGE_CSV: Final = "coverage.csv"
DAY_COVERAGE_CSV: Final = "day_coverage.csv"
PAST_DAYS: Final = 14
LOW, HIGH = 0.1, 0.9


def write_past_coverage(plan: DayPlan, folder: Path) -> None:
    """Write ``coverage.csv``: of each kind's total, how many periods of a past day the band held.

    The days are the last ones whose readings were whole at the gate. Each is forecast anew from
    what was known at its own gate, by the model that serves (one that needs weather is fitted at
    the first of these gates, for all); the delivery day itself is not there.
    """
    from dso.cycles.stage_forecast import forecast_readings

    serving = None
    if plan.feeder.forecast_model == "weather":
        from dso.cycles.weather_forecast import Serving

        serving = Serving.of(plan)
    whole = plan.recorded.readings_until(plan.day_ahead_gate)
    totals = [row for row, name in enumerate(whole.series) if name.startswith(TOTAL)]
    names = tuple(whole.series[row] for row in totals)
    kinds: list[str] = []
    days: list[str] = []
    counted: list[int] = []
    inside: list[int] = []
    for back in range(PAST_DAYS + 1, 1, -1):
        delivery = DeliveryDay(
            day=plan.delivery.day - timedelta(days=back),
            timezone=plan.delivery.timezone,
            mtu_minutes=plan.delivery.mtu_minutes,
        )
        gate = delivery.instant(
            plan.rules.day_ahead_gate, days_before=plan.rules.day_ahead_days_before
        )
        count = (gate - whole.periods.start) // whole.periods.mtu
        if count * whole.periods.mtu < timedelta(days=2):
            continue
        if delivery.periods.end > whole.periods.end:
            continue  # its readings are missing
        reading = Reading(
            series=names,
            periods=replace(whole.periods, count=count),
            value_mw=whole.value_mw[:count, totals],
            known_at=gate,
        )
        forecast = forecast_readings(plan, reading, delivery.periods, gate, serving=serving)
        first = (delivery.periods.start - whole.periods.start) // whole.periods.mtu
        actual = whole.value_mw[first : first + len(delivery.periods), totals].T
        told, held = band_counts(forecast, actual)
        for row, name in enumerate(names):
            kinds.append(name.removeprefix(TOTAL))
            days.append(delivery.day.isoformat())
            counted.append(int(told[row].sum()))
            inside.append(int(held[row].sum()))
    write_atomically(
        folder / COVERAGE_CSV,
        table_bytes(
            {
                "day": days,
                "kind": kinds,
                "periods_counted": np.array(counted, dtype=np.int64),
                "periods_inside": np.array(inside, dtype=np.int64),
            }
        ),
    )


def write_day_coverage(forecast: Forecast, recorded: Recorded, folder: Path) -> None:
    """Write ``day_coverage.csv``: how many values of a kind's single series its bands held.

    Written when the day is over; totals of the kinds are in ``feeder.csv``.
    """
    first = (forecast.periods.start - recorded.periods.start) // recorded.periods.mtu
    values = recorded.values_mw()[first : first + len(forecast.periods)]
    column = {name: place for place, name in enumerate(recorded.series)}
    actual = values[:, [column[name] for name in forecast.series]].T
    told, held = band_counts(forecast, actual)
    total_of = {
        recorded.expected.kinds[name]: name.removeprefix(TOTAL)
        for name in forecast.series
        if name.startswith(TOTAL)
    }
    rows = {
        name: [
            row
            for row, series in enumerate(forecast.series)
            if not series.startswith(TOTAL) and recorded.expected.kinds[series] == kind
        ]
        for kind, name in total_of.items()
    }
    write_atomically(
        folder / DAY_COVERAGE_CSV,
        table_bytes(
            {
                "kind": list(rows),
                "series": np.array([len(found) for found in rows.values()], dtype=np.int64),
                "values_counted": np.array(
                    [int(told[found].sum()) for found in rows.values()], dtype=np.int64
                ),
                "values_inside": np.array(
                    [int(held[found].sum()) for found in rows.values()], dtype=np.int64
                ),
            }
        ),
    )


def band_counts(
    forecast: Forecast, actual_mw: Floats
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which values count, and which of them the 10-90 % band held; (series, periods).

    A value counts unless the band's upper end and it are both zero: night tells nothing of PV.
    """
    low = forecast.value_mw[:, :, forecast.quantiles.index(LOW)]
    high = forecast.value_mw[:, :, forecast.quantiles.index(HIGH)]
    counted = (high > 0.0) | (actual_mw > 0.0)
    return counted, counted & (actual_mw >= low) & (actual_mw <= high)
