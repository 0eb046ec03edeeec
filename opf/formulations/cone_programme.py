"""Branch flow with the currents relaxed to a second-order cone, stated in CVXPY.

Everything is referred to the substation's side of the transformers (voltages divided by n_i, the
product of ratios on the path; powers are what they are) and to a power base near the feeder's
size. For node i below node k, series impedance z_i = r_i + j x_i, nodal shunt G_i + j B_i:

    P_i - r_i l_i + p_i - G_i v_i = sum_c P_c            (dual: price of active power)
    Q_i - x_i l_i + q_i + B_i v_i = sum_c Q_c            (dual: price of reactive power)
    v_i = v_k - 2 (r_i P_i + x_i Q_i) + |z_i|^2 l_i
    P_i^2 + Q_i^2 <= v_k l_i                             (equality in AC)

Farivar and Low, IEEE Trans. Power Systems 28(3), 2013, doi 10.1109/TPWRS.2013.2255317. Limits are
elastic at the scarcity price, so there always is an optimum; without slack its dual value bounds
the cost of every schedule that holds all limits.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from data.errors import UnsupportedComponent
from opf.formulations.linear_network import RadialTree, build_radial_tree
from opf.limits import (
    CURRENT_FROM,
    CURRENT_TO,
    EXPORT_CAP,
    IMPORT_CAP,
    VOLTAGE_LOWER,
    VOLTAGE_UPPER,
)
from opf.problem import Problem

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]

TIME_LIMIT_S: Final = 600.0
_OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    ("tol_gap_abs", 1e-11),
    ("tol_gap_rel", 1e-11),
    ("tol_feas", 1e-10),
    ("reduced_tol_gap_abs", 1e-7),
    ("reduced_tol_gap_rel", 1e-7),
    ("reduced_tol_feas", 1e-8),
    ("max_iter", 200),
    ("max_threads", 1),
    ("direct_solve_method", "qdldl"),
    ("time_limit", TIME_LIMIT_S),
)
SOLVER_OPTIONS: Final = tuple((name, f"{value}") for name, value in _OPTIONS)
# Ratings above this many times all power that could flow are left out: they do not bind in
# operation, and leaving a limit out only lowers the bound.
RATING_REACH: Final = 2.0
LEAST_TYPICAL: Final = 1e-4


def _cvxpy() -> Any:  # noqa: ANN401
    """Return CVXPY, loaded when first used; its types do not know its own atoms."""
    import cvxpy

    return cvxpy


@dataclass(frozen=True, slots=True, kw_only=True)
class ConeOptimum:
    """Optimum of the cone programme.

    Parameters
    ----------
    status : str
        Clarabel's own word: ``Solved``, ``AlmostSolved`` (gap below 1e-7), ...
    x : ndarray, shape (columns,)
        Decision; NaN without a solution.
    cost_eur : float
        Its cost without penalties.
    dual_eur : float or None
        Dual value; None without a solution.
    slack_mw : float
        Sum of slack used [MW-equivalent].
    cone_gap : float
        Largest v l - P^2 - Q^2 [MVA^2]: 0 where the relaxation is exact.
    price_p, price_q : ndarray, shape (nodes, periods)
        Duals of the balances [EUR/MWh, EUR/Mvarh].
    limit_price : ndarray, shape (limits, periods)
        Price of every limit by its own quantity [EUR/h per pu, EUR/MWh for the caps].
    row_price : ndarray, shape (rows,)
        Multipliers of resource rows [EUR per unit].
    """

    status: str
    iterations: int
    x: Floats
    cost_eur: float
    dual_eur: float | None
    slack_mw: float
    cone_gap: float
    price_p: Floats
    price_q: Floats
    limit_price: Floats
    row_price: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeder:
    """Arrays of the statement: node 1 .. n-1 by period, flattened node-major, base ``base_mva``.

    ``typical`` is the size of each flow: flows are counted in it, because an interior point method
    cannot scale the entries of one cone apart.
    """

    tree: RadialTree
    base_mva: float
    typical: Floats
    reach_mva: Floats
    z: Complexes
    shunt: Complexes
    children: sparse.csr_matrix
    parents: sparse.csr_matrix
    v0: float
    at_top: Floats
    import_of_flow: sparse.csr_matrix
    inject_p: sparse.csr_matrix
    inject_q: sparse.csr_matrix
    top_p: sparse.csr_matrix
    periods: int


def _reach_mva(problem: Problem, tree: RadialTree) -> Floats:
    """Most power that loads and orders at and below each node could move [MVA], shape (nodes,)."""
    res = problem.resources
    size = np.maximum(
        np.where(np.isfinite(res.upper), np.abs(res.upper), 0.0),
        np.where(np.isfinite(res.lower), np.abs(res.lower), 0.0),
    )[res.inject_column]
    by_period = np.abs(res.fixed)
    at = (res.inject_node, res.period[res.inject_column])
    np.add.at(by_period, at, size * np.hypot(res.inject_p, res.inject_q))
    for node in tree.order[:0:-1].tolist():
        by_period[tree.parent[node]] += by_period[node]
    return np.asarray(by_period.max(axis=1))


def _refuse_unequal_parallels(problem: Problem, tree: RadialTree) -> None:
    """Raise for parallel transformers of different ratio: no current through them is none."""
    b = problem.grid.branches
    tap = np.abs(1.0 / (b.impedance * b.ytf))
    gap = np.abs(tree.ratio[b.node_to] - tree.ratio[b.node_from] / tap) / tree.ratio[b.node_to]
    unequal = np.flatnonzero(gap > 1e-9)
    if len(unequal):
        names = ", ".join(f"{b.kind[k]}:{b.element[k]}" for k in unequal[:10])
        raise UnsupportedComponent(
            f"formulation 'branch_flow_soc': parallel branches of unequal ratio ({names}): use 'ac'"
        )


def _node_shunts(problem: Problem, tree: RadialTree) -> Complexes:
    """Shunt admittance of each node at the substation's side [pu at 1 MVA], shape (nodes,)."""
    grid, b = problem.grid, problem.grid.branches
    shunt = np.asarray(grid.admittance.diagonal(), dtype=complex).copy()
    series = 1.0 / b.impedance
    tap = np.abs(1.0 / (b.impedance * b.ytf))
    np.add.at(shunt, b.node_from, -series / tap**2)
    np.add.at(shunt, b.node_to, -series)
    return np.asarray(shunt * tree.ratio**2)


