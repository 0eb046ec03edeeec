"""Stage 1, forecast: what is expected of the day, from readings before the day-ahead gate."""

from __future__ import annotations

from pathlib import Path

from data.records.forecast import Forecast
from dso.cycles.forecast_files import read_forecast, write_forecast
from dso.cycles.plan import DayPlan, Round
from dso.cycles.stages import Desk
from forecasting.day_ahead import forecast_day_ahead
from forecasting.intraday import forecast_intraday

FORECAST_FOLDER = "forecast"


def run_forecast(desk: Desk) -> str:
    """Forecast every series and the feeder's totals for all periods of the day."""
    desk.progress.stage("1/7 forecast")

    def work(folder: Path) -> None:
        write_forecast(make_day_ahead_forecast(desk.plan), folder / FORECAST_FOLDER)

    done = desk.run_stage("forecast", {}, work)
    desk.progress.step("day ahead")
    return done


def day_ahead_forecast(desk: Desk) -> Forecast:
    """Return the day-ahead forecast as the stage left it."""
    return read_forecast(desk.out / FORECAST_FOLDER, desk.plan.periods)


def make_day_ahead_forecast(plan: DayPlan) -> Forecast:
    """Forecast the day from readings before the day-ahead gate."""
    expected = plan.recorded.expected
    return forecast_day_ahead(
        reading=plan.recorded.readings_until(plan.day_ahead_gate),
        kinds=expected.kinds,
        capacity_mw=expected.capacity_mw,
        periods=plan.periods,
        known_at=plan.day_ahead_gate,
        latitude=expected.latitude,
        longitude=expected.longitude,
        timezone=expected.timezone,
    )


def intraday_forecast(plan: DayPlan, day_ahead: Forecast, at: Round) -> Forecast:
    """Correct the day-ahead forecast by the readings up to a round's gate."""
    expected = plan.recorded.expected
    return forecast_intraday(
        previous=day_ahead,
        reading=plan.recorded.readings_until(at.gate),
        kinds=expected.kinds,
        capacity_mw=expected.capacity_mw,
        periods=at.periods,
        known_at=at.gate,
    )
