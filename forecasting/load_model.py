"""Load of feeders and substations: boosted quantiles with weather, and a line that extrapolates.

Fitting holds back the last weeks: trees and lines are fitted on what came before, scored there,
blended by that pinball, calibrated on it by conformal shifts per group of hours, and then fitted
again on everything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.periods import Periods
from data.records.forecast import Forecast
from forecasting.as_of import instant64, starts64, table_of_reading
from forecasting.boosting import BoostedQuantiles, BoostingRule, fit_boosted_quantiles
from forecasting.calibration import (
    Calibration,
    CalibrationRule,
    apply_calibration,
    fit_calibration,
)
from forecasting.features import day_ahead_gates
from forecasting.linear import LinearQuantiles, fit_linear_quantiles
from forecasting.load_rows import LAGS_DAYS, LoadRows, line_features, make_load_rows
from forecasting.model import KnownData
from forecasting.quantiles import interpolate_quantiles
from forecasting.scores import pinball_losses

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

MODEL_ID: Final = "weather-load/1"
HOLDOUT_DAYS: Final = 42
HISTORY_DAYS_MIN: Final = 84
YEAR_DAYS_MIN: Final = 300
LEVELS: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
RULE: Final = BoostingRule(trees=150, leaves=31, rows_per_leaf_min=40)
# More rows of neighbouring quarter-hours say nearly the same: the older ones are thinned out.
ROWS_MAX: Final = 40_000
HINGE_LEVELS: Final = (0.2, 0.4, 0.6, 0.8)
SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesModel:
    """The fitted parts of one series, on the scaled target (load / mean absolute load).

    Parameters
    ----------
    scale_mw : float
        Mean absolute load of the rows fitted on [MW], or 1 where loads are shares already.
    shares : bool
        Whether loads are shares of the last week's mean.
    minimum_mw : float
        Zero, or the lowest reading where readings are negative [MW].
    trees : BoostedQuantiles
        With all features.
    line : LinearQuantiles
        With lags, bent weather and kinds of day.
    knots : mapping of str to tuple of float
        Hinges of each weather column, in its unit.
    fill : tuple of float
        Stands in where a feature of the line is missing.
    tree_share : float
        Weight of the trees in the blend, 0..1.
    shift : tuple of tuple of float
        Conformal shifts, groups of hours x `LEVELS`, in band widths.
    """

    scale_mw: float
    shares: bool
    minimum_mw: float
    trees: BoostedQuantiles
    line: LinearQuantiles
    knots: Mapping[str, tuple[float, ...]]
    fill: tuple[float, ...]
    tree_share: float
    shift: tuple[tuple[float, ...], ...]

    def predict(self, rows: LoadRows, levels: Sequence[float]) -> Floats:
        """Return calibrated quantiles [MW], shape (rows, levels), non-decreasing."""
        blended = self._blend(rows)
        learnt = Calibration(levels=LEVELS, shift=np.array(self.shift), days=HOLDOUT_DAYS)
        calibrated = apply_calibration(blended, rows.group, learnt)
        unit_mw = self.scale_mw * rows.level_mw[:, None]
        found = interpolate_quantiles(calibrated, LEVELS, levels) * unit_mw
        return np.maximum(found, self.minimum_mw)

    def _blend(self, rows: LoadRows) -> Floats:
        features, _ = line_features(rows.table, self.knots, np.array(self.fill))
        return blend_parts(
            self.trees.predict(rows.table.value, LEVELS),
            self.line.predict(features, rows.hour, rows.group, LEVELS),
            self.tree_share,
        )


def blend_parts(trees: Floats, line: Floats, tree_share: float) -> Floats:
    """Average two sets of quantiles level by level (Vincent 1912), non-decreasing."""
    return np.sort(tree_share * trees + (1.0 - tree_share) * line, axis=-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadModel:
    """A fitted load model, one part per series.

    Parameters
    ----------
    series : tuple of str
        Series it was fitted on.
    parts : tuple of SeriesModel
        In the order of ``series``.
    weather_columns : tuple of str
        Weather it needs.
    notes : tuple of str
        Warnings of the fit.
    """

    series: tuple[str, ...]
    parts: tuple[SeriesModel, ...]
    weather_columns: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def model_id(self) -> str:
        """Name and version."""
        return MODEL_ID

    def predict(self, known: KnownData, periods: Periods, quantiles: Sequence[float]) -> Forecast:
        """Forecast every series for the periods from what was known.

        Raises
        ------
        InputError
            If the series differ from those fitted, or weather that the model needs is missing.
        """
        refuse_if_any(self._problems(known))
        readings = table_of_reading(known.reading)
        valid_at = starts64(periods)
        gates = np.full(len(periods), instant64(known.known_at))
        value, notes = [], list(self.notes)
        for name, part in zip(self.series, self.parts, strict=True):
            rows = make_load_rows(
                known, readings, name, valid_at, gates, self.weather_columns, shares=part.shares
            )
            notes += rows.notes
            value.append(part.predict(rows, quantiles))
        return Forecast(
            series=self.series,
            periods=periods,
            quantiles=tuple(quantiles),
            value_mw=np.array(value),
            known_at=known.known_at,
            model_id=self.model_id,
            fallbacks=tuple(dict.fromkeys(notes)),
        )

    def _problems(self, known: KnownData) -> list[Problem]:
        problems = []
        if known.reading.series != self.series:
            problems.append(
                Problem(
                    where="readings",
                    what=f"series {known.reading.series}, the model was fitted on {self.series}",
                    remedy="train it again",
                )
            )
        names = () if known.weather is None else known.weather.names
        problems += [
            Problem(where="weather", what=f"no column {name}, which the model was fitted with")
            for name in self.weather_columns
            if name not in names
        ]
        return problems

    def to_files(self) -> Mapping[str, str]:
        """Return the model as JSON and LightGBM texts."""
        texts: dict[str, str] = {}
        parts = []
        for number, part in enumerate(self.parts):
            for level, text in zip(part.trees.levels, part.trees.texts, strict=True):
                texts[f"series_{number}_q{round(level * 1000):03d}.txt"] = text
            texts[f"series_{number}_line.json"] = part.line.to_json()
            parts.append(
                {
                    "scale_mw": part.scale_mw,
                    "shares": part.shares,
                    "minimum_mw": part.minimum_mw,
                    "features": list(part.trees.names),
                    "knots": {name: list(knots) for name, knots in part.knots.items()},
                    "fill": list(part.fill),
                    "tree_share": part.tree_share,
                    "shift": [list(row) for row in part.shift],
                }
            )
        content = {
            "model_id": MODEL_ID,
            "series": list(self.series),
            "weather_columns": list(self.weather_columns),
            "notes": list(self.notes),
            "levels": list(LEVELS),
            "parts": parts,
        }
        return {"model.json": json.dumps(content, sort_keys=True, indent=1) + "\n", **texts}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadForecaster:
    """Makes load models.

    Parameters
    ----------
    rule : BoostingRule
        How trees are grown.
    lead : timedelta
        From the gate to the start of the delivery day, for rows of the past.
    """

    rule: BoostingRule = RULE
    lead: timedelta = timedelta(hours=10, minutes=30)

    @property
    def name(self) -> str:
        """Name without version."""
        return MODEL_ID.split("/", maxsplit=1)[0]

    def fit(self, known: KnownData) -> LoadModel:
        """Fit every series.

        Raises
        ------
        InputError
            If there are fewer than twelve weeks of readings.
        """
        reading = known.reading
        days = len(reading.periods) * reading.periods.mtu / timedelta(days=1)
        refuse_if_any(
            [
                Problem(
                    where="readings",
                    what=f"{days:.1f} days, the load model needs {HISTORY_DAYS_MIN}",
                    remedy="serve like days until there are more",
                )
            ]
            if days < HISTORY_DAYS_MIN
            else []
        )
        readings = table_of_reading(reading)
        # Trees take the season for the weather until they have seen most of a year.
        short = days < YEAR_DAYS_MIN
        columns = () if short else _usable_weather(known)
        notes: list[str] = []
        if short:
            notes.append(
                f"load: {days:.0f} days of {YEAR_DAYS_MIN}; weather left out, loads as shares of "
                "the last week"
            )
        valid_at = starts64(reading.periods)
        gates = day_ahead_gates(
            reading.periods, known.known_at, known.known_at + self.lead, known.site.timezone
        )
        # The first weeks have no lags behind them.
        first = (max(LAGS_DAYS) + 2) * round(24 / reading.periods.mtu_h)
        kept = _thin_out(np.arange(first, len(valid_at)), ROWS_MAX)
        parts: list[SeriesModel] = []
        for column, name in enumerate(reading.series):
            shares = short and _never_near_zero(reading.value_mw[:, column])
            rows = make_load_rows(
                known, readings, name, valid_at[kept], gates[kept], columns, shares=shares
            )
            usable = np.ones(len(kept), dtype=np.bool_)
            if known.suspect is not None:
                usable = ~known.suspect[kept, column]
            parts.append(
                self._fit_series(
                    rows, reading.value_mw[kept, column], usable, columns, shares=shares
                )
            )
            notes += rows.notes
        return LoadModel(
            series=reading.series,
            parts=tuple(parts),
            weather_columns=columns,
            notes=tuple(dict.fromkeys(notes)),
        )

    def _fit_series(
        self,
        rows: LoadRows,
        value_mw: Floats,
        usable: Bools,
        columns: tuple[str, ...],
        *,
        shares: bool,
    ) -> SeriesModel:
        scale = 1.0 if shares else float(np.abs(value_mw[usable]).mean()) or 1.0
        target = value_mw / (scale * rows.level_mw)
        knots = {
            name: tuple(float(k) for k in np.nanquantile(rows.table.column(name), HINGE_LEVELS))
            for name in rows.table.names
            if name.removesuffix("_mean_24_h") in columns
        }
        features, names = line_features(rows.table, knots)
        fill = features.mean(axis=0)
        held = rows.day > rows.day.max() - HOLDOUT_DAYS
        before, after = usable & ~held, usable & held
        # Scored on weeks that neither part has seen, then fitted again with them.
        trees = self._trees(rows, target, before).predict(rows.table.value[after], LEVELS)
        line = self._line(features, names, rows, target, before).predict(
            features[after], rows.hour[after], rows.group[after], LEVELS
        )
        losses = [
            pinball_losses(blend_parts(trees, line, share), target[after], LEVELS).mean()
            for share in SHARES
        ]
        best = SHARES[int(np.argmin(losses))]
        shift = _conformal_shift(
            blend_parts(trees, line, best), target[after], rows.group[after], rows.day[after]
        )
        return SeriesModel(
            scale_mw=scale,
            shares=shares,
            minimum_mw=min(0.0, float(value_mw.min())),
            trees=self._trees(rows, target, usable),
            line=self._line(features, names, rows, target, usable),
            knots=knots,
            fill=tuple(fill.tolist()),
            tree_share=best,
            shift=tuple(tuple(row) for row in shift.tolist()),
        )

    def _trees(self, rows: LoadRows, target: Floats, chosen: Bools) -> BoostedQuantiles:
        return fit_boosted_quantiles(
            rows.table.value[chosen], target[chosen], rows.table.names, levels=LEVELS,
            rule=self.rule,
        )  # fmt: skip

    def _line(
        self,
        features: Floats,
        names: tuple[str, ...],
        rows: LoadRows,
        target: Floats,
        chosen: Bools,
    ) -> LinearQuantiles:
        _, counts = np.unique(rows.day[chosen], return_counts=True)
        return fit_linear_quantiles(
            features[chosen], target[chosen], rows.hour[chosen], rows.group[chosen], names,
            penalty=3.0, block_rows=int(counts.max()),
        )  # fmt: skip

    def from_files(self, files: Mapping[str, str]) -> LoadModel:
        """Take a model back from the texts of `LoadModel.to_files`."""
        content = json.loads(files["model.json"])
        parts = []
        for number, part in enumerate(content["parts"]):
            texts = tuple(
                files[f"series_{number}_q{round(level * 1000):03d}.txt"]
                for level in content["levels"]
            )
            parts.append(
                SeriesModel(
                    scale_mw=part["scale_mw"],
                    shares=part["shares"],
                    minimum_mw=part["minimum_mw"],
                    trees=BoostedQuantiles(
                        names=tuple(part["features"]), levels=tuple(content["levels"]), texts=texts
                    ),
                    line=LinearQuantiles.from_json(files[f"series_{number}_line.json"]),
                    knots={name: tuple(knots) for name, knots in part["knots"].items()},
                    fill=tuple(part["fill"]),
                    tree_share=part["tree_share"],
                    shift=tuple(tuple(row) for row in part["shift"]),
                )
            )
        return LoadModel(
            series=tuple(content["series"]),
            parts=tuple(parts),
            weather_columns=tuple(content["weather_columns"]),
            notes=tuple(content["notes"]),
        )


def _conformal_shift(value: Floats, actual: Floats, group: Ints, day: Ints) -> Floats:
    """Return shifts per group of hours and level from the held-out rows, in band widths."""
    days = len(np.unique(day))
    shift = np.zeros((5, len(LEVELS)))
    for number in range(5):
        rows = group == number
        if rows.sum() >= 20:
            learnt = fit_calibration(
                value[rows][:, None, :], actual[rows][:, None], np.zeros(1, dtype=np.int64),
                LEVELS, rule=CalibrationRule(window_days=int(rows.sum()), days_min=20),
            )  # fmt: skip
            shift[number] = learnt.shift[0] * days / (days + 3.0)
    return shift


def _never_near_zero(value_mw: Floats) -> bool:
    """Tell whether a series is a load that shares of its own mean describe."""
    return bool(np.quantile(value_mw, 0.01) > 0.05 * value_mw.mean() > 0.0)


def _usable_weather(known: KnownData) -> tuple[str, ...]:
    """Return the weather columns that are known for most of the periods read."""
    if known.weather is None:
        return ()
    value = known.weather.latest(known.reading.periods)
    seen = np.isfinite(value).mean(axis=0)
    moving = np.nanstd(np.where(np.isfinite(value), value, 0.0), axis=0) > 0.0
    return tuple(
        name for name, share, moves in zip(known.weather.names, seen, moving, strict=True)
        if share > 0.9 and moves
    )  # fmt: skip


def _thin_out(rows: Ints, count_max: int) -> Ints:
    """Return the newest rows and every second, fourth, ... of the older ones."""
    if len(rows) <= count_max:
        return rows
    newest = rows[-count_max // 2 :]
    older = rows[: -count_max // 2]
    # An odd stride meets every slot of the day in turn.
    stride = -(-len(older) // (count_max // 2)) | 1
    return np.concatenate([older[::-1][::stride][::-1], newest])
