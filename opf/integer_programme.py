"""Integers of block and curtail orders as columns and rows of a mixed-integer linear programme.

Block: binary u, ratio a with acceptance_min u <= a <= u. Curtail: binary u_t (on), s_t (a run
starts), e_t (a run ends); the reduced energy of a run is collected in w and released in g at its
end, from which the rebound is drawn:

    s_t - e_(t-1) = u_t - u_(t-1),   w_t = w_(t-1) + h r_t - g_t,   g_t <= M e_t,
    w_t <= M (1 - e_t),   w_t <= M u_t,   rebound_k = share / (h R) (g_(k-R) + ... + g_(k-1))
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from data.records.clearing import ClearingCase
from data.records.order import BlockOrder, CurtailOrder
from opf.column_builder import asset_tan_phi
from opf.integer_choice import IntegerChoice, integer_orders
from opf.integer_columns import reduction_bounds

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Entries = list[tuple[Ints, Ints, Floats]]


@dataclass(slots=True, kw_only=True)
class IntegerProgramme:
    """Columns and rows of all integer orders.

    Parameters
    ----------
    cost, lower, upper : list of ndarray
        By block of columns [EUR per unit].
    binary : list of ndarray of bool
        Which columns are binary.
    injections : list of (column, bus, period, p, q)
        MW and Mvar injected per unit of a column.
    row_entries, row_lower, row_upper
        Rows that make the integers mean what their orders say.
    decision : dict
        Order id to its binary columns: one of a block, one per period of a curtail order.
    """

    cost: list[Floats] = field(default_factory=list)
    lower: list[Floats] = field(default_factory=list)
    upper: list[Floats] = field(default_factory=list)
    binary: list[NDArray[np.bool_]] = field(default_factory=list)
    injections: list[tuple[Ints, int, Ints, Floats, Floats]] = field(default_factory=list)
    row_entries: Entries = field(default_factory=list)
    row_lower: list[Floats] = field(default_factory=list)
    row_upper: list[Floats] = field(default_factory=list)
    decision: dict[str, Ints] = field(default_factory=dict)
    ratio: dict[str, int] = field(default_factory=dict)
    columns: int = 0
    row_count: int = 0

    def add(self, cost: Floats, lower: Floats, upper: Floats, *, binary: bool = False) -> Ints:
        """Add columns; returns their numbers."""
        self.cost.append(cost)
        self.lower.append(lower)
        self.upper.append(upper)
        self.binary.append(np.full(len(cost), binary))
        numbers = np.arange(self.columns, self.columns + len(cost))
        self.columns += len(cost)
        return numbers

    def add_rows(self, lower: Floats, upper: Floats, entries: Entries) -> None:
        """Add rows; entries are (row within the block, column, value) arrays."""
        for rows, columns, values in entries:
            self.row_entries.append((rows + self.row_count, columns, values))
        self.row_lower.append(lower)
        self.row_upper.append(upper)
        self.row_count += len(lower)

    def rows(self) -> sparse.csr_matrix:
        """Return the rows, shape (rows, columns)."""
        none = np.zeros(0, dtype=np.int64)
        return sparse.csr_matrix(
            (
                np.concatenate([v for _, _, v in self.row_entries] or [np.zeros(0)]),
                (
                    np.concatenate([r for r, _, _ in self.row_entries] or [none]),
                    np.concatenate([c for _, c, _ in self.row_entries] or [none]),
                ),
            ),
            shape=(self.row_count, self.columns),
        )

    def choice(self, values: Floats) -> IntegerChoice:
        """Read the integers off a solution, shape (columns,)."""
        accepted, on = [], {}
        for order, columns in self.decision.items():
            chosen = values[columns] > 0.5
            if order in self.ratio:
                accepted += [order] if chosen[0] else []
            else:
                on[order] = tuple(np.flatnonzero(chosen).tolist())
        return IntegerChoice(accepted=frozenset(accepted), on=on)

    def without(self, choice: IntegerChoice, periods: int) -> tuple[Ints, Floats, float]:
        """Return (columns, values, least) of the row that no solution with this choice meets."""
        columns, values = [], []
        for order, own in self.decision.items():
            if order in self.ratio:
                chosen = np.array([choice.accepts(order)])
            else:
                chosen = choice.pattern(order, periods)
            columns.append(own)
            values.append(np.where(chosen, -1.0, 1.0))
        signs = np.concatenate(values)
        return np.concatenate(columns), signs, 1.0 - float((signs < 0).sum())


def build_integer_programme(case: ClearingCase) -> IntegerProgramme:
    """Build the integer part of a case."""
    b = IntegerProgramme()
    blocks = []
    for order in integer_orders(case):
        if isinstance(order, BlockOrder):
            _add_block(b, case, order)
            blocks.append(order)
        else:
            _add_curtail(b, case, order)
    _add_families(b, blocks)
    return b


def _add_block(b: IntegerProgramme, case: ClearingCase, order: BlockOrder) -> None:
    """One ratio, and a binary where the ratio has a least value between 0 and 1."""
    used = np.flatnonzero(order.profile_mw)
    profile = order.profile_mw[used]
    worth = np.array([case.periods.mtu_h * float(profile @ order.price_eur_per_mwh[used])])
    zero, one = np.zeros(1), np.ones(1)
    if order.acceptance_min == 1.0:
        ratio = b.add(worth, zero, one, binary=True)
        b.decision[order.id] = ratio
    else:
        ratio = b.add(worth, zero, one)
        accepted = b.add(zero, zero, one, binary=True)
        b.decision[order.id] = accepted
        first = np.zeros(1, dtype=np.int64)
        b.add_rows(np.full(1, -np.inf), zero, [(first, ratio, one), (first, accepted, -one)])
        least = np.full(1, order.acceptance_min)
        b.add_rows(np.full(1, -np.inf), zero, [(first, ratio, -one), (first, accepted, least)])
    b.ratio[order.id] = int(ratio[0])
    for bus, share in order.buses:
        column = np.repeat(ratio, len(used))
        b.injections.append((column, bus, used, share * profile, np.zeros(len(used))))


def _add_families(b: IntegerProgramme, blocks: list[BlockOrder]) -> None:
    """A child's ratio is at most its parent's; a group's ratios sum to at most 1."""
    groups: dict[str, list[int]] = defaultdict(list)
    zero = np.zeros(1, dtype=np.int64)
    for order in blocks:
        if order.exclusive_group is not None:
            groups[order.exclusive_group].append(b.ratio[order.id])
        if order.parent is not None:
            child, parent = np.array([b.ratio[order.id]]), np.array([b.ratio[order.parent]])
            for own, other in ((child, parent), (b.decision[order.id], b.decision[order.parent])):
                pair = [(zero, own, np.ones(1)), (zero, other, -np.ones(1))]
                b.add_rows(np.full(1, -np.inf), np.zeros(1), pair)
    for members in groups.values():
        entries = [(zero, np.array([column]), np.ones(1)) for column in members]
        b.add_rows(np.full(1, -np.inf), np.ones(1), entries)


