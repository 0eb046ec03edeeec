"""The shed list of an emergency: who is taken off the grid, in which order, and no more than that.

The order is a rule, not a choice of the moment. From its top one after the other is taken off until
every limit holds in AC; then, from the last to the first, everybody the rest can do without is put
back. What remains is sufficient and nobody on it can be left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from opf.power_flow import AcState, PowerFlowDiverged
from opf.problems.correction import Broken, list_broken
from opf.problems.monitored_grid import MonitoredGrid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]

ShedRule = Literal["priority", "rotating"]
SHED_RULES: Final[tuple[ShedRule, ...]] = ("priority", "rotating")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheddable:
    """What can be taken off the grid; every array has shape (candidates,).

    Parameters
    ----------
    name : tuple of str
        Ids, none twice.
    bus : ndarray of int
        Where each is connected.
    injection : ndarray of complex
        What it injects now [MW + j Mvar]; withdrawals are negative.
    priority : ndarray of int
        Rule ``priority``: the lowest goes first.
    times_shed : ndarray of int
        Rule ``rotating``: who was shed least often so far goes first.
    """

    name: tuple[str, ...]
    bus: Ints
    injection: Complexes
    priority: Ints
    times_shed: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedList:
    """Who is shed, in the order of the rule, and what that leaves broken.

    ``taken`` are rows of the candidates; ``spared`` those before the last of them in the order who
    would not have helped.
    """

    rule: ShedRule
    taken: Ints
    spared: Ints
    before: tuple[Broken, ...]
    unmended: tuple[Broken, ...]
    solved: bool


def shed_list(
    at: MonitoredGrid, injection: Complexes, candidates: Sheddable, rule: ShedRule
) -> ShedList:
    """Return the shortest beginning of the ordered list that mends the grid, without bystanders.

    Parameters
    ----------
    at : MonitoredGrid
        The grid and its limits.
    injection : ndarray of complex, shape (nodes,)
        Everything that injects now, the candidates included [MW + j Mvar].
    candidates : Sheddable
        Who can be shed.
    rule : str
        One of `SHED_RULES`; equals are taken by name.

    Raises
    ------
    InputError
        With all problems: an unknown rule, candidates named twice or not finite.
    """
    _refuse_unusable(candidates, rule)
    node = at.nodes_of(candidates.bus)
    rank = candidates.priority if rule == "priority" else candidates.times_shed
    order = sorted(range(len(node)), key=lambda row: (int(rank[row]), candidates.name[row]))

    def left_broken(rows: list[int]) -> tuple[Broken, ...] | None:
        rest = injection.copy()
        np.subtract.at(rest, node[rows], candidates.injection[rows])
        try:
            state: AcState = at.state(rest)
        except PowerFlowDiverged:
            return None
        return list_broken(at, state)

    before = left_broken([])
    taken: list[int] = []
    found = before
    for row in order:
        if found == ():
            break
        taken.append(row)
        found = left_broken(taken)
    if found == ():
        for row in list(reversed(taken)):
            without = [kept for kept in taken if kept != row]
            if left_broken(without) == ():
                taken = without
    last = order.index(taken[-1]) if taken else -1
    spared = [row for row in order[: last + 1] if row not in taken]
    return ShedList(
        rule=rule,
        taken=np.array(taken, dtype=np.int64),
        spared=np.array(spared, dtype=np.int64),
        before=before or (),
        unmended=found or (),
        solved=found is not None,
    )


def _refuse_unusable(candidates: Sheddable, rule: str) -> None:
    problems = []
    if rule not in SHED_RULES:
        remedy = f"one of {', '.join(SHED_RULES)}"
        problems.append(Problem(where="shed rule", what=f"{rule!r} is unknown", remedy=remedy))
    problems += [
        Problem(where=name, what="is named twice")
        for name in sorted(set(candidates.name))
        if candidates.name.count(name) > 1
    ]
    problems += [
        Problem(where=candidates.name[row], what=f"injects {candidates.injection[row]}")
        for row in np.flatnonzero(~np.isfinite(candidates.injection)).tolist()
    ]
    refuse_if_any(problems)
