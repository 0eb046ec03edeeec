"""Best-first search over the integers, by linear relaxations of the master programme.

A node fixes some integers. Its relaxation bounds what any choice below it can cost; where it is
integral it names a choice to clear. Cleared choices stay in their node, because their prices may
forbid them: the node is divided further, and the search ends when the cheapest open node cannot
undercut the best choice that stands.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opf.integer_choice import IntegerChoice
from opf.integer_master import Master
from opf.linear_programme import INTEGRAL, Relaxation

Floats = NDArray[np.float64]
Fixed = NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """Fixed integers, and the relaxation solved when tangents had this version."""

    fixed: Fixed
    bound: float
    values: Floats
    choice: IntegerChoice
    version: int


def search_choices(
    master: Master,
    judge: Callable[[IntegerChoice, float], object],
    may_go_on: Callable[[float], bool],
) -> float:
    """Offer choices in the order of their bounds until none can be better.

    Parameters
    ----------
    master : Master
        Holds the tangents; ``judge`` adds to them.
    judge : callable
        Clears a choice; called with it and its cost in the master, once per choice.
    may_go_on : callable
        Asked with the bound of everything still open; False ends the search.

    Returns
    -------
    float
        What no choice left can undercut [EUR]; infinite when every choice was seen.

    Raises
    ------
    SolverStopped
        Where a relaxation has no answer within its time limit.
    """
    relaxation, version = Relaxation(master.programme()), master.version
    columns = master.binary_columns
    judged: set[tuple[object, ...]] = {choice.key() for choice in master.excluded}
    heap: list[tuple[float, int, _Node]] = []
    count = 0

    def open_node(fixed: Fixed) -> None:
        nonlocal count
        answer = relaxation.solve(fixed)
        if answer is None:
            return
        bound = answer[0] + master.fixed_cost_eur
        node = _Node(
            fixed=fixed,
            bound=bound,
            values=answer[1][columns],
            choice=master.read_choice(answer[1]),
            version=version,
        )
        count += 1
        heapq.heappush(heap, (bound, count, node))

    open_node(np.full(len(columns), -1, dtype=np.int8))
    while heap:
        bound, _, node = heapq.heappop(heap)
        if not may_go_on(bound):
            return bound
        if node.version != master.version:
            if version != master.version:
                relaxation, version = Relaxation(master.programme()), master.version
            open_node(node.fixed)
            continue
        fractional = np.abs(node.values - np.round(node.values))
        if fractional.max(initial=0.0) > INTEGRAL:
            at = int(np.argmax(fractional))
            for value in (0, 1):
                open_node(_with(node.fixed, at, value))
            continue
        if node.choice.key() not in judged:
            judged.add(node.choice.key())
            judge(node.choice, bound)
        free = np.flatnonzero(node.fixed < 0)
        if not len(free):
            continue
        at, same = int(free[0]), round(float(node.values[free[0]]))
        count += 1
        inherited = _Node(
            fixed=_with(node.fixed, at, same),
            bound=bound,
            values=node.values,
            choice=node.choice,
            version=node.version,
        )
        heapq.heappush(heap, (bound, count, inherited))
        open_node(_with(node.fixed, at, 1 - same))
    return np.inf


def _with(fixed: Fixed, at: int, value: int) -> Fixed:
    """Return the fixed integers with one more."""
    more = fixed.copy()
    more[at] = value
    return more
