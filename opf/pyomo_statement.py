"""The problem stated a second time, in Pyomo, from the market's rules.

Nothing of the engine is used here: not its columns, its admittance matrix nor its sensitivities.
The orders are written from docs/market.md, one constraint per sentence; linear branch flow is
written with flows and squared voltages as variables from the engineering values of the network. A
case solved both ways must cost the same. For studies, a new constraint is one line here.

Networks:

* ``copper_plate``: import + sum of injections = 0 in each period;
* ``lindistflow``: radial grids of lines without charging, closed at both ends (anything else is
  refused: the engine's own formulation models more);
* a `LinearPoint`: import and limits as linear functions of bus injections, e.g. the AC engine's
  gradients at its final point (`opf.linear_point`). Minimising there tells whether that point is
  optimal.

HiGHS solves it. `https://www.pyomo.org` (Bynum et al., Pyomo, 3rd ed., 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingCase
from opf.pyomo_network import RadialLines, read_radial_lines
from opf.pyomo_orders import OrderBook

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TIME_LIMIT_S: Final = 300.0


class StatementNotSolved(Exception):
    """HiGHS found no optimum of the second statement; the message holds its condition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearPoint:
    """Import and limits as linear functions of bus injections, around a point.

    Parameters
    ----------
    injection_mw, injection_mvar : ndarray, shape (buses, periods)
        Net injections at the point; rows are the network's buses.
    import_mw : ndarray, shape (periods,)
        Import at the point.
    import_p, import_q : ndarray, shape (buses, periods)
        Its derivatives.
    period : ndarray of int, shape (limits,)
        Period of each limit row.
    excess : ndarray, shape (limits,)
        g - g_max at the point.
    limit_p, limit_q : ndarray, shape (buses, limits)
        Derivatives of g.
    scale : ndarray, shape (limits,)
        Change of g that counts as one MW of slack.
    """

    injection_mw: Floats
    injection_mvar: Floats
    import_mw: Floats
    import_p: Floats
    import_q: Floats
    period: Ints
    excess: Floats
    limit_p: Floats
    limit_q: Floats
    scale: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Optimum of the second statement.

    Parameters
    ----------
    objective_eur : float
        Cost without penalties.
    penalty_eur : float
        Slack at the scarcity price.
    injection_mw : dict
        Active injection of each order at its first bus (or over its portfolio), shape (periods,).
    import_mw : ndarray, shape (periods,)
        Exchange at the substation.
    price_eur_per_mwh : ndarray, shape (buses, periods)
        Duals of the balance at each bus / MTU; the rows are alike on a copper plate, NaN for a
        `LinearPoint`.
    """

    objective_eur: float
    penalty_eur: float
    injection_mw: dict[str, Floats]
    import_mw: Floats
    price_eur_per_mwh: Floats


class _Statement:
    """One Pyomo model under construction."""

    def __init__(self, case: ClearingCase) -> None:
        import pyomo.environ as pyo

        self.case = case
        self.h = case.periods.mtu_h
        self.scarcity_eur_per_mw = case.limits.scarcity_price_eur_per_mwh * self.h
        self.each = range(len(case.periods))
        self.model = pyo.ConcreteModel()
        self.model.dual = pyo.Suffix(direction=pyo.Suffix.IMPORT)
        self.model.import_mw = pyo.Var(self.each)
        self.model.short = pyo.VarList(within=pyo.NonNegativeReals)
        self.model.limits = pyo.ConstraintList()
        self.model.balance = pyo.ConstraintList()
        self.balance: dict[tuple[int, int], Any] = {}
        self.book = OrderBook(self.model, case)
        for cap, sign in ((case.import_mw_max, 1.0), (case.export_mw_max, -1.0)):
            for t in self.each:
                if cap is not None:
                    self.limit(sign * self.model.import_mw[t] - cap, self.model.short.add())

    def limit(self, excess: Any, slack: Any) -> None:  # noqa: ANN401
        """Add ``excess <= slack``."""
        self.model.limits.add(excess - slack <= 0)

    def balance_at(self, place: int, t: int, inflow: Any) -> None:  # noqa: ANN401
        """Add ``inflow = 0``; the dual is the price of one more MW drawn there."""
        self.balance[place, t] = self.model.balance.add(inflow == 0)

    def close(self) -> None:
        """Add the objective: cost plus slack at the scarcity price."""
        import pyomo.environ as pyo

        price = self.case.import_price_eur_per_mwh
        imported = sum(self.h * float(price[t]) * self.model.import_mw[t] for t in self.each)
        self.model.cost = pyo.Expression(expr=imported + sum(self.book.cost))
        penalty = self.scarcity_eur_per_mw * sum(self.model.short.values())
        self.model.objective = pyo.Objective(expr=self.model.cost + penalty)

    def solve(self) -> None:
        """Solve silently, one thread, within the time limit.

        Raises
        ------
        StatementNotSolved
            Infeasible or out of time.
        """
        import pyomo.environ as pyo

        solver = pyo.SolverFactory("appsi_highs")
        solver.highs_options = {"threads": 1, "random_seed": 0, "time_limit": TIME_LIMIT_S}
        found = solver.solve(self.model, tee=False, load_solutions=False)
        condition = found.solver.termination_condition
        if condition != pyo.TerminationCondition.optimal:
            raise StatementNotSolved(f"the second statement ended {condition}")
        solver.load_vars()
        for row, value in solver.get_duals().items():
            self.model.dual[row] = value

    def read(self, node_of_bus: dict[int, int] | None) -> Statement:
        """Read the optimum; ``node_of_bus`` says whose balance prices a bus."""
        import pyomo.environ as pyo

        buses = self.case.network.buses.index.tolist()
        price = np.full((len(buses), len(self.each)), np.nan)
        if node_of_bus is not None:
            for row, bus in enumerate(buses):
                for t in self.each:
                    rule = self.balance.get((node_of_bus.get(bus, bus), t))
                    if rule is not None:
                        price[row, t] = self.model.dual[rule] / self.h
        return Statement(
            objective_eur=float(pyo.value(self.model.cost)),
            penalty_eur=self.scarcity_eur_per_mw
            * sum(float(s.value or 0.0) for s in self.model.short.values()),
            injection_mw={
                name: np.array([float(pyo.value(value)) for value in values])
                for name, values in self.book.active.items()
            },
            import_mw=np.array([float(pyo.value(self.model.import_mw[t])) for t in self.each]),
            price_eur_per_mwh=price,
        )


def solve_copper_plate(case: ClearingCase) -> Statement:
    """Solve a case without its network: import + sum of injections = 0.

    Raises
    ------
    UnsupportedComponent
        Order kinds with integers.
    StatementNotSolved
        Contradicting orders, or the time limit.
    """
    statement = _Statement(case)
    buses = case.network.buses.index.tolist()
    for t in statement.each:
        total = sum(statement.book.bus_p(bus, t) for bus in buses)
        statement.balance_at(0, t, statement.model.import_mw[t] + total)
    statement.close()
    statement.solve()
    return statement.read(dict.fromkeys(buses, 0))


def solve_lindistflow(case: ClearingCase) -> Statement:
    """Solve a case on linear branch flow, flows and squared voltages as variables.

    Raises
    ------
    UnsupportedComponent
        Transformers, charging, shunts, meshes, parallel or open lines; orders with integers.
    StatementNotSolved
        Contradicting orders, or the time limit.
    """
    import pyomo.environ as pyo

    grid = read_radial_lines(case.network)
    statement = _Statement(case)
    model, each = statement.model, statement.each
    below = [node for node in grid.order if node != grid.top]
    model.p, model.q = pyo.Var(below, each), pyo.Var(below, each)
    model.v = pyo.Var(grid.order, each)
    for t in each:
        model.v[grid.top, t].fix(case.network.slack_vm_pu**2)
        for node in grid.order:
            members = [bus for bus, place in grid.node_of_bus.items() if place == node]
            p = sum(statement.book.bus_p(bus, t) for bus in members)
            q = sum(statement.book.bus_q(bus, t) for bus in members)
            p -= sum(model.p[child, t] for child in grid.children[node])
            q -= sum(model.q[child, t] for child in grid.children[node])
            if node == grid.top:
                statement.balance_at(node, t, p + model.import_mw[t])
                continue
            statement.balance_at(node, t, p + model.p[node, t])
            model.rules.add(q + model.q[node, t] == 0)
            fall = grid.r_pu[node] * model.p[node, t] + grid.x_pu[node] * model.q[node, t]
            model.rules.add(model.v[node, t] == model.v[grid.parent[node], t] - 2 * fall)
            _limit_voltage(statement, grid, node, t)
    statement.close()
    slack: dict[tuple[int, int], Any] = {}
    statement.solve()
    while _add_tangents(statement, grid, slack):
        statement.solve()
    return statement.read(grid.node_of_bus)


def _limit_voltage(statement: _Statement, grid: RadialLines, node: int, t: int) -> None:
    """Strictest bounds of the node's buses; slack by the change of |V| per MW at that node."""
    limits, index = statement.case.limits, statement.case.network.buses.index.tolist()
    rows = [row for row, bus in enumerate(index) if grid.node_of_bus.get(bus) == node]
    for sign, values, pick in ((1.0, limits.vm_pu_max, min), (-1.0, limits.vm_pu_min, max)):
        finite = [float(values[row]) for row in rows if np.isfinite(values[row])]
        if finite:
            bound = pick(finite)
            excess = sign * (statement.model.v[node, t] - bound**2) / (2.0 * bound)
            per_mw = max(grid.path_r_pu[node] / bound, 1e-9)
            statement.limit(excess, per_mw * statement.model.short.add())


