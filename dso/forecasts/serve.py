"""Which model serves: the champion on record, or the first choice when it proves itself now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem
from data.periods import Periods, format_utc
from data.records.forecast import Forecast
from dso.forecasts.inputs import AtGate, ForecastInputs, known_at_gate
from dso.forecasts.zoo import (
    FIRST_CHOICE,
    KIND_OF,
    MONTH_CHOICE,
    PARTS_CHOICE,
    WIDE_CHOICE,
    make_forecaster,
)
from forecasting.fallback import forecast_with_ladder
from forecasting.model import FittedForecaster, LikeDayModel
from forecasting.registry import Registry
from forecasting.scores import pinball_losses

Floats = NDArray[np.float64]

AUTO: Final = "auto"
DECILES: Final = tuple(k / 10 for k in range(1, 10))
TRIAL_DAYS: Final = 14
TRIAL_ORIGINS_MAX: Final = 7
# From this many series on one model for all of them is tried first.
METERS_MIN: Final = 10
# Horizons beyond this have no weather forecast worth the name.
MONTH_FROM_DAYS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The model that serves and why, in a sentence."""

    model: FittedForecaster
    why: str


def choose_model(
    inputs: ForecastInputs, at_gate: AtGate, ahead: Periods, name: str, registry: Registry | None
) -> Choice:
    """Return the model that serves.

    With a registry its champion; with a name that forecaster, fitted now; else (``auto``) the
    first choice of the kind, if on the last days before the gate it beats like days.

    Raises
    ------
    InputError
        If the name is unknown or not for this kind of series.
    """
    kind = inputs.files.kind
    if name != AUTO:
        if kind not in KIND_OF.get(name, (kind,)):
            raise InputError(
                [Problem(where="model", what=f"{name} does not forecast {kind}",
                         remedy=f"{AUTO}, or {FIRST_CHOICE[kind]}")]
            )  # fmt: skip
        return Choice(model=make_forecaster(name).fit(at_gate.known), why="named by the user")
    if registry is not None:
        record = registry.champion(kind)
        if record is None:
            return Choice(model=LikeDayModel(), why=f"the registry has no champion for {kind}")
        fitted = make_forecaster(record.forecaster).from_files(registry.files(record.model_key))
        ratio = record.pinball_mw / max(record.like_day_mw, 1e-12)
        return Choice(
            model=fitted,
            why=f"champion {record.model_key}: {ratio:.3f} times the loss of like-day on frozen "
            f"days {record.frozen[0]} to {record.frozen[1]}",
        )
    return _prove(inputs, at_gate, ahead, first_choice(inputs, at_gate.known.known_at, ahead))


def first_choice(inputs: ForecastInputs, gate: datetime, ahead: Periods) -> str:
    """Return the forecaster that is tried first: by kind, number of series and horizon.

    A load further ahead than weather is forecast, with two years of it and weather of the past,
    gets the month-ahead model; a net load with plants stated in its site is taken apart.
    """
    reading, kind = inputs.reading, inputs.files.kind
    if kind == "net" and (inputs.site.solar_mw or inputs.site.wind_mw):
        return PARTS_CHOICE
    if kind == "load" and len(reading.series) >= METERS_MIN:
        return WIDE_CHOICE
    years = gate - reading.periods.start >= timedelta(days=730)
    single = len(reading.series) == 1 and reading.periods.mtu_minutes == 60
    reaches = any(
        np.isfinite(table.known_before(gate).latest(ahead)).all(axis=0).any()
        for _, table in inputs.weather
    )
    far = ahead.end - gate > timedelta(days=MONTH_FROM_DAYS)
    if kind == "load" and far and years and single and inputs.weather and not reaches:
        return MONTH_CHOICE
    return FIRST_CHOICE[kind]


def _prove(inputs: ForecastInputs, at_gate: AtGate, ahead: Periods, name: str) -> Choice:
    """Try a forecaster on the last days before the gate, as far ahead as now; like-day if worse."""
    try:
        forecaster = make_forecaster(name)
        losses = trial_losses(inputs, at_gate.known.known_at, ahead, name)
        if losses is None:
            return Choice(model=LikeDayModel(), why=f"{name} not tried: too few readings")
        ratio = losses[0] / max(losses[1], 1e-12)
        words = f"{ratio:.3f} times the loss of like-day on the days before the gate"
        if losses[0] >= losses[1]:
            return Choice(model=LikeDayModel(), why=f"{name} not used: {words}")
        return Choice(model=forecaster.fit(at_gate.known), why=f"{name}: {words}")
    except InputError as error:
        return Choice(model=LikeDayModel(), why=f"{name} not used: {error.problems[0]}")


def trial_losses(
    inputs: ForecastInputs, gate: datetime, ahead: Periods, name: str
) -> tuple[float, float] | None:
    """Return the pinball losses of a forecaster and of like-day before a gate [MW].

    Both forecast as long a horizon, as far ahead, from origins that end before the gate; fitted
    once, on what was known at the first origin. None where the readings are too short.
    """
    lead, length = ahead.start - gate, ahead.end - ahead.start
    step = max(length, timedelta(days=1))
    days = -(-step // timedelta(days=1))
    count = min(TRIAL_ORIGINS_MAX, max(1, timedelta(days=TRIAL_DAYS) // (days * timedelta(days=1))))
    last = gate - lead - length
    origins = [last - k * timedelta(days=days) for k in range(count)][::-1]
    if origins[0] - inputs.reading.periods.start < timedelta(days=28):
        return None
    model: FittedForecaster | None = None
    losses: list[list[float]] = [[], []]
    for origin in origins:
        target = Periods(start=origin + lead, count=len(ahead), mtu_minutes=ahead.mtu_minutes)
        seen = known_at_gate(inputs, origin, target, past_weather=name == MONTH_CHOICE)
        model = model or make_forecaster(name).fit(seen.known)
        actual = actual_of(inputs, target)
        for place, rung in enumerate((model, LikeDayModel())):
            forecast = forecast_with_ladder(rung, seen.known, seen.checked, target, DECILES)
            losses[place].append(loss_of(forecast, actual))
    return float(np.nanmean(losses[0])), float(np.nanmean(losses[1]))


def actual_of(inputs: ForecastInputs, periods: Periods) -> Floats:
    """Return what was read in periods, shape (series, periods) [MW]; NaN where nothing was."""
    reading = inputs.reading
    first = round((periods.start - reading.periods.start) / periods.mtu)
    rows = first + np.arange(len(periods))
    there = (rows >= 0) & (rows < len(reading.periods))
    found = np.full((len(reading.series), len(periods)), np.nan)
    found[:, there] = reading.value_mw[rows[there]].T
    return found


def loss_of(forecast: Forecast, actual_mw: Floats) -> float:
    """Return the mean pinball loss over series, periods with a reading, and levels [MW]."""
    return float(np.nanmean(losses_of(forecast, actual_mw)))


def losses_of(forecast: Forecast, actual_mw: Floats) -> Floats:
    """Return the loss of each series and period [MW], shape (series, periods); NaN: not read."""
    read = np.isfinite(actual_mw)
    found = np.full(actual_mw.shape, np.nan)
    if read.any():
        found[read] = pinball_losses(forecast.value_mw[read], actual_mw[read], forecast.quantiles)
    return found


def describe_gate(gate: datetime, ahead: Periods) -> str:
    """Say for when and from when a forecast is."""
    return f"{format_utc(ahead.start)} to {format_utc(ahead.end)}, known at {format_utc(gate)}"
