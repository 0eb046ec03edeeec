"""Wind: the plant's own power curve, with quantiles, from forecast wind speed."""

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
from forecasting.as_of import instant64, starts64
from forecasting.features import day_ahead_gates, weather_as_forecast
from forecasting.model import KnownData
from forecasting.quantiles import interpolate_quantiles, weighted_quantiles

Floats = NDArray[np.float64]

MODEL_ID: Final = "power-curve-wind/1"
HISTORY_DAYS_MIN: Final = 28
LEVELS: Final = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
GRID_M_PER_S: Final = tuple(0.5 * k for k in range(61))
BANDWIDTH_M_PER_S: Final = 0.5
# The kernel widens until it holds this many readings in effect.
READINGS_MIN: Final = 60.0
# Below a turbine's cut-out more wind never means less power.
RISING_TO_M_PER_S: Final = 20.0
# The best known column first; a height nearer the hub says more.
SPEED_COLUMNS: Final = (
    "wind_100m_m_per_s", "windspeed_100m", "wind_m_per_s", "windspeed", "wind_speed_m_per_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerCurve:
    """Quantiles of power over wind speed.

    Parameters
    ----------
    value_mw : ndarray, shape (speeds, levels)
        At `GRID_M_PER_S` and `LEVELS` [MW]; non-decreasing along both up to the cut-out.
    maximum_mw : float
        The most that was read, or the stated capacity where that is more [MW].
    """

    value_mw: Floats
    maximum_mw: float

    def at(self, speed_m_per_s: Floats, levels: Sequence[float]) -> Floats:
        """Return quantiles [MW] at wind speeds, shape (periods, levels)."""
        grid = np.asarray(GRID_M_PER_S)
        found = np.column_stack(
            [np.interp(speed_m_per_s, grid, column) for column in self.value_mw.T]
        )
        return np.clip(interpolate_quantiles(found, LEVELS, levels), 0.0, self.maximum_mw) + 0.0


def fit_power_curve(speed_m_per_s: Floats, power_mw: Floats, capacity_mw: float) -> PowerCurve:
    """Fit a curve: at each speed the weighted quantiles of power at forecast speeds near it.

    Forecast speeds are wrong, so the curve of forecasts is flatter and wider than the maker's:
    that is what the next forecast will meet.

    Parameters
    ----------
    speed_m_per_s, power_mw : ndarray, shape (periods,)
        History; rows with NaN are left out.
    capacity_mw : float
        Installed capacity [MW].
    """
    seen = np.isfinite(speed_m_per_s) & np.isfinite(power_mw)
    speed, power = speed_m_per_s[seen], np.maximum(power_mw[seen], 0.0)
    grid = np.asarray(GRID_M_PER_S)
    rows = np.empty((len(grid), len(LEVELS)))
    for place, at in enumerate(grid):
        width = BANDWIDTH_M_PER_S
        weight = np.exp(-0.5 * ((speed - at) / width) ** 2)
        while weight.sum() < min(READINGS_MIN, 0.5 * len(speed)):
            width *= 1.5
            weight = np.exp(-0.5 * ((speed - at) / width) ** 2)
        rows[place] = weighted_quantiles(power, weight, LEVELS)
    rising = grid <= RISING_TO_M_PER_S
    rows[rising] = np.maximum.accumulate(rows[rising], axis=0)
    return PowerCurve(
        value_mw=np.maximum.accumulate(rows, axis=1),
        maximum_mw=float(max(power.max(), capacity_mw)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WindModel:
    """Fitted curves.

    Parameters
    ----------
    series : tuple of str
        Plants.
    curves : tuple of PowerCurve
        In the order of ``series``.
    speed_column : str
        Weather column that is read.
    notes : tuple of str
        Warnings of the fit.
    """

    series: tuple[str, ...]
    curves: tuple[PowerCurve, ...]
    speed_column: str
    notes: tuple[str, ...]

    @property
    def model_id(self) -> str:
        """Name and version."""
        return MODEL_ID

    def predict(self, known: KnownData, periods: Periods, quantiles: Sequence[float]) -> Forecast:
        """Forecast every plant from forecast wind speed.

        Raises
        ------
        InputError
            If series differ from those fitted or the wind speed is missing.
        """
        problems = []
        if known.reading.series != self.series:
            problems.append(
                Problem(where="readings", what=f"series {known.reading.series}, not {self.series}")
            )
        if known.weather is None or self.speed_column not in known.weather.names:
            problems.append(Problem(where="weather", what=f"no column {self.speed_column}"))
            refuse_if_any(problems)
        refuse_if_any(problems)
        assert known.weather is not None  # refused above
        gates = np.full(len(periods), instant64(known.known_at))
        speed = weather_as_forecast(
            known.weather, starts64(periods), gates, gates[0], (self.speed_column,)
        )[0][:, 0]
        lacking = np.isnan(speed)
        notes = list(self.notes)
        value = np.array([curve.at(np.nan_to_num(speed), quantiles) for curve in self.curves])
        if lacking.any():
            notes.append(
                f"weather: {int(lacking.sum())} periods without wind speed; the distribution of "
                "all readings used"
            )
            for row, column in enumerate(known.reading.value_mw.T):
                whole = np.quantile(np.maximum(column, 0.0), quantiles)
                value[row, lacking] = whole
        return Forecast(
            series=self.series,
            periods=periods,
            quantiles=tuple(quantiles),
            value_mw=value,
            known_at=known.known_at,
            model_id=self.model_id,
            fallbacks=tuple(notes),
        )

    def to_files(self) -> Mapping[str, str]:
        """Return the model as JSON: same model, same text."""
        content = {
            "model_id": MODEL_ID,
            "series": list(self.series),
            "speed_column": self.speed_column,
            "notes": list(self.notes),
            "curves": [
                {"value_mw": curve.value_mw.tolist(), "maximum_mw": curve.maximum_mw}
                for curve in self.curves
            ],
        }
        return {"model.json": json.dumps(content, sort_keys=True) + "\n"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WindForecaster:
    """Makes wind models.

    Parameters
    ----------
    lead : timedelta
        From the gate to the start of the delivery day, for rows of the past.
    """

    lead: timedelta = timedelta(hours=10, minutes=30)

    @property
    def name(self) -> str:
        """Name without version."""
        return MODEL_ID.split("/", maxsplit=1)[0]

    def fit(self, known: KnownData) -> WindModel:
        """Fit the curve of every plant.

        Raises
        ------
        InputError
            If no wind speed is known or there are less than four weeks of readings.
        """
        reading = known.reading
        names = () if known.weather is None else known.weather.names
        column = next((name for name in SPEED_COLUMNS if name in names), "")
        days = len(reading.periods) * reading.periods.mtu / timedelta(days=1)
        problems = []
        if not column:
            problems.append(
                Problem(where="weather", what="no wind speed", remedy=f"one of {SPEED_COLUMNS}")
            )
        if days < HISTORY_DAYS_MIN:
            problems.append(
                Problem(where="readings", what=f"{days:.1f} days, wind needs {HISTORY_DAYS_MIN}")
            )
        refuse_if_any(problems)
        assert known.weather is not None  # refused above
        gates = day_ahead_gates(
            reading.periods, known.known_at, known.known_at + self.lead, known.site.timezone
        )
        speed, observed = weather_as_forecast(
            known.weather, starts64(reading.periods), gates, instant64(known.known_at), (column,)
        )
        power = reading.value_mw.copy()
        if known.suspect is not None:
            power[known.suspect] = np.nan
        note = "weather: past rows read as observed, no forecast of them was kept"
        return WindModel(
            series=reading.series,
            curves=tuple(
                fit_power_curve(speed[:, 0], power[:, k], known.site.capacity_mw or 0.0)
                for k in range(len(reading.series))
            ),
            speed_column=column,
            notes=(note,) if observed else (),
        )

    def from_files(self, files: Mapping[str, str]) -> WindModel:
        """Take a model back from the text of `WindModel.to_files`."""
        content = json.loads(files["model.json"])
        return WindModel(
            series=tuple(content["series"]),
            curves=tuple(
                PowerCurve(value_mw=np.array(c["value_mw"]), maximum_mw=c["maximum_mw"])
                for c in content["curves"]
            ),
            speed_column=content["speed_column"],
            notes=tuple(content["notes"]),
        )
