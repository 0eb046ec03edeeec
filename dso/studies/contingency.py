"""Outages of single branches and what each normally-open point restores, for one study."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.canonical import pretty_json
from data.csv_table import Column, table_bytes
from data.errors import Problem, refuse_if_any
from data.records.network import Network
from dso.progress import Progress, SilentProgress
from dso.studies.study import Study
from opf.problems.contingency import (
    Extreme,
    Restoration,
    Switched,
    list_branches,
    run_contingencies,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContingencyAnswer:
    """Every outage with every tie that reaches what it leaves dark.

    Parameters
    ----------
    best : tuple of int
        For each outage, the row of ``rows`` that serves most and harms least.
    """

    name: str
    study: Study
    ties: tuple[Switched, ...]
    rows: tuple[Restoration, ...]
    best: tuple[int, ...]


def name_of(network: Network, branch: Switched) -> str:
    """Return the name of a branch in the network, or what it is."""
    if branch.kind == "switch":
        return f"switch {branch.bus_from}-{branch.bus_to}"
    table = network.lines if branch.kind == "line" else network.trafos
    row = int(np.flatnonzero(table.index == branch.element)[0])
    return table.name[row] or f"{branch.kind} {branch.element}"


def open_points(network: Network) -> tuple[Switched, ...]:
    """Return the normally-open points: lines and transformers between buses in service that are
    out of service or open at an end.
    """
    return tuple(branch for branch, closed in list_branches(network) if not closed)


def find_switched(network: Network, texts: Sequence[str], *, tie: bool) -> tuple[Switched, ...]:
    """Find branches by ``line:3``, ``trafo:0`` or, as a tie, ``switch:BUS-BUS``.

    Raises
    ------
    InputError
        All texts that name nothing, or a branch that is not open (a tie) or closed (an outage).
    """
    state = {f"{b.kind}:{b.element}": (b, closed) for b, closed in list_branches(network)}
    buses = set(network.buses.index[network.buses.in_service].tolist())
    problems: list[Problem] = []
    found: list[Switched] = []
    for text in texts:
        pair = re.fullmatch(r"switch:([0-9]+)-([0-9]+)", text)
        if pair and tie and {int(pair[1]), int(pair[2])} <= buses:
            found.append(
                Switched(kind="switch", element=-1, bus_from=int(pair[1]), bus_to=int(pair[2]))
            )
            continue
        if text not in state:
            remedy = "e.g. line:3 or trafo:0" + (" or switch:12-45" if tie else "")
            problems.append(
                Problem(where=text, what="names nothing between buses in service", remedy=remedy)
            )
            continue
        branch, closed = state[text]
        if closed == tie:
            problems.append(Problem(where=text, what=f"is {'closed' if closed else 'open'} now"))
        else:
            found.append(branch)
    refuse_if_any(problems)
    return tuple(dict.fromkeys(found))


def find_restorations(
    name: str,
    study: Study,
    *,
    ties: Sequence[str] = (),
    outages: Sequence[str] = (),
    progress: Progress | None = None,
) -> ContingencyAnswer:
    """Open every branch alone and close each tie that reaches what is dark.

    Parameters
    ----------
    ties, outages : sequence of str
        As `find_switched` takes them; none: every normally-open point, every closed branch.

    Raises
    ------
    InputError
        As `find_switched`.

    Examples
    --------
    >>> from dso.studies import new_study
    >>> study = new_study("pandapower:case33bw", periods=1, mtu_minutes=60,
    ...                   import_price_eur_per_mwh=40.0,
    ...                   limits={"line_loading_percent_max": 100.0, "vm_pu_min": 0.9})
    >>> answer = find_restorations("feeder", study, outages=["line:0", "line:5"])
    >>> for place in answer.best:
    ...     row = answer.rows[place]
    ...     print(row.outage.element, row.tie and row.tie.element, len(row.dark), verdict_of(row))
    0 None 32 dark
    5 32 0 holds
    """
    listener = progress or SilentProgress()
    network = study.case.network
    closed = find_switched(network, outages, tie=False) or tuple(
        branch for branch, on in list_branches(network) if on
    )
    chosen = find_switched(network, ties, tie=True) or open_points(network)
    listener.stage("open each branch", steps=len(closed))
    rows = run_contingencies(
        study.case, chosen, closed, progress=lambda branch: listener.step(name_of(network, branch))
    )
    return ContingencyAnswer(name=name, study=study, ties=chosen, rows=rows, best=_best_rows(rows))


def _best_rows(rows: Sequence[Restoration]) -> tuple[int, ...]:
    """For each outage: fewest dark buses, limits held, fewest periods beyond, least losses."""

    def rank(place: int) -> tuple[bool, int, int, float, int]:
        row = rows[place]
        losses = math.inf if row.losses_mwh is None else row.losses_mwh
        return (not row.solved, len(row.dark), row.periods_exceeded, losses, place)

    best: dict[Switched, int] = {}
    for place, row in enumerate(rows):
        if row.outage not in best or rank(place) < rank(best[row.outage]):
            best[row.outage] = place
    return tuple(best.values())


def verdict_of(row: Restoration) -> str:
    """Say in a word what a restoration comes to: ``holds``, ``exceeded``, ``dark``, ``none``."""
    if row.dark:
        return "dark"
    if not row.solved:
        return "none"
    return "holds" if row.reached is None else "exceeded"


def contingency_files(answer: ContingencyAnswer) -> dict[str, bytes]:
    """Return the files of the answer: ``outages.csv`` and ``contingency.json``."""
    network, rows = answer.study.case.network, answer.rows
    labels = answer.study.case.periods.labels()
    best = set(answer.best)

    def extreme(pick: list[Extreme | None], label: str) -> dict[str, Column]:
        return {
            label: np.array([np.nan if e is None else e.value for e in pick], dtype=float),
            f"{label}_element": [
                "" if e is None else f"{e.element_kind}:{e.element}" for e in pick
            ],
            f"{label}_period_start": ["" if e is None else labels[e.period] for e in pick],
        }

    columns: dict[str, Column] = {
        "outage": [f"{row.outage.kind}:{row.outage.element}" for row in rows],
        "outage_name": [name_of(network, row.outage) for row in rows],
        "tie": [_tie_text(row.tie) for row in rows],
        "tie_name": ["" if row.tie is None else name_of(network, row.tie) for row in rows],
        "best": ["true" if place in best else "false" for place in range(len(rows))],
        "verdict": [verdict_of(row) for row in rows],
        "dark_buses": [" ".join(map(str, row.dark)) for row in rows],
        "dark_mw_max": np.array([row.dark_mw for row in rows], dtype=float),
        "periods_exceeded": np.array([row.periods_exceeded for row in rows], dtype=np.int64),
        **extreme([row.vm_min for row in rows], "vm_pu_min"),
        **extreme([row.vm_max for row in rows], "vm_pu_max"),
        **extreme([row.loading_max for row in rows], "loading_percent_max"),
        "losses_mwh": np.array(
            [np.nan if row.losses_mwh is None else row.losses_mwh for row in rows], dtype=float
        ),
    }
    verdicts = [verdict_of(rows[place]) for place in answer.best]
    summary = {
        "study": answer.name,
        "input_sha256": answer.study.sha256,
        "outages": len(answer.best),
        "ties": [_tie_text(tie) for tie in answer.ties],
        "verdicts": {word: verdicts.count(word) for word in sorted(set(verdicts))},
    }
    return {"outages.csv": table_bytes(columns), "contingency.json": pretty_json(summary)}


def _tie_text(tie: Switched | None) -> str:
    if tie is None:
        return ""
    if tie.kind == "switch":
        return f"switch:{tie.bus_from}-{tie.bus_to}"
    return f"{tie.kind}:{tie.element}"
