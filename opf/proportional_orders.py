"""Orders that differ in size alone are one order of the programme.

A storage, a shift, a plant with a ramp or a power factor couples its columns. What two of them that
are proportional to one another can do together is what one of the summed size can do: the feasible
set of each is convex and the other's is a multiple of it. So the programme holds one such order for
all of them, and `opf.proportional_shares` gives each its part of what it gets.

Together they also keep the rule that one storage does not charge and discharge at once: one half
cannot charge at a negative price while the other discharges, as one whole could not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from data.records.clearing import ClearingCase
from data.records.order import (
    DemandOrder,
    GenerationOrder,
    Order,
    ReactiveRange,
    ShiftOrder,
    StorageOrder,
)
from opf.column_builder import NOTHING, asset_tan_phi
from opf.order_columns import OrderColumns
from opf.order_content import NAMES, plain
from opf.resources import Resources

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Sums of sizes are kept to so many decimals [MW, MWh]: thirds of a size add up to it again.
SIZE_DECIMALS: Final = 12
# Sizes are weighed as whole numbers of 1e-15, so that shares are exact.
WEIGHTS_PER_UNIT: Final = 10**15
LAST_INSTANT: Final = datetime.max.replace(tzinfo=UTC)
# Fields that grow with the size of an order; all others must be equal.
SIZES: Final = frozenset(
    {
        "charge_mw_max", "discharge_mw_max", "energy_mwh_min", "energy_mwh_max",
        "energy_mwh_start", "energy_mwh_end_min", "energy_mwh_departure_min", "baseline_mw",
        "p_mw_min", "p_mw_max", "ramp_mw_per_h", "p_mw_before",
    }
)  # fmt: skip
# Ratios of sizes are compared on this grid, whose lines lie off all short decimals.
RATIO_GRID: Final = 1e9
RATIO_OFFSET: Final = 0.318309886


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One order of the programme and those it stands for.

    Parameters
    ----------
    order : Order
        The sum of its members, or the one member itself.
    members : tuple of Order
        In the order in which remainders are given.
    weights : tuple of int
        Size of each member [1e-15 of its unit]; what the family gets is shared in proportion.
    """

    order: Order
    members: tuple[Order, ...]
    weights: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Columns of single orders beside those of their families.

    Parameters
    ----------
    offers : Resources
        Columns order by order.
    source : ndarray of int, shape (columns of the offers,)
        Column of the family that each is a part of.
    """

    offers: Resources
    source: Ints


def turn_of(order: Order) -> tuple[datetime, str]:
    """Sort key by which ticks left over are given: time of submission, unknown last; then id."""
    return order.submitted_at or LAST_INSTANT, order.id


def find_families(case: ClearingCase) -> tuple[Family, ...]:
    """Put the orders of a case together that differ in size alone.

    Returns
    -------
    tuple of Family
        In the order of the case, a family at the place of its first member.
    """
    found: dict[object, list[Order]] = {}
    for order in case.orders:
        key: object = order.id
        sizes = _sizes(order) if _is_coupled(order) else np.zeros(0)
        largest = float(np.abs(sizes).max(initial=0.0))
        if largest > 0.0:
            ratio = np.floor(sizes / largest * RATIO_GRID + RATIO_OFFSET)
            key = (_character(case, order), ratio.tobytes())
        found.setdefault(key, []).append(order)
    return tuple(_family(members) for members in found.values())


def _is_coupled(order: Order) -> bool:
    """Whether rows couple its columns; all other columns are merged one by one."""
    if isinstance(order, StorageOrder | ShiftOrder):
        return True
    if not isinstance(order, GenerationOrder | DemandOrder):
        return False
    reactive = order.reactive
    factor = None if reactive is None else reactive.power_factor_min
    return order.ramp_mw_per_h is not None or factor is not None


def _size_leaves(order: Order) -> dict[str, Any]:
    """Everything that grows with an order's size, by name."""
    leaves = {
        field.name: getattr(order, field.name)
        for field in dataclasses.fields(order)
        if field.name in SIZES
    }
    if isinstance(order, GenerationOrder | DemandOrder):
        leaves |= {f"step {k}": step.p_mw for k, step in enumerate(order.steps)}
    if order.reactive is not None:
        leaves["q_mvar_min"] = order.reactive.q_mvar_min
        leaves["q_mvar_max"] = order.reactive.q_mvar_max
    return {name: value for name, value in leaves.items() if value is not None}


