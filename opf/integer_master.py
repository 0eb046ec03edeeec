"""The master programme of the integer clearing: a mixed-integer linear one on linearised physics.

Every AC point that was cleared adds its tangents. Import and current limits are convex in the
injections, so their tangents lie below them and all are kept; a lower voltage limit behaves alike.
|V| is concave, so the tangent of an upper voltage limit (and of an export cap) would shut out
points that the grid carries: of these one row is kept, the one linearised nearest to its maximum,
and it is relaxed until it admits every AC point found. At a negative import price the import is
an equation at the newest point, or imaginary losses would earn money.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from opf.integer_choice import IntegerChoice
from opf.integer_programme import IntegerProgramme, build_integer_programme
from opf.limits import EXPORT_CAP, VOLTAGE_UPPER, limit_values
from opf.linear_programme import MixedIntegerSolution, solve_mixed_integer
from opf.linearise import Linearisation
from opf.power_flow import AcState
from opf.problem import Problem

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]

# A limit that an AC point keeps to within this share of its maximum counts as kept.
KEPT: Final = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterAnswer:
    """A choice, its cost in the master, and what no other choice can undercut there [EUR]."""

    choice: IntegerChoice
    cost_eur: float
    bound_eur: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One linearised limit: gradient_p S_p + gradient_q S_q - scale slack <= room."""

    limit: int
    period: int
    gradient_p: Floats
    gradient_q: Floats
    scale: float
    room: float
    distance: float


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
    import_cuts: list[tuple[Floats, Floats, Floats]] = field(default_factory=list)
    outer: list[_Row] = field(default_factory=list)
    inner: dict[tuple[int, int], _Row] = field(default_factory=dict)
    points: list[tuple[Complexes, Floats]] = field(default_factory=list)
    excluded: list[IntegerChoice] = field(default_factory=list)
    rejected: set[str] = field(default_factory=set)
    _base: _Base = field(init=False)

    def __post_init__(self) -> None:
        self.integers = build_integer_programme(self.problem.case)
        self._base = _build_base(self.problem, self.integers)

    def add_point(self, injection: Complexes, state: AcState, lin: Linearisation) -> None:
        """Add the tangents of a cleared AC point.

        Parameters
        ----------
        injection : ndarray of complex, shape (nodes, periods)
            What orders inject there [MW + j Mvar], without the fixed part.
        """
        limits = self.problem.limits
        at = (lin.import_p * injection.real + lin.import_q * injection.imag).sum(axis=0)
        self.import_cuts.append((lin.import_p, lin.import_q, state.exchange.real - at))
        values = limit_values(limits, state)
        self.points.append((injection, values))
        for k, (number, t) in enumerate(zip(lin.chosen.tolist(), lin.period.tolist(), strict=True)):
            gradient_p, gradient_q = lin.limit_p[:, k], lin.limit_q[:, k]
            room = float(limits.maximum[number] - values[number, t])
            moved = float(gradient_p @ injection[:, t].real + gradient_q @ injection[:, t].imag)
            row = _Row(
                limit=number,
                period=t,
                gradient_p=gradient_p,
                gradient_q=gradient_q,
                scale=float(lin.scale[k]),
                room=room + moved,
                distance=abs(room),
            )
            if limits.family[number] in (VOLTAGE_UPPER, EXPORT_CAP):
                known = self.inner.get((number, t))
                if known is None or row.distance <= known.distance:
                    self.inner[(number, t)] = row
            else:
                self.outer.append(row)

    def exclude(self, choice: IntegerChoice) -> None:
        """Never answer with this choice again."""
        self.excluded.append(choice)

    def reject(self, order: str) -> None:
        """Keep one order out of every further answer."""
        self.rejected.add(order)

    def _rows(self) -> list[tuple[_Row, float]]:
        """Limit rows in force with their right-hand sides."""
        limits = self.problem.limits
        rows = [(row, row.room) for row in self.outer]
        for row in self.inner.values():
            most = row.room
            maximum = limits.maximum[row.limit]
            for injection, values in self.points:
                if values[row.limit, row.period] <= maximum + KEPT * abs(maximum):
                    s = injection[:, row.period]
                    most = max(most, float(row.gradient_p @ s.real + row.gradient_q @ s.imag))
            rows.append((row, most))
        return rows

    def solve(self, gap: float, time_limit_s: float) -> MasterAnswer | None:
        """Find the best choice that is not excluded; None where there is none left."""
        base, case = self._base, self.problem.case
        h, size = case.periods.mtu_h, self.problem.periods
        limit_rows = self._rows()
        slack = len(limit_rows)
        blocks = [
            sparse.hstack([base.rows, sparse.csr_matrix((base.rows.shape[0], slack))]),
            *self._import_rows(slack),
            self._limit_matrix(limit_rows),
            self._exclusions(slack),
        ]
        price = case.import_price_eur_per_mwh
        newest = len(self.import_cuts) - 1
        lower, upper = [base.rows_lower], [base.rows_upper]
        for number, (_, _, constant) in enumerate(self.import_cuts):
            lower.append(np.where((price >= 0) | (number == newest), constant, -np.inf))
            upper.append(np.where((price < 0) & (number == newest), constant, np.inf))
        lower += [np.full(slack, -np.inf), np.array([least for *_, least in self._without()])]
        upper += [np.array([room for _, room in limit_rows]), np.full(len(self.excluded), np.inf)]
        column_upper = base.upper.copy()
        for order in self.rejected:
            column_upper[base.integer_at + self.integers.decision[order]] = 0.0
        import_cost = np.zeros(len(base.cost))
        import_cost[base.import_at : base.import_at + size] = h * price
        scarcity = case.limits.scarcity_price_eur_per_mwh * h
        answer = solve_mixed_integer(
            np.concatenate([base.cost + import_cost, np.full(slack, scarcity)]),
            sparse.vstack(blocks),
            np.concatenate(lower),
            np.concatenate(upper),
            np.concatenate([base.lower, np.zeros(slack)]),
            np.concatenate([column_upper, np.full(slack, np.inf)]),
            np.concatenate([base.binary, np.zeros(slack, dtype=bool)]),
            gap=gap,
            time_limit_s=time_limit_s,
        )
        return None if answer is None else self._read(answer)

    def _read(self, answer: MixedIntegerSolution) -> MasterAnswer:
        base = self._base
        values = answer.x[base.integer_at : base.integer_at + self.integers.columns]
        return MasterAnswer(
            choice=self.integers.choice(values),
            cost_eur=answer.objective + base.fixed_cost,
            bound_eur=answer.bound + base.fixed_cost,
        )

    def _import_rows(self, slack: int) -> list[sparse.csr_matrix]:
        """Rows import_t - gradient S_t, one block per AC point."""
        base, size = self._base, self.problem.periods
        each = np.arange(size)
        blocks = []
        for import_p, import_q, _ in self.import_cuts:
            node, period = base.pair_node, base.pair_period
            values = np.where(base.pair_is_q, import_q[node, period], import_p[node, period])
            blocks.append(
                sparse.csr_matrix(
                    (
                        np.concatenate([np.ones(size), -values]),
                        (
                            np.concatenate([each, period]),
                            np.concatenate(
                                [base.import_at + each, base.pair_at + np.arange(len(node))]
                            ),
                        ),
                    ),
                    shape=(size, len(base.cost) + slack),
                )
            )
        return blocks

    def _limit_matrix(self, limit_rows: list[tuple[_Row, float]]) -> sparse.csr_matrix:
        """Rows gradient S_t - scale slack."""
        base = self._base
        row_of, columns, values = [], [], []
        for number, (row, _) in enumerate(limit_rows):
            at = base.pairs_of_period[row.period]
            node = base.pair_node[at]
            value = np.where(base.pair_is_q[at], row.gradient_q[node], row.gradient_p[node])
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

    def _exclusions(self, slack: int) -> sparse.csr_matrix:
        """Rows that no excluded choice meets."""
        base = self._base
        matrix = sparse.lil_matrix((len(self.excluded), len(base.cost) + slack))
        for number, (columns, values, _) in enumerate(self._without()):
            matrix[number, base.integer_at + columns] = values
        return matrix.tocsr()


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
    position = problem.programme.free_position
    fixed = np.where(np.isfinite(res.lower), res.lower, 0.0)
    fixed[free] = 0.0
    node_of_bus = dict(
        zip(problem.case.network.buses.index.tolist(), problem.grid.bus_node.tolist(), strict=True)
    )
    column = position[res.inject_column]
    moving = column >= 0
    # (column, node, period, p, q) of everything that injects; integer columns come after the free
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
    at_fixed = res.injection(fixed) - res.fixed
    entries, pairs, right, is_q = [], [], [], []
    offset = 0
    for part, values in enumerate((np.concatenate(p_parts), np.concatenate(q_parts))):
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
