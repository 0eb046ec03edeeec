"""The optimum of a small case by another code path: pandapower in the loop, nothing of the engine.

Every power flow is pandapower's ``runpp``; gradients come from pandapower's own admittance matrix
and derivative matrices at its solution, second derivatives from differences of gradients. Import
and limits are replaced by their quadratic models at the present point, SciPy's SLSQP optimises the
models, pandapower evaluates the answer, and this repeats until the answer stays.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from data.records.clearing import ClearingCase, ClearingResult
from data.records.order import DemandOrder, GenerationOrder, StorageOrder

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]

FLOW_TOLERANCE_MVA: Final = 1e-11
# Limits nearer than this [pu voltage, share of the rating, MW] enter the models; a solution that
# breaks one which did not is not accepted.
MARGIN: Final = 0.004
DIFFERENCE_MW: Final = 1e-4
# More than these at once, in one period, SLSQP would only be slowed by.
LIMITS_MAX: Final = 8
OBJECTIVE_SCALES: Final = (1.0, 0.03, 30.0, 0.001)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Decisions: one power of one order in one period, and linear rows that couple them."""

    bus: Ints
    period: Ints
    power: Complexes  # injection per unit of the decision
    cost_eur: Floats
    lower: Floats
    upper: Floats
    rows: Floats
    rows_max: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowPoint:
    """One period at one point: import, limits as g <= 0, and their slopes by injections."""

    import_mw: float
    limits: Floats
    import_slope: Complexes  # d/dp + j d/dq per bus
    limit_slope: Complexes  # shape (limits, buses)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuadraticModel:
    """Second-order models of one period: row 0 is the import, the others are chosen limits."""

    chosen: Ints
    curvature: Floats  # shape (1 + chosen, columns, columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """Where the optimisation ended; ``models`` may serve a neighbouring problem."""

    x: Floats
    cost_eur: float
    violation: float
    models: list[QuadraticModel]
    rounds: int


def read_columns(case: ClearingCase) -> Columns:
    """Turn orders into decisions; state of charge is written as sums of charge and discharge."""
    size, h = len(case.periods), case.periods.mtu_h
    bus, period, power, cost, lower, upper = [], [], [], [], [], []
    rows: list[dict[int, float]] = []
    rows_max: list[float] = []

    def add(at: int, t: int, unit: complex, price: float, least: float, most: float) -> int:
        for store, value in zip(
            (bus, period, power, cost, lower, upper),
            (at, t, unit, price * h, least, most),
            strict=True,
        ):
            store.append(value)
        return len(bus) - 1

    for order in case.orders:
        at = order.buses[0][0]
        assert order.buses[0][1] == 1.0
        if isinstance(order, GenerationOrder | DemandOrder):
            sign = 1.0 if isinstance(order, GenerationOrder) else -1.0
            assert order.ramp_mw_per_h is None
            assert not order.p_mw_min.any()
            for t in range(size):
                active = [
                    add(at, t, sign, sign * s.price_eur_per_mwh[t], 0.0, s.p_mw[t])
                    for s in order.steps
                ]
                if order.reactive is not None:
                    assert order.reactive.power_factor_min is not None
                    ratio = float(np.tan(np.arccos(order.reactive.power_factor_min)))
                    reach = ratio * sum(upper[k] for k in active)
                    q = add(at, t, 1j, 0.0, -reach, reach)
                    for side in (1.0, -1.0):
                        rows.append({q: side, **dict.fromkeys(active, -ratio)})
                        rows_max.append(0.0)
        else:
            assert isinstance(order, StorageOrder)
            assert order.self_discharge_per_day == 0.0
            assert order.energy_mwh_departure_min is None
            stored: dict[int, float] = {}
            for t in range(size):
                most = order.availability[t]
                stored[
                    add(
                        at,
                        t,
                        -1,
                        order.price_charge_eur_per_mwh[t],
                        0,
                        most * order.charge_mw_max[t],
                    )
                ] = h * order.efficiency_charge
                stored[
                    add(
                        at, t, 1, order.price_discharge_eur_per_mwh[t], 0,
                        most * order.discharge_mw_max[t],
                    )
                ] = -h / order.efficiency_discharge  # fmt: skip
                floor = order.energy_mwh_min
                if t == size - 1:
                    floor = max(floor, order.energy_mwh_end_min)
                rows.append(dict(stored))
                rows_max.append(order.energy_mwh_max - order.energy_mwh_start)
                rows.append({k: -v for k, v in stored.items()})
                rows_max.append(order.energy_mwh_start - floor)
    matrix = np.zeros((len(rows), len(bus)))
    for number, row in enumerate(rows):
        for k, value in row.items():
            matrix[number, k] = value
    return Columns(
        bus=np.array(bus), period=np.array(period), power=np.array(power, dtype=complex),
        cost_eur=np.array(cost, dtype=float), lower=np.array(lower, dtype=float),
        upper=np.array(upper, dtype=float), rows=matrix, rows_max=np.array(rows_max),
    )  # fmt: skip


