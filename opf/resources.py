"""Orders as columns: what each may do, what it costs, and where it injects.

Every column is one decision of one order in one period. A column injects ``p`` MW and ``q`` Mvar
per unit at one or more nodes; rows couple the columns of one order (state of charge, ramps,
windows, power factor). The optimiser sees nothing else of an order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from data.errors import UnsupportedComponent
from data.records.clearing import ClearingCase
from data.records.order import (
    BilateralOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    ShiftOrder,
    StorageOrder,
)
from opf.grid import Grid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]

# Energy that a storage may still decide on, below which it has no choice: the rounding of some
# awards to 1e-6 MW.
FORCED_MWH: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderColumns:
    """Columns of one order by role, each of shape (..., periods); -1 where there is none.

    ``steps`` (generation, demand: one row per price step), ``charge``, ``discharge``, ``energy``
    (storage), ``power`` (shift, bilateral), ``reactive``. ``tan_phi`` [Mvar/MW] is the fixed ratio
    of reactive to active withdrawal where q follows p.
    """

    order: Order
    steps: Ints | None = None
    charge: Ints | None = None
    discharge: Ints | None = None
    energy: Ints | None = None
    power: Ints | None = None
    reactive: Ints | None = None
    tan_phi: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """All columns of a case.

    Parameters
    ----------
    cost : ndarray, shape (columns,)
        Cost per unit [EUR/MW for powers, EUR/MWh for energies].
    lower, upper : ndarray, shape (columns,)
        Bounds.
    period : ndarray of int, shape (columns,)
        Period of each column.
    inject_column, inject_node : ndarray of int, shape (entries,)
        Where a column injects; sorted by period.
    inject_p, inject_q : ndarray, shape (entries,)
        MW and Mvar injected per unit of the column.
    rows : csr_matrix, shape (rows, columns); rows_lower, rows_upper : ndarray
        Coupling of columns.
    fixed : ndarray of complex, shape (nodes, periods)
        Injection of everything that no order names [MW + j Mvar].
    orders : tuple of OrderColumns
        In the order of the case.
    """

    cost: Floats
    lower: Floats
    upper: Floats
    period: Ints
    inject_column: Ints
    inject_node: Ints
    inject_p: Floats
    inject_q: Floats
    rows: sparse.csr_matrix
    rows_lower: Floats
    rows_upper: Floats
    fixed: Complexes
    orders: tuple[OrderColumns, ...]

    def injection(self, x: Floats) -> Complexes:
        """Return the net injection of all nodes at decision ``x``, shape (nodes, periods)."""
        total = self.fixed.copy()
        values = (self.inject_p + 1j * self.inject_q) * x[self.inject_column]
        np.add.at(total, (self.inject_node, self.period[self.inject_column]), values)
        return total

    def column_gradient(self, dg_dp: Floats, dg_dq: Floats) -> Floats:
        """Chain node gradients, shape (nodes, periods), to the columns, shape (columns,)."""
        at = (self.inject_node, self.period[self.inject_column])
        values = self.inject_p * dg_dp[at] + self.inject_q * dg_dq[at]
        total = np.bincount(self.inject_column, weights=values, minlength=len(self.cost))
        return np.asarray(total, dtype=float)


@dataclass(slots=True)
class _Builder:
    """Collects columns, injections and rows while orders are read."""

    periods: int
    mtu_h: float
    node_of_bus: dict[int, int]
    cost: list[Floats] = field(default_factory=list)
    lower: list[Floats] = field(default_factory=list)
    upper: list[Floats] = field(default_factory=list)
    injections: list[tuple[Ints, int, Floats, Floats]] = field(default_factory=list)
    row_entries: list[tuple[Ints, Ints, Floats]] = field(default_factory=list)
    row_lower: list[Floats] = field(default_factory=list)
    row_upper: list[Floats] = field(default_factory=list)
    columns: int = 0
    row_count: int = 0

    def add_columns(self, cost: Floats, lower: Floats, upper: Floats) -> Ints:
        """Add one column per period; returns their numbers."""
        size = self.periods
        for store, value in ((self.cost, cost), (self.lower, lower), (self.upper, upper)):
            store.append(np.broadcast_to(np.asarray(value, dtype=float), (size,)).copy())
        numbers = np.arange(self.columns, self.columns + size)
        self.columns += size
        return numbers

    def inject(self, columns: Ints, order: Order, p: Floats | float, q: Floats | float) -> None:
        """Let columns inject ``share * p`` MW and ``share * q`` Mvar at the order's buses."""
        for bus, share in order.buses:
            self.inject_at(columns, bus, share * np.asarray(p), share * np.asarray(q))

    def inject_at(self, columns: Ints, bus: int, p: Floats | float, q: Floats | float) -> None:
        """Let columns inject at one bus."""
        size = len(columns)
        self.injections.append(
            (
                columns,
                self.node_of_bus[bus],
                np.broadcast_to(np.asarray(p, dtype=float), (size,)),
                np.broadcast_to(np.asarray(q, dtype=float), (size,)),
            )
        )

    def add_rows(
        self, lower: Floats, upper: Floats, entries: list[tuple[Ints, Ints, Floats]]
    ) -> None:
        """Add rows; entries are (row within the block, column, value) arrays."""
        for rows, columns, values in entries:
            self.row_entries.append((rows + self.row_count, columns, values))
        self.row_lower.append(lower)
        self.row_upper.append(upper)
        self.row_count += len(lower)


