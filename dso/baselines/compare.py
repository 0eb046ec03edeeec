"""Compare baseline methods on readings, and look at behaviour around events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from data.canonical import csv_bytes, pretty_json, sha256_hex, write_atomically
from data.csv_table import read_table
from data.errors import InputError, Problem, refuse_if_any
from data.periods import Periods
from data.readers.meter_csv import LoadTable, instant, read_load_table
from flexibility.baselines import LoadHistory, LocalTable, method_named
from flexibility.baselines.gaming import (
    DetectionStudy,
    GamingRules,
    GamingScore,
    flagged_among_all,
    judge,
    measure_drifts,
    study_detection,
)
from flexibility.baselines.laboratory import (
    DeliveryScore,
    LabMethod,
    LabRules,
    MethodScore,
    last_week,
    measure_delivery,
    profile_of_others,
    run_laboratory,
    score_methods,
)

METHODS: Final = (
    "high-5-of-10", "high-4-of-5", "mid-8-of-10", "mid-8-of-10+additive",
    "mid-8-of-10+multiplicative", "rolling-5", "meter-before-after", "meter-before-after-mean",
    "regression", "nominated", "fixed-profile", "drop-to-0",
)  # fmt: skip
SIZES_KW: Final = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
EVENT_COLUMNS: Final = ("connection", "start")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRules:
    """What is compared, on which pretended events.

    Parameters
    ----------
    methods : tuple of str
        Names as in contracts; ``nominated`` is an honest party that announces last week's day,
        ``fixed-profile`` the mean of all other connections in the warm-up.
    received_after_h : float
        When readings become known, after their period [h].
    holidays : frozenset of date
        Days that are no working days.
    trial_events, repeats, seed : int
        Events of a trial and trials per connection of the study of injected manipulations.
    """

    timezone: str
    methods: tuple[str, ...] = METHODS
    lab: LabRules = field(default_factory=LabRules)
    gaming: GamingRules = field(default_factory=GamingRules)
    received_after_h: float = 6.0
    holidays: frozenset[date] = frozenset()
    sizes_kw: tuple[float, ...] = SIZES_KW
    trial_events: int = 12
    repeats: int = 5
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the laboratory found; ``notes`` name what had to be assumed."""

    source: str
    source_sha256: str
    connections: int
    events: int
    mean_load_kw: float
    rules: CompareRules
    scores: tuple[MethodScore, ...]
    detection: DetectionStudy
    gaming: tuple[GamingScore, ...]
    delivery: tuple[DeliveryScore, ...]
    notes: tuple[str, ...]


def compare_baselines(
    readings: Path,
    rules: CompareRules,
    *,
    temperature: Path | None = None,
    events: Path | None = None,
) -> Comparison:
    """Run the laboratory on a load table.

    Parameters
    ----------
    readings : Path
        See `data.readers.meter_csv.read_load_table`.
    temperature : Path, optional
        The same form with one column of temperatures [degC]; taken as a perfect forecast.
    events : Path, optional
        Real events as ``connection,start`` (an empty connection: all); their days are judged, and
        settled by every method in parallel.

    Raises
    ------
    InputError
        If files cannot be read, methods are unknown, or there are too few days.
    """
    load = read_load_table(readings)
    notes: list[str] = []
    tables = _tables(load, rules)
    warm = None
    if temperature is not None:
        warm = _temperature(temperature, rules)
        notes.append("temperature is taken as a perfect forecast")
    methods = _methods(tables, rules)
    _refuse_too_short(tables, rules, readings)
    event_rows = {} if events is None else _event_rows(events, tables)
    run = run_laboratory(tables, methods, rules.lab, warm)
    detection = study_detection(
        tables, rules.lab, rules.gaming, sizes_kw=rules.sizes_kw, events=rules.trial_events,
        repeats=rules.repeats, seed=rules.seed,
    )  # fmt: skip
    gaming = tuple(
        judge(measure_drifts(table, rows, rules.lab, rules.gaming), rules.gaming)
        for table in tables
        if (rows := event_rows.get(table.connection))
    )
    return Comparison(
        source=readings.name,
        source_sha256=sha256_hex(readings.read_bytes()),
        connections=len(tables),
        events=len(run.events),
        mean_load_kw=float(np.nanmean(run.actual_mw) * 1e3),
        rules=rules,
        scores=score_methods(run),
        detection=detection,
        gaming=gaming,
        delivery=measure_delivery(tables, methods, rules.lab, event_rows, warm) if events else (),
        notes=tuple(notes),
    )