class PandapowerFeeder:
    """Power flows, limits and slopes of one case, by pandapower.

    Buses must be numbered 0..n-1. Loads and generators of the network are replaced by one static
    generator per bus that carries the net injection.
    """

    def __init__(self, net: Any, case: ClearingCase) -> None:
        import pandapower as pp

        self.case, self.net = case, copy.deepcopy(net)
        buses = len(net.bus)
        assert list(net.bus.index) == list(range(buses))
        self.fixed = np.zeros((len(case.periods), buses), dtype=complex)
        np.add.at(
            self.fixed.T, net.load.bus.to_numpy(), -(case.load_p_mw + 1j * case.load_q_mvar).T
        )
        np.add.at(self.fixed.T, net.sgen.bus.to_numpy(), (case.sgen_p_mw + 1j * case.sgen_q_mvar).T)
        self.net.load.drop(self.net.load.index, inplace=True)
        self.net.sgen.drop(self.net.sgen.index, inplace=True)
        for bus in range(buses):
            pp.create_sgen(self.net, bus, p_mw=0.0)
        pp.runpp(self.net, tolerance_mva=FLOW_TOLERANCE_MVA)
        self.slack = int(net.ext_grid.bus.iloc[0])
        self._seen: dict[bytes, FlowPoint] = {}

    def run(self, injection: Complexes) -> None:
        """Solve the power flow of one period."""
        import pandapower as pp

        self.net.sgen["p_mw"] = injection.real
        self.net.sgen["q_mvar"] = injection.imag
        pp.runpp(
            self.net, tolerance_mva=FLOW_TOLERANCE_MVA, init="results",
            recycle={"bus_pq": True, "trafo": False, "gen": False},
        )  # fmt: skip

    def point(self, injection: Complexes) -> FlowPoint:
        """Evaluate one period; what was evaluated before is remembered."""
        key = injection.tobytes()
        if key not in self._seen:
            self.run(injection)
            self._seen[key] = self._read_point()
        return self._seen[key]

    def _read_point(self) -> FlowPoint:
        from pandapower.pypower.dSbus_dV import dSbus_dV

        net, limits = self.net, self.case.limits
        inside = net._ppc["internal"]
        y, v = inside["Ybus"], inside["V"]
        at = net._pd2ppc_lookups["bus"][: len(net.bus)]
        assert np.allclose(np.abs(v[at]), net.res_bus.vm_pu, atol=1e-12)
        free = np.flatnonzero(np.arange(len(v)) != at[self.slack])
        by_vm, by_va = (d.toarray() for d in dSbus_dV(y, v))
        jacobian = np.block(
            [[by_va.real[np.ix_(free, free)], by_vm.real[np.ix_(free, free)]],
             [by_va.imag[np.ix_(free, free)], by_vm.imag[np.ix_(free, free)]]]
        )  # fmt: skip
        inverse = np.linalg.inv(jacobian)
        angle = np.zeros((len(v), inverse.shape[1]))
        angle[free] = inverse[: len(free)]
        size = np.zeros_like(angle)
        size[free] = inverse[len(free) :]
        # dV of every node by p of every free node, then by q
        voltage_slope = (1j * v)[:, None] * angle + (v / np.abs(v))[:, None] * size
        slack = at[self.slack]
        grid_slope = by_va[slack].real @ angle + by_vm[slack].real @ size
        values, slopes = [], []
        vm = np.abs(v[at])
        others = np.flatnonzero(np.arange(len(vm)) != self.slack)
        for sign, bound in ((1.0, limits.vm_pu_max), (-1.0, limits.vm_pu_min)):
            values.append(sign * (vm - bound)[others])
            slopes.append(sign * size[at][others])
        base_mva = float(inside["baseMVA"])
        for kind, table, percent in (
            ("line", net.line, limits.line_loading_percent_max),
            ("trafo", net.trafo, limits.trafo_loading_percent_max),
        ):
            first, last = net._pd2ppc_lookups["branch"].get(kind, (0, 0))
            for matrix, side in ((inside["Yf"], 0), (inside["Yt"], 1)):
                ends = matrix[first:last]
                current = ends @ v
                rated = self._rated_pu(kind, table, side, base_mva) * percent / 100.0
                values.append(np.abs(current) / rated - 1.0)
                direction = np.conj(current) / np.maximum(np.abs(current), 1e-12) / rated
                slopes.append((direction[:, None] * (ends @ voltage_slope)).real)
        grid_mw = float(net.res_ext_grid.p_mw.sum())
        for sign, cap in ((1.0, self.case.import_mw_max), (-1.0, self.case.export_mw_max)):
            if cap is not None:
                values.append(np.array([sign * grid_mw - cap]))
                slopes.append(sign * grid_slope[None, :] * base_mva)
        return FlowPoint(
            import_mw=grid_mw,
            limits=np.concatenate(values),
            import_slope=self._by_bus(grid_slope[None, :] * base_mva, at, free, base_mva)[0],
            limit_slope=self._by_bus(np.vstack(slopes), at, free, base_mva),
        )

    def _rated_pu(self, kind: str, table: Any, side: int, base_mva: float) -> Floats:
        """Current at 100 % loading, as pandapower defines loading."""
        if kind == "line":
            vn = self.net.bus.vn_kv.loc[table.from_bus].to_numpy()
            amps = table.max_i_ka * table.df * table.parallel
            return np.asarray(amps * vn * np.sqrt(3.0) / base_mva)
        end, rated = (("hv_bus", "vn_hv_kv"), ("lv_bus", "vn_lv_kv"))[side]
        vn = self.net.bus.vn_kv.loc[table[end]].to_numpy()
        return np.asarray(table.sn_mva * table.parallel * vn / table[rated] / base_mva)

    @staticmethod
    def _by_bus(slope: Floats, at: Ints, free: Ints, base_mva: float) -> Complexes:
        """Order slopes by pandapower bus; the substation's own are zero."""
        count = int(max(at.max(), free.max())) + 1
        by_node = np.zeros((len(slope), count), dtype=complex)
        by_node[:, free] = slope[:, : len(free)] + 1j * slope[:, len(free) :]
        return by_node[:, at] / base_mva


