"""Wind, biomass and hydro: what followed when the last reading was like now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecasting.like_day import QuantileSet
from forecasting.quantiles import spread_for_few, weighted_quantiles

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalogueRule:
    """How past moments are compared with now.

    Parameters
    ----------
    name : str
        Name used in fallbacks.
    step_h : int
        Distance of the past moments compared [h]; 24 keeps the time of day.
    days_max : int
        How far back.
    bandwidth : float
        Width of the kernel on the last level, as a share of capacity.
    floor : float
        Weight of a moment that is not alike at all: the share of climatology.
    prior : tuple of float
        Share of capacity at quantiles 0, 0.1, ..., 1 where history is short.
    moments_min : int
        Fewer past moments than this are blended with the prior.
    """

    name: str
    step_h: int
    days_max: int
    bandwidth: float
    floor: float
    prior: tuple[float, ...]
    moments_min: int


WIND: Final = AnalogueRule(
    name="wind", step_h=3, days_max=60, bandwidth=0.15, floor=0.25,
    prior=(0.0, 0.02, 0.05, 0.09, 0.14, 0.20, 0.28, 0.39, 0.54, 0.75, 1.0), moments_min=40,
)  # fmt: skip
STEADY: Final = AnalogueRule(
    name="other", step_h=24, days_max=28, bandwidth=0.15, floor=0.25,
    prior=(0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0), moments_min=7,
)  # fmt: skip
LEVEL_H: Final = 3
HALF_LIFE_DAYS: Final = 30.0


def forecast_by_analogue(
    value_mw: Floats,
    rule: AnalogueRule,
    lag_periods: int,
    count_ahead: int,
    capacity_mw: Floats,
    quantiles: Sequence[float],
    mtu_minutes: int,
) -> QuantileSet:
    """Forecast from past moments whose level (mean of the last 3 h) was like the level now.

    A moment k hours ago was followed, L hours later, by what is now a reading; its weight is
    (floor + exp(-(level then - level now)^2 / (2 bandwidth^2))) x recency. A small distance is
    persistence, the floor is climatology, and the data decide how one turns into the other.

    Parameters
    ----------
    value_mw : ndarray, shape (past periods, series)
        Readings [MW].
    rule : AnalogueRule
        Kernel.
    lag_periods : int
        Periods from the first reading to the first period ahead.
    count_ahead : int
        Periods to forecast.
    capacity_mw : ndarray, shape (series,)
        Installed capacity [MW].
    quantiles : sequence of float
        Probability levels.
    mtu_minutes : int
        Length of a period [min].

    Returns
    -------
    QuantileSet
        Quantiles [MW]; a fallback is named where moments are few.
    """
    per_hour = 60 // mtu_minutes
    count_past = len(value_mw)
    level_window = min(LEVEL_H * per_hour, count_past)
    # Every period ahead, moved back by the shift, must be read, as must the level before it.
    shift_min = lag_periods + count_ahead - count_past
    shift_max = min(count_past - level_window, rule.days_max * 24 * per_hour)
    step = rule.step_h * per_hour
    shifts = np.arange(-(-shift_min // step) * step, shift_max + 1, step)
    prior = capacity_mw[:, None] * np.interp(
        np.asarray(quantiles), np.linspace(0.0, 1.0, len(rule.prior)), rule.prior
    )
    whole = np.broadcast_to(prior[:, None, :], (len(prior), count_ahead, prior.shape[1]))
    if len(shifts) == 0:
        note = f"{rule.name}: no past moment; last level blended with the standard distribution"
        last = value_mw[-level_window:].mean(axis=0)[:, None, None]
        return QuantileSet(value_mw=0.5 * whole + 0.5 * last, fallbacks=(note,))
    rows = lag_periods + np.arange(count_ahead)[:, None] - shifts[None, :]
    samples = value_mw[rows].transpose(2, 0, 1)
    weights = _moment_weights(value_mw, shifts, level_window, capacity_mw, rule, per_hour)
    # Moments three hours apart are hardly independent: count the days they span.
    effective = max(3, len(shifts) * rule.step_h // 24)
    value = weighted_quantiles(
        np.ascontiguousarray(samples), weights[:, None, :], spread_for_few(quantiles, effective)
    )
    if len(shifts) >= rule.moments_min:
        return QuantileSet(value_mw=value)
    share = 1.0 - len(shifts) / rule.moments_min
    note = (
        f"{rule.name}: {len(shifts)} past moments of {rule.moments_min}; "
        "blended with the standard distribution"
    )
    return QuantileSet(value_mw=(1.0 - share) * value + share * whole, fallbacks=(note,))


def _moment_weights(
    value_mw: Floats,
    shifts: NDArray[np.int64],
    level_window: int,
    capacity_mw: Floats,
    rule: AnalogueRule,
    per_hour: int,
) -> Floats:
    """Return the weight of each past moment, shape (series, moments)."""
    cumulated = np.vstack([np.zeros(value_mw.shape[1]), np.cumsum(value_mw, axis=0)])
    end = len(value_mw)
    now = (cumulated[end] - cumulated[end - level_window]) / level_window
    then = (cumulated[end - shifts] - cumulated[end - shifts - level_window]) / level_window
    scale = np.maximum(capacity_mw, 1e-9) * rule.bandwidth
    distance = (then - now) / scale
    recency = 0.5 ** (shifts / (24.0 * per_hour * HALF_LIFE_DAYS))
    alike = rule.floor + np.exp(-0.5 * distance**2)
    return np.ascontiguousarray((alike * recency[:, None]).T)
