"""Power flow and adjoints on a radial grid: sweeps by depth, vectorised over nodes and periods.

On a tree the linearised power flow ``A dV + D conj(dV) = r`` is eliminated from the leaves to the
substation without fill. What is left of a node is again of that form, ``a v + b conj(v) = r``,
and ``v = g r + d conj(r)`` with ``g = conj(a) / (|a|^2 - |b|^2)`` and ``d = -b / (|a|^2 - |b|^2)``
solves it; so a node and period keeps two complex numbers. The adjoint ``A^T x + conj(D) conj(x) =
w`` has the same g and the conjugate of d: one elimination serves Newton's steps, the gradient of
the import, and those of all limits.

A scalar of one node depends on injections mainly along the path from there to the substation;
`RadialTree.along_paths` finds the adjoint there alone, exactly, for thousands of scalars at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]


@dataclass(frozen=True, slots=True)
class TreeFactor:
    """Eliminated power flow equations: ``g`` and ``d`` by node (ordered by depth) and column."""

    g: Complexes
    d: Complexes

    def columns(self, chosen: Ints) -> TreeFactor:
        """Return the factor of chosen columns."""
        return TreeFactor(self.g[:, chosen], self.d[:, chosen])


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Gradients of scalars along the paths to the substation.

    Parameters
    ----------
    node : ndarray of int, shape (depth, k)
        Node of each path at each depth, from the substation down; -1 below the end of a path.
    adjoint : ndarray of complex, shape (depth, k)
        Adjoint there: derivative by the right-hand side of the node; 0 below the end.
    eliminated : ndarray of complex, shape (depth, k)
        Derivative by what the right-hand side of the node has become once all below it is
        eliminated, those of the nodes above held; 0 below the end.
    """

    node: Ints
    adjoint: Complexes
    eliminated: Complexes


