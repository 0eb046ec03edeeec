"""The limits of a grid as monitored quantities g <= g_max, and their gradients at an AC point.

One numbering for all: upper voltage of each node, lower voltage, current at each branch end,
import cap, export cap. Lower bounds are written negated, so every limit reads ``g <= g_max``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingCase
from opf.grid import SIDES, Grid
from opf.power_flow import AcState, NodalSolver

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]

# Gradients found at once: what lies between a limit and its gradient takes four times its memory.
LIMITS_AT_ONCE: Final = 500

VOLTAGE_UPPER, VOLTAGE_LOWER, CURRENT_FROM, CURRENT_TO, IMPORT_CAP, EXPORT_CAP = range(6)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSet:
    """Every limit of the case, the same in all periods.

    Parameters
    ----------
    family : ndarray of int, shape (limits,)
        One of the constants of this module.
    place : ndarray of int, shape (limits,)
        Node for voltages, branch for currents, 0 for the caps.
    maximum : ndarray, shape (limits,)
        g_max [pu, or MW for the caps]; negated for lower bounds.
    element_kind, element, side : names as the result files print them
    margin : ndarray, shape (limits, periods), optional
        Security margin: g <= g_max - margin, in the unit of g_max; none by default.
    """

    family: Ints
    place: Ints
    maximum: Floats
    element_kind: tuple[str, ...]
    element: Ints
    side: tuple[str, ...]
    margin: Floats | None = None

    def __len__(self) -> int:
        return len(self.family)

    def bound(self, periods: int) -> Floats:
        """Return what each limit holds at, shape (limits, periods): g_max less its margin."""
        if self.margin is None:
            return np.repeat(self.maximum[:, None], periods, axis=1)
        return self.maximum[:, None] - self.margin

    def bound_at(self, chosen: Ints, period: Ints) -> Floats:
        """Return what chosen limits hold at in given periods, shape (k,)."""
        if self.margin is None:
            return self.maximum[chosen]
        return self.maximum[chosen] - self.margin[chosen, period]


def _strictest_voltage(
    case: ClearingCase, grid: Grid, *, upper: bool
) -> list[tuple[int, float, int]]:
    """Return (node, limit, bus) for each node but the substation: the strictest of its buses."""
    limit = case.limits.vm_pu_max if upper else case.limits.vm_pu_min
    found: dict[int, tuple[float, int]] = {}
    for row, node in enumerate(grid.bus_node.tolist()):
        if node <= 0 or not np.isfinite(limit[row]):
            continue
        value = float(limit[row])
        best = found.get(node)
        if best is None or (value < best[0] if upper else value > best[0]):
            found[node] = (value, int(case.network.buses.index[row]))
    return [(node, *found[node]) for node in sorted(found)]


def list_limits(case: ClearingCase, grid: Grid) -> LimitSet:
    """Collect the limits of the grid; security margins are `with_margins`."""
    rows: list[tuple[int, int, float, str, int, str]] = []
    for node, value, bus in _strictest_voltage(case, grid, upper=True):
        rows.append((VOLTAGE_UPPER, node, value, "bus", bus, "upper"))
    for node, value, bus in _strictest_voltage(case, grid, upper=False):
        rows.append((VOLTAGE_LOWER, node, -value, "bus", bus, "lower"))
    b = grid.branches
    # without charging both ends carry the same current: one limit, not two equal ones
    one_current = (np.abs(b.yff + b.yft) < 1e-12 * np.abs(b.yff)) & (b.rating_from == b.rating_to)
    for end, rating in ((0, b.rating_from), (1, b.rating_to)):
        for k in range(len(b)):
            if end == 1 and one_current[k]:
                continue
            kind = str(b.kind[k])
            percent = (
                case.limits.line_loading_percent_max
                if kind == "line"
                else case.limits.trafo_loading_percent_max
            )[b.row[k]]
            if np.isfinite(percent):
                limit = float(rating[k] * percent / 100.0)
                side = SIDES[kind][end]
                rows.append((CURRENT_FROM + end, k, limit, kind, int(b.element[k]), side))
    if case.import_mw_max is not None:
        rows.append((IMPORT_CAP, 0, case.import_mw_max, "ext_grid", 0, "import"))
    if case.export_mw_max is not None:
        rows.append((EXPORT_CAP, 0, case.export_mw_max, "ext_grid", 0, "export"))
    columns = list(zip(*rows, strict=True)) or [()] * 6
    return LimitSet(
        family=np.array(columns[0], dtype=np.int64),
        place=np.array(columns[1], dtype=np.int64),
        maximum=np.array(columns[2], dtype=float),
        element_kind=tuple(columns[3]),
        element=np.array(columns[4], dtype=np.int64),
        side=tuple(columns[5]),
    )


def with_margins(limits: LimitSet, case: ClearingCase, grid: Grid) -> LimitSet:
    """Draw the limits in by the security margins of the case.

    Buses that closed switches make one node share its limit: the strictest of what is left of
    theirs.
    """
    given = case.margins
    if given is None:
        return limits
    margin = np.zeros((len(limits), len(case.periods)))
    for family, sign, stated, drawn in (
        (VOLTAGE_UPPER, 1.0, case.limits.vm_pu_max, given.vm_pu_upper),
        (VOLTAGE_LOWER, -1.0, case.limits.vm_pu_min, given.vm_pu_lower),
    ):
        left = np.where(np.isfinite(stated), sign * stated, np.inf)[:, None] - drawn
        for k in np.flatnonzero(limits.family == family).tolist():
            strictest = left[grid.bus_node == limits.place[k]].min(axis=0)
            margin[k] = np.maximum(limits.maximum[k] - strictest, 0.0)
    b = grid.branches
    for family, rating in ((CURRENT_FROM, b.rating_from), (CURRENT_TO, b.rating_to)):
        for k in np.flatnonzero(limits.family == family).tolist():
            branch = limits.place[k]
            table = (
                given.line_loading_percent
                if b.kind[branch] == "line"
                else given.trafo_loading_percent
            )
            margin[k] = rating[branch] * table[b.row[branch]] / 100.0
    return replace(limits, margin=margin)


def limit_values(limits: LimitSet, state: AcState) -> Floats:
    """Return g of every limit in every period, shape (limits, periods)."""
    vm = np.abs(state.v)
    values = np.empty((len(limits), state.v.shape[1]))
    for family, source in (
        (VOLTAGE_UPPER, vm),
        (VOLTAGE_LOWER, -vm),
        (CURRENT_FROM, np.abs(state.current_from)),
        (CURRENT_TO, np.abs(state.current_to)),
        (IMPORT_CAP, state.exchange.real[None, :]),
        (EXPORT_CAP, -state.exchange.real[None, :]),
    ):
        of_family = limits.family == family
        values[of_family] = source[limits.place[of_family]]
    return values


def import_weights(solver: NodalSolver, periods: int) -> Complexes:
    """Weights c with d(import) = Re(c^T dV): the same in all periods, (nodes - 1, periods)."""
    weights = np.conj(solver.grid.slack_v) * solver.y_slack_row[1:]
    return np.repeat(weights[:, None], periods, axis=1)


def import_gradient(solver: NodalSolver, state: AcState) -> tuple[Floats, Floats]:
    """Derivative of the import by node injections, (dp, dq) of shape (nodes, periods).

    At the substation itself one more MW injected is one MW less imported.
    """
    periods = state.v.shape[1]
    dp, dq = solver.adjoint(import_weights(solver, periods), state.injection[1:], state.v[1:])
    top = np.full((1, periods), -1.0)
    return np.vstack([top, dp]), np.vstack([np.zeros((1, periods)), dq])


def limit_gradients(
    solver: NodalSolver, state: AcState, limits: LimitSet, chosen: Ints, periods: Ints
) -> tuple[Floats, Floats]:
    """Gradients of chosen limits in given periods by node injections.

    Parameters
    ----------
    chosen, periods : ndarray of int, shape (k,)
        Limit number and period of each wanted gradient.

    Returns
    -------
    (dp, dq) : ndarray, shape (nodes, k)
    """
    nodes, count = solver.grid.node_count, len(chosen)
    dp, dq = np.empty((nodes, count)), np.empty((nodes, count))
    for first in range(0, count, LIMITS_AT_ONCE):
        some = slice(first, first + LIMITS_AT_ONCE)
        dp[:, some], dq[:, some] = _gradients_at_once(
            solver, state, limits, chosen[some], periods[some]
        )
    return dp, dq


def _gradients_at_once(
    solver: NodalSolver, state: AcState, limits: LimitSet, chosen: Ints, periods: Ints
) -> tuple[Floats, Floats]:
    """As `limit_gradients`, of as many as memory holds in between."""
    grid = solver.grid
    nodes = grid.node_count
    count = len(chosen)
    weights = np.zeros((nodes, count), dtype=complex)
    each = np.arange(count)
    family, place = limits.family[chosen], limits.place[chosen]
    b = grid.branches
    for kind, sign in ((VOLTAGE_UPPER, 1.0), (VOLTAGE_LOWER, -1.0)):
        m = family == kind
        v = state.v[place[m], periods[m]]
        weights[place[m], each[m]] += sign * np.conj(v) / np.abs(v)
    for kind, current, y_f, y_t in (
        (CURRENT_FROM, state.current_from, b.yff, b.yft),
        (CURRENT_TO, state.current_to, b.ytf, b.ytt),
    ):
        m = family == kind
        i = current[place[m], periods[m]]
        direction = np.conj(i) / np.maximum(np.abs(i), 1e-12)
        np.add.at(weights, (b.node_from[place[m]], each[m]), direction * y_f[place[m]])
        np.add.at(weights, (b.node_to[place[m]], each[m]), direction * y_t[place[m]])
    direct = np.zeros(count)
    for kind, sign in ((IMPORT_CAP, 1.0), (EXPORT_CAP, -1.0)):
        m = family == kind
        weights[1:, each[m]] += sign * np.conj(grid.slack_v) * solver.y_slack_row[1:, None]
        direct[m] = -sign
    dp, dq = solver.adjoint(weights[1:], state.injection[1:][:, periods], state.v[1:][:, periods])
    return np.vstack([direct[None, :], dp]), np.vstack([np.zeros((1, count)), dq])
