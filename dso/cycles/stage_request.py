"""The flexibility request: after each forecast, what every congestion point needs of the day."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import pretty_json, write_atomically
from data.records.clearing import ClearingCase
from data.records.forecast import Forecast
from dso.cycles.case import Book, expected_profiles, make_case
from dso.cycles.messages import tell_parties
from dso.cycles.outlook_files import OUTLOOK_CSV
from dso.cycles.plan import DayPlan
from dso.cycles.stage_forecast import FORECAST_FOLDER, day_ahead_forecast, updated_forecast
from dso.cycles.stages import Desk
from dso.cycles.timetable import FLEXIBILITY_REQUEST, day_timetable
from dso.cycles.uncertainty import injection_deviation, joint_scenarios, profiles_of
from dso.flexibility.request import (
    Issue,
    Requested,
    need_table,
    read_outlook_need,
    request_files,
    request_flexibility,
)
from dso.store import Connection, DueCycle
from opf.power_flow import PowerFlowDiverged
from opf.problems.outlook import outlook_around
from opf.problems.scenario_limits import ExpectedGrid, expected_grid

Floats = NDArray[np.float64]
REQUESTS: Final = "requests"
REQUESTS_JSON: Final = "requests.json"
SUMMARY: Final = "request_summary.json"
NO_OUTLOOK: Final = "no_outlook"


def request_folder(due: DueCycle) -> Path:
    """Return where a request is in the day folder."""
    return Path(FORECAST_FOLDER) / REQUESTS / due.due_at.strftime("%Y%m%dT%H%MZ")


def run_request(desk: Desk, due: DueCycle) -> str:
    """Publish a request per congestion point, on the newest forecast.

    The first of a day rests on the outlook that the day-ahead forecast left; later ones on an
    outlook of what is left of the day. Parties read it over the API once it is published.
    """
    plan = desk.plan
    inputs = {"forecast": desk.output_of("forecast")}
    if desk.is_done("forecast_update", due.first_period):
        inputs["update"] = desk.output_of("forecast_update", due.first_period)

    def work(folder: Path) -> None:
        place = folder / request_folder(due)
        issue = Issue(revision=_revision(plan, due), known_at=due.due_at)
        points, fallbacks = plan.feeder.congestion_points, []
        case = _case(plan, day_ahead_forecast(desk), due)
        asked = Requested(requests=(), needs={}, remarks=())
        try:
            expected = expected_grid(case)
            need = _need(desk, case, expected, due)
            asked = request_flexibility(case, need, points, issue, expected)
        except PowerFlowDiverged as error:
            fallbacks.append(f"{NO_OUTLOOK}: nothing is requested, {error}")
        plain = request_files(asked, case, points, issue)
        plain[SUMMARY] = {
            **_as_mapping(plain[SUMMARY]),
            "fallbacks": fallbacks,
            "light": "yellow" if asked.asks else "green",
        }
        for name, value in plain.items():
            write_atomically(place / name, pretty_json(value))
        write_atomically(place / "need.csv", need_table(asked, case.periods))

    def publish(connection: Connection) -> None:
        path = plan.out / request_folder(due) / REQUESTS_JSON
        tell_parties(connection, plan, json.loads(path.read_text(encoding="utf-8")))

    return desk.run_stage(FLEXIBILITY_REQUEST, inputs, work, start=due.first_period, keep=publish)


def _as_mapping(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, dict) else {}


def _revision(plan: DayPlan, due: DueCycle) -> int:
    """Return the number of the request among those of its day, from 1."""
    day = plan.delivery.day
    found = day_timetable(plan.rules, plan.feeder.id, day, requests=True)
    before = [
        each for each in found if each.cycle == FLEXIBILITY_REQUEST and each.due_at < due.due_at
    ]
    return 1 + len(before)


def _is_first(plan: DayPlan, due: DueCycle) -> bool:
    return due.due_at <= plan.day_ahead_gate


def _case(plan: DayPlan, day_ahead: Forecast, due: DueCycle) -> ClearingCase:
    """Return what is expected of the periods that a request is for, no order used."""
    forecast = day_ahead
    if not _is_first(plan, due):
        first = max(0, -((plan.periods.start - due.due_at) // plan.periods.mtu))
        forecast = updated_forecast(plan, day_ahead, due.due_at, plan.periods.from_index(first))
    return make_case(
        plan,
        name=f"{plan.feeder.id} {plan.delivery.day} expected",
        periods=forecast.periods,
        profiles=expected_profiles(plan, forecast, due.due_at),
        book=Book(orders=()),
    )


def _need(desk: Desk, case: ClearingCase, expected: ExpectedGrid, due: DueCycle) -> Floats:
    """Return what relieving each limit takes in 9 of 10 scenarios, shape (limits, periods) [MW]."""
    plan = desk.plan
    if _is_first(plan, due):
        path = desk.out / FORECAST_FOLDER / OUTLOOK_CSV
        return read_outlook_need(path, expected, case.periods)
    forecast = updated_forecast(plan, day_ahead_forecast(desk), due.due_at, case.periods)
    scenarios = joint_scenarios(plan, forecast, due.due_at)
    deviation = injection_deviation(plan, scenarios, profiles_of(case), due.due_at)
    return outlook_around(expected, deviation).need_mw_q90