def _sizes(order: Order) -> Floats:
    """All sizes one after the other."""
    return np.concatenate([np.atleast_1d(value) for value in _size_leaves(order).values()])


def _character(case: ClearingCase, order: Order) -> tuple[bytes, ...]:
    """Everything that members of a family have in common."""
    parts: list[object] = [type(order).__name__, tuple(_size_leaves(order))]
    others = NAMES | SIZES | {"asset", "steps", "reactive"}
    names = [field.name for field in dataclasses.fields(order) if field.name not in others]
    parts += [getattr(order, name) for name in names]
    if isinstance(order, GenerationOrder | DemandOrder):
        parts += [step.price_eur_per_mwh for step in order.steps]
    if order.reactive is not None:
        parts.append(order.reactive.power_factor_min)
    parts.append(asset_tan_phi(case, order))
    return tuple(plain(part) for part in parts)


def _family(members: Sequence[Order]) -> Family:
    """Add members up; a single one keeps its sizes, on the same decimals."""
    if not _is_coupled(members[0]):
        return Family(order=members[0], members=tuple(members), weights=(1,))
    ordered = sorted(members, key=turn_of)
    leaves = [_size_leaves(order) for order in ordered]
    total = {
        name: np.round(sum(np.asarray(own[name], dtype=float) for own in leaves), SIZE_DECIMALS)
        for name in leaves[0]
    }
    largest = int(np.argmax(np.abs(np.concatenate([np.atleast_1d(v) for v in total.values()]))))
    name = ordered[0].id
    if len(ordered) > 1:
        name += f" and {len(ordered) - 1} like it"
    # one of the assets, whichever it is: what follows from it is equal
    asset = min(order.asset or "" for order in ordered) or None
    return Family(
        order=dataclasses.replace(_with_sizes(ordered[0], total), id=name, asset=asset),
        members=tuple(ordered),
        weights=tuple(
            max(round(abs(float(_sizes(order)[largest])) * WEIGHTS_PER_UNIT), 1)
            for order in ordered
        ),
    )


def _with_sizes(order: Order, sizes: dict[str, Any]) -> Order:
    """The order with other sizes."""
    changes: dict[str, Any] = {
        name: value if np.ndim(value) else float(value)
        for name, value in sizes.items()
        if name in SIZES
    }
    if isinstance(order, GenerationOrder | DemandOrder):
        changes["steps"] = tuple(
            dataclasses.replace(step, p_mw=sizes[f"step {k}"]) for k, step in enumerate(order.steps)
        )
    if order.reactive is not None:
        changes["reactive"] = ReactiveRange(
            q_mvar_min=sizes.get("q_mvar_min"),
            q_mvar_max=sizes.get("q_mvar_max"),
            power_factor_min=order.reactive.power_factor_min,
        )
    return dataclasses.replace(order, **changes)


def spread_families(book: Resources, families: Sequence[Family]) -> Spread:
    """Give every member columns and rows of its own: those of its family, scaled.

    Parameters
    ----------
    book : Resources
        Columns family by family, in the order of ``families``.
    families : sequence of Family
    """
    copies = _Copies(book)
    orders: list[OrderColumns] = []
    for family, columns in zip(families, book.orders, strict=True):
        if len(family.members) == 1:
            orders.append(dataclasses.replace(columns, order=family.members[0]))
        else:
            orders += copies.add(family, columns)
    if not copies.count:
        return Spread(
            offers=dataclasses.replace(book, orders=tuple(orders)), source=np.arange(len(book.cost))
        )
    return Spread(offers=copies.offers(tuple(orders)), source=np.concatenate(copies.source))


