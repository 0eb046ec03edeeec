"""The result's records: grid state and awards of a settled solution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import Award, BranchFlow, GridState, Prices
from opf.awards import make_award
from opf.power_flow import AcState
from opf.problem import Problem
from opf.successive import Solution

Floats = NDArray[np.float64]


def describe_grid(problem: Problem, solution: Solution) -> GridState:
    """Voltages, flows, loadings and shadow prices of the cleared schedule."""
    case, state, limits = problem.case, solution.state, problem.limits
    lin = solution.linearisation
    node = problem.grid.bus_node
    supplied = node >= 0
    shape = (len(node), problem.periods)
    shadow: dict[tuple[str, int, str], Floats] = {}
    for row in np.flatnonzero(solution.multipliers.limit > 0).tolist():
        k, t = int(lin.chosen[row]), int(lin.period[row])
        key = (limits.element_kind[k], int(limits.element[k]), limits.side[k])
        price = shadow.setdefault(key, np.zeros(problem.periods))
        price[t] = solution.multipliers.limit[row] / lin.scale[row]
    none = np.zeros(problem.periods)
    upper, lower = np.zeros(shape), np.zeros(shape)
    for row, bus in enumerate(case.network.buses.index.tolist()):
        upper[row] = shadow.get(("bus", bus, "upper"), none)
        lower[row] = shadow.get(("bus", bus, "lower"), none)
    return GridState(
        vm_pu=np.where(supplied[:, None], np.abs(state.v)[node], np.nan),
        shadow_price_upper_eur_per_pu_h=upper,
        shadow_price_lower_eur_per_pu_h=lower,
        branches=_describe_branches(problem, state, shadow),
        import_mw=state.exchange.real,
        import_mvar=state.exchange.imag,
    )


def _describe_branches(
    problem: Problem, state: AcState, shadow: dict[tuple[str, int, str], Floats]
) -> tuple[BranchFlow, ...]:
    """Flow, loading and shadow price of each branch in service."""
    b = problem.grid.branches
    power = state.v[b.node_from] * np.conj(state.current_from)
    loading = 100.0 * np.maximum(
        np.abs(state.current_from) / b.rating_from[:, None],
        np.abs(state.current_to) / b.rating_to[:, None],
    )
    flows = []
    for row in range(len(b)):
        kind, element = str(b.kind[row]), int(b.element[row])
        sides = ("from", "to") if kind == "line" else ("hv", "lv")
        price = sum(
            (shadow[key] for side in sides if (key := (kind, element, side)) in shadow),
            np.zeros(problem.periods),
        )
        flows.append(
            BranchFlow(
                element_kind="line" if kind == "line" else "trafo",
                element=element,
                p_from_mw=power[row].real,
                q_from_mvar=power[row].imag,
                loading_percent=loading[row],
                shadow_price_eur_per_mva_h=price,
            )
        )
    return tuple(flows)


def make_awards(problem: Problem, solution: Solution, prices: Prices) -> tuple[Award, ...]:
    """Awards of all orders, in the order of the case."""
    buses = problem.case.network.buses.index.tolist()
    price_at = dict(zip(buses, prices.dlmp_p_eur_per_mwh, strict=True))
    offers, x = problem.equal.offers, problem.equal.split(solution.x)
    found = {
        columns.order.id: make_award(problem.case, offers, columns, x, price_at)
        for columns in offers.orders
    }
    return tuple(found[order.id] for order in problem.case.orders)
