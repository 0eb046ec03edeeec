"""What a forecasting model is: it fits on what was known, and predicts from what was known.

A model never sees a file, a clock or a table with later rows: it gets `KnownData`, which cannot be
made with anything from after its gate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.periods import Periods, format_utc
from data.records.forecast import Forecast, Reading
from forecasting.as_of import VersionedTable, instant64
from forecasting.day_ahead import forecast_day_ahead
from forecasting.like_day import forecast_loads
from forecasting.readings import local_slots

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
ForecastKind = Literal["load", "pv", "wind", "net"]
FORECAST_KINDS: Final[tuple[ForecastKind, ...]] = ("load", "pv", "wind", "net")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where the series are: everything a model needs beside readings and weather.

    Parameters
    ----------
    latitude, longitude : float or None
        Position [deg], north and east positive.
    capacity_mw : float or None
        Installed capacity [MW] of the generation that is forecast.
    tilt_deg, azimuth_deg : float or None
        Of the modules: 0 is flat; 180 faces south.
    solar_mw, wind_mw : float or None
        Installed below the meters of a net load [MW].
    timezone : str
        IANA zone whose wall clock people follow.
    """

    latitude: float | None = None
    longitude: float | None = None
    capacity_mw: float | None = None
    tilt_deg: float | None = None
    azimuth_deg: float | None = None
    solar_mw: float | None = None
    wind_mw: float | None = None
    timezone: str = "Europe/Berlin"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownData:
    """Everything a model may use at a gate; nothing later can be put in.

    Parameters
    ----------
    kind : {"load", "pv", "wind", "net"}
        What the series are; net is withdrawal minus feed-in and may be negative.
    reading : Reading
        Readings, all finite: what was missing or faulty is repaired and marked in ``suspect``.
    known_at : datetime
        The gate.
    site : Site
        Where and how much.
    weather : VersionedTable or None
        Weather in all versions known at the gate, past and coming periods.
    suspect : ndarray of bool, shape (periods read, series), or None
        Repaired readings: use them as lags, leave them out of what is fitted or scored.

    Raises
    ------
    InputError
        If anything in it became known after ``known_at``, or a reading is not finite.
    """

    kind: ForecastKind
    reading: Reading
    known_at: datetime
    site: Site = field(default_factory=Site)
    weather: VersionedTable | None = None
    suspect: Bools | None = None

    def __post_init__(self) -> None:
        problems = []
        latest = max(self.reading.known_at, self.reading.periods.end)
        if latest > self.known_at:
            problems.append(
                Problem(
                    where="readings",
                    what=f"known at {format_utc(latest)}, after the gate "
                    f"{format_utc(self.known_at)}",
                    remedy="cut the readings at the gate",
                )
            )
        if self.weather is not None and len(self.weather.known_at):
            newest = self.weather.known_at.max()
            if newest > instant64(self.known_at):
                problems.append(
                    Problem(
                        where="weather",
                        what=f"known at {newest}Z, after the gate {format_utc(self.known_at)}",
                        remedy="cut the weather with known_before(gate)",
                    )
                )
        if not np.isfinite(self.reading.value_mw).all():
            problems.append(
                Problem(where="readings", what="a value is not a number",
                        remedy="repair the readings first (forecasting.quality)")
            )  # fmt: skip
        if self.suspect is not None and self.suspect.shape != self.reading.value_mw.shape:
            problems.append(Problem(where="suspect", what=f"shape {self.suspect.shape}"))
        refuse_if_any(problems)


class FittedForecaster(Protocol):
    """A model with its parameters."""

    @property
    def model_id(self) -> str:
        """Name and version, e.g. ``boosted-load/1``."""
        ...

    def predict(self, known: KnownData, periods: Periods, quantiles: Sequence[float]) -> Forecast:
        """Forecast ``periods`` from what was known; MUST be deterministic.

        ``known`` may be newer than what the model was fitted on, and has the same series. The
        forecast's `known_at` is that of ``known``; every fallback is named in it.
        """
        ...

    def to_files(self) -> Mapping[str, str]:
        """Return the model as named texts (JSON, LightGBM model text): same model, same texts."""
        ...


