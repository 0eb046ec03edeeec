"""Days of the past forecast as they would have been, and how good that was.

Each delivery day is forecast at its gate on the day before, from what was known then; models are
fitted anew every few weeks, on what was known at the gate of the first day of that stretch. The
baselines run the same way: like days, and the same hour a week before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import csv_bytes, pretty_json
from data.errors import InputError, Problem, refuse_if_any
from data.periods import DeliveryDay, Periods, format_utc
from data.records.forecast import Forecast
from dso.forecasts.inputs import ForecastInputs, known_at_gate
from dso.forecasts.outputs import level_names
from dso.forecasts.serve import AUTO, METERS_MIN, actual_of, losses_of
from dso.forecasts.zoo import FIRST_CHOICE, WIDE_CHOICE, make_forecaster
from forecasting.fallback import forecast_with_ladder
from forecasting.model import FittedForecaster
from forecasting.scores import reliability, sharpness
from forecasting.sources import Source

Floats = NDArray[np.float64]

BASELINES: Final = ("like-day", "week-lag")
DAYS_MAX: Final = 800
LOWER: Final = 0.1
UPPER: Final = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestQuestion:
    """Which days, from which gate, by which model.

    Parameters
    ----------
    first_day, last_day : date
        Local delivery days, both included.
    gate : time
        Local clock time on the day before delivery.
    retrain_days : int
        Days between fits.
    model : str
        Name of a forecaster, or ``auto`` for the kind's first choice.
    levels : tuple of float
        Probability levels.
    """

    first_day: date
    last_day: date
    gate: time
    retrain_days: int
    model: str
    levels: tuple[float, ...]

    @classmethod
    def read(
        cls,
        *,
        first_day: str,
        last_day: str,
        gate: str,
        retrain_days: int,
        model: str,
        levels: tuple[float, ...],
    ) -> BacktestQuestion:
        """Read the question from the command line's words.

        Raises
        ------
        InputError
            With every problem.
        """
        problems: list[Problem] = []
        days: list[date] = []
        for name, text in (("--first-day", first_day), ("--last-day", last_day)):
            try:
                days.append(date.fromisoformat(text))
            except ValueError:
                problems.append(Problem(where=name, what=f"{text!r} is no date (YYYY-MM-DD)"))
        clock = time(0)
        try:
            clock = time.fromisoformat(gate)
        except ValueError:
            problems.append(Problem(where="--gate", what=f"{gate!r} is no clock time (HH:MM)"))
        if retrain_days < 1:
            problems.append(Problem(where="--retrain-days", what=str(retrain_days)))
        if len(days) == 2 and not 0 <= (days[1] - days[0]).days < DAYS_MAX:
            problems.append(
                Problem(where="--last-day", what=f"{last_day}, first day {first_day}",
                        remedy=f"name 1 to {DAYS_MAX} days in their order")
            )  # fmt: skip
        refuse_if_any(problems)
        return cls(
            first_day=days[0], last_day=days[1], gate=clock, retrain_days=retrain_days,
            model=model, levels=levels,
        )  # fmt: skip

    def days(self) -> tuple[date, ...]:
        """Return the delivery days."""
        count = (self.last_day - self.first_day).days + 1
        return tuple(self.first_day + timedelta(days=k) for k in range(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRun:
    """What one model forecast, over all days.

    Parameters
    ----------
    name : str
        Of the forecaster.
    value_mw : ndarray, shape (series, periods, levels)
        Quantiles [MW], days one after the other.
    loss_mw : ndarray, shape (series, periods)
        Pinball loss, mean over levels [MW]; NaN where nothing was read.
    fallbacks : mapping of str to int
        Each fallback and on how many days it was used.
    """

    name: str
    value_mw: Floats
    loss_mw: Floats
    fallbacks: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """All models on all days.

    Parameters
    ----------
    start : tuple of datetime
        Start of each period, UTC.
    lead_h : ndarray, shape (periods,)
        From the gate to the start of the period [h].
    month : tuple of str
        Local month of each period, ``YYYY-MM``.
    actual_mw : ndarray, shape (series, periods)
        What was read [MW], NaN where nothing was.
    """

    question: BacktestQuestion
    kind: str
    timezone: str
    series: tuple[str, ...]
    start: tuple[datetime, ...]
    lead_h: Floats
    month: tuple[str, ...]
    actual_mw: Floats
    runs: tuple[ModelRun, ...]
    sources: tuple[Source, ...]
    warnings: tuple[str, ...]

    def rows(self) -> list[tuple[object, ...]]:
        """Return one row of scores per model and month, then over all months."""
        months = np.array(self.month)
        rows: list[tuple[object, ...]] = []
        for run in self.runs:
            for month in (*sorted(set(self.month)), "all"):
                chosen = np.ones(len(months), bool) if month == "all" else months == month
                rows.append((run.name, month, *self.scores(run, chosen)))
        return rows

    def scores(self, run: ModelRun, chosen: NDArray[np.bool_]) -> tuple[float | None, ...]:
        """Return pinball [MW], skill over each baseline, coverage and width of the 10-90 % band."""
        loss = _mean(run.loss_mw[:, chosen])
        skills: list[float | None] = []
        for baseline in BASELINES:
            against = _mean(next(r for r in self.runs if r.name == baseline).loss_mw[:, chosen])
            skills.append(None if against <= 0.0 else 1.0 - loss / against)
        levels = self.question.levels
        low = run.value_mw[:, chosen, levels.index(LOWER)]
        high = run.value_mw[:, chosen, levels.index(UPPER)]
        actual = self.actual_mw[:, chosen]
        # A night of PV tells nothing of a band: zero is certain.
        counted = np.isfinite(actual) & ((high > low) | (actual > high))
        inside = counted & (actual >= low) & (actual <= high)
        covered = inside.sum() / counted.sum() if counted.any() else None
        return loss, *skills, covered, _mean((high - low)[np.isfinite(actual)])

    def lines(self) -> list[str]:
        """Return what is printed: the table, months and all."""
        head = (
            f"{'model':<18} {'month':<8} {'pinball MW':>11} {'skill over':>11} {'skill over':>11} "
            f"{'in 80 %':>8} {'width MW':>11}"
        )
        under = f"{'':<27} {'':>11} {'like-day':>11} {'week-lag':>11} {'band':>8}"
        return [head, under] + [
            f"{row[0]:<18} {row[1]:<8} {_number(row[2], '11.5g')} {_number(row[3], '11.1%')} "
            f"{_number(row[4], '11.1%')} {_number(row[5], '8.1%')} {_number(row[6], '11.5g')}"
            for row in self.rows()
        ]


def run_backtest(inputs: ForecastInputs, question: BacktestQuestion) -> Backtest:
    """Forecast every day with the model asked for and with the baselines.

    Raises
    ------
    InputError
        If the days are not covered by the readings, or the model's name is unknown.
    """
    name = question.model
    if name == AUTO:
        many = inputs.files.kind == "load" and len(inputs.reading.series) >= METERS_MIN
        name = WIDE_CHOICE if many else FIRST_CHOICE[inputs.files.kind]
    names = tuple(dict.fromkeys((name, *BASELINES)))
    zone, minutes = inputs.site.timezone, inputs.files.resolution_minutes
    days = [DeliveryDay(day=day, timezone=zone, mtu_minutes=minutes) for day in question.days()]
    _refuse_uncovered(inputs, days[0].periods, days[-1].periods)
    forecasters = {name: make_forecaster(name) for name in names}
    fitted: dict[str, FittedForecaster] = {}
    parts: dict[str, list[Forecast]] = {name: [] for name in names}
    fallbacks: dict[str, dict[str, int]] = {name: {} for name in names}
    gates: list[datetime] = []
    warnings: list[str] = []
    for number, day in enumerate(days):
        gate = day.instant(question.gate, days_before=1)
        gates.append(gate)
        seen = known_at_gate(inputs, gate, day.periods)
        warnings += seen.warnings
        for name in names:
            if number % question.retrain_days == 0:
                try:
                    fitted[name] = forecasters[name].fit(seen.known)
                except InputError as error:
                    fitted.setdefault(name, make_forecaster("like-day").fit(seen.known))
                    _count(fallbacks[name], f"{name} not fitted: {error.problems[0]}")
            forecast = forecast_with_ladder(
                fitted[name], seen.known, seen.checked, day.periods, question.levels
            )
            parts[name].append(forecast)
            for note in forecast.fallbacks:
                _count(fallbacks[name], note)
    actual = np.concatenate([actual_of(inputs, day.periods) for day in days], axis=1)
    return Backtest(
        question=question,
        kind=inputs.files.kind,
        timezone=zone,
        series=inputs.reading.series,
        start=tuple(start for day in days for start in day.periods.starts),
        lead_h=np.concatenate(
            [_lead_h(gate, day.periods) for gate, day in zip(gates, days, strict=True)]
        ),
        month=tuple(f"{day.day:%Y-%m}" for day in days for _ in range(len(day.periods))),
        actual_mw=actual,
        runs=tuple(_collect(name, parts[name], actual, fallbacks[name]) for name in names),
        sources=inputs.sources,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def backtest_files(answer: Backtest) -> dict[str, bytes]:
    """Return scores, plots' numbers and forecasts as files; same input, same bytes."""
    question = answer.question
    head = (
        "model", "month", "pinball_mw", "skill_over_like_day", "skill_over_week_lag",
        "share_in_80_percent_band", "band_width_mw",
    )  # fmt: skip
    reliable = [
        (run.name, level, share)
        for run in answer.runs
        for level, share in zip(question.levels, reliability_of(answer, run), strict=True)
    ]
    widths = [
        (run.name, nominal, width)
        for run in answer.runs
        for nominal, width in zip(*sharpness_of(answer, run), strict=True)
    ]
    leads = [
        (run.name, lead_h, share)
        for run in answer.runs
        for lead_h, share in zip(*skill_by_lead_of(answer, run), strict=True)
    ]
    best = answer.runs[0]
    labels = [format_utc(start) for start in answer.start]
    forecasts = (
        (name, labels[k], None if np.isnan(answer.actual_mw[s, k]) else answer.actual_mw[s, k],
         *best.value_mw[s, k].tolist())
        for s, name in enumerate(answer.series)
        for k in range(len(labels))
    )  # fmt: skip
    names = level_names(question.levels)
    return {
        "scores.csv": csv_bytes(head, answer.rows()),
        "reliability.csv": csv_bytes(("model", "level", "share_below"), reliable),
        "sharpness.csv": csv_bytes(("model", "nominal_coverage", "mean_width_mw"), widths),
        "skill_by_lead.csv": csv_bytes(("model", "lead_h", "skill_over_like_day"), leads),
        "forecasts.csv": csv_bytes(("series", "period_start", "actual_mw", *names), forecasts),
        "backtest.json": pretty_json(
            {
                "kind": answer.kind,
                "first_day": question.first_day,
                "last_day": question.last_day,
                "gate": f"{question.gate:%H:%M} {answer.timezone}, the day before",
                "retrain_days": question.retrain_days,
                "models": [run.name for run in answer.runs],
                "fallbacks": {run.name: dict(run.fallbacks) for run in answer.runs},
                "inputs": answer.sources,
                "warnings": answer.warnings,
            }
        ),
    }


