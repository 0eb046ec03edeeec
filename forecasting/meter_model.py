"""Thousands of meters at once: like-day quantiles, corrected by one set of trees for all of them.

At the level of a household a good empirical profile is hard to beat; what a profile cannot know is
how the last hours and days differ from the usual. One gradient-boosting model per level learns
that from all meters together, as a correction of the like-day quantile in the meter's own units, so
few small trees do and a new meter is served from its first month on. Profile and trees are blended
by their pinball loss of the last two weeks, then calibrated on the same weeks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem, refuse_if_any
from data.periods import Periods
from data.records.forecast import Forecast, Reading
from forecasting.as_of import starts64
from forecasting.boosting import BoostedQuantiles, BoostingRule, fit_boosted_quantiles
from forecasting.calibration import (
    Calibration,
    CalibrationRule,
    apply_calibration,
    fit_calibration,
    hour_groups,
)
from forecasting.features import local_calendar
from forecasting.meter_days import MeterDays, arrange_days, forecast_like_days
from forecasting.meter_features import NAMES, TREE_LEVELS, correction_unit_mw, make_rows
from forecasting.model import KnownData
from forecasting.readings import quantile_problems

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MODEL_ID: Final = "meters/1"
# A month is looked at before the first day that is learnt from.
DAYS_BEFORE: Final = 28
TRAINING_DAYS: Final = 63
TRAINING_DAYS_MIN: Final = 21
HOLD_OUT_DAYS: Final = 14
# A sum is one series: four weeks tell as little of it as two days of many meters.
ADAPT_DAYS: Final = 28
# Days of one series at which a calibration is trusted by half.
SHRINK_DAYS: Final = 60.0
# Learnt from every other slot, and with many meters from some of them each day, in turn.
ROWS_MAX: Final = 130_000
SLOT_STRIDE: Final = 2
SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
RULE: Final = BoostingRule(
    trees=60, learning_rate=0.06, leaves=15, rows_per_leaf_min=400, feature_share=0.4, row_share=1.0
)
LEVELS_SCORED: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SERIES_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterModel:
    """One model for all meters, those that come later included.

    Parameters
    ----------
    trees : tuple of BoostedQuantiles
        One per `TREE_LEVELS`; none where there was too little to learn from.
    share : float
        Of the trees' correction in the blend with the like days, 0 ... 1.
    calibration : Calibration
        Shifts per group of hours, of quantiles in units of each meter's mean power.
    country : str or None
        Whose holidays; the zone's country when not given.
    notes : mapping of str to float
        What it was fitted on: rows, days, losses of the hold-out in the meters' mean power.
    threads : int
        Of a prediction; the result does not depend on it.
    """

    trees: tuple[BoostedQuantiles, ...]
    share: float
    calibration: Calibration
    notes: Mapping[str, float]
    country: str | None = None
    threads: int = 2

    @property
    def model_id(self) -> str:
        """Name and version."""
        return MODEL_ID

    def predict(self, known: KnownData, periods: Periods, quantiles: Sequence[float]) -> Forecast:
        """Forecast all series; see `forecasting.model.FittedForecaster`.

        Raises
        ------
        InputError
            If the periods begin before the gate or are on another raster, levels are not
            ascending, or there is no complete day of readings.
        """
        refuse_if_any(quantile_problems(quantiles) + _period_problems(known.reading, periods))
        horizon = int((periods.end - known.known_at).days) + 2
        seen = arrange_days(known.reading, known.site.timezone, horizon, self.country)
        calendar = local_calendar(starts64(periods), known.site.timezone, self.country)
        day = calendar.day - seen.first_day
        slot = calendar.minute // periods.mtu_minutes
        value = np.empty((len(known.reading.series), len(periods), len(quantiles)))
        for target in np.unique(day).tolist():
            here = np.flatnonzero(day == target)
            value[:, here] = self.predict_day(seen, target, quantiles)[:, slot[here]]
        warnings, fallbacks = self._notes_on(seen, int(day.max()))
        return Forecast(
            series=known.reading.series,
            periods=periods,
            quantiles=tuple(quantiles),
            value_mw=value,
            known_at=known.known_at,
            model_id=self.model_id,
            warnings=warnings,
            fallbacks=fallbacks,
        )

    def predict_day(self, seen: MeterDays, target: int, quantiles: Sequence[float]) -> Floats:
        """Return calibrated quantiles of one day, shape (series, slots, levels) [MW].

        Parameters
        ----------
        seen : MeterDays
            What the gate knows.
        target : int
            Position of the day, not before the gate's.
        quantiles : sequence of float
            Levels wanted.
        """
        from concurrent.futures import ThreadPoolExecutor

        levels = sorted({*quantiles, *TREE_LEVELS})
        wanted = [levels.index(level) for level in quantiles]
        shifts = self._shifts_at(levels)
        group = slot_groups(seen.slots)

        def forecast(first: int) -> Floats:
            part = seen.of_series(slice(first, first + SERIES_AT_ONCE))
            raw = self.predict_raw(part, target, levels)
            scale = part.scale_mw()
            floor = np.where(part.value_mw.min(axis=(1, 2)) >= 0.0, 0.0, -np.inf)
            for row in range(len(raw)):
                raw[row] = scale[row] * apply_calibration(
                    raw[row] / scale[row], group, shifts, float(floor[row])
                )
            return np.asarray(raw[:, :, wanted])

        starts = range(0, len(seen.value_mw), SERIES_AT_ONCE)
        with ThreadPoolExecutor(max_workers=self.threads) as pool:
            return np.concatenate(list(pool.map(forecast, starts)))

    def predict_raw(self, seen: MeterDays, target: int, levels: Sequence[float]) -> Floats:
        """Return quantiles before calibration, shape (series, slots, levels) [MW].

        Parameters
        ----------
        seen : MeterDays
            What the gate knows.
        target : int
            Position of the day.
        levels : sequence of float
            Ascending, `TREE_LEVELS` among them.
        """
        like = forecast_like_days(seen, target, levels)
        if not self.trees or self.share == 0.0 or seen.days < DAYS_BEFORE:
            return like
        places = [list(levels).index(level) for level in TREE_LEVELS]
        rows = make_rows(seen, target, like[:, :, places])
        correction = predict_corrections(self.trees, rows.feature)
        between = _interpolate_levels(correction, levels)
        unit = correction_unit_mw(like, rows.scale_mw)
        return np.asarray(np.sort(like + self.share * between * unit, axis=-1))

    def adapted_to(self, known: KnownData) -> MeterModel:
        """Return the same trees with blend and calibration learnt on other series.

        Sums of meters are smoother than meters: what is right for these is not for those. Learnt on
        the last four weeks, of which the trees have seen the meters, but not their sums.

        Parameters
        ----------
        known : KnownData
            Readings of the sums (transformers, feeders), eight weeks or more; with fewer, or
            without trees, the model is returned as it is.
        """
        seen = arrange_days(known.reading, known.site.timezone, 2, self.country)
        if not self.trees or seen.days < DAYS_BEFORE + ADAPT_DAYS:
            return self
        late = range(seen.days - ADAPT_DAYS, seen.days)
        share, calibration, losses = learn_blend(self.trees, seen, late, slot_groups(seen.slots))
        return replace(self, share=share, calibration=calibration, notes={**self.notes, **losses})

    def to_files(self) -> Mapping[str, str]:
        """Return the model as texts."""
        head = {
            "model_id": MODEL_ID,
            "share": self.share,
            "country": self.country or "",
            "calibration_levels": list(self.calibration.levels),
            "calibration_shift": self.calibration.shift.tolist(),
            "calibration_days": self.calibration.days,
            "notes": dict(self.notes),
        }
        files = {"model.json": json.dumps(head, sort_keys=True, indent=1) + "\n"}
        for level, trees in zip(TREE_LEVELS, self.trees, strict=False):
            files[f"trees_q{round(100 * level):02d}.txt"] = trees.texts[0]
        return files

    def _shifts_at(self, levels: Sequence[float]) -> Calibration:
        known = self.calibration
        shift = np.array([np.interp(levels, known.levels, row) for row in known.shift])
        return Calibration(levels=tuple(levels), shift=shift, days=known.days)

    def _notes_on(self, seen: MeterDays, last: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        warnings, fallbacks = [], []
        if last > seen.days + 1:
            warnings.append(f"meters: fitted for the next day, asked for {last - seen.days} ahead")
        if not self.trees:
            fallbacks.append("meters: too few days to fit trees; like days only")
        elif seen.days < DAYS_BEFORE:
            fallbacks.append(f"meters: {seen.days} days of {DAYS_BEFORE}; like days only")
        return tuple(warnings), tuple(fallbacks)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterForecaster:
    """Makes the meters' model.

    Parameters
    ----------
    name : str
        Name without version.
    country : str or None
        Whose holidays; the zone's country when not given.
    rule : BoostingRule
        How trees are grown.
    """

    name: str = "meters"
    country: str | None = None
    rule: BoostingRule = RULE

    def fit(self, known: KnownData) -> MeterModel:
        """Fit on the last nine weeks, for a gate at the time of day of ``known.known_at``.

        Blend and calibration are learnt on the last two weeks with trees that have not seen them;
        the trees are then grown once more on all days.
        """
        seen = arrange_days(known.reading, known.site.timezone, 2, self.country)
        first = max(DAYS_BEFORE, seen.days - TRAINING_DAYS)
        targets = list(range(first, seen.days))
        group = slot_groups(seen.slots)
        if len(targets) < TRAINING_DAYS_MIN:
            shift = np.zeros((int(group.max()) + 1, len(LEVELS_SCORED)))
            return MeterModel(
                trees=(), share=0.0, country=self.country, notes={"days": float(seen.days)},
                calibration=Calibration(levels=LEVELS_SCORED, shift=shift, days=0),
            )  # fmt: skip
        suspect = _arrange_suspect(known, self.country)
        early, late = targets[:-HOLD_OUT_DAYS], targets[-HOLD_OUT_DAYS:]
        trial = self._grow(seen, early, suspect)
        share, calibration, losses = learn_blend(trial, seen, late, group)
        trees = self._grow(seen, targets, suspect)
        notes = {"days": float(seen.days), "training_days": float(len(targets)), **losses}
        return MeterModel(
            trees=trees, share=share, calibration=calibration, country=self.country, notes=notes
        )

    def from_files(self, files: Mapping[str, str]) -> MeterModel:
        """Take a model back."""
        head = json.loads(files["model.json"])
        if head.get("model_id") != MODEL_ID:
            raise InputError(
                [Problem(where="model.json", what=f"model {head.get('model_id')!r}",
                         remedy=f"fit again with {MODEL_ID}")]
            )  # fmt: skip
        texts = [files.get(f"trees_q{round(100 * level):02d}.txt") for level in TREE_LEVELS]
        return MeterModel(
            trees=tuple(
                BoostedQuantiles(names=NAMES, levels=(level,), texts=(text,))
                for level, text in zip(TREE_LEVELS, texts, strict=True)
                if text is not None
            ),
            share=float(head["share"]),
            country=head["country"] or None,
            calibration=Calibration(
                levels=tuple(head["calibration_levels"]),
                shift=np.array(head["calibration_shift"]),
                days=int(head["calibration_days"]),
            ),
            notes=head["notes"],
        )

    def _grow(
        self, seen: MeterDays, targets: Sequence[int], suspect: MeterDays | None
    ) -> tuple[BoostedQuantiles, ...]:
        """Grow one set of trees per level on the given days."""
        features, residuals, units = [], [], []
        for number, target in enumerate(targets):
            rows = training_series(len(seen.value_mw), seen.slots, len(targets), number)
            made = make_rows(seen.seen_from(target - 1, rows), target)
            pick = np.zeros((len(rows), seen.slots), dtype=bool)
            pick[:, number % SLOT_STRIDE :: SLOT_STRIDE] = True
            if suspect is not None:
                pick &= suspect.value_mw[rows, target] == 0.0
            unit = made.unit_mw[pick]
            actual = seen.value_mw[rows, target][pick]
            features.append(made.feature[pick])
            residuals.append((actual[:, None] - made.like_day_mw[pick]) / unit)
            units.append(unit)
        feature = np.concatenate(features)
        residual, unit = np.concatenate(residuals), np.concatenate(units)
        return tuple(
            fit_boosted_quantiles(
                feature, residual[:, place], NAMES, weight=unit[:, place] / unit.mean(),
                levels=(level,), rule=self.rule,
            )
            for place, level in enumerate(TREE_LEVELS)
        )  # fmt: skip


def learn_blend(
    trees: tuple[BoostedQuantiles, ...], seen: MeterDays, targets: Sequence[int], group: Ints
) -> tuple[float, Calibration, dict[str, float]]:
    """Choose the trees' share and the calibration on days the trees have not seen.

    Parameters
    ----------
    trees : tuple of BoostedQuantiles
        Grown on earlier days.
    seen : MeterDays
        What is known now.
    targets : sequence of int
        Positions of the days.
    group : ndarray of int, shape (slots,)
        Group of hours of each slot.

    Returns
    -------
    share : float
        The one of `SHARES` with the least pinball loss, in power.
    calibration : Calibration
        At `LEVELS_SCORED`, in units of each meter's mean power.
    losses : dict
        Mean loss of like days and of the blend, in units of mean power.
    """
    values: dict[float, list[Floats]] = {share: [] for share in SHARES}
    actuals, scales = [], []
    for number, target in enumerate(targets):
        rows = training_series(len(seen.value_mw), seen.slots, len(targets), number)
        before = seen.seen_from(target - 1, rows)
        like = forecast_like_days(before, target, LEVELS_SCORED)
        made = make_rows(before, target, like[:, :, ::2])
        step = _interpolate_levels(predict_corrections(trees, made.feature), LEVELS_SCORED)
        step *= correction_unit_mw(like, made.scale_mw)
        for share in SHARES:
            values[share].append(np.sort(like + share * step, axis=-1))
        actuals.append(seen.value_mw[rows, target])
        scales.append(made.scale_mw)
    actual, scale = np.concatenate(actuals), np.concatenate(scales)
    level = np.asarray(LEVELS_SCORED)
    losses = {}
    for share in SHARES:
        error = actual[:, :, None] - np.concatenate(values[share])
        losses[share] = float(np.maximum(level * error, (level - 1.0) * error).mean())
    best = min(SHARES, key=lambda share: (losses[share], share))
    calibration = fit_calibration(
        np.concatenate(values[best]) / scale[:, None, None], actual / scale[:, None], group,
        LEVELS_SCORED, rule=CalibrationRule(window_days=len(actual), shrink_days=SHRINK_DAYS),
    )  # fmt: skip
    mean = float(scale.mean())
    return best, calibration, {"like_day": losses[0.0] / mean, "blend": losses[best] / mean}


def predict_corrections(trees: tuple[BoostedQuantiles, ...], feature: Floats) -> Floats:
    """Return the trees' corrections in units of each quantile, shape (series, slots, tree levels).

    Parameters
    ----------
    trees : tuple of BoostedQuantiles
        One per `TREE_LEVELS`.
    feature : ndarray, shape (series, slots, features)
        From `make_rows`.
    """
    flat = feature.reshape(-1, feature.shape[-1])
    columns = [one.predict(flat, one.levels)[:, 0] for one in trees]
    return np.stack(columns, axis=-1).reshape(*feature.shape[:2], len(trees))


def training_series(series: int, slots: int, days: int, number: int) -> Ints:
    """Return which series the day with this number is learnt from: all, or some in turn."""
    count = max(1, ROWS_MAX * SLOT_STRIDE // (slots * days))
    if count >= series:
        return np.arange(series, dtype=np.int64)
    return np.sort((np.arange(count, dtype=np.int64) + number * count) % series)


def slot_groups(slots: int) -> Ints:
    """Return the group of hours that each slot of a day is calibrated with, shape (slots,)."""
    return hour_groups(np.arange(slots) * 24.0 / slots)


def _interpolate_levels(correction: Floats, levels: Sequence[float]) -> Floats:
    """Return corrections at any levels: linear between the trees' levels, constant beyond."""
    place = np.interp(levels, TREE_LEVELS, np.arange(len(TREE_LEVELS)))
    lower = np.minimum(place.astype(np.int64), len(TREE_LEVELS) - 2)
    share = place - lower
    return np.asarray(correction[..., lower] * (1.0 - share) + correction[..., lower + 1] * share)


def _arrange_suspect(known: KnownData, country: str | None) -> MeterDays | None:
    if known.suspect is None or not known.suspect.any():
        return None
    marks = Reading(
        series=known.reading.series,
        periods=known.reading.periods,
        value_mw=known.suspect.astype(float),
        known_at=known.reading.known_at,
    )
    return arrange_days(marks, known.site.timezone, 2, country)


def _period_problems(reading: Reading, periods: Periods) -> list[Problem]:
    problems = []
    if reading.periods.mtu_minutes != periods.mtu_minutes:
        problems.append(
            Problem(where="periods", what=f"every {periods.mtu_minutes} min, the readings every "
                    f"{reading.periods.mtu_minutes} min")
        )  # fmt: skip
    if periods.start < reading.periods.end:
        problems.append(Problem(where="periods", what="start before the readings end"))
    return problems
