"""Outages of single branches, and what each normally-open point can restore.

For each branch: open it, see which buses are left dark, and close each normally-open point that
joins the dark part to the rest. Every pair (branch open, tie closed) is a network of its own, whose
AC power flow is solved in all periods at the profiles, without a market. On a radial feeder these
pairs are the branch exchanges: close a tie, open one branch of the loop that it makes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from data.records.clearing import ClearingCase
from data.records.network import Network
from opf.grid import Grid, build_grid
from opf.limits import list_limits
from opf.power_flow import AcState, NodalSolver
from opf.problems.unmarketed import (
    HOLDS_WITHIN,
    ReachedLimit,
    bus_injections,
    excess,
    name_reached,
    node_injections,
    solve_all,
)

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Complexes = NDArray[np.complex128]


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """A branch, or a pair of buses with an open bus-bus switch, that may be closed or opened.

    ``element`` is the number of the line or transformer; for a switch, -1.
    """

    kind: Literal["line", "trafo", "switch"]
    element: int
    bus_from: int
    bus_to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Extreme:
    """The lowest or highest value of a quantity, with its element and period."""

    value: float
    element_kind: str
    element: int
    period: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """One branch open and one tie closed, or none.

    Parameters
    ----------
    outage : Switched
        The branch that is open.
    tie : Switched or None
        The normally-open point that is closed; None where none is needed or none reaches.
    dark : tuple of int
        Buses without supply.
    dark_mw : float
        Largest load at them in any period [MW].
    solved : bool
        Whether every period has an AC power flow; without, the numbers below are None.
    vm_min, vm_max, loading_max : Extreme or None
        Voltages [pu] without the substation's, loading of branches [percent of rating]; None also
        where nothing but the substation is supplied.
    losses_mwh : float or None
        Over all periods.
    reached : ReachedLimit or None
        The limit exceeded most; None where all hold.
    periods_exceeded : int
        Periods in which some limit is exceeded.
    """

    outage: Switched
    tie: Switched | None
    dark: tuple[int, ...]
    dark_mw: float
    solved: bool
    vm_min: Extreme | None = None
    vm_max: Extreme | None = None
    loading_max: Extreme | None = None
    losses_mwh: float | None = None
    reached: ReachedLimit | None = None
    periods_exceeded: int = 0

    @property
    def holds(self) -> bool:
        """Whether every bus is supplied and every limit holds in every period."""
        return self.solved and not self.dark and self.reached is None


def list_branches(network: Network) -> tuple[tuple[Switched, bool], ...]:
    """Return every line and transformer between buses in service, and whether it is closed."""
    on = set(network.buses.index[network.buses.in_service].tolist())
    lines, trafos = network.lines, network.trafos
    found: list[tuple[Switched, bool]] = []
    tables: tuple[tuple[Literal["line", "trafo"], Ints, Ints, Ints, Bools], ...] = (
        ("line", lines.index, lines.from_bus, lines.to_bus,
         lines.in_service & lines.closed_from & lines.closed_to),
        ("trafo", trafos.index, trafos.hv_bus, trafos.lv_bus,
         trafos.in_service & trafos.closed_hv & trafos.closed_lv),
    )  # fmt: skip
    for kind, index, start, end, closed in tables:
        for row, element in enumerate(index.tolist()):
            a, b = int(start[row]), int(end[row])
            if a in on and b in on:
                branch = Switched(kind=kind, element=element, bus_from=a, bus_to=b)
                found.append((branch, bool(closed[row])))
    return tuple(found)


def supplied_buses(network: Network) -> Bools:
    """Tell for each bus whether a closed way joins it to the substation, shape (buses,)."""
    buses = network.buses
    row_of = {int(bus): row for row, bus in enumerate(buses.index)}
    pairs = [(s.bus_from, s.bus_to) for s, closed in list_branches(network) if closed]
    pairs += [(int(a), int(b)) for a, b in network.bus_links]
    rows = [(row_of[a], row_of[b]) for a, b in pairs]
    joined = [(a, b) for a, b in rows if buses.in_service[a] and buses.in_service[b]]
    a = np.array([pair[0] for pair in joined], dtype=np.int64)
    b = np.array([pair[1] for pair in joined], dtype=np.int64)
    graph = sparse.coo_matrix((np.ones(len(a)), (a, b)), shape=(len(row_of), len(row_of)))
    _, label = csgraph.connected_components(graph, directed=False)
    supplied: Bools = (label == label[row_of[network.slack_bus]]) & buses.in_service
    return supplied


def with_switched(network: Network, branch: Switched, *, closed: bool) -> Network:
    """Return the network with a branch in or out of service, or a bus-bus switch closed."""
    if branch.kind == "switch":
        pair = np.array([[branch.bus_from, branch.bus_to]], dtype=np.int64)
        links = network.bus_links.reshape(-1, 2)
        return dataclasses.replace(network, bus_links=np.vstack([links, pair]))
    name = "lines" if branch.kind == "line" else "trafos"
    ends = ("closed_from", "closed_to") if branch.kind == "line" else ("closed_hv", "closed_lv")
    table = getattr(network, name)
    row = int(np.flatnonzero(table.index == branch.element)[0])
    columns = {}
    for column in ("in_service", *ends) if closed else ("in_service",):
        values = getattr(table, column).copy()
        values[row] = closed
        columns[column] = values
    return dataclasses.replace(network, **{name: dataclasses.replace(table, **columns)})


def without_dark(network: Network, supplied: Bools) -> Network:
    """Take buses without supply out of service, and every branch that touches them.

    A line from a supplied bus to a dark one is open at its dark end; its charging stays.
    """
    buses = dataclasses.replace(network.buses, in_service=network.buses.in_service & supplied)
    lit = set(network.buses.index[supplied].tolist())
    lines = network.lines
    from_bus, to_bus = lines.from_bus.copy(), lines.to_bus.copy()
    for row, (a, b) in enumerate(zip(from_bus.tolist(), to_bus.tolist(), strict=True)):
        if a in lit and b not in lit and not lines.closed_to[row]:
            to_bus[row] = a
        elif b in lit and a not in lit and not lines.closed_from[row]:
            from_bus[row] = b
    lines = dataclasses.replace(lines, from_bus=from_bus, to_bus=to_bus)
    return dataclasses.replace(network, buses=buses, lines=lines)


def run_contingencies(
    case: ClearingCase,
    ties: tuple[Switched, ...],
    outages: tuple[Switched, ...],
    *,
    progress: Callable[[Switched], None] | None = None,
) -> tuple[Restoration, ...]:
    """Open each branch alone and try every tie that reaches what it leaves dark.

    Parameters
    ----------
    case : ClearingCase
        Network, limits and profiles; its orders are not used.
    ties : tuple of Switched
        Normally-open points.
    outages : tuple of Switched
        Branches to open, closed now.
    progress : callable, optional
        Called after each outage.

    Returns
    -------
    tuple of Restoration
        By outage in the given order, then by tie. An outage that leaves nothing dark, or that no
        tie can help, has one row without tie.
    """
    by_bus = bus_injections(case)
    before = supplied_buses(case.network)
    found: list[Restoration] = []
    for outage in outages:
        found.extend(_restorations(case, by_bus, before, ties, outage))
        if progress is not None:
            progress(outage)
    return tuple(found)


def _restorations(
    case: ClearingCase, by_bus: Complexes, before: Bools, ties: tuple[Switched, ...],
    outage: Switched,
) -> Iterator[Restoration]:  # fmt: skip
    row_of = {int(bus): row for row, bus in enumerate(case.network.buses.index)}
    opened = with_switched(case.network, outage, closed=False)
    supplied = supplied_buses(opened)
    dark = before & ~supplied
    reaching = [
        tie
        for tie in ties
        if tie != outage
        and any(
            dark[row_of[a]] and supplied[row_of[b]]
            for a, b in ((tie.bus_from, tie.bus_to), (tie.bus_to, tie.bus_from))
        )
    ]
    for tie in reaching:
        closed = with_switched(opened, tie, closed=True)
        yield _measure(case, closed, by_bus, before, outage, tie)
    if not reaching:
        yield _measure(case, opened, by_bus, before, outage, None)


def _measure(
    case: ClearingCase, network: Network, by_bus: Complexes, before: Bools,
    outage: Switched, tie: Switched | None,
) -> Restoration:  # fmt: skip
    """Solve one switched network in all periods."""
    supplied = supplied_buses(network)
    dark = before & ~supplied
    named = tuple(int(bus) for bus in network.buses.index[dark])
    dark_mw = float(np.maximum(-by_bus[dark].real, 0.0).sum(axis=0).max(initial=0.0))
    lit = dataclasses.replace(case, network=without_dark(network, supplied))
    grid = build_grid(lit.network)
    solver = NodalSolver(grid)
    injection = node_injections(grid, by_bus)
    state, solved = solve_all(solver, injection)
    if state is None or len(solved) < injection.shape[1]:
        return Restoration(outage=outage, tie=tie, dark=named, dark_mw=dark_mw, solved=False)
    limits = list_limits(lit, grid)
    over = excess(limits, state)
    worst = np.unravel_index(int(np.argmax(over)), over.shape) if over.size else (0, 0)
    exceeded = over.max(axis=0, initial=-np.inf) > HOLDS_WITHIN
    losses = state.exchange.real + state.injection.real.sum(axis=0)
    low, high = _voltages(case, grid, state)
    return Restoration(
        outage=outage,
        tie=tie,
        dark=named,
        dark_mw=dark_mw,
        solved=True,
        vm_min=low,
        vm_max=high,
        loading_max=_loading(grid, state),
        losses_mwh=float(losses.sum()) * case.periods.mtu_h,
        reached=name_reached(lit, grid, limits, state, int(worst[0]), int(worst[1]))
        if exceeded.any()
        else None,
        periods_exceeded=int(exceeded.sum()),
    )


def _voltages(
    case: ClearingCase, grid: Grid, state: AcState
) -> tuple[Extreme, Extreme] | tuple[None, None]:
    """Lowest and highest voltage of the buses supplied but the substation's [pu]."""
    rows = np.flatnonzero(grid.bus_node > 0)
    if not rows.size:
        return None, None
    vm = np.abs(state.v)[grid.bus_node[rows]]

    def at(place: int) -> Extreme:
        row, period = np.unravel_index(place, vm.shape)
        bus = int(case.network.buses.index[rows[row]])
        return Extreme(
            value=float(vm[row, period]), element_kind="bus", element=bus, period=int(period)
        )

    return at(int(np.argmin(vm))), at(int(np.argmax(vm)))


def _loading(grid: Grid, state: AcState) -> Extreme | None:
    """Highest loading of any branch end [percent of rating]."""
    b = grid.branches
    if not len(b):
        return None
    loading = 100.0 * np.maximum(
        np.abs(state.current_from) / b.rating_from[:, None],
        np.abs(state.current_to) / b.rating_to[:, None],
    )
    row, period = np.unravel_index(int(np.argmax(loading)), loading.shape)
    return Extreme(
        value=float(loading[row, period]),
        element_kind=str(b.kind[row]),
        element=int(b.element[row]),
        period=int(period),
    )
