"""The recorded year of a real feeder, and forecasts of it at a gate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time

import numpy as np
from numpy.typing import NDArray

from data.periods import DeliveryDay, Periods
from data.readers.simbench import load_simbench
from data.records.forecast import Forecast, Reading
from forecasting.day_ahead import forecast_day_ahead
from forecasting.readings import Feeder, feeder_of_network

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFeeder:
    series: tuple[str, ...]
    value_mw: Floats  # (periods of 2016, series)
    recorded: Periods
    feeder: Feeder

    def readings_until(self, gate: datetime, value_mw: Floats | None = None) -> Reading:
        count = int((gate - self.recorded.start) / self.recorded.mtu)
        values = self.value_mw if value_mw is None else value_mw
        return Reading(
            series=self.series,
            periods=Periods(start=self.recorded.start, count=count),
            value_mw=values[:count],
            known_at=gate,
        )

    def actual_mw(self, periods: Periods) -> Floats:
        first = int((periods.start - self.recorded.start) / self.recorded.mtu)
        return self.value_mw[first : first + len(periods)].T

    def rows(self, kind: str) -> NDArray[np.int64]:
        return np.array([r for r, s in enumerate(self.series) if self.feeder.kinds[s] == kind])

    def forecast(self, day: date, reading: Reading | None = None) -> Forecast:
        delivery = DeliveryDay(day=day)
        gate = delivery.instant(time(13, 30), days_before=1)
        return forecast_day_ahead(
            reading=reading or self.readings_until(gate),
            kinds=self.feeder.kinds,
            capacity_mw=self.feeder.capacity_mw,
            periods=delivery.periods,
            known_at=gate,
            latitude=self.feeder.latitude,
            longitude=self.feeder.longitude,
        )

    def week_lag(self, forecast: Forecast) -> Forecast:
        week = 7 * 96
        first = int((forecast.periods.start - self.recorded.start) / self.recorded.mtu) - week
        value = self.value_mw[first : first + len(forecast.periods)].T[:, :, None]
        return Forecast(
            series=forecast.series,
            periods=forecast.periods,
            quantiles=forecast.quantiles,
            value_mw=np.repeat(value, len(forecast.quantiles), axis=2),
            known_at=forecast.known_at,
            model_id="week-lag",
        )


def load_recorded_feeder() -> RecordedFeeder:
    grid = load_simbench("1-MV-rural--2-sw")
    network = grid.network
    series = [f"load:{i}" for i in network.loads.index]
    series += [f"sgen:{i}" for i in network.sgens.index]
    return RecordedFeeder(
        series=tuple(series),
        value_mw=np.hstack([grid.profiles.load_p_mw, grid.profiles.sgen_p_mw]),
        recorded=grid.profiles.periods,
        feeder=feeder_of_network(network),
    )
