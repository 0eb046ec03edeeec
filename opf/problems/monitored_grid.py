"""One grid and its limits, prepared once and asked again every minute: what real time looks at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.periods import Periods
from data.records.clearing import ClearingCase, Limits
from data.records.network import Network
from opf.grid import Grid, build_grid
from opf.limits import CURRENT_FROM, CURRENT_TO, VOLTAGE_LOWER, LimitSet, limit_values, list_limits
from opf.power_flow import AcState, NodalSolver, solve_state
from opf.problems.unmarketed import node_injections

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]

# A limit that is exceeded by less than this holds [pu; percent of rating]: rounding of setpoints.
VOLTAGE_TOLERANCE_PU: Final = 1e-5
LOADING_TOLERANCE_PERCENT: Final = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredGrid:
    """A grid with its factorised admittance matrix and its limits.

    ``per_unit`` is what g is multiplied with to print it (percent of rating for currents, minus one
    for lower voltage limits), ``tolerance`` what a limit may be exceeded by, in the unit of g; both
    of shape (limits,).
    """

    network: Network
    grid: Grid
    solver: NodalSolver
    limits: LimitSet
    per_unit: Floats
    tolerance: Floats

    def nodes_of(self, buses: Ints) -> Ints:
        """Return the node of each bus number.

        Raises
        ------
        InputError
            With every bus that is unknown or out of service.
        """
        row_of = {int(bus): row for row, bus in enumerate(self.network.buses.index)}
        refuse_if_any(
            Problem(where=f"bus {bus}", what="is not in service in this grid")
            for bus in sorted({int(b) for b in buses})
            if bus not in row_of or self.grid.bus_node[row_of[bus]] < 0
        )
        rows = np.array([row_of[int(bus)] for bus in buses], dtype=np.int64)
        return self.grid.bus_node[rows] if len(rows) else rows

    def state(self, by_node: Complexes) -> AcState:
        """Solve the power flow of node injections, shape (nodes,) or (nodes, columns)."""
        return solve_state(self.solver, by_node.reshape(self.grid.node_count, -1))

    def by_node(self, by_bus: Complexes) -> Complexes:
        """Gather bus injections at nodes, shape (nodes, columns)."""
        return node_injections(self.grid, by_bus.reshape(len(self.network.buses.index), -1))

    def values(self, state: AcState) -> Floats:
        """Return g of every limit, shape (limits, columns)."""
        return limit_values(self.limits, state)

    def name(self, limit: int) -> tuple[str, int, str]:
        """Return element kind, number and side of a limit, as result files print them."""
        limits = self.limits
        return limits.element_kind[limit], int(limits.element[limit]), limits.side[limit]

    def margins(self, voltage_pu: float, loading_percent: float) -> Floats:
        """Return equal margins of all voltages and of all loadings in the unit of g."""
        margin = np.full(len(self.limits), voltage_pu)
        current = np.isin(self.limits.family, (CURRENT_FROM, CURRENT_TO))
        margin[current] = loading_percent / self.per_unit[current]
        return margin


def monitor_grid(network: Network, limits: Limits) -> MonitoredGrid:
    """Prepare a grid and its limits for repeated questions.

    Raises
    ------
    InputError
        Buses without a way to the substation.
    """
    grid = build_grid(network)
    monitored = list_limits(_case_without_market(network, limits), grid)
    per_unit = np.ones(len(monitored))
    per_unit[monitored.family == VOLTAGE_LOWER] = -1.0
    tolerance = np.full(len(monitored), VOLTAGE_TOLERANCE_PU)
    branches = grid.branches
    for family, rating in ((CURRENT_FROM, branches.rating_from), (CURRENT_TO, branches.rating_to)):
        rows = monitored.family == family
        per_unit[rows] = 100.0 / rating[monitored.place[rows]]
        tolerance[rows] = LOADING_TOLERANCE_PERCENT / per_unit[rows]
    return MonitoredGrid(
        network=network,
        grid=grid,
        solver=NodalSolver(grid),
        limits=monitored,
        per_unit=per_unit,
        tolerance=tolerance,
    )


def _case_without_market(network: Network, limits: Limits) -> ClearingCase:
    """Return a case of one period without orders: what the list of limits is read from."""
    none = np.zeros((1, len(network.loads.index)))
    still = np.zeros((1, len(network.sgens.index)))
    return ClearingCase(
        name=network.name,
        network=network,
        periods=Periods(start=datetime(2000, 1, 1, tzinfo=UTC), count=1),
        timezone="UTC",
        formulation="ac",
        load_p_mw=none,
        load_q_mvar=none,
        sgen_p_mw=still,
        sgen_q_mvar=still,
        import_price_eur_per_mwh=np.zeros(1),
        import_mw_max=None,
        export_mw_max=None,
        limits=limits,
        orders=(),
    )