def _tables(load: LoadTable, rules: CompareRules) -> list[LocalTable]:
    scale = 60.0 / load.periods.mtu_minutes / 1e6
    received = _received(load.periods, rules.received_after_h)
    return [
        LocalTable.of(
            LoadHistory(
                connection=name,
                periods=load.periods,
                withdrawal_mw=load.energy_wh[:, k] * scale,
                received_s=received,
            ),
            rules.timezone,
            rules.holidays,
        )
        for k, name in enumerate(load.names)
    ]


def _received(periods: Periods, after_h: float) -> np.ndarray:
    first = round(periods.start.timestamp())
    ends = first + 60 * periods.mtu_minutes * (1 + np.arange(periods.count, dtype=np.int64))
    return ends + round(3600 * after_h)


def _temperature(path: Path, rules: CompareRules) -> LocalTable:
    """Read temperatures; known long before, because they stand for a perfect forecast."""
    read = read_load_table(path)
    history = LoadHistory(
        connection=read.names[0],
        periods=read.periods,
        withdrawal_mw=read.energy_wh[:, 0],
        received_s=_received(read.periods, 0.0),
    )
    table = LocalTable.of(history, rules.timezone, rules.holidays)
    known = np.where(np.isfinite(table.withdrawal_mw), 0, table.received_s)
    return LocalTable(
        connection=table.connection,
        periods=table.periods,
        timezone=table.timezone,
        holidays=table.holidays,
        first=table.first,
        withdrawal_mw=table.withdrawal_mw,
        received_s=known,
        working=table.working,
        day=table.day,
        slot=table.slot,
    )


def _methods(tables: Sequence[LocalTable], rules: CompareRules) -> list[LabMethod]:
    found = []
    for name in rules.methods:
        if name == "nominated":
            found.append(LabMethod(name=name, method=method_named(name), nominate=last_week))
        elif name == "fixed-profile":
            profile = profile_of_others(tables, rules.lab.warm_up_days)
            found.append(LabMethod(name=name, method=profile))
        else:
            found.append(LabMethod(name=name, method=method_named(name)))
    return found


def _refuse_too_short(tables: Sequence[LocalTable], rules: CompareRules, readings: Path) -> None:
    days = np.flatnonzero(tables[0].working)
    days = days[(days >= rules.lab.warm_up_days) & (days < len(tables[0].working) - 1)]
    problems = []
    if len(days) < 2 * rules.trial_events:
        what = f"has {len(days)} working days after {rules.lab.warm_up_days} days of warm-up"
        remedy = f"give {2 * rules.trial_events} or more, or fewer events in a trial"
        problems.append(Problem(where=readings.name, what=what, remedy=remedy))
    refuse_if_any(problems)


