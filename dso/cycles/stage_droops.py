"""Droops: what plants do over their own voltage while nobody calls, told before a day begins."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from data.canonical import pretty_json, write_atomically
from data.periods import format_utc
from dispatch.dispatcher import Told
from dso.cycles.case import expected_profiles
from dso.cycles.grid_replay import bus_injections
from dso.cycles.plan import DayPlan
from dso.cycles.stage_dispatch import DISPATCH_FOLDER
from dso.cycles.stage_forecast import day_ahead_forecast
from dso.cycles.stages import Desk
from dso.cycles.timetable import DROOPS
from dso.realtime.fallbacks import Expected, droops_ahead
from dso.realtime.fleet import fleet_of_network
from dso.store import DueCycle, StageKey
from dso.store.instructions import KeptInstruction, add_instructions
from opf.problems.monitored_grid import monitor_grid
from opf.problems.volt_var import DroopAnswer

DROOPS_JSON: Final = "droops.json"
DROOPS_SHORT: Final = "droops_short"
NO_DROOPS: Final = "no_droops"
# They hold on for a day that the market does not run, too.
HOLD_ON: Final = timedelta(days=1)


def run_droops(desk: Desk, due: DueCycle) -> dict[str, Any]:
    """Choose the droops of a day on its forecast and keep them to be told.

    Plants follow them where no setpoint is in force, from now until a day after the delivery day
    has ended; those of the next day replace them.

    Returns
    -------
    dict
        What ``dispatch/droops.json`` says.
    """
    plan, chosen = desk.plan, list[tuple[Told, ...]]()

    def work(folder: Path) -> None:
        told, answer = choose_droops_of(desk)
        chosen.append(told)
        path = folder / DISPATCH_FOLDER / DROOPS_JSON
        write_atomically(path, pretty_json(_record(plan, due, told, answer)))

    desk.run_stage(DROOPS, {"forecast": desk.output_of("forecast")}, work)
    # A worker that ended between files and table left no rows: they are chosen again, the same.
    told = chosen[0] if chosen else choose_droops_of(desk)[0]
    key = StageKey(
        market=due.market, feeder=due.feeder, kind=DROOPS, first_period=plan.periods.start
    )
    with desk.services.store.transaction() as connection:
        add_instructions(connection, key, [_kept(each, due) for each in told])
    found: dict[str, Any] = json.loads(
        (plan.out / DISPATCH_FOLDER / DROOPS_JSON).read_text(encoding="utf-8")
    )
    return found


def choose_droops_of(desk: Desk) -> tuple[tuple[Told, ...], DroopAnswer | None]:
    """Choose the droops of a day on what its forecast expects of loads and plants.

    Returns
    -------
    (told, answer)
        Letters for every plant, and what the choice rests on; nothing where a feeder has none.
    """
    plan = desk.plan
    if not plan.network.sgens.in_service.any():
        return (), None
    forecast = day_ahead_forecast(desk)
    profiles = expected_profiles(plan, forecast, forecast.known_at)
    fleet, at = fleet_of_network(plan.network), monitor_grid(plan.network, plan.limits)
    available = profiles.sgen_p_mw[:, fleet.sgen_columns].T
    p, q = bus_injections(plan.network, profiles, ())
    loads = p + 1j * q
    row = {int(bus): k for k, bus in enumerate(plan.network.buses.index)}
    for k, bus in enumerate(fleet.plants.buses):
        column = int(fleet.sgen_columns[k])
        loads[row[bus]] -= available[k] + 1j * profiles.sgen_q_mvar[:, column]
    expected = Expected(loads=loads, available_mw=available)
    return droops_ahead(at, fleet, plan.limits, expected, plan.periods.end + HOLD_ON)


def _record(
    plan: DayPlan, due: DueCycle, told: tuple[Told, ...], answer: DroopAnswer | None
) -> dict[str, object]:
    """Return what was chosen, on what, and what it does in the expected states."""
    record: dict[str, object] = {
        "day": plan.delivery.day.isoformat(),
        "from": format_utc(due.due_at),
        "until": format_utc(plan.periods.end + HOLD_ON),
        "assets": [each.asset for each in told],
        "fallbacks": [],
    }
    if answer is None:
        return record
    settings, worst = answer.settings, 100.0 * answer.over_with
    short = f"without setpoints a limit would be exceeded by {worst:.1f} % of itself"
    return record | {
        "dead_band_pu_below_limit": settings.dead,
        "full_pu_below_limit": settings.full,
        "watt_pu_below_limit": settings.watt,
        "settings_tried": answer.tried,
        "holds": answer.holds,
        "excess_percent_without": round(100.0 * answer.over_without, 3),
        "excess_percent_with": round(worst, 3),
        "curtailed_mw_mean": round(answer.curtailed_mw, 6),
        "reactive_mvar_mean": round(answer.reactive_mvar, 6),
        "fallbacks": [] if answer.holds else [f"{DROOPS_SHORT}: {short}"],
    }


def _kept(told: Told, due: DueCycle) -> KeptInstruction:
    return KeptInstruction(
        asset=told.asset,
        kind="droop",
        valid_from=due.due_at,
        expires_at=told.expires_at,
        reason=told.reason,
        droop=told.droop,
    )
