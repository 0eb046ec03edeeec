"""One forecast from files: read, choose who serves, forecast, say what it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from data.periods import Periods
from dso.forecasts.inputs import ForecastFiles, known_at_gate, read_inputs, refuse_after_gate
from dso.forecasts.outputs import forecast_csv, forecast_json
from dso.forecasts.serve import AUTO, choose_model, describe_gate, first_choice
from dso.forecasts.third_party import compare_third_party, read_third_party
from dso.forecasts.zoo import MONTH_CHOICE
from forecasting.fallback import forecast_with_ladder
from forecasting.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeForecast:
    """A forecast as files, and what to say of it.

    Parameters
    ----------
    csv, json : bytes
        The quantiles [MW], and what made them.
    lines : tuple of str
        Model, warnings and fallbacks, for people.
    """

    csv: bytes
    json: bytes
    lines: tuple[str, ...]


def make_forecast(
    files: ForecastFiles,
    *,
    gate: datetime,
    ahead: Periods,
    levels: tuple[float, ...],
    model: str = AUTO,
    registry: Registry | None = None,
    third_party: Sequence[Path] = (),
) -> MadeForecast:
    """Forecast periods from what was known at a gate.

    Parameters
    ----------
    files : ForecastFiles
        Readings and weather.
    gate : datetime
        Nothing known later is used.
    ahead : Periods
        What to forecast.
    levels : tuple of float
        Probability levels.
    model : str
        A forecaster by name, or ``auto``.
    registry : Registry, optional
        Its champion serves.
    third_party : sequence of Path
        Somebody else's forecasts, to compare with.

    Raises
    ------
    InputError
        Everything wrong with the files.
    """
    inputs = read_inputs(files)
    refuse_after_gate(inputs, gate)
    others = [read_third_party(path, gate) for path in third_party]
    name = first_choice(inputs, gate, ahead) if model == AUTO else model
    at_gate = known_at_gate(inputs, gate, ahead, past_weather=name == MONTH_CHOICE)
    choice = choose_model(inputs, at_gate, ahead, model, registry)
    forecast = forecast_with_ladder(choice.model, at_gate.known, at_gate.checked, ahead, levels)
    compared = [compare_third_party(read, forecast, at_gate.known.reading) for read in others]
    told = [warning for comparison in compared for warning in comparison.warnings]
    return MadeForecast(
        csv=forecast_csv(forecast, wide=files.wide),
        json=forecast_json(forecast, inputs, at_gate, choice, compared),
        lines=(
            f"{len(forecast.series)} series, {describe_gate(gate, ahead)}",
            f"model {forecast.model_id}: {choice.why}",
            *(f"warning: {note}" for note in (*at_gate.warnings, *forecast.warnings, *told)),
            *(f"fallback: {note}" for note in forecast.fallbacks),
        ),
    )
