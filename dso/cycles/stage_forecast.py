"""Stage 1, forecast: what is expected of the day, from readings before the day-ahead gate."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from data.canonical import pretty_json, write_atomically
from data.errors import InputError
from data.periods import Periods, format_utc
from data.records.forecast import Forecast, Reading
from dso.cycles.forecast_files import read_forecast, write_forecast
from dso.cycles.past_coverage import write_past_coverage
from dso.cycles.plan import DayPlan, Round
from dso.cycles.received_forecasts import (
    judge_received,
    received_sha256,
    with_received,
    write_received,
)
from dso.cycles.recorded import TOTAL
from dso.cycles.stages import Desk
from dso.cycles.uncertainty import write_expectation
from forecasting.day_ahead import forecast_day_ahead
from forecasting.intraday import forecast_intraday

if TYPE_CHECKING:
    from dso.cycles.weather_forecast import Serving

FORECAST_FOLDER = "forecast"
LAST_FORECAST = "last_forecast"
LIGHT_FILE = "light.json"


def run_forecast(desk: Desk) -> str:
    """Forecast every series and the feeder's totals, and what they may do to the grid.

    Where the feeder's file names somebody else as the source, what was received of them serves.
    """
    desk.progress.stage("1/7 forecast")
    judged = judge_received(desk)

    def work(folder: Path) -> None:
        own = make_day_ahead_forecast(desk.plan)
        forecast = with_received(own, judged, desk.plan.recorded.expected.kinds)
        place = folder / FORECAST_FOLDER
        write_received(desk.plan, judged, own, place)
        write_forecast(forecast, place)
        write_weather_state(desk.plan, place)
        write_expectation(desk.plan, forecast, place)
        write_past_coverage(desk.plan, place)

    inputs = _other_inputs(desk.plan)
    if judged:
        inputs["received"] = received_sha256(judged)
    done = desk.run_stage("forecast", inputs, work)
    desk.progress.step("day ahead")
    return done


def day_ahead_forecast(desk: Desk) -> Forecast:
    """Return the day-ahead forecast as the stage left it."""
    return read_forecast(desk.out / FORECAST_FOLDER, desk.plan.periods)


def make_day_ahead_forecast(plan: DayPlan) -> Forecast:
    """Forecast the day from readings before the day-ahead gate: ours, whoever's serves."""
    gate = plan.day_ahead_gate
    made = forecast_readings(plan, plan.recorded.readings_until(gate), plan.periods, gate)
    return replace(made, fallbacks=plan.recorded.missing_before(gate) + made.fallbacks)


def write_weather_state(plan: DayPlan, folder: Path) -> None:
    """Write what was known of the weather at the gate, where the feeder's model needs it."""
    if plan.feeder.weather_files:
        from dso.cycles.weather import write_weather
        from dso.cycles.weather_forecast import Serving

        gate = plan.day_ahead_gate
        write_weather(Serving.of(plan).weather(plan, gate, plan.periods), gate, folder)


def _other_inputs(plan: DayPlan) -> dict[str, str]:
    """Return digests of what the forecast reads beside the plan."""
    if not plan.feeder.weather_files:
        return {}
    from dso.cycles.weather import read_weather, weather_sha256

    feed = read_weather(plan.feeder.weather_files, plan.periods.mtu_minutes)
    return {"weather": weather_sha256(feed, plan.day_ahead_gate)}


def forecast_readings(
    plan: DayPlan,
    reading: Reading,
    periods: Periods,
    gate: datetime,
    *,
    serving: Serving | None = None,
) -> Forecast:
    """Forecast some of the feeder's series by the model that serves on it.

    ``serving`` is given where several days are forecast by the same models of the weather.
    """
    expected = plan.recorded.expected
    serve = forecast_day_ahead
    if plan.feeder.forecast_model == "boosted-day":
        # gradient boosting is imported by those alone whose feeder asks for it
        from forecasting.boosted_day import forecast_boosted_day

        serve = forecast_boosted_day
    basic = serve(
        reading=reading,
        kinds={name: expected.kinds[name] for name in reading.series},
        capacity_mw={
            name: expected.capacity_mw[name]
            for name in reading.series
            if name in expected.capacity_mw
        },
        periods=periods,
        known_at=gate,
        latitude=expected.latitude,
        longitude=expected.longitude,
        timezone=expected.timezone,
    )
    if plan.feeder.forecast_model != "weather":
        return basic
    from dso.cycles.weather_forecast import Serving, forecast_by_weather

    return forecast_by_weather(plan, reading, basic, serving or Serving.of(plan))


def intraday_forecast(plan: DayPlan, day_ahead: Forecast, at: Round) -> Forecast:
    """Correct the day-ahead forecast by the readings up to a round's gate.

    Where that is refused, the last forecast is taken under the name ``last_forecast``.
    """
    try:
        return updated_forecast(plan, day_ahead, at.gate, at.periods)
    except InputError as error:
        first = (at.periods.start - day_ahead.periods.start) // day_ahead.periods.mtu
        why = f"{error.problems[0]}; that of {format_utc(day_ahead.known_at)} taken"
        return replace(
            day_ahead,
            periods=at.periods,
            value_mw=day_ahead.value_mw[:, first:],
            fallbacks=(*day_ahead.fallbacks, f"{LAST_FORECAST}: {why}"),
        )


def updated_forecast(
    plan: DayPlan, day_ahead: Forecast, gate: datetime, periods: Periods
) -> Forecast:
    """Correct the day-ahead forecast by the readings up to an instant."""
    expected = plan.recorded.expected
    made = forecast_intraday(
        previous=day_ahead,
        reading=plan.recorded.readings_until(gate),
        kinds=expected.kinds,
        capacity_mw=expected.capacity_mw,
        periods=periods,
        known_at=gate,
    )
    missing = plan.recorded.missing_before(gate)
    return replace(made, fallbacks=tuple(dict.fromkeys(missing + made.fallbacks)))


def run_forecast_update(desk: Desk, gate: datetime) -> str:
    """Take the newest readings in: the feeder's totals for what is left of the day."""
    from dso.cycles.traffic_light import light_of_forecast

    plan = desk.plan
    first = max(0, -((plan.periods.start - gate) // plan.periods.mtu))

    def work(folder: Path) -> None:
        made = updated_forecast(
            plan, day_ahead_forecast(desk), gate, plan.periods.from_index(first)
        )
        rows = [row for row, name in enumerate(made.series) if name.startswith(TOTAL)]
        totals = replace(
            made, series=tuple(made.series[row] for row in rows), value_mw=made.value_mw[rows]
        )
        place = folder / update_folder(gate)
        write_forecast(totals, place)
        # Told of all series, of which the totals alone are kept.
        write_atomically(place / LIGHT_FILE, pretty_json({"light": light_of_forecast(plan, made)}))

    inputs = {"forecast": desk.output_of("forecast")}
    return desk.run_stage("forecast_update", inputs, work, start=gate)


def update_folder(gate: datetime) -> Path:
    """Return where a forecast by the clock is in the day folder."""
    return Path(FORECAST_FOLDER) / "updates" / gate.strftime("%Y%m%dT%H%MZ")