def reliability_of(answer: Backtest, run: ModelRun) -> Floats:
    """Return the share of readings below each level, shape (levels,)."""
    read = _informative(answer, run)
    return reliability(run.value_mw[read], answer.actual_mw[read], answer.question.levels)


def sharpness_of(answer: Backtest, run: ModelRun) -> tuple[Floats, Floats]:
    """Return nominal coverages and mean widths [MW] of the central bands."""
    return sharpness(run.value_mw[_informative(answer, run)], answer.question.levels)


def skill_by_lead_of(answer: Backtest, run: ModelRun) -> tuple[Floats, Floats]:
    """Return lead times [h] and 1 - loss / loss of like-day at each; NaN-free."""
    like_day = next(r for r in answer.runs if r.name == "like-day")
    hours = np.floor(answer.lead_h)
    leads, shares = [], []
    for hour in np.unique(hours):
        loss = _mean(run.loss_mw[:, hours == hour])
        against = _mean(like_day.loss_mw[:, hours == hour])
        # At night PV is certain for everybody: no skill can be told.
        if np.isfinite(loss) and against > 0.05 * _mean(like_day.loss_mw):
            leads.append(float(hour))
            shares.append(1.0 - loss / against)
    return np.array(leads), np.array(shares)


def _informative(answer: Backtest, run: ModelRun) -> NDArray[np.bool_]:
    """Where something was read and the forecast was not certain, as PV is at night."""
    wide = run.value_mw[:, :, -1] > run.value_mw[:, :, 0]
    return np.asarray(np.isfinite(answer.actual_mw) & wide, dtype=np.bool_)


