"""Frozen at gate closure: method, parameters, days and values that count, and a hash of them.

What a method needs from after the gate (the window of a same-day adjustment, the readings around
the event) is named in the frozen contract as periods; nothing else may enter later. A revised
reading of a day that was already averaged changes nothing: the values are in the contract.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

import numpy as np

from data.canonical import canonical_json, sha256_hex
from data.errors import InputError, Problem, refuse_if_any
from data.periods import Periods, format_utc
from flexibility.baselines.averages import (
    adjust,
    adjustment_window,
    average_of,
    choose_days,
)
from flexibility.baselines.history import Floats, LocalTable, seconds
from flexibility.baselines.methods import (
    BaselineMethod,
    DayAverage,
    DropTo,
    FixedProfile,
    MeterBeforeAfter,
    NominatedSchedule,
    Nomination,
    TemperatureRegression,
)
from flexibility.baselines.regression import fit_and_predict

NO_DAYS: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BaselineInputs:
    """What a baseline may be computed from.

    Parameters
    ----------
    table : LocalTable
        Metered withdrawal of the connection [MW].
    temperature : LocalTable or None
        Temperature [degC] in the place of power: readings, and forecasts for the days ahead, each
        with the time it was known.
    nominations : tuple of Nomination
        Revisions of the announced schedule of the event.
    excluded_days : frozenset of int
        Rows of the table with events or outages: never averaged.
    """

    table: LocalTable
    temperature: LocalTable | None = None
    nominations: tuple[Nomination, ...] = ()
    excluded_days: frozenset[int] = NO_DAYS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrozenBaseline:
    """A baseline as the contract holds it from gate closure on.

    Parameters
    ----------
    base_mw : ndarray, shape (event periods,), or None
        Unadjusted baseline [MW]; None where the method waits for readings.
    window : Periods or None
        Readings it waits for before the event: adjustment, or meter before.
    window_base_mw : ndarray, shape (window periods,), or None
        Unadjusted baseline of the adjustment window [MW].
    after : Periods or None
        Readings it waits for after the event.
    days : tuple of str
        Local dates that were averaged or fitted on.
    sha256 : str
        Hash of everything above.
    """

    connection: str
    method: BaselineMethod
    event: Periods
    gate: datetime
    base_mw: Floats | None
    window: Periods | None
    window_base_mw: Floats | None
    after: Periods | None
    days: tuple[str, ...]
    fallbacks: tuple[str, ...]
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Baseline:
    """The values that delivery is measured against.

    Parameters
    ----------
    withdrawal_mw : ndarray, shape (event periods,)
        Power that would have been taken [MW].
    frozen : FrozenBaseline
        The contract it follows.
    late_sha256 : str
        Hash of the readings that came after the gate; of nothing where the method needs none.
    fallbacks : tuple of str
        Everything that had to be given up, at the gate and after.
    """

    withdrawal_mw: Floats
    frozen: FrozenBaseline
    late_sha256: str
    fallbacks: tuple[str, ...]


@dataclass(slots=True)
class _Draft:
    base_mw: Floats | None = None
    window: Periods | None = None
    window_base_mw: Floats | None = None
    after: Periods | None = None
    rows: tuple[int, ...] = ()
    fallbacks: tuple[str, ...] = field(default=())


def freeze_baseline(
    method: BaselineMethod, inputs: BaselineInputs, event: Periods, gate: datetime
) -> FrozenBaseline:
    """Fix a baseline at gate closure from what was known by then.

    Parameters
    ----------
    method : BaselineMethod
        What the contract states.
    inputs : BaselineInputs
        Readings, temperatures, nominations; what is known later than ``gate`` is not looked at.
    event : Periods
        The activation.
    gate : datetime
        Gate closure, not after the start of the event.

    Raises
    ------
    InputError
        If the gate lies after the start, or the method has too little to go by.
    """
    table = inputs.table
    problems = []
    if gate > event.start:
        what = f"the gate {format_utc(gate)} lies after the start {format_utc(event.start)}"
        problems.append(Problem(where=f"baseline of {table.connection}", what=what))
    if event.mtu_minutes != table.periods.mtu_minutes:
        what = f"periods of {event.mtu_minutes} min against readings of {table.periods.mtu_minutes}"
        problems.append(Problem(where=f"baseline of {table.connection}", what=what))
    refuse_if_any(problems)
    draft = _draft(method, inputs, event, gate)
    days = tuple(_date(table, row) for row in sorted(draft.rows))
    return FrozenBaseline(
        connection=table.connection,
        method=method,
        event=event,
        gate=gate,
        base_mw=draft.base_mw,
        window=draft.window,
        window_base_mw=draft.window_base_mw,
        after=draft.after,
        days=days,
        fallbacks=draft.fallbacks,
        sha256=_hash_draft(draft, method, table, event, gate, days),
    )


def _draft(
    method: BaselineMethod, inputs: BaselineInputs, event: Periods, gate: datetime
) -> _Draft:
    match method:
        case DayAverage():
            return _draft_average(method, inputs, event, gate)
        case TemperatureRegression():
            return _draft_regression(method, inputs, event, gate)
        case MeterBeforeAfter():
            return _draft_before_after(method, event)
        case NominatedSchedule():
            return _draft_nominated(inputs, event, gate)
        case DropTo():
            return _Draft(base_mw=np.full(event.count, method.level_mw))
        case FixedProfile():
            day, slot = inputs.table.place(event)
            off = np.array([0 if inputs.table.is_working(int(d)) else 1 for d in day])
            return _Draft(base_mw=method.devices * method.profile_mw[off, slot])
        case _:
            assert_never(method)


def _draft_average(
    method: DayAverage, inputs: BaselineInputs, event: Periods, gate: datetime
) -> _Draft:
    table = inputs.table
    day = int(table.place(event)[0][0])
    span = table.span(event, day)
    window = adjustment_window(event, method.adjustment) if method.adjustment else None
    around = table.span(window, day) if window is not None else None
    chosen = choose_days(
        table, method, day, span, span.joined(around),
        known_s=seconds(gate), excluded=inputs.excluded_days,
    )  # fmt: skip
    return _Draft(
        base_mw=average_of(table, chosen.days, span),
        rows=chosen.days,
        fallbacks=chosen.fallbacks,
        window=window,
        window_base_mw=None if around is None else average_of(table, chosen.days, around),
    )


def _draft_regression(
    method: TemperatureRegression, inputs: BaselineInputs, event: Periods, gate: datetime
) -> _Draft:
    day = int(inputs.table.place(event)[0][0])
    fitted = fit_and_predict(
        inputs.table,
        inputs.temperature,
        method,
        day,
        inputs.table.span(event, day),
        known_s=seconds(gate),
        excluded=inputs.excluded_days,
    )
    return _Draft(base_mw=fitted.base_mw, rows=fitted.days, fallbacks=fitted.fallbacks)


def _draft_before_after(method: MeterBeforeAfter, event: Periods) -> _Draft:
    mtu, mtu_h = event.mtu, event.mtu_h
    before = max(1, round(method.before_h / mtu_h))
    after = max(1, round(method.after_h / mtu_h))
    skip = round(method.skip_h / mtu_h)
    start = event.start - (before + skip) * mtu
    return _Draft(
        window=Periods(start=start, count=before, mtu_minutes=event.mtu_minutes),
        after=Periods(start=event.end + skip * mtu, count=after, mtu_minutes=event.mtu_minutes),
    )


def _draft_nominated(inputs: BaselineInputs, event: Periods, gate: datetime) -> _Draft:
    where = f"nominated baseline of {inputs.table.connection}"
    in_time = [n for n in inputs.nominations if n.received_at <= gate]
    if not in_time:
        late = len(inputs.nominations)
        problem = Problem(
            where=where,
            what=f"no schedule was received by {format_utc(gate)} ({late} came later)",
            remedy="nominate before the gate, or contract another method",
        )
        raise InputError([problem])
    last = max(in_time, key=lambda n: n.received_at)
    if last.withdrawal_mw.shape != (event.count,) or not np.isfinite(last.withdrawal_mw).all():
        what = f"the schedule does not hold {event.count} finite values"
        raise InputError([Problem(where=where, what=what)])
    return _Draft(base_mw=last.withdrawal_mw.astype(float))


def evaluate_baseline(frozen: FrozenBaseline, table: LocalTable, known_at: datetime) -> Baseline:
    """Return the values of a frozen baseline, with the readings it waited for.

    Parameters
    ----------
    frozen : FrozenBaseline
        From `freeze_baseline`.
    table : LocalTable
        Readings of the same connection, with those after the gate.
    known_at : datetime
        Later readings are not seen.

    Raises
    ------
    InputError
        If a method that stands on readings around the event has none.
    """
    method, fallbacks = frozen.method, frozen.fallbacks
    before = None if frozen.window is None else table.values_at(frozen.window, seconds(known_at))
    after = None if frozen.after is None else table.values_at(frozen.after, seconds(known_at))
    late = ";".join(_text(part) for part in (before, after))
    if isinstance(method, MeterBeforeAfter):
        assert before is not None
        assert after is not None
        values = _between(method, frozen, before, after)
    else:
        assert frozen.base_mw is not None
        values = frozen.base_mw
        adjustment = method.adjustment if isinstance(method, DayAverage) else None
        if adjustment is not None:
            assert before is not None
            assert frozen.window_base_mw is not None
            values, more = adjust(values, frozen.window_base_mw, before, adjustment)
            fallbacks = (*fallbacks, *more)
    return Baseline(
        withdrawal_mw=values,
        frozen=frozen,
        late_sha256=sha256_hex(late.encode()),
        fallbacks=fallbacks,
    )


def _between(
    method: MeterBeforeAfter, frozen: FrozenBaseline, before: Floats, after: Floats
) -> Floats:
    """Return the mean of the readings around the event, or the line between them."""
    missing = int((~np.isfinite(before)).sum() + (~np.isfinite(after)).sum())
    if missing:
        problem = Problem(
            where=f"baseline {method.name} of {frozen.connection}",
            what=f"{missing} of {len(before) + len(after)} readings around the event are missing",
            remedy="wait for the readings, or settle by the method agreed for this case",
        )
        raise InputError([problem])
    if method.shape == "mean":
        return np.full(frozen.event.count, float(np.concatenate([before, after]).mean()))
    assert frozen.window is not None
    assert frozen.after is not None
    mtu, event = frozen.event.mtu, frozen.event
    left = -((event.start - frozen.window.end) / mtu + frozen.window.count / 2)
    right = event.count + (frozen.after.start - event.end) / mtu + frozen.after.count / 2
    centres = np.arange(event.count) + 0.5
    line = np.interp(centres, [left, right], [float(before.mean()), float(after.mean())])
    return np.asarray(line)


def _date(table: LocalTable, row: int) -> str:
    return (table.first + timedelta(days=row)).isoformat()


def _text(values: Floats | None) -> str:
    """Return numbers as hashed: 12 digits, ``nan`` where nothing is known."""
    return "" if values is None else ",".join(f"{value:.12g}" for value in values.tolist())


def _hash_draft(
    draft: _Draft,
    method: BaselineMethod,
    table: LocalTable,
    event: Periods,
    gate: datetime,
    days: tuple[str, ...],
) -> str:
    content: Mapping[str, object] = {
        "connection": table.connection,
        "method": method.name,
        "parameters": _parameters(method),
        "event": [event.start, event.count, event.mtu_minutes],
        "gate": gate,
        "base_mw": _text(draft.base_mw),
        "window": None if draft.window is None else [draft.window.start, draft.window.count],
        "window_base_mw": _text(draft.window_base_mw),
        "after": None if draft.after is None else [draft.after.start, draft.after.count],
        "days": ",".join(days),
        "fallbacks": list(draft.fallbacks),
    }
    return sha256_hex(canonical_json(content))


def _parameters(method: BaselineMethod) -> object:
    if isinstance(method, FixedProfile):
        profile = hashlib.sha256(np.ascontiguousarray(method.profile_mw).tobytes()).hexdigest()
        return {"profile": profile, "devices": method.devices}
    return method
