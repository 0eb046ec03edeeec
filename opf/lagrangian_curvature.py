"""Second order of binding currents: turning the flow makes the current longer.

The current of a branch is |I| = |S| / |V|. Across the present direction of S its second derivative
is ``1 / (|I| |V|^2)``, along it there is none; a limit that binds holds the flow along that
direction, so the curvature across may be written for both active and reactive flow and stays
diagonal:

    weight_b = mu / (2 |I| |V|^2),    mu the price of the current [EUR/pu/h].

Without it a free reactive power (converter, power factor range) below a binding branch jumps from
one side to the other, because a linear row sees no cost in either.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from opf.limits import CURRENT_FROM, CURRENT_TO
from opf.linearise import Linearisation, node_prices
from opf.power_flow import AcState
from opf.problem import Problem

Floats = NDArray[np.float64]

# Currents below this share of 1 MVA have no direction [pu].
LEAST_CURRENT: Final = 1e-6


def current_weights(
    problem: Problem, state: AcState, lin: Linearisation, limit_price: Floats
) -> Floats:
    """Curvature of the priced currents by each flow.

    Parameters
    ----------
    state : AcState
        The AC point of ``lin``.
    limit_price : ndarray, shape (k,)
        Price of each limit of the linearisation [EUR/MW-equivalent/h].

    Returns
    -------
    ndarray, shape (flows, periods)
        [EUR/MW^2/h], never negative.
    """
    tree, b, limits = problem.programme.tree, problem.grid.branches, problem.limits
    total = np.zeros((len(tree.parent), problem.periods))
    for family, node, current in (
        (CURRENT_FROM, b.node_from, state.current_from),
        (CURRENT_TO, b.node_to, state.current_to),
    ):
        rows = np.flatnonzero((limits.family[lin.chosen] == family) & (limit_price > 0))
        branch, period = limits.place[lin.chosen[rows]], lin.period[rows]
        flow = tree.flow_of_branch[branch]
        size = np.maximum(np.abs(current[branch, period]), LEAST_CURRENT)
        vm = np.abs(state.v[node[branch], period])
        weight = limit_price[rows] / lin.scale[rows] / (2.0 * size * vm**2)
        on_tree = flow >= 0
        np.add.at(total, (flow[on_tree], period[on_tree]), weight[on_tree])
    return total


def flow_curvature(
    problem: Problem, state: AcState, lin: Linearisation, limit_price: Floats
) -> Floats:
    """Signed curvature of the Lagrangian in the flows: losses at local prices, priced currents.

    Parameters and shape as for `current_weights`.
    """
    dlmp_p, dlmp_q = node_prices(problem, lin, limit_price)
    losses = problem.programme.tree.weights(dlmp_p, dlmp_q)
    return losses + current_weights(problem, state, lin, limit_price)