class IndependentOptimum:
    """Optimise a case, and the same case with a little more withdrawal somewhere."""

    def __init__(self, net: Any, case: ClearingCase) -> None:
        self.case = case
        self.columns = read_columns(case)
        self.feeder = PandapowerFeeder(net, case)
        self.price_eur = case.import_price_eur_per_mwh * case.periods.mtu_h

    def injection(self, x: Floats, extra: dict[tuple[int, int], complex]) -> Complexes:
        """Net injection of every period and bus; ``extra`` is (period, bus) -> withdrawal."""
        total = self.feeder.fixed.copy()
        c = self.columns
        np.add.at(total, (c.period, c.bus), c.power * x)
        for (t, bus), withdrawal in extra.items():
            total[t, bus] -= withdrawal
        return total

    def cost(self, x: Floats, points: list[FlowPoint]) -> float:
        """Cost of orders and import [EUR]."""
        bought = sum(p * point.import_mw for p, point in zip(self.price_eur, points, strict=True))
        return float(self.columns.cost_eur @ x + bought)

    def solve(
        self,
        x: Floats,
        *,
        extra: dict[tuple[int, int], complex] | None = None,
        models: list[QuadraticModel] | None = None,
        rounds_max: int = 40,
        reach_mw: float = np.inf,
    ) -> Optimum:
        """Optimise from ``x``; quadratic models are made anew each round unless they are given.

        Raises
        ------
        RuntimeError
            When the answer does not come to rest.
        """
        more = extra or {}
        x = start = np.clip(x, self.columns.lower, self.columns.upper)
        kept = models
        for number in range(rounds_max):
            injection = self.injection(x, more)
            points = [self.feeder.point(row) for row in injection]
            used = kept or self._make_models(injection, points)
            new = self._optimise_models(x, points, used, reach_mw)
            here = self.cost(x, points)
            new_points = [self.feeder.point(row) for row in self.injection(new, more)]
            violation = max(float(p.limits.max()) for p in new_points)
            missed = [
                np.setdiff1d(np.flatnonzero(p.limits > 1e-10), m.chosen).size
                for p, m in zip(new_points, used, strict=True)
            ]
            if any(missed):
                kept = None
            if number == rounds_max // 4 and models is not None:
                # Models of another point sent it to and fro: from the start again with its own.
                kept, x = None, start
                continue
            step = float(np.abs(new - x).max(initial=0.0))
            gain = abs(self.cost(new, new_points) - here)
            x = new
            if violation <= 1e-9 and (step <= 1e-7 or gain <= 1e-10) and number > 0:
                return Optimum(
                    x=x, cost_eur=self.cost(x, new_points), violation=violation, models=used,
                    rounds=number + 1,
                )  # fmt: skip
        raise RuntimeError(f"no rest after {rounds_max} rounds: step {step:.2g}, {violation:.2g}")

    def _columns_at(self, t: int) -> Ints:
        return np.flatnonzero(self.columns.period == t)

    def _slopes(self, point: FlowPoint, t: int, chosen: Ints) -> Floats:
        """Slopes of import and chosen limits by the columns of a period."""
        c, at = self.columns, self._columns_at(t)
        by_bus = np.vstack([point.import_slope[None, :], point.limit_slope[chosen]])
        return np.asarray((np.conj(by_bus[:, c.bus[at]]) * c.power[at]).real)

    def _make_models(self, injection: Complexes, points: list[FlowPoint]) -> list[QuadraticModel]:
        made = []
        c = self.columns
        for t, point in enumerate(points):
            at = self._columns_at(t)
            nearest = np.argsort(-point.limits, kind="stable")[:LIMITS_MAX]
            chosen = np.sort(nearest[point.limits[nearest] > -MARGIN])
            here = self._slopes(point, t, chosen)
            curvature = np.zeros((1 + len(chosen), len(at), len(at)))
            for k, column in enumerate(at):
                moved = injection[t].copy()
                moved[c.bus[column]] += DIFFERENCE_MW * c.power[column]
                there = self._slopes(self.feeder.point(moved), t, chosen)
                curvature[:, k, :] = (there - here) / DIFFERENCE_MW
            made.append(
                QuadraticModel(
                    chosen=chosen, curvature=0.5 * (curvature + curvature.transpose(0, 2, 1))
                )
            )
        return made

    def _optimise_models(
        self, x: Floats, points: list[FlowPoint], models: list[QuadraticModel], reach_mw: float
    ) -> Floats:
        """Optimise the quadratic models by SLSQP, starting from no change."""
        c = self.columns
        size = len(x)
        values, slopes, bends, price = [], [], [], c.cost_eur.copy()
        cost_bend = np.zeros((size, size))
        for t, (point, model) in enumerate(zip(points, models, strict=True)):
            at = self._columns_at(t)
            slope = self._slopes(point, t, model.chosen)
            price[at] += self.price_eur[t] * slope[0]
            cost_bend[np.ix_(at, at)] = self.price_eur[t] * model.curvature[0]
            wide = np.zeros((len(model.chosen), size))
            wide[:, at] = slope[1:]
            bend = np.zeros((len(model.chosen), size, size))
            bend[:, at[:, None], at[None, :]] = model.curvature[1:]
            values.append(point.limits[model.chosen])
            slopes.append(wide)
            bends.append(bend)
        g, dg, ddg = np.concatenate(values), np.vstack(slopes), np.concatenate(bends)
        room = c.rows_max - c.rows @ x

        def limits(d: Floats) -> Floats:
            return np.concatenate([-(g + dg @ d + 0.5 * (ddg @ d) @ d), room - c.rows @ d])

        def limits_slope(d: Floats) -> Floats:
            return np.vstack([-(dg + ddg @ d), -c.rows])

        bounds = list(
            zip(np.maximum(c.lower - x, -reach_mw), np.minimum(c.upper - x, reach_mw), strict=True)
        )
        best = np.zeros(size)
        for scale in OBJECTIVE_SCALES:
            # its line search can stop at a slightly infeasible start; another scale moves it on
            found = optimize.minimize(
                lambda d, scale: scale * (price @ d + 0.5 * d @ cost_bend @ d),
                np.zeros(size),
                args=(scale,),
                jac=lambda d, scale: scale * (price + cost_bend @ d),
                bounds=bounds,
                constraints=[
                    {
                        "type": "ineq",
                        "fun": lambda d, _: limits(d),
                        "jac": lambda d, _: limits_slope(d),
                        "args": (scale,),
                    }
                ],
                method="SLSQP",
                options={"ftol": 1e-13, "maxiter": 500},
            )
            best = found.x
            if limits(best).min(initial=0.0) > -1e-10:
                break
        return np.clip(x + best, c.lower, c.upper)


