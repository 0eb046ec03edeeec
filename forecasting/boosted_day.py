"""Day-ahead of a whole feeder: what like days and clear skies keep missing, learnt by trees.

The basic forecast (`forecasting.day_ahead`) is made again at the gates of the past weeks, for a
few series that represent the others. Trees learn from it, from what the day so far showed against
it, and from the same time of earlier days. The last third of those days chooses how much the trees
count and shifts the bands; then everything is fitted again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods
from data.records.forecast import Forecast, Reading
from forecasting.boosting import BoostedQuantiles, BoostingRule, fit_boosted_quantiles
from forecasting.calibration import (
    Calibration,
    CalibrationRule,
    apply_calibration,
    fit_calibration,
    hour_groups,
)
from forecasting.day_ahead import ceiling_mw, forecast_day_ahead, keep_last
from forecasting.quantiles import interpolate_quantiles, order_and_cap
from forecasting.readings import (
    DEFAULT_QUANTILES,
    Feeder,
    SeriesKind,
    local_slots,
)
from forecasting.scores import pinball_losses

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MODEL_ID: Final = "boosted-day/1"
LEARN_DAYS: Final = 42
LEARN_DAYS_MIN: Final = 14
# Days of history before the first gate that is learnt from.
WARM_UP_DAYS: Final = 14
SERIES_MAX: Final = 12
LEVELS: Final = (0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95)
SHARES: Final = (0.0, 0.5, 1.0)
RULE: Final = BoostingRule(
    trees=60, learning_rate=0.08, leaves=12, rows_per_leaf_min=200, feature_share=0.7, row_share=0.5
)
# Every second quarter-hour is learnt from: neighbours say nearly the same.
STRIDE: Final = 2
# A correlation above this makes two series one profile.
ALIKE: Final = 0.9999
# Wind without weather is what it was: trees gained 1 % there, and lost it in calms.
LEARNT_KINDS: Final[tuple[SeriesKind, ...]] = ("load", "pv", "other")
# Pseudo-days at shift zero: two series of two weeks say little about a tail.
SHRINK_SERIES_DAYS: Final = 40.0
DAY: Final = timedelta(days=1)
NAMES: Final = (
    "low", "median", "high", "hour_h", "weekday", "two_days_ago", "week_ago",
    "missed_today", "missed_last_4_h", "ratio_today", "missed_yesterday", "ratio_yesterday",
)  # fmt: skip


def forecast_boosted_day(
    *,
    reading: Reading,
    kinds: Mapping[str, SeriesKind],
    capacity_mw: Mapping[str, float],
    periods: Periods,
    known_at: datetime,
    latitude: float,
    longitude: float,
    timezone: str = "Europe/Berlin",
    quantiles: Sequence[float] = DEFAULT_QUANTILES,
) -> Forecast:
    """Forecast all series of a feeder for the periods of a day.

    Parameters and errors are those of `forecasting.day_ahead.forecast_day_ahead`, which is served
    as it is, and named, where fewer than four weeks of readings exist.

    Returns
    -------
    Forecast
        Quantiles [MW] in [0, capacity]; PV is zero wherever the basic forecast is (at night).
    """
    feeder = Feeder(
        kinds=kinds, capacity_mw=capacity_mw, latitude=latitude, longitude=longitude,
        timezone=timezone,
    )  # fmt: skip
    scene = _Scene(
        reading=reading, feeder=feeder, periods=periods, known_at=known_at,
        levels=tuple(sorted({*LEVELS, *quantiles})),
    )  # fmt: skip
    base = scene.base(0, reading.series)
    days = min(LEARN_DAYS, scene.days_before() - WARM_UP_DAYS)
    wanted = np.array([base.quantiles.index(level) for level in quantiles])
    if days < LEARN_DAYS_MIN:
        note = f"boosted day: {max(days, 0)} past gates of {LEARN_DAYS_MIN}; basic forecast served"
        return _result(base, base.value_mw[:, :, wanted], quantiles, base.model_id, (note,))
    value = base.value_mw.copy()
    fitted = np.array([base.quantiles.index(level) for level in LEVELS])
    learnt = _learn(scene, days)
    near = {back: scene.base(back, reading.series) for back in (1, 2)}
    scale = scene.scale_mw(reading.series)
    rows = scene.features(0, {0: base, **near}, scale)
    for kind, lesson in learnt.items():
        chosen = np.array([r for r, s in enumerate(reading.series) if kinds[s] == kind])
        scaled = base.value_mw[chosen][:, :, fitted] / scale[chosen, None, None]
        found = lesson.apply(rows[chosen], scaled, scene.groups(0))
        dark = base.value_mw[chosen].max(axis=2) <= 0.0
        found[dark] = 0.0
        value[chosen] = (
            interpolate_quantiles(found, LEVELS, base.quantiles) * scale[chosen, None, None]
        )
    ceiling = ceiling_mw(keep_last(reading, 70), feeder)[:, None, None]
    return _result(base, order_and_cap(value, 0.0, ceiling)[:, :, wanted], quantiles, MODEL_ID, ())


def _result(
    base: Forecast,
    value_mw: Floats,
    quantiles: Sequence[float],
    model_id: str,
    notes: tuple[str, ...],
) -> Forecast:
    return Forecast(
        series=base.series,
        periods=base.periods,
        quantiles=tuple(quantiles),
        value_mw=value_mw,
        known_at=base.known_at,
        model_id=model_id,
        warnings=base.warnings,
        fallbacks=(*base.fallbacks, *notes),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """One forecast to make, and the same forecast ``back`` days earlier."""

    reading: Reading
    feeder: Feeder
    periods: Periods
    known_at: datetime
    levels: tuple[float, ...]

    def days_before(self) -> int:
        """Days of readings before the gate."""
        return int((self.known_at - self.reading.periods.start) / DAY)

    def row_of(self, instant: datetime) -> int:
        """Position of an instant in the readings."""
        return int((instant - self.reading.periods.start) / self.reading.periods.mtu)

    def periods_at(self, back: int) -> Periods:
        """The periods asked for, ``back`` days earlier."""
        return Periods(
            start=self.periods.start - back * DAY, count=len(self.periods),
            mtu_minutes=self.periods.mtu_minutes,
        )  # fmt: skip

    def base(self, back: int, series: Sequence[str]) -> Forecast:
        """Make the basic forecast at the gate ``back`` days earlier, from what was read then."""
        gate = self.known_at - back * DAY
        last = min(self.row_of(gate), len(self.reading.periods))
        columns = [self.reading.series.index(name) for name in series]
        read = self.reading.periods
        cut = Reading(
            series=tuple(series),
            periods=Periods(start=read.start, count=last, mtu_minutes=read.mtu_minutes),
            value_mw=self.reading.value_mw[:last, columns],
            known_at=min(self.reading.known_at, gate),
        )
        return forecast_day_ahead(
            reading=keep_last(cut, 70) if back else cut,
            kinds=self.feeder.kinds,
            capacity_mw=self.feeder.capacity_mw,
            periods=self.periods_at(back),
            known_at=gate,
            latitude=self.feeder.latitude,
            longitude=self.feeder.longitude,
            timezone=self.feeder.timezone,
            quantiles=self.levels,
        )

    def scale_mw(self, series: Sequence[str]) -> Floats:
        """Return the mean absolute reading of each series [MW], never zero; shape (series,)."""
        columns = [self.reading.series.index(name) for name in series]
        mean = np.abs(keep_last(self.reading, 70).value_mw[:, columns]).mean(axis=0)
        return np.where(mean > 0.0, mean, 1.0)

    def actual(self, back: int, series: Sequence[str], scale: Floats) -> Floats:
        """Return what happened ``back`` days earlier, scaled, shape (series, periods)."""
        first = self.row_of(self.periods_at(back).start)
        columns = [self.reading.series.index(name) for name in series]
        value = self.reading.value_mw[first : first + len(self.periods), columns].T
        return np.asarray(value / scale[:, None])

    def groups(self, back: int) -> Ints:
        """Return the group of local hours of each period."""
        slots = local_slots(self.periods_at(back), self.feeder.timezone)
        return hour_groups(slots.slot.astype(np.float64) * self.periods.mtu_h)

    def features(self, back: int, bases: Mapping[int, Forecast], scale: Floats) -> Floats:
        """Return features of every series and period, shape (series, periods, `NAMES`)."""
        base, periods = bases[back], self.periods_at(back)
        series = base.series
        slots = local_slots(periods, self.feeder.timezone)
        shape = (len(series), len(periods))
        low, middle, high = (base.quantiles.index(level) for level in (0.1, 0.5, 0.9))
        scaled = base.value_mw / scale[:, None, None]
        columns = [scaled[:, :, low], scaled[:, :, middle], scaled[:, :, high]]
        columns += [
            np.broadcast_to(slots.slot * periods.mtu_h, shape),
            np.broadcast_to((slots.day + 6) % 7, shape),
        ]
        columns += [self._earlier(back, days, series, scale) for days in (2, 7)]
        gate_row = min(self.row_of(self.known_at - back * DAY), len(self.reading.periods))
        missed = [
            number
            for earlier in (1, 2)
            for number in self._missed(bases[back + earlier], gate_row, scale, recent=earlier == 1)
        ]
        columns += [np.broadcast_to(number[:, None], shape) for number in missed]
        return np.stack(columns, axis=-1).astype(float)

    def _earlier(self, back: int, days: int, series: Sequence[str], scale: Floats) -> Floats:
        """Return the scaled reading of the same time ``days`` days before, NaN if not read yet."""
        first = self.row_of(self.periods_at(back).start - days * DAY)
        gate_row = min(self.row_of(self.known_at - back * DAY), len(self.reading.periods))
        rows = first + np.arange(len(self.periods))
        seen = (rows >= 0) & (rows < gate_row)
        columns = [self.reading.series.index(name) for name in series]
        value = self.reading.value_mw[np.where(seen, rows, 0)][:, columns].T / scale[:, None]
        return np.where(seen, value, np.nan)

    def _missed(
        self, earlier: Forecast, gate_row: int, scale: Floats, *, recent: bool
    ) -> list[Floats]:
        """Return what an earlier forecast missed until the gate: mean, last hours, ratio."""
        first = self.row_of(earlier.periods.start)
        count = min(max(gate_row - first, 0), len(earlier.periods))
        if count == 0:
            nothing = np.full(len(earlier.series), np.nan)
            return [nothing, nothing, nothing] if recent else [nothing, nothing]
        columns = [self.reading.series.index(name) for name in earlier.series]
        actual = self.reading.value_mw[first : first + count, columns].T / scale[:, None]
        middle = earlier.median_mw()[:, :count] / scale[:, None]
        error = actual - middle
        ratio = np.clip(actual.mean(axis=1) / np.maximum(middle.mean(axis=1), 0.02), 0.0, 4.0)
        last = error[:, -round(4.0 / self.periods.mtu_h) :].mean(axis=1)
        return [error.mean(axis=1), last, ratio] if recent else [error.mean(axis=1), ratio]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lesson:
    """What was learnt for one kind: trees, their share and the shifts of the bands."""

    trees: BoostedQuantiles | None
    share: float
    shift: Floats

    def apply(self, rows: Floats, base: Floats, group: Ints) -> Floats:
        """Return scaled quantiles at `LEVELS`, shape (series, periods, levels)."""
        found = _blend(self.trees, self.share, rows, base)
        count = len(rows)
        learnt = Calibration(levels=LEVELS, shift=self.shift, days=LEARN_DAYS)
        flat = apply_calibration(found.reshape(-1, len(LEVELS)), np.tile(group, count), learnt)
        return flat.reshape(found.shape)


def _blend(trees: BoostedQuantiles | None, tree_share: float, rows: Floats, base: Floats) -> Floats:
    if trees is None or tree_share == 0.0:
        return base
    flat = trees.predict(rows.reshape(-1, rows.shape[-1]), LEVELS)
    return np.asarray(tree_share * flat.reshape(base.shape) + (1.0 - tree_share) * base)


def _learn(scene: _Scene, days: int) -> dict[SeriesKind, _Lesson]:
    """Make the basic forecast at past gates and learn from it, kind by kind."""
    chosen = _representatives(scene.reading, scene.feeder)
    names = [name for kind in LEARNT_KINDS for name in chosen.get(kind, ())]
    # The forecast of the day before the delivery day is not over at the gate.
    open_days = max(1, -(-int((scene.periods.end - scene.known_at) / DAY * 1000) // 1000))
    backs = list(range(open_days, open_days + days))
    bases = {back: scene.base(back, names) for back in range(open_days, backs[-1] + 3)}
    scale = scene.scale_mw(names)
    fitted = [bases[backs[0]].quantiles.index(level) for level in LEVELS]
    oldest_first = backs[::-1]
    rows = np.array([scene.features(back, bases, scale) for back in oldest_first])
    actual = np.array([scene.actual(back, names, scale) for back in oldest_first])
    base = np.array([bases[back].value_mw[:, :, fitted] for back in oldest_first])
    base = base / scale[None, :, None, None]
    group = scene.groups(0)
    lessons: dict[SeriesKind, _Lesson] = {}
    for kind in LEARNT_KINDS:
        places = [r for r, name in enumerate(names) if scene.feeder.kinds[name] == kind]
        if places:
            lessons[kind] = _learn_kind(rows[:, places], base[:, places], actual[:, places], group)
    return lessons


def _learn_kind(rows: Floats, base: Floats, actual: Floats, group: Ints) -> _Lesson:
    """Learn from arrays (days, series, periods, ...), oldest day first."""
    held = max(4, len(rows) // 3)
    trees = _fit(rows[:-held], base[:-held], actual[:-held])
    after, truth = base[-held:], actual[-held:]
    flat = truth.ravel()
    losses = [
        pinball_losses(
            np.sort(_blend(trees, share, rows[-held:], after).reshape(-1, len(LEVELS)), axis=1),
            flat, LEVELS,
        ).mean()
        for share in SHARES
    ]  # fmt: skip
    best = SHARES[int(np.argmin(losses))]
    blended = np.sort(_blend(trees, best, rows[-held:], after), axis=-1)
    lit = np.where(after.max(axis=-1) > 0.0, truth, np.nan)
    # Series of one kind share their shifts: each series and day is one scored day.
    learnt = fit_calibration(
        blended.reshape(-1, *blended.shape[2:]), lit.reshape(-1, lit.shape[2]), group, LEVELS,
        rule=CalibrationRule(window_days=10**6),
    )  # fmt: skip
    seen = held * base.shape[1]
    shift = np.zeros((int(group.max()) + 1, len(LEVELS)))
    shift[: len(learnt.shift)] = learnt.shift * seen / (seen + SHRINK_SERIES_DAYS)
    full = _fit(rows, base, actual) if best > 0.0 else None
    return _Lesson(trees=full, share=best, shift=shift)


def _fit(rows: Floats, base: Floats, actual: Floats) -> BoostedQuantiles:
    features = rows[:, :, ::STRIDE].reshape(-1, rows.shape[-1])
    target = actual[:, :, ::STRIDE].ravel()
    # Nights of PV teach nothing.
    lit = base[:, :, ::STRIDE].max(axis=-1).ravel() > 0.0
    if lit.sum() < len(LEVELS):
        lit[:] = True
    return fit_boosted_quantiles(features[lit], target[lit], NAMES, levels=LEVELS, rule=RULE)


def _representatives(reading: Reading, feeder: Feeder) -> dict[SeriesKind, tuple[str, ...]]:
    """Return series to learn from: profiles that differ, at most `SERIES_MAX` of each kind."""
    recent = keep_last(reading, 14).value_mw
    spread = recent.std(axis=0)
    scaled = (recent - recent.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)
    chosen: dict[SeriesKind, tuple[str, ...]] = {}
    for kind in LEARNT_KINDS:
        kept: list[int] = []
        for column, name in enumerate(reading.series):
            if feeder.kinds[name] != kind or spread[column] <= 0.0:
                continue
            alike = scaled[:, kept].T @ scaled[:, column] / len(scaled)
            if not (alike > ALIKE).any():
                kept.append(column)
        # Evenly over the series, so that none of a type is left out by its place.
        picked = [kept[i] for i in np.unique(np.linspace(0, len(kept) - 1, SERIES_MAX).round())
                  .astype(int)] if kept else []  # fmt: skip
        if picked:
            chosen[kind] = tuple(reading.series[column] for column in picked)
    return chosen
