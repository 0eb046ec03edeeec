"""Photovoltaics and wind by the weather, everything else by like days; and what if it is missing.

The ladder of a plant: the model on the newest issue; the last good model, on the last issue that
still reaches over the day; like days; the standard profile. Every step below the first bears the
name ``missing_weather`` in the result, and its bands are wider.

Plants are forecast per unit of their capacity, and plants of the same course at once: a feeder with
a hundred roofs has a handful of courses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem
from data.periods import Periods
from data.records.forecast import Forecast, Reading
from dso.cycles.plan import DayPlan
from dso.cycles.weather import NAME, WeatherAtGate, WeatherFeed, read_weather, weather_at_gate
from forecasting.boosting import BoostingRule
from forecasting.fallback import WIDEN_DAYS, forecast_with_ladder, widen
from forecasting.model import FittedForecaster, Forecaster, KnownData, Site
from forecasting.quality import CheckedReading

Floats = NDArray[np.float64]
Kind = Literal["pv", "wind"]
KINDS: Final[tuple[Kind, ...]] = ("pv", "wind")
MODEL_OF: Final[dict[Kind, str]] = {"pv": "physical-pv/1", "wind": "power-curve-wind/1"}
# Fitted at every gate and for every course of a feeder: fewer trees than for a plant alone.
RULE: Final = BoostingRule(
    trees=60, learning_rate=0.1, leaves=12, rows_per_leaf_min=40, feature_share=0.5, row_share=0.7
)
SEEDS: Final = (6,)
# Per-unit values equal to this many digits make two plants one course.
DIGITS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class NoModel:
    """Stands where a model could not be fitted: it refuses with the reason."""

    model_id: str
    why: Problem

    def predict(
        self,
        known: KnownData,  # noqa: ARG002 - nothing helps it
        periods: Periods,  # noqa: ARG002 - as above
        quantiles: Sequence[float],  # noqa: ARG002 - as above
    ) -> Forecast:
        """Refuse.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError([self.why])

    def to_files(self) -> dict[str, str]:
        """Return nothing."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What serves at one gate after the other: the feed, and models fitted at an earlier one."""

    feed: WeatherFeed
    fitted: dict[tuple[Kind, tuple[str, ...]], FittedForecaster]

    @classmethod
    def of(cls, plan: DayPlan) -> Serving:
        """Read the feed of a plan's feeder."""
        feed = read_weather(plan.feeder.weather_files, plan.periods.mtu_minutes)
        return cls(feed=feed, fitted={})

    def weather(self, plan: DayPlan, gate: datetime, periods: Periods) -> WeatherAtGate:
        """Return what is known of the weather at a gate."""
        age_max = timedelta(hours=plan.feeder.weather_age_h_max)
        return weather_at_gate(self.feed, gate, periods, age_max=age_max)