class _Copies:
    """Columns, injections and rows of members, appended to those of the book."""

    def __init__(self, book: Resources) -> None:
        self.book = book
        rows = book.rows.tocoo()
        self.source: list[Ints] = [np.arange(len(book.cost))]
        self.scale: list[Floats] = [np.ones(len(book.cost))]
        self.row_source: list[Ints] = [np.arange(book.rows.shape[0])]
        self.row_scale: list[Floats] = [np.ones(book.rows.shape[0])]
        self.entry_source: list[Ints] = [np.arange(len(book.inject_column))]
        self.entry_column: list[Ints] = [book.inject_column]
        self.cell_row: list[Ints] = [rows.row]
        self.cell_column: list[Ints] = [rows.col]
        self.cell_value: list[Floats] = [rows.data]
        self.columns, self.rows, self.count = len(book.cost), book.rows.shape[0], 0

    def add(self, family: Family, columns: OrderColumns) -> list[OrderColumns]:
        """Add the members of a family; the first takes the columns that are there."""
        book, total = self.book, sum(family.weights)
        own = _own_columns(columns)
        number_of = np.full(len(book.cost), NOTHING, dtype=np.int64)
        cells = np.flatnonzero(np.isin(self.cell_column[0], own))
        column, value = self.cell_column[0][cells], self.cell_value[0][cells]
        rows, row_number = np.unique(self.cell_row[0][cells], return_inverse=True)
        entries = np.flatnonzero(np.isin(book.inject_column, own))
        share = family.weights[0] / total
        self.scale[0][own], self.row_scale[0][rows] = share, share
        found = [dataclasses.replace(columns, order=family.members[0])]
        for member, weight in zip(family.members[1:], family.weights[1:], strict=True):
            share = weight / total
            number_of[own] = self.columns + np.arange(len(own))
            self.source.append(own)
            self.scale.append(np.full(len(own), share))
            self.row_source.append(rows)
            self.row_scale.append(np.full(len(rows), share))
            self.entry_source.append(entries)
            self.entry_column.append(number_of[book.inject_column[entries]])
            self.cell_row.append(self.rows + row_number)
            self.cell_column.append(number_of[column])
            self.cell_value.append(value)
            found.append(dataclasses.replace(renumber(columns, number_of), order=member))
            self.columns, self.rows = self.columns + len(own), self.rows + len(rows)
            self.count += 1
        return found

    def offers(self, orders: tuple[OrderColumns, ...]) -> Resources:
        """Return the resources of all single orders."""
        book = self.book
        source, scale = np.concatenate(self.source), np.concatenate(self.scale)
        row_source, row_scale = np.concatenate(self.row_source), np.concatenate(self.row_scale)
        entry, column = np.concatenate(self.entry_source), np.concatenate(self.entry_column)
        period = book.period[source]
        by_period = np.argsort(period[column], kind="stable")
        cells = (np.concatenate(self.cell_row), np.concatenate(self.cell_column))
        return dataclasses.replace(
            book,
            cost=book.cost[source],
            lower=book.lower[source] * scale,
            upper=book.upper[source] * scale,
            period=period,
            inject_column=column[by_period],
            inject_node=book.inject_node[entry][by_period],
            inject_p=book.inject_p[entry][by_period],
            inject_q=book.inject_q[entry][by_period],
            rows=sparse.csr_matrix(
                (np.concatenate(self.cell_value), cells), shape=(self.rows, self.columns)
            ),
            rows_lower=book.rows_lower[row_source] * row_scale,
            rows_upper=book.rows_upper[row_source] * row_scale,
            orders=orders,
        )


def _own_columns(columns: OrderColumns) -> Ints:
    """All columns of an order."""
    blocks = [getattr(columns, field.name) for field in dataclasses.fields(columns)]
    numbers = [b.ravel() for b in blocks if isinstance(b, np.ndarray) and b.dtype == np.int64]
    own: Ints = np.unique(np.concatenate(numbers))
    return np.asarray(own[own != NOTHING], dtype=np.int64)


def renumber(columns: OrderColumns, number_of: Ints) -> OrderColumns:
    """The columns of one order by other numbers."""
    roles: dict[str, Any] = {
        field.name: number_of[value]
        for field in dataclasses.fields(columns)
        if isinstance(value := getattr(columns, field.name), np.ndarray) and value.dtype == np.int64
    }
    return dataclasses.replace(columns, **roles)