class Forecaster(Protocol):
    """A way to make models."""

    @property
    def name(self) -> str:
        """Name without version, e.g. ``boosted-load``."""
        ...

    def fit(self, known: KnownData) -> FittedForecaster:
        """Fit on what was known; MUST be deterministic."""
        ...

    def from_files(self, files: Mapping[str, str]) -> FittedForecaster:
        """Take a model back from the texts of `FittedForecaster.to_files`."""
        ...


@dataclass(frozen=True, slots=True)
class LikeDayModel:
    """The model every other has to beat: like days, clear-sky index, analogues; no parameters."""

    model_id: str = "like-day/1"

    def predict(self, known: KnownData, periods: Periods, quantiles: Sequence[float]) -> Forecast:
        """Forecast by `forecasting.day_ahead`; net load by like days, without a floor at zero."""
        if known.kind == "net":
            return self._predict_net(known, periods, quantiles)
        site, series = known.site, known.reading.series
        if known.kind != "load":
            _refuse_missing_site(site, position=known.kind == "pv")
        capacity = {} if site.capacity_mw is None else dict.fromkeys(series, site.capacity_mw)
        forecast = forecast_day_ahead(
            reading=known.reading,
            kinds=dict.fromkeys(series, known.kind),
            capacity_mw={} if known.kind == "load" else capacity,
            periods=periods,
            known_at=known.known_at,
            latitude=site.latitude or 0.0,
            longitude=site.longitude or 0.0,
            timezone=site.timezone,
            quantiles=quantiles,
        )
        return Forecast(
            series=forecast.series,
            periods=periods,
            quantiles=forecast.quantiles,
            value_mw=forecast.value_mw,
            known_at=known.known_at,
            model_id=self.model_id,
            warnings=forecast.warnings,
            fallbacks=forecast.fallbacks,
        )

    def _predict_net(
        self, known: KnownData, periods: Periods, quantiles: Sequence[float]
    ) -> Forecast:
        value = known.reading.value_mw
        # Like days are scaled by the ratio of weekly means, which means nothing about zero.
        lift = 2.0 * np.ptp(value, axis=0) - value.min(axis=0)
        zone = known.site.timezone
        found = forecast_loads(
            value + lift, local_slots(known.reading.periods, zone), local_slots(periods, zone),
            quantiles,
        )  # fmt: skip
        return Forecast(
            series=known.reading.series,
            periods=periods,
            quantiles=tuple(quantiles),
            value_mw=found.value_mw - lift[:, None, None],
            known_at=known.known_at,
            model_id=self.model_id,
            fallbacks=found.fallbacks,
        )

    def to_files(self) -> Mapping[str, str]:
        """Return nothing but the version: like days have no fitted parameters."""
        return {"model.json": '{"model_id": "like-day/1"}\n'}


@dataclass(frozen=True, slots=True)
class LikeDayForecaster:
    """Makes the like-day model."""

    name: str = "like-day"

    def fit(self, known: KnownData) -> LikeDayModel:  # noqa: ARG002 - it has no parameters
        """Return the model: its samples are read when it predicts."""
        return LikeDayModel()

    def from_files(self, files: Mapping[str, str]) -> LikeDayModel:  # noqa: ARG002 - as above
        """Return the model."""
        return LikeDayModel()


def _refuse_missing_site(site: Site, *, position: bool) -> None:
    problems = []
    if site.capacity_mw is None:
        problems.append(
            Problem(where="site", what="no capacity_mw", remedy="state it in site.toml (--site)")
        )
    if position and (site.latitude is None or site.longitude is None):
        problems.append(
            Problem(where="site", what="no position",
                    remedy="state latitude and longitude in site.toml (--site)")
        )  # fmt: skip
    refuse_if_any(problems)
