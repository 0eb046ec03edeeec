"""Averages of eligible days, and their adjustment to the same day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem
from data.periods import Periods
from flexibility.baselines.history import DaySpan, Floats, Integers, LocalTable
from flexibility.baselines.methods import DayAverage, SameDayAdjustment

DAYS_MIN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenDays:
    """Days averaged, nearest first, and what had to be given up."""

    days: tuple[int, ...]
    fallbacks: tuple[str, ...]


def choose_days(
    table: LocalTable,
    method: DayAverage,
    day: int,
    event: DaySpan,
    needed: DaySpan,
    *,
    known_s: int,
    excluded: frozenset[int],
) -> ChosenDays:
    """Choose the days to be averaged for an event.

    Parameters
    ----------
    table : LocalTable
        The history.
    day : int
        Row of the event's day; it may lie after the table.
    event, needed : DaySpan
        The event's time of day, by which days are ranked, and everything an eligible day must hold.
    known_s : int
        Values received later are not seen [s since 1970].
    excluded : frozenset of int
        Rows of days with events or outages.

    Raises
    ------
    InputError
        If fewer than three eligible days are known.
    """
    last = min(day, len(table.working))
    first = max(0, day - method.lookback_days)
    rows = np.arange(first, last)
    working = table.is_working(day) or method.workdays_only
    eligible = (table.working[rows] == working) & table.known(rows, needed, known_s)
    if excluded:
        eligible &= ~np.isin(rows, list(excluded))
    recent = rows[eligible][::-1][: method.y]
    fallbacks: tuple[str, ...] = ()
    if len(recent) < method.y:
        fallbacks = (f"{len(recent)} of {method.y} eligible days in {method.lookback_days} days",)
    if len(recent) < min(DAYS_MIN, method.y):
        kind = "working" if working else "non-working"
        problem = Problem(
            where=f"baseline {method.name} of {table.connection}",
            what=f"only {len(recent)} eligible {kind} days are known at the gate",
            remedy="take a method that needs no history, or wait for readings",
        )
        raise InputError([problem])
    return ChosenDays(days=_picked(table, method, recent, event), fallbacks=fallbacks)


def _picked(
    table: LocalTable, method: DayAverage, recent: Integers, event: DaySpan
) -> tuple[int, ...]:
    """Return X of the recent days by their energy; equal days: the nearer first."""
    if method.pick == "all":
        return tuple(recent.tolist())
    energy = table.block(recent, event).sum(axis=1)
    ascending = np.lexsort((np.arange(len(recent)), energy))
    keep = min(method.x, len(recent))
    if method.pick == "high":
        descending = np.lexsort((np.arange(len(recent)), -energy))
        chosen = descending[:keep]
    elif method.pick == "low":
        chosen = ascending[:keep]
    else:
        # with fewer days than Y as many are dropped at each end as the share of the contract says
        drop = (method.y - method.x) // 2
        drop = min(drop, (len(recent) - 1) // 2)
        chosen = ascending[drop : len(recent) - drop]
    return tuple(recent[np.sort(chosen)].tolist())


def average_of(table: LocalTable, days: tuple[int, ...], span: DaySpan) -> Floats:
    """Return the mean of days at a time of day [MW], shape (periods,)."""
    return np.asarray(table.block(np.array(days, dtype=np.int64), span).mean(axis=0))


def adjustment_window(event: Periods, adjustment: SameDayAdjustment) -> Periods:
    """Return the window of a same-day adjustment."""
    mtu_h = event.mtu_h
    count = max(1, round(adjustment.window_h / mtu_h))
    gap = round(adjustment.ends_before_h / mtu_h)
    return Periods(
        start=event.start - (count + gap) * event.mtu, count=count, mtu_minutes=event.mtu_minutes
    )


def adjust(
    base_mw: Floats, before_mw: Floats, actual_mw: Floats, adjustment: SameDayAdjustment
) -> tuple[Floats, tuple[str, ...]]:
    """Adjust a baseline to the same day.

    Parameters
    ----------
    base_mw : ndarray, shape (event periods,)
        Unadjusted baseline of the event [MW].
    before_mw, actual_mw : ndarray, shape (window periods,)
        Unadjusted baseline and readings of the window [MW].

    Returns
    -------
    (ndarray, tuple of str)
        The adjusted baseline [MW], and fallbacks: no reading in the window, or nothing to scale.

    Examples
    --------
    >>> up = SameDayAdjustment(kind="additive", cap=None)
    >>> adjust(np.array([0.5, 0.4]), np.array([0.5]), np.array([0.6]), up)[0].round(3).tolist()
    [0.6, 0.5]
    """
    seen: NDArray[np.bool_] = np.isfinite(actual_mw)
    if not seen.any():
        return base_mw, ("no reading in the adjustment window: not adjusted",)
    fallbacks: tuple[str, ...] = ()
    if not seen.all():
        fallbacks = (f"adjusted by {int(seen.sum())} of {len(seen)} periods of the window",)
    actual, usual = float(actual_mw[seen].mean()), float(before_mw[seen].mean())
    if adjustment.kind == "additive":
        shift = actual - usual
        if adjustment.cap is not None:
            bound = adjustment.cap * abs(float(base_mw.mean()))
            shift = min(max(shift, -bound), bound)
        return base_mw + (max(shift, 0.0) if adjustment.upward_only else shift), fallbacks
    if usual <= 0 or actual < 0:
        return base_mw, (*fallbacks, "no ratio to a window without withdrawal: not adjusted")
    factor = actual / usual
    if adjustment.cap is not None:
        factor = min(max(factor, 1.0 - adjustment.cap), 1.0 + adjustment.cap)
    return base_mw * (max(factor, 1.0) if adjustment.upward_only else factor), fallbacks