def _add_curtail(b: IntegerProgramme, case: ClearingCase, order: CurtailOrder) -> None:
    """On periods with their durations, the reduction, and the rebound."""
    size, h = len(case.periods), case.periods.mtu_h
    least, most = reduction_bounds(case, order)
    possible = (least <= most + 1e-12).astype(float)
    zeros, ones = np.zeros(size), np.ones(size)
    may_end = (np.arange(size) <= size - 1 - _rebound_length(order)).astype(float)
    on = b.add(zeros, zeros, possible, binary=True)
    start = b.add(zeros, zeros, ones)
    end = b.add(zeros, zeros, may_end)
    power = b.add(h * order.price_eur_per_mwh, zeros, np.maximum(most, 0.0))
    b.decision[order.id] = on
    _add_durations(b, order, on, start, end)
    each = np.arange(size)
    b.add_rows(np.full(size, -np.inf), zeros, [(each, power, ones), (each, on, -most)])
    b.add_rows(np.full(size, -np.inf), zeros, [(each, power, -ones), (each, on, least)])
    tan = asset_tan_phi(case, order)
    for bus, share in order.buses:
        b.injections.append((power, bus, each, share * ones, share * tan))
    if _rebound_length(order) and may_end.any():
        rebound = _add_rebound(b, order, (on, end, power), most, h)
        for bus, share in order.buses:
            b.injections.append((rebound, bus, each, -share * ones, -share * tan))


