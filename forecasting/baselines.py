"""Named baselines of a backtest beside like-day: what a week ago was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.periods import Periods
from data.records.forecast import Forecast
from forecasting.model import KnownData

Floats = NDArray[np.float64]

SPREAD_WEEKS: Final = 8


@dataclass(frozen=True, slots=True)
class WeekLagModel:
    """The reading a week (or as many whole weeks as needed) before, with last weeks' changes.

    The quantiles are those of the change from week to week in the last eight weeks, by hour.
    """

    model_id: str = "week-lag/1"

    def predict(self, known: KnownData, periods: Periods, quantiles: Sequence[float]) -> Forecast:
        """Forecast every series.

        Raises
        ------
        InputError
            If fewer than three weeks were read.
        """
        reading = known.reading
        week = round(7 * 24 / reading.periods.mtu_h)
        count = len(reading.periods)
        refuse_if_any(
            [Problem(where="readings", what="shorter than three weeks")] * (count < 3 * week)
        )
        first = round((periods.start - reading.periods.start) / periods.mtu)
        rows = first + np.arange(len(periods))
        weeks = np.maximum(1, -(-(rows - count + 1) // week))
        base = reading.value_mw[rows - weeks * week]
        used = reading.value_mw[-min(count, (SPREAD_WEEKS + 1) * week) :]
        change = used[week:] - used[:-week]
        per_day = week // 7
        slot = (count - len(change) + np.arange(len(change))) % per_day
        value = np.empty((len(reading.series), len(periods), len(quantiles)))
        for place in range(per_day):
            ahead = np.flatnonzero(rows % per_day == place)
            if len(ahead):
                spread = np.quantile(change[slot == place], quantiles, axis=0).T
                value[:, ahead, :] = base[ahead].T[:, :, None] + spread[:, None, :]
        if known.kind != "net":
            value = np.maximum(value, 0.0)
        return Forecast(
            series=reading.series,
            periods=periods,
            quantiles=tuple(quantiles),
            value_mw=value,
            known_at=known.known_at,
            model_id=self.model_id,
        )

    def to_files(self) -> Mapping[str, str]:
        """Return nothing but the version: there are no fitted parameters."""
        return {"model.json": '{"model_id": "week-lag/1"}\n'}


@dataclass(frozen=True, slots=True)
class WeekLagForecaster:
    """Makes the week-lag model."""

    name: str = "week-lag"

    def fit(self, known: KnownData) -> WeekLagModel:  # noqa: ARG002 - it has no parameters
        """Return the model."""
        return WeekLagModel()

    def from_files(self, files: Mapping[str, str]) -> WeekLagModel:  # noqa: ARG002 - as above
        """Return the model."""
        return WeekLagModel()
