"""GEFCom2014-S: three plants, 99 quantiles, month by month with ECMWF's forecast of each day.

Months August to October 2012 chose the model and teach its calibration; November 2012 to January
2013 are scored. The plants' position is not published: 35.3 S, 149.1 E is an estimate of others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecast_sets import PERCENTILES, ScoredMonth, reference_folder
from forecasting.as_of import Instants
from forecasting.calibration import CalibrationRule, apply_calibration, fit_calibration
from forecasting.model import Site
from forecasting.pv_model import Sky, plant_rows, sky_of_weather
from forecasting.pv_physics import PlaneFit, Sun, fit_plane
from forecasting.pv_trees import PvRows, fit_pv_trees, stack_plants

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
SITE: Final = Site(latitude=-35.3, longitude=149.1, timezone="Australia/Sydney")
PLANTS: Final = (1, 2, 3)
CHOICE_MONTHS: Final = ("2012-08", "2012-09", "2012-10")
SCORED_MONTHS: Final = ("2012-11", "2012-12", "2013-01")
# A simple pvlib + gradient boosting model measured before this one.
SIMPLE: Final = (0.01540, 0.01448, 0.01095)
GHI_FLOOR: Final = 20.0
NAIVE_DAYS: Final = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class SolarSet:
    """Power (share of nominal) and sky of each plant, by hours."""

    valid_at: Instants
    power: Floats
    skies: tuple[Sky, ...]

    def month(self, name: str) -> Bools:
        """Return the hours of a month, as the competition counts them (by their end)."""
        return np.asarray((self.valid_at).astype("datetime64[M]") == np.datetime64(name))

    def before(self, name: str) -> Bools:
        """Return the hours before a month."""
        return np.asarray(self.valid_at < np.datetime64(name, "s"))


def read_solar_set() -> SolarSet:
    """Read plants and weather; hours are labelled by their end, UTC."""
    import pandas as pd

    folder = reference_folder("gefcom2014_solar")
    power = pd.read_parquet(folder / "power.parquet")
    weather = pd.read_parquet(folder / "nwp_201204_201301.parquet").reset_index()
    valid_at = (power.index - pd.Timedelta(hours=1)).to_numpy().astype("datetime64[s]")
    columns: dict[int, dict[str, Floats]] = {}
    for plant in PLANTS:
        rows: Any = weather[weather["ZONEID"] == plant].set_index("TIMESTAMP").reindex(power.index)
        columns[plant] = {
            str(name): rows[name].to_numpy(dtype=float)
            for name in rows.columns
            if str(name).startswith("VAR")
        }
    skies = [sky_of_weather(valid_at, 60, SITE, columns[plant]) for plant in PLANTS]
    clear = np.maximum(skies[0].sun.clear_ghi_w_per_m2, GHI_FLOOR)
    index = np.mean([sky.ghi_w_per_m2 for sky in skies], axis=0) / clear
    cloud = np.mean([columns[plant]["VAR164"] for plant in PLANTS], axis=0)
    # What the neighbours see of the same clouds, and which plant it is.
    skies = [
        replace(
            sky,
            others={**sky.others, "index_all": index, "cloud_all": cloud,
                    "plant": np.full(len(valid_at), float(plant))},
        )
        for plant, sky in zip(PLANTS, skies, strict=True)
    ]  # fmt: skip
    return SolarSet(
        valid_at=valid_at, power=power.to_numpy(dtype=float)[:, : len(PLANTS)], skies=tuple(skies)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Month:
    name: str
    value: Floats
    physics: Floats
    actual: Floats
    naive: Floats
    dark: Bools
    hours: Bools
    seconds: float


def score_solar(progress: Callable[[str], None]) -> list[ScoredMonth]:
    """Forecast the months forward in time and score the last three."""
    series = read_solar_set()
    months: list[_Month] = []
    scored = []
    for name in (*CHOICE_MONTHS, *SCORED_MONTHS):
        now = _forecast(series, name)
        if name in SCORED_MONTHS:
            scored.append(_score(series, now, months))
            progress(f"GEFCom2014-S {name}: {scored[-1].loss(scored[-1].served):.5f}")
        months.append(now)
    return scored


def _cut(sky: Sky, rows: Bools) -> tuple[Sun, Any, Floats, Floats, Floats]:
    sun = Sun(**{name: getattr(sky.sun, name)[rows] for name in Sun.__dataclass_fields__})
    return (
        sun, sky.day_of_year[rows], sky.ghi_w_per_m2[rows], sky.temperature_c[rows],
        sky.wind_m_per_s[rows],
    )  # fmt: skip


def _forecast(series: SolarSet, name: str) -> _Month:
    began = time.perf_counter()
    before, month = series.before(name), series.month(name)
    planes: list[PlaneFit] = []
    rows: list[PvRows] = []
    for place, sky in enumerate(series.skies):
        planes.append(
            fit_plane(*_cut(sky, before), series.power[before, place], latitude=SITE.latitude or 0)
        )
        rows.append(plant_rows(sky, planes[-1]))
    capacity = np.array([plane.capacity_mw for plane in planes])
    trees = fit_pv_trees(
        stack_plants([part.only(before) for part in rows]),
        (series.power[before] / capacity).T.ravel(),
    )
    ahead = stack_plants([part.only(month) for part in rows])
    scale = np.repeat(capacity, int(month.sum()))[:, None]
    value = np.minimum(trees.predict(ahead, PERCENTILES) * scale, 1.0)
    return _Month(
        name=name,
        value=value,
        physics=ahead.physics * scale[:, 0],
        actual=series.power[month].T.ravel(),
        naive=_naive(series, month),
        dark=ahead.dark,
        hours=month,
        seconds=time.perf_counter() - began,
    )


def _naive(series: SolarSet, month: Bools) -> Floats:
    """Return the quantiles of the last four weeks before the month, by hour."""
    first = int(np.argmax(month))
    recent = series.power[first - NAIVE_DAYS * 24 : first].reshape(NAIVE_DAYS, 24, -1)
    by_hour = np.quantile(recent, PERCENTILES, axis=0)  # (levels, 24, plants)
    days = int(month.sum()) // 24
    return np.concatenate([np.tile(by_hour[:, :, p].T, (days, 1)) for p in range(len(PLANTS))])


def _score(series: SolarSet, now: _Month, past: Sequence[_Month]) -> ScoredMonth:
    lit = [~month.dark for month in past]
    value = np.concatenate([month.value[rows] for month, rows in zip(past, lit, strict=True)])
    actual = np.concatenate([month.actual[rows] for month, rows in zip(past, lit, strict=True)])
    learnt = fit_calibration(
        value[:, None, :], actual[:, None], np.zeros(1, dtype=np.int64), PERCENTILES,
        rule=CalibrationRule(window_days=len(value)),
    )  # fmt: skip
    group = np.where(now.dark, -1, 0)
    served = np.minimum(apply_calibration(now.value, group, learnt, 0.0), 1.0)
    valid = np.tile(series.valid_at[now.hours], len(PLANTS))
    return ScoredMonth(
        month=now.name,
        levels=PERCENTILES,
        actual=now.actual,
        raw=now.value,
        served=served,
        others={
            "naive": now.naive,
            "physics": np.repeat(now.physics[:, None], len(PERCENTILES), axis=1),
        },
        day=valid.astype("datetime64[D]").astype(np.float64),
        lead_h=(valid.astype("datetime64[h]").astype(np.int64) % 24).astype(np.float64),
        seconds=now.seconds,
    )
