"""Operating envelopes: an import and an export limit per connection that the grid carries together.

Whatever every connection does inside its envelope, no limit of the grid is broken. On a radial
feeder voltages rise and flows turn monotonically with injections, so the extremes are the corners
where all connections export, or import, their whole envelope with the adverse reactive power; each
corner is solved in AC and relinearised there until its envelope stays.

Who gets how much follows a stated rule, by progressive filling (D. Bertsekas, R. Gallager, Data
Networks, 1992, section 6.5.2): all grow together until a limit binds or a request is met; those who
load that limit stop there, the others grow on. What they grow to is fair in this sense: every
connection has its request or a bottleneck, a limit that binds in its worst use, that the connection
loads, and that nobody loads who has a higher level.

* ``max_min``: all grow by equal MW; the level is the envelope [MW].
* ``pro_rata``: all grow by equal shares; the level is the share of the request.

A connection hardly loads a limit if one more MW of its envelope moves the limit by less than
`LOADS_SHARE` of what a MW of whoever moves it most does, and all such connections together, with
their whole requests, would take up at most `SLIGHT_USE_SHARE` of its room; else it loads it if it
moves it at all. Voltages couple everybody with everything: if all who move a limit stopped with it,
one overloaded line would hold the whole grid. Those who hardly load it go on instead. What they use
is room taken before the others share, so the limit holds, and the others lose that part at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from opf.limits import CURRENT_FROM, CURRENT_TO, VOLTAGE_LOWER, VOLTAGE_UPPER, limit_gradients
from opf.power_flow import AcState, PowerFlowDiverged
from opf.problems.monitored_grid import MonitoredGrid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]

# Who loads a limit, by direction and number of the limit.
Loaders = dict[tuple[int, int], NDArray[np.bool_]]

FairnessRule = Literal["max_min", "pro_rata"]
FAIRNESS_RULES: Final[tuple[FairnessRule, ...]] = ("max_min", "pro_rata")
ROUNDS_MAX: Final = 30
# From this round on whoever was found to load a limit is taken to load it: at the edge of the
# definition the answer would swing with the envelopes that it leads to.
SETTLING_ROUNDS: Final = 8
STEP_TOLERANCE_MW: Final = 1e-7
# Sensitivities below this share of a limit's largest are rounding.
NO_EFFECT: Final = 1e-9
# Below this share of the largest sensitivity of a limit a connection hardly loads it, if all such
# connections together take up no more than this share of its room.
LOADS_SHARE: Final = 0.05
SLIGHT_USE_SHARE: Final = 0.1
# Limits of each kind (upper and lower voltages, currents) that enter a filling, and those nearest
# in the corner that are asked how much nearer they come in their own worst use.
ROWS_PER_KIND: Final = 8
ASKED_PER_KIND: Final = 40
KINDS: Final = ((VOLTAGE_UPPER,), (VOLTAGE_LOWER,), (CURRENT_FROM, CURRENT_TO))
USE_STEPS: Final = (0.5, 0.25, 0.125, 0.0625, 0.03125)
REQUEST: Final = "request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """Who shares the grid; every array has shape (connections,).

    Parameters
    ----------
    name : tuple of str
        Ids, none twice.
    bus : ndarray of int
        Where each is connected.
    import_mw, export_mw : ndarray
        What each requests, not negative [MW].
    tan_max : ndarray
        |q| <= tan_max p inside the envelope; the adverse sign is assumed. 0: no reactive power.
    """

    name: tuple[str, ...]
    bus: Ints
    import_mw: Floats
    export_mw: Floats
    tan_max: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class OneDirection:
    """Envelopes of one direction: MW per connection, and what held each back.

    ``held_by`` names a limit (``line 7 from``) or ``request``; ``rounds`` counts linearisations;
    ``background_breaks`` names the limits that are broken with no use at all. ``settled`` is False
    where the filling did not come to rest or had to be drawn in afterwards: then the envelopes are
    safe, but their fairness is not promised.
    """

    p_mw: Floats
    held_by: tuple[str, ...]
    rounds: int
    background_breaks: tuple[str, ...]
    settled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelopes:
    """Import and export limits of every connection under one rule."""

    rule: FairnessRule
    export: OneDirection
    draw: OneDirection


def operating_envelopes(
    at: MonitoredGrid,
    background: tuple[Complexes, Complexes],
    connections: Connections,
    rule: FairnessRule,
    margin: Floats,
) -> Envelopes:
    """Share the room of a grid among its connections.

    Parameters
    ----------
    at : MonitoredGrid
        The grid and its limits; radial.
    background : (ndarray, ndarray) of complex, shape (nodes,)
        What injects beside the connections [MW + j Mvar]: the most that is expected (for exports)
        and the least (for imports).
    connections : Connections
        Who shares.
    rule : str
        One of `FAIRNESS_RULES`.
    margin : ndarray, shape (limits,)
        What is kept free of each limit, in the unit of g.

    Raises
    ------
    InputError
        With all problems: an unknown rule, a meshed grid, requests that are negative or not finite.
    """
    _refuse_unusable(at, connections, rule)
    node = at.nodes_of(connections.bus)
    allowed = at.limits.maximum - margin
    found = []
    for sign, request, other in (
        (1.0, connections.export_mw, background[0]),
        (-1.0, connections.import_mw, background[1]),
    ):
        weights = request if rule == "pro_rata" else np.where(request > 0.0, 1.0, 0.0)
        directions: list[Complexes] = [
            np.asarray(sign * (1.0 + 1j * turn * connections.tan_max)) for turn in (1.0, -1.0)
        ]
        if not connections.tan_max.any():
            directions = directions[:1]
        corners = _Corners(
            at=at, other=other, node=node, directions=tuple(directions), allowed=allowed
        )
        found.append(_share_direction(corners, request, weights))
    return Envelopes(rule=rule, export=found[0], draw=found[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Corners:
    """The corners of one direction: injection of a connection per MW of its envelope."""

    at: MonitoredGrid
    other: Complexes
    node: Ints
    directions: tuple[Complexes, ...]
    allowed: Floats

    def states(self, x: Floats) -> list[AcState]:
        states = []
        for direction in self.directions:
            injection = self.other.copy()
            np.add.at(injection, self.node, x * direction)
            states.append(self.at.state(injection))
        return states

    def holds(self, x: Floats, kept: Ints) -> bool:
        """Whether every limit holds in the corners and in the uses worst for the tightest."""
        try:
            for state, direction in zip(self.states(x), self.directions, strict=True):
                worst, _, _ = self._worst_uses(state, direction, x, kept)
                for seen in (state, worst):
                    over = self.at.values(seen) - self.allowed[:, None]
                    if (over > self.at.tolerance[:, None]).any():
                        return False
        except PowerFlowDiverged:
            return False
        return True

    def _nearest(self, state: AcState, direction: Complexes, x: Floats) -> Ints:
        """Return the limits nearest to binding in their own worst use, some of each kind.

        A limit that others relieve binds without them: their part is put back, to first order.
        """
        gap = self.allowed - self.at.values(state)[:, 0]
        found = []
        for kind in KINDS:
            rows = np.flatnonzero(np.isin(self.at.limits.family, kind))
            rate = gap[rows] / np.maximum(np.abs(self.allowed[rows]), 1e-9)
            asked = rows[np.argsort(rate, kind="stable")[:ASKED_PER_KIND]]
            slope = self._slopes(state, direction, asked, np.zeros_like(asked))
            relief = np.minimum(slope, 0.0) @ x
            rate = (gap[asked] + relief) / np.maximum(np.abs(self.allowed[asked]), 1e-9)
            found.append(asked[np.argsort(rate, kind="stable")[:ROWS_PER_KIND]])
        return np.concatenate(found)

    def _worst_uses(
        self, state: AcState, direction: Complexes, x: Floats, kept: Ints
    ) -> tuple[AcState, Floats, Ints]:
        """Return the uses worst for each of the limits nearest to binding, and of those kept.

        Where others' exports lower a voltage (they draw reactive power on their way through a
        transformer), the worst for it is that they do not export, or only in part: each goes up or
        down by halving steps, as the limit's slope says.

        Returns
        -------
        (state, used, near)
            AC state with one column per limit, what is used there of shape (limits,
            connections) [MW], and the limits' numbers.
        """
        near = np.union1d(self._nearest(state, direction, x), kept)
        slope = self._slopes(state, direction, near, np.zeros_like(near))
        used = np.where(slope > 0.0, x, 0.0)
        seen = self._use(direction, used)
        columns = np.arange(len(near))
        worst, most = used, self.at.values(seen)[near, columns]
        for step in USE_STEPS:
            slope = self._slopes(seen, direction, near, columns)
            used = np.clip(used + step * x * np.sign(slope), 0.0, x)
            seen = self._use(direction, used)
            g = self.at.values(seen)[near, columns]
            worse = g > most
            worst, most = np.where(worse[:, None], used, worst), np.where(worse, g, most)
        return self._use(direction, worst), worst, near

    def _use(self, direction: Complexes, used: Floats) -> AcState:
        """Solve the uses of envelopes, shape (columns, connections) [MW]."""
        injection = np.repeat(self.other[:, None], len(used), axis=1)
        np.add.at(injection, self.node, direction[:, None] * used.T)
        return self.at.state(injection)

    def _slopes(self, state: AcState, direction: Complexes, limits: Ints, columns: Ints) -> Floats:
        """Derivative of limits by the envelopes, shape (limits, connections)."""
        dp, dq = limit_gradients(self.at.solver, state, self.at.limits, limits, columns)
        turned = dq[self.node] * direction.imag[:, None]
        slope = (dp[self.node] * direction.real[:, None] + turned).T
        small = np.abs(slope) <= NO_EFFECT * np.abs(dp).max(axis=0)[:, None]
        return np.where(small, 0.0, slope)

    def rows(
        self, x: Floats, request: Floats, kept: Ints, before: Loaders
    ) -> tuple[Floats, Floats, list[int]]:
        """Return rows A x' <= b around x of the limits nearest to binding, and their numbers.

        Each limit is linearised at its own worst use: who relieves it is not counted on. Who hardly
        loads it is in what it has no more room for, with the use of now. ``before`` says who loaded
        which limit in which direction so far, and is added to.
        """
        blocks, rooms, numbers = [], [], []
        states = self.states(x)
        for turn, (state, direction) in enumerate(zip(states, self.directions, strict=True)):
            worst, used, near = self._worst_uses(state, direction, x, kept)
            columns = np.arange(len(near))
            slope = np.maximum(self._slopes(worst, direction, near, columns), 0.0)
            free = self.allowed[near] - self.at.values(worst)[near, columns]
            room = free + (slope * used).sum(axis=1)
            loads = who_loads(slope, room, request)
            for row, limit in enumerate(near.tolist()):
                loads[row] |= before.get((turn, limit), False)
                before[turn, limit] = loads[row]
            counted = np.where(loads, slope, 0.0)
            blocks.append(counted)
            rooms.append(free + (counted * used).sum(axis=1))
            numbers += near.tolist()
        return np.vstack(blocks), np.concatenate(rooms), numbers


def who_loads(slope: Floats, room: Floats, request: Floats) -> NDArray[np.bool_]:
    """Tell who loads each limit, and not just hardly.

    Parameters
    ----------
    slope : ndarray, shape (limits, connections)
        How a MW of each envelope moves each limit, not negative.
    room : ndarray, shape (limits,)
        What use may take of each limit, in its unit; where there is none, everybody loads it who
        moves it.
    request : ndarray, shape (connections,)
        The most each would use [MW].

    Returns
    -------
    ndarray of bool, shape (limits, connections)

    Examples
    --------
    One MW of the third moves the limit by a fiftieth of what one of the first does. Its whole
    request takes up 0.02 of a room of 2, which is little, but too much of a room of 0.1:

    >>> slope, request = np.array([[1.0, 0.9, 0.02]]), np.array([5.0, 5.0, 1.0])
    >>> who_loads(slope, np.array([2.0]), request).tolist()
    [[True, True, False]]
    >>> who_loads(slope, np.array([0.1]), request).tolist()
    [[True, True, True]]
    """
    hardly = slope < LOADS_SHARE * slope.max(axis=1, keepdims=True, initial=0.0)
    together = np.where(hardly, slope, 0.0) @ request
    little = together <= SLIGHT_USE_SHARE * np.maximum(room, 0.0)
    return np.asarray((slope > 0.0) & ~(hardly & little[:, None]))


def fill_progressively(
    rows: Floats, room: Floats, request: Floats, weights: Floats
) -> tuple[Floats, Ints]:
    """Grow all entries of x in proportion to their weights until a row or a request stops each.

    Parameters
    ----------
    rows : ndarray, shape (k, n)
        Not negative; ``rows x <= room`` must hold.
    room : ndarray, shape (k,)
    request, weights : ndarray, shape (n,)
        Upper bound and speed of each entry, not negative.

    Returns
    -------
    (x, stopped_by) : ndarray, shape (n,)
        The filling, and the row that stopped each entry (-1: its request).

    Examples
    --------
    Three share one limit of 6; the first wants only 1:

    >>> x, by = fill_progressively(np.ones((1, 3)), np.array([6.0]), np.array([1.0, 9, 9]),
    ...                            np.ones(3))
    >>> x.tolist(), by.tolist()
    ([1.0, 2.5, 2.5], [-1, 0, 0])
    """
    x = np.zeros(len(request))
    stopped = np.full(len(request), -1, dtype=np.int64)
    growing = (weights > 0.0) & (request > 0.0)
    for row in np.flatnonzero(room <= 0.0):
        hit = growing & (rows[row] > 0.0)
        stopped[hit] = row
        growing &= ~hit
    while growing.any():
        speed = np.where(growing, weights, 0.0)
        load = rows @ speed
        left = room - rows @ x
        with np.errstate(divide="ignore", invalid="ignore"):
            by_row = np.where(load > 0.0, np.maximum(left, 0.0) / load, np.inf)
            by_request = np.where(growing, (request - x) / speed, np.inf)
        step = float(min(by_row.min(initial=np.inf), by_request.min()))
        x = np.minimum(x + step * speed, request)
        full = growing & (by_request <= step * (1.0 + 1e-12))
        x[full] = request[full]
        growing &= ~full
        for row in np.flatnonzero(by_row <= step * (1.0 + 1e-12)):
            hit = growing & (rows[row] > 0.0)
            stopped[hit] = row
            growing &= ~hit
    return x, stopped


def _share_direction(corners: _Corners, request: Floats, weights: Floats) -> OneDirection:
    """Fill, solve the corners in AC, linearise there, until the filling stays."""
    at = corners.at
    x = np.zeros(len(request))
    idle = np.array([at.values(state)[:, 0] for state in corners.states(x)])
    breaks = np.flatnonzero((idle - corners.allowed > at.tolerance).any(axis=0))
    stopped, numbers = np.full(len(request), -1, dtype=np.int64), [0]
    rounds, change = 0, 0.0
    before: Loaders = {}
    kept = np.zeros(0, dtype=np.int64)
    for _ in range(ROUNDS_MAX):
        before = before if rounds >= SETTLING_ROUNDS else {}
        rows, room, numbers = corners.rows(x, request, kept, before)
        rounds += 1
        filled, stopped = fill_progressively(rows, room, request, weights)
        kept = np.union1d(kept, np.array(numbers, dtype=np.int64)[stopped[stopped >= 0]])
        filled = _towards(corners, x, filled)
        change = float(np.abs(filled - x).max(initial=0.0))
        x = filled
        if change <= STEP_TOLERANCE_MW:
            break
    settled = change <= STEP_TOLERANCE_MW
    if not len(breaks):
        inside = _drawn_in(corners, x, kept)
        settled &= bool((inside == x).all())
        x = inside
    held = [
        REQUEST if row < 0 else " ".join(str(part) for part in at.name(numbers[row])).strip()
        for row in stopped.tolist()
    ]
    return OneDirection(
        p_mw=x,
        held_by=tuple(held),
        rounds=rounds,
        background_breaks=tuple(" ".join(map(str, at.name(int(k)))) for k in breaks),
        settled=settled,
    )


def _towards(corners: _Corners, x: Floats, filled: Floats) -> Floats:
    """Go to a filling, or as far as the corners have an AC state."""
    share = 1.0
    while share > 1e-3:
        there = x + share * (filled - x)
        try:
            corners.states(there)
        except PowerFlowDiverged:
            share /= 2.0
            continue
        return np.asarray(there)
    return x


def _drawn_in(corners: _Corners, x: Floats, kept: Ints) -> Floats:
    """Draw all envelopes in by one factor where a corner is still over by more than rounding."""
    if corners.holds(x, kept):
        return x
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if corners.holds(middle * x, kept) else (low, middle)
    return np.asarray(low * x)


def _refuse_unusable(at: MonitoredGrid, connections: Connections, rule: str) -> None:
    problems = []
    if rule not in FAIRNESS_RULES:
        remedy = f"one of {', '.join(FAIRNESS_RULES)}"
        problems.append(Problem(where="fairness rule", what=f"{rule!r} is unknown", remedy=remedy))
    if not at.grid.radial:
        problems.append(Problem(where=at.network.name, what="envelopes need a radial grid"))
    for field in ("import_mw", "export_mw", "tan_max"):
        value = getattr(connections, field)
        problems += [
            Problem(where=connections.name[row], what=f"{field} is {value[row]}")
            for row in np.flatnonzero(~(np.isfinite(value) & (value >= 0.0))).tolist()
        ]
    problems += [
        Problem(where=name, what="is named twice")
        for name in sorted(set(connections.name))
        if connections.name.count(name) > 1
    ]
    refuse_if_any(problems)
