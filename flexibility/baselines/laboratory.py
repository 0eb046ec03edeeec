"""The laboratory: what each method would have said on days without any event.

Every working day after the warm-up is taken as if an activation had been called: baselines are
frozen at the gate of the day before and compared with what was metered. On such days the truth is
the meter, so error and bias are those of the method alone. Error = mean |baseline - meter|, bias =
mean (baseline - meter), both divided by the mean of the meter over all events; a positive bias pays
for reductions that nobody made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, time, timedelta

import numpy as np

from data.errors import InputError
from data.periods import DeliveryDay, Periods
from flexibility.baselines.contract import BaselineInputs, evaluate_baseline, freeze_baseline
from flexibility.baselines.history import Floats, LocalTable, seconds
from flexibility.baselines.methods import BaselineMethod, FixedProfile, Nomination


@dataclass(frozen=True, slots=True, kw_only=True)
class LabRules:
    """Which events the laboratory pretends.

    Parameters
    ----------
    start : time
        Local start of the events.
    event_h : float
        Their length [h].
    gate : time
        Local gate closure on the day before.
    warm_up_days : int
        Days before the first event.
    known_after_h : float
        Baselines are evaluated so long after the event [h].
    """

    start: time = time(17)
    event_h: float = 2.0
    gate: time = time(12)
    warm_up_days: int = 28
    known_after_h: float = 48.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LabMethod:
    """A method as the laboratory runs it.

    ``nominate`` gives the schedule that an honest party announces for an event, known at the gate.
    """

    name: str
    method: BaselineMethod
    nominate: Callable[[LocalTable, Periods, int], Floats] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabRun:
    """Baselines and meters of all pretended events.

    Parameters
    ----------
    events : tuple of Periods
        The pretended events.
    actual_mw : ndarray, shape (connections, events, periods)
        What was metered [MW].
    baseline_mw : ndarray, shape (methods, connections, events, periods)
        What each method said [MW]; NaN where it refused.
    fallbacks : tuple of int
        Baselines of each method that had to give something up.
    """

    methods: tuple[str, ...]
    connections: tuple[str, ...]
    events: tuple[Periods, ...]
    actual_mw: Floats
    baseline_mw: Floats
    fallbacks: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodScore:
    """How one method did, shares of the mean load in the events.

    ``error_*`` and ``bias_*`` are over connections: median, 10th and 90th percentile;
    ``portfolio_*`` are those of the sum of all connections. ``refused`` baselines were not given.
    """

    method: str
    error_median: float
    error_low: float
    error_high: float
    bias_median: float
    bias_low: float
    bias_high: float
    portfolio_error: float
    portfolio_bias: float
    refused: int
    fallbacks: int
    baselines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryScore:
    """What listed events delivered by one method: the money of another contract.

    ``delivered_mwh`` counts less withdrawal only, period by period, as flexibility is paid;
    ``net_mwh`` is baseline less meter with its sign. ``refused`` events had no baseline.
    """

    method: str
    events: int
    refused: int
    delivered_mwh: float
    net_mwh: float


def last_week(table: LocalTable, event: Periods, known_s: int) -> Floats:
    """Nominate what was metered a week before: the schedule of a party without a forecast."""
    before = Periods(
        start=event.start - timedelta(days=7), count=event.count, mtu_minutes=event.mtu_minutes
    )
    return table.values_at(before, known_s)


def profile_of_others(tables: Sequence[LocalTable], days: int) -> FixedProfile:
    """Return a reference profile: the mean of connections over the first days [MW].

    Parameters
    ----------
    tables : sequence of LocalTable
        Connections that the profile stands for.
    days : int
        Days averaged.
    """
    rows = []
    for working in (True, False):
        of_kind = [t.withdrawal_mw[:days][t.working[:days] == working] for t in tables]
        stacked = np.concatenate(of_kind)
        seen = np.isfinite(stacked)
        total = np.where(seen, stacked, 0.0).sum(axis=0)
        rows.append(total / np.maximum(seen.sum(axis=0), 1))
    return FixedProfile(profile_mw=np.array(rows))


def pretended_events(table: LocalTable, rules: LabRules) -> tuple[Periods, ...]:
    """Return one event on each working day after the warm-up, with a day after it in the table."""
    return tuple(
        event_on(table, row, rules)
        for row in range(rules.warm_up_days, len(table.working) - 1)
        if table.working[row]
    )


def event_on(table: LocalTable, row: int, rules: LabRules) -> Periods:
    """Return the event of a day, at the time of day of the rules."""
    mtu = table.periods.mtu_minutes
    start = DeliveryDay(day=_date(table, row), timezone=table.timezone).instant(rules.start)
    return Periods(start=start, count=round(rules.event_h * 60 / mtu), mtu_minutes=mtu)


def measure_delivery(
    tables: Sequence[LocalTable],
    methods: Sequence[LabMethod],
    rules: LabRules,
    event_rows: Mapping[str, frozenset[int]],
    temperature: LocalTable | None = None,
) -> tuple[DeliveryScore, ...]:
    """Settle listed events by every method in parallel.

    Parameters
    ----------
    event_rows : mapping of connection to rows
        Days with an event at the time of day of ``rules``; they are in no average.
    """
    scores = []
    for method in methods:
        events = refused = 0
        delivered = net = 0.0
        for table in tables:
            rows = event_rows.get(table.connection, frozenset())
            inputs = BaselineInputs(table=table, temperature=temperature, excluded_days=rows)
            for row in sorted(rows):
                event = event_on(table, row, rules)
                said, _ = _one(method, inputs, event, rules)
                less = (said - table.values_at(event, np.iinfo(np.int64).max - 1)) * event.mtu_h
                events += 1
                if not np.isfinite(less).all():
                    refused += 1
                    continue
                delivered += float(np.maximum(less, 0.0).sum())
                net += float(less.sum())
        scores.append(
            DeliveryScore(
                method=method.name,
                events=events,
                refused=refused,
                delivered_mwh=delivered,
                net_mwh=net,
            )
        )
    return tuple(scores)


def _date(table: LocalTable, row: int) -> date:
    return table.first + timedelta(days=row)


def run_laboratory(
    tables: Sequence[LocalTable],
    methods: Sequence[LabMethod],
    rules: LabRules,
    temperature: LocalTable | None = None,
) -> LabRun:
    """Pretend events and let every method say its baselines.

    Parameters
    ----------
    tables : sequence of LocalTable
        Connections over the same days.
    methods : sequence of LabMethod
        What is compared.
    temperature : LocalTable or None
        Of the place [degC].
    """
    events = pretended_events(tables[0], rules)
    count = events[0].count if events else 0
    actual = np.full((len(tables), len(events), count), np.nan)
    said = np.full((len(methods), len(tables), len(events), count), np.nan)
    given_up = [0] * len(methods)
    for place, table in enumerate(tables):
        inputs = BaselineInputs(table=table, temperature=temperature)
        for number, event in enumerate(events):
            actual[place, number] = table.values_at(event, np.iinfo(np.int64).max - 1)
            for which, method in enumerate(methods):
                values, fell_back = _one(method, inputs, event, rules)
                said[which, place, number] = values
                given_up[which] += fell_back
    return LabRun(
        methods=tuple(m.name for m in methods),
        connections=tuple(t.connection for t in tables),
        events=events,
        actual_mw=actual,
        baseline_mw=said,
        fallbacks=tuple(given_up),
    )


def _one(
    method: LabMethod, inputs: BaselineInputs, event: Periods, rules: LabRules
) -> tuple[Floats, bool]:
    table = inputs.table
    day = DeliveryDay(day=_date(table, int(table.place(event)[0][0])), timezone=table.timezone)
    gate = day.instant(rules.gate, days_before=1)
    if method.nominate is not None:
        schedule = method.nominate(table, event, seconds(gate))
        if not np.isfinite(schedule).all():
            return np.full(event.count, np.nan), False
        nomination = Nomination(received_at=gate, withdrawal_mw=schedule)
        inputs = replace(inputs, nominations=(nomination,))
    try:
        frozen = freeze_baseline(method.method, inputs, event, gate)
        later = event.end + timedelta(hours=rules.known_after_h)
        found = evaluate_baseline(frozen, table, later)
    except InputError:  # a refusal is a result here, it is counted
        return np.full(event.count, np.nan), False
    return found.withdrawal_mw, bool(found.fallbacks)


def score_methods(run: LabRun) -> tuple[MethodScore, ...]:
    """Reduce a run to error and bias of each method, in the sequence of the run."""
    scores = []
    for which, name in enumerate(run.methods):
        said = run.baseline_mw[which]
        good = np.isfinite(said).all(axis=2) & np.isfinite(run.actual_mw).all(axis=2)
        error, bias = _shares(said, run.actual_mw, good)
        together = good.all(axis=0)
        total_said = said[:, together].sum(axis=0)[None]
        total = run.actual_mw[:, together].sum(axis=0)[None]
        whole = np.ones((1, total.shape[1]), dtype=bool)
        portfolio_error, portfolio_bias = _shares(total_said, total, whole)
        scores.append(
            MethodScore(
                method=name,
                error_median=_percentile(error, 50),
                error_low=_percentile(error, 10),
                error_high=_percentile(error, 90),
                bias_median=_percentile(bias, 50),
                bias_low=_percentile(bias, 10),
                bias_high=_percentile(bias, 90),
                portfolio_error=_percentile(portfolio_error, 50),
                portfolio_bias=_percentile(portfolio_bias, 50),
                refused=int((~np.isfinite(said).all(axis=2)).sum()),
                fallbacks=run.fallbacks[which],
                baselines=said.shape[0] * said.shape[1],
            )
        )
    return tuple(scores)


def _shares(said: Floats, actual: Floats, good: np.ndarray) -> tuple[Floats, Floats]:
    """Return error and bias of each connection as shares of its mean load."""
    difference = np.where(good[:, :, None], said - actual, 0.0)
    count = np.maximum(good.sum(axis=1) * said.shape[2], 1)
    load = np.where(good[:, :, None], actual, 0.0).sum(axis=(1, 2)) / count
    usable = good.any(axis=1) & (load > 0)
    error = np.abs(difference).sum(axis=(1, 2)) / count
    bias = difference.sum(axis=(1, 2)) / count
    return error[usable] / load[usable], bias[usable] / load[usable]


def _percentile(values: Floats, percent: float) -> float:
    return float(np.percentile(values, percent)) if values.size else float("nan")
