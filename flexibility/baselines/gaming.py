"""What parties do around events: load raised before them, load shifted out of them.

The score of a connection compares its drift (meter less unadjusted baseline) in a window next to
the events with its drift in the *same window of placebo days* without event. Under honest behaviour
event days and placebo days are exchangeable, so a permutation test holds its false-alarm rate
exactly, whatever the load looks like (Fisher's exact reasoning; one-sided, draws with a fixed
seed). Days with events are left out of every average, so what is done on them cannot hide itself.

What it cannot see: load raised on the *ordinary* days that averages are made of. Against that
stands the middle of the days, and the comparison with methods that use no history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.periods import DeliveryDay, Periods
from flexibility.baselines.averages import average_of, choose_days
from flexibility.baselines.history import NEVER, DaySpan, Floats, Integers, LocalTable
from flexibility.baselines.laboratory import LabRules
from flexibility.baselines.methods import DayAverage

Window = Literal["before", "event", "after"]
WINDOWS: Final[tuple[Window, ...]] = ("before", "event", "after")
DRAWS: Final = 1_999
YARDSTICK: Final = DayAverage(pick="mid", x=8, y=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class GamingRules:
    """How behaviour around events is judged.

    Parameters
    ----------
    window_h : float
        Length of the windows before and after [h]; the one before ends with the start of the event.
    false_alarm_rate : float
        Share of honest connections that is flagged, for each window.
    """

    window_h: float = 3.0
    false_alarm_rate: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drifts:
    """Drift of one connection on every day it can be told, shape (days,) each.

    Parameters
    ----------
    row : ndarray of int64
        Days of the table.
    is_event : ndarray of bool
        Days with an event; the others are the placebo.
    drift_mw : mapping of window to ndarray
        Mean of meter less baseline in the window [MW].
    after_per_event : float
        Length of the window after in lengths of the event.
    """

    connection: str
    after_per_event: float
    row: Integers
    is_event: NDArray[np.bool_]
    drift_mw: dict[Window, Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class GamingScore:
    """The judgement on one connection.

    Parameters
    ----------
    before_mw, event_mw, after_mw : float
        Mean drift on event days less that on placebo days [MW].
    before_p, after_p : float
        Share of random choices of as many days that drift up at least as much.
    score : float
        Drift before the events in standard deviations of a mean over as many placebo days.
    raised_before, shifted : bool
        Flagged at the false-alarm rate of the rules. ``shifted`` needs less load in the event and
        more after it.
    recovered : float
        Energy that came back after the event as a share of what was taken out of it; NaN where
        chance could explain what was taken out (at the same rate).
    """

    connection: str
    events: int
    placebos: int
    before_mw: float
    event_mw: float
    after_mw: float
    before_p: float
    after_p: float
    score: float
    raised_before: bool
    shifted: bool
    recovered: float


DaySpans = dict[int, dict[Window, DaySpan]]


def spans_of_days(table: LocalTable, lab: LabRules, rules: GamingRules) -> DaySpans:
    """Return the windows of every working day after the warm-up, as times of day."""
    return {
        row: {
            name: table.span(periods, row)
            for name, periods in windows_of(table, row, lab, rules).items()
        }
        for row in range(lab.warm_up_days, len(table.working) - 1)
        if table.working[row]
    }


def measure_drifts(
    table: LocalTable,
    event_rows: frozenset[int],
    lab: LabRules,
    rules: GamingRules,
    spans: DaySpans | None = None,
) -> Drifts:
    """Measure the drift in the windows of every working day.

    Parameters
    ----------
    event_rows : frozenset of int
        Rows of the table with an event at the time of day of ``lab``.
    spans : mapping, optional
        From `spans_of_days`, where many sets of events are tried on one table.
    """
    rows: list[int] = []
    found: dict[Window, list[float]] = {window: [] for window in WINDOWS}
    for row, windows in (spans or spans_of_days(table, lab, rules)).items():
        drifts = _drifts_of_day(table, row, event_rows, windows)
        if drifts is None:
            continue
        rows.append(row)
        for window in WINDOWS:
            found[window].append(drifts[window])
    place = np.array(rows, dtype=np.int64)
    return Drifts(
        connection=table.connection,
        after_per_event=rules.window_h / lab.event_h,
        row=place,
        is_event=np.isin(place, list(event_rows)),
        drift_mw={window: np.array(found[window]) for window in WINDOWS},
    )


def windows_of(
    table: LocalTable, row: int, lab: LabRules, rules: GamingRules
) -> dict[Window, Periods]:
    """Return the windows around the event time of a day."""
    mtu = table.periods.mtu_minutes
    day = DeliveryDay(day=table.first + timedelta(days=row), timezone=table.timezone)
    start = day.instant(lab.start)
    length, side = round(lab.event_h * 60 / mtu), round(rules.window_h * 60 / mtu)
    event = Periods(start=start, count=length, mtu_minutes=mtu)
    return {
        "before": Periods(start=start - side * event.mtu, count=side, mtu_minutes=mtu),
        "event": event,
        "after": Periods(start=event.end, count=side, mtu_minutes=mtu),
    }


def _drifts_of_day(
    table: LocalTable, row: int, event_rows: frozenset[int], spans: dict[Window, DaySpan]
) -> dict[Window, float] | None:
    needed = spans["before"].joined(spans["event"]).joined(spans["after"])
    today = table.block(np.array([row]), needed)[0]
    if not np.isfinite(today).all():
        return None
    try:
        chosen = choose_days(
            table, YARDSTICK, row, needed, needed, known_s=NEVER - 1, excluded=event_rows
        )
    except InputError:  # too few days before it: the day says nothing
        return None
    difference = today - average_of(table, chosen.days, needed)
    side, length = len(spans["before"].slot), len(spans["event"].slot)
    return {
        "before": float(difference[:side].mean()),
        "event": float(difference[side : side + length].mean()),
        "after": float(difference[side + length :].mean()),
    }


@lru_cache(maxsize=64)
def _choices(days: int, events: int) -> Floats:
    """Return weights of random choices of event days, shape (draws, days): a mean difference."""
    order = np.argsort(np.random.default_rng(20_130_101).random((DRAWS, days)), axis=1)
    chosen = order < events
    return np.where(chosen, 1.0 / events, -1.0 / (days - events))


def permutation_p(drift_mw: Floats, is_event: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return mean difference [MW], its one-sided p-value, and it in standard deviations.

    Parameters
    ----------
    drift_mw : ndarray, shape (days,)
        Drift of each day.
    is_event : ndarray of bool, shape (days,)
        Which of them had an event; at least one had and one had not.
    """
    events, days = int(is_event.sum()), len(is_event)
    difference = float(drift_mw[is_event].mean() - drift_mw[~is_event].mean())
    random = _choices(days, events) @ drift_mw
    at_least = int((random >= difference - 1e-12).sum())
    spread = float(random.std())
    return difference, (1 + at_least) / (1 + DRAWS), difference / spread if spread > 0 else 0.0


