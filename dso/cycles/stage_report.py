"""Stage 7, report: one page for the operator, and the day in a few lines for the screen."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from data.canonical import pretty_json, write_atomically
from data.records.clearing import EXIT_CODES, Status
from dso.cycles.clearing_files import CLEARING, INTRADAY, read_status
from dso.cycles.outlook_files import OUTLOOK_JSON
from dso.cycles.plan import ABOUT_FILE, DayPlan
from dso.cycles.stage_dispatch import DISPATCH_FOLDER
from dso.cycles.stage_forecast import FORECAST_FOLDER
from dso.cycles.stage_posting import BUNDLE_FOLDER
from dso.cycles.stage_settlement import SETTLEMENT_FOLDER
from dso.cycles.stages import Desk
from dso.cycles.uncertainty import MARGINS_JSON

REPORT_FILE: Final = "report.html"
STAGES: Final = (
    "forecast", "orders", "clearing", "dispatch", "settlement", "posting", "report",
)  # fmt: skip
# A note about one element of the network begins with it; of many alike so many are named.
ELEMENT: Final = re.compile(r"([a-z_]+:\d+): ")
NAMED_MAX: Final = 3
# From good to bad: a limit priced at scarcity is still a schedule, no certificate is none.
WORST_LAST: Final[tuple[Status, ...]] = (
    "certified", "certified_with_slack", "uncertified", "infeasible",
)  # fmt: skip


def run_report(desk: Desk, posting_sha256: str) -> str:
    """Complete ``day.json`` with what had to be assumed, and write the page."""
    desk.progress.stage("7/7 report")
    plan = desk.plan

    def work(folder: Path) -> None:
        # The page is read from the day folder, so its description has to stand there first.
        write_about(plan, notes=day_notes(plan))
        from dso.report import build_report

        write_atomically(folder / REPORT_FILE, build_report(plan.out))

    done = desk.run_stage("report", {"posting": posting_sha256}, work)
    desk.progress.step("page")
    return done


def write_about(plan: DayPlan, *, notes: tuple[str, ...] = ()) -> None:
    """Write ``day.json``: what the folder is; with it the folder counts as a day's."""
    about = plan.about()
    about["stages"] = [{"name": name} for name in STAGES]
    about["notes"] = notes
    write_atomically(plan.out / ABOUT_FILE, pretty_json(about))


def day_notes(plan: DayPlan) -> tuple[str, ...]:
    """Return every fallback, warning and remark of forecasts and rounds, each once, by source."""
    notes: dict[str, list[str]] = {}
    sources = [("day-ahead forecast", plan.out / FORECAST_FOLDER / "forecast.json")]
    sources += [
        (f"round {at.label}", plan.out / FORECAST_FOLDER / "intraday" / f"{at.label}.json")
        for at in plan.rounds()
    ]
    sources += [
        (source, path)
        for source, path in (
            ("day-ahead margins", plan.out / FORECAST_FOLDER / MARGINS_JSON),
            ("congestion outlook", plan.out / FORECAST_FOLDER / OUTLOOK_JSON),
        )
        if path.is_file()
    ]
    for source, path in sources:
        said = _load(path)
        for kind in ("fallbacks", "warnings", "remarks"):
            for text in said.get(kind, ()):
                notes.setdefault(text, []).append(source)
    status = read_status(plan.out / CLEARING)
    if EXIT_CODES[_status(status)] == EXIT_CODES["uncertified"]:
        notes[f"{status}: nothing was sold day-ahead"] = ["day-ahead clearing"]
    return notes_together(notes)


def notes_together(notes: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Say once what is noted of several elements, and name the first of them.

    Parameters
    ----------
    notes : mapping of str to sequence of str
        Where each note is from; ``load:3: ...`` is one about an element.

    Examples
    --------
    >>> notes_together({"load:3: no readings": ["forecast"], "load:5: no readings": ["forecast"]})
    ('load:3 and load:5: no readings (forecast)',)
    """
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for text, found in notes.items():
        element = ELEMENT.match(text)
        rest, name = (text[element.end() :], element[1]) if element else (text, "")
        alike.setdefault((rest, tuple(found)), []).append(name)
    return tuple(
        f"{_named(names)}{rest} ({found[0]}{f' and {len(found) - 1} more' if found[1:] else ''})"
        for (rest, found), names in alike.items()
    )


def _named(names: Sequence[str]) -> str:
    """Return the elements that a note begins with; of many the first few and how many more."""
    if not any(names):
        return ""
    listed, more = list(names[:NAMED_MAX]), len(names) - NAMED_MAX
    if more > 0:
        listed.append(f"{more} more")
    *first, last = listed
    return f"{', '.join(first)} and {last}: " if first else f"{last}: "


def clearing_statuses(plan: DayPlan) -> tuple[Status, ...]:
    """Return the status of the day-ahead clearing, then of every round."""
    folders = [plan.out / CLEARING]
    folders += [plan.out / INTRADAY / at.label for at in plan.rounds()]
    return tuple(_status(read_status(folder)) for folder in folders)


def worst_exit_code(statuses: tuple[Status, ...]) -> int:
    """Return the exit code of the worst clearing: 0, else 4 (slack), else 3 (no certificate).

    Examples
    --------
    >>> worst_exit_code(("certified", "certified_with_slack", "certified"))
    4
    >>> worst_exit_code(("certified_with_slack", "uncertified"))
    3
    """
    return EXIT_CODES[max(statuses, key=WORST_LAST.index)]


def summary_lines(plan: DayPlan) -> tuple[str, ...]:
    """Tell the day in a few lines, every number with its unit."""
    replay = _load(plan.out / DISPATCH_FOLDER / "replay.json")
    money = _load(plan.out / SETTLEMENT_FOLDER / "summary.json")
    statuses = clearing_statuses(plan)
    count = len(plan.periods)
    certified = sum(1 for status in statuses if status == "certified")
    parties = sum(1 for name in money["participants_micro_eur"] if not name.startswith("account:"))
    checkpoint = (plan.out / BUNDLE_FOLDER / "checkpoint").read_text(encoding="utf-8").split("\n")
    day = f"{plan.delivery.day}, {plan.feeder.name}"
    broken = ", in ".join(
        f"{replay[scenario]['periods_violated']} {words}"
        for scenario, words in (
            ("without_market", "without the market"),
            ("schedule", "of the schedule"),
            ("with_market", "as devices delivered"),
        )
    )
    cleared = f"{certified} of {len(statuses)} (day-ahead and {len(statuses) - 1} intraday rounds)"
    settled = f"{money['lines']} lines, {parties} participants, sum {money['sum_micro_eur']}"
    lines = [
        f"{day}: {count} periods of {plan.delivery.mtu_minutes} min",
        f"Periods with a broken limit: in {broken} ({replay['schedule']['engine']})",
        f"Clearings certified: {cleared}",
        f"Settlement: {settled} micro-EUR",
        f"Ledger: {checkpoint[1]} leaves, root {checkpoint[2]}; bundle verified offline",
    ]
    lines += [f"Note: {note}" for note in day_notes(plan)]
    return tuple(lines)


def _status(text: str) -> Status:
    return next(status for status in WORST_LAST if status == text)


def _load(path: Path) -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded
