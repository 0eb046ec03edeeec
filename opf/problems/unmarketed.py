"""The grid without a market: every load and generator at its profile, no order used.

What hosting capacity and outages are measured at. Storages idle; flexible loads run as recorded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingCase
from opf.grid import Grid
from opf.limits import (
    EXPORT_CAP,
    IMPORT_CAP,
    VOLTAGE_LOWER,
    VOLTAGE_UPPER,
    LimitSet,
    limit_values,
)
from opf.power_flow import AcState, NodalSolver, PowerFlowDiverged, solve_state

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]

# A limit that is exceeded by less than this share of a unit of it holds [pu, MW].
HOLDS_WITHIN = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachedLimit:
    """A limit and how far it is used: value and limit in pu, percent of rating, or MW."""

    element_kind: str
    element: int
    side: str
    period: int
    value: float
    limit: float


def bus_injections(case: ClearingCase) -> Complexes:
    """Net injection at every bus from the profiles of loads and generators in service.

    Returns
    -------
    ndarray of complex, shape (buses, periods)
        [MW + j Mvar], rows as the network's buses.
    """
    network = case.network
    row_of = {int(bus): row for row, bus in enumerate(network.buses.index)}
    total = np.zeros((len(row_of), len(case.periods)), dtype=complex)
    for elements, sign, p, q in (
        (network.loads, -1.0, case.load_p_mw, case.load_q_mvar),
        (network.sgens, 1.0, case.sgen_p_mw, case.sgen_q_mvar),
    ):
        rows = np.array([row_of[int(bus)] for bus in elements.bus], dtype=np.int64)
        on = elements.in_service
        np.add.at(total, rows[on], sign * (p + 1j * q).T[on])
    return total


def node_injections(grid: Grid, by_bus: Complexes) -> Complexes:
    """Gather bus injections at nodes; those of buses out of service are left out."""
    total = np.zeros((grid.node_count, by_bus.shape[1]), dtype=complex)
    on = grid.bus_node >= 0
    np.add.at(total, grid.bus_node[on], by_bus[on])
    return total


def solve_all(
    solver: NodalSolver, injection: Complexes, start: AcState | None = None
) -> tuple[AcState | None, Ints]:
    """Solve all columns that have a solution.

    Returns
    -------
    (AcState or None, ndarray of int)
        The state of the columns solved, and their numbers; None where there is none.
    """
    columns = np.arange(injection.shape[1])
    while columns.size:
        begin = None if start is None or len(columns) < injection.shape[1] else start
        try:
            return solve_state(solver, injection[:, columns], begin), columns
        except PowerFlowDiverged as error:
            columns = np.setdiff1d(columns, columns[error.columns])
    return None, columns


def excess(limits: LimitSet, state: AcState) -> Floats:
    """How far each limit is exceeded, as a share of it; shape (limits, columns), < 0: it holds."""
    scale = np.maximum(np.abs(limits.maximum), 1e-9)[:, None]
    return (limit_values(limits, state) - limits.maximum[:, None]) / scale


def name_reached(
    case: ClearingCase, grid: Grid, limits: LimitSet, state: AcState, limit: int, column: int
) -> ReachedLimit:
    """Say which limit is used how far, in the units a reader knows."""
    family = int(limits.family[limit])
    value = float(limit_values(limits, state)[limit, column])
    maximum = float(limits.maximum[limit])
    kind = limits.element_kind[limit]
    if family in (VOLTAGE_LOWER, VOLTAGE_UPPER, IMPORT_CAP, EXPORT_CAP):
        sign = -1.0 if family == VOLTAGE_LOWER else 1.0
        value, maximum = sign * value, sign * maximum
    else:
        row = int(grid.branches.row[limits.place[limit]])
        percent = (
            case.limits.line_loading_percent_max
            if kind == "line"
            else case.limits.trafo_loading_percent_max
        )[row]
        value, maximum = float(percent) * value / maximum, float(percent)
    return ReachedLimit(
        element_kind=kind,
        element=int(limits.element[limit]),
        side=limits.side[limit],
        period=column,
        value=value,
        limit=maximum,
    )