def judge(drifts: Drifts, rules: GamingRules) -> GamingScore:
    """Judge one connection."""
    side = {w: permutation_p(drifts.drift_mw[w], drifts.is_event) for w in WINDOWS}
    reduced = -side["event"][0]
    really = permutation_p(-drifts.drift_mw["event"], drifts.is_event)[1] <= rules.false_alarm_rate
    shifted = side["after"][1] <= rules.false_alarm_rate and reduced > 0
    return GamingScore(
        connection=drifts.connection,
        events=int(drifts.is_event.sum()),
        placebos=int((~drifts.is_event).sum()),
        before_mw=side["before"][0],
        event_mw=side["event"][0],
        after_mw=side["after"][0],
        before_p=side["before"][1],
        after_p=side["after"][1],
        score=side["before"][2],
        raised_before=side["before"][1] <= rules.false_alarm_rate,
        shifted=shifted,
        recovered=(
            side["after"][0] * drifts.after_per_event / reduced
            if reduced > 0 and really
            else float("nan")
        ),
    )


def flagged_among_all(scores: Sequence[GamingScore], rules: GamingRules) -> frozenset[str]:
    """Return connections whose raise before events holds although so many were looked at.

    Of forty honest parties two are flagged one by one at 5 %. Holm's step-down procedure (1979,
    Scandinavian Journal of Statistics 6, 65-70) keeps the chance of *any* false alarm among all of
    them at the stated rate.

    Parameters
    ----------
    scores : sequence of GamingScore
        Everybody who was looked at.
    """
    found: set[str] = set()
    ranked = sorted(scores, key=lambda score: (score.before_p, score.connection))
    for place, score in enumerate(ranked):
        if score.before_p > rules.false_alarm_rate / (len(ranked) - place):
            break
        found.add(score.connection)
    return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DetectionStudy:
    """How often an injected manipulation is flagged, by size; size 0 is the false-alarm rate.

    Parameters
    ----------
    size_kw : tuple of float
        Power added before (or shifted out of) each event [kW].
    raised, shifted : ndarray, shape (sizes,)
        Share of connections flagged.
    trials : int
        Connections times repetitions.
    """

    size_kw: tuple[float, ...]
    events: int
    raised: Floats
    shifted: Floats
    trials: int


def study_detection(
    tables: Sequence[LocalTable],
    lab: LabRules,
    rules: GamingRules,
    *,
    sizes_kw: Sequence[float],
    events: int,
    repeats: int,
    seed: int,
) -> DetectionStudy:
    """Inject manipulations into real series and count what is flagged.

    Raise: ``size`` more through the window before each event. Shift: ``size`` less in the event,
    its energy back through the window after. Because event days are in no average, the injected
    power adds to their drift and to nothing else: each series is measured once for all sizes.

    Parameters
    ----------
    events : int
        Event days of a trial, chosen at random among working days.
    repeats : int
        Trials of each connection.
    """
    generator = np.random.default_rng(seed)
    raised, shifted = np.zeros(len(sizes_kw)), np.zeros(len(sizes_kw))
    trials = 0
    for table in tables:
        days = np.flatnonzero(table.working)
        days = days[(days >= lab.warm_up_days) & (days < len(table.working) - 1)]
        spans = spans_of_days(table, lab, rules)
        for _ in range(repeats):
            chosen = frozenset(generator.choice(days, size=events, replace=False).tolist())
            drifts = measure_drifts(table, chosen, lab, rules, spans)
            trials += 1
            for place, size_kw in enumerate(sizes_kw):
                raised[place] += judge(_raise(drifts, size_kw / 1e3), rules).raised_before
                moved = _shift(drifts, size_kw / 1e3)
                shifted[place] += judge(moved, rules).after_p <= rules.false_alarm_rate
    return DetectionStudy(
        size_kw=tuple(sizes_kw),
        events=events,
        raised=raised / trials,
        shifted=shifted / trials,
        trials=trials,
    )


def _raise(drifts: Drifts, size_mw: float) -> Drifts:
    more = dict(drifts.drift_mw)
    more["before"] = more["before"] + size_mw * drifts.is_event
    return replace(drifts, drift_mw=more)


def _shift(drifts: Drifts, size_mw: float) -> Drifts:
    moved = dict(drifts.drift_mw)
    moved["event"] = moved["event"] - size_mw * drifts.is_event
    moved["after"] = moved["after"] + size_mw / drifts.after_per_event * drifts.is_event
    return replace(drifts, drift_mw=moved)
