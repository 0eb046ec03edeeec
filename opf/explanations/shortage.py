"""Limits that did not hold, loads that no grid carries, and which orders could have helped."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import Award, Violation
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
from opf.explanations.published import Published, element_names
from opf.explanations.records import (
    Collapse,
    Helper,
    LimitKey,
    Shortage,
    StatusExplanation,
    Unit,
)
from opf.explanations.steps import bus_weights
from opf.infeasible import carried_share
from opf.limits import VOLTAGE_LOWER, LimitSet, limit_gradients
from opf.power_flow import PowerFlowDiverged, solve_state
from opf.problem import Problem, prepare_problem

Floats = NDArray[np.float64]

HELPERS_MAX: Final = 5
# Relief below this is none [MW-equivalent per MW].
RELIEF_MIN: Final = 1e-3
UNITS: Final[dict[str, Unit]] = {"bus": "pu", "line": "MVA", "trafo": "MVA", "ext_grid": "MW"}
# Just before the collapse: voltages there still have gradients.
BEFORE_COLLAPSE: Final = 0.97


def explain_status(published: Published) -> StatusExplanation:
    """Say what a clearing could not do: limits with slack, or periods without any AC state.

    Parameters
    ----------
    published : Published
        Any clearing, also one without prices.
    """
    result = published.result
    return StatusExplanation(
        status=result.status,
        message=result.message,
        shortages=list_shortages(published),
        collapse=_collapse(published) if result.status == "infeasible" else None,
    )


def list_shortages(published: Published) -> tuple[Shortage, ...]:
    """Gather the violations of each limit over its periods; the one most short first."""
    by_limit: dict[LimitKey, list[Violation]] = {}
    for found in published.result.violations:
        key = LimitKey(element_kind=found.element_kind, element=found.element, side=found.side)
        by_limit.setdefault(key, []).append(found)
    shortages = []
    for key, broken in by_limit.items():
        broken.sort(key=lambda violation: violation.period)
        worst = max(broken, key=lambda violation: violation.mw_short)
        shortages.append(
            Shortage(
                key=key,
                name=published.limits[key].name,
                unit=UNITS[key.element_kind],
                limit=worst.limit,
                worst_value=worst.value,
                periods=tuple(violation.period for violation in broken),
                mw_short=tuple(violation.mw_short for violation in broken),
                worst_period=worst.period,
                helpers=_helpers(published, _relief(published, key, worst.period), worst.period),
            )
        )
    shortages.sort(key=lambda short: (-max(short.mw_short), str(short.key)))
    return tuple(shortages)


def _relief(published: Published, key: LimitKey, period: int) -> Floats:
    """MW-equivalent by which one MW injected at each bus relieves a limit at scarcity price."""
    scarcity = published.case.limits.scarcity_price_eur_per_mwh
    for part in published.result.prices.parts:
        if (part.element_kind, part.element, part.side) == (
            key.element_kind, key.element, key.side
        ):  # fmt: skip
            return np.asarray(part.p_eur_per_mwh[:, period] / scarcity)
    return np.zeros(len(published.row_of))


def _helpers(published: Published, relief: Floats, period: int) -> tuple[Helper, ...]:
    """Orders by what one MW of them relieves, the strongest first."""
    found = []
    for order in published.case.orders:
        by_bus = bus_weights(order)
        per_mw = sum(w * float(relief[published.row_of[bus]]) for bus, w in by_bus.items())
        per_mw *= _direction(order, period)
        if isinstance(order, StorageOrder | ShiftOrder):
            per_mw = abs(per_mw)
        if per_mw > RELIEF_MIN:
            up = sum(float(relief[published.row_of[bus]]) for bus in by_bus) > 0
            unused = _unused_mw(order, published.awards[order.id], period, inject=up)
            found.append(Helper(order=order.id, relief_mw_per_mw=per_mw, unused_mw=unused))
    found.sort(key=lambda helper: (-round(helper.relief_mw_per_mw, 9), helper.order))
    return tuple(found[:HELPERS_MAX])


def _direction(order: Order, period: int) -> float:
    """Sign of what more of an order injects; of a bilateral against its weights (to minus from)."""
    if isinstance(order, DemandOrder | BilateralOrder):
        return -1.0
    if isinstance(order, BlockOrder):
        return float(np.sign(order.profile_mw[period]))
    return 1.0


def _unused_mw(order: Order, award: Award, period: int, *, inject: bool) -> float:
    """Power the order had left in a period [MW]; energies and other periods are not looked at."""
    given = float(award.injection_mw[:, period].sum())
    left = 0.0
    match order:
        case GenerationOrder():
            left = sum(float(step.p_mw[period]) for step in order.steps) - given
        case DemandOrder():
            left = sum(float(step.p_mw[period]) for step in order.steps) + given
        case BilateralOrder():
            left = float(order.p_mw[period]) - float(award.injection_mw[0, period])
        case StorageOrder():
            most = order.discharge_mw_max if inject else order.charge_mw_max
            left = float(most[period] * order.availability[period]) + (-given if inject else given)
        case ShiftOrder():
            left = -given - order.p_mw_min[period] if inject else order.p_mw_max[period] + given
        case BlockOrder():
            left = (1.0 - award.accepted_share[period]) * abs(order.profile_mw[period])
        case CurtailOrder():
            left = (1.0 - award.accepted_share[period]) * order.p_mw_max[period]
    return max(0.0, round(float(left), 6))


def _collapse(published: Published) -> Collapse | None:
    """Find how much of the fixed load is too much; None where it is not the power flow."""
    problem = prepare_problem(published.case)
    fixed = problem.resources.fixed
    try:
        solve_state(problem.solver, fixed)
    except PowerFlowDiverged as error:
        periods = sorted(int(t) for t in error.columns)
    else:
        return None
    withdrawal = np.maximum(-fixed.real, 0.0).sum(axis=0)
    worst = max(periods, key=lambda t: (float(withdrawal[t]), -t))
    share = carried_share(problem, [worst])
    node, voltage, relief = _weakest(problem, BEFORE_COLLAPSE * share * fixed[:, [worst]])
    row = int(np.flatnonzero(problem.grid.bus_node == node)[0])
    bus = int(published.case.network.buses.index[row])
    by_bus = np.where(problem.grid.bus_node >= 0, relief[problem.grid.bus_node], 0.0)
    return Collapse(
        periods=tuple(periods),
        carried_share=share,
        mw_short=float((1.0 - share) * withdrawal[worst]),
        worst_period=worst,
        weakest_bus=bus,
        weakest_name=element_names(published.case.network)["bus", bus],
        weakest_vm_pu=voltage,
        helpers=_helpers(published, by_bus, worst),
    )


def _weakest(problem: Problem, injection: NDArray[np.complex128]) -> tuple[int, float, Floats]:
    """Return the node with the lowest voltage, that voltage, and what lifts it most (1: most)."""
    state = solve_state(problem.solver, injection)
    magnitude = np.abs(state.v[: len(np.unique(problem.grid.bus_node[problem.grid.bus_node >= 0]))])
    node = int(np.argmin(magnitude[:, 0]))
    at_node = LimitSet(
        family=np.array([VOLTAGE_LOWER]),
        place=np.array([node]),
        maximum=np.zeros(1),
        element_kind=("bus",),
        element=np.array([node]),
        side=("lower",),
    )
    first = np.zeros(1, dtype=np.int64)
    gradient, _ = limit_gradients(problem.solver, state, at_node, first, first)
    lifts = -gradient[:, 0]
    return (
        node,
        float(magnitude[node, 0]),
        np.asarray(lifts / max(float(np.abs(lifts).max()), 1e-12)),
    )
