"""Hosting capacity of buses for one technology, over the periods of one or more studies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.canonical import pretty_json
from data.csv_table import read_table, table_bytes
from data.errors import InputError, Problem, refuse_if_any
from data.periods import Periods, parse_utc
from data.readers.simbench import RecordedProfiles, load_simbench
from data.records.clearing import ClearingCase
from data.records.network import Network
from data.study.network_reference import SIMBENCH
from dso.progress import Progress, SilentProgress
from dso.studies.study import Study
from opf.grid import build_grid
from opf.problems.hosting import (
    Addition,
    HostingCapacity,
    hosting_capacities,
    hosting_with_market,
)

Floats = NDArray[np.float64]
Technology = Literal["pv", "ev", "heat_pump"]
TECHNOLOGIES: Final[dict[Technology, tuple[str, float]]] = {
    "pv": ("PV", 1.0),
    "ev": ("EV charging", -1.0),
    "heat_pump": ("heat pumps", -1.0),
}
"""Name, and the sign of what it injects."""
PROFILE_COLUMNS: Final = ("period_start", "share")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostingQuestion:
    """What is added, and how finely it is searched.

    Parameters
    ----------
    technology : str
        One of `TECHNOLOGIES`.
    profile : str
        Name of a profile recorded in the SimBench grid, or path of a CSV file with
        ``period_start,share``.
    tick_mw : float
        Step of the search [MW].
    power_factor : float
        Of the addition, above 0; below 1 it draws reactive power (inductive).
    """

    technology: Technology
    profile: str
    tick_mw: float
    power_factor: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BusCapacity:
    """What one bus can host over all studies.

    Parameters
    ----------
    study : str
        The study that bounds it.
    with_market_mw : float or None
        Where asked for: its capacity where the orders of the studies make room [MW].
    """

    name: str
    study: str
    found: HostingCapacity
    with_market_mw: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostingAnswer:
    """Capacities in the order of the network's buses."""

    question: HostingQuestion
    studies: tuple[tuple[str, Study], ...]
    buses: tuple[BusCapacity, ...]


def profile_share(case: ClearingCase, study_ref: str, profile: str) -> Floats:
    """Return the share of its size that an addition runs at in every period, shape (periods,).

    Parameters
    ----------
    study_ref : str
        How the study names its network.
    profile : str
        As in `HostingQuestion`.

    Raises
    ------
    InputError
        No such profile or file; periods it does not cover; shares that are not 0 to 1.
    """
    if profile.endswith(".csv"):
        return _share_from_file(Path(profile), case.periods)
    if not study_ref.startswith(SIMBENCH):
        problem = Problem(
            where=f"profile {profile}",
            what=f"is no .csv file, and {study_ref} has no recorded profiles",
            remedy="state a CSV file with period_start,share",
        )
        raise InputError([problem])
    grid = load_simbench(study_ref.removeprefix(SIMBENCH))
    column = _recorded_column(grid.network, grid.profiles, profile)
    first = _first_row(grid.profiles, case.periods, profile)
    share = grid.profiles.shares[first : first + len(case.periods), column]
    return _checked(share, case.periods, f"profile {profile}")


def _recorded_column(network: Network, recorded: RecordedProfiles, profile: str) -> int:
    columns: dict[str, int] = {}
    for elements, column in (
        (network.loads, recorded.load_p_column), (network.sgens, recorded.sgen_column),
    ):  # fmt: skip
        columns |= dict(zip(elements.profile, column.tolist(), strict=True))
    columns.pop("", None)
    if profile not in columns:
        problem = Problem(
            where=f"profile {profile}",
            what=f"is not among those of {network.name}",
            remedy=f"one of {', '.join(sorted(columns))}; or a CSV file with period_start,share",
        )
        raise InputError([problem])
    return columns[profile]


def _first_row(recorded: RecordedProfiles, periods: Periods, profile: str) -> int:
    step = timedelta(minutes=recorded.periods.mtu_minutes)
    first, rest = divmod(periods.start - recorded.start, step)
    fits = not rest and periods.mtu_minutes == recorded.periods.mtu_minutes
    if not fits or first < 0 or first + len(periods) > len(recorded.shares):
        problem = Problem(
            where=f"profile {profile}",
            what="is recorded for the quarter-hours of 2016, and the study has others",
            remedy="state a CSV file with period_start,share",
        )
        raise InputError([problem])
    return int(first)


