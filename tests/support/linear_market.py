"""One integer choice of a market without losses, as one linear programme in SciPy (HiGHS).

A copper plate with line limits in MW, written from the market rules: it shares no code with the
engine. Lines must have next to no impedance and all power must be active, so that AC physics says
the same. Prices are the duals of the bus balances.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_matrix

from data.records.clearing import ClearingCase
from data.records.order import (
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    StorageOrder,
)
from tests.support.fixed_choice import FixedClearing
from tests.support.integer_choices import (
    Choice,
    blocks_of,
    curtails_of,
    rebound_window,
    reducible_mw,
    runs_of,
)

Floats = NDArray[np.float64]
OHM_PER_KM_MAX: Final = 1e-3
Row = dict[int, float]


@dataclass(slots=True)
class _Programme:
    """Columns, rows <=, and what every column puts into the balance of a bus and period."""

    cost: list[float] = field(default_factory=list)
    bounds: list[tuple[float | None, float | None]] = field(default_factory=list)
    balance: list[tuple[int, int, int, float]] = field(default_factory=list)
    below: list[tuple[Row, float]] = field(default_factory=list)

    def add(self, cost: float, low: float | None, high: float | None) -> int:
        self.cost.append(cost)
        self.bounds.append((low, high))
        return len(self.cost) - 1

    def inject(self, column: int, order: Order, t: int, mw: float) -> None:
        for bus, share in order.buses:
            self.balance.append((column, bus, t, share * mw))

    def copy(self) -> _Programme:
        return _Programme(
            *(list(getattr(self, each.name)) for each in dataclasses.fields(_Programme))
        )


class LinearMarket:
    """A case whose integer choices can be cleared one after the other."""

    def __init__(self, case: ClearingCase) -> None:
        lines, trafos = case.network.lines, case.network.trafos
        assert np.all(lines.r_ohm_per_km <= OHM_PER_KM_MAX)
        assert np.all(lines.x_ohm_per_km <= OHM_PER_KM_MAX)
        assert len(trafos.index) == 0
        assert not case.load_q_mvar.any()
        assert not case.sgen_p_mw.any()
        assert case.network.slack_vm_pu == 1.0
        self.case = case
        self.h = case.periods.mtu_h
        self.size = len(case.periods)
        self.row_of = {bus: k for k, bus in enumerate(case.network.buses.index.tolist())}
        self.load = np.zeros((len(self.row_of), self.size))
        for k, bus in enumerate(case.network.loads.bus.tolist()):
            self.load[self.row_of[bus]] += case.load_p_mw[:, k]
        self.slack_columns: list[int] = []
        self.rest = _Programme()
        self._add_grid()
        for order in case.orders:
            if isinstance(order, GenerationOrder | DemandOrder):
                self._add_steps(order)
            elif isinstance(order, StorageOrder):
                self._add_storage(order)
            else:
                assert isinstance(order, BlockOrder | CurtailOrder)

    def _add_limit(self, row: Row, most: float | None) -> None:
        """Row <= most, or more at the scarcity price."""
        if most is None:
            return
        price = self.case.limits.scarcity_price_eur_per_mwh * self.h
        slack = self.rest.add(price, 0.0, None)
        self.slack_columns.append(slack)
        self.rest.below.append(({**row, slack: -1.0}, most))

    def _add_grid(self) -> None:
        case, lines = self.case, self.case.network.lines
        limit = case.limits.line_loading_percent_max / 100.0 * lines.max_i_ka * np.sqrt(3.0)
        for t in range(self.size):
            bought = self.rest.add(float(case.import_price_eur_per_mwh[t]) * self.h, None, None)
            self.rest.balance.append((bought, case.network.slack_bus, t, 1.0))
            self._add_limit({bought: 1.0}, case.import_mw_max)
            self._add_limit({bought: -1.0}, case.export_mw_max)
            for k, (start, end) in enumerate(zip(lines.from_bus, lines.to_bus, strict=True)):
                flow = self.rest.add(0.0, None, None)
                self.rest.balance += [(flow, int(start), t, -1.0), (flow, int(end), t, 1.0)]
                vn_kv = case.network.buses.vn_kv[self.row_of[int(start)]]
                self._add_limit({flow: 1.0}, float(limit[k] * vn_kv))
                self._add_limit({flow: -1.0}, float(limit[k] * vn_kv))

    def _add_steps(self, order: GenerationOrder | DemandOrder) -> None:
        assert not order.p_mw_min.any()
        assert order.ramp_mw_per_h is None
        sign = 1.0 if isinstance(order, GenerationOrder) else -1.0
        for step in order.steps:
            for t in range(self.size):
                cost = sign * float(step.price_eur_per_mwh[t]) * self.h
                self.rest.inject(self.rest.add(cost, 0.0, float(step.p_mw[t])), order, t, sign)

    def _add_storage(self, order: StorageOrder) -> None:
        assert order.self_discharge_per_day == 0.0
        held: Row = {}
        for t in range(self.size):
            into = self.rest.add(
                float(order.price_charge_eur_per_mwh[t]) * self.h, 0.0,
                float(order.charge_mw_max[t] * order.availability[t]),
            )  # fmt: skip
            out = self.rest.add(
                float(order.price_discharge_eur_per_mwh[t]) * self.h, 0.0,
                float(order.discharge_mw_max[t] * order.availability[t]),
            )  # fmt: skip
            self.rest.inject(into, order, t, -1.0)
            self.rest.inject(out, order, t, 1.0)
            held[into] = order.efficiency_charge * self.h
            held[out] = -self.h / order.efficiency_discharge
            floor = order.energy_mwh_end_min if t == self.size - 1 else order.energy_mwh_min
            self.rest.below.append((dict(held), order.energy_mwh_max - order.energy_mwh_start))
            least = {column: -value for column, value in held.items()}
            self.rest.below.append((least, order.energy_mwh_start - floor))

    def clear(self, choice: Choice) -> FixedClearing:
        """Solve one choice: ratios and reductions are columns, integers are not."""
        programme = self.rest.copy()
        ratio = self._add_blocks(programme, choice)
        reduced = self._add_curtails(programme, choice)
        x, duals, total = self._solve(programme)
        injection = {
            block.id: float(x[ratio[block.id]]) * block.profile_mw
            for block in blocks_of(self.case.orders)
            if block.id in ratio
        }
        reduction = {}
        for name, (columns, again) in reduced.items():
            if columns:
                power = np.zeros(self.size)
                for t, column in columns.items():
                    power[t] = x[column]
                reduction[name] = power.copy()
                for t, column, part in again:
                    power[t] -= part * x[column]
                injection[name] = power
        price = {bus: duals[row] / self.h for bus, row in self.row_of.items()}
        scarcity = self.case.limits.scarcity_price_eur_per_mwh * self.h
        limited = np.array([price[bus] for bus in self.row_of])
        return FixedClearing(
            choice=choice,
            total_eur=total,
            penalty_eur=scarcity * float(x[self.slack_columns].sum()),
            injection_mw=injection,
            reduction_mw=reduction,
            ratio={name: float(x[column]) for name, column in ratio.items()},
            price=price,
            price_q={bus: np.zeros(self.size) for bus in price},
            binding=bool(np.abs(limited - self.case.import_price_eur_per_mwh).max() > 1e-3),
            converged=True,
        )

    def _add_blocks(self, programme: _Programme, choice: Choice) -> dict[str, int]:
        accepted = [b for b in blocks_of(self.case.orders) if b.id in choice.accepted]
        ratio = {}
        for block in accepted:
            cost = self.h * float(block.profile_mw @ block.price_eur_per_mwh)
            ratio[block.id] = programme.add(cost, block.acceptance_min, 1.0)
            for t in np.flatnonzero(block.profile_mw).tolist():
                programme.inject(ratio[block.id], block, t, float(block.profile_mw[t]))
        groups: dict[str, Row] = {}
        for block in accepted:
            if block.parent is not None:
                programme.below.append(({ratio[block.id]: 1.0, ratio[block.parent]: -1.0}, 0.0))
            if block.exclusive_group is not None:
                groups.setdefault(block.exclusive_group, {})[ratio[block.id]] = 1.0
        programme.below += [(members, 1.0) for members in groups.values()]
        return ratio

    def _add_curtails(
        self, programme: _Programme, choice: Choice
    ) -> dict[str, tuple[dict[int, int], list[tuple[int, int, float]]]]:
        """Columns of the reductions by period, and (period, column, part) of their rebounds."""
        found = {}
        for order, pattern in zip(curtails_of(self.case.orders), choice.patterns, strict=True):
            columns: dict[int, int] = {}
            again = []
            most = reducible_mw(self.case, order)
            for run in runs_of(pattern):
                window = rebound_window(order, run)
                for t in range(*run):
                    cost = float(order.price_eur_per_mwh[t]) * self.h
                    low, high = float(order.p_mw_min_on[t]), float(most[t])
                    columns[t] = programme.add(cost, min(low, high), high)
                    programme.inject(columns[t], order, t, 1.0)
                    part = order.rebound_share / max(len(window), 1)
                    again += [(s, columns[t], part) for s in window]
            for s, column, part in again:
                programme.inject(column, order, s, -part)
            found[order.id] = (columns, again)
        return found

    def _solve(self, programme: _Programme) -> tuple[Floats, Floats, float]:
        """Solution, duals of the balances by bus and period, and cost."""
        count = len(programme.cost)
        column, bus, period, value = (
            np.array(part) for part in zip(*programme.balance, strict=False)
        )
        row = np.array([self.row_of[b] for b in bus.tolist()]) * self.size + period
        balance = csr_matrix((value, (row, column)), shape=(self.load.size, count))
        below = csr_matrix(
            (
                [v for entries, _ in programme.below for v in entries.values()],
                (
                    [k for k, (entries, _) in enumerate(programme.below) for _ in entries],
                    [c for entries, _ in programme.below for c in entries],
                ),
            ),
            shape=(len(programme.below), count),
        )
        solved = linprog(
            programme.cost,
            A_ub=below if programme.below else None,
            b_ub=[most for _, most in programme.below] if programme.below else None,
            A_eq=balance, b_eq=self.load.reshape(-1), bounds=programme.bounds, method="highs-ds",
        )  # fmt: skip
        assert solved.status == 0, solved.message
        duals = np.asarray(solved.eqlin.marginals).reshape(self.load.shape)
        return np.asarray(solved.x), duals, float(solved.fun)
