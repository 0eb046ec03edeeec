"""Faults seen in single values: gaps, frozen values, spikes."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecasting.model import ForecastKind

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FLAT_H: Final = 6.0
# A frozen value has to last this many times longer than the series' own long rests.
FLAT_TIMES: Final = 2.0
SPIKE_H_MAX: Final = 1.0
# Beyond nine days' extremes of ten by this many times the range those extremes have.
SPIKE_REACH: Final = 3.0
# Kettles and lifts jump too: a spike leaves the jumps that the series makes now and then.
SPIKE_TIMES: Final = 2.5
# Inside the range: this many robust standard deviations off the neighbours' median.
SPIKE_SIGMAS: Final = 25.0


def runs_of(mask: Bools) -> list[tuple[int, int]]:
    """Return (first, one past the last) of each run of true values.

    Examples
    --------
    >>> runs_of(np.array([True, True, False, True]))
    [(0, 2), (3, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def find_gaps(value_mw: Floats) -> list[tuple[int, int]]:
    """Return the runs of missing readings, (first, past) rows."""
    return runs_of(~np.isfinite(value_mw))


def find_flatlines(
    value_mw: Floats, kind: ForecastKind, periods_per_hour: float
) -> list[tuple[int, int]]:
    """Return runs of one constant value that are longer than the series ever rests.

    Parameters
    ----------
    value_mw : ndarray, shape (periods,)
        Readings [MW]; NaN ends a run.
    kind : {"load", "pv", "wind", "net"}
        Zero is a night's value for PV and a calm's for wind: there a day without output is looked
        for by `find_dead_days`.
    periods_per_hour : float
        Readings in one hour.

    Returns
    -------
    list of (first, past)
        Rows.
    """
    same = np.concatenate([[False], value_mw[1:] == value_mw[:-1]])
    idle = np.zeros(len(value_mw), dtype=bool)
    if kind in ("pv", "wind"):
        idle = np.abs(value_mw) <= 1e-3 * np.nanmax(np.abs(value_mw), initial=0.0)
    held = [(max(first - 1, 0), past) for first, past in runs_of(same & ~idle)]
    if not held:
        return []
    lengths = np.array([past - first for first, past in held])
    # Meters of whole watt-hours rest on one value for a while: learn for how long, but from many
    # rests only, or the fault would teach that it is none.
    usual = float(np.quantile(lengths, 0.98)) if len(lengths) >= 50 else 0.0
    least = max(FLAT_H * periods_per_hour, FLAT_TIMES * usual)
    return [run for run, length in zip(held, lengths, strict=True) if length >= least]


def find_dead_days(
    value_mw: Floats, expected_mw: Floats, periods_per_day: int
) -> list[tuple[int, int]]:
    """Return runs of days without any output where output was expected (PV: a dead inverter).

    A run has to hold a whole day, and less than 0.1 % of what was expected in it.
    """
    dead = np.abs(value_mw) <= 1e-3 * np.nanmax(np.abs(expected_mw), initial=0.0)
    found = []
    for first, past in runs_of(dead):
        expected = np.nansum(np.abs(expected_mw[first:past]))
        day = np.nansum(np.abs(expected_mw)) / max(len(expected_mw) / periods_per_day, 1.0)
        if past - first >= periods_per_day and expected >= 0.5 * day:
            found.append((first, past))
    return found


def find_spikes(
    value_mw: Floats, kind: ForecastKind, periods_per_hour: float
) -> list[tuple[int, int]]:
    """Return runs of at most an hour that stand out of the range or of their neighbours.

    The range is that of the days' highest and lowest values. Inside it a spike must leave its
    neighbours' median by 25 robust standard deviations and by more than the series jumps in one
    period of a thousand; PV and wind do that in clouds and gusts, so only their range counts.
    """
    per_day = round(24 * periods_per_hour)
    finite = np.isfinite(value_mw)
    days = len(value_mw) // per_day
    if days < 3 or finite.sum() < per_day:
        return []
    shaped = value_mw[: days * per_day].reshape(days, per_day)
    shaped = shaped[np.isfinite(shaped).any(axis=1)]
    low, high = np.nanmin(shaped, axis=1), np.nanmax(shaped, axis=1)
    high_10, high_90 = np.quantile(high, (0.1, 0.9))
    low_10, low_90 = np.quantile(low, (0.1, 0.9))
    span = high_90 - low_10
    out = value_mw > high_90 + max(SPIKE_REACH * (high_90 - high_10), 0.3 * span)
    out |= value_mw < low_10 - max(SPIKE_REACH * (low_90 - low_10), 0.3 * span)
    if kind in ("load", "net"):
        off = np.abs(value_mw - neighbours_median(value_mw, max(2, round(2 * periods_per_hour))))
        known = off[np.isfinite(off)]
        sigma = 1.4826 * float(np.median(known))
        usual = float(np.quantile(known, 0.999)) if len(known) >= 2000 else 0.0
        out |= off > max(SPIKE_SIGMAS * sigma, 0.3 * span, SPIKE_TIMES * usual)
    longest = max(1, round(SPIKE_H_MAX * periods_per_hour))
    return [(first, past) for first, past in runs_of(out) if past - first <= longest]


def neighbours_median(value: Floats, reach: int) -> Floats:
    """Return the median of ``reach`` values to either side, itself left out; NaN ignored."""
    padded = np.pad(value, reach, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).copy()
    windows[:, reach] = np.nan
    return nan_median(windows, axis=1)


def nan_median(values: Floats, axis: int) -> Floats:
    """Return the median of the finite values; NaN where there is none, without a warning."""
    ordered = np.sort(values, axis=axis)  # NaN last
    ordered = np.moveaxis(ordered, axis, -1)
    count = np.isfinite(ordered).sum(axis=-1)
    lower = np.maximum((count - 1) // 2, 0)[..., None]
    upper = np.maximum(count // 2, 0)[..., None]
    upper = np.minimum(upper, ordered.shape[-1] - 1)
    middle = 0.5 * (
        np.take_along_axis(ordered, lower, axis=-1) + np.take_along_axis(ordered, upper, axis=-1)
    )
    return np.asarray(middle[..., 0])
