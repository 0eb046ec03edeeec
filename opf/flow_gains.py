"""What a change of a flow becomes in the flow above it: the losses on the way, exactly.

Eliminated from the leaves up (`opf.radial_tree`), the linearised power flow says what is injected
in or below a node as one number there. Between a node and the one above it that number changes by
a factor close to 1, and by a little of its conjugate: ``F_above = own F + conjugate conj(F)``, the
losses of the branch and the answer of the loads that hang there to the voltage. Everything that is
not below a node sees it through this number alone, so a limit depends on the flows of its own path
and on no others, as exactly as the power flow itself is linearised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opf.loss_curvature import FlowTree
from opf.radial_tree import RadialTree, TreeFactor

Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """A map ``F -> own F + conjugate conj(F)`` of complex powers, elementwise."""

    own: Complexes
    conjugate: Complexes

    def after(self, first: Gain) -> Gain:
        """Return the map that applies another one first, then this one."""
        return Gain(
            own=self.own * first.own + self.conjugate * np.conj(first.conjugate),
            conjugate=self.own * first.conjugate + self.conjugate * np.conj(first.own),
        )

    def at(self, *index: Ints | slice) -> Gain:
        """Return chosen elements."""
        return Gain(own=self.own[index], conjugate=self.conjugate[index])

    def back(self, by_result: Complexes) -> Complexes:
        """Derivative by F of what has the given derivative by the result.

        A derivative e of a scalar g stands for ``dg = Re(e conj(dF)) = e.real dP + e.imag dQ``.
        """
        return np.asarray(by_result * np.conj(self.own) + np.conj(by_result) * self.conjugate)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowGains:
    """Gains on the flows of a tree at one AC state.

    Parameters
    ----------
    in_chain : Gain, shape (nodes, periods)
        From the flow that runs through a node to what that node carries; nodes as in the grid.
    to_parent : Gain, shape (flows, periods)
        From a flow to the one above it; 0 where that is the substation.
    top : ndarray of int, shape (flows,)
        Uppermost node of each flow.
    """

    in_chain: Gain
    to_parent: Gain
    top: Ints


def flow_gains(tree: RadialTree, factor: TreeFactor, v: Complexes, flows: FlowTree) -> FlowGains:
    """Gains of all flows.

    Parameters
    ----------
    factor : TreeFactor
        The power flow, eliminated at the state.
    v : ndarray of complex, shape (nodes, periods)
        Voltages of the state, the substation first [pu].
    """
    node = tree.order + 1
    flow = flows.flow_of_node[node]
    above = np.maximum(tree.parent, 0)
    goes_up = (tree.parent >= 0)[:, None]
    below, over = v[node], v[node[above]]
    up = tree.parent_child[:, None]
    step = Gain(
        own=np.where(goes_up, -over * np.conj(up * factor.g) / below, 0.0),
        conjugate=np.where(goes_up, -over * np.conj(up * factor.d) / np.conj(below), 0.0),
    )
    within = (tree.parent >= 0) & (flow >= 0) & (flow == flow[above])
    chained = np.full(len(node), -1, dtype=np.int64)
    chained[tree.parent[within]] = np.flatnonzero(within)
    own, conjugate = np.ones_like(below), np.zeros_like(below)
    for at in tree.slices[::-1]:
        here = np.arange(at.start, at.stop)[chained[at] >= 0]
        child = chained[here]
        passed = step.at(child).after(Gain(own=own[child], conjugate=conjugate[child]))
        own[here], conjugate[here] = passed.own, passed.conjugate
    highest = np.flatnonzero((flow >= 0) & ~within)
    top = np.zeros(len(flows.parent), dtype=np.int64)
    top[flow[highest]] = highest
    to_parent = step.at(top).after(Gain(own=own[top], conjugate=conjugate[top]))
    by_node = np.argsort(node)
    zero = np.zeros((1, v.shape[1]), dtype=complex)
    return FlowGains(
        in_chain=Gain(
            own=np.vstack([zero, own[by_node]]), conjugate=np.vstack([zero, conjugate[by_node]])
        ),
        to_parent=to_parent,
        top=node[top],
    )