def _collect(
    name: str, parts: Sequence[Forecast], actual_mw: Floats, fallbacks: Mapping[str, int]
) -> ModelRun:
    value = np.concatenate([part.value_mw for part in parts], axis=1)
    losses, first = [], 0
    for part in parts:
        past = first + len(part.periods)
        losses.append(losses_of(part, actual_mw[:, first:past]))
        first = past
    return ModelRun(
        name=name, value_mw=value, loss_mw=np.concatenate(losses, axis=1), fallbacks=fallbacks
    )


def _refuse_uncovered(inputs: ForecastInputs, first: Periods, last: Periods) -> None:
    read = inputs.reading.periods
    problems = []
    if first.start - read.start < timedelta(days=28):
        problems.append(
            Problem(
                where="--first-day",
                what=f"readings begin at {format_utc(read.start)}",
                remedy="leave four weeks of readings before the first day",
            )
        )
    if last.end > read.end:
        problems.append(
            Problem(where="--last-day", what=f"readings end at {format_utc(read.end)}",
                    remedy="name days that were read")
        )  # fmt: skip
    if (first.start - read.start) % read.mtu:
        problems.append(Problem(where="readings", what="off the raster of the delivery day"))
    refuse_if_any(problems)


def _lead_h(gate: datetime, periods: Periods) -> Floats:
    first = (periods.start.astimezone(UTC) - gate) / timedelta(hours=1)
    return np.asarray(first + periods.mtu_h * np.arange(len(periods)), dtype=float)


def _count(counted: dict[str, int], note: str) -> None:
    counted[note] = counted.get(note, 0) + 1


def _mean(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def _number(value: object, form: str) -> str:
    width = int(form.split(".", maxsplit=1)[0])
    known = isinstance(value, float) and np.isfinite(value)
    return format(value, form) if known else "-".rjust(width)