def state_feeder(problem: Problem) -> Feeder:
    """Collect the arrays of the statement.

    Raises
    ------
    UnsupportedComponent
        Meshed grids, parallel branches of unequal ratio.
    """
    grid, res, size = problem.grid, problem.resources, problem.periods
    tree = build_radial_tree(grid, "branch_flow_soc")
    _refuse_unequal_parallels(problem, tree)
    reach = _reach_mva(problem, tree)
    base = max(float(reach[0]), 1e-3)
    below = grid.node_count - 1
    each = sparse.identity(size, format="csr")
    parent = tree.parent[1:]
    inner = np.flatnonzero(parent > 0)
    top = np.flatnonzero(parent == 0)
    parents = sparse.csr_matrix(
        (np.ones(len(inner)), (inner, parent[inner] - 1)), shape=(below, below)
    )
    to_import = sparse.csr_matrix(
        (np.ones(len(top)), (np.zeros(len(top), dtype=np.int64), top)), shape=(1, below)
    )
    row = (res.inject_node - 1) * size + res.period[res.inject_column]
    under = res.inject_node > 0
    matrices = [
        sparse.csr_matrix(
            (value[under] / base, (row[under], res.inject_column[under])),
            shape=(below * size, len(res.cost)),
        )
        for value in (res.inject_p, res.inject_q)
    ]
    over = ~under
    column = res.inject_column[over]
    return Feeder(
        tree=tree,
        base_mva=base,
        typical=np.repeat(np.maximum(reach[1:] / base, LEAST_TYPICAL), size),
        reach_mva=reach,
        z=np.repeat(tree.impedance[1:] * base, size),
        shunt=np.repeat(_node_shunts(problem, tree)[1:] / base, size),
        children=sparse.kron(parents.T, each, format="csr"),
        parents=sparse.kron(parents, each, format="csr"),
        v0=abs(grid.slack_v) ** 2,
        at_top=np.repeat((parent == 0).astype(float), size),
        import_of_flow=sparse.kron(to_import, each, format="csr"),
        inject_p=matrices[0],
        inject_q=matrices[1],
        top_p=sparse.csr_matrix(
            (res.inject_p[over], (res.period[column], column)), shape=(size, len(res.cost))
        ),
        periods=size,
    )


