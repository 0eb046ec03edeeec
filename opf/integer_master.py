"""The master programme of the integer clearing: a mixed-integer linear one on linearised physics.

Every AC point that was cleared adds its tangents. Import and current limits are convex in the
injections, so their tangents lie below them and all are kept; a lower voltage limit behaves alike.
|V| is concave, so the tangent of an upper voltage limit (and of an export cap) would shut out
points that the grid carries: of these one row is kept, the one linearised nearest to its maximum,
and it is relaxed until it admits every AC point found. Where every integer order is paid as bid,
limits alone decide between choices: then the row is relaxed by as much as it overstates the limit
at any AC point found, kept or not, so that it hides no choice that the grid carries. At a negative
import price the import is an equation at the newest point, or imaginary losses would earn money.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from data.records.order import AT_BUS_PRICE
from opf.integer_choice import IntegerChoice, integer_orders
from opf.integer_programme import IntegerProgramme, build_integer_programme
from opf.limits import EXPORT_CAP, VOLTAGE_UPPER, limit_values
from opf.linear_programme import INTEGRAL, Programme, Relaxation, solve_mixed_integer
from opf.linearise import Linearisation
from opf.power_flow import AcState
from opf.problem import Problem

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]

# Tangents closer than this at the point they belong to say nothing new [MW].
SAME_MW: Final = 1e-8
# A limit that an AC point keeps to within this share of its maximum counts as kept.
KEPT: Final = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterAnswer:
    """A choice, its cost in the master, and what no other choice can undercut there [EUR].

    ``by_time`` as in `opf.linear_programme.MixedIntegerSolution`.
    """

    choice: IntegerChoice
    cost_eur: float
    bound_eur: float
    by_time: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportCut:
    """Tangent of the import of every period: import >= by_p S_p + by_q S_q + constant.

    ``new`` says in which periods it says more than the tangents before it.
    """

    by_p: Floats
    by_q: Floats
    constant: Floats
    new: NDArray[np.bool_]

    def at(self, injection: Complexes) -> Floats:
        """Return its value at node injections, shape (periods,) [MW]."""
        moved = (self.by_p * injection.real + self.by_q * injection.imag).sum(axis=0)
        return np.asarray(moved + self.constant)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitCut:
    """One linearised limit: by_p S_p + by_q S_q - scale slack <= room.

    ``distance`` is how far from its maximum the limit was where it was linearised.
    """

    limit: int
    period: int
    by_p: Floats
    by_q: Floats
    scale: float
    room: float
    distance: float

    def room_at(self, injection: Complexes) -> float:
        """Return what it leaves free at node injections."""
        s = injection[:, self.period]
        return self.room - float(self.by_p @ s.real + self.by_q @ s.imag)


@dataclass(slots=True)
class Master:
    """Collects tangents and answers with the best remaining choice.

    Parameters
    ----------
    problem : Problem
        The case with no integer order accepted: its columns are those of all other orders.
    """

    problem: Problem
    integers: IntegerProgramme = field(init=False)
    import_cuts: list[ImportCut] = field(default_factory=list)
    outer: dict[tuple[int, int], list[LimitCut]] = field(default_factory=dict)
    inner: dict[tuple[int, int], LimitCut] = field(default_factory=dict)
    points: list[tuple[Complexes, Floats]] = field(default_factory=list)
    excluded: list[IntegerChoice] = field(default_factory=list)
    rejected: set[str] = field(default_factory=set)
    version: int = 0
    limits_decide: bool = field(init=False)
    _base: _Base = field(init=False)

    def __post_init__(self) -> None:
        self.integers = build_integer_programme(self.problem.case)
        self._base = _build_base(self.problem, self.integers)
        book = integer_orders(self.problem.case)
        self.limits_decide = all(order.pay != AT_BUS_PRICE for order in book)

    def add_point(self, injection: Complexes, state: AcState, lin: Linearisation) -> None:
        """Add the tangents of a cleared AC point, as far as they say something new.

        Parameters
        ----------
        injection : ndarray of complex, shape (nodes, periods)
            What orders inject there [MW + j Mvar], without the fixed part.
        """
        self.version += 1
        limits = self.problem.limits
        at = (lin.import_p * injection.real + lin.import_q * injection.imag).sum(axis=0)
        constant = state.exchange.real - at
        known = np.array([cut.at(injection) for cut in self.import_cuts]).reshape(-1, len(at))
        new = state.exchange.real > known.max(axis=0, initial=-np.inf) + SAME_MW
        if not self.import_cuts or np.any(new | (self.problem.case.import_price_eur_per_mwh < 0)):
            self.import_cuts.append(
                ImportCut(by_p=lin.import_p, by_q=lin.import_q, constant=constant, new=new)
            )
        values, bound = limit_values(limits, state), limits.bound(self.problem.periods)
        self.points.append((injection, values))
        for k, (number, t) in enumerate(zip(lin.chosen.tolist(), lin.period.tolist(), strict=True)):
            gradient_p, gradient_q = lin.limit_p[:, k], lin.limit_q[:, k]
            room = float(bound[number, t] - values[number, t])
            moved = float(gradient_p @ injection[:, t].real + gradient_q @ injection[:, t].imag)
            row = LimitCut(
                limit=number,
                period=t,
                by_p=gradient_p,
                by_q=gradient_q,
                scale=float(lin.scale[k]),
                room=room + moved,
                distance=abs(room),
            )
            if limits.family[number] in (VOLTAGE_UPPER, EXPORT_CAP):
                nearest = self.inner.get((number, t))
                if nearest is None or row.distance <= nearest.distance:
                    self.inner[(number, t)] = row
            else:
                rows = self.outer.setdefault((number, t), [])
                least = min((one.room_at(injection) for one in rows), default=np.inf)
                if room < least - SAME_MW * row.scale:
                    rows.append(row)

    def exclude(self, choice: IntegerChoice) -> None:
        """Never answer with this choice again."""
        self.excluded.append(choice)

    def reject(self, order: str) -> None:
        """Keep one order out of every further answer."""
        self.rejected.add(order)

    def _limit_cuts(self) -> list[tuple[LimitCut, float]]:
        """Limit rows in force with their right-hand sides."""
        bound = self.problem.limits.bound(self.problem.periods)
        cuts = [(cut, cut.room) for cuts in self.outer.values() for cut in cuts]
        for cut in self.inner.values():
            most = bound[cut.limit, cut.period]
            if self.limits_decide:
                cuts.append((cut, cut.room + self._overstated(cut, most)))
                continue
            allowed = most + KEPT * abs(most)
            beyond = [
                cut.room_at(injection)
                for injection, values in self.points
                if values[cut.limit, cut.period] <= allowed
            ]
            cuts.append((cut, cut.room - min(0.0, *beyond) if beyond else cut.room))
        return cuts

    def _overstated(self, cut: LimitCut, most: float) -> float:
        """Return by how much a row overstates its limit at worst at an AC point found."""
        return max(
            most - cut.room_at(injection) - float(values[cut.limit, cut.period])
            for injection, values in self.points
        )

    def programme(self) -> Programme:
        """Put the present programme together."""
        base, case = self._base, self.problem.case
        h, size = case.periods.mtu_h, self.problem.periods
        limit_cuts = self._limit_cuts()
        slack, without = len(limit_cuts), self._without()
        constants = self._import_constants()
        column_upper = base.upper.copy()
        for order in self.rejected:
            column_upper[base.integer_at + self.integers.decision[order]] = 0.0
        cost = base.cost.copy()
        cost[base.import_at : base.import_at + size] = h * case.import_price_eur_per_mwh
        scarcity = case.limits.scarcity_price_eur_per_mwh * h
        return Programme(
            cost=np.concatenate([cost, np.full(slack, scarcity)]),
            rows=sparse.vstack(
                [
                    sparse.hstack([base.rows, sparse.csr_matrix((base.rows.shape[0], slack))]),
                    self._import_matrix(slack),
                    self._limit_matrix(limit_cuts),
                    self._exclusions(without, slack),
                ],
                format="csc",
            ),
            rows_lower=np.concatenate(
                [
                    base.rows_lower,
                    constants[0],
                    np.full(slack, -np.inf),
                    np.array([least for *_, least in without]),
                ]
            ),
            rows_upper=np.concatenate(
                [
                    base.rows_upper,
                    constants[1],
                    np.array([room for _, room in limit_cuts]),
                    np.full(len(without), np.inf),
                ]
            ),
            lower=np.concatenate([base.lower, np.zeros(slack)]),
            upper=np.concatenate([column_upper, np.full(slack, np.inf)]),
            binary=np.concatenate([base.binary, np.zeros(slack, dtype=bool)]),
        )

    def propose(self, gap: float, effort_max: float) -> MasterAnswer | None:
        """Find a good choice that is not excluded, and what none can undercut.

        The linear relaxation gives the bound; integers that are whole in it keep their values, and
        a small mixed-integer programme decides the others. Only where these values leave no choice
        the whole programme is solved.

        Returns
        -------
        MasterAnswer or None
            None where no choice is left.
        """
        programme = self.programme()
        relaxation = Relaxation(programme)
        relaxed = relaxation.solve(np.full(len(relaxation.whole), -1, dtype=np.int8))
        if relaxed is None:
            return None
        at = relaxation.whole
        whole = at[np.abs(relaxed[1][at] - np.round(relaxed[1][at])) < INTEGRAL]
        lower, upper = programme.lower.copy(), programme.upper.copy()
        lower[whole] = upper[whole] = np.round(relaxed[1][whole])
        narrowed = dataclasses.replace(programme, lower=lower, upper=upper)
        answer = solve_mixed_integer(narrowed, gap=gap, effort_max=effort_max)
        if answer is None:
            answer = solve_mixed_integer(programme, gap=gap, effort_max=effort_max)
        if answer is None:
            return None
        return MasterAnswer(
            choice=self.read_choice(answer.x),
            cost_eur=answer.objective + self.fixed_cost_eur,
            bound_eur=relaxed[0] + self.fixed_cost_eur,
            by_time=answer.by_time,
        )

    @property
    def fixed_cost_eur(self) -> float:
        """Cost of what no column decides [EUR]."""
        return self._base.fixed_cost

    @property
    def binary_columns(self) -> Ints:
        """Columns of the programme that are 0 or 1."""
        return np.flatnonzero(self._base.binary)

    def read_choice(self, x: Floats) -> IntegerChoice:
        """Read the integers off a point of the programme."""
        at = self._base.integer_at
        return self.integers.choice(x[at : at + self.integers.columns])

    def _tangents(self) -> list[tuple[ImportCut, Ints]]:
        """Import tangents and their periods: at negative prices the newest alone."""
        negative = self.problem.case.import_price_eur_per_mwh < 0
        last = len(self.import_cuts) - 1
        return [
            (cut, np.flatnonzero(np.where(negative, number == last, cut.new)))
            for number, cut in enumerate(self.import_cuts)
        ]

    def _import_constants(self) -> tuple[Floats, Floats]:
        """Bounds of import - gradient S for every kept tangent."""
        price = self.problem.case.import_price_eur_per_mwh
        lower = np.concatenate([cut.constant[kept] for cut, kept in self._tangents()])
        negative = np.concatenate([price[kept] < 0 for _, kept in self._tangents()])
        return lower, np.where(negative, lower, np.inf)

    def _import_matrix(self, slack: int) -> sparse.csr_matrix:
        """Rows import_t - gradient S_t."""
        base = self._base
        rows, columns, values, count = [], [], [], 0
        for cut, kept in self._tangents():
            row_of = np.full(self.problem.periods, -1)
            row_of[kept] = count + np.arange(len(kept))
            at = np.flatnonzero(row_of[base.pair_period] >= 0)
            place = (base.pair_node[at], base.pair_period[at])
            slope = np.where(base.pair_is_q[at], cut.by_q[place], cut.by_p[place])
            rows += [row_of[kept], row_of[base.pair_period[at]]]
            columns += [base.import_at + kept, base.pair_at + at]
            values += [np.ones(len(kept)), -slope]
            count += len(kept)
        index = (np.concatenate(rows), np.concatenate(columns))
        return sparse.csr_matrix(
            (np.concatenate(values), index), shape=(count, len(base.cost) + slack)
        )

    def _limit_matrix(self, limit_rows: list[tuple[LimitCut, float]]) -> sparse.csr_matrix:
        """Rows gradient S_t - scale slack."""
        base = self._base
        row_of, columns, values = [], [], []
        for number, (row, _) in enumerate(limit_rows):
            at = base.pairs_of_period[row.period]
            node = base.pair_node[at]
            value = np.where(base.pair_is_q[at], row.by_q[node], row.by_p[node])
            used = np.abs(value) > 1e-9 * row.scale
            row_of += [np.full(int(used.sum()) + 1, number)]
            columns += [base.pair_at + at[used], np.array([len(base.cost) + number])]
            values += [value[used], np.array([-row.scale])]
        shape = (len(limit_rows), len(base.cost) + len(limit_rows))
        if not limit_rows:
            return sparse.csr_matrix(shape)
        index = (np.concatenate(row_of), np.concatenate(columns))
        return sparse.csr_matrix((np.concatenate(values), index), shape=shape)

    def _without(self) -> list[tuple[Ints, Floats, float]]:
        return [self.integers.without(choice, self.problem.periods) for choice in self.excluded]

    def _exclusions(
        self, without: list[tuple[Ints, Floats, float]], slack: int
    ) -> sparse.csr_matrix:
        """Rows that no excluded choice meets."""
        base = self._base
        if not without:
            return sparse.csr_matrix((0, len(base.cost) + slack))
        sizes = [len(columns) for columns, _, _ in without]
        rows = np.repeat(np.arange(len(without)), sizes)
        columns = base.integer_at + np.concatenate([columns for columns, _, _ in without])
        values = np.concatenate([values for _, values, _ in without])
        shape = (len(without), len(base.cost) + slack)
        return sparse.csr_matrix((values, (rows, columns)), shape=shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """What stays the same: columns [orders, node injections, import, integers] and their rows."""

    cost: Floats
    lower: Floats
    upper: Floats
    binary: NDArray[np.bool_]
    rows: sparse.csr_matrix
    rows_lower: Floats
    rows_upper: Floats
    fixed_cost: float
    pair_node: Ints
    pair_period: Ints
    pair_is_q: NDArray[np.bool_]
    pairs_of_period: tuple[Ints, ...]
    pair_at: int
    import_at: int
    integer_at: int


def _build_base(problem: Problem, integers: IntegerProgramme) -> _Base:
    """Columns and rows that no AC point changes."""
    res, size = problem.resources, problem.periods
    free = problem.programme.free
    fixed = np.where(np.isfinite(res.lower), res.lower, 0.0)
    fixed[free] = 0.0
    columns, nodes, periods, by_part = _injections(problem, integers)
    at_fixed = res.injection(fixed) - res.fixed
    entries, pairs, right, is_q = [], [], [], []
    offset = 0
    for part, values in enumerate(by_part):
        used = values != 0.0
        key, place = np.unique(nodes[used] * size + periods[used], return_inverse=True)
        entries.append((offset + place, columns[used], -values[used]))
        pairs.append(key)
        at = at_fixed.imag if part else at_fixed.real
        right.append(at[key // size, key % size])
        is_q.append(np.full(len(key), bool(part)))
        offset += len(key)
    pair = np.concatenate(pairs)
    pair_at, import_at = len(free), len(free) + len(pair)
    integer_at = import_at + size
    total = integer_at + integers.columns
    row = np.concatenate([rows for rows, _, _ in entries] + [np.arange(len(pair))])
    raw = np.concatenate([named for _, named, _ in entries])
    named = np.where(raw >= 0, raw, integer_at - 1 - raw)
    column_all = np.concatenate([named, pair_at + np.arange(len(pair))])
    value = np.concatenate([values for _, _, values in entries] + [np.ones(len(pair))])
    balance = sparse.csr_matrix((value, (row, column_all)), shape=(len(pair), total))
    own = res.rows[:, free]
    at_rows = res.rows @ fixed
    order_rows = sparse.hstack([own, sparse.csr_matrix((own.shape[0], total - len(free)))])
    integer_rows = integers.rows()
    ahead = sparse.csr_matrix((integer_rows.shape[0], integer_at))
    wide = np.full(len(pair) + size, np.inf)
    none = np.zeros(0)
    period_of = pair % size
    return _Base(
        cost=np.concatenate([res.cost[free], np.zeros(len(wide)), *integers.cost]),
        lower=np.concatenate([res.lower[free], -wide, *integers.lower]),
        upper=np.concatenate([res.upper[free], wide, *integers.upper]),
        binary=np.concatenate([np.zeros(integer_at, dtype=bool), *integers.binary]),
        rows=sparse.vstack(
            [balance, order_rows, sparse.hstack([ahead, integer_rows])], format="csr"
        ),
        rows_lower=np.concatenate(
            [*right, res.rows_lower - at_rows, *(integers.row_lower or [none])]
        ),
        rows_upper=np.concatenate(
            [*right, res.rows_upper - at_rows, *(integers.row_upper or [none])]
        ),
        fixed_cost=float(res.cost @ fixed),
        pair_node=pair // size,
        pair_period=period_of,
        pair_is_q=np.concatenate(is_q),
        pairs_of_period=tuple(np.flatnonzero(period_of == t) for t in range(size)),
        pair_at=pair_at,
        import_at=import_at,
        integer_at=integer_at,
    )


def _injections(
    problem: Problem, integers: IntegerProgramme
) -> tuple[Ints, Ints, Ints, tuple[Floats, Floats]]:
    """Column (an integer one as -1 - number), node, period and (p, q) of all that injects."""
    res = problem.resources
    node_of_bus = dict(
        zip(problem.case.network.buses.index.tolist(), problem.grid.bus_node.tolist(), strict=True)
    )
    column = problem.programme.free_position[res.inject_column]
    moving = column >= 0
    column_parts = [column[moving]]
    node_parts = [res.inject_node[moving]]
    period_parts = [res.period[res.inject_column[moving]]]
    p_parts, q_parts = [res.inject_p[moving]], [res.inject_q[moving]]
    for columns, bus, period, p, q in integers.injections:
        column_parts.append(-1 - columns)
        node_parts.append(np.full(len(columns), node_of_bus[bus], dtype=np.int64))
        period_parts.append(period)
        p_parts.append(p)
        q_parts.append(q)
    columns, nodes, periods = map(np.concatenate, (column_parts, node_parts, period_parts))
    return columns, nodes, periods, (np.concatenate(p_parts), np.concatenate(q_parts))
