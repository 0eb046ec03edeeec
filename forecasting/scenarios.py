"""Joint scenarios: quantiles of single series and periods, put in the order of days that were.

Quantiles do not add up and say nothing about what happens together; a clearing needs trajectories.
The Schaake shuffle (Clark et al. 2004, doi:10.1175/1525-7541(2004)005<0243:TSSAMF>2.0.CO;2) takes
the ranks of past days as an empirical copula: every scenario is a past day whose value at each
series and period is replaced by the forecast quantile of the same rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.periods import Periods
from data.records.forecast import Forecast, Reading
from forecasting.quantiles import interpolate_quantiles
from forecasting.readings import local_slots

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Scenarios are whole multiples of this power [MW], about a milliwatt: a binary fraction, so that
# sums of scenarios are exact in floating point, whatever the order, up to 2**53 grains (8 TW).
GRAIN_MW: Final = 2.0**-30
LIKE_DAYS_MIN: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenarios:
    """Equally likely joint trajectories.

    Parameters
    ----------
    series : tuple of str
        Series ids.
    periods : Periods
        The periods.
    value_mw : ndarray, shape (scenarios, len(series), len(periods))
        Power [MW], whole multiples of `GRAIN_MW`.
    known_at : datetime
        Nothing that became known later was used.
    model_id : str
        The forecast's model, and how the scenarios were made.
    """

    series: tuple[str, ...]
    periods: Periods
    value_mw: Floats
    known_at: datetime
    model_id: str

    def sum_mw(self) -> Floats:
        """Return the sum over all series, shape (scenarios, len(periods)) [MW]; exact."""
        return np.asarray(self.value_mw.sum(axis=1))


def past_days(
    reading: Reading, periods: Periods, days_max: int, timezone: str | None = None
) -> Floats:
    """Return readings of whole past days at the same time of day: templates of `draw_scenarios`.

    Parameters
    ----------
    reading : Reading
        Readings before the gate.
    periods : Periods
        Periods to make scenarios for.
    days_max : int
        At most so many days, the newest first taken.
    timezone : str, optional
        IANA zone: days of the same class as the first period (working day, Saturday, Sunday) are
        taken, if there are ten; otherwise all. Without a zone all are taken.

    Returns
    -------
    ndarray, shape (days, series, periods)
        Readings k x 24 h before the periods [MW], newest day first.

    Raises
    ------
    InputError
        If the readings hold no whole day, or are on another raster.
    """
    step = periods.mtu
    day = int(timedelta(days=1) / step)
    offset = periods.start - reading.periods.start
    refuse_if_any(
        [Problem(where="readings", what="not on the raster of the periods")]
        if reading.periods.mtu_minutes != periods.mtu_minutes or offset % step
        else []
    )
    first = int(offset / step)
    back = np.arange(1, first // day + 1)
    starts = first - back * day
    fits = starts + len(periods) <= len(reading.periods)
    starts, back = starts[fits], back[fits]
    if timezone is not None:
        kind = local_slots(periods, timezone).day_class[0]
        alike = local_slots(reading.periods, timezone).day_class[starts] == kind
        if alike.sum() >= LIKE_DAYS_MIN:
            starts = starts[alike]
    starts = starts[:days_max]
    refuse_if_any(
        [Problem(where="readings", what="no whole day before the periods",
                 remedy="give at least one day of readings")]
        if len(starts) == 0
        else []
    )  # fmt: skip
    rows = starts[:, None] + np.arange(len(periods))
    return np.ascontiguousarray(reading.value_mw[rows].transpose(0, 2, 1))


def draw_scenarios(
    forecast: Forecast,
    template: Floats,
    count: int,
    seed: int,
    *,
    minimum_mw: Floats | float = -np.inf,
    maximum_mw: Floats | float = np.inf,
) -> Scenarios:
    """Draw joint scenarios with the forecast's own quantiles and the templates' dependence.

    Scenario k takes, at each series and period, the quantile at level (r + 1/2) / count, where r
    is the rank of its template among the chosen ones: every level is used exactly once, so the
    scenarios of one series and period have the forecast's distribution without sampling noise.

    Parameters
    ----------
    forecast : Forecast
        Quantiles [MW]. Beyond its outermost levels the slope goes on as a normal distribution's
        (`interpolate_quantiles`): of households ask for levels from 1 % to 99 %, their peaks are
        what the spread of a sum is made of.
    template : ndarray, shape (days, series, periods)
        Past values or, better, past forecast errors or ranks: any unit, only the order counts.
    count : int
        Scenarios. With fewer than days, days are drawn; with more, days are used repeatedly.
    seed : int
        Of the drawing and of the order among equal template values.
    minimum_mw, maximum_mw : ndarray, shape (series,), or float
        Bounds of what can happen [MW], e.g. 0 and the installed capacity of generation.

    Returns
    -------
    Scenarios
        The same input and seed give the same bytes.

    Raises
    ------
    InputError
        If the template's shape does not match, a value is not finite or ``count`` is not positive.
    """
    refuse_if_any(_template_problems(forecast, template, count))
    rank = rank_templates(template, count, seed)
    levels = ((np.arange(count) + 0.5) / count).tolist()
    table = interpolate_quantiles(forecast.value_mw, forecast.quantiles, levels)
    bounds = [np.reshape(np.asarray(b, dtype=float), (-1, 1, 1)) for b in (minimum_mw, maximum_mw)]
    table = np.clip(table, *bounds)
    value = np.take_along_axis(table, rank.transpose(1, 2, 0), axis=2).transpose(2, 0, 1)
    return Scenarios(
        series=forecast.series,
        periods=forecast.periods,
        value_mw=to_grains(np.ascontiguousarray(value)),
        known_at=forecast.known_at,
        model_id=f"{forecast.model_id} + schaake-shuffle/1",
    )


def rank_templates(template: Floats, count: int, seed: int) -> Ints:
    """Return the rank of each scenario's template at each series and period.

    Parameters
    ----------
    template : ndarray, shape (days, series, periods)
        Any unit.
    count : int
        Scenarios.
    seed : int
        Of the drawing and of the order among equal values (independent at each series and period,
        so that a row of equal values adds no dependence).

    Returns
    -------
    ndarray of int, shape (count, series, periods)
        Each of 0 ... count - 1 once along the first axis.
    """
    days = len(template)
    draw = np.random.default_rng(seed)
    rounds = -(-count // days)
    # Whole rounds of all days, then a draw without replacement: no day counts much more.
    chosen = np.concatenate([draw.permutation(days) for _ in range(rounds)])[:count]
    repeat = np.repeat(np.arange(rounds), days)[:count]
    rank = np.empty((count, *template.shape[1:]), dtype=np.int64)
    place = np.arange(count)[:, None]
    for series in range(template.shape[1]):
        value = template[chosen, series]
        chance = draw.random((days, template.shape[2]))[chosen]
        later = np.broadcast_to(repeat[:, None], value.shape)
        order = np.lexsort((later, chance, value), axis=0)
        np.put_along_axis(rank[:, series], order, np.broadcast_to(place, order.shape), axis=0)
    return rank


def to_grains(value_mw: Floats) -> Floats:
    """Round to whole grains of `GRAIN_MW`, so that every sum of them is exact; no -0.0.

    Examples
    --------
    >>> parts = to_grains(np.array([0.1, 0.2, 0.3, -0.15]))
    >>> bool(parts.sum() == parts[::-1].sum() == (parts[0] + parts[3]) + (parts[2] + parts[1]))
    True
    """
    return np.asarray(np.rint(value_mw / GRAIN_MW) * GRAIN_MW + 0.0)


def energy_score(scenarios: Floats, actual: Floats) -> float:
    """Return the energy score of joint scenarios: lower is better, the unit is the values'.

    ES = mean_k |x_k - y| - 1/2 mean_kl |x_k - x_l| with the Euclidean norm (Gneiting and Raftery
    2007, doi:10.1198/016214506000001437).

    Parameters
    ----------
    scenarios : ndarray, shape (scenarios, dimensions)
        Equally likely.
    actual : ndarray, shape (dimensions,)
        What happened.
    """
    to_actual = np.linalg.norm(scenarios - actual, axis=1).mean()
    square = np.einsum("kd,kd->k", scenarios, scenarios)
    apart = square[:, None] + square[None, :] - 2.0 * scenarios @ scenarios.T
    return float(to_actual - 0.5 * np.sqrt(np.maximum(apart, 0.0)).mean())


def variogram_score(scenarios: Floats, actual: Floats, exponent: float = 0.5) -> float:
    """Return the variogram score: how well differences between dimensions are told; less is better.

    VS = sum_ij (|y_i - y_j|^p - mean_k |x_ki - x_kj|^p)^2 with equal weights (Scheuerer and Hamill
    2015, doi:10.1175/MWR-D-14-00269.1).

    Parameters
    ----------
    scenarios : ndarray, shape (scenarios, dimensions)
        Equally likely.
    actual : ndarray, shape (dimensions,)
        What happened.
    exponent : float
        p; one half where differences are skewed.
    """
    score = 0.0
    for row in range(len(actual) - 1):
        seen = np.abs(actual[row] - actual[row + 1 :]) ** exponent
        said = (np.abs(scenarios[:, [row]] - scenarios[:, row + 1 :]) ** exponent).mean(axis=0)
        score += 2.0 * float(((seen - said) ** 2).sum())
    return score


def _template_problems(forecast: Forecast, template: Floats, count: int) -> list[Problem]:
    problems = []
    expected = (len(forecast.series), len(forecast.periods))
    if template.ndim != 3 or len(template) == 0 or template.shape[1:] != expected:
        problems.append(
            Problem(where="templates", what=f"shape {template.shape}, expected (days, "
                    f"{expected[0]}, {expected[1]})")
        )  # fmt: skip
    for where, value in (("templates", template), ("forecast", forecast.value_mw)):
        if not np.isfinite(value).all():
            problems.append(Problem(where=where, what="a value is not a number"))
    if count < 1:
        problems.append(Problem(where="count", what=f"{count} scenarios", remedy="at least one"))
    return problems
