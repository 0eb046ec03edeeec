"""Every forecaster by name, and which one is tried first for each kind of series."""

from __future__ import annotations

from importlib import import_module
from typing import Final, cast

from data.errors import InputError, Problem
from forecasting.model import Forecaster, ForecastKind

# name -> (module, class): a model's libraries load only when it is used.
FORECASTERS: Final[dict[str, tuple[str, str]]] = {
    "like-day": ("forecasting.model", "LikeDayForecaster"),
    "week-lag": ("forecasting.baselines", "WeekLagForecaster"),
    "weather-load": ("forecasting.load_model", "LoadForecaster"),
    "month-ahead": ("forecasting.month_model", "MonthAheadForecaster"),
    "meters": ("forecasting.meter_model", "MeterForecaster"),
    "net-parts": ("forecasting.net_model", "NetPartsForecaster"),
    "physical-pv": ("forecasting.pv_model", "PvForecaster"),
    "power-curve-wind": ("forecasting.wind_model", "WindForecaster"),
}
FIRST_CHOICE: Final[dict[ForecastKind, str]] = {
    "load": "weather-load",
    "net": "weather-load",
    "pv": "physical-pv",
    "wind": "power-curve-wind",
}
# Forecasters of one kind only; the others take any.
KIND_OF: Final[dict[str, tuple[ForecastKind, ...]]] = {
    "weather-load": ("load", "net"),
    "month-ahead": ("load",),
    "meters": ("load", "net"),
    "net-parts": ("net",),
    "physical-pv": ("pv",),
    "power-curve-wind": ("wind",),
}
# Beyond any weather forecast: past weather as scenarios.
MONTH_CHOICE: Final = "month-ahead"
# Of a net load whose plants are stated.
PARTS_CHOICE: Final = "net-parts"
# Of many meters at once: one model for all of them.
WIDE_CHOICE: Final = "meters"


def make_forecaster(name: str) -> Forecaster:
    """Make a forecaster by its name.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in FORECASTERS:
        raise InputError(
            [Problem(where="model", what=f"no forecaster is named {name!r}",
                     remedy=f"one of {', '.join(sorted(FORECASTERS))}")]
        )  # fmt: skip
    module, kind = FORECASTERS[name]
    return cast("Forecaster", getattr(import_module(module), kind)())
