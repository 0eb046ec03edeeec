"""Equal orders are one column of the programme, and share what it gets by rule.

Columns are equal where period, cost and injections (nodes and coefficients) are equal and nothing
couples them to others: price steps of generation and demand without ramp or power factor, bilateral
orders, free reactive power. The programme sees their sum. So an order that is split in two leaves
every price and every total as it was, to the bit, and no solver decides between equals.

What the sum gets is put on ticks as a whole first. Above their lower bounds the members share it in
proportion to their sizes: whole ticks to each, and the ticks left over one by one, by the largest
remainder, then by time of submission (unknown last), then by order id.

Storages, shifts and whatever else rows couple are added up before (`opf.proportional_orders`), and
what such an order got is shared along its path (`opf.proportional_shares`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from data.records.order import BilateralOrder, DemandOrder, GenerationOrder
from data.units import MICRO_PER_UNIT
from opf.column_builder import NOTHING
from opf.order_columns import OrderColumns
from opf.proportional_orders import (
    SIZE_DECIMALS,
    Family,
    Spread,
    renumber,
    spread_families,
    turn_of,
)
from opf.proportional_shares import share_families, share_ticks
from opf.resources import Resources

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualOrders:
    """Columns of every order, and which column of the programme each belongs to.

    Parameters
    ----------
    spread : Spread
        Columns order by order, and those of the book that they are parts of.
    book : Resources
        Columns of the book, in which proportional orders are one.
    families : tuple of Family
        The orders of the book and their members.
    mtu_h : float
        Length of a period [h].
    column_of : ndarray of int, shape (columns of the book,)
        Column of the programme.
    groups : tuple of ndarray of int
        Columns of the book that share one column of the programme, where they are several, each
        in the order in which remainders are given.
    """

    spread: Spread
    book: Resources
    families: tuple[Family, ...]
    mtu_h: float
    column_of: Ints
    groups: tuple[Ints, ...]

    @property
    def offers(self) -> Resources:
        """Columns order by order."""
        return self.spread.offers

    def total(self, own: Floats) -> Floats:
        """Add up what orders do to what the programme does.

        Parameters
        ----------
        own : ndarray, shape (columns of the offers,)

        Returns
        -------
        ndarray, shape (columns of the programme,)
        """
        programme = self.column_of[self.spread.source]
        return np.asarray(np.bincount(programme, weights=own), dtype=float)

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
            lower, upper = self.book.lower[members], self.book.upper[members]
            shares = share_ticks(ticks, lower.tolist(), upper.tolist())
            own[members] = np.array(shares, dtype=float) / MICRO_PER_UNIT
        return share_families(self.spread, self.book, self.families, own, self.mtu_h)


def merge_equal_orders(
    offers: Resources, families: Sequence[Family], mtu_h: float
) -> tuple[Resources, EqualOrders]:
    """Put equal columns of the order book together.

    Parameters
    ----------
    offers : Resources
        Columns of the book, in which proportional orders are one.
    families : sequence of Family
        The orders of the book, in its order.
    mtu_h : float
        Length of a period [h].

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
    equal = EqualOrders(
        spread=spread_families(offers, families),
        book=offers,
        families=tuple(families),
        mtu_h=mtu_h,
        column_of=column_of,
        groups=groups,
    )
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
            sorted(turn_of(columns.order) for columns in offers.orders)
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
    offers, column_of = equal.book, equal.column_of
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
        orders=tuple(renumber(columns, column_of) for columns in offers.orders),
    )
