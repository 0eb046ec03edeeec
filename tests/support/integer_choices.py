"""Every integer choice of a small market, written from the market rules alone.

A choice says for each block whether it is accepted and for each curtail order in which periods it
is on. Nothing here knows of prices or of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingCase
from data.records.order import BlockOrder, CurtailOrder, Order

Floats = NDArray[np.float64]
Pattern = tuple[bool, ...]
Run = tuple[int, int]  # first on period, first period after


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Accepted blocks, and the on periods of every curtail order in the order of the case."""

    accepted: frozenset[str]
    patterns: tuple[Pattern, ...]


def blocks_of(orders: Sequence[Order]) -> list[BlockOrder]:
    return [order for order in orders if isinstance(order, BlockOrder)]


def curtails_of(orders: Sequence[Order]) -> list[CurtailOrder]:
    return [order for order in orders if isinstance(order, CurtailOrder)]


def runs_of(pattern: Sequence[bool]) -> list[Run]:
    """Runs of contiguous on periods."""
    runs: list[Run] = []
    for t, on in enumerate(pattern):
        if on and t and pattern[t - 1]:
            runs[-1] = (runs[-1][0], t + 1)
        elif on:
            runs.append((t, t + 1))
    return runs


def rebound_window(order: CurtailOrder, run: Run) -> range:
    """Periods in which the rebound of a run is drawn; empty without rebound."""
    if order.rebound_share == 0:
        return range(0)
    assert order.rebound_periods is not None
    return range(run[1], run[1] + order.rebound_periods)


def reducible_mw(case: ClearingCase, order: CurtailOrder) -> Floats:
    """Most that can be reduced in each period: the order's power, and no more than its load."""
    if order.asset is None:
        return order.p_mw_max
    return np.asarray(np.minimum(order.p_mw_max, case.load_p_mw[:, load_row(case, order)]))


def load_row(case: ClearingCase, order: CurtailOrder) -> int:
    """Row of a curtail order's load in the case's tables."""
    assert order.asset is not None
    kind, index = order.asset.split(":")
    assert kind == "load"
    return case.network.loads.index.tolist().index(int(index))


def tan_phi(case: ClearingCase, order: CurtailOrder) -> Floats:
    """Reactive over active power of a curtail order, shape (periods,) [Mvar/MW]."""
    zeros = np.zeros(len(case.periods))
    if order.asset is None:
        return zeros
    row = load_row(case, order)
    p, q = case.load_p_mw[:, row], case.load_q_mvar[:, row]
    return np.divide(q, p, out=zeros, where=p > 0)


def is_legal(order: CurtailOrder, pattern: Sequence[bool], reducible: Floats) -> bool:
    """Whether durations, cooldown, activations, rebound and the load admit a pattern."""
    size, runs = len(pattern), runs_of(pattern)
    if order.activations_max is not None and len(runs) > order.activations_max:
        return False
    for start, stop in runs:
        if stop - start < order.duration_periods_min:
            return False
        if order.duration_periods_max is not None and stop - start > order.duration_periods_max:
            return False
        window = rebound_window(order, (start, stop))
        if len(window) and window[-1] >= size:
            return False
    gaps = [later[0] - earlier[1] for earlier, later in pairwise(runs)]
    if any(gap < order.cooldown_periods for gap in gaps):
        return False
    return all(
        order.p_mw_min_on[t] <= reducible[t] + 1e-12 for t in range(size) if pattern[t]
    )  # fmt: skip


def legal_patterns(order: CurtailOrder, reducible: Floats) -> list[Pattern]:
    """All on patterns an order admits; the first is never on."""
    every = product((False, True), repeat=len(reducible))
    return [pattern for pattern in every if is_legal(order, pattern, reducible)]


def block_sets(blocks: Sequence[BlockOrder]) -> list[frozenset[str]]:
    """All sets of accepted blocks that links and groups admit; the first is empty."""
    found = []
    for bits in product((False, True), repeat=len(blocks)):
        taken = [block for block, on in zip(blocks, bits, strict=True) if on]
        accepted = frozenset(block.id for block in taken)
        if any(block.parent is not None and block.parent not in accepted for block in taken):
            continue
        if ratio_bounds(taken) is not None:
            found.append(accepted)
    return found


def ratio_bounds(accepted: Sequence[BlockOrder]) -> dict[str, tuple[float, float]] | None:
    """Least and largest ratio of every accepted block; None where there is none.

    A parent is at least at its children's least, a child at most at its parent's most, and members
    of a group leave each other room.
    """
    by_id = {block.id: block for block in accepted}
    least = {block.id: block.acceptance_min for block in accepted}
    for _ in accepted:
        for block in accepted:
            if block.parent is not None:
                least[block.parent] = max(least[block.parent], least[block.id])
    most = dict.fromkeys(by_id, 1.0)
    for block in accepted:
        if block.exclusive_group is not None:
            others = sum(
                least[other.id]
                for other in accepted
                if other.exclusive_group == block.exclusive_group and other is not block
            )
            most[block.id] = 1.0 - others
    for _ in accepted:
        for block in accepted:
            if block.parent is not None:
                most[block.id] = min(most[block.id], most[block.parent])
    if any(least[name] > most[name] + 1e-12 for name in by_id):
        return None
    return {name: (least[name], max(least[name], most[name])) for name in by_id}