def _event_rows(path: Path, tables: Sequence[LocalTable]) -> dict[str, frozenset[int]]:
    """Return the rows of each connection's real events."""
    problems: list[Problem] = []
    listed = read_table(path, EVENT_COLUMNS, problems)
    if listed is None:
        raise InputError(problems)
    names = {table.connection for table in tables}
    rows: dict[str, set[int]] = {}
    for row in range(len(listed)):
        start = instant(listed, row, "start", problems)
        name = listed.columns["connection"][row]
        if name and name not in names:
            problems.append(Problem(where=listed.where(row), what=f"{name!r} has no readings"))
        if start is None:
            continue
        one = Periods(start=start, count=1, mtu_minutes=tables[0].periods.mtu_minutes)
        day = int(tables[0].place(one)[0][0])
        for each in [name] if name else sorted(names):
            rows.setdefault(each, set()).add(day)
    refuse_if_any(problems)
    return {name: frozenset(found) for name, found in rows.items()}


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write tables, a summary and the page into a folder."""
    from dso.baselines.page import render_comparison

    write_atomically(folder / "methods.csv", _methods_csv(comparison))
    write_atomically(folder / "detection.csv", _detection_csv(comparison))
    if comparison.gaming:
        write_atomically(folder / "gaming.csv", _gaming_csv(comparison))
    if comparison.delivery:
        write_atomically(folder / "delivery.csv", _delivery_csv(comparison))
    write_atomically(folder / "index.html", render_comparison(comparison))
    write_atomically(folder / "laboratory.json", pretty_json(_summary(comparison)))


def _methods_csv(comparison: Comparison) -> bytes:
    header = (
        "method", "error_median", "error_p10", "error_p90", "bias_median", "bias_p10", "bias_p90",
        "portfolio_error", "portfolio_bias", "baselines", "refused", "fallbacks",
    )  # fmt: skip
    rows = [
        (
            s.method, _share(s.error_median), _share(s.error_low), _share(s.error_high),
            _share(s.bias_median), _share(s.bias_low), _share(s.bias_high),
            _share(s.portfolio_error), _share(s.portfolio_bias), s.baselines, s.refused,
            s.fallbacks,
        )
        for s in comparison.scores
    ]  # fmt: skip
    return csv_bytes(header, rows)


def _share(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None


def _detection_csv(comparison: Comparison) -> bytes:
    study = comparison.detection
    rows = [
        (size, round(float(raised), 6), round(float(shifted), 6))
        for size, raised, shifted in zip(study.size_kw, study.raised, study.shifted, strict=True)
    ]
    return csv_bytes(("size_kw", "raise_flagged", "shift_flagged"), rows)


def _gaming_csv(comparison: Comparison) -> bytes:
    header = (
        "connection", "events", "placebo_days", "before_kw", "event_kw", "after_kw", "before_p",
        "after_p", "score", "raised_before", "raised_among_all", "shifted", "recovered",
    )  # fmt: skip
    surely = flagged_among_all(comparison.gaming, comparison.rules.gaming)
    rows = [
        (
            g.connection, g.events, g.placebos, round(g.before_mw * 1e3, 6),
            round(g.event_mw * 1e3, 6), round(g.after_mw * 1e3, 6), g.before_p, g.after_p,
            round(g.score, 3), g.raised_before, g.connection in surely, g.shifted,
            _share(g.recovered),
        )
        for g in comparison.gaming
    ]  # fmt: skip
    return csv_bytes(header, rows)


def _delivery_csv(comparison: Comparison) -> bytes:
    header = ("method", "events", "refused", "delivered_kwh", "net_kwh")
    rows = [
        (d.method, d.events, d.refused, round(d.delivered_mwh * 1e3, 6), round(d.net_mwh * 1e3, 6))
        for d in comparison.delivery
    ]
    return csv_bytes(header, rows)


def _summary(comparison: Comparison) -> dict[str, object]:
    lab, gaming = comparison.rules.lab, comparison.rules.gaming
    return {
        "schema": "gridclear baseline laboratory 1",
        "readings": comparison.source,
        "readings_sha256": comparison.source_sha256,
        "connections": comparison.connections,
        "pretended_events": comparison.events,
        "mean_load_kw": round(comparison.mean_load_kw, 6),
        "timezone": comparison.rules.timezone,
        "event_start": lab.start.isoformat(),
        "event_h": lab.event_h,
        "gate": lab.gate.isoformat(),
        "warm_up_days": lab.warm_up_days,
        "window_h": gaming.window_h,
        "false_alarm_rate": gaming.false_alarm_rate,
        "trials": comparison.detection.trials,
        "trial_events": comparison.detection.events,
        "flagged": [g.connection for g in comparison.gaming if g.raised_before or g.shifted],
        "flagged_among_all": sorted(flagged_among_all(comparison.gaming, gaming)),
        "notes": list(comparison.notes),
    }


def event_window_words(rules: CompareRules) -> str:
    """Say when the pretended events are, e.g. ``17:00 to 19:00``."""
    start = timedelta(hours=rules.lab.start.hour, minutes=rules.lab.start.minute)
    end = start + timedelta(hours=rules.lab.event_h)
    minutes = round(end.total_seconds() / 60) % (24 * 60)
    return f"{rules.lab.start:%H:%M} to {minutes // 60:02d}:{minutes % 60:02d}"
