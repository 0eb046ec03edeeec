"""PV with a weather forecast: physics first, fitted to the plant, then what trees learn beyond."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.periods import Periods
from data.records.forecast import Forecast
from forecasting.as_of import Instants, instant64, starts64
from forecasting.boosting import BoostedQuantiles, BoostingRule
from forecasting.features import day_ahead_gates, weather_as_forecast
from forecasting.model import KnownData, Site
from forecasting.pv_physics import (
    PlaneFit,
    Sun,
    deaccumulate,
    find_capacity_steps,
    fit_plane,
    plane_yield,
    sun_over,
)
from forecasting.pv_trees import (
    LEVELS,
    RULE,
    SEEDS,
    PvRows,
    PvTrees,
    fit_pv_trees,
    make_pv_rows,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

MODEL_ID: Final = "physical-pv/1"
HISTORY_DAYS_MIN: Final = 28
# Leads and lags of a period need its neighbours.
MARGIN: Final = timedelta(hours=12)
TEMPERATURE_C: Final = 15.0
WIND_M_PER_S: Final = 1.0
ZERO_CELSIUS_K: Final = 273.15
# They tell the season, or enter by physics: trees would learn the date from them.
NOT_FOR_TREES: Final = frozenset({"ghi_w_per_m2", "temperature_c", "VAR134", "VAR167", "VAR178"})
# ECMWF accumulates these [J/m2 or m] from the start of each day.
ACCUMULATED: Final = frozenset({"VAR169", "VAR175", "VAR178", "VAR228"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PvPlant:
    """One fitted plant."""

    plane: PlaneFit
    trees: PvTrees
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PvModel:
    """Fitted plants of one site.

    Parameters
    ----------
    series : tuple of str
        Plants.
    plants : tuple of PvPlant
        In the order of ``series``.
    weather_columns : tuple of str
        Weather it needs.
    notes : tuple of str
        Warnings of the fit.
    """

    series: tuple[str, ...]
    plants: tuple[PvPlant, ...]
    weather_columns: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def model_id(self) -> str:
        """Name and version."""
        return MODEL_ID

    def predict(self, known: KnownData, periods: Periods, quantiles: Sequence[float]) -> Forecast:
        """Forecast every plant; zero while the sun is down, never over the inverter's limit.

        Raises
        ------
        InputError
            If series or weather columns differ from those fitted, or the position is missing.
        """
        problems = _site_problems(known.site)
        if known.reading.series != self.series:
            problems.append(
                Problem(where="readings", what=f"series {known.reading.series}, not {self.series}")
            )
        names = () if known.weather is None else known.weather.names
        problems += [
            Problem(where="weather", what=f"no column {name}, which the model was fitted with")
            for name in self.weather_columns
            if name not in names
        ]
        refuse_if_any(problems)
        wide = Periods(
            start=periods.start - MARGIN, count=len(periods) + round(2 * MARGIN / periods.mtu),
            mtu_minutes=periods.mtu_minutes,
        )  # fmt: skip
        first = round(MARGIN / periods.mtu)
        kept = slice(first, first + len(periods))
        sky = _read_sky(known, wide, np.full(len(wide), instant64(known.known_at)))
        notes = list(self.notes) + [step for plant in self.plants for step in plant.steps]
        missing = int(np.isnan(sky.ghi_w_per_m2[kept]).sum())
        if missing:
            notes.append(f"weather: {missing} periods without irradiance; half a clear sky used")
        value = []
        for plant in self.plants:
            rows = plant_rows(sky, plant.plane)
            chosen = np.zeros(len(wide), dtype=np.bool_)
            chosen[kept] = True
            found = plant.trees.predict(rows.only(chosen), quantiles)
            limit = plant.plane.limit_mw
            value.append(np.minimum(found * plant.plane.capacity_mw, limit))
        return Forecast(
            series=self.series,
            periods=periods,
            quantiles=tuple(quantiles),
            value_mw=np.array(value) + 0.0,
            known_at=known.known_at,
            model_id=self.model_id,
            fallbacks=tuple(dict.fromkeys(notes)),
        )

    def to_files(self) -> Mapping[str, str]:
        """Return the model as JSON and LightGBM texts."""
        texts: dict[str, str] = {}
        plants: list[dict[str, Any]] = []
        for number, plant in enumerate(self.plants):
            parts = {"residual": plant.trees.residual, "ratio": plant.trees.ratio}
            for part, sets in parts.items():
                for draw, trees in enumerate(sets):
                    for level, text in zip(trees.levels, trees.texts, strict=True):
                        texts[_file_name(number, part, draw, level)] = text
            plants.append(
                {
                    "plane": asdict(plant.plane),
                    "features": list(plant.trees.residual[0].names),
                    "draws": len(plant.trees.residual),
                    "steps": list(plant.steps),
                }
            )
        content = {
            "model_id": MODEL_ID, "series": list(self.series), "plants": plants,
            "weather_columns": list(self.weather_columns), "notes": list(self.notes),
            "levels": list(LEVELS),
        }  # fmt: skip
        return {"model.json": json.dumps(content, sort_keys=True, indent=1) + "\n", **texts}


def _file_name(number: int, part: str, draw: int, level: float) -> str:
    return f"plant_{number}_{part}_{draw}_q{round(level * 1000):03d}.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class PvForecaster:
    """Makes PV models.

    Parameters
    ----------
    lead : timedelta
        From the gate to the start of the delivery day, for rows of the past.
    rule : BoostingRule
        How trees are grown.
    seeds : tuple of int
        One set of trees each, averaged.
    """

    lead: timedelta = timedelta(hours=10, minutes=30)
    rule: BoostingRule = RULE
    seeds: tuple[int, ...] = SEEDS

    @property
    def name(self) -> str:
        """Name without version."""
        return MODEL_ID.split("/", maxsplit=1)[0]

    def fit(self, known: KnownData) -> PvModel:
        """Fit every plant: capacity steps, plane, trees.

        Raises
        ------
        InputError
            If there is no irradiance, no position, or less than four weeks of readings.
        """
        reading = known.reading
        problems = _site_problems(known.site)
        if known.weather is None or not {"ghi_w_per_m2", "VAR169"} & set(known.weather.names):
            problems.append(
                Problem(where="weather", what="no irradiance",
                        remedy="give a column ghi_w_per_m2 (or VAR169), or serve like days")
            )  # fmt: skip
        days = len(reading.periods) * reading.periods.mtu / timedelta(days=1)
        if days < HISTORY_DAYS_MIN:
            problems.append(
                Problem(where="readings", what=f"{days:.1f} days, PV needs {HISTORY_DAYS_MIN}")
            )
        refuse_if_any(problems)
        gates = day_ahead_gates(
            reading.periods, known.known_at, known.known_at + self.lead, known.site.timezone
        )
        sky = _read_sky(known, reading.periods, gates)
        power = reading.value_mw.copy()
        if known.suspect is not None:
            power[known.suspect] = np.nan
        seen = np.isfinite(sky.ghi_w_per_m2)
        plants = [
            self._fit_plant(sky, np.where(seen, power[:, column], np.nan), known.site, name)
            for column, name in enumerate(reading.series)
        ]
        assert known.weather is not None  # refused above
        return PvModel(
            series=reading.series,
            plants=tuple(plants),
            weather_columns=known.weather.names,
            notes=sky.notes,
        )

    def _fit_plant(self, sky: Sky, power_mw: Floats, site: Site, name: str) -> PvPlant:
        first = _fit_plane_to(sky, power_mw, site)
        expected = first.capacity_mw * plane_yield(
            sky.sun, sky.day_of_year, np.nan_to_num(sky.ghi_w_per_m2), sky.temperature_c,
            sky.wind_m_per_s, first.tilt_deg, first.azimuth_deg,
        )  # fmt: skip
        scaled, notes = _to_newest_capacity(sky, power_mw, expected, name)
        plane = _fit_plane_to(sky, scaled, site) if notes else first
        rows = plant_rows(sky, plane)
        return PvPlant(
            plane=plane,
            trees=fit_pv_trees(rows, scaled / plane.capacity_mw, self.rule, self.seeds),
            steps=tuple(notes),
        )

    def from_files(self, files: Mapping[str, str]) -> PvModel:
        """Take a model back from the texts of `PvModel.to_files`."""
        content = json.loads(files["model.json"])
        levels = tuple(content["levels"])
        plants = []
        for number, plant in enumerate(content["plants"]):

            def trees(part: str, number: int = number, plant: Any = plant) -> Any:  # noqa: ANN401 - JSON
                return tuple(
                    BoostedQuantiles(
                        names=tuple(plant["features"]), levels=levels,
                        texts=tuple(files[_file_name(number, part, d, q)] for q in levels),
                    )
                    for d in range(plant["draws"])
                )  # fmt: skip

            plants.append(
                PvPlant(
                    plane=PlaneFit(**plant["plane"]),
                    trees=PvTrees(residual=trees("residual"), ratio=trees("ratio")),
                    steps=tuple(plant["steps"]),
                )
            )
        return PvModel(
            series=tuple(content["series"]),
            plants=tuple(plants),
            weather_columns=tuple(content["weather_columns"]),
            notes=tuple(content["notes"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sky:
    """Sun and weather over consecutive periods, shape (periods,) each."""

    sun: Sun
    day_of_year: Ints
    day: Ints
    ghi_w_per_m2: Floats
    temperature_c: Floats
    wind_m_per_s: Floats
    others: Mapping[str, Floats]
    mtu_minutes: int
    notes: tuple[str, ...]


def plant_rows(sky: Sky, plane: PlaneFit) -> PvRows:
    """Return a plant's rows, power as a share of its fitted capacity."""

    def share(ghi_w_per_m2: Floats) -> Floats:
        found = plane_yield(
            sky.sun, sky.day_of_year, ghi_w_per_m2, sky.temperature_c, sky.wind_m_per_s,
            plane.tilt_deg, plane.azimuth_deg,
        )  # fmt: skip
        return np.asarray(plane.power_mw(found) / plane.capacity_mw)

    clear = sky.sun.clear_ghi_w_per_m2
    ghi = np.where(np.isnan(sky.ghi_w_per_m2), 0.5 * clear, sky.ghi_w_per_m2)
    return make_pv_rows(
        sky.sun, ghi, share(ghi), share(clear), sky.others, max(1, 60 // sky.mtu_minutes)
    )


def sky_of_weather(
    valid_at: Instants,
    mtu_minutes: int,
    site: Site,
    weather: Mapping[str, Floats],
    notes: tuple[str, ...] = (),
) -> Sky:
    """Return the sky over a site from named weather columns of consecutive periods.

    Known names are ``ghi_w_per_m2``, ``temperature_c``, ``wind_m_per_s`` and ECMWF's VAR numbers
    (accumulated ones are turned into means); other columns go to the trees as they are.
    """
    hour = (valid_at.astype("datetime64[h]").astype(np.int64)) % 24
    columns = {
        name: deaccumulate(value, hour, 1.0 if name == "VAR228" else mtu_minutes * 60.0)
        if name in ACCUMULATED
        else value
        for name, value in weather.items()
    }
    nothing = np.full(len(valid_at), np.nan)
    ghi = columns.get("ghi_w_per_m2", columns.get("VAR169", nothing))
    kelvin = columns.get("VAR167")
    temperature = columns.get(
        "temperature_c", nothing if kelvin is None else kelvin - ZERO_CELSIUS_K
    )
    wind = columns.get("wind_m_per_s", np.hypot(
        columns.get("VAR165", nothing), columns.get("VAR166", nothing)))  # fmt: skip
    days = valid_at.astype("datetime64[D]")
    return Sky(
        sun=sun_over(valid_at, mtu_minutes, site.latitude or 0.0, site.longitude or 0.0),
        day_of_year=(days - days.astype("datetime64[Y]")).astype(np.int64) + 1,
        day=days.astype(np.int64),
        ghi_w_per_m2=ghi,
        temperature_c=np.where(np.isnan(temperature), TEMPERATURE_C, temperature),
        wind_m_per_s=np.where(np.isnan(wind), WIND_M_PER_S, wind),
        others={
            name: value
            for name, value in columns.items()
            if name not in NOT_FOR_TREES and name != "VAR169"
        },
        mtu_minutes=mtu_minutes,
        notes=notes,
    )


def _read_sky(known: KnownData, periods: Periods, gates: Instants) -> Sky:
    weather = known.weather
    assert weather is not None  # refused by the callers
    valid_at = starts64(periods)
    value, observed = weather_as_forecast(
        weather, valid_at, gates, instant64(known.known_at), weather.names
    )
    note = "weather: past rows read as observed, no forecast of them was kept"
    columns = {name: value[:, place] for place, name in enumerate(weather.names)}
    return sky_of_weather(
        valid_at, periods.mtu_minutes, known.site, columns, (note,) if observed else ()
    )


def _fit_plane_to(sky: Sky, power_mw: Floats, site: Site) -> PlaneFit:
    return fit_plane(
        sky.sun, sky.day_of_year, sky.ghi_w_per_m2, sky.temperature_c, sky.wind_m_per_s, power_mw,
        latitude=site.latitude or 0.0,
    )  # fmt: skip


def _to_newest_capacity(
    sky: Sky, power_mw: Floats, expected_mw: Floats, name: str
) -> tuple[Floats, list[str]]:
    """Scale the power before each step of capacity to the capacity after it."""
    days, place = np.unique(sky.day, return_inverse=True)
    usable = np.isfinite(power_mw)
    total = np.bincount(place, np.where(usable, power_mw, 0.0)).astype(np.float64)
    could = np.bincount(place, np.where(usable, expected_mw, 0.0)).astype(np.float64)
    scaled, notes = power_mw.copy(), []
    for day, factor in find_capacity_steps(total[:, None], could[:, None]):
        scaled[place < day] *= factor
        when = datetime.fromtimestamp(int(days[day]) * 86_400, tz=UTC).date()
        notes.append(f"pv: capacity of {name} changed by a factor {factor:.2f} about {when}")
    return scaled, notes


def _site_problems(site: Site) -> list[Problem]:
    if site.latitude is not None and site.longitude is not None:
        return []
    return [
        Problem(where="site", what="no position",
                remedy="state latitude and longitude in site.toml (--site)")
    ]  # fmt: skip
