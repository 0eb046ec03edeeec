"""Collect the columns, injections and rows of an order book while its orders are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from data.records.clearing import ClearingCase
from data.records.order import Order

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# The column of everything that can only be zero: an order offers nothing in most periods, and a
# column for each of these would make up most of a large book.
NOTHING: Final = 0


@dataclass(slots=True)
class ColumnBuilder:
    """Collects columns, injections and rows while orders are read."""

    periods: int
    mtu_h: float
    node_of_bus: dict[int, int]
    cost: list[Floats] = field(default_factory=lambda: [np.zeros(1)])
    lower: list[Floats] = field(default_factory=lambda: [np.zeros(1)])
    upper: list[Floats] = field(default_factory=lambda: [np.zeros(1)])
    period: list[Ints] = field(default_factory=lambda: [np.zeros(1, dtype=np.int64)])
    injections: list[tuple[Ints, int, Floats, Floats]] = field(default_factory=list)
    row_entries: list[tuple[Ints, Ints, Floats]] = field(default_factory=list)
    row_lower: list[Floats] = field(default_factory=list)
    row_upper: list[Floats] = field(default_factory=list)
    columns: int = 1
    row_count: int = 0

    def add_columns(self, cost: Floats, lower: Floats, upper: Floats) -> Ints:
        """Add one column per period; returns their numbers, `NOTHING` where it can only be 0."""
        shape = (self.periods,)
        costs, lowers, uppers = (
            np.broadcast_to(np.asarray(values, dtype=float), shape)
            for values in (cost, lower, upper)
        )
        used = np.flatnonzero((lowers != 0.0) | (uppers != 0.0))
        numbers = np.full(self.periods, NOTHING, dtype=np.int64)
        numbers[used] = self.add_in_periods(used, costs[used], lowers[used], uppers[used])
        return numbers

    def add_in_periods(self, period: Ints, cost: Floats, lower: Floats, upper: Floats) -> Ints:
        """Add one column in each of the given periods; returns their numbers."""
        self.cost.append(cost)
        self.lower.append(lower)
        self.upper.append(upper)
        self.period.append(period)
        numbers = np.arange(self.columns, self.columns + len(period))
        self.columns += len(period)
        return numbers

    def inject(self, columns: Ints, order: Order, p: Floats | float, q: Floats | float) -> None:
        """Let columns inject ``share * p`` MW and ``share * q`` Mvar at the order's buses."""
        for bus, share in order.buses:
            self.inject_at(columns, bus, share * np.asarray(p), share * np.asarray(q))

    def inject_at(self, columns: Ints, bus: int, p: Floats | float, q: Floats | float) -> None:
        """Let columns inject at one bus."""
        used = columns != NOTHING
        values = [
            np.broadcast_to(np.asarray(value, dtype=float), used.shape)[used] for value in (p, q)
        ]
        self.injections.append((columns[used], self.node_of_bus[bus], values[0], values[1]))

    def add_rows(
        self, lower: Floats, upper: Floats, entries: list[tuple[Ints, Ints, Floats]]
    ) -> None:
        """Add rows; entries are (row within the block, column, value) arrays."""
        for rows, columns, values in entries:
            used = columns != NOTHING
            self.row_entries.append(((rows + self.row_count)[used], columns[used], values[used]))
        self.row_lower.append(lower)
        self.row_upper.append(upper)
        self.row_count += len(lower)

    def coupling(self) -> sparse.csr_matrix:
        """Return the rows collected so far, shape (rows, columns)."""
        empty_int = np.zeros(0, dtype=np.int64)
        return sparse.csr_matrix(
            (
                np.concatenate([v for _, _, v in self.row_entries] or [np.zeros(0)]),
                (
                    np.concatenate([r for r, _, _ in self.row_entries] or [empty_int]),
                    np.concatenate([c for _, c, _ in self.row_entries] or [empty_int]),
                ),
            ),
            shape=(self.row_count, self.columns),
        )


def asset_tan_phi(case: ClearingCase, order: Order) -> Floats:
    """Reactive over active withdrawal of the order's load asset; 0 without one [Mvar/MW]."""
    zeros = np.zeros(len(case.periods))
    if order.asset is None or not order.asset.startswith("load:"):
        return zeros
    row = int(np.flatnonzero(case.network.loads.index == int(order.asset.split(":")[1]))[0])
    p, q = case.load_p_mw[:, row], case.load_q_mvar[:, row]
    return np.divide(q, p, out=zeros, where=p > 0)


def add_ramp(
    b: ColumnBuilder, steps: Ints, ramp_mw_per_h: float | None, p_mw_before: float | None
) -> None:
    """|p_t - p_(t-1)| <= ramp h, from the power before the horizon where it is known."""
    if ramp_mw_per_h is None:
        return
    limit = ramp_mw_per_h * b.mtu_h
    later = np.arange(1, b.periods)
    entries: list[tuple[Ints, Ints, Floats]] = []
    for columns in steps:
        entries.append((later - 1, columns[1:], np.ones(b.periods - 1)))
        entries.append((later - 1, columns[:-1], -np.ones(b.periods - 1)))
    size = b.periods - 1
    b.add_rows(np.full(size, -limit), np.full(size, limit), entries)
    if p_mw_before is not None:
        first = [(np.zeros(1, dtype=np.int64), c[:1], np.ones(1)) for c in steps]
        b.add_rows(np.array([p_mw_before - limit]), np.array([p_mw_before + limit]), first)


def add_reactive(b: ColumnBuilder, order: Order, active: list[tuple[Ints, float]]) -> Ints | None:
    """A free reactive injection within its range; |q| <= sum(active) tan(acos(pf))."""
    reactive = order.reactive
    if reactive is None:
        return None
    most = np.concatenate(b.upper)
    big = sum((most[columns] for columns, _ in active), np.zeros(b.periods))
    tan = None
    if reactive.power_factor_min is not None:
        tan = float(np.tan(np.arccos(reactive.power_factor_min)))
    bound = big * tan if tan is not None else np.full(b.periods, np.inf)
    lower = -bound if reactive.q_mvar_min is None else np.maximum(reactive.q_mvar_min, -bound)
    upper = bound if reactive.q_mvar_max is None else np.minimum(reactive.q_mvar_max, bound)
    columns = b.add_columns(np.zeros(b.periods), lower, upper)
    b.inject(columns, order, 0.0, 1.0)
    if tan is not None:
        each = np.arange(b.periods)
        for sign in (1.0, -1.0):
            entries = [(each, columns, np.full(b.periods, sign))]
            entries += [(each, c, np.full(b.periods, -tan)) for c, _ in active]
            b.add_rows(np.full(b.periods, -np.inf), np.zeros(b.periods), entries)
    return columns