class ConeProgramme:
    """The programme of one case: variables, rows and what is read from their duals."""

    def __init__(self, problem: Problem) -> None:
        cp = _cvxpy()

        self.problem = problem
        self.feeder = state_feeder(problem)
        count = len(self.feeder.z)
        self.x = cp.Variable(len(problem.resources.cost))
        typical = self.feeder.typical
        self.v = cp.Variable(count)
        self.scaled = cp.Variable(count), cp.Variable(count), cp.Variable(count)
        self.p = cp.multiply(typical, self.scaled[0])
        self.q = cp.multiply(typical, self.scaled[1])
        self.current = cp.multiply(typical**2, self.scaled[2])
        self.rows: list[Any] = []
        self.balance = self._state_branch_flow()
        self.row_kinds = self._state_resources()
        self.import_mw = self._import()
        self.limit_rows: list[tuple[Ints, Any, Any, Any]] = []
        self._limit_voltages()
        self._limit_caps()
        self._limit_currents()
        h, case = problem.case.periods.mtu_h, problem.case
        self.cost = problem.resources.cost @ self.x + h * (
            case.import_price_eur_per_mwh @ self.import_mw
        )
        slack = sum((cp.sum(s) for _, _, s, _ in self.limit_rows), cp.Constant(0.0))
        penalty = case.limits.scarcity_price_eur_per_mwh * h * slack
        self.statement = cp.Problem(cp.Minimize(self.cost + penalty), self.rows)

    def _state_branch_flow(self) -> tuple[Any, Any]:
        """Balances, voltage drops and cones; returns the two balances."""
        cp = _cvxpy()

        f, res = self.feeder, self.problem.resources
        fixed = res.fixed[1:].ravel() / f.base_mva
        r, reactance = f.z.real, f.z.imag
        above = f.parents @ self.v + f.v0 * f.at_top
        active = (
            self.p - cp.multiply(r, self.current) + fixed.real + f.inject_p @ self.x
            - cp.multiply(f.shunt.real, self.v) - f.children @ self.p == 0
        )  # fmt: skip
        reactive = (
            self.q - cp.multiply(reactance, self.current) + fixed.imag + f.inject_q @ self.x
            + cp.multiply(f.shunt.imag, self.v) - f.children @ self.q == 0
        )  # fmt: skip
        drop = self.v == above - 2 * (
            cp.multiply(r, self.p) + cp.multiply(reactance, self.q)
        ) + cp.multiply(np.abs(f.z) ** 2, self.current)
        p, q, current = self.scaled
        cone = cp.SOC(above + current, cp.vstack([2 * p, 2 * q, above - current]))
        self.rows += [active, reactive, drop, cone]
        return active, reactive

    def _state_resources(self) -> list[tuple[Ints, Any, float]]:
        """Bounds and coupling rows of the orders; returns what their duals belong to."""
        res = self.problem.resources
        for bound, sign in ((res.lower, -1.0), (res.upper, 1.0)):
            finite = np.flatnonzero(np.isfinite(bound))
            if len(finite):
                self.rows.append(sign * self.x[finite] <= sign * bound[finite])
        equal = res.rows_lower == res.rows_upper
        kinds: list[tuple[Ints, Any, float]] = []
        for chosen, right, sign in (
            (np.flatnonzero(equal), res.rows_upper, 0.0),
            (np.flatnonzero(~equal & np.isfinite(res.rows_upper)), res.rows_upper, 1.0),
            (np.flatnonzero(~equal & np.isfinite(res.rows_lower)), res.rows_lower, -1.0),
        ):
            if not len(chosen):
                continue
            left = res.rows[chosen] @ self.x
            row = left == right[chosen] if sign == 0.0 else sign * left <= sign * right[chosen]
            self.rows.append(row)
            kinds.append((chosen, row, sign if sign else 1.0))
        return kinds

    def _import(self) -> Any:  # noqa: ANN401
        """Import [MW], shape (periods,)."""
        f, res = self.feeder, self.problem.resources
        drawn = _node_shunts(self.problem, f.tree)[0].real * f.v0
        return (
            f.base_mva * (f.import_of_flow @ self.p) + drawn - res.fixed[0].real - f.top_p @ self.x
        )

    def _add_limit(self, limits: Ints, excess: Any, per_mw: Floats, per_g: Any) -> None:  # noqa: ANN401
        """Add ``excess <= per_mw slack``; ``per_g`` is d(excess)/dg where the limit binds."""
        cp = _cvxpy()

        slack = cp.Variable(len(per_mw), nonneg=True)
        row = excess - cp.multiply(per_mw, slack) <= 0
        self.rows.append(row)
        self.limit_rows.append((limits, row, slack, cp.Constant(0.0) + per_g))

    def _limit_voltages(self) -> None:
        """Bounds on v = (|V| / n)^2, slack by the sensitivity of the no-load state."""
        problem, f = self.problem, self.feeder
        limits, size = problem.limits, f.periods
        for family, sign in ((VOLTAGE_UPPER, 1.0), (VOLTAGE_LOWER, -1.0)):
            k = np.flatnonzero(limits.family == family)
            if not len(k):
                continue
            node, bound = limits.place[k], np.abs(limits.maximum[k])
            holds = limits.bound(size)[k] ** 2 / f.tree.ratio[node][:, None] ** 2
            at = ((node - 1)[:, None] * size + np.arange(size)[None, :]).ravel()
            square = 2.0 * bound / f.tree.ratio[node] ** 2  # dv / d|V| at the limit
            excess = sign * (self.v[at] - holds.ravel())
            per_mw = np.repeat(square * problem.merit_scale[k], size)
            self._add_limit(k, excess, per_mw, np.repeat(square, size))

    def _limit_caps(self) -> None:
        limits, size = self.problem.limits, self.feeder.periods
        for family, sign in ((IMPORT_CAP, 1.0), (EXPORT_CAP, -1.0)):
            for k in np.flatnonzero(limits.family == family).tolist():
                ones = np.ones(size)
                excess = sign * self.import_mw - limits.maximum[k]
                self._add_limit(np.array([k]), excess, ones, ones)

    def _limit_currents(self) -> None:
        """|S_end|^2 <= rating^2 |V_end|^2 at each limited branch end, a cone of its own."""
        cp = _cvxpy()

        problem, f = self.problem, self.feeder
        limits, size, b = problem.limits, f.periods, problem.grid.branches
        upwards = f.tree.parent[b.node_from] == b.node_to
        below = np.where(upwards, b.node_from, b.node_to)
        reach = RATING_REACH * f.reach_mva[below]
        tap = np.abs(1.0 / (b.impedance * b.ytf))
        series = 1.0 / b.impedance
        own = {CURRENT_FROM: b.yff - series / tap**2, CURRENT_TO: b.ytt - series}
        ends = {CURRENT_FROM: b.node_from, CURRENT_TO: b.node_to}
        for family in (CURRENT_FROM, CURRENT_TO):
            k = np.flatnonzero(limits.family == family)
            k = k[limits.bound(size)[k].min(axis=1) <= reach[limits.place[k]]]
            if not len(k):
                continue
            branch = limits.place[k]
            at_child = upwards[branch] if family == CURRENT_FROM else ~upwards[branch]
            child = below[branch]
            end = ends[family][branch]
            ratio = f.tree.ratio[end]
            flow = ((child - 1)[:, None] * size + np.arange(size)[None, :]).ravel()
            z, lower = f.z[flow], np.repeat(at_child.astype(float), size)
            sign = 1.0 - 2.0 * lower
            share = np.repeat(np.conj(f.tree.share[branch]), size)
            shunt = np.repeat(np.conj(own[family][branch]) * ratio**2 / f.base_mva, size)
            above = (f.parents @ self.v + f.v0 * f.at_top)[flow]
            v = cp.multiply(lower, self.v[flow]) + cp.multiply(1.0 - lower, above)
            p = cp.multiply(sign, self.p[flow]) + cp.multiply(lower * z.real, self.current[flow])
            q = cp.multiply(sign, self.q[flow]) + cp.multiply(lower * z.imag, self.current[flow])
            rating = limits.bound(size)[k].ravel() / f.base_mva
            into_p = (
                cp.multiply(share.real, p) - cp.multiply(share.imag, q) + cp.multiply(shunt.real, v)
            )
            into_q = (
                cp.multiply(share.imag, p) + cp.multiply(share.real, q) + cp.multiply(shunt.imag, v)
            )
            squared = np.repeat(ratio**2, size)
            loading = cp.Variable(len(flow))  # (|S| / rating)^2, at most |V|^2
            self.rows.append(
                cp.SOC(
                    1.0 + loading,
                    cp.vstack(
                        [
                            cp.multiply(2.0 / rating, into_p),
                            cp.multiply(2.0 / rating, into_q),
                            1.0 - loading,
                        ]
                    ),
                )
            )
            # |I| rises by slack [MW at 1 pu]; d(loading)/d|I| = 2 |V|^2 / rating at the limit
            rise = 2.0 / limits.bound(size)[k].ravel()
            per_pu = cp.multiply(rise * squared, v)
            self._add_limit(k, loading - cp.multiply(squared, v), rise, per_pu)

    def solve(self) -> ConeOptimum:
        """Solve; never raises for want of an optimum, the status tells."""
        cp = _cvxpy()

        data, chain, inverse = self.statement.get_problem_data(
            cp.CLARABEL, solver_opts=dict(_OPTIONS)
        )
        raw = chain.solve_via_data(
            self.statement, data, warm_start=False, verbose=False, solver_opts=dict(_OPTIONS)
        )
        status = str(raw.status)
        if status not in ("Solved", "AlmostSolved"):
            return self._no_optimum(status, int(raw.iterations))
        with warnings.catch_warnings():
            # that accuracy is reduced stands in the status
            warnings.simplefilter("ignore")
            self.statement.unpack_results(raw, chain, inverse)
        dual = float(raw.obj_val_dual) + float(np.asarray(inverse[-1]["offset"]).item())
        return self._read(status, int(raw.iterations), dual)

    def _no_optimum(self, status: str, iterations: int) -> ConeOptimum:
        problem = self.problem
        by_node = np.full((problem.grid.node_count, problem.periods), np.nan)
        return ConeOptimum(
            status=status,
            iterations=iterations,
            x=np.full(len(problem.resources.cost), np.nan),
            cost_eur=float("nan"),
            dual_eur=None,
            slack_mw=float("nan"),
            cone_gap=float("nan"),
            price_p=by_node,
            price_q=by_node,
            limit_price=np.zeros((len(problem.limits), problem.periods)),
            row_price=np.zeros(problem.resources.rows.shape[0]),
        )

    def _read(self, status: str, iterations: int, dual: float | None) -> ConeOptimum:
        """Values and duals in the units of the case."""
        problem, f = self.problem, self.feeder
        h, size = problem.case.periods.mtu_h, f.periods
        limit_price = np.zeros((len(problem.limits), size))
        slack = 0.0
        for k, row, used, per_g in self.limit_rows:
            value = np.maximum(np.asarray(row.dual_value), 0.0) * per_g.value / h
            limit_price[k] = value.reshape(len(k), size)
            slack += float(np.maximum(used.value, 0.0).sum())
        row_price = np.zeros(problem.resources.rows.shape[0])
        for chosen, row, sign in self.row_kinds:
            row_price[chosen] += sign * np.asarray(row.dual_value)
        top = problem.case.import_price_eur_per_mwh.copy()
        for family, sign in ((IMPORT_CAP, 1.0), (EXPORT_CAP, -1.0)):
            for cap in np.flatnonzero(problem.limits.family == family).tolist():
                top = top + sign * limit_price[cap]
        prices = [
            np.vstack([first, -np.asarray(row.dual_value).reshape(-1, size) / (h * f.base_mva)])
            for first, row in zip((top, np.zeros(size)), self.balance, strict=True)
        ]
        above = f.parents @ self.v.value + f.v0 * f.at_top
        p, q = np.asarray(self.p.value), np.asarray(self.q.value)
        gap = above * np.asarray(self.current.value) - p**2 - q**2
        return ConeOptimum(
            status=status,
            iterations=iterations,
            x=np.asarray(self.x.value, dtype=float),
            cost_eur=float(self.cost.value),
            dual_eur=dual,
            slack_mw=slack,
            cone_gap=float(np.abs(gap).max(initial=0.0)) * f.base_mva**2,
            price_p=prices[0],
            price_q=prices[1],
            limit_price=limit_price,
            row_price=row_price,
        )
