"""Training for the registry: frozen days decide who may serve."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem
from data.periods import Periods, format_utc, parse_utc
from dso.forecasts.inputs import AtGate, ForecastInputs, known_at_gate
from dso.forecasts.serve import AUTO, DECILES, METERS_MIN, actual_of, losses_of
from dso.forecasts.zoo import FIRST_CHOICE, WIDE_CHOICE, make_forecaster
from forecasting.fallback import forecast_with_ladder
from forecasting.model import FittedForecaster, LikeDayModel
from forecasting.registry import Drift, ModelRecord, Registry, find_drift, model_key

Floats = NDArray[np.float64]

DRIFT_DAYS: Final = 7
# A month against the month the model last saw: seasons move less than faults and new plants do.
SHIFT_DAYS: Final = 28


def train_model(
    inputs: ForecastInputs,
    gate: datetime,
    registry: Registry,
    *,
    name: str,
    frozen_days: int,
    if_needed: bool,
) -> list[str]:
    """Fit a model, score it on the last days before the gate, and keep it.

    The score is that of a fit which saw nothing of the frozen days; what is kept is fitted once
    more on everything known at the gate.

    Returns
    -------
    list of str
        What was done, line by line.

    Raises
    ------
    InputError
        If the readings are too short, or the forecaster refuses them.
    """
    kind = inputs.files.kind
    if name == AUTO:
        many = kind == "load" and len(inputs.reading.series) >= METERS_MIN
        name = WIDE_CHOICE if many else FIRST_CHOICE[kind]
    lines = []
    if if_needed:
        drift = champion_drift(inputs, gate, registry)
        if drift is not None:
            lines.append(
                f"champion: {drift.age_days:.0f} days old, PSI {drift.psi:.2f}, "
                f"{drift.pinball_ratio:.3f} times the recent loss of like-day"
            )
            if not drift.reasons:
                return [*lines, "no reason to train again"]
            lines += [f"reason: {reason}" for reason in drift.reasons]
    days = [_day_after(gate - timedelta(days=k), inputs) for k in range(frozen_days, 0, -1)]
    seen = known_at_gate(inputs, days[0].start, days[0])
    trial = make_forecaster(name).fit(seen.known)
    scores = _score(inputs, {"model": trial, "like-day": LikeDayModel()}, days)
    known = known_at_gate(inputs, gate, _day_after(gate, inputs))
    files = dict(make_forecaster(name).fit(known.known).to_files())
    record = ModelRecord(
        model_key=model_key(name, inputs.data_sha256, files),
        forecaster=name,
        kind=kind,
        series=inputs.reading.series,
        data_sha256=inputs.data_sha256,
        fitted_at=format_utc(gate),
        frozen=(format_utc(days[0].start), format_utc(days[-1].end)),
        pinball_mw=scores["model"][0],
        like_day_mw=scores["like-day"][0],
        coverage=scores["model"][1],
    )
    verdict = registry.keep(record, files)
    lines.append(
        f"{name} {record.model_key}: pinball {record.pinball_mw:.6g} MW, like-day "
        f"{record.like_day_mw:.6g} MW, {record.coverage:.1%} in the 80 % band on frozen days "
        f"{record.frozen[0]} to {record.frozen[1]}"
    )
    return [*lines, verdict.reason]


def champion_drift(inputs: ForecastInputs, gate: datetime, registry: Registry) -> Drift | None:
    """Return how far a champion has drifted; None where there is none."""
    record = registry.champion(inputs.files.kind)
    if record is None:
        return None
    fitted_at = parse_utc(record.fitted_at)
    model = make_forecaster(record.forecaster).from_files(registry.files(record.model_key))
    days = [_day_after(gate - timedelta(days=k), inputs) for k in range(DRIFT_DAYS, 0, -1)]
    days = [day for day in days if day.start >= fitted_at]
    ratio = float("nan")
    if days:
        scores = _score(inputs, {"model": model, "like-day": LikeDayModel()}, days)
        ratio = scores["model"][0] / max(scores["like-day"][0], 1e-12)
    fitted = _values(inputs, fitted_at - timedelta(days=SHIFT_DAYS), fitted_at)
    recent = _values(inputs, gate - timedelta(days=SHIFT_DAYS), gate)
    age_days = (gate - fitted_at) / timedelta(days=1)
    return find_drift(fitted, recent, pinball_ratio=ratio, age_days=age_days)


def _values(inputs: ForecastInputs, start: datetime, end: datetime) -> Floats:
    """Return the finite readings between two instants, each series over its own mean."""
    periods = inputs.reading.periods
    rows = np.arange(len(periods))
    first, past = (start - periods.start) / periods.mtu, (end - periods.start) / periods.mtu
    value = inputs.reading.value_mw[(rows >= first) & (rows < past)]
    if value.size == 0:
        raise InputError([Problem(where="readings", what=f"none before {format_utc(end)}")])
    mean = np.nanmean(np.abs(inputs.reading.value_mw), axis=0)
    scaled = value / np.where(mean > 0.0, mean, 1.0)
    return np.asarray(scaled[np.isfinite(scaled)])


def _day_after(gate: datetime, inputs: ForecastInputs) -> Periods:
    """Return the 24 h that begin at the first period from the gate on."""
    periods = inputs.reading.periods
    first = -((periods.start - gate) // periods.mtu)
    start = periods.start + first * periods.mtu
    return Periods(start=start, count=round(24 / periods.mtu_h), mtu_minutes=periods.mtu_minutes)


def _score(
    inputs: ForecastInputs, models: dict[str, FittedForecaster], days: list[Periods]
) -> dict[str, tuple[float, float]]:
    """Return mean pinball [MW] and the share in the 80 % band of each model, day by day."""
    losses: dict[str, list[Floats]] = {name: [] for name in models}
    inside: dict[str, list[Floats]] = {name: [] for name in models}
    for day in days:
        seen: AtGate = known_at_gate(inputs, day.start, day)
        actual = actual_of(inputs, day)
        for name, model in models.items():
            forecast = forecast_with_ladder(model, seen.known, seen.checked, day, DECILES)
            losses[name].append(losses_of(forecast, actual))
            low, high = forecast.value_mw[:, :, 0], forecast.value_mw[:, :, -1]
            counted = np.isfinite(actual) & ((high > low) | (actual > high))
            inside[name].append(
                np.where(counted, (actual >= low) & (actual <= high), np.nan).ravel()
            )
    found = {}
    for name in models:
        loss = np.concatenate([part.ravel() for part in losses[name]])
        if not np.isfinite(loss).any():
            raise InputError([Problem(where="frozen days", what="nothing was read in them")])
        found[name] = (float(np.nanmean(loss)), float(np.nanmean(np.concatenate(inside[name]))))
    return found
