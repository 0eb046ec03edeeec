"""One integer choice of a market on the AC grid: the continuous engine with rows for what is left.

Integer orders are taken out of the case; the chosen ones come back as columns with bounds (ratio of
a block, reduction of a curtail order) and rows (one ratio for a whole profile, links, groups,
rebound). The optimiser for continuous orders, whose prices are proven elsewhere, does the rest.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from data.records.clearing import ClearingCase
from data.records.order import BlockOrder, CurtailOrder, Order
from opf.loss_curvature import build_flow_tree
from opf.one_direction import close_wrong_directions
from opf.power_flow import solve_state
from opf.prices import price_buses
from opf.problem import Problem, Tolerances, cost_eur, prepare_problem, step_programme
from opf.successive import optimise
from tests.support.integer_choices import (
    Choice,
    blocks_of,
    curtails_of,
    ratio_bounds,
    rebound_window,
    reducible_mw,
    runs_of,
    tan_phi,
)

Floats = NDArray[np.float64]
Entry = tuple[int, float]
# At the engine's own tolerances a cap may give way by 1e-6 MW and the cost of a choice by 1e-3 EUR.
SHARP: Final = Tolerances(kkt=2e-8, voltage_pu=1e-8, loading_share=1e-7, cap_mw=1e-7)


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedClearing:
    """The clearing of one choice.

    ``total_eur`` is cost plus penalty. ``injection_mw`` is what each accepted order injects as a
    whole, ``reduction_mw`` that of a curtail order before its rebound; shape (periods,) each.
    ``price``, ``price_q``: DLMPs by bus, shape (periods,). ``ratio``: of accepted blocks.
    """

    choice: Choice
    total_eur: float
    penalty_eur: float
    injection_mw: dict[str, Floats]
    reduction_mw: dict[str, Floats]
    ratio: dict[str, float]
    price: dict[int, Floats]
    price_q: dict[int, Floats]
    binding: bool
    converged: bool


@dataclass(slots=True)
class _Columns:
    """Columns and rows of a choice, numbered after those of the continuous orders."""

    first: int
    cost: list[float] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    period: list[int] = field(default_factory=list)
    entries: list[tuple[int, int, float, float]] = field(default_factory=list)
    rows: list[list[Entry]] = field(default_factory=list)
    rows_lower: list[float] = field(default_factory=list)

    def add(self, t: int, cost: float, lower: float, upper: float) -> int:
        for store, value in (
            (self.cost, cost), (self.lower, lower), (self.upper, upper), (self.period, t),
        ):  # fmt: skip
            store.append(value)  # type: ignore[attr-defined]
        return self.first + len(self.cost) - 1

    def is_fixed(self, column: int) -> bool:
        k = column - self.first
        return self.lower[k] == self.upper[k]

    def add_row(self, row: list[Entry], *, equal: bool) -> None:
        """Row = 0 or row <= 0; one of fixed columns alone holds by their bounds."""
        if all(self.is_fixed(column) for column, _ in row):
            return
        self.rows.append(row)
        self.rows_lower.append(0.0 if equal else -np.inf)


class FixedChoiceMarket:
    """A case whose integer choices can be cleared one after the other."""

    def __init__(self, case: ClearingCase) -> None:
        self.case = case
        self.h = case.periods.mtu_h
        self.blocks, self.curtails = blocks_of(case.orders), curtails_of(case.orders)
        assert all(block.asset is None and block.reactive is None for block in self.blocks)
        whole = (BlockOrder, CurtailOrder)
        rest = tuple(order for order in case.orders if not isinstance(order, whole))
        assert case.position_mw is None
        self.problem = prepare_problem(dataclasses.replace(case, orders=rest), SHARP)
        grid = self.problem.grid
        self.node_of_bus = dict(
            zip(case.network.buses.index.tolist(), grid.bus_node.tolist(), strict=True)
        )
        empty = np.zeros((grid.node_count, 1), dtype=complex)
        self._flat_vm = np.abs(solve_state(self.problem.solver, empty).v[:, 0])
        self.reducible = {order.id: reducible_mw(case, order) for order in self.curtails}
        self.tan = {order.id: tan_phi(case, order) for order in self.curtails}
        self._start = np.zeros(len(self.problem.resources.cost))

    def clear(self, choice: Choice) -> FixedClearing:
        """Optimise the rest of the market at a choice and price it."""
        add = _Columns(first=len(self.problem.resources.cost))
        of_block = self._add_blocks(add, choice)
        of_curtail = {
            order.id: self._add_curtail(add, order, pattern)
            for order, pattern in zip(self.curtails, choice.patterns, strict=True)
        }
        problem = self._with(add)
        least = np.array(add.lower)
        solution = optimise(problem, np.concatenate([self._start, least]))
        while (narrowed := close_wrong_directions(problem, solution.x)) is not None:
            problem = narrowed
            begin = np.clip(solution.x, problem.resources.lower, problem.resources.upper)
            solution = optimise(problem, begin)
        self._start = solution.x[: add.first]
        prices = price_buses(problem, solution.linearisation, solution.multipliers.limit).prices
        buses = self.case.network.buses.index.tolist()
        scarcity = self.case.limits.scarcity_price_eur_per_mwh
        at_scarcity = solution.multipliers.limit >= scarcity * (1 - 1e-5)
        slack = solution.slack[at_scarcity & (solution.slack > 1e-6)]
        penalty = scarcity * self.h * float(slack.sum())
        size = len(self.case.periods)
        injection, reduction, ratio = {}, {}, {}
        for block in self.blocks:
            if block.id in choice.accepted:
                t, column = next(iter(of_block[block.id].items()))
                ratio[block.id] = float(solution.x[column] / abs(block.profile_mw[t]))
                injection[block.id] = ratio[block.id] * block.profile_mw
        for order in self.curtails:
            power = np.zeros(size)
            reduced = np.zeros(size)
            on, again = of_curtail[order.id]
            for t, column in on.items():
                reduced[t] = solution.x[column]
            for t, column in again:
                power[t] -= solution.x[column]
            if on:
                injection[order.id], reduction[order.id] = power + reduced, reduced
        return FixedClearing(
            choice=choice,
            total_eur=cost_eur(problem, solution.x, solution.state) + penalty,
            penalty_eur=penalty,
            injection_mw=injection,
            reduction_mw=reduction,
            ratio=ratio,
            price=dict(zip(buses, prices.dlmp_p_eur_per_mwh, strict=True)),
            price_q=dict(zip(buses, prices.dlmp_q_eur_per_mvarh, strict=True)),
            binding=any(np.abs(part.p_eur_per_mwh).max() > 1e-3 for part in prices.parts),
            converged=solution.converged,
        )

    def _inject(self, add: _Columns, column: int, order: Order, p: float, q: float) -> None:
        for bus, share in order.buses:
            add.entries.append((column, self.node_of_bus[bus], share * p, share * q))

    def _add_blocks(self, add: _Columns, choice: Choice) -> dict[str, dict[int, int]]:
        """One column per period of an accepted profile, all at one ratio."""
        accepted = [block for block in self.blocks if block.id in choice.accepted]
        bounds = ratio_bounds(accepted)
        assert bounds is not None
        columns: dict[str, dict[int, int]] = {}
        unit: dict[str, Entry] = {}
        for block in accepted:
            least, most = bounds[block.id]
            own: dict[int, int] = {}
            for t in np.flatnonzero(block.profile_mw).tolist():
                power, sign = abs(block.profile_mw[t]), np.sign(block.profile_mw[t])
                cost = sign * block.price_eur_per_mwh[t] * self.h
                own[t] = add.add(t, float(cost), least * power, most * power)
                self._inject(add, own[t], block, float(sign), 0.0)
            first = next(iter(own))
            unit[block.id] = (own[first], 1.0 / abs(block.profile_mw[first]))
            for t, column in own.items():
                if t != first:
                    row = [(column, 1.0 / abs(block.profile_mw[t])), _minus(unit[block.id])]
                    add.add_row(row, equal=True)
            columns[block.id] = own
        for block in accepted:
            if block.parent is not None:
                add.add_row([unit[block.id], _minus(unit[block.parent])], equal=False)
        for group in sorted({b.exclusive_group for b in accepted if b.exclusive_group}):
            members = [unit[b.id] for b in accepted if b.exclusive_group == group]
            if len(members) > 1 and not all(add.is_fixed(column) for column, _ in members):
                # sum of ratios <= 1, written as sum - 1 x (a column fixed at one) <= 0
                one = add.add(0, 0.0, 1.0, 1.0)
                add.add_row([*members, (one, -1.0)], equal=False)
        return columns

    def _add_curtail(
        self, add: _Columns, order: CurtailOrder, pattern: tuple[bool, ...]
    ) -> tuple[dict[int, int], list[Entry]]:
        """Reduction in every on period, and the rebound of every run."""
        tan, on = self.tan[order.id], {}
        again: list[tuple[int, int]] = []
        for run in runs_of(pattern):
            for t in range(*run):
                cost = float(order.price_eur_per_mwh[t]) * self.h
                least, most = float(order.p_mw_min_on[t]), float(self.reducible[order.id][t])
                on[t] = add.add(t, cost, min(least, most), most)
                self._inject(add, on[t], order, 1.0, float(tan[t]))
            window = rebound_window(order, run)
            for t in window:
                part = order.rebound_share / len(window)
                reduced = [on[s] for s in range(*run)]
                if all(add.is_fixed(column) for column in reduced):
                    power = part * sum(add.lower[column - add.first] for column in reduced)
                    column = add.add(t, 0.0, power, power)
                else:
                    column = add.add(t, 0.0, 0.0, np.inf)
                    add.add_row([(column, 1.0), *((c, -part) for c in reduced)], equal=True)
                self._inject(add, column, order, -1.0, -float(tan[t]))
                again.append((t, column))
        return on, again

    def _with(self, add: _Columns) -> Problem:
        """The problem of the continuous orders with the columns and rows of a choice."""
        old = self.problem.resources
        period = np.concatenate([old.period, np.array(add.period, dtype=np.int64)])
        own = np.array(add.entries, dtype=float).reshape(-1, 4)
        column = np.concatenate([old.inject_column, own[:, 0].astype(np.int64)])
        by_period = np.argsort(period[column], kind="stable")
        node = np.concatenate([old.inject_node, own[:, 1].astype(np.int64)])
        count = add.first + len(add.cost)
        rows = sparse.lil_matrix((len(add.rows), count))
        for number, row in enumerate(add.rows):
            for at, value in row:
                rows[number, at] = value
        wide = sparse.csr_matrix(
            (old.rows.data, old.rows.indices, old.rows.indptr), shape=(old.rows.shape[0], count)
        )
        resources = dataclasses.replace(
            old,
            cost=np.concatenate([old.cost, add.cost]),
            lower=np.concatenate([old.lower, add.lower]),
            upper=np.concatenate([old.upper, add.upper]),
            period=period,
            inject_column=column[by_period],
            inject_node=node[by_period],
            inject_p=np.concatenate([old.inject_p, own[:, 2]])[by_period],
            inject_q=np.concatenate([old.inject_q, own[:, 3]])[by_period],
            rows=sparse.vstack([wide, rows.tocsr()], format="csr"),
            rows_lower=np.concatenate([old.rows_lower, add.rows_lower]),
            rows_upper=np.concatenate([old.rows_upper, np.zeros(len(add.rows))]),
        )
        nodes = np.unique(resources.inject_node)
        tree = build_flow_tree(self.problem.grid, nodes, self._flat_vm)
        programme = step_programme(self.case, self.problem.solver, resources, tree)
        return dataclasses.replace(self.problem, resources=resources, programme=programme)


def _minus(entry: Entry) -> Entry:
    return entry[0], -entry[1]