def decisions_of(case: ClearingCase, result: ClearingResult) -> Floats:
    """Awards as decisions of `read_columns`: a place to start from, nothing more."""
    award_of = {award.order: award for award in result.awards}
    x: list[float] = []
    for order in case.orders:
        award = award_of[order.id]
        for t in range(len(case.periods)):
            if isinstance(order, StorageOrder):
                assert award.charge_mw is not None
                assert award.discharge_mw is not None
                x += [award.charge_mw[t], award.discharge_mw[t]]
                continue
            assert isinstance(order, GenerationOrder | DemandOrder)
            left = abs(float(award.injection_mw[0, t]))
            for step in order.steps:
                x.append(min(left, step.p_mw[t]))
                left -= x[-1]
            if order.reactive is not None:
                x.append(float(award.injection_mvar[0, t]))
    return np.array(x)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceComparison:
    """A published price beside the slopes of the re-solved optimum, all [EUR/MWh]."""

    bus: int
    period: int
    reactive: bool
    price: float
    slope_below: float
    slope_above: float

    @property
    def error(self) -> float:
        """Distance from the central difference, relative to the price (at least 1 EUR/MWh)."""
        central = 0.5 * (self.slope_below + self.slope_above)
        return abs(self.price - central) / max(1.0, abs(self.price))

    def agrees(self, tolerance: float) -> bool:
        """Equal to the central difference, or between the one-sided slopes at a kink."""
        low, high = sorted((self.slope_below, self.slope_above))
        slack = tolerance * max(1.0, abs(self.price))
        return self.error <= tolerance or low - slack <= self.price <= high + slack


def compare_prices(
    solver: IndependentOptimum,
    base: Optimum,
    result: ClearingResult,
    places: list[tuple[int, int, bool]],
    step_mw: float = 1e-3,
) -> list[PriceComparison]:
    """Compare prices at (bus, period, reactive) with differences of the re-solved optimum."""
    per_unit = step_mw * solver.case.periods.mtu_h
    found = []
    for bus, t, reactive in places:
        unit = 1j if reactive else 1.0
        more, less = (
            solver.solve(base.x, extra={(t, bus): sign * step_mw * unit}, models=base.models)
            for sign in (1.0, -1.0)
        )
        prices = result.prices
        table = prices.dlmp_q_eur_per_mvarh if reactive else prices.dlmp_p_eur_per_mwh
        found.append(
            PriceComparison(
                bus=bus,
                period=t,
                reactive=reactive,
                price=float(table[bus, t]),
                slope_below=(base.cost_eur - less.cost_eur) / per_unit,
                slope_above=(more.cost_eur - base.cost_eur) / per_unit,
            )
        )
    return found
