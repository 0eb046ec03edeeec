"""Real time: what each asset is told, from what binds when it begins and what devices report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from data.periods import format_utc
from data.units import quantise_mw
from dso.config import RealTimeRules
from dso.cycles.bought import bought_by_now, ordered_injection
from dso.cycles.clearing_files import INTRADAY
from dso.cycles.perform import CycleResult
from dso.cycles.schedule import NOTHING, Schedule
from dso.cycles.stages import Desk
from dso.cycles.timetable import DAY_AHEAD
from dso.cycles.traffic_light import clearing_folder, light_of_clearing
from dso.realtime.market_devices import (
    expected_others,
    flexible_loads,
    loads_to_shed,
    market_devices,
)
from dso.realtime.measured_minute import Minute, MinuteAnswer, correct_minute
from dso.realtime.steps import Escalation
from dso.store import DueCycle, Fallback, Light, StageKey
from dso.store.instructions import KeptInstruction, add_instructions, add_steps, times_shed
from dso.store.results import add_setpoints
from dso.store.telemetry import HeardTelemetry, has_telemetry, latest_telemetry
from dso.store.told import newest_setpoints
from opf.problems.monitored_grid import monitor_grid

WATTS_PER_MW: Final = 1_000_000
# A report older than this says nothing about now.
RECENT: Final = timedelta(minutes=3)
# So long a device may take to do what it is told.
PATIENCE: Final = timedelta(minutes=1)
LIGHTS: Final[tuple[Light, ...]] = ("green", "yellow", "orange", "red")
# The meter at the substation reports under this name, as a device that injects the import.
SUBSTATION: Final = "substation"
# What a row of the feeder itself says in the table of steps: a sentence, with its number.
NOTE: Final = "note"
NO_SCHEDULE: Final = CycleResult(
    light="orange",
    fallbacks=(
        Fallback(
            name="no_schedule",
            text="no_schedule: no clearing binds; devices follow their own needs",
        ),
    ),
)


def tell_setpoints(desk: Desk, due: DueCycle) -> CycleResult:
    """Tell every asset its power at one instant, and keep what was told.

    Where devices have reported lately, the setpoints are those that keep the limits of the grid as
    measured; where setpoints do not suffice, envelopes and the shed list are kept with them, and
    the light turns orange or red. Where none has, everybody is told its position.

    Only clearings that were published by now bind: one that waits for a signature, is late or was
    skipped leaves the positions before it in force. Without any, nobody is told anything and
    devices do as they would without the market.
    """
    plan = desk.plan
    if not desk.is_done("day_ahead"):
        return NO_SCHEDULE
    schedule, folder = _schedule_at(desk, due)
    schedule = _with_bought(desk, schedule, due.first_period)
    period = (due.first_period - plan.periods.start) // plan.periods.mtu
    if schedule.source[period] == NOTHING:
        return NO_SCHEDULE
    heard, missing = _heard(desk, due)
    answer = _correct(desk, due, schedule, period, heard) if heard.keys() - {SUBSTATION} else None
    corrected = {} if answer is None else _corrected(answer)
    watts = quantise_mw(schedule.position_mw[:, period]) * WATTS_PER_MW
    vars_ = quantise_mw(schedule.position_mvar[:, period]) * WATTS_PER_MW
    told = []
    for order, p, q in zip(schedule.orders, watts.tolist(), vars_.tolist(), strict=True):
        asset = order.asset or f"order:{order.id}"
        cells = corrected.get(asset) or _limited(answer, asset, round(p), round(q))
        told.append((asset, format_utc(due.first_period), *cells))
    key = StageKey(
        market=due.market, feeder=due.feeder, kind=DAY_AHEAD, first_period=plan.periods.start
    )
    with desk.services.store.transaction() as connection:
        add_setpoints(connection, key, told)
        if answer is not None and answer.escalation is not None:
            add_instructions(connection, key, _instructions(answer.escalation, due))
            add_steps(connection, key, _steps(answer.escalation, due, plan.rules.real_time))
    light = light_of_clearing(folder, (plan.periods.labels()[period],))
    texts = missing if answer is None else (*missing, *answer.fallbacks)
    return CycleResult(
        light=light if answer is None else max(light, _light(answer), key=LIGHTS.index),
        fallbacks=tuple(Fallback(name=text.partition(":")[0], text=text) for text in texts),
        notes=() if answer is None or answer.escalation is None else answer.escalation.notes,
    )


def _heard(desk: Desk, due: DueCycle) -> tuple[dict[str, HeardTelemetry], tuple[str, ...]]:
    """Return the recent reports of a feeder, and a fallback where there were some before."""
    at, feeder = due.first_period, due.feeder
    with desk.services.store.transaction() as connection:
        heard = latest_telemetry(connection, feeder, after=at - RECENT, known_at=at)
        if heard.keys() - {SUBSTATION} or not has_telemetry(connection, feeder, known_at=at):
            return heard, ()
    minutes = int(RECENT.total_seconds() // 60)
    return {}, (f"no_telemetry: no device has reported for {minutes} minutes; positions are told",)


def _correct(
    desk: Desk,
    due: DueCycle,
    schedule: Schedule,
    period: int,
    heard: dict[str, HeardTelemetry],
) -> MinuteAnswer:
    """Ask what keeps the limits of the grid as measured."""
    plan, now = desk.plan, due.first_period
    with desk.services.store.transaction() as connection:
        before = newest_setpoints(
            connection,
            market=due.market,
            feeder=due.feeder,
            after=now - plan.periods.mtu - PATIENCE,
            until=now - PATIENCE,
        )
        shed = times_shed(connection, market=due.market, feeder=due.feeder)
    at = monitor_grid(plan.network, plan.limits)
    told = {each.asset: each.p_w for each in before}
    devices = market_devices(schedule, plan.network, period, told)
    minute = Minute(
        now=now,
        others=expected_others(at, schedule, period, devices),
        reports={name: each.telemetry for name, each in heard.items() if name != SUBSTATION},
        exchange=_exchange(heard),
        loads=loads_to_shed(plan.network, schedule, period, shed),
        flexible=flexible_loads(schedule, period),
        price_eur_per_mwh=float(plan.import_price_eur_per_mwh[period]),
        fairness=plan.rules.real_time.envelopes,
        shed=plan.rules.real_time.shed,
    )
    return correct_minute(at, devices, minute)


def _exchange(heard: Mapping[str, HeardTelemetry]) -> complex | None:
    """Return the import by the substation's meter [MW + j Mvar]; it injects into the feeder."""
    if SUBSTATION not in heard:
        return None
    told = heard[SUBSTATION].telemetry
    return complex(told.p_w, told.q_var) / WATTS_PER_MW