def _share_from_file(path: Path, periods: Periods) -> Floats:
    problems: list[Problem] = []
    table = read_table(path, PROFILE_COLUMNS, problems)
    if table is None:
        raise InputError(problems)
    share = table.numbers("share", problems)
    starts = []
    for row, text in enumerate(table.columns["period_start"]):
        try:
            starts.append(parse_utc(text))
        except ValueError as error:
            problems.append(Problem(where=table.where(row), what=str(error)))
    refuse_if_any(problems)
    place = {start: row for row, start in enumerate(starts)}
    problems.extend(
        Problem(where=path.name, what=f"has no row for {label}", remedy="state every period")
        for start, label in zip(periods.starts, periods.labels(), strict=True)
        if start not in place
    )
    if len(place) < len(starts):
        problems.append(Problem(where=path.name, what="states a period twice"))
    refuse_if_any(problems)
    return _checked(share[[place[start] for start in periods.starts]], periods, path.name)


def _checked(share: Floats, periods: Periods, where: str) -> Floats:
    labels = periods.labels()
    refuse_if_any(
        Problem(
            where=where,
            what=f"the share at {labels[k]} is {share[k]:g}",
            remedy="state 0 to 1: the power in that period over the size",
        )
        for k in np.flatnonzero(~((share >= 0) & (share <= 1))).tolist()
    )
    return share


def addition_of(question: HostingQuestion, study: Study) -> Addition:
    """Return what is added per MW of size in the periods of a study.

    Raises
    ------
    InputError
        As `profile_share`; a tick or a power factor that is none.
    """
    problems = []
    if not (question.tick_mw > 0 and math.isfinite(question.tick_mw)):
        what = f"is {question.tick_mw:g} MW"
        problems.append(Problem(where="tick", what=what, remedy="state more than 0 MW"))
    if not 0 < question.power_factor <= 1:
        what = f"is {question.power_factor:g}"
        problems.append(Problem(where="power factor", what=what, remedy="above 0, at most 1"))
    refuse_if_any(problems)
    share = profile_share(study.case, study.network_ref, question.profile)
    tan = math.tan(math.acos(question.power_factor))
    sign = TECHNOLOGIES[question.technology][1]
    injection = np.asarray(share * complex(sign, -tan), dtype=np.complex128)
    return Addition(injection=injection, tick_mw=question.tick_mw)


def hosting_buses(case: ClearingCase) -> tuple[int, ...]:
    """Return the buses in service that are not the substation, by number."""
    node = build_grid(case.network).bus_node
    return tuple(sorted(int(bus) for bus in case.network.buses.index[node > 0]))


def _wanted_buses(case: ClearingCase, wanted: Sequence[str]) -> tuple[int, ...]:
    """Find buses by number or name."""
    possible = hosting_buses(case)
    if not wanted:
        return possible
    names = case.network.buses.name
    by_name = {names[row]: int(bus) for row, bus in enumerate(case.network.buses.index)}
    problems, found = [], []
    for text in wanted:
        bus = int(text) if text.isdigit() else by_name.get(text, -1)
        if bus in possible:
            found.append(bus)
        else:
            what = "is no bus in service below the substation"
            problems.append(Problem(where=f"bus {text}", what=what))
    refuse_if_any(problems)
    return tuple(dict.fromkeys(found))


