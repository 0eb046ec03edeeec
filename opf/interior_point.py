"""A primal-dual interior point method on the AC problem itself: one power flow for each step.

    min  cost(x) + scarcity h sum s     s.t.  R x in [lower, upper],  l <= x <= u,
                                              g_k(x) + t_k - s_k = g_k_max,   t, s >= 0

Import and limits are those of the AC power flow at every iterate, with their adjoint gradients; the
curvature of the Lagrangian is the flow tree's, with its sign (`opf.convexity`). A quadratic
programme solved at each AC point would need as many factorisations for one step as this needs for
all. Predictor and corrector as by Mehrotra, SIAM J. Optimization 2(4), 1992, doi 10.1137/0802028;
further centrality correctors as by Gondzio, Computational Optimization and Applications 6, 1996,
doi 10.1007/BF00249643.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from opf.convexity import SHORT_STEP, Convexity
from opf.interior_step import Direction, Iterate, Open, recentre, way_to_bound
from opf.kkt import Multipliers, price_scale, reduced_costs
from opf.kkt_system import KktSystem
from opf.lagrangian_curvature import flow_curvature
from opf.linearise import Linearisation, choose_limits, linearise
from opf.power_flow import AcState, PowerFlowDiverged, solve_state
from opf.problem import Problem
from opf.zone_places import ZonePlaces

Floats = NDArray[np.float64]

# Share of the way to the nearest bound that a step may go.
TO_BOUND: Final = 0.995
# The barrier stays above this share [MW] of the largest dual residual.
KEEP_BARRIER: Final = 1e-4
# The same on grids with zones, where something always is far from its end, and waiting for the last
# of it costs iterations: while every flow counts with its curvature, and while some are straight.
KEEP_BARRIER_EXACT: Final = 1e-6
KEEP_BARRIER_STRAIGHT: Final = 1e-5
CORRECTORS_MAX: Final = 2
# Factorisations for one step, each with more convexification than the one before.
FACTORISATIONS_MAX: Final = 8
# On grids with zones: common steps shorter than this are left to each zone, as far as it may go.
COMMON_STEP: Final = 0.3
# Share of a step below which no AC solution counts as none at all.
LEAST_STEP: Final = 1e-3
# First distance to a bound and first price of one [MW, EUR/MW].
FIRST_ROOM: Final = 0.05
FIRST_PRICE: Final = 1.0
# What rounding leaves of a distance to a bound.
LEAST_DISTANCE: Final = 1e-15
# Where the barrier ends [EUR].
LEAST_BARRIER: Final = 1e-24
# Least room of a limit that joins: early on, and late, where the barrier is low [MW-equivalent].
LEAST_ROOM: Final = 1e-2
SMALLEST_ROOM: Final = 1e-6
# On grids with zones: share of the distance within which limits are taken first, at which they join
# later, and least slack of one that joins [MW-equivalent].
JOINING: Final = 0.2
LEAST_SLACK: Final = 1e-12


class InteriorMethod:
    """The parts of the problem that stay, and what one iteration does."""

    def __init__(self, problem: Problem) -> None:
        res, programme = problem.resources, problem.programme
        self.problem = problem
        self.h = problem.case.periods.mtu_h
        self.scarcity = problem.case.limits.scarcity_price_eur_per_mwh * self.h
        self.free = programme.free
        self.columns = len(self.free)
        self.base = np.where(np.isfinite(res.lower), res.lower, 0.0)
        self.rows = res.rows[:, self.free].tocsr()
        held = self.base.copy()
        held[self.free] = 0.0
        lower, upper = res.rows_lower - res.rows @ held, res.rows_upper - res.rows @ held
        equal = res.rows_lower == res.rows_upper
        self.loose = np.flatnonzero(~equal)
        self.row_goal = np.where(equal, upper, 0.0)
        self.own_lower = np.concatenate([res.lower[self.free], lower[self.loose]])
        self.own_upper = np.concatenate([res.upper[self.free], upper[self.loose]])
        width = np.minimum(self.own_upper - self.own_lower, 1.0)[: self.columns]
        self.inverse_width = 1.0 / width**2
        self.zones = ZonePlaces(problem)
        self.convexity = Convexity(self.zones)
        self.system: KktSystem | None = None

    def decision(self, u: Floats) -> Floats:
        """All columns, those without choice at their bound."""
        x = self.base.copy()
        x[self.free] = u[: self.columns]
        return x

    def bounds(self, limits: int) -> tuple[Floats, Floats]:
        """Bounds of ``u``."""
        nothing = np.zeros(2 * limits)
        lower = np.concatenate([self.own_lower, nothing])
        return lower, np.concatenate([self.own_upper, nothing + np.inf])

    def start(self, x_start: Floats | None) -> Iterate:
        """Columns in the middle of their bounds, or near where the caller starts; prices of 1."""
        lower, upper = self.own_lower, self.own_upper
        width = np.minimum(upper - lower, 1.0)
        between = np.isfinite(lower) & np.isfinite(upper)
        middle = 0.5 * np.add(lower, upper, out=np.zeros(len(lower)), where=between)
        if x_start is not None:
            middle[: self.columns] = x_start[self.free]
        share = 0.1 if x_start is None else 0.02
        own = np.clip(middle, lower + share * width, upper - share * width)
        state = solve_state(
            self.problem.solver, self.problem.resources.injection(self.decision(own))
        )
        own[self.columns :] = np.clip(
            (self.rows @ own[: self.columns])[self.loose],
            (lower + 0.1 * width)[self.columns :],
            (upper - 0.1 * width)[self.columns :],
        )
        lin = self.gradients(state, set())
        room, slack, price = self.first(lin, FIRST_PRICE * FIRST_ROOM, FIRST_ROOM)
        u = np.concatenate([own, room, slack])
        count = len(room)
        below, above = (np.isfinite(bound) for bound in self.bounds(count))
        at = Iterate(
            u=u,
            lower_price=np.zeros(len(u)),
            upper_price=np.zeros(len(u)),
            row_price=np.zeros(self.rows.shape[0]),
            limit_price=price,
            state=state,
            lin=lin,
        )
        pull, own_size = self.gradient(at), len(self.own_lower)
        first = np.repeat([FIRST_PRICE, 0.0], [own_size, 2 * count])
        at.lower_price = np.where(below, np.maximum(pull, 0.0) + first, 0.0)
        at.upper_price = np.where(above, np.maximum(-pull, 0.0) + first, 0.0)
        return at

    def first(
        self, lin: Linearisation, barrier: float, least: float
    ) -> tuple[Floats, Floats, Floats]:
        """Room, slack and price of limits at the given level of the barrier."""
        room = np.maximum(lin.rows.room, least)
        slack = np.maximum(room - lin.rows.room, least)
        return room, slack, np.minimum(barrier / room, 0.5 * self.scarcity)

    def gradient(self, at: Iterate) -> Floats:
        """Derivative of the Lagrangian by ``u`` without the prices of bounds."""
        limit = at.limit_price / self.h
        reduced = reduced_costs(self.problem, at.lin, Multipliers(limit=limit, row=at.row_price))
        return np.concatenate(
            [
                reduced[self.free],
                -at.row_price[self.loose],
                at.limit_price,
                self.scarcity - at.limit_price,
            ]
        )

    def residuals(self, at: Iterate) -> Open:
        """What the present iterate leaves open."""
        lower, upper = self.bounds(len(at.limit_price))
        own, count = len(self.own_lower), len(at.limit_price)
        activity = self.rows @ at.u[: self.columns] - self.row_goal
        activity[self.loose] -= at.u[self.columns : own]
        room, slack = at.u[own : own + count], at.u[own + count :]
        to_lower = np.where(np.isfinite(lower), np.maximum(at.u - lower, LEAST_DISTANCE), 1.0)
        to_upper = np.where(np.isfinite(upper), np.maximum(upper - at.u, LEAST_DISTANCE), 1.0)
        bounds = max(int(np.isfinite(lower).sum() + np.isfinite(upper).sum()), 1)
        product = float(at.lower_price @ to_lower + at.upper_price @ to_upper)
        return Open(
            dual=self.gradient(at) - at.lower_price + at.upper_price,
            rows=activity,
            limits=room - slack - at.lin.rows.room,
            to_lower=to_lower,
            to_upper=to_upper,
            barrier=product / bounds,
        )

    def error(self, at: Iterate, left: Open) -> tuple[float, float]:
        """KKT residual relative to the largest price; violation of rows and limits [MW]."""
        res = self.problem.resources
        prices = Multipliers(limit=at.limit_price / self.h, row=at.row_price)
        scale = self.h * price_scale(self.problem, prices)
        x = at.u[: self.columns]
        reduced = (left.dual + at.lower_price - at.upper_price)[: self.columns]
        moved = np.clip(x - reduced / scale, res.lower[self.free], res.upper[self.free])
        room = at.lin.rows.room
        price = at.limit_price
        inactive = np.minimum(price / scale, np.maximum(room, 0.0))
        short = np.minimum((self.scarcity - price) / scale, np.maximum(-room, 0.0))
        kkt = max(
            float(np.abs(moved - x).max(initial=0.0)),
            float(np.maximum(inactive, short).max(initial=0.0)),
        )
        missing = max(
            float(np.abs(left.rows).max(initial=0.0)), float(np.abs(left.limits).max(initial=0.0))
        )
        return kkt, missing

    def factorise(self, at: Iterate, left: Open) -> tuple[Floats, Direction]:
        """Factorise at an iterate, convexified where needed.

        Returns
        -------
        (diagonal, guess) : ndarray, Direction
            The diagonal of ``u``, and the step that would bring every product to 0.
        """
        problem, programme, convexity = self.problem, self.problem.programme, self.convexity
        diagonal = at.lower_price / left.to_lower + at.upper_price / left.to_upper
        own, count = len(self.own_lower), len(at.limit_price)
        inverse = 1.0 / np.maximum(diagonal, 1e-12)
        rows = np.zeros(self.rows.shape[0])
        rows[self.loose] = inverse[self.columns : own]
        limits = inverse[own : own + count] + inverse[own + count :]
        weight = flow_curvature(problem, at.state, at.lin, at.limit_price / self.h)
        flows = convexity.begin(2.0 * self.h * np.tile(weight.ravel(), len(programme.flow_parts)))
        if self.system is None or not self.system.take_limits(programme, at.lin.rows):
            self.system = KktSystem(programme, at.lin.rows, self.system)
            self.system.take_limits(programme, at.lin.rows)
        metric, zero = left.barrier * self.inverse_width, np.zeros(len(at.u))
        for _ in range(FACTORISATIONS_MAX):
            columns = diagonal[: self.columns] + convexity.shift[self.zones.of_column] * metric
            used = convexity.used(flows)
            self.system.factorise(columns, used, rows, limits)
            straight = used.min(initial=0.0) >= 0.0
            if self.zones.count == 1 and not (straight or convexity.whole(self.system)):
                continue
            guess = self.direction(at, left, diagonal, (zero, zero))
            if self.zones.count == 1 or straight or convexity.by_zone(self.system, at.lin, flows):
                return diagonal, guess
        return diagonal, self.direction(at, left, diagonal, (zero, zero))

    def direction(
        self, at: Iterate, left: Open, diagonal: Floats, goal: tuple[Floats, Floats]
    ) -> Direction:
        """Solve for the step that brings products of distance and price to their goals."""
        assert self.system is not None
        own, count = len(self.own_lower), len(at.limit_price)
        has_lower, has_upper = at.lower_price > 0, at.upper_price > 0
        to_lower = np.where(has_lower, goal[0] / left.to_lower - at.lower_price, 0.0)
        to_upper = np.where(has_upper, goal[1] / left.to_upper - at.upper_price, 0.0)
        pull = -left.dual + to_lower - to_upper
        inverse = 1.0 / np.maximum(diagonal[self.columns :], 1e-12)
        extra = pull[self.columns :] * inverse
        loose = own - self.columns
        rows = -left.rows
        rows[self.loose] += extra[:loose]
        limits = -left.limits - extra[loose : loose + count] + extra[loose + count :]
        x, row, limit = self.system.solve(pull[: self.columns], rows, limits)
        others = extra + inverse * np.concatenate([row[self.loose], -limit, limit])
        u = np.concatenate([x, others])
        step = Direction(
            u=u,
            lower_price=np.where(has_lower, to_lower - at.lower_price / left.to_lower * u, 0.0),
            upper_price=np.where(has_upper, to_upper + at.upper_price / left.to_upper * u, 0.0),
            row_price=row,
            limit_price=limit,
        )
        step.primal = min(
            way_to_bound(left.to_lower, step.u, has_lower),
            way_to_bound(left.to_upper, -step.u, has_upper),
        )
        step.dual = min(
            way_to_bound(at.lower_price, step.lower_price, has_lower),
            way_to_bound(at.upper_price, step.upper_price, has_upper),
        )
        return step

    def improve(self, at: Iterate, left: Open, diagonal: Floats, guess: Direction) -> Direction:
        """From the predictor to the corrector, and more of them as long as they lengthen it."""
        has = (at.lower_price > 0, at.upper_price > 0)
        product = [
            (left.to_lower + guess.primal * guess.u)
            * (at.lower_price + guess.dual * guess.lower_price),
            (left.to_upper - guess.primal * guess.u)
            * (at.upper_price + guess.dual * guess.upper_price),
        ]
        bounds = max(int(has[0].sum() + has[1].sum()), 1)
        ahead = float(product[0][has[0]].sum() + product[1][has[1]].sum()) / bounds
        # no bound anywhere: no barrier
        share = ahead / left.barrier if left.barrier > 0 else 0.0
        barrier = left.barrier * share**3
        keep = KEEP_BARRIER
        if self.zones.count > 1:
            keep = KEEP_BARRIER_STRAIGHT if self.convexity.straight.any() else KEEP_BARRIER_EXACT
        least = min(keep * float(np.abs(left.dual).max(initial=0.0)), left.barrier)
        barrier = max(barrier, least, LEAST_BARRIER)
        goal = (
            barrier - guess.u * guess.lower_price,
            barrier + guess.u * guess.upper_price,
        )
        step = self.direction(at, left, diagonal, goal)
        if self.zones.count > 1 and min(step.primal, step.dual) < SHORT_STEP:
            # what is corrected for a step that stops at once never happens
            centre = (np.full(len(at.u), left.barrier),) * 2
            other = self.direction(at, left, diagonal, centre)
            if other.primal + other.dual > step.primal + step.dual:
                step, goal, barrier = other, centre, left.barrier
        for _ in range(CORRECTORS_MAX):
            reach = [min(1.0, 1.08 * way + 0.08) for way in (step.primal, step.dual)]
            lower = (left.to_lower + reach[0] * step.u) * (
                at.lower_price + reach[1] * step.lower_price
            )
            upper = (left.to_upper - reach[0] * step.u) * (
                at.upper_price + reach[1] * step.upper_price
            )
            goal = (goal[0] + recentre(lower, barrier), goal[1] + recentre(upper, barrier))
            other = self.direction(at, left, diagonal, goal)
            if other.primal + other.dual < step.primal + step.dual + 0.02:
                break
            step = other
        return step

    def move(self, at: Iterate, step: Direction, left: Open) -> Iterate:
        """Go along a step, solve the power flow there and linearise.

        Raises
        ------
        PowerFlowDiverged
            When even a short step has no AC solution.
        """
        primal, dual = (min(1.0, TO_BOUND * way) for way in (step.primal, step.dual))
        ahead, price_ahead, rows_ahead, limits_ahead = (
            primal * step.u,
            np.full(len(at.u), dual),
            np.full(len(at.row_price), dual),
            np.full(len(at.limit_price), dual),
        )
        ways = np.full((2, 1), min(primal, dual))
        if self.zones.count > 1:
            ways = TO_BOUND * self.ways(at, left, step)
            if min(primal, dual) < COMMON_STEP:
                zones = self.zones
                of_limit = zones.of_limit(at.lin)
                place = zones.of_iterate(at.lin, self.loose)
                ahead, price_ahead = ways[0][place] * step.u, ways[1][place]
                rows_ahead, limits_ahead = ways[1][zones.of_row], ways[1][of_limit]
        u, state, share = self.flow_at(at, ahead)
        self.convexity.learn(ways.min(axis=0) * share)
        moved = Iterate(
            u=u,
            lower_price=at.lower_price + price_ahead * step.lower_price,
            upper_price=at.upper_price + price_ahead * step.upper_price,
            row_price=at.row_price + rows_ahead * step.row_price,
            limit_price=at.limit_price + limits_ahead * step.limit_price,
            state=state,
            lin=at.lin,
        )
        return self.linearise(moved, left.barrier)

    def ways(self, at: Iterate, left: Open, step: Direction) -> Floats:
        """How far a step may go in each zone, primal and dual, shape (2, zones)."""
        zone = self.zones.of_iterate(at.lin, self.loose)
        has_lower, has_upper = at.lower_price > 0, at.upper_price > 0
        ways = np.ones((2, self.zones.count))
        for way, distance, change, has in (
            (ways[0], left.to_lower, step.u, has_lower),
            (ways[0], left.to_upper, -step.u, has_upper),
            (ways[1], at.lower_price, step.lower_price, has_lower),
            (ways[1], at.upper_price, step.upper_price, has_upper),
        ):
            some = np.flatnonzero(has & (change < 0))
            np.minimum.at(way, zone[some], distance[some] / -change[some])
        return ways

    def flow_at(self, at: Iterate, ahead: Floats) -> tuple[Floats, AcState, float]:
        """Go ahead, or only a share of the way where that has no AC solution."""
        problem, share = self.problem, 1.0
        while True:
            u = at.u + share * ahead
            injection = problem.resources.injection(self.decision(u))
            try:
                return u, solve_state(problem.solver, injection, at.state), share
            except PowerFlowDiverged:
                share *= 0.5
                if share < LEAST_STEP:
                    raise

    def gradients(self, state: AcState, kept: set[tuple[int, int]]) -> Linearisation:
        """Linearise with the limits there were and those that come near."""
        reach = JOINING if kept and self.zones.count > 1 else 1.0
        pairs = choose_limits(self.problem, state, kept, reach=reach)
        return linearise(self.problem, state, pairs, by_node=False)

    def rescale(self, at: Iterate, ratio: Floats) -> Iterate:
        """Go over to the scales of a new state, which are ``ratio`` times those before.

        What a limit is worth in its own unit stays, but for those whose slack is in use: they cost
        the scarcity price in any.
        """
        own, count = len(self.own_lower), len(ratio)
        room, slack = slice(own, own + count), slice(own + count, own + 2 * count)
        at.u[room] /= ratio
        at.u[slack] /= ratio
        worth = ratio * at.limit_price
        in_use = np.maximum(worth, at.limit_price) >= 0.5 * self.scarcity
        price = np.where(in_use, at.limit_price, worth)
        at.lower_price[room] *= price / at.limit_price
        at.lower_price[slack] -= price - at.limit_price
        at.limit_price = price
        return at

    def linearise(self, at: Iterate, barrier: float) -> Iterate:
        """Linearise at a new state; limits that come near for the first time join."""
        before = at.lin
        known = {
            pair: row
            for row, pair in enumerate(
                zip(before.chosen.tolist(), before.period.tolist(), strict=True)
            )
        }
        at.lin = self.gradients(at.state, set(known))
        ordered = zip(at.lin.chosen.tolist(), at.lin.period.tolist(), strict=True)
        row = np.array([known.get(pair, -1) for pair in ordered], dtype=np.int64)
        own, count = len(self.own_lower), len(known)
        at = self.rescale(at, (at.lin.scale[row >= 0] / before.scale)[np.argsort(row[row >= 0])])
        if len(row) == count:
            return at
        least = max(min(LEAST_ROOM, float(np.sqrt(barrier))), SMALLEST_ROOM)
        room, slack, price = self.first(at.lin, barrier, least)
        if self.zones.count > 1:
            # a larger one would lift the barrier of everything, and some limit nearly always joins
            slack = np.full(len(room), max(barrier / self.scarcity, LEAST_SLACK))

        def joined(old: Floats, new: Floats) -> Floats:
            return np.where(row < 0, new, old[np.maximum(row, 0)]) if count else new

        parts = []
        for values, new in (
            (at.u, (room, slack)),
            (at.lower_price, (price, self.scarcity - price)),
        ):
            rooms, slacks = values[own : own + count], values[own + count :]
            parts.append(
                np.concatenate([values[:own], joined(rooms, new[0]), joined(slacks, new[1])])
            )
        at.u, at.lower_price = parts
        at.upper_price = np.concatenate([at.upper_price[:own], np.zeros(2 * len(row))])
        at.limit_price = joined(at.limit_price, price)
        return at
