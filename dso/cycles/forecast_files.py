"""Forecasts as files: quantiles per series (forecast.csv), what they rest on (forecast.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import pretty_json, write_atomically
from data.csv_table import Column, read_table, table_bytes
from data.errors import Problem, refuse_if_any
from data.periods import Periods, format_utc, parse_utc
from data.records.forecast import Forecast
from dso.cycles.past_coverage import write_day_coverage
from dso.cycles.recorded import TOTAL, Recorded

Floats = NDArray[np.float64]
FORECAST_CSV: Final = "forecast.csv"
FORECAST_JSON: Final = "forecast.json"
FEEDER_CSV: Final = "feeder.csv"


def _quantile_names(quantiles: tuple[float, ...]) -> list[str]:
    return [f"q{round(100 * level):02d}" for level in quantiles]


def describe_forecast(forecast: Forecast) -> dict[str, object]:
    """Return what a forecast rests on, for ``forecast.json``."""
    return {
        "known_at": format_utc(forecast.known_at),
        "model": forecast.model_id,
        "quantiles": forecast.quantiles,
        "warnings": forecast.warnings,
        "fallbacks": forecast.fallbacks,
    }


def write_forecast(forecast: Forecast, folder: Path) -> None:
    """Write ``forecast.csv`` (series,period_start,q10..q90 [MW]) and ``forecast.json``."""
    count = len(forecast.periods)
    columns: dict[str, Column] = {
        "series": [name for name in forecast.series for _ in range(count)],
        "period_start": list(forecast.periods.labels()) * len(forecast.series),
        **{
            name: forecast.value_mw[:, :, level].ravel()
            for level, name in enumerate(_quantile_names(forecast.quantiles))
        },
    }
    write_atomically(folder / FORECAST_CSV, table_bytes(columns))
    write_atomically(folder / FORECAST_JSON, pretty_json(describe_forecast(forecast)))


def read_forecast(folder: Path, periods: Periods) -> Forecast:
    """Read a forecast written by `write_forecast` for these periods.

    Raises
    ------
    InputError
        If a file cannot be read or is not of these periods.
    """
    problems: list[Problem] = []
    about = json.loads((folder / FORECAST_JSON).read_text(encoding="utf-8"))
    quantiles = tuple(float(level) for level in about["quantiles"])
    names = _quantile_names(quantiles)
    table = read_table(folder / FORECAST_CSV, ("series", "period_start", *names), problems)
    refuse_if_any(problems)
    assert table is not None
    series = tuple(dict.fromkeys(table.columns["series"]))
    if table.columns["period_start"] != periods.labels() * len(series):
        problems.append(Problem(where=FORECAST_CSV, what="is not of the periods of this day"))
    levels = [table.numbers(name, problems) for name in names]
    refuse_if_any(problems)
    return Forecast(
        series=series,
        periods=periods,
        quantiles=quantiles,
        value_mw=np.stack(levels, axis=-1).reshape(len(series), len(periods), len(quantiles)),
        known_at=parse_utc(about["known_at"]),
        model_id=about["model"],
        warnings=tuple(about["warnings"]),
        fallbacks=tuple(about["fallbacks"]),
    )


def write_feeder_totals(forecast: Forecast, recorded: Recorded, folder: Path) -> None:
    """Write ``feeder.csv``: quantiles of each kind's total and what really was [MW].

    Written when the day is over, because only then the actual values are known.
    """
    labels = forecast.periods.labels()
    first = (forecast.periods.start - recorded.periods.start) // recorded.periods.mtu
    actual = recorded.values_mw()[first : first + len(labels)]
    rows = [row for row, name in enumerate(forecast.series) if name.startswith(TOTAL)]
    columns: dict[str, Column] = {
        "kind": [forecast.series[row].removeprefix(TOTAL) for row in rows for _ in labels],
        "period_start": list(labels) * len(rows),
        **{
            name: forecast.value_mw[rows, :, level].ravel()
            for level, name in enumerate(_quantile_names(forecast.quantiles))
        },
        "actual_mw": np.concatenate(
            [actual[:, recorded.series.index(forecast.series[row])] for row in rows]
        ),
    }
    write_atomically(folder / FEEDER_CSV, table_bytes(columns))
    write_day_coverage(forecast, recorded, folder)
