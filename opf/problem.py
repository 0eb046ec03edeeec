"""Everything that is prepared once for a case: grid, resources, limits, programme, merit."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingCase
from opf.equal_orders import EqualOrders, merge_equal_orders
from opf.grid import Grid, build_grid
from opf.integer_choice import NOTHING_ACCEPTED, IntegerChoice
from opf.limits import (
    CURRENT_FROM,
    CURRENT_TO,
    EXPORT_CAP,
    IMPORT_CAP,
    VOLTAGE_LOWER,
    VOLTAGE_UPPER,
    LimitSet,
    limit_gradients,
    limit_values,
    list_limits,
    with_margins,
)
from opf.loss_curvature import FlowTree, build_flow_tree
from opf.path_gradients import gradients_along_paths
from opf.power_flow import AcState, NodalSolver, solve_state
from opf.proportional_orders import find_families
from opf.quadratic import StepProgramme
from opf.resources import Resources, build_resources
from opf.zones import Zones, find_zones

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerances:
    """When the successive optimisation may stop.

    ``kkt`` is relative to the largest price, ``voltage_pu`` and ``loading_share`` bound the
    violation of a limit at the AC point.
    """

    kkt: float = 7e-7
    voltage_pu: float = 1e-6
    loading_share: float = 1e-5
    cap_mw: float = 1e-5
    iterations_max: int = 40


@dataclass(slots=True, kw_only=True)
class Problem:
    """Everything that is prepared once for a case.

    ``resources`` are the columns of the programme; ``equal`` leads back to those of every order.
    """

    case: ClearingCase
    grid: Grid
    solver: NodalSolver
    resources: Resources
    equal: EqualOrders
    limits: LimitSet
    merit_scale: Floats
    programme: StepProgramme
    zones: Zones
    tolerances: Tolerances = field(default_factory=Tolerances)

    @property
    def periods(self) -> int:
        """Number of periods."""
        return len(self.case.periods)


def prepare_problem(
    case: ClearingCase, tolerances: Tolerances | None = None, zones: Zones | None = None
) -> Problem:
    """Build grid, resources, limits and the programme of a case, no integer order accepted.

    ``zones`` take the place of those that `opf.zones` finds.
    """
    grid = build_grid(case.network)
    solver = NodalSolver(grid)
    resources, equal = _columns(case, grid, NOTHING_ACCEPTED)
    limits = with_margins(list_limits(case, grid), case, grid)
    flat = _flat_state(solver)
    nodes = np.unique(resources.inject_node)
    tree = build_flow_tree(grid, nodes, np.abs(flat.v[:, 0]))
    return Problem(
        case=case,
        grid=grid,
        solver=solver,
        resources=resources,
        equal=equal,
        limits=limits,
        merit_scale=_merit_scale(solver, flat, limits, tree),
        programme=step_programme(case, solver, resources, tree),
        zones=find_zones(grid) if zones is None else zones,
        tolerances=tolerances or Tolerances(),
    )


def step_programme(
    case: ClearingCase, solver: NodalSolver, resources: Resources, tree: FlowTree
) -> StepProgramme:
    """Prepare the programme of these columns; on a tree its flows know their losses."""
    lossy = solver.tree is not None
    return StepProgramme(resources, tree, len(case.periods), case.periods.mtu_h, lossy=lossy)


def _columns(
    case: ClearingCase, grid: Grid, choice: IntegerChoice
) -> tuple[Resources, EqualOrders]:
    """Columns of the programme, in which equal orders are one, and the way back to the orders."""
    families = find_families(case)
    book = build_resources(case, grid, choice, [family.order for family in families])
    return merge_equal_orders(book, families, case.periods.mtu_h)


def with_choice(problem: Problem, choice: IntegerChoice) -> Problem:
    """Return the problem with its integers chosen otherwise; grid and limits stay."""
    case = problem.case
    resources, equal = _columns(case, problem.grid, choice)
    nodes = np.unique(resources.inject_node)
    flat = _flat_state(problem.solver)
    tree = build_flow_tree(problem.grid, nodes, np.abs(flat.v[:, 0]))
    programme = step_programme(case, problem.solver, resources, tree)
    return dataclasses.replace(problem, resources=resources, equal=equal, programme=programme)


def _flat_state(solver: NodalSolver) -> AcState:
    """AC state without any load, one period."""
    return solve_state(solver, np.zeros((solver.grid.node_count, 1), dtype=complex))


def _merit_scale(solver: NodalSolver, flat: AcState, limits: LimitSet, tree: FlowTree) -> Floats:
    """Typical max |dg/dp| of every limit: 1 pu power for currents, no-load gradient otherwise."""
    scale = np.ones(len(limits))
    voltage = np.flatnonzero((limits.family == VOLTAGE_UPPER) | (limits.family == VOLTAGE_LOWER))
    if solver.tree is not None:
        at_first = np.zeros(len(voltage), dtype=np.int64)
        paths = gradients_along_paths(solver, flat, limits, voltage, at_first)
        scale[voltage] = np.maximum(paths.by_flow(tree, paths.gains(tree)).scale, 1e-6)
    elif len(voltage):
        dp, _ = limit_gradients(solver, flat, limits, voltage, np.zeros(len(voltage), dtype=int))
        scale[voltage] = np.maximum(np.abs(dp).max(axis=0), 1e-6)
    return scale


def violation_tolerance(limits: LimitSet, tolerances: Tolerances) -> Floats:
    """Violation of each limit that still counts as feasible, shape (limits,)."""
    allowed = np.full(len(limits), tolerances.voltage_pu)
    current = (limits.family == CURRENT_FROM) | (limits.family == CURRENT_TO)
    allowed[current] = tolerances.loading_share * limits.maximum[current]
    cap = (limits.family == IMPORT_CAP) | (limits.family == EXPORT_CAP)
    allowed[cap] = tolerances.cap_mw
    return allowed


def cost_eur(problem: Problem, x: Floats, state: AcState) -> float:
    """Cost of awards plus import at its price [EUR]."""
    h = problem.case.periods.mtu_h
    energy = float(problem.case.import_price_eur_per_mwh @ state.exchange.real) * h
    return float(problem.resources.cost @ x) + energy


def merit_eur(problem: Problem, x: Floats, state: AcState, penalty: float) -> float:
    """Cost plus violations at a penalty price [EUR/MWh]: what a step must lower [EUR]."""
    over = limit_values(problem.limits, state) - problem.limits.bound(problem.periods)
    short_mw = np.maximum(over, 0.0).sum(axis=1) / problem.merit_scale
    price = penalty * problem.case.periods.mtu_h
    return cost_eur(problem, x, state) + price * float(short_mw.sum())
