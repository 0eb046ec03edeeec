"""What the reader asks about, found in a run: the clearing, the order, the bus, the period."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from data.errors import InputError, Problem
from data.periods import parse_utc
from data.readers.result_folder import read_result
from data.records.clearing import ClearingCase, ClearingResult
from data.results import SUMMARY_FILE
from data.study import read_study
from data.study.copy_study import RESULT_FOLDER, study_of
from data.study.settings import SETTINGS_FILE

CLEARING_FOLDER: Final = "clearing"
NEAR_MAX: Final = 5


def find_clearing(run: Path) -> Path:
    """Return the result folder of a run: itself, the clearing of a day, or a study's result.

    Raises
    ------
    InputError
        If it is none of these.
    """
    # a day and a settlement have a summary too; only a clearing has prices with parts beside it
    for place in (run, run / CLEARING_FOLDER, run / RESULT_FOLDER):
        if (place / SUMMARY_FILE).is_file() and (place / "price_parts.csv").is_file():
            return place
    problem = Problem(
        where=str(run),
        what="holds no clearing",
        remedy="name what dso clear --out or dso day --out wrote",
    )
    raise InputError([problem])


def read_run(run: Path, study: Path | None) -> tuple[ClearingCase, ClearingResult]:
    """Read a clearing and the study it was made from.

    Raises
    ------
    InputError
        A run that holds no clearing, a study that is not its own, damaged files.
    """
    folder = find_clearing(run)
    place = study or study_of(folder)
    if not (place / SETTINGS_FILE).is_file():
        problem = Problem(
            where=str(place),
            what=f"holds no {SETTINGS_FILE}: what was asked for is read from the study",
            remedy="name the study folder with --study",
        )
        raise InputError([problem])
    case = read_study(place)
    return case, read_result(folder, case)


def find_order(case: ClearingCase, text: str, problems: list[Problem]) -> str:
    """Return the id of an order of the book."""
    ids = [order.id for order in case.orders]
    if text not in ids:
        problems.append(
            Problem(
                where=f"--order {text}",
                what=f"is none of the {len(ids)} orders of this clearing",
                remedy=_near(text, ids) if ids else "its book is empty",
            )
        )
    return text


def find_bus(case: ClearingCase, text: str, problems: list[Problem]) -> int:
    """Return the index of a bus in service, by its number or its name."""
    buses = case.network.buses
    used = [
        (int(index), name)
        for index, name, on in zip(buses.index, buses.name, buses.in_service, strict=True)
        if on
    ]
    by_number = {str(index): index for index, _ in used}
    by_name: dict[str, list[int]] = {}
    for index, name in used:
        by_name.setdefault(name, []).append(index)
    if text in by_number:
        return by_number[text]
    found = by_name.get(text, [])
    if len(found) == 1:
        return found[0]
    what = "is no bus in service of this network"
    remedy = _near(text, [*by_number, *by_name])
    if found:
        what = f"is the name of {len(found)} buses"
        remedy = f"give the number: {', '.join(map(str, found[:NEAR_MAX]))}"
    problems.append(Problem(where=f"--bus {text}", what=what, remedy=remedy))
    return -1


def find_period(case: ClearingCase, text: str, problems: list[Problem]) -> int:
    """Return the number of a period: its number from 0, its local start, or its start in UTC."""
    count, labels = len(case.periods), case.periods.labels()
    if text.isdigit() and int(text) < count:
        return int(text)
    zone = ZoneInfo(case.timezone)
    local = [start.astimezone(zone) for start in case.periods.starts]
    for form in ("%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"):
        found = [k for k, start in enumerate(local) if start.strftime(form) == text]
        if len(found) == 1:
            return found[0]
        if found:
            problems.append(
                Problem(
                    where=f"--period {text}",
                    what=f"starts {len(found)} periods",
                    remedy=f"give the start in UTC: {', '.join(labels[k] for k in found[:2])}",
                )
            )
            return -1
    try:
        return list(case.periods.starts).index(parse_utc(text))
    except ValueError:
        problems.append(
            Problem(
                where=f"--period {text}",
                what="is no period of this clearing",
                remedy=f"a number from 0 to {count - 1}, a local start from {local[0]:%H:%M}, or "
                f"a start in UTC such as {_nearest(text, case.periods.starts, labels)}",
            )
        )
        return -1


def _nearest(text: str, starts: Sequence[datetime], labels: Sequence[str]) -> str:
    """The start nearest to an instant of the reader's, else the first."""
    try:
        wanted = parse_utc(text)
    except ValueError:
        return labels[0]
    return labels[min(range(len(starts)), key=lambda k: abs(starts[k] - wanted))]


def _near(text: str, known: Sequence[str]) -> str:
    """Name the known words most like a text."""
    lowered = {word.lower(): word for word in known}
    near = difflib.get_close_matches(text.lower(), list(lowered), n=NEAR_MAX, cutoff=0.4)
    if not near:
        near = sorted(lowered)[:NEAR_MAX]
    return f"did you mean {', '.join(lowered[word] for word in near)}?"