def _rebound_length(order: CurtailOrder) -> int:
    return (order.rebound_periods or 0) if order.rebound_share else 0


def _add_durations(
    b: IntegerProgramme, order: CurtailOrder, on: Ints, start: Ints, end: Ints
) -> None:
    """Runs, their least and largest length, the pause after them and their number."""
    size = len(on)
    each, zeros, ones = np.arange(size), np.zeros(size), np.ones(size)
    entries = [(each, start, ones), (each, on, -ones)]
    if size > 1:
        entries += [(each[1:], end[:-1], -ones[1:]), (each[1:], on[:-1], ones[1:])]
    b.add_rows(zeros, zeros, entries)
    # a run that is on in the last period ends there
    top = np.zeros(1, dtype=np.int64)
    b.add_rows(np.zeros(1), np.zeros(1), [(top, end[-1:], np.ones(1)), (top, on[-1:], -np.ones(1))])
    shortest, longest = order.duration_periods_min, order.duration_periods_max
    no_room = start[max(size - shortest + 1, 0) :]
    if len(no_room):
        rows = np.arange(len(no_room))
        b.add_rows(np.zeros(len(rows)), np.zeros(len(rows)), [(rows, no_room, np.ones(len(rows)))])
    # started within the last `shortest` periods: still on
    pairs = [(t, k) for t in range(size) for k in range(max(t - shortest + 1, 0), t + 1)]
    at, of = (np.array(values) for values in zip(*pairs, strict=True))
    b.add_rows(
        np.full(size, -np.inf), zeros, [(at, start[of], np.ones(len(at))), (each, on, -ones)]
    )
    if longest is not None and longest < size:
        windows = np.arange(size - longest)
        at = np.repeat(windows, longest + 1)
        of = at + np.tile(np.arange(longest + 1), len(windows))
        b.add_rows(
            np.full(len(windows), -np.inf),
            np.full(len(windows), float(longest)),
            [(at, on[of], np.ones(len(at)))],
        )
    # two runs in a row would be one run: at least one period off between them
    pause = max(order.cooldown_periods, 1)
    pairs = [(t, k) for t in range(size) for k in range(max(t - pause, 0), t)]
    if pairs:
        at, of = (np.array(values) for values in zip(*pairs, strict=True))
        b.add_rows(
            np.full(size, -np.inf), ones, [(at, end[of], np.ones(len(at))), (each, on, ones)]
        )
    if order.activations_max is not None:
        b.add_rows(
            np.full(1, -np.inf),
            np.full(1, float(order.activations_max)),
            [(np.zeros(size, dtype=np.int64), start, ones)],
        )


def _add_rebound(
    b: IntegerProgramme,
    order: CurtailOrder,
    columns: tuple[Ints, Ints, Ints],
    most: Floats,
    h: float,
) -> Ints:
    """Energy collected in a run, released at its end, and drawn again afterwards."""
    on, end, power = columns
    size, length = len(on), _rebound_length(order)
    longest = min(order.duration_periods_max or size, size)
    big = h * float(np.sort(np.maximum(most, 0.0))[::-1][:longest].sum())
    each, zeros, ones = np.arange(size), np.zeros(size), np.ones(size)
    held = b.add(zeros, zeros, np.full(size, big))
    released = b.add(zeros, zeros, np.full(size, big))
    b.add_rows(
        zeros,
        zeros,
        [
            (each, held, ones),
            (each[1:], held[:-1], -ones[1:]),
            (each, power, -h * ones),
            (each, released, ones),
        ],
    )
    low = np.full(size, -np.inf)
    b.add_rows(low, zeros, [(each, released, ones), (each, end, -big * ones)])
    b.add_rows(low, big * ones, [(each, held, ones), (each, end, big * ones)])
    b.add_rows(low, zeros, [(each, held, ones), (each, on, -big * ones)])
    rebound = b.add(zeros, zeros, np.full(size, order.rebound_share * big / h))
    pairs = [(t, k) for t in range(size) for k in range(max(t - length, 0), t)]
    at, of = (np.array(values, dtype=np.int64) for values in zip(*pairs, strict=True))
    share = order.rebound_share / (h * length)
    b.add_rows(zeros, zeros, [(each, rebound, ones), (at, released[of], np.full(len(at), -share))])
    return rebound
