"""Solve a case on a linear network and make its result: shared by two formulations."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingResult
from opf.formulations.lazy_limits import linear_point, model_cost_eur, optimise_linear
from opf.formulations.linear_network import LinearNetwork
from opf.formulations.outcome import Approximation, finish
from opf.linear_programme import TIME_LIMIT_S
from opf.linearise import Linearisation
from opf.one_direction import ROUNDS_MAX, close_wrong_directions
from opf.prices import PricedGrid, price_buses
from opf.problem import Problem

Floats = NDArray[np.float64]

SOLVER_OPTIONS: Final = (
    ("threads", "1"),
    ("random_seed", "0"),
    ("time_limit", f"{TIME_LIMIT_S:g}"),
)


def clear_linear(
    name: str, problem: Problem, network: LinearNetwork, notes: tuple[str, ...]
) -> ClearingResult:
    """Optimise on a linear network, price by its duals and judge in AC.

    Parameters
    ----------
    name : str
        Name of the formulation.
    notes : tuple of str
        What the formulation leaves out, for the message.
    """
    found = optimise_linear(problem, network)
    for _ in range(ROUNDS_MAX):
        narrowed = close_wrong_directions(problem, found.x)
        if narrowed is None:
            break
        problem = narrowed
        found = optimise_linear(problem, network)
    lin = found.linearisation

    def at(x: Floats) -> Linearisation:
        pairs, gradients = (lin.chosen, lin.period), (lin.limit_p, lin.limit_q)
        return linear_point(problem, network, x, pairs, gradients)

    def price(point: Linearisation) -> PricedGrid:
        return price_buses(problem, point, found.multipliers.limit)

    return finish(
        problem,
        Approximation(
            name=name,
            x=found.x,
            at=at,
            multipliers=found.multipliers,
            slack=found.slack,
            price=price,
            cost_eur=lambda x: model_cost_eur(problem, network, x),
            solver=f"highs {version('highspy')}",
            solver_options=SOLVER_OPTIONS,
            iterations=found.rounds,
            packages=("highspy", "scipy"),
            notes=(*notes, found.stopped) if found.stopped else notes,
            complete=not found.stopped,
        ),
    )
