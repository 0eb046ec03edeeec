"""Real time: what each asset is told for one period, from what binds when it begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from data.periods import format_utc
from data.units import quantise_mw
from dso.cycles.clearing_files import INTRADAY
from dso.cycles.perform import CycleResult
from dso.cycles.schedule import NOTHING, Schedule
from dso.cycles.stages import Desk
from dso.cycles.timetable import DAY_AHEAD
from dso.cycles.traffic_light import clearing_folder, light_of_clearing
from dso.store import DueCycle, Fallback, StageKey
from dso.store.results import add_setpoints

WATTS_PER_MW: Final = 1_000_000
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

    Only clearings that were published by now bind: one that waits for a signature, is late or was
    skipped leaves the positions before it in force. Without any, nobody is told anything and
    devices do as they would without the market.
    """
    plan = desk.plan
    if not desk.is_done("day_ahead"):
        return NO_SCHEDULE
    schedule, folder = _schedule_at(desk, due)
    period = (due.first_period - plan.periods.start) // plan.periods.mtu
    if schedule.source[period] == NOTHING:
        return NO_SCHEDULE
    watts = quantise_mw(schedule.position_mw[:, period]) * WATTS_PER_MW
    vars_ = quantise_mw(schedule.position_mvar[:, period]) * WATTS_PER_MW
    told = [
        (order.asset or f"order:{order.id}", format_utc(due.first_period), round(p), round(q), None)
        for order, p, q in zip(schedule.orders, watts.tolist(), vars_.tolist(), strict=True)
    ]
    store = desk.services.store
    key = StageKey(
        market=due.market, feeder=due.feeder, kind=DAY_AHEAD, first_period=plan.periods.start
    )
    with store.transaction() as connection:
        add_setpoints(connection, key, told)
    label = plan.periods.labels()[period]
    return CycleResult(light=light_of_clearing(folder, (label,)), fallbacks=())


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
