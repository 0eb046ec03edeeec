"""`forecast.csv` and `forecast.json`: same input, same bytes."""

from __future__ import annotations

from collections.abc import Sequence

from data.canonical import pretty_json
from data.csv_table import table_bytes
from data.errors import Problem, refuse_if_any
from data.records.forecast import Forecast
from dso.forecasts.inputs import AtGate, ForecastInputs, listed_sources
from dso.forecasts.serve import Choice
from dso.forecasts.third_party import Comparison


def levels_of(count: int) -> tuple[float, ...]:
    """Return the probability levels: 9 deciles or 99 percentiles.

    Raises
    ------
    InputError
        For any other count.
    """
    refuse_if_any(
        [Problem(where="quantiles", what=str(count), remedy="9 or 99")]
        if count not in (9, 99)
        else []
    )
    return tuple(k / (count + 1) for k in range(1, count + 1))


def level_names(levels: Sequence[float]) -> tuple[str, ...]:
    """Return the columns of levels.

    Examples
    --------
    >>> level_names((0.1, 0.5, 0.99))
    ('q10', 'q50', 'q99')
    """
    return tuple(f"q{round(level * 100):02d}" for level in levels)


def forecast_csv(forecast: Forecast, *, wide: bool) -> bytes:
    """Return the quantiles [MW], one row per period; with ``wide`` series by series."""
    labels = forecast.periods.labels()
    names = level_names(forecast.quantiles)
    columns: dict[str, Sequence[str]] = {}
    if wide:
        columns["series"] = [name for name in forecast.series for _ in labels]
    columns["period_start"] = list(labels) * len(forecast.series)
    flat = forecast.value_mw.reshape(-1, len(names))
    return table_bytes({**columns, **{name: flat[:, k] for k, name in enumerate(names)}})


def forecast_json(
    forecast: Forecast,
    inputs: ForecastInputs,
    at_gate: AtGate,
    choice: Choice,
    compared: Sequence[Comparison] = (),
) -> bytes:
    """Return what made the forecast: model, inputs with hashes, faults, warnings, fallbacks."""
    faults = [
        {
            "kind": fault.kind, "series": fault.series, "start": fault.start, "end": fault.end,
            "ongoing": fault.ongoing, "amount": fault.amount, "unit": fault.unit,
            "neighbour": fault.neighbour, "repair": fault.repair,
        }
        for fault in at_gate.checked.faults
    ]  # fmt: skip
    named = {str(fault) for fault in at_gate.checked.faults}
    return pretty_json(
        {
            "kind": inputs.files.kind,
            "known_at": forecast.known_at,
            "start": forecast.periods.start,
            "end": forecast.periods.end,
            "resolution_minutes": forecast.periods.mtu_minutes,
            "quantiles": level_names(forecast.quantiles),
            "series": len(forecast.series),
            "model": {"id": forecast.model_id, "why": choice.why},
            "site": inputs.site,
            "inputs": listed_sources(inputs, at_gate),
            "weather_columns": list(at_gate.known.weather.names) if at_gate.known.weather else [],
            "faults": faults,
            "warnings": [
                *at_gate.warnings, *(note for note in forecast.warnings if note not in named),
            ],
            "fallbacks": forecast.fallbacks,
            "third_party": compared,
        }
    )  # fmt: skip
