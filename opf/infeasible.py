"""What to say when there is nothing to clear: contradicting orders, loads no grid can carry."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem as InputProblem
from data.records.clearing import (
    Award,
    BranchFlow,
    Certificate,
    ClearingResult,
    GridState,
    Prices,
)
from data.records.order import BilateralOrder, Order
from opf.engine_source import name_engine
from opf.linear_programme import solve_linear
from opf.order_columns import OrderColumns
from opf.power_flow import PowerFlowDiverged, solve_state
from opf.problem import Problem

Floats = NDArray[np.float64]


def contradicting_orders(problem: Problem) -> Iterator[InputProblem]:
    """Name every order whose own constraints cannot be met together, whatever the grid does."""
    for columns in problem.equal.offers.orders:
        if not _can_be_met(problem, columns):
            yield InputProblem(
                where=f"order {columns.order.id}",
                what="its limits, energies and ramps cannot be met together in this horizon",
                remedy="relax the energy it must end with, its ramp or its minimum power",
            )


def _can_be_met(problem: Problem, columns: OrderColumns) -> bool:
    """Whether the columns of one order have a feasible point."""
    res = problem.equal.offers
    blocks = (
        columns.steps, columns.charge, columns.discharge, columns.energy, columns.power,
        columns.rebound, columns.ratio, columns.reactive,
    )  # fmt: skip
    own = np.unique(np.concatenate([b.ravel() for b in blocks if b is not None]))
    if np.any(res.lower[own] > res.upper[own]):
        return False
    touched = np.unique(res.rows[:, own].tocoo().row)
    if not len(touched):
        return True
    wide = np.unique(np.concatenate([own, res.rows[touched].tocoo().col]))
    solution = solve_linear(
        np.zeros(len(wide)),
        res.rows[touched][:, wide],
        res.rows_lower[touched],
        res.rows_upper[touched],
        res.lower[wide],
        res.upper[wide],
    )
    return solution is not None


def carried_share(problem: Problem, periods: list[int]) -> float:
    """Largest share of the fixed injections, in per cent steps, for which an AC solution exists."""
    fixed = problem.resources.fixed[:, periods]
    low, high = 0.0, 1.0
    while high - low > 0.01:
        middle = 0.5 * (low + high)
        try:
            solve_state(problem.solver, middle * fixed)
            low = middle
        except PowerFlowDiverged:
            high = middle
    return low


def infeasible_result(problem: Problem, message: str, input_sha256: str) -> ClearingResult:
    """A result that says why there is none: nothing is awarded, and no price is invented."""
    case = problem.case
    shape = (len(case.network.buses.index), problem.periods)
    unknown, zeros = np.full(shape, np.nan), np.zeros(problem.periods)
    nothing = np.full(problem.periods, np.nan)
    b = problem.grid.branches
    return ClearingResult(
        case_name=case.name,
        periods=case.periods,
        status="infeasible",
        message=message,
        objective_eur=float("nan"),
        penalty_eur=float("nan"),
        violations=(),
        bound_eur=None,
        bound_kind="none",
        awards=tuple(_rejected(order, problem.periods, message) for order in case.orders),
        prices=Prices(
            dlmp_p_eur_per_mwh=unknown,
            dlmp_q_eur_per_mvarh=unknown,
            energy_eur_per_mwh=unknown,
            loss_eur_per_mwh=unknown,
            congestion_eur_per_mwh=unknown,
            voltage_eur_per_mwh=unknown,
            parts=(),
        ),
        grid=GridState(
            vm_pu=unknown,
            shadow_price_upper_eur_per_pu_h=np.zeros(shape),
            shadow_price_lower_eur_per_pu_h=np.zeros(shape),
            branches=tuple(
                BranchFlow(
                    element_kind="line" if kind == "line" else "trafo",
                    element=int(element),
                    p_from_mw=nothing,
                    q_from_mvar=nothing,
                    loading_percent=nothing,
                    shadow_price_eur_per_mva_h=zeros,
                )
                for kind, element in zip(b.kind.tolist(), b.element.tolist(), strict=True)
            ),
            import_mw=nothing,
            import_mvar=nothing,
        ),
        certificate=Certificate(
            replay_engine="none",
            replay_vm_pu_error_max=float("nan"),
            worst_voltage_violation_pu=float("nan"),
            worst_loading_violation_percent=float("nan"),
            stationarity=float("nan"),
            complementarity=float("nan"),
            dual_sign=float("nan"),
            parts_residual_eur_per_mwh=float("nan"),
            energy_balance_mw=float("nan"),
            probe_error=float("nan"),
            iterations=0,
            solver="none",
        ),
        input_sha256=input_sha256,
        versions=(name_engine(), ("gridclear", version("gridclear"))),
    )


def _rejected(order: Order, periods: int, reason: str) -> Award:
    is_bilateral = isinstance(order, BilateralOrder)
    buses = tuple(bus for bus, _ in order.buses)
    if isinstance(order, BilateralOrder):
        buses = (order.buses[0][0], order.bus_to)
    none = np.zeros((2 if is_bilateral else len(buses), periods))
    return Award(
        order=order.id,
        participant=order.participant,
        buses=buses,
        injection_mw=none,
        injection_mvar=none,
        accepted_share=np.zeros(periods),
        status="rejected",
        reason=reason,
    )
