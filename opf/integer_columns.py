"""Block and curtail orders as columns, once their integers are chosen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingCase
from data.records.order import BlockOrder, CurtailOrder
from opf.column_builder import NOTHING, ColumnBuilder, asset_tan_phi
from opf.integer_choice import runs_of
from opf.order_columns import OrderColumns

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def reduction_bounds(case: ClearingCase, order: CurtailOrder) -> tuple[Floats, Floats]:
    """Least and largest reduction while on, shape (periods,) each; least > largest: cannot be on.

    A load cannot be reduced by more than it draws.
    """
    most = order.p_mw_max
    if order.asset is not None and order.asset.startswith("load:"):
        row = int(np.flatnonzero(case.network.loads.index == int(order.asset.split(":")[1]))[0])
        most = np.minimum(most, np.maximum(case.load_p_mw[:, row], 0.0))
    return order.p_mw_min_on, most


def add_block(b: ColumnBuilder, order: BlockOrder, *, accepted: bool) -> OrderColumns:
    """One ratio and the power it gives in each period of the profile; nothing where rejected."""
    power = np.full(b.periods, NOTHING, dtype=np.int64)
    if not accepted:
        return OrderColumns(order=order, power=power, ratio=np.array([NOTHING]))
    used = np.flatnonzero(order.profile_mw)
    profile, cost = order.profile_mw[used], b.mtu_h * order.price_eur_per_mwh[used]
    whole = order.acceptance_min == 1.0
    first = used[:1] if len(used) else np.zeros(1, dtype=np.int64)
    ratio = b.add_in_periods(first, np.zeros(1), np.array([order.acceptance_min]), np.ones(1))
    if whole:
        power[used] = b.add_in_periods(used, cost, profile, profile)
    else:
        # the ratio bounds them; bounds of their own would only blur the shadow prices
        wide = np.full(len(used), np.inf)
        power[used] = b.add_in_periods(used, cost, -wide, wide)
        each = np.arange(len(used))
        entries = [
            (each, power[used], np.ones(len(used))),
            (each, np.repeat(ratio, len(used)), -profile),
        ]
        b.add_rows(np.zeros(len(used)), np.zeros(len(used)), entries)
    b.inject(power, order, 1.0, 0.0)
    return OrderColumns(order=order, power=power, ratio=ratio)


def add_family_rows(b: ColumnBuilder, orders: Iterable[OrderColumns]) -> None:
    """A child's ratio is at most its parent's; the ratios of an exclusive group sum to at most 1.

    Ratios that are fixed need no row: a choice keeps families by itself.
    """
    ratio_of: dict[str, int] = {}
    free: dict[str, bool] = {}
    groups: dict[str, list[str]] = defaultdict(list)
    parents: list[tuple[str, str]] = []
    for columns in orders:
        order = columns.order
        if not isinstance(order, BlockOrder) or columns.ratio is None:
            continue
        if columns.ratio[0] == NOTHING:
            continue
        ratio_of[order.id], free[order.id] = int(columns.ratio[0]), order.acceptance_min < 1.0
        if order.exclusive_group is not None:
            groups[order.exclusive_group].append(order.id)
        if order.parent is not None:
            parents.append((order.id, order.parent))
    zero = np.zeros(1, dtype=np.int64)
    for child, parent in parents:
        if parent in ratio_of and free[parent]:
            pair = [(child, np.ones(1)), (parent, -np.ones(1))]
            entries = [(zero, np.array([ratio_of[name]]), sign) for name, sign in pair]
            b.add_rows(np.array([-np.inf]), np.zeros(1), entries)
    for members in groups.values():
        if len(members) > 1:
            entries = [(zero, np.array([ratio_of[name]]), np.ones(1)) for name in members]
            b.add_rows(np.array([-np.inf]), np.ones(1), entries)


def add_curtail(
    b: ColumnBuilder, case: ClearingCase, order: CurtailOrder, on: Bools
) -> OrderColumns:
    """The reduction in the on periods, and what is drawn again after each run."""
    least, most = reduction_bounds(case, order)
    tan = asset_tan_phi(case, order)
    power = b.add_columns(
        b.mtu_h * order.price_eur_per_mwh, np.where(on, least, 0.0), np.where(on, most, 0.0)
    )
    b.inject(power, order, 1.0, tan)
    rebound = np.full(b.periods, NOTHING, dtype=np.int64)
    if order.rebound_share and order.rebound_periods and on.any():
        rebound = _add_rebound(b, order, on, power)
        b.inject(rebound, order, -1.0, -tan)
    return OrderColumns(order=order, power=power, rebound=rebound, tan_phi=tan, on=on)


def rebound_matrix(order: CurtailOrder, on: Bools) -> Floats:
    """Rebound power by reduction, shape (periods, periods): draw = matrix @ reduction."""
    matrix = np.zeros((len(on), len(on)))
    length = order.rebound_periods or 0
    if order.rebound_share and length:
        for first, last in runs_of(on):
            matrix[last + 1 : last + 1 + length, first : last + 1] = order.rebound_share / length
    return matrix


def _add_rebound(b: ColumnBuilder, order: CurtailOrder, on: Bools, power: Ints) -> Ints:
    """Columns of the rebound, tied to the reductions of the runs before."""
    matrix = rebound_matrix(order, on)
    drawn = np.flatnonzero(matrix.any(axis=1))
    wide = np.full(len(drawn), np.inf)
    rebound = np.full(b.periods, NOTHING, dtype=np.int64)
    rebound[drawn] = b.add_in_periods(drawn, np.zeros(len(drawn)), -wide, wide)
    row, column = np.nonzero(matrix[drawn])
    entries = [
        (np.arange(len(drawn)), rebound[drawn], np.ones(len(drawn))),
        (row, power[column], -matrix[drawn][row, column]),
    ]
    b.add_rows(np.zeros(len(drawn)), np.zeros(len(drawn)), entries)
    return rebound
