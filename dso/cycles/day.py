"""One delivery day, end to end: its cycles, in the order of the timetable."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from dso.bootstrap import open_services
from dso.config import Feeder, MarketRules
from dso.cycles.perform import perform_cycle
from dso.cycles.plan import ABOUT_FILE, plan_day
from dso.cycles.stage_report import (
    REPORT_FILE,
    clearing_statuses,
    summary_lines,
    worst_exit_code,
    write_about,
)
from dso.cycles.stages import Desk, working_alone
from dso.cycles.timetable import day_timetable
from dso.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class DayOutcome:
    """What a finished day says on the screen.

    Parameters
    ----------
    report : Path
        The page.
    summary_lines : tuple of str
        The day in a few lines.
    exit_code : int
        Of the worst clearing: 0 all certified, 4 one needed slack on a limit, 3 one is uncertified
        or infeasible (its orders keep the positions they had).
    """

    report: Path
    summary_lines: tuple[str, ...]
    exit_code: int


def run_day(
    *,
    day: date,
    out: Path,
    keys: Path,
    store_url: str | None,
    feeder: Feeder,
    rules: MarketRules,
    progress: Progress,
) -> DayOutcome:
    """Run a delivery day, or go on with one that was stopped; the result is the same bytes.

    Parameters
    ----------
    day : date
        Local delivery day.
    out : Path
        The day folder: new, empty, or of the same day.
    keys : Path
        The operator's key folder, made on first use.
    store_url : str or None
        Database of stages and ledger; None: an SQLite file in ``out``.
    feeder, rules : Feeder, MarketRules
        Configuration in force on the day.
    progress : Progress
        Hears of the seven stages.

    Raises
    ------
    InputError
        With all problems of configuration, records and folder; then nothing is written.
    """
    plan = plan_day(day=day, out=out, feeder=feeder, rules=rules)
    with closing(open_services(store_url, out=out, keys=keys)) as services, working_alone(out):
        if not (out / ABOUT_FILE).exists():
            write_about(plan)
        desk = Desk(plan=plan, services=services, progress=progress)
        was_done = desk.is_done("report")
        # Setpoints of a past day are told by its dispatch, all at once.
        for due in day_timetable(rules, feeder.id, day, real_time=False):
            perform_cycle(desk, due)
    again = ("This day was finished before: its files were checked, nothing was run again.",)
    return DayOutcome(
        report=out / REPORT_FILE,
        summary_lines=(again if was_done else ()) + summary_lines(plan),
        exit_code=worst_exit_code(clearing_statuses(plan)),
    )
