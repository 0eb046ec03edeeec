"""`forecasting.month_ahead` as a model: local days of hours in, calibrated on months before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.periods import Periods
from data.records.forecast import Forecast
from forecasting.calibration import CalibrationRule, apply_calibration, fit_calibration
from forecasting.features import public_holidays
from forecasting.model import KnownData
from forecasting.month_ahead import (
    HourlyHistory,
    MonthAheadRule,
    blend_month_ahead,
    climatology,
    lines_with_scenarios,
)
from forecasting.quantiles import interpolate_quantiles
from forecasting.readings import local_slots
from forecasting.scores import pinball_losses

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MODEL_ID: Final = "month-ahead/1"
HOURS: Final = 24
DAYS_MIN: Final = 730
LEARN_MONTHS: Final = 12
LEARN_DAYS: Final = 30
LEVELS: Final = tuple(k / 100 for k in range(1, 100))
TEMPERATURE_ENDINGS: Final = ("_c", "_degf", "_k")


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthAheadModel:
    """Weight of climatology and calibration, learnt on the months before the fit.

    Parameters
    ----------
    climatology_weight : float
        In the average with the lines.
    shift : tuple of float
        Conformal shift of each percentile, in band widths.
    columns : tuple of str
        Temperatures used.
    country : str or None
        Of the public holidays.
    """

    climatology_weight: float
    shift: tuple[float, ...]
    columns: tuple[str, ...]
    country: str | None

    @property
    def model_id(self) -> str:
        """Name and version."""
        return MODEL_ID

    def predict(self, known: KnownData, periods: Periods, quantiles: Sequence[float]) -> Forecast:
        """Forecast hours of the days after the last whole day read.

        Raises
        ------
        InputError
            If there is not one series, by the hour, with two years of positive load and past
            temperature.
        """
        history = _history_of(known, self.columns, self.country)
        clock = local_slots(periods, known.site.timezone)
        last = int(clock.day.max())
        ahead = np.arange(history.day[-1] + 1, last + 1)
        rule = MonthAheadRule()
        raw = blend_month_ahead(
            lines_with_scenarios(history, ahead, LEVELS, rule),
            climatology(history, ahead, LEVELS, rule),
            self.climatology_weight,
        )
        served = _shifted(raw, np.array(self.shift))
        row = (clock.day - ahead[0]) * HOURS + clock.slot
        return Forecast(
            series=known.reading.series,
            periods=periods,
            quantiles=tuple(quantiles),
            value_mw=np.maximum(interpolate_quantiles(served[row], LEVELS, quantiles), 0.0)[None],
            known_at=known.known_at,
            model_id=MODEL_ID,
        )

    def to_files(self) -> Mapping[str, str]:
        """Return the parameters as JSON."""
        content = {
            "model_id": MODEL_ID, "climatology_weight": self.climatology_weight,
            "shift": list(self.shift), "columns": list(self.columns), "country": self.country,
        }  # fmt: skip
        return {"model.json": json.dumps(content, sort_keys=True, indent=1) + "\n"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthAheadForecaster:
    """Makes month-ahead models.

    Parameters
    ----------
    country : str or None
        Whose public holidays count; None: none.
    """

    country: str | None = None
    name: str = "month-ahead"

    def fit(self, known: KnownData) -> MonthAheadModel:
        """Learn weight and calibration on twelve months before the gate, each from its own past.

        Raises
        ------
        InputError
            As `MonthAheadModel.predict`.
        """
        columns = _temperatures(known)
        history = _history_of(known, columns, self.country)
        seen = int(np.isfinite(history.load_mw).all(axis=1).sum())
        months = min(LEARN_MONTHS, (seen - DAYS_MIN) // LEARN_DAYS)
        rule = MonthAheadRule()
        parts: list[tuple[Floats, Floats, Floats]] = []
        for back in range(months, 0, -1):
            first = int(history.day[-1]) + 1 - back * LEARN_DAYS
            ahead = np.arange(first, first + LEARN_DAYS)
            past = _before(history, first)
            actual = history.load_mw[history.day >= first][:LEARN_DAYS].ravel()
            lines = lines_with_scenarios(past, ahead, LEVELS, rule)
            parts.append((lines, climatology(past, ahead, LEVELS, rule), actual))
        if not parts:
            shift = (0.0,) * len(LEVELS)
            return MonthAheadModel(
                climatology_weight=rule.climatology_weight, shift=shift, columns=columns,
                country=self.country,
            )  # fmt: skip
        # Bates and Granger (1969, doi:10.1057/jors.1969.103): weights inverse to recent loss.
        losses = np.array(
            [
                [pinball_losses(part, actual, LEVELS).mean() for part in (lines, climate)]
                for lines, climate, actual in parts
            ]
        ).mean(axis=0)
        weight = float(losses[0] / losses.sum())
        scored = np.concatenate([blend_month_ahead(a, b, weight) for a, b, _ in parts])
        truth = np.concatenate([actual for _, _, actual in parts])
        days = len(truth) // HOURS
        learnt = fit_calibration(
            scored.reshape(days, HOURS, -1), truth.reshape(days, HOURS),
            np.zeros(HOURS, dtype=np.int64), LEVELS,
            # Days of a month err together: shrinkage counts months.
            rule=CalibrationRule(window_days=days, shrink_days=90.0),
        )  # fmt: skip
        return MonthAheadModel(
            climatology_weight=weight, shift=tuple(learnt.shift[0].tolist()), columns=columns,
            country=self.country,
        )  # fmt: skip

    def from_files(self, files: Mapping[str, str]) -> MonthAheadModel:
        """Take a model back from its texts."""
        held = json.loads(files["model.json"])
        return MonthAheadModel(
            climatology_weight=held["climatology_weight"], shift=tuple(held["shift"]),
            columns=tuple(held["columns"]), country=held["country"],
        )  # fmt: skip


def _shifted(raw: Floats, shift: Floats) -> Floats:
    from forecasting.calibration import Calibration

    learnt = Calibration(levels=LEVELS, shift=shift[None, :], days=LEARN_MONTHS * LEARN_DAYS)
    return apply_calibration(raw, np.zeros(len(raw), dtype=np.int64), learnt, 0.0)


def _temperatures(known: KnownData) -> tuple[str, ...]:
    """Return the columns of temperatures: by their unit, or w1, w2, ... as stations are named."""
    names = () if known.weather is None else known.weather.names
    found = tuple(
        name for name in names
        if name.endswith(TEMPERATURE_ENDINGS) or (name[:1] == "w" and name[1:].isdigit())
    )  # fmt: skip
    refuse_if_any(
        [] if found else [Problem(where="weather", what="no past temperature",
                                  remedy="name a column temperature_c, or w1, w2, ...")]
    )  # fmt: skip
    return found


def _history_of(known: KnownData, columns: tuple[str, ...], country: str | None) -> HourlyHistory:
    """Arrange what is known as whole local days; older weather than load is kept."""
    reading = known.reading
    problems = []
    if reading.periods.mtu_minutes != 60 or len(reading.series) != 1:
        problems.append(Problem(where="readings", what="not one series by the hour"))
    if known.weather is None or not set(columns) <= set(known.weather.names):
        problems.append(Problem(where="weather", what=f"lacks {', '.join(columns)}"))
    refuse_if_any(problems)
    weather = known.weather
    assert weather is not None  # else there was a problem
    oldest = min(weather.valid_at.min(), np.datetime64(reading.periods.start.replace(tzinfo=None)))
    hours = int((np.datetime64(reading.periods.end.replace(tzinfo=None)) - oldest)
                / np.timedelta64(3600, "s"))  # fmt: skip
    whole = Periods(start=reading.periods.end - timedelta(hours=hours), count=hours, mtu_minutes=60)
    clock = local_slots(whole, known.site.timezone)
    first = int(clock.day[0]) + int(clock.slot[0] > 0)
    last = int(clock.day[-1]) - int(clock.slot[-1] < HOURS - 1)
    days = np.arange(first, last + 1)
    places = [weather.names.index(name) for name in columns]
    temperature = np.full((len(days), HOURS, len(columns)), np.nan)
    load = np.full((len(days), HOURS), np.nan)
    kept = (clock.day >= first) & (clock.day <= last)
    row, slot = clock.day[kept] - first, clock.slot[kept]
    temperature[row, slot] = weather.latest(whole)[kept][:, places]
    read = np.full(hours, np.nan)
    read[hours - len(reading.periods) :] = reading.value_mw[:, 0]
    load[row, slot] = read[kept]
    begun = np.flatnonzero(np.isfinite(load).all(axis=1))
    # The hour that a spring day lacks is the mean of its neighbours.
    if len(begun):
        load[begun[0] :] = _without_holes(load[begun[0] :, :, None])[:, :, 0]
    read_days = len(days) - int(begun[0]) if len(begun) else 0
    refuse_if_any(
        [Problem(where="readings", what=f"{read_days} whole days, two years are needed")]
        * (read_days < DAYS_MIN)
        + [Problem(where="readings", what="load is not positive everywhere")]
        * bool((load[begun[0] :] <= 0.0).any() if len(begun) else False)
    )
    country_days = () if country is None else tuple(
        day.toordinal()
        for year in range(date.fromordinal(first).year, date.fromordinal(last).year + 2)
        for day in public_holidays(country, year)
    )  # fmt: skip
    return HourlyHistory(
        day=days.astype(np.int64),
        load_mw=load,
        temperature=_without_holes(temperature),
        holidays=frozenset(country_days),
    )


def _without_holes(values: Floats) -> Floats:
    """Fill single missing hours between their neighbours, shape (days, 24, columns)."""
    flat = values.reshape(-1, values.shape[2]).copy()
    rows = np.arange(len(flat))
    for column in range(flat.shape[1]):
        missing = ~np.isfinite(flat[:, column])
        if missing.any() and not missing.all():
            flat[missing, column] = np.interp(rows[missing], rows[~missing], flat[~missing, column])
    return flat.reshape(values.shape)


def _before(history: HourlyHistory, first: int) -> HourlyHistory:
    kept = history.day < first
    return HourlyHistory(
        day=history.day[kept], load_mw=history.load_mw[kept],
        temperature=history.temperature[kept], holidays=history.holidays,
    )  # fmt: skip