def _add_tangents(
    statement: _Statement, grid: RadialLines, slack: dict[tuple[int, int], Any]
) -> bool:
    """Add a tangent to each circle |S| <= rating |V0| that is exceeded; False when none is."""
    model, v0 = statement.model, statement.case.network.slack_vm_pu
    percent = statement.case.limits.line_loading_percent_max
    added = False
    for node, line in grid.line_above.items():
        most = grid.rating_mva[node] * float(percent[line]) / 100.0 * v0
        if not np.isfinite(most):
            continue
        for t in statement.each:
            p, q = float(model.p[node, t].value), float(model.q[node, t].value)
            size = float(np.hypot(p, q))
            used = float(slack[node, t].value) if (node, t) in slack else 0.0
            if size - most - used <= 2e-7 * most:
                continue
            if (node, t) not in slack:
                slack[node, t] = model.short.add()
                model.objective.expr += statement.scarcity_eur_per_mw * slack[node, t]
            across = (p * model.p[node, t] + q * model.q[node, t]) / size
            statement.limit(across - most, slack[node, t])
            added = True
    return added


def solve_at_point(case: ClearingCase, point: LinearPoint) -> Statement:
    """Minimise the cost of a case whose network is linear around a point.

    Raises
    ------
    UnsupportedComponent
        Order kinds with integers.
    StatementNotSolved
        Contradicting orders, or the time limit.
    """
    statement = _Statement(case)
    model, book = statement.model, statement.book
    buses = case.network.buses.index.tolist()
    held = sorted({bus for bus, _ in [*book.p, *book.q]} & set(buses))
    row_of = {bus: row for row, bus in enumerate(buses)}
    for t in statement.each:
        # what stands at buses without any resource is part of the point's own constant
        moved = [
            (
                row_of[bus],
                book.bus_p(bus, t) - float(point.injection_mw[row_of[bus], t]),
                book.bus_q(bus, t) - float(point.injection_mvar[row_of[bus], t]),
            )
            for bus in held
        ]
        rest = [row for row in range(len(buses)) if buses[row] not in set(held)]
        away = -float(
            point.import_p[rest, t] @ point.injection_mw[rest, t]
            + point.import_q[rest, t] @ point.injection_mvar[rest, t]
        )
        change = sum(
            float(point.import_p[row, t]) * p + float(point.import_q[row, t]) * q
            for row, p, q in moved
        )
        model.rules.add(model.import_mw[t] == float(point.import_mw[t]) + change + away)
        for k in np.flatnonzero(point.period == t).tolist():
            lost = -float(
                point.limit_p[rest, k] @ point.injection_mw[rest, t]
                + point.limit_q[rest, k] @ point.injection_mvar[rest, t]
            )
            by_orders = sum(
                float(point.limit_p[row, k]) * p + float(point.limit_q[row, k]) * q
                for row, p, q in moved
            )
            excess = (float(point.excess[k]) + by_orders + lost) / float(point.scale[k])
            statement.limit(excess, model.short.add())
    statement.close()
    statement.solve()
    return statement.read(None)
