"""Orders as columns: what each may do, what it costs, and where it injects.

Every column is one decision of one order in one period. A column injects ``p`` MW and ``q`` Mvar
per unit at one or more nodes; rows couple the columns of one order (state of charge, ramps,
windows, power factor). The optimiser sees nothing else of an order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from data.records.clearing import ClearingCase
from data.records.order import (
    BilateralOrder,
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    ShiftOrder,
    StorageOrder,
)
from opf.column_builder import ColumnBuilder, add_ramp, add_reactive, asset_tan_phi
from opf.grid import Grid
from opf.integer_choice import IntegerChoice
from opf.integer_columns import add_block, add_curtail, add_family_rows
from opf.order_columns import OrderColumns
from opf.order_content import content_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]

# Energy that a storage may still decide on, below which it has no choice: the rounding of some
# awards to 1e-6 MW.
FORCED_MWH: Final = 1e-6


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


def _add_steps(
    b: ColumnBuilder, case: ClearingCase, order: GenerationOrder | DemandOrder
) -> OrderColumns:
    """One column per price step; must-run and must-take fill the first steps."""
    sells = isinstance(order, GenerationOrder)
    sign = 1.0 if sells else -1.0
    tan = None if sells or order.reactive is not None else asset_tan_phi(case, order)
    steps = np.empty((len(order.steps), b.periods), dtype=np.int64)
    must = order.p_mw_min.copy()
    for k, step in enumerate(order.steps):
        lower = np.minimum(must, step.p_mw)
        must -= lower
        steps[k] = b.add_columns(sign * step.price_eur_per_mwh * b.mtu_h, lower, step.p_mw)
        b.inject(steps[k], order, sign, -tan if tan is not None else 0.0)
    add_ramp(b, steps, order.ramp_mw_per_h, order.p_mw_before)
    reactive = add_reactive(b, order, [(columns, sign) for columns in steps])
    return OrderColumns(order=order, steps=steps, reactive=reactive, tan_phi=tan)


def _add_storage(b: ColumnBuilder, _case: ClearingCase, order: StorageOrder) -> OrderColumns:
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
    reactive = add_reactive(b, order, [(charge, -1.0), (discharge, 1.0)])
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


def _add_shift(b: ColumnBuilder, case: ClearingCase, order: ShiftOrder) -> OrderColumns:
    """Withdrawal p = baseline + up - down; energy kept in each block of the window."""
    size = b.periods
    tan = asset_tan_phi(case, order) if order.reactive is None else np.zeros(size)
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
    reactive = add_reactive(b, order, [(power, 1.0)])
    moved = np.vstack([up, down])
    return OrderColumns(order=order, power=power, moved=moved, reactive=reactive, tan_phi=tan)


def _add_bilateral(b: ColumnBuilder, _case: ClearingCase, order: BilateralOrder) -> OrderColumns:
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
    """Injection of loads and sgens that no order names, shape (nodes, periods).

    A load that an order curtails stays here: the award is the reduction against it.
    """
    named = {order.asset for order in case.orders if not isinstance(order, CurtailOrder)}
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


def build_resources(
    case: ClearingCase, grid: Grid, choice: IntegerChoice, book: Sequence[Order] | None = None
) -> Resources:
    """Turn the order book of a case into columns, its blocks and curtailments as chosen.

    ``book`` stands in for the orders of the case where equal ones were added up.
    """
    book = case.orders if book is None else book
    node_of_bus = {
        int(bus): int(node)
        for bus, node in zip(case.network.buses.index, grid.bus_node, strict=True)
    }
    b = ColumnBuilder(periods=len(case.periods), mtu_h=case.periods.mtu_h, node_of_bus=node_of_bus)
    orders: dict[int, OrderColumns] = {}
    for place in sorted(range(len(book)), key=lambda k: content_of(book[k])):
        order = book[place]
        if isinstance(order, BlockOrder):
            orders[place] = add_block(b, order, accepted=choice.accepts(order.id))
        elif isinstance(order, CurtailOrder):
            orders[place] = add_curtail(b, case, order, choice.pattern(order.id, b.periods))
        else:
            orders[place] = _ADD[type(order)](b, case, order)
    add_family_rows(b, orders.values())
    period = np.concatenate(b.period)
    empty_int, empty = np.zeros(0, dtype=np.int64), np.zeros(0)
    column = np.concatenate([c for c, _, _, _ in b.injections] or [empty_int])
    node = np.concatenate(
        [np.full(len(c), n, dtype=np.int64) for c, n, _, _ in b.injections] or [empty_int]
    )
    inject_p = np.concatenate([p for _, _, p, _ in b.injections] or [empty])
    inject_q = np.concatenate([q for _, _, _, q in b.injections] or [empty])
    by_period = np.argsort(period[column], kind="stable")
    return Resources(
        cost=np.concatenate(b.cost),
        lower=np.concatenate(b.lower),
        upper=np.concatenate(b.upper),
        period=period,
        inject_column=column[by_period],
        inject_node=node[by_period],
        inject_p=inject_p[by_period],
        inject_q=inject_q[by_period],
        rows=b.coupling(),
        rows_lower=np.concatenate(b.row_lower or [empty]),
        rows_upper=np.concatenate(b.row_upper or [empty]),
        fixed=_fixed_injection(case, grid, node_of_bus),
        orders=tuple(orders[place] for place in range(len(book))),
    )
