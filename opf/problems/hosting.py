"""Hosting capacity: the largest addition at a bus with which every limit still holds.

The addition at a bus is ``size x profile`` in every period, at a power factor of its own. A size
counts as hosted when an AC power flow of every period exists and no limit is exceeded. Sizes are
whole ticks: doubled until one does not hold, then halved between the last that held and the first
that did not, all buses at once. Where limits hold at 0 and again above a gap (an addition that
first harms and then helps), the search ends at the lower border that it meets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingCase
from data.records.network import Elements
from opf.clearing import clear_case
from opf.grid import Grid, build_grid
from opf.limits import LimitSet, list_limits
from opf.power_flow import NodalSolver
from opf.problems.unmarketed import (
    HOLDS_WITHIN,
    ReachedLimit,
    bus_injections,
    excess,
    name_reached,
    node_injections,
    solve_all,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Complexes = NDArray[np.complex128]

# Entries of one batch of power flows, nodes x columns: what stays in the processor's cache.
BATCH_ENTRIES: Final = 2_000_000
# Doublings after which a size has left every scale of a distribution grid.
DOUBLINGS_MAX: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """What is added per MW of size.

    Parameters
    ----------
    injection : ndarray of complex, shape (periods,)
        Injection per MW of size [MW + j Mvar]; withdrawals are negative.
    tick_mw : float
        Step of the search [MW].
    """

    injection: Complexes
    tick_mw: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HostingCapacity:
    """What a bus can host.

    Parameters
    ----------
    capacity_mw : float
        Largest size found [MW], a whole number of ticks.
    reached : ReachedLimit or None
        The limit that one more tick exceeds most; None where no AC power flow exists there.
    """

    bus: int
    capacity_mw: float
    reached: ReachedLimit | None


@dataclass(slots=True)
class _Trials:
    """Power flows of additions at several buses at once."""

    case: ClearingCase
    solver: NodalSolver
    limits: LimitSet
    base: Complexes
    injection: Complexes

    def batches(self, count: int) -> list[Ints]:
        """Split trials so that a batch stays small."""
        periods = self.base.shape[1]
        each = max(1, BATCH_ENTRIES // (self.base.shape[0] * periods))
        return [np.arange(k, min(k + each, count)) for k in range(0, count, each)]

    def hold(self, nodes: Ints, size_mw: Floats) -> Bools:
        """Whether every limit holds in every period; one answer per (node, size)."""
        answer = np.zeros(len(nodes), dtype=bool)
        for part in self.batches(len(nodes)):
            answer[part] = self._hold(nodes[part], size_mw[part])
        return answer

    def _columns(self, nodes: Ints, size_mw: Floats) -> Complexes:
        periods = self.base.shape[1]
        total = np.tile(self.base, (1, len(nodes)))
        columns = np.arange(total.shape[1])
        added = (size_mw[:, None] * self.injection[None, :]).ravel()
        total[np.repeat(nodes, periods), columns] += added
        return total

    def _hold(self, nodes: Ints, size_mw: Floats) -> Bools:
        periods = self.base.shape[1]
        state, solved = solve_all(self.solver, self._columns(nodes, size_mw))
        fine = np.zeros(len(nodes) * periods, dtype=bool)
        if state is not None:
            worst = excess(self.limits, state).max(axis=0, initial=-np.inf)
            fine[solved] = worst <= HOLDS_WITHIN
        holds: Bools = np.all(fine.reshape(len(nodes), periods), axis=1)
        return holds

    def reached(self, node: int, size_mw: float) -> ReachedLimit | None:
        """Return the limit exceeded most at a size; None where a power flow does not exist."""
        columns = self._columns(np.array([node]), np.array([size_mw]))
        state, solved = solve_all(self.solver, columns)
        if state is None or len(solved) < columns.shape[1]:
            return None
        over = excess(self.limits, state)
        limit, column = np.unravel_index(int(np.argmax(over)), over.shape)
        return name_reached(
            self.case, self.solver.grid, self.limits, state, int(limit), int(column)
        )


def hosting_capacities(
    case: ClearingCase,
    addition: Addition,
    buses: Sequence[int],
    *,
    progress: Callable[[int], None] | None = None,
) -> tuple[HostingCapacity, ...]:
    """Find the hosting capacity of each bus alone, without any market.

    Parameters
    ----------
    case : ClearingCase
        Network, limits and profiles; its orders are not used.
    addition : Addition
        What is added, and the tick of the search.
    buses : sequence of int
        Numbers of buses in service that are not the substation.
    progress : callable, optional
        Called with the number of buses whose search ended, after every round.

    Returns
    -------
    tuple of HostingCapacity
        In the order of ``buses``. Where a limit is exceeded already, the capacity is 0 and
        ``reached`` names that limit.

    Raises
    ------
    InputError
        An addition that runs too little for any limit to bound it.
    """
    grid = build_grid(case.network)
    trials = _Trials(
        case,
        NodalSolver(grid),
        list_limits(case, grid),
        node_injections(grid, bus_injections(case)),
        addition.injection,
    )
    nodes = nodes_of(grid, case, buses)
    ticks, failing = _search(trials, nodes, addition.tick_mw, progress)
    return tuple(
        HostingCapacity(
            bus=int(bus),
            capacity_mw=float(ticks[k] * addition.tick_mw),
            reached=trials.reached(int(nodes[k]), float(failing[k] * addition.tick_mw)),
        )
        for k, bus in enumerate(buses)
    )


def nodes_of(grid: Grid, case: ClearingCase, buses: Sequence[int]) -> Ints:
    """Return the node of each bus."""
    row_of = {int(bus): row for row, bus in enumerate(case.network.buses.index)}
    return np.array([grid.bus_node[row_of[int(bus)]] for bus in buses], dtype=np.int64)


def _search(
    trials: _Trials, nodes: Ints, tick_mw: float, progress: Callable[[int], None] | None
) -> tuple[Ints, Ints]:
    """Return the last size that held and the first that did not [ticks], for each node."""
    held = np.zeros(len(nodes), dtype=np.int64)
    failed = np.zeros(len(nodes), dtype=np.int64)
    # without an addition all buses see one and the same grid
    if len(nodes) == 0 or not trials.hold(nodes[:1], np.zeros(1))[0]:
        return held, failed
    failed[:] = -1
    trial = np.ones(len(nodes), dtype=np.int64)
    while True:
        going = np.flatnonzero((failed < 0) | (failed - held > 1))
        if progress is not None:
            progress(len(nodes) - len(going))
        if not len(going):
            break
        fine = trials.hold(nodes[going], (trial[going] * tick_mw).astype(float))
        held[going[fine]] = trial[going[fine]]
        failed[going[~fine]] = trial[going[~fine]]
        open_end = failed < 0
        trial = np.where(open_end, 2 * held, (held + failed) // 2)
        if held.max() > 2**DOUBLINGS_MAX:
            raise ValueError(
                "no limit of the case bounds the addition: state limits, or a larger tick"
            )
    return held, failed


def with_addition(case: ClearingCase, addition: Addition, bus: int, size_mw: float) -> ClearingCase:
    """Return a case with one more generator, or load where the addition withdraws, at a bus."""
    added = size_mw * addition.injection
    sells = float(addition.injection.real.sum()) >= 0
    network = case.network
    elements = network.sgens if sells else network.loads
    sign = 1.0 if sells else -1.0
    more = _one_more(elements, bus, size_mw)
    grown = (
        dataclasses.replace(network, sgens=more)
        if sells
        else dataclasses.replace(network, loads=more)
    )
    p = sign * added.real[:, None]
    q = sign * added.imag[:, None]
    if sells:
        return dataclasses.replace(
            case,
            network=grown,
            sgen_p_mw=np.hstack([case.sgen_p_mw, p]),
            sgen_q_mvar=np.hstack([case.sgen_q_mvar, q]),
        )
    return dataclasses.replace(
        case,
        network=grown,
        load_p_mw=np.hstack([case.load_p_mw, p]),
        load_q_mvar=np.hstack([case.load_q_mvar, q]),
    )


def _one_more(elements: Elements, bus: int, size_mw: float) -> Elements:
    number = int(elements.index.max(initial=-1)) + 1
    return Elements(
        index=np.append(elements.index, number),
        name=(*elements.name, "addition"),
        bus=np.append(elements.bus, bus),
        p_mw=np.append(elements.p_mw, size_mw),
        q_mvar=np.append(elements.q_mvar, 0.0),
        sn_mva=np.append(elements.sn_mva, np.nan),
        scaling=np.append(elements.scaling, 1.0),
        in_service=np.append(elements.in_service, True),
        technology=(*elements.technology, ""),
        profile=(*elements.profile, ""),
    )


def hosting_with_market(
    case: ClearingCase, addition: Addition, bus: int, *, from_mw: float
) -> float:
    """Find the hosting capacity of one bus where the case's orders may make room [MW].

    The addition stays firm: it is neither curtailed nor paid, only the orders of the case move. A
    size counts as hosted when the clearing is certified without slack.

    Parameters
    ----------
    from_mw : float
        Size to begin with, a whole number of ticks: the capacity without market.

    Returns
    -------
    float
        Largest size found [MW]; 0 where not even the case itself clears without slack.
    """

    def holds(ticks: int) -> bool:
        trial = with_addition(case, addition, bus, ticks * addition.tick_mw)
        return clear_case(trial).status == "certified"

    held, failed = 0, -1
    trial = max(round(from_mw / addition.tick_mw), 0)
    stride = max(1, trial // 4)
    while failed < 0 or failed - held > 1:
        if holds(trial):
            held = trial
        else:
            failed = trial
            if failed == 0:
                return 0.0
        if failed < 0:
            trial, stride = held + stride, 2 * stride
        else:
            trial = (held + failed) // 2
    return held * addition.tick_mw