def forecast_by_weather(
    plan: DayPlan,
    reading: Reading,
    basic: Forecast,
    serving: Serving,
) -> Forecast:
    """Replace the plants of a forecast by what the weather says of them.

    Parameters
    ----------
    plan : DayPlan
        Where the feeder is, and what its plants could give.
    reading : Reading
        Readings known at the gate.
    basic : Forecast
        All series without weather.
    serving : Serving
        Feed and models; what has to be fitted is kept there.
    """
    weather = serving.weather(plan, basic.known_at, basic.periods)
    value = basic.value_mw.copy()
    notes, warnings, models = list(basic.fallbacks), list(weather.warnings), [basic.model_id]
    for kind in KINDS:
        rows = [
            r for r, name in enumerate(basic.series) if plan.recorded.expected.kinds[name] == kind
        ]
        if not rows:
            continue
        courses = _courses(plan, reading, rows)
        made = _forecast_courses(plan, kind, courses, basic, weather, serving)
        value[rows] = made.value_mw[courses.course_of] * courses.capacity_mw[:, None, None]
        notes += made.fallbacks
        warnings += made.warnings
        models.append(made.model_id)
    return replace(
        basic,
        value_mw=value,
        model_id=" and ".join(dict.fromkeys(models)),
        warnings=tuple(dict.fromkeys((*basic.warnings, *warnings))),
        fallbacks=tuple(dict.fromkeys(notes)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Courses:
    """Plants of one kind, per unit: each different course once.

    ``course_of`` (plants,) says which course a plant follows; ``reading`` holds the courses.
    """

    reading: Reading
    capacity_mw: Floats
    course_of: NDArray[np.int64]


def _courses(plan: DayPlan, reading: Reading, rows: list[int]) -> _Courses:
    names = [reading.series[row] for row in rows]
    known = plan.recorded.expected.capacity_mw
    most = reading.value_mw[:, rows].max(axis=0)
    capacity = np.array([known.get(name, 0.0) for name in names])
    capacity = np.where(capacity > 0.0, capacity, np.where(most > 0.0, most, 1.0))
    per_unit = reading.value_mw[:, rows] / capacity
    seen: dict[bytes, int] = {}
    course_of = np.array(
        [
            seen.setdefault(np.round(column, DIGITS).tobytes(), len(seen))
            for column in np.ascontiguousarray(per_unit.T) + 0.0
        ],
        dtype=np.int64,
    )
    firsts = [int(np.flatnonzero(course_of == course)[0]) for course in range(len(seen))]
    return _Courses(
        reading=Reading(
            series=tuple(names[first] for first in firsts),
            periods=reading.periods,
            value_mw=np.ascontiguousarray(per_unit[:, firsts]),
            known_at=reading.known_at,
        ),
        capacity_mw=capacity,
        course_of=course_of,
    )


def _forecast_courses(
    plan: DayPlan,
    kind: Kind,
    courses: _Courses,
    basic: Forecast,
    weather: WeatherAtGate,
    serving: Serving,
) -> Forecast:
    """Go down the ladder with all courses of a kind; per unit, values in [0, 1]."""
    reading, expected = courses.reading, plan.recorded.expected
    site = Site(
        latitude=expected.latitude, longitude=expected.longitude, capacity_mw=1.0,
        timezone=expected.timezone,
    )  # fmt: skip
    known = KnownData(
        kind=kind, reading=reading, known_at=basic.known_at, site=site, weather=weather.table
    )
    nothing = np.zeros(reading.value_mw.shape, dtype=np.bool_)
    checked = CheckedReading(reading=reading, suspect=nothing, faults=())
    key = (kind, reading.series)
    model = serving.fitted.get(key) if weather.table is not None else None
    if model is None:
        model = _fit(kind, known, weather)
    if not isinstance(model, NoModel):
        serving.fitted[key] = model
    made = forecast_with_ladder(model, known, checked, basic.periods, basic.quantiles)
    value, said = made.value_mw, made.fallbacks
    if isinstance(model, NoModel) and model.why.where == "weather":
        words = f"{made.model_id} serves, with wider bands"
        said = (f"{NAME}: {kind}: {model.why.what}; {words}",)
    elif weather.state == "late":
        factor = float(np.sqrt(1.0 + weather.age / timedelta(days=WIDEN_DAYS)))
        value = widen(value, basic.quantiles, factor, floor=True)
        words = f"last good model {made.model_id} on it, bands {factor:.2f} times as wide"
        said = (f"{NAME}: {kind}: {weather.why}; {words}", *said)
    return replace(made, value_mw=np.clip(value, 0.0, 1.0), fallbacks=said)


def _fit(kind: Kind, known: KnownData, weather: WeatherAtGate) -> FittedForecaster:
    """Fit the model of a kind, or say why it cannot be."""
    if weather.table is None:
        return NoModel(
            model_id=MODEL_OF[kind], why=Problem(where="weather", what=weather.why or "no file")
        )
    try:
        return _forecaster(kind).fit(known)
    except InputError as error:
        return NoModel(model_id=MODEL_OF[kind], why=error.problems[0])


def _forecaster(kind: Kind) -> Forecaster:
    if kind == "wind":
        from forecasting.wind_model import WindForecaster

        return WindForecaster()
    from forecasting.pv_model import PvForecaster

    return PvForecaster(rule=RULE, seeds=SEEDS)
