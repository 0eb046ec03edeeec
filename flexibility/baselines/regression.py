"""Regression on time of day, kind of day and temperature; see `TemperatureRegression`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.errors import InputError, Problem
from flexibility.baselines.history import DaySpan, Floats, Integers, LocalTable
from flexibility.baselines.methods import TemperatureRegression


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """Baseline of the event [MW], shape (event periods,), and what had to be given up."""

    base_mw: Floats
    days: tuple[int, ...]
    fallbacks: tuple[str, ...]


def temperature_terms(temperature_c: Floats, knots_c: tuple[float, ...]) -> Floats:
    """Return the terms of a piecewise linear response, shape (rows, 1 + knots).

    Examples
    --------
    >>> temperature_terms(np.array([3.0, 18.0]), (5.0, 15.0)).tolist()
    [[3.0, 0.0, 0.0], [18.0, 13.0, 3.0]]
    """
    hinges = [np.maximum(temperature_c - knot, 0.0) for knot in knots_c]
    return np.column_stack([temperature_c, *hinges])


def fit_and_predict(
    table: LocalTable,
    temperature: LocalTable | None,
    method: TemperatureRegression,
    day: int,
    event: DaySpan,
    *,
    known_s: int,
    excluded: frozenset[int],
) -> Fitted:
    """Fit on the days known at the gate and predict the event; parameters as in `choose_days`.

    ``temperature`` is read as known at the gate, for the event's day as well: a forecast. Without
    it, or where it is not known, the calendar alone is used and that is said.

    Raises
    ------
    InputError
        If fewer than ``days_min`` days are known.
    """
    rows = np.arange(max(0, day - method.history_days), min(day, len(table.working)))
    good = table.known(rows, event, known_s)
    if excluded:
        good &= ~np.isin(rows, list(excluded))
    warm, event_c = _temperatures(temperature, table, rows, day, event, known_s)
    fallbacks: tuple[str, ...] = ()
    if event_c is None:
        fallbacks = ("no temperature known at the gate: calendar only",)
    else:
        good &= np.isfinite(warm).all(axis=1)
    rows = rows[good]
    if len(rows) < method.days_min:
        problem = Problem(
            where=f"baseline {method.name} of {table.connection}",
            what=f"only {len(rows)} days are known at the gate, {method.days_min} are needed",
            remedy="take a method that needs less history",
        )
        raise InputError([problem])
    count = len(event.slot)
    load = table.block(rows, event).ravel()
    working = np.repeat(table.working[rows], count)
    time_of_day = np.tile(np.arange(count), len(rows))
    design = _calendar_terms(time_of_day, working, count)
    event_working = np.full(count, table.is_working(day))
    ahead = _calendar_terms(np.arange(count), event_working, count)
    if event_c is not None:
        design = np.hstack([design, temperature_terms(warm[good].ravel(), method.knots_c)])
        ahead = np.hstack([ahead, temperature_terms(event_c, method.knots_c)])
    coefficients = np.linalg.lstsq(design, load, rcond=1e-10)[0]
    return Fitted(base_mw=ahead @ coefficients, days=tuple(rows.tolist()), fallbacks=fallbacks)


def _calendar_terms(time_of_day: Integers, working: np.ndarray, count: int) -> Floats:
    """Return one level for each time of day, and how days off differ from it."""
    levels = np.eye(count)[time_of_day]
    return np.hstack([levels, levels * ~np.asarray(working, dtype=bool)[:, None]])


def _temperatures(
    temperature: LocalTable | None,
    table: LocalTable,
    rows: Integers,
    day: int,
    event: DaySpan,
    known_s: int,
) -> tuple[Floats, Floats | None]:
    """Return temperatures of the days, and of the event or None when it is not known."""
    nothing = np.full((len(rows), len(event.slot)), np.nan)
    if temperature is None:
        return nothing, None
    shift = (table.first - temperature.first).days
    today = np.array([day + shift])
    if not temperature.known(today, event, known_s)[0]:
        return nothing, None
    seen = temperature.known(rows + shift, event, known_s)[:, None]
    past = np.where(seen, temperature.block(rows + shift, event), np.nan)
    return past, temperature.block(today, event)[0]
