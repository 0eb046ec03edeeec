"""``branch_flow_soc``: the cone relaxation; a lower bound, and a report on where it is exact.

Prices are the duals of the cone programme. Their parts come from the AC point of its schedule,
with the cone's own limit prices; ``loss`` is the remainder. Where the relaxation is exact the
remainder is the loss price; how far it is from it is the certificate's ``parts_residual``.
"""

from __future__ import annotations

import dataclasses
from importlib.metadata import version
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingCase, ClearingResult
from data.units import MICRO_PER_UNIT
from opf.formulations.cone_programme import SOLVER_OPTIONS, ConeOptimum, ConeProgramme
from opf.formulations.lindistflow import clear_lindistflow
from opf.formulations.outcome import Approximation, finish, solve_ac
from opf.kkt import Multipliers
from opf.linearise import Linearisation, linearise
from opf.prices import PricedGrid, price_buses
from opf.problem import Problem, prepare_problem
from opf.quadratic import StepInfeasible

Floats = NDArray[np.float64]

# Cone gap up to which the relaxation counts as exact [MVA^2, relative to the power base squared].
EXACT_BELOW: Final = 1e-6
# Prices of limits below this share of the scarcity price are an interior point's remains.
PRICED_ABOVE: Final = 1e-7


def clear_branch_flow_soc(case: ClearingCase) -> ClearingResult:
    """Clear a case on the cone relaxation of branch flow, all periods with storage at once.

    Parameters
    ----------
    case : ClearingCase
        Everything the solve needs; the grid must be radial.

    Returns
    -------
    ClearingResult
        ``bound_eur`` is the dual value (kind ``soc``); the message holds the cone gap. Where the
        solver is stopped before an optimum, the schedule and prices are those of ``lindistflow``,
        and the message says so.

    Raises
    ------
    UnsupportedComponent
        Meshed grids, parallel branches of unequal ratio, or an order kind that is not modelled.
    StepInfeasible
        When the orders' own constraints contradict each other.
    InputError
        Buses that are not connected to the substation.
    """
    problem = prepare_problem(case)
    programme = ConeProgramme(problem)
    found = programme.solve()
    if found.status == "PrimalInfeasible":
        raise StepInfeasible("the resource constraints of the orders contradict each other")
    if not np.isfinite(found.x).all():
        return _fall_back(case, found)
    return finish(problem, _approximation(problem, programme, found))


def _fall_back(case: ClearingCase, found: ConeOptimum) -> ClearingResult:
    """Answer with linear branch flow, and say so."""
    result = clear_lindistflow(case)
    return dataclasses.replace(
        result,
        status="uncertified",
        message=(
            f"the cone programme ended {found.status} without an optimum: schedule and prices are "
            f"those of lindistflow; {result.message}"
        ),
    )


def _approximation(problem: Problem, programme: ConeProgramme, found: ConeOptimum) -> Approximation:
    """Hand over the cone's optimum with AC gradients at its schedule."""
    res = problem.resources
    x = np.clip(found.x, res.lower, res.upper)
    scarcity = problem.case.limits.scarcity_price_eur_per_mwh
    price = found.limit_price * problem.merit_scale[:, None]
    priced = np.argwhere(price > PRICED_ABOVE * scarcity)
    pairs = {(int(k), int(t)) for k, t in priced}

    def at(decision: Floats) -> Linearisation:
        return linearise(problem, solve_ac(problem, decision)[0], pairs)

    lin = at(x)
    limit = found.limit_price[lin.chosen, lin.period] * lin.scale
    exact = found.cone_gap <= EXACT_BELOW * programme.feeder.base_mva**2
    notes = [
        f"cone gap {found.cone_gap:.2g} MVA^2: the relaxation is {'' if exact else 'not '}exact"
    ]
    if found.status != "Solved":
        notes.append(f"the cone programme ended {found.status}: its gap is below 1e-7")
    if found.slack_mw > 1e-6:
        notes.append(f"{found.slack_mw:.6f} MW of slack: the bound includes its penalty")
    return Approximation(
        name="branch_flow_soc",
        x=x,
        at=at,
        multipliers=Multipliers(limit=limit, row=found.row_price),
        slack=np.maximum(-lin.rows.room, 0.0),
        price=lambda point: _price(problem, point, limit, found),
        cost_eur=lambda _: found.cost_eur,
        bound_eur=found.dual_eur,
        bound_kind="soc",
        solver=f"clarabel {version('clarabel')}",
        solver_options=SOLVER_OPTIONS,
        iterations=found.iterations,
        packages=("clarabel", "cvxpy", "scipy"),
        notes=tuple(notes),
    )


def _price(problem: Problem, point: Linearisation, limit: Floats, found: ConeOptimum) -> PricedGrid:
    """Prices by the cone's duals; ``loss`` takes what its limit prices do not explain."""
    by_ac = price_buses(problem, point, limit).prices
    node = problem.grid.bus_node
    supplied = (node >= 0)[:, None]
    c = np.broadcast_to(problem.case.import_price_eur_per_mwh, (len(node), problem.periods))
    dual_p = np.where(supplied, found.price_p[node], c)
    dual_q = np.where(supplied, found.price_q[node], 0.0)
    whole = {
        name: np.round(value * MICRO_PER_UNIT)
        for name, value in (
            ("price", dual_p),
            ("energy", c),
            ("congestion", by_ac.congestion_eur_per_mwh),
            ("voltage", by_ac.voltage_eur_per_mwh),
        )
    }
    loss = whole["price"] - whole["energy"] - whole["congestion"] - whole["voltage"]
    residual = np.abs(dual_p - by_ac.dlmp_p_eur_per_mwh)
    prices = dataclasses.replace(
        by_ac,
        dlmp_p_eur_per_mwh=whole["price"] / MICRO_PER_UNIT + 0.0,
        dlmp_q_eur_per_mvarh=np.round(dual_q * MICRO_PER_UNIT) / MICRO_PER_UNIT + 0.0,
        energy_eur_per_mwh=whole["energy"] / MICRO_PER_UNIT + 0.0,
        loss_eur_per_mwh=loss / MICRO_PER_UNIT + 0.0,
    )
    return PricedGrid(prices=prices, parts_residual=float(residual.max(initial=0.0)))