class RadialTree:
    """The admittance matrix of a radial grid without its substation, nodes ordered by depth.

    Parameters
    ----------
    a : csc_matrix of complex, shape (nodes, nodes)
        Admittance matrix without the substation's row and column; its pattern is a forest.
    roots : ndarray of int
        Nodes next to the substation.
    """

    def __init__(self, a: sparse.csc_matrix, roots: Ints) -> None:
        size = a.shape[0]
        parent = _parents(a, roots)
        depth = np.zeros(size, dtype=np.int64)
        walk = parent.copy()
        while (walk >= 0).any():
            depth += walk >= 0
            walk = np.where(walk >= 0, parent[np.maximum(walk, 0)], -1)
        self.order = np.zeros(0, dtype=np.int64)
        self.position = np.full(size, -1, dtype=np.int64)
        self.slices: list[slice] = []
        for level in range(int(depth.max()) + 1):
            members = np.flatnonzero(depth == level)
            above = np.where(parent[members] >= 0, self.position[parent[members]], -1)
            members = members[np.argsort(above, kind="stable")]
            first = len(self.order)
            self.position[members] = first + np.arange(len(members))
            self.order = np.concatenate([self.order, members])
            self.slices.append(slice(first, first + len(members)))
        self.depth = depth[self.order]
        up = parent[self.order]
        self.parent = np.where(up >= 0, self.position[up], -1)
        self.diagonal = np.asarray(a.diagonal(), dtype=complex)[self.order]
        rows = a.tocsr()
        has = np.flatnonzero(up >= 0)
        self.child_parent = np.zeros(size, dtype=complex)
        self.parent_child = np.zeros(size, dtype=complex)
        self.child_parent[has] = np.asarray(rows[self.order[has], up[has]]).ravel()
        self.parent_child[has] = np.asarray(rows[up[has], self.order[has]]).ravel()
        self._groups = [_groups(self.parent[one]) for one in self.slices[1:]]

    def factorise(self, by_conjugate: Complexes) -> TreeFactor:
        """Eliminate ``A dV + D conj(dV)`` for each column of ``D``, shape (nodes, columns)."""
        beta = by_conjugate[self.order]
        alpha = np.repeat(self.diagonal[:, None], beta.shape[1], axis=1)
        both = (self.parent_child * self.child_parent)[:, None]
        mixed = (self.parent_child * np.conj(self.child_parent))[:, None]
        for level in range(len(self.slices) - 1, -1, -1):
            at = self.slices[level]
            a, b = alpha[at], beta[at]
            scale = 1.0 / (a.real**2 + a.imag**2 - b.real**2 - b.imag**2)
            np.conjugate(a, out=a)
            a *= scale
            b *= -scale
            if level:
                above, starts = self._groups[level - 1]
                alpha[above] -= np.add.reduceat(both[at] * a, starts, axis=0)
                beta[above] -= np.add.reduceat(mixed[at] * b, starts, axis=0)
        return TreeFactor(alpha, beta)

    def solve(self, factor: TreeFactor, right: Complexes) -> Complexes:
        """Solve ``A v + D conj(v) = right``, shape (nodes, columns)."""
        return self._sweep(factor.g, factor.d, right, self.parent_child, self.child_parent)

    def solve_adjoint(self, factor: TreeFactor, weights: Complexes) -> Complexes:
        """Solve ``A^T x + conj(D) conj(x) = weights``, shape (nodes, columns)."""
        d = np.conj(factor.d)
        return self._sweep(factor.g, d, weights, self.child_parent, self.parent_child)

    def _sweep(
        self,
        g: Complexes,
        d: Complexes,
        right: Complexes,
        to_parent: Complexes,
        to_child: Complexes,
    ) -> Complexes:
        """Leaves to substation, and back."""
        r = right[self.order]
        up, down = to_parent[:, None], to_child[:, None]
        for level in range(len(self.slices) - 1, 0, -1):
            at = self.slices[level]
            above, starts = self._groups[level - 1]
            solved = g[at] * r[at] + d[at] * np.conj(r[at])
            r[above] -= np.add.reduceat(up[at] * solved, starts, axis=0)
        for level, at in enumerate(self.slices):
            if level:
                r[at] -= down[at] * r[self.parent[at]]
            r[at] = g[at] * r[at] + d[at] * np.conj(r[at])
        found = np.empty_like(r)
        found[self.order] = r
        return found

    def along_paths(
        self,
        factor: TreeFactor,
        column: Ints,
        node: Ints,
        weight: Complexes,
        above: Complexes,
    ) -> Paths:
        """Adjoints of scalars on the paths from the substation to given nodes.

        Parameters
        ----------
        column : ndarray of int, shape (k,)
            Column of the factor that each scalar belongs to.
        node : ndarray of int, shape (k,)
            Node whose voltage each scalar depends on: where its path ends.
        weight, above : ndarray of complex, shape (k,)
            Derivative by its voltage, and by that of the node above it (0 where that is the
            substation).
        """
        walk = self.position[node]
        at = self.depth[walk]
        levels = int(at.max(initial=-1)) + 1
        on_path = np.full((levels, len(node)), -1, dtype=np.int64)
        r = np.zeros((levels, len(node)), dtype=complex)
        eliminated = np.zeros_like(r)
        carried = np.zeros(len(node), dtype=complex)
        for level in range(levels - 1, -1, -1):
            on = np.flatnonzero(at >= level)
            here = walk[on]
            on_path[level, on] = here
            own = np.where(at[on] == level, weight[on], 0.0)
            own = np.where(at[on] == level + 1, above[on], own)
            value = carried[on] + own
            r[level, on] = value
            g, d = factor.g[here, column[on]], np.conj(factor.d[here, column[on]])
            eliminated[level, on] = g * value + d * np.conj(value)
            carried[on] = -self.child_parent[here] * eliminated[level, on]
            walk[on] = self.parent[here]
        x = np.zeros(len(node), dtype=complex)
        for level in range(levels):
            on = np.flatnonzero(at >= level)
            here = on_path[level, on]
            value = r[level, on] - (self.parent_child[here] * x[on] if level else 0.0)
            g, d = factor.g[here, column[on]], np.conj(factor.d[here, column[on]])
            x[on] = g * value + d * np.conj(value)
            r[level, on] = x[on]
        nodes = np.where(on_path >= 0, self.order[np.maximum(on_path, 0)], -1)
        return Paths(node=nodes, adjoint=r, eliminated=eliminated)


def _parents(a: sparse.csc_matrix, roots: Ints) -> Ints:
    """Node above each node, -1 next to the substation."""
    size = a.shape[0]
    links = sparse.csr_matrix((np.ones(len(roots)), (np.full(len(roots), size), roots)))
    links.resize((size + 1, size + 1))
    whole = abs(a).tocsr()
    whole.resize((size + 1, size + 1))
    _, above = csgraph.breadth_first_order(whole + links, size, directed=False)
    return np.where(above[:size] == size, -1, above[:size]).astype(np.int64)


def _groups(parent: Ints) -> tuple[Ints, Ints]:
    """Distinct parents of one level's nodes, which are sorted by them, and where each begins."""
    above, starts = np.unique(parent, return_index=True)
    return above, starts
