"""The order book stated a second time, in Pyomo, from the market's rules (docs/market.md).

One constraint per sentence of the rules; nothing of `opf.resources` is used, so that a mistake in
one of the two shows as a difference in cost.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import UnsupportedComponent
from data.records.clearing import ClearingCase
from data.records.order import (
    BilateralOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    ShiftOrder,
    StorageOrder,
)

Floats = NDArray[np.float64]


class OrderBook:
    """Order book as Pyomo variables; collects injections by (bus, period) and cost."""

    def __init__(self, model: Any, case: ClearingCase) -> None:  # noqa: ANN401
        import pyomo.environ as pyo

        self.model, self.case = model, case
        self.h = case.periods.mtu_h
        self.each = range(len(case.periods))
        self.p: dict[tuple[int, int], list[Any]] = defaultdict(list)
        self.q: dict[tuple[int, int], list[Any]] = defaultdict(list)
        self.cost: list[Any] = []
        self.active: dict[str, list[Any]] = {}
        model.rules = pyo.ConstraintList()
        self._take_fixed()
        for number, order in enumerate(case.orders):
            block = pyo.Block()
            model.add_component(f"order_{number}", block)
            if isinstance(order, GenerationOrder | DemandOrder):
                self._steps(block, order)
            elif isinstance(order, StorageOrder):
                self._storage(block, order)
            elif isinstance(order, ShiftOrder):
                self._shift(block, order)
            elif isinstance(order, BilateralOrder):
                self._bilateral(block, order)
            else:
                raise UnsupportedComponent(
                    f"order {order.id}: the second statement has no integers"
                )

    def _take_fixed(self) -> None:
        """Loads and sgens that no order names; a named load's q at p = 0 stays fixed."""
        case, network = self.case, self.case.network
        named = {order.asset for order in case.orders}
        for kind, table, p, q, sign in (
            ("load", network.loads, case.load_p_mw, case.load_q_mvar, -1.0),
            ("sgen", network.sgens, case.sgen_p_mw, case.sgen_q_mvar, 1.0),
        ):
            for k, bus in enumerate(table.bus.tolist()):
                if not table.in_service[k]:
                    continue
                ordered = f"{kind}:{int(table.index[k])}" in named
                for t in self.each:
                    if not ordered:
                        self.p[bus, t].append(sign * float(p[t, k]))
                        self.q[bus, t].append(sign * float(q[t, k]))
                    elif kind == "load" and p[t, k] <= 0.0:
                        self.q[bus, t].append(sign * float(q[t, k]))

    def _inject(self, order: Order, p: list[Any], q: list[Any] | None) -> None:
        """Spread an order's injection over its buses."""
        self.active[order.id] = p
        for bus, share in order.buses:
            for t in self.each:
                self.p[bus, t].append(share * p[t])
                if q is not None:
                    self.q[bus, t].append(share * q[t])

    def _load_factor(self, order: Order) -> Floats:
        """Mvar per MW that the order's load draws by its own power factor."""
        factor = np.zeros(len(self.each))
        if order.asset is not None and order.asset.startswith("load:"):
            k = self.case.network.loads.index.tolist().index(int(order.asset[5:]))
            for t in self.each:
                if self.case.load_p_mw[t, k] > 0.0:
                    factor[t] = self.case.load_q_mvar[t, k] / self.case.load_p_mw[t, k]
        return factor

    def _reactive(self, block: Any, order: Order, throughput: list[Any]) -> list[Any] | None:  # noqa: ANN401
        """Bounds on q, and |q| <= p tan(acos(power factor)) with p the power exchanged."""
        import pyomo.environ as pyo

        given = order.reactive
        if given is None:
            return None
        block.q = pyo.Var(self.each)
        for t in self.each:
            if given.q_mvar_min is not None:
                block.q[t].setlb(float(given.q_mvar_min[t]))
            if given.q_mvar_max is not None:
                block.q[t].setub(float(given.q_mvar_max[t]))
            if given.power_factor_min is not None:
                ratio = math.tan(math.acos(given.power_factor_min))
                self.model.rules.add(block.q[t] <= ratio * throughput[t])
                self.model.rules.add(-block.q[t] <= ratio * throughput[t])
        return [block.q[t] for t in self.each]

    def _steps(self, block: Any, order: GenerationOrder | DemandOrder) -> None:  # noqa: ANN401
        """A price curve: what it takes of each step, must-run in total, ramp both ways."""
        import pyomo.environ as pyo

        sells = isinstance(order, GenerationOrder)
        block.take = pyo.Var(range(len(order.steps)), self.each, within=pyo.NonNegativeReals)
        total = [sum(block.take[k, t] for k in range(len(order.steps))) for t in self.each]
        for t in self.each:
            for k, step in enumerate(order.steps):
                block.take[k, t].setub(float(step.p_mw[t]))
                price = float(step.price_eur_per_mwh[t])
                self.cost.append((1.0 if sells else -1.0) * self.h * price * block.take[k, t])
            if order.p_mw_min[t] > 0.0:
                self.model.rules.add(total[t] >= float(order.p_mw_min[t]))
        if order.ramp_mw_per_h is not None:
            most = order.ramp_mw_per_h * self.h
            earlier = [order.p_mw_before, *total[:-1]]
            for now, before in zip(total, earlier, strict=True):
                if before is not None:
                    self.model.rules.add(now - before <= most)
                    self.model.rules.add(before - now <= most)
        if sells:
            self._inject(order, total, self._reactive(block, order, total))
            return
        q = self._reactive(block, order, total)
        if q is None:
            factor = self._load_factor(order)
            q = [-float(factor[t]) * total[t] for t in self.each]
        self._inject(order, [-power for power in total], q)

    def _storage(self, block: Any, order: StorageOrder) -> None:  # noqa: ANN401
        """e_t = e_(t-1) (1-self)^(h/24) + eff_c h c - h d / eff_d, within its bounds."""
        import pyomo.environ as pyo

        h = self.h
        block.charge = pyo.Var(self.each, within=pyo.NonNegativeReals)
        block.discharge = pyo.Var(self.each, within=pyo.NonNegativeReals)
        block.energy = pyo.Var(
            self.each, bounds=(float(order.energy_mwh_min), float(order.energy_mwh_max))
        )
        kept = (1.0 - order.self_discharge_per_day) ** (h / 24.0)
        before: Any = order.energy_mwh_start
        for t in self.each:
            charge, discharge = block.charge[t], block.discharge[t]
            charge.setub(float(order.charge_mw_max[t] * order.availability[t]))
            discharge.setub(float(order.discharge_mw_max[t] * order.availability[t]))
            self.model.rules.add(
                block.energy[t]
                == kept * before
                + order.efficiency_charge * h * charge
                - h / order.efficiency_discharge * discharge
            )
            before = block.energy[t]
            self.cost.append(h * float(order.price_charge_eur_per_mwh[t]) * charge)
            self.cost.append(h * float(order.price_discharge_eur_per_mwh[t]) * discharge)
        self.model.rules.add(before >= order.energy_mwh_end_min)
        plugged = [t for t in self.each if order.availability[t] > 0.0]
        if order.energy_mwh_departure_min is not None and plugged:
            self.model.rules.add(block.energy[plugged[-1]] >= order.energy_mwh_departure_min)
        through = [block.charge[t] + block.discharge[t] for t in self.each]
        net = [block.discharge[t] - block.charge[t] for t in self.each]
        self._inject(order, net, self._reactive(block, order, through))

    def _shift(self, block: Any, order: ShiftOrder) -> None:  # noqa: ANN401
        """Withdrawal keeps each window's energy; half the distance to the baseline is paid."""
        import pyomo.environ as pyo

        block.p = pyo.Var(self.each)
        block.away = pyo.Var(self.each, within=pyo.NonNegativeReals)
        for t in self.each:
            baseline = float(order.baseline_mw[t])
            block.p[t].setlb(float(order.p_mw_min[t]))
            block.p[t].setub(float(order.p_mw_max[t]))
            self.model.rules.add(block.away[t] >= block.p[t] - baseline)
            self.model.rules.add(block.away[t] >= baseline - block.p[t])
            price = float(order.price_eur_per_mwh[t])
            self.cost.append(price * self.h * 0.5 * block.away[t])
        for first in range(0, len(self.each), order.window_periods):
            window = list(self.each)[first : first + order.window_periods]
            energy = float(sum(order.baseline_mw[t] for t in window))
            self.model.rules.add(sum(block.p[t] for t in window) == energy)
        power = [block.p[t] for t in self.each]
        q = self._reactive(block, order, power)
        if q is None:
            factor = self._load_factor(order)
            q = [-float(factor[t]) * power[t] for t in self.each]
        self._inject(order, [-drawn for drawn in power], q)

    def _bilateral(self, block: Any, order: BilateralOrder) -> None:  # noqa: ANN401
        """+p at its bus and -p at ``bus_to``; the price is what network use may cost."""
        import pyomo.environ as pyo

        block.p = pyo.Var(self.each, within=pyo.NonNegativeReals)
        for t in self.each:
            block.p[t].setub(float(order.p_mw[t]))
            self.cost.append(-self.h * float(order.price_eur_per_mwh[t]) * block.p[t])
        power = [block.p[t] for t in self.each]
        self._inject(order, power, None)
        for t in self.each:
            self.p[order.bus_to, t].append(-power[t])

    def bus_p(self, bus: int, t: int) -> Any:  # noqa: ANN401
        """Net active injection at a bus [MW]."""
        return sum(self.p.get((bus, t), [])) + 0.0

    def bus_q(self, bus: int, t: int) -> Any:  # noqa: ANN401
        """Net reactive injection at a bus [Mvar]."""
        return sum(self.q.get((bus, t), [])) + 0.0
