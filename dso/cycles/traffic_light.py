"""The state of the feeder in every result, as USEF's traffic light, and the fallbacks by name.

Green: no limit near. Yellow: a limit binds or would be broken without the market, and the market
solves it. Orange: it did not: a limit is priced at scarcity or broken, or a clearing binds nobody.
Red: emergency; a cycle failed and had no fallback.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from data.records.forecast import Forecast
from data.results import SUMMARY_FILE
from dso.cycles.bought_files import PURCHASE_FOLDER
from dso.cycles.case import expected_profiles
from dso.cycles.clearing_files import CLEARING, INTRADAY, is_binding
from dso.cycles.forecast_files import read_forecast
from dso.cycles.grid_replay import broken_limits, replay
from dso.cycles.meters_read import UNASSIGNED, find_unassigned
from dso.cycles.plan import DayPlan
from dso.cycles.stage_dispatch import DISPATCH_FOLDER
from dso.cycles.stage_forecast import FORECAST_FOLDER, LIGHT_FILE, update_folder
from dso.cycles.stage_purchase import NO_PURCHASE
from dso.cycles.stage_request import NO_OUTLOOK, request_folder
from dso.cycles.stage_request import SUMMARY as REQUEST_SUMMARY
from dso.cycles.stage_settlement import settlement_folder
from dso.cycles.timetable import (
    CLEARINGS,
    DAY_AHEAD,
    FLEXIBILITY_PURCHASE,
    FLEXIBILITY_REQUEST,
    FORECAST,
    FORECAST_UPDATE,
    SETTLEMENT,
)
from dso.flexibility.files import PURCHASE_JSON
from dso.store import DueCycle, Fallback, Light

GREEN: Final[Light] = "green"
# A price part of an element below this comes from rounding [EUR/MWh].
PART_FLOOR_EUR_PER_MWH: Final = 1e-3
# Names of fallbacks; a sentence of a result that begins with one and a colon bears that name.
NAMED: Final = (
    "missing_weather", "missing_forecast", "missing_readings", "last_forecast", "solver_timeout",
    "skipped", "not_released", "withheld", "failed", NO_OUTLOOK, NO_PURCHASE, UNASSIGNED,
)  # fmt: skip


def read_light(plan: DayPlan, due: DueCycle) -> Light:
    """Return the state of the feeder in the result of a cycle, from the files it left."""
    if due.cycle == FORECAST_UPDATE:
        light: Light = _load(plan.out / update_folder(due.first_period) / LIGHT_FILE)["light"]
        return light
    if due.cycle == FLEXIBILITY_REQUEST:
        asked: Light = _load(plan.out / request_folder(due) / REQUEST_SUMMARY)["light"]
        return asked
    if due.cycle == FLEXIBILITY_PURCHASE:
        bought: Light = _load(plan.out / PURCHASE_FOLDER / PURCHASE_JSON)["state"]
        return bought
    if due.cycle == FORECAST:
        forecast = read_forecast(plan.out / FORECAST_FOLDER, plan.periods)
        return light_of_forecast(plan, forecast)
    if due.cycle in CLEARINGS:
        return light_of_clearing(clearing_folder(plan, due), _binding_labels(plan, due))
    return _light_of_day(plan)


def clearing_folder(plan: DayPlan, due: DueCycle) -> Path:
    """Return where the clearing of a cycle has its files."""
    if due.cycle == DAY_AHEAD:
        return plan.out / CLEARING
    return plan.out / INTRADAY / due.first_period.strftime("%Y%m%dT%H%MZ")


def light_of_clearing(folder: Path, periods: Collection[str]) -> Light:
    """Return the light of a clearing in some of its periods.

    Orange where it has no certificate or a limit of theirs is broken at the scarcity price, yellow
    where a branch or a voltage makes a price, else green.

    Parameters
    ----------
    folder : Path
        Of the clearing.
    periods : collection of str
        Starts of the periods, UTC text.
    """
    summary = _load(folder / SUMMARY_FILE)
    if not is_binding(summary["status"]):
        return "orange"
    if any(each["period_start"] in periods for each in summary["violations"]):
        return "orange"
    return "yellow" if any(_limits_with_price(folder, periods)) else "green"


def read_fallbacks(plan: DayPlan, due: DueCycle) -> tuple[Fallback, ...]:
    """Return the fallbacks that the result of a cycle rests on."""
    found: list[str] = []
    if due.cycle == FORECAST_UPDATE:
        place = plan.out / update_folder(due.first_period)
        found += _load(place / "forecast.json").get("fallbacks", ())
    elif due.cycle == FLEXIBILITY_REQUEST:
        found += _load(plan.out / request_folder(due) / REQUEST_SUMMARY)["fallbacks"]
    elif due.cycle == FLEXIBILITY_PURCHASE:
        found += _load(plan.out / PURCHASE_FOLDER / PURCHASE_JSON)["fallbacks"]
    elif due.cycle == FORECAST:
        found += _load(plan.out / FORECAST_FOLDER / "forecast.json").get("fallbacks", ())
    elif due.cycle in CLEARINGS:
        summary = _load(clearing_folder(plan, due) / SUMMARY_FILE)
        if not is_binding(summary["status"]):
            found.append(summary["message"] or "uncertified_clearing: no certificate")
        if due.cycle != DAY_AHEAD:
            label = due.first_period.strftime("%Y%m%dT%H%MZ")
            notes = _load(plan.out / FORECAST_FOLDER / "intraday" / f"{label}.json")
            found += [text for text in notes.get("fallbacks", ()) if text not in found]
    elif due.cycle == SETTLEMENT:
        place = plan.out / settlement_folder(due.revision)
        found += [f"{UNASSIGNED}: {each}, left out" for each in find_unassigned(place)]
    return tuple(Fallback(name=name_of(text), text=text) for text in found)


def name_of(text: str) -> str:
    """Return the name of a fallback from the sentence in the result.

    Examples
    --------
    >>> name_of("solver_timeout: the time of the clearing was over")
    'solver_timeout'
    >>> name_of("uncertified: the positions of before hold")
    'uncertified_clearing'
    >>> name_of("load: 2 days at some hour; spread of 10% assumed")
    'thin_history'
    """
    start = text.partition(":")[0]
    if start in NAMED:
        return start
    if start.startswith(("uncertified", "infeasible", "no schedule", "no AC power flow")):
        return "uncertified_clearing"
    return "thin_history"


def light_of_forecast(plan: DayPlan, forecast: Forecast) -> Light:
    """Return yellow where the median of a forecast breaks a limit without the market."""
    profiles = expected_profiles(plan, forecast, forecast.known_at)
    report = replay(plan.network, plan.limits, profiles, ())
    return "yellow" if broken_limits(report) else "green"


def _light_of_day(plan: DayPlan) -> Light:
    """Return the light of what devices did, against the day without the market."""
    figures = _load(plan.out / DISPATCH_FOLDER / "replay.json")
    if figures["with_market"]["periods_violated"]:
        return "orange"
    return "yellow" if figures["without_market"]["periods_violated"] else "green"


def _binding_labels(plan: DayPlan, due: DueCycle) -> frozenset[str]:
    """Return the starts of the periods in which a clearing binds."""
    if due.cycle == DAY_AHEAD:
        return frozenset(plan.periods.labels())
    for at in plan.rounds():
        if at.periods.start == due.first_period:
            return frozenset(at.periods.labels()[: at.binding])
    return frozenset()


def _limits_with_price(folder: Path, periods: Collection[str]) -> Iterator[bool]:
    """Tell of each price part in the periods whether a branch or a voltage makes it."""
    with (folder / "price_parts.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["period_start"] in periods and row["element_kind"] != "ext_grid":
                yield abs(float(row["p_eur_per_mwh"] or 0.0)) > PART_FLOOR_EUR_PER_MWH


def _load(path: Path) -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded
