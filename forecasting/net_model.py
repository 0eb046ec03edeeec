"""Net load by its parts: like days of what weather does not explain, less what it does.

Readings are split (`forecasting.disaggregation`) into what solar and wind plants give at the
weather of each period, by their effective capacity, and the rest. The rest is forecast by like
days; its band holds what the plants' model missed. The plants follow the coming weather.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.periods import Periods
from data.records.forecast import Forecast
from forecasting.disaggregation import (
    Disaggregation,
    Installed,
    Weather,
    disaggregate_net_load,
    moved_by_rows,
    solar_yield,
    wind_yield,
)
from forecasting.model import KnownData, LikeDayModel, Site

Floats = NDArray[np.float64]

MODEL_ID: Final = "net-parts/1"
HISTORY_DAYS_MIN: Final = 14
IRRADIANCE: Final = ("ghi_w_per_m2",)
# Wind at the hub; where there are several columns, the first of these that there is.
WIND: Final = ("wind_100m_m_per_s", "wind_m_per_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantsBelow:
    """The plants below one meter.

    Parameters
    ----------
    solar_mw, wind_mw : float
        Effective capacity [MW].
    wind_scale : float
        Wind at the turbines over that of the weather.
    clock_offset_h : float
        By how much the meter's clock is ahead of the weather's [h].
    sign : int
        -1 where the net load is metered with the other sign.
    notes : tuple of str
        What was assumed and found.
    """

    solar_mw: float
    wind_mw: float
    wind_scale: float
    clock_offset_h: float
    sign: int
    notes: tuple[str, ...]

    @classmethod
    def of(cls, found: Disaggregation) -> PlantsBelow:
        """Take them from a disaggregation."""
        return cls(
            solar_mw=found.effective_solar_mw,
            wind_mw=found.effective_wind_mw,
            wind_scale=found.wind_scale,
            clock_offset_h=found.clock_offset_h,
            sign=found.sign,
            notes=found.notes,
        )

    def generation_mw(self, weather: Weather, periods: Periods, site: Site) -> Floats:
        """Return what they give at the weather, by the meter's clock and sign, shape (periods,)."""
        given = self.wind_mw * wind_yield(weather.wind_m_per_s, self.wind_scale)
        if self.solar_mw > 0.0 and site.latitude is not None and site.longitude is not None:
            given = given + self.solar_mw * solar_yield(
                weather.ghi_w_per_m2, periods, site.latitude, site.longitude
            )
        rows = round(self.clock_offset_h / periods.mtu_h)
        return self.sign * moved_by_rows(given, rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetPartsModel:
    """Plants below each meter; everything else is read when it predicts."""

    series: tuple[str, ...]
    plants: tuple[PlantsBelow, ...]

    @property
    def model_id(self) -> str:
        """Name and version."""
        return MODEL_ID

    def predict(self, known: KnownData, periods: Periods, quantiles: Sequence[float]) -> Forecast:
        """Forecast every series for the periods from what was known.

        Raises
        ------
        InputError
            If the series differ from those fitted, or weather is missing for a period.
        """
        problems = _problems(known)
        if known.reading.series != self.series:
            what = f"series {known.reading.series}, the model was fitted on {self.series}"
            problems.append(Problem(where="readings", what=what, remedy="train it again"))
        refuse_if_any(problems)
        past = known.reading.periods
        # One run of periods, so that a clock's offset takes weather from the other side.
        whole = replace(past, count=(periods.end - past.start) // past.mtu)
        weather = _weather(known, whole)
        first = (periods.start - past.start) // past.mtu
        refuse_if_any(_gaps_ahead(known, periods))
        given = np.array([each.generation_mw(weather, whole, known.site) for each in self.plants])
        rest = replace(known.reading, value_mw=known.reading.value_mw + given[:, : len(past)].T)
        made = LikeDayModel().predict(replace(known, reading=rest), periods, quantiles)
        notes = [note for each in self.plants for note in each.notes]
        return Forecast(
            series=self.series,
            periods=periods,
            quantiles=made.quantiles,
            value_mw=made.value_mw - given[:, first:, None],
            known_at=known.known_at,
            model_id=MODEL_ID,
            warnings=tuple(dict.fromkeys((*made.warnings, *notes))),
            fallbacks=made.fallbacks,
        )

    def to_files(self) -> Mapping[str, str]:
        """Return the model as JSON."""
        content = {
            "model_id": MODEL_ID,
            "series": list(self.series),
            "plants": [
                {
                    "solar_mw": each.solar_mw,
                    "wind_mw": each.wind_mw,
                    "wind_scale": each.wind_scale,
                    "clock_offset_h": each.clock_offset_h,
                    "sign": each.sign,
                    "notes": list(each.notes),
                }
                for each in self.plants
            ],
        }
        return {"model.json": json.dumps(content, sort_keys=True, indent=1) + "\n"}


@dataclass(frozen=True, slots=True)
class NetPartsForecaster:
    """Makes models of net load by its parts."""

    name: str = "net-parts"

    def fit(self, known: KnownData) -> NetPartsModel:
        """Find the plants below each meter.

        Raises
        ------
        InputError
            If readings are shorter than two weeks, or the site or the weather lacks something.
        """
        problems = _problems(known)
        reading, site = known.reading, known.site
        days = len(reading.periods) * reading.periods.mtu / timedelta(days=1)
        if days < HISTORY_DAYS_MIN:
            what = f"{days:.1f} days, parts of a net load need {HISTORY_DAYS_MIN}"
            problems.append(Problem(where="readings", what=what, remedy="serve like days"))
        refuse_if_any(problems)
        weather = _weather(known, reading.periods)
        installed = Installed(solar_mw=site.solar_mw or 0.0, wind_mw=site.wind_mw or 0.0)
        plants = []
        for column in range(len(reading.series)):
            value = reading.value_mw[:, column].copy()
            if known.suspect is not None:
                value[known.suspect[:, column]] = np.nan
            found = disaggregate_net_load(
                value, reading.periods, weather, installed,
                latitude=site.latitude or 0.0, longitude=site.longitude or 0.0,
                timezone=site.timezone,
            )  # fmt: skip
            plants.append(PlantsBelow.of(found))
        return NetPartsModel(series=reading.series, plants=tuple(plants))

    def from_files(self, files: Mapping[str, str]) -> NetPartsModel:
        """Take a model back from the texts of `NetPartsModel.to_files`."""
        content = json.loads(files["model.json"])
        return NetPartsModel(
            series=tuple(content["series"]),
            plants=tuple(
                PlantsBelow(**{**each, "notes": tuple(each["notes"])}) for each in content["plants"]
            ),
        )


def has_parts(known: KnownData) -> bool:
    """Tell whether site and weather say what a forecast by parts needs."""
    return not _problems(known)


def _problems(known: KnownData) -> list[Problem]:
    """Return what is missing to know the plants and their weather."""
    site, problems = known.site, []
    names = () if known.weather is None else known.weather.names
    if not (site.solar_mw or site.wind_mw):
        problems.append(
            Problem(where="site", what="no solar_mw or wind_mw",
                    remedy="state in site.toml (--site) what is installed below the meter")
        )  # fmt: skip
    if site.solar_mw and (site.latitude is None or site.longitude is None):
        problems.append(Problem(where="site", what="no position for solar_mw"))
    for capacity, columns in ((site.solar_mw, IRRADIANCE), (site.wind_mw, WIND)):
        if capacity and not set(columns) & set(names):
            what = f"no column {' or '.join(columns)}"
            problems.append(Problem(where="weather", what=what, remedy="give it with --weather"))
    return problems


def _gaps_ahead(known: KnownData, periods: Periods) -> list[Problem]:
    """Return which weather is not known for every coming period: nothing stands in for it."""
    assert known.weather is not None
    value = known.weather.latest(periods)
    return [
        Problem(where="weather", what=f"{name} is missing in {lacking} of {len(periods)} periods")
        for place, name in enumerate(known.weather.names)
        if name in _columns(known) and (lacking := int((~np.isfinite(value[:, place])).sum()))
    ]


def _columns(known: KnownData) -> tuple[str, ...]:
    """Return the weather columns that are read: one of each kind that there is.

    That of a technology that is not stated is read, too: a register may name the wrong one.
    """
    names = () if known.weather is None else known.weather.names
    found = (next((n for n in columns if n in names), "") for columns in (IRRADIANCE, WIND))
    return tuple(name for name in found if name)


def _weather(known: KnownData, periods: Periods) -> Weather:
    """Return the newest weather known for each period; gaps of the past are interpolated."""
    assert known.weather is not None  # `_problems` has looked
    value = known.weather.latest(periods)
    column = {name: value[:, place] for place, name in enumerate(known.weather.names)}
    chosen = {name in IRRADIANCE: name for name in _columns(known)}
    solar, wind = (
        _filled(column[chosen[sun]], chosen[sun]) if sun in chosen else np.zeros(len(periods))
        for sun in (True, False)
    )
    return Weather(ghi_w_per_m2=solar, wind_m_per_s=wind)


def _filled(series: Floats, name: str) -> Floats:
    """Return weather without gaps, straight lines across them."""
    seen = np.isfinite(series)
    refuse_if_any([] if seen.any() else [Problem(where="weather", what=f"{name} has no value")])
    return np.interp(np.arange(len(series)), np.flatnonzero(seen), series[seen])