def find_hosting(
    studies: Sequence[tuple[str, Study]],
    question: HostingQuestion,
    *,
    buses: Sequence[str] = (),
    with_market: bool = False,
    progress: Progress | None = None,
) -> HostingAnswer:
    """Find what each bus alone can host so that limits hold in all periods of all studies.

    Parameters
    ----------
    studies : sequence of (name, Study)
        On one network.
    buses : sequence of str
        Numbers or names; none: every bus in service below the substation.
    with_market : bool
        Also search with the orders of the studies making room (many clearings per bus).

    Raises
    ------
    InputError
        Unknown buses or profiles, studies with other buses than the first, a profile that never
        runs. A study in which it does not run bounds nothing.
    """
    listener = progress or SilentProgress()
    first = studies[0][1].case
    refuse_if_any(
        Problem(where=name, what=f"has other buses than {studies[0][0]}", remedy="use one network")
        for name, study in studies
        if not np.array_equal(study.case.network.buses.index, first.network.buses.index)
    )
    refuse_if_any(
        Problem(
            where=name,
            what=f"formulation is {study.case.formulation}; the market clears without the AC grid",
            remedy='formulation = "ac"',
        )
        for name, study in studies
        if with_market and study.case.formulation != "ac"
    )
    chosen = _wanted_buses(first, buses)
    running = [
        (name, study, addition)
        for name, study in studies
        if np.any((addition := addition_of(question, study)).injection)
    ]
    if not running:
        what = "is 0 in all periods of all studies"
        raise InputError([Problem(where=f"profile {question.profile}", what=what)])
    best: dict[int, tuple[str, HostingCapacity]] = {}
    for name, study, addition in running:
        listener.stage(f"search without market, {name}", steps=len(chosen))
        done = 0

        def moved(count: int) -> None:
            nonlocal done
            for _ in range(count - done):
                listener.step()
            done = max(done, count)

        for found in hosting_capacities(study.case, addition, chosen, progress=moved):
            if found.bus not in best or found.capacity_mw < best[found.bus][1].capacity_mw:
                best[found.bus] = (name, found)
    market: dict[int, float] = {}
    if with_market:
        listener.stage("search with the market", steps=len(chosen))
        for bus in chosen:
            market[bus] = min(
                hosting_with_market(study.case, addition, bus, from_mw=best[bus][1].capacity_mw)
                for _, study, addition in running
            )
            listener.step(f"bus {bus}")
    names = dict(zip(first.network.buses.index.tolist(), first.network.buses.name, strict=True))
    return HostingAnswer(
        question=question,
        studies=tuple(studies),
        buses=tuple(
            BusCapacity(
                name=names[bus] or f"bus {bus}",
                study=best[bus][0],
                found=best[bus][1],
                with_market_mw=market.get(bus),
            )
            for bus in chosen
        ),
    )


def hosting_files(answer: HostingAnswer) -> dict[str, bytes]:
    """Return the files of the answer: ``hosting.csv`` and ``hosting.json``."""
    rows = answer.buses
    reached = [row.found.reached for row in rows]
    labels = {name: study.case.periods.labels() for name, study in answer.studies}
    market = [np.nan if row.with_market_mw is None else row.with_market_mw for row in rows]
    table = table_bytes(
        {
            "bus": np.array([row.found.bus for row in rows], dtype=np.int64),
            "name": [row.name for row in rows],
            "capacity_mw": np.array([row.found.capacity_mw for row in rows], dtype=float),
            "capacity_with_market_mw": np.array(market, dtype=float),
            "limit_kind": ["" if r is None else r.element_kind for r in reached],
            "limit_element": ["" if r is None else str(r.element) for r in reached],
            "limit_side": ["" if r is None else r.side for r in reached],
            "study": [row.study for row in rows],
            "period_start": [
                "" if r is None else labels[row.study][r.period]
                for row, r in zip(rows, reached, strict=True)
            ],
            "value": np.array([np.nan if r is None else r.value for r in reached], dtype=float),
            "limit": np.array([np.nan if r is None else r.limit for r in reached], dtype=float),
        }
    )
    question = answer.question
    sizes = [row.found.capacity_mw for row in rows]
    summary = {
        "technology": question.technology,
        "profile": Path(question.profile).name,
        "tick_mw": question.tick_mw,
        "power_factor": question.power_factor,
        "studies": [
            {"study": name, "input_sha256": study.sha256} for name, study in answer.studies
        ],
        "buses": len(rows),
        "capacity_mw_min": min(sizes, default=None),
        "capacity_mw_max": max(sizes, default=None),
    }
    return {"hosting.csv": table, "hosting.json": pretty_json(summary)}