def _corrected(answer: MinuteAnswer) -> dict[str, tuple[int, int, str]]:
    """Return W, var and reason of those who are told something else than their position."""
    return {
        name: (round(p * WATTS_PER_MW), round(q * WATTS_PER_MW), why)
        for name, p, q, why in zip(
            answer.name, answer.p_mw.tolist(), answer.q_mvar.tolist(), answer.reason, strict=True
        )
        if why
    }


def _limited(
    answer: MinuteAnswer | None, asset: str, p_w: int, q_var: int
) -> tuple[int, int, str | None]:
    """Bring the position of a load into what it is told beside: its envelope, or nothing."""
    why = None
    for told in () if answer is None or answer.escalation is None else answer.escalation.told:
        if told.asset != asset or told.p_min_w is None or told.p_max_w is None:
            continue
        inside = min(max(p_w, told.p_min_w), told.p_max_w)
        if inside != p_w:
            q_var = round(q_var * inside / p_w)
            p_w, why = inside, told.reason
    return p_w, q_var, why


def _light(answer: MinuteAnswer) -> Light:
    """Return yellow where setpoints mend it, else how far it went."""
    if answer.escalation is not None:
        return answer.escalation.step
    if answer.fallbacks:
        return "orange"
    return "yellow" if any(answer.reason) else "green"


def _instructions(step: Escalation, due: DueCycle) -> list[KeptInstruction]:
    return [
        KeptInstruction(
            asset=each.asset,
            kind=each.kind,
            valid_from=due.first_period,
            expires_at=each.expires_at,
            reason=each.reason,
            p_min_w=each.p_min_w,
            p_max_w=each.p_max_w,
        )
        for each in step.told
    ]


def _steps(step: Escalation, due: DueCycle, rules: RealTimeRules) -> list[tuple[object, ...]]:
    """Return the rows of a minute's steps: a connection each, and what was noted of the feeder."""
    rows: list[tuple[object, ...]] = [
        (
            format_utc(each.at),
            each.asset,
            each.what,
            each.step,
            round(each.from_mw * WATTS_PER_MW),
            round(each.to_mw * WATTS_PER_MW),
            each.why,
            each.rule,
        )
        for each in step.records
    ]
    for number, note in enumerate(step.notes, start=1):
        state, _, why = note.partition(": ")
        rule = rules.shed if state == "red" else rules.envelopes
        at = format_utc(due.first_period)
        rows.append((at, due.feeder, f"{NOTE} {number}", state, 0, 0, why, rule))
    return rows


def _with_bought(desk: Desk, schedule: Schedule, now: datetime) -> Schedule:
    """Add the flexibility that was bought for the day to the positions."""
    plan = desk.plan
    bought = ordered_injection(bought_by_now(desk, now), schedule.orders, len(plan.periods))
    return replace(schedule, position_mw=schedule.position_mw + bought)


def _schedule_at(desk: Desk, due: DueCycle) -> tuple[Schedule, Path]:
    """Return the schedule that binds in a period, and the folder of the clearing it is from."""
    plan, binding = desk.plan, []
    for at in plan.rounds():
        bound = replace(at.periods, count=at.binding)
        if bound.start <= due.first_period < bound.end and desk.is_done(
            "intraday", at.periods.start
        ):
            binding.append(at)
    folder = clearing_folder(plan, replace(due, cycle=DAY_AHEAD))
    if binding:
        folder = plan.out / INTRADAY / binding[-1].label
    return desk.positions.bound(plan, tuple(binding)), folder
