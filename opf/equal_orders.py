"""Equal orders are one column of the programme, and share what it gets by rule.

Columns are equal where period, cost and injections (nodes and coefficients) are equal and nothing
couples them to others: price steps of generation and demand without ramp or power factor, bilateral
orders, free reactive power. The programme sees their sum. So an order that is split in two leaves
every price and every total as it was, to the bit, and no solver decides between equals.

What the sum gets is put on ticks as a whole first. Above their lower bounds the members share it in
proportion to their sizes: whole ticks to each, and the ticks left over one by one, by the largest
remainder, then by time of submission (unknown last), then by order id.

Storages and shifts are never merged. Half a state of charge can be had exactly, but its path on
ticks cannot: two halves rounded period by period to sum to the whole may each leave their energy
bounds by a tick, and which one does would depend on the other.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from data.records.order import BilateralOrder, DemandOrder, GenerationOrder
from data.units import MICRO_PER_UNIT
from opf.column_builder import NOTHING
from opf.order_columns import OrderColumns
from opf.resources import Resources

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Sums of sizes are kept to so many decimals [MW]: thirds of a size add up to it again.
SIZE_DECIMALS: Final = 12
# Sizes are weighed as whole numbers of 1e-15 MW, so that shares are exact.
WEIGHTS_PER_MW: Final = 10**15
WEIGHTS_PER_TICK: Final = WEIGHTS_PER_MW // MICRO_PER_UNIT
LAST_INSTANT: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualOrders:
    """Columns of every order, and which column of the programme each belongs to.

    Parameters
    ----------
    offers : Resources
        Columns order by order.
    column_of : ndarray of int, shape (columns of the offers,)
        Column of the programme.
    groups : tuple of ndarray of int
        Columns of the offers that share one column of the programme, where they are several, each
        in the order in which remainders are given.
    """

    offers: Resources
    column_of: Ints
    groups: tuple[Ints, ...]

    def total(self, own: Floats) -> Floats:
        """Add up what orders do to what the programme does.

        Parameters
        ----------
        own : ndarray, shape (columns of the offers,)

        Returns
        -------
        ndarray, shape (columns of the programme,)
        """
        return np.asarray(np.bincount(self.column_of, weights=own), dtype=float)

    def split(self, x: Floats) -> Floats:
        """Share what equal orders got together.

        Parameters
        ----------
        x : ndarray, shape (columns of the programme,)
            Decision on ticks.

        Returns
        -------
        ndarray, shape (columns of the offers,)
            On ticks too; the members of a column add up to it exactly. A member exceeds its own
            bound only where sizes are no whole ticks, and then by less than a tick.
        """
        own = x[self.column_of]
        for members in self.groups:
            ticks = round(float(x[self.column_of[members[0]]]) * MICRO_PER_UNIT)
            lower, upper = self.offers.lower[members], self.offers.upper[members]
            shares = share_ticks(ticks, lower.tolist(), upper.tolist())
            own[members] = np.array(shares, dtype=float) / MICRO_PER_UNIT
        return own


def share_ticks(ticks: int, lower: Sequence[float], upper: Sequence[float]) -> list[int]:
    """Split whole ticks pro rata to what members offer above their lower bounds.

    Parameters
    ----------
    ticks : int
        What they got together [1e-6 MW].
    lower, upper : sequence of float
        Bounds of each member [MW], in the order in which equal remainders are served.

    Returns
    -------
    list of int
        Ticks of each member; their sum is ``ticks``.

    Examples
    --------
    >>> share_ticks(7, [0.0, 0.0], [1.0, 1.0])
    [4, 3]
    >>> share_ticks(10, [0.0, 0.0], [1.0, 2.0])
    [3, 7]
    >>> share_ticks(3, [2e-6, 0.0], [2e-6, 5e-6])
    [2, 1]
    """
    least = [round(value * WEIGHTS_PER_MW) for value in lower]
    room = [round(high * WEIGHTS_PER_MW) - low for high, low in zip(upper, least, strict=True)]
    above = ticks * WEIGHTS_PER_TICK - sum(least)
    if sum(room) <= 0:  # every size is given: only the rounding of their sum is to share
        room = [1] * len(least)
    whole = WEIGHTS_PER_TICK * sum(room)
    parts = [divmod(low * sum(room) + above * r, whole) for low, r in zip(least, room, strict=True)]
    given = [tick for tick, _ in parts]
    most = [(low + r) // WEIGHTS_PER_TICK for low, r in zip(least, room, strict=True)]
    # a tick that would exceed a member's own bound goes to another, as long as there is one
    first = sorted(range(len(parts)), key=lambda k: (given[k] + 1 > most[k], -parts[k][1], k))
    for k in first[: ticks - sum(given)]:
        given[k] += 1
    return given


def merge_equal_orders(offers: Resources) -> tuple[Resources, EqualOrders]:
    """Put equal columns of the order book together.

    Parameters
    ----------
    offers : Resources
        Columns order by order.

    Returns
    -------
    (resources, equal)
        Columns of the programme: first those that may be shared, by period, place and price, so
        that no order's name decides where its column stands; then the coupled ones. And the way
        back to the orders.
    """
    count = len(offers.cost)
    shareable = np.flatnonzero(_is_shareable(offers))
    entries = np.argsort(offers.inject_column, kind="stable")
    entry_count = np.bincount(offers.inject_column, minlength=count)
    first_entry = np.concatenate([[0], np.cumsum(entry_count)[:-1]]).astype(np.int64)
    column_of = np.full(count, -1, dtype=np.int64)
    column_of[NOTHING] = NOTHING
    head: list[Ints] = [np.array([NOTHING])]
    merged = 1
    for size in np.unique(entry_count[shareable]).tolist():
        columns = shareable[entry_count[shareable] == size]
        at = entries[first_entry[columns][:, None] + np.arange(size)]
        keys = [offers.period[columns]]
        for k in range(size):
            keys += [offers.inject_node[at[:, k]], offers.inject_p[at[:, k]]]
            keys.append(offers.inject_q[at[:, k]])
        keys.append(offers.cost[columns])
        by_key = np.lexsort(keys[::-1])
        starts = np.zeros(len(columns), dtype=bool)
        starts[:1] = True
        for key in keys:
            starts[1:] |= key[by_key][1:] != key[by_key][:-1]
        column_of[columns[by_key]] = merged + np.cumsum(starts) - 1
        head.append(columns[by_key][starts])
        merged += int(starts.sum())
    coupled = np.flatnonzero(column_of < 0)
    column_of[coupled] = merged + np.arange(len(coupled))
    head.append(coupled)
    groups = _groups(offers, column_of, merged)
    equal = EqualOrders(offers=offers, column_of=column_of, groups=groups)
    return _programme_columns(equal, np.concatenate(head), merged), equal


def _is_shareable(offers: Resources) -> NDArray[np.bool_]:
    """Columns that stand for power alone, within finite bounds and in no row."""
    shareable = np.zeros(len(offers.cost), dtype=bool)
    for columns in offers.orders:
        if isinstance(columns.order, GenerationOrder | DemandOrder | BilateralOrder):
            for block in (columns.steps, columns.power, columns.reactive):
                if block is not None:
                    shareable[block] = True
    shareable[offers.rows.indices] = False
    shareable[NOTHING] = False
    return shareable & np.isfinite(offers.lower) & np.isfinite(offers.upper)


def _groups(offers: Resources, column_of: Ints, merged: int) -> tuple[Ints, ...]:
    """Columns that share one, in the order in which remainders are given."""
    turn = {
        order_id: k
        for k, (_, order_id) in enumerate(
            sorted(
                (columns.order.submitted_at or LAST_INSTANT, columns.order.id)
                for columns in offers.orders
            )
        )
    }
    rank = np.zeros(len(column_of), dtype=np.int64)
    for columns in offers.orders:
        for block in _blocks(columns):
            rank[block] = turn[columns.order.id]
    shared = np.flatnonzero(
        (column_of < merged) & (np.bincount(column_of, minlength=merged)[column_of] > 1)
    )
    shared = shared[np.lexsort([shared, rank[shared], column_of[shared]])]
    cuts = np.flatnonzero(np.diff(column_of[shared])) + 1
    bounds = [0, *cuts.tolist(), len(shared)]
    return tuple(shared[a:b] for a, b in pairwise(bounds) if b > a)


def _blocks(columns: OrderColumns) -> list[Ints]:
    """Columns of one order by role."""
    blocks = (columns.steps, columns.power, columns.reactive)
    return [block for block in blocks if block is not None]


def _programme_columns(equal: EqualOrders, head: Ints, merged: int) -> Resources:
    """Resources of the programme; ``head`` names one column of the offers for each of its own."""
    offers, column_of = equal.offers, equal.column_of
    lower, upper = offers.lower[head], offers.upper[head]
    for members in equal.groups:
        column = column_of[members[0]]
        lower[column] = math.fsum(offers.lower[members])
        upper[column] = math.fsum(offers.upper[members])
    lower[:merged] = np.round(lower[:merged], SIZE_DECIMALS)
    upper[:merged] = np.round(upper[:merged], SIZE_DECIMALS)
    is_head = np.zeros(len(column_of), dtype=bool)
    is_head[head] = True
    kept = np.flatnonzero(is_head[offers.inject_column])
    column = column_of[offers.inject_column[kept]]
    period = offers.period[head]
    kept = kept[np.lexsort([offers.inject_node[kept], column, period[column]])]
    rows = offers.rows.tocoo()
    return dataclasses.replace(
        offers,
        cost=offers.cost[head] + 0.0,
        lower=lower,
        upper=upper,
        period=period,
        inject_column=column_of[offers.inject_column[kept]],
        inject_node=offers.inject_node[kept],
        inject_p=offers.inject_p[kept],
        inject_q=offers.inject_q[kept],
        rows=sparse.csr_matrix(
            (rows.data, (rows.row, column_of[rows.col])), shape=(rows.shape[0], len(head))
        ),
        orders=tuple(_renumber(columns, column_of) for columns in offers.orders),
    )


def _renumber(columns: OrderColumns, column_of: Ints) -> OrderColumns:
    """The columns of one order by their numbers in the programme."""
    roles: dict[str, Any] = {
        field.name: column_of[value]
        for field in dataclasses.fields(columns)
        if isinstance(value := getattr(columns, field.name), np.ndarray) and value.dtype == np.int64
    }
    return dataclasses.replace(columns, **roles)