def _asset_tan_phi(case: ClearingCase, order: Order) -> Floats:
    """Reactive over active withdrawal of the order's load asset; 0 without one [Mvar/MW]."""
    zeros = np.zeros(len(case.periods))
    if order.asset is None or not order.asset.startswith("load:"):
        return zeros
    row = int(np.flatnonzero(case.network.loads.index == int(order.asset.split(":")[1]))[0])
    p, q = case.load_p_mw[:, row], case.load_q_mvar[:, row]
    return np.divide(q, p, out=zeros, where=p > 0)


def _add_ramp(
    b: _Builder, steps: Ints, ramp_mw_per_h: float | None, p_mw_before: float | None
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


def _add_reactive(b: _Builder, order: Order, active: list[tuple[Ints, float]]) -> Ints | None:
    """A free reactive injection within its range; |q| <= sum(active) tan(acos(pf))."""
    reactive = order.reactive
    if reactive is None:
        return None
    big = np.zeros(b.periods)
    for columns, sign in active:
        big += np.concatenate(b.upper)[columns] * abs(sign)
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


def _add_steps(
    b: _Builder, case: ClearingCase, order: GenerationOrder | DemandOrder
) -> OrderColumns:
    """One column per price step; must-run and must-take fill the first steps."""
    sells = isinstance(order, GenerationOrder)
    sign = 1.0 if sells else -1.0
    tan = None if sells or order.reactive is not None else _asset_tan_phi(case, order)
    steps = np.empty((len(order.steps), b.periods), dtype=np.int64)
    must = order.p_mw_min.copy()
    for k, step in enumerate(order.steps):
        lower = np.minimum(must, step.p_mw)
        must -= lower
        steps[k] = b.add_columns(sign * step.price_eur_per_mwh * b.mtu_h, lower, step.p_mw)
        b.inject(steps[k], order, sign, -tan if tan is not None else 0.0)
    _add_ramp(b, steps, order.ramp_mw_per_h, order.p_mw_before)
    reactive = _add_reactive(b, order, [(columns, sign) for columns in steps])
    return OrderColumns(order=order, steps=steps, reactive=reactive, tan_phi=tan)


def _add_storage(b: _Builder, _case: ClearingCase, order: StorageOrder) -> OrderColumns:
    """Charge, discharge and state of charge; e_t - keep e_(t-1) - eff_c h c + h d / eff_d = 0."""
    h, size = b.mtu_h, b.periods
    zeros = np.zeros(size)
    floor = np.full(size, order.energy_mwh_min)
    floor[-1] = max(floor[-1], order.energy_mwh_end_min)
    available = np.flatnonzero(order.availability > 0)
    if order.energy_mwh_departure_min is not None and len(available):
        floor[available[-1]] = max(floor[available[-1]], order.energy_mwh_departure_min)
    full_charge = order.charge_mw_max * order.availability
    full_discharge = order.discharge_mw_max * order.availability
    forced = np.arange(size) < count_forced_charge(order, floor, h)
    charge = b.add_columns(
        h * order.price_charge_eur_per_mwh, np.where(forced, full_charge, 0.0), full_charge
    )
    discharge = b.add_columns(
        h * order.price_discharge_eur_per_mwh, zeros, np.where(forced, 0.0, full_discharge)
    )
    floor = np.where(forced, order.energy_mwh_min, floor)
    energy = b.add_columns(zeros, floor, np.full(size, order.energy_mwh_max))
    keep = (1.0 - order.self_discharge_per_day) ** (h / 24.0)
    each = np.arange(size)
    right = zeros.copy()
    right[0] = keep * order.energy_mwh_start
    entries = [
        (each, energy, np.ones(size)),
        (each[1:], energy[:-1], np.full(size - 1, -keep)),
        (each, charge, np.full(size, -order.efficiency_charge * h)),
        (each, discharge, np.full(size, h / order.efficiency_discharge)),
    ]
    b.add_rows(right, right, entries)
    b.inject(charge, order, -1.0, 0.0)
    b.inject(discharge, order, 1.0, 0.0)
    reactive = _add_reactive(b, order, [(charge, -1.0), (discharge, 1.0)])
    return OrderColumns(
        order=order, charge=charge, discharge=discharge, energy=energy, reactive=reactive
    )


def count_forced_charge(order: StorageOrder, floor_mwh: Floats, mtu_h: float) -> int:
    """Return for how many first periods a storage can only charge at full power.

    Before a cheap last hour a storage empties itself to the level from which full power just
    brings back the energy it must end with. Then less than the rounding of awards is left to
    decide, a feasible set without an interior, in which an interior point method finds no way.

    Parameters
    ----------
    order : StorageOrder
        The order.
    floor_mwh : ndarray, shape (periods,)
        Least energy at the end of each period [MWh].
    mtu_h : float
        Length of a period [h].
    """
    keep = (1.0 - order.self_discharge_per_day) ** (mtu_h / 24.0)
    gain = order.efficiency_charge * mtu_h * order.charge_mw_max * order.availability
    need = floor_mwh.copy()
    for t in range(len(need) - 1, 0, -1):
        need[t - 1] = max(need[t - 1], (need[t] - gain[t]) / keep)
    energy, forced = order.energy_mwh_start, 0
    for t in range(len(need)):
        energy = keep * energy + gain[t]
        if energy - need[t] < -FORCED_MWH:
            return 0  # the order contradicts itself, which the solver will say
        if energy > order.energy_mwh_max:
            break
        if energy - need[t] <= FORCED_MWH:
            forced = t + 1
    return forced


def _add_shift(b: _Builder, case: ClearingCase, order: ShiftOrder) -> OrderColumns:
    """Withdrawal p = baseline + up - down; energy kept in each block of the window."""
    size = b.periods
    tan = _asset_tan_phi(case, order) if order.reactive is None else np.zeros(size)
    power = b.add_columns(np.zeros(size), order.p_mw_min, order.p_mw_max)
    half = 0.5 * b.mtu_h * order.price_eur_per_mwh
    zeros, wide = np.zeros(size), np.full(size, np.inf)
    up = b.add_columns(half, zeros, wide)
    down = b.add_columns(half, zeros, wide)
    each = np.arange(size)
    ones = np.ones(size)
    b.add_rows(
        order.baseline_mw,
        order.baseline_mw,
        [(each, power, ones), (each, up, -ones), (each, down, ones)],
    )
    blocks = each // order.window_periods
    total = np.asarray(np.bincount(blocks, weights=order.baseline_mw), dtype=float)
    b.add_rows(total, total, [(blocks, power, ones)])
    b.inject(power, order, -1.0, -tan)
    reactive = _add_reactive(b, order, [(power, 1.0)])
    return OrderColumns(order=order, power=power, reactive=reactive, tan_phi=tan)


def _add_bilateral(b: _Builder, _case: ClearingCase, order: BilateralOrder) -> OrderColumns:
    """+p at ``bus``, -p at ``bus_to``, up to the agreed power."""
    power = b.add_columns(-b.mtu_h * order.price_eur_per_mwh, np.zeros(b.periods), order.p_mw)
    b.inject(power, order, 1.0, 0.0)
    b.inject_at(power, order.bus_to, -1.0, 0.0)
    return OrderColumns(order=order, power=power)


_ADD: dict[type[Order], Callable[..., OrderColumns]] = {
    GenerationOrder: _add_steps,
    DemandOrder: _add_steps,
    StorageOrder: _add_storage,
    ShiftOrder: _add_shift,
    BilateralOrder: _add_bilateral,
}


def _fixed_injection(case: ClearingCase, grid: Grid, node_of_bus: dict[int, int]) -> Complexes:
    """Injection of loads and sgens that no order names, shape (nodes, periods)."""
    named = {order.asset for order in case.orders}
    fixed = np.zeros((grid.node_count, len(case.periods)), dtype=complex)
    network = case.network
    for kind, table, sign, p, q in (
        ("load", network.loads, -1.0, case.load_p_mw, case.load_q_mvar),
        ("sgen", network.sgens, 1.0, case.sgen_p_mw, case.sgen_q_mvar),
    ):
        for k, (index, bus) in enumerate(zip(table.index, table.bus, strict=True)):
            node = node_of_bus[int(bus)]
            if node < 0 or not table.in_service[k]:
                continue
            if f"{kind}:{index}" not in named:
                fixed[node] += sign * (p[:, k] + 1j * q[:, k])
            elif kind == "load":
                # what a load draws reactively while it draws no active power follows no award
                fixed[node] += sign * 1j * np.where(p[:, k] > 0, 0.0, q[:, k])
    return fixed


def build_resources(case: ClearingCase, grid: Grid) -> Resources:
    """Turn the order book of a case into columns.

    Raises
    ------
    UnsupportedComponent
        Order kinds with integers.
    """
    node_of_bus = {
        int(bus): int(node)
        for bus, node in zip(case.network.buses.index, grid.bus_node, strict=True)
    }
    size = len(case.periods)
    b = _Builder(periods=size, mtu_h=case.periods.mtu_h, node_of_bus=node_of_bus)
    orders = []
    for order in case.orders:
        if type(order) not in _ADD:
            raise UnsupportedComponent(f"order {order.id}: kind needs the integer clearing")
        orders.append(_ADD[type(order)](b, case, order))
    period = np.tile(np.arange(size), b.columns // size if size else 0)
    empty_int, empty = np.zeros(0, dtype=np.int64), np.zeros(0)
    column = np.concatenate([c for c, _, _, _ in b.injections] or [empty_int])
    node = np.concatenate(
        [np.full(len(c), n, dtype=np.int64) for c, n, _, _ in b.injections] or [empty_int]
    )
    inject_p = np.concatenate([p for _, _, p, _ in b.injections] or [empty])
    inject_q = np.concatenate([q for _, _, _, q in b.injections] or [empty])
    by_period = np.argsort(period[column], kind="stable")
    rows = sparse.csr_matrix(
        (
            np.concatenate([v for _, _, v in b.row_entries] or [empty]),
            (
                np.concatenate([r for r, _, _ in b.row_entries] or [empty_int]),
                np.concatenate([c for _, c, _ in b.row_entries] or [empty_int]),
            ),
        ),
        shape=(b.row_count, b.columns),
    )
    return Resources(
        cost=np.concatenate(b.cost or [empty]),
        lower=np.concatenate(b.lower or [empty]),
        upper=np.concatenate(b.upper or [empty]),
        period=period,
        inject_column=column[by_period],
        inject_node=node[by_period],
        inject_p=inject_p[by_period],
        inject_q=inject_q[by_period],
        rows=rows,
        rows_lower=np.concatenate(b.row_lower or [empty]),
        rows_upper=np.concatenate(b.row_upper or [empty]),
        fixed=_fixed_injection(case, grid, node_of_bus),
        orders=tuple(orders),
    )
