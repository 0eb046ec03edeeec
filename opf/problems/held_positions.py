"""A market that is over: what was awarded stays, and the grid is looked at with it.

Awards of a named load or generator take the place of its profile; all others act at their buses
beside the profiles. What is left is a case without orders whose AC state is that of the clearing.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import Award, ClearingCase, ClearingResult
from data.records.network import Elements, Network
from data.records.order import CurtailOrder, Order

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]


@dataclasses.dataclass(slots=True)
class _Powers:
    """Profiles while awards take their places; ``beside`` has shape (buses, periods) [MW+jMvar]."""

    load_p: Floats
    load_q: Floats
    sgen_p: Floats
    sgen_q: Floats
    beside: Complexes


def held_case(case: ClearingCase, result: ClearingResult) -> ClearingCase:
    """Return a case in which the awards of its clearing are fixed and no order is left.

    Parameters
    ----------
    case, result : ClearingCase, ClearingResult
        A case and its clearing.

    Returns
    -------
    ClearingCase
        Same grid, limits, margins and periods. Awards that are not a load's or a generator's own
        power are static generators added to the network, one per bus.
    """
    network = case.network
    powers = _Powers(
        load_p=case.load_p_mw.copy(),
        load_q=case.load_q_mvar.copy(),
        sgen_p=case.sgen_p_mw.copy(),
        sgen_q=case.sgen_q_mvar.copy(),
        beside=np.zeros((len(network.buses.index), len(case.periods)), dtype=complex),
    )
    order_of = {order.id: order for order in case.orders}
    row_of_bus = {int(bus): row for row, bus in enumerate(network.buses.index)}
    for award in result.awards:
        order = order_of[award.order]
        if not _take_place(powers, network, order, award):
            for row, bus in enumerate(award.buses):
                power = award.injection_mw[row] + 1j * award.injection_mvar[row]
                powers.beside[row_of_bus[bus]] += power
    held = dataclasses.replace(
        case,
        load_p_mw=powers.load_p,
        load_q_mvar=powers.load_q,
        sgen_p_mw=powers.sgen_p,
        sgen_q_mvar=powers.sgen_q,
        orders=(),
        position_mw=None,
        position_mvar=None,
    )
    return with_injections(held, powers.beside)


def _take_place(powers: _Powers, network: Network, order: Order, award: Award) -> bool:
    """Put an award in the place of its asset's profile; False where it stands beside it."""
    if order.asset is None or isinstance(order, CurtailOrder):
        return False
    kind, _, index = order.asset.partition(":")
    if kind not in ("load", "sgen"):
        return False
    table = network.loads if kind == "load" else network.sgens
    column = int(np.flatnonzero(table.index == int(index))[0])
    p_mw, q_mvar = award.injection_mw.sum(axis=0), award.injection_mvar.sum(axis=0)
    if kind == "sgen":
        powers.sgen_p[:, column], powers.sgen_q[:, column] = p_mw, q_mvar
        return True
    # what a load draws reactively while it draws no active power follows no award
    idle = np.where(powers.load_p[:, column] > 0, 0.0, powers.load_q[:, column])
    powers.load_p[:, column], powers.load_q[:, column] = -p_mw, idle - q_mvar
    return True


def with_injections(case: ClearingCase, by_bus: Complexes) -> ClearingCase:
    """Return a case with more injection at some buses, as added static generators.

    Parameters
    ----------
    case : ClearingCase
        The case.
    by_bus : ndarray of complex, shape (buses, periods)
        [MW + j Mvar], rows as the network's buses.
    """
    rows = np.flatnonzero(np.any(by_bus != 0, axis=1))
    if not len(rows):
        return case
    sgens = case.network.sgens
    network = dataclasses.replace(case.network, sgens=_added(sgens, case.network.buses.index[rows]))
    return dataclasses.replace(
        case,
        network=network,
        sgen_p_mw=np.hstack([case.sgen_p_mw, by_bus[rows].real.T]),
        sgen_q_mvar=np.hstack([case.sgen_q_mvar, by_bus[rows].imag.T]),
    )


def _added(sgens: Elements, buses: NDArray[np.int64]) -> Elements:
    count = len(buses)
    first = int(sgens.index.max(initial=-1)) + 1
    ones, zeros = np.ones(count), np.zeros(count)
    return Elements(
        index=np.concatenate([sgens.index, first + np.arange(count)]),
        name=(*sgens.name, *(f"position at bus {bus}" for bus in buses.tolist())),
        bus=np.concatenate([sgens.bus, buses]),
        p_mw=np.concatenate([sgens.p_mw, zeros]),
        q_mvar=np.concatenate([sgens.q_mvar, zeros]),
        sn_mva=np.concatenate([sgens.sn_mva, np.full(count, np.nan)]),
        scaling=np.concatenate([sgens.scaling, ones]),
        in_service=np.concatenate([sgens.in_service, np.ones(count, dtype=bool)]),
        technology=(*sgens.technology, *[""] * count),
        profile=(*sgens.profile, *[""] * count),
    )
