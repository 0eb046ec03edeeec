"""Orders that are decided once: after the day ahead their awards stand, whatever follows.

Generation, demand and storage are traded again in every intraday round. What a shift, curtailment,
block, bilateral or portfolio order was awarded is firm: from then on it is generation or demand
that must run, one for each bus, with the award as its power. A curtailed load is the load less
what was reduced, so that its connection has one position. Both ends of a bilateral belong to the
participant who pays for the use of the grid; the energy's price stays between the two parties.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods
from data.readers.simbench import NetworkProfiles
from data.records.network import Network
from data.records.order import (
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    PriceStep,
    StorageOrder,
)
from dso.cycles.clearing_files import head_rows

Floats = NDArray[np.float64]
# Between the id of the order and the bus of a firm part.
AT: Final = "@"
# Begins the id of power that was bought beside the market, where it stands in a round.
BOUGHT: Final = "bought/"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmPart:
    """What an order holds at one bus: an order that must run, and its position, shape (periods,).

    Injection positive [MW, Mvar].
    """

    order: Order
    injection_mw: Floats
    injection_mvar: Floats


def is_traded_again(order: Order) -> bool:
    """Tell whether intraday rounds take up an order: a storage, or an element that is forecast."""
    if len(order.buses) != 1 or is_firm(order):
        return False
    forecast = isinstance(order, GenerationOrder | DemandOrder) and order.asset is not None
    return forecast or isinstance(order, StorageOrder)


def is_firm(order: Order) -> bool:
    """Tell whether an order is a part made here."""
    return AT in order.id


def is_bought(order: Order) -> bool:
    """Tell whether an order is flexibility that was bought, and no position of the market."""
    return order.id.startswith(BOUGHT)


def firm_parts(
    orders: Iterable[Order],
    folder: Path,
    network: Network,
    fixed: NetworkProfiles,
    periods: Periods,
) -> tuple[FirmPart, ...]:
    """Return what orders that are decided once were awarded, one part for each bus and direction.

    Parameters
    ----------
    orders : iterable of Order
        Orders of a day-ahead clearing.
    folder : Path
        Where its ``awards.csv`` is.
    network : Network
        The grid.
    fixed : NetworkProfiles
        Powers that the clearing took for loads, from which curtailments are taken.
    periods : Periods
        Of the clearing.
    """
    decided = {order.id: order for order in orders if not is_traded_again(order)}
    if not decided:
        return ()
    found: dict[tuple[str, int], tuple[Floats, Floats]] = {}
    names = ("order", "bus", "injection_mw", "injection_mvar")
    for name, bus, *cells, period in head_rows(folder / "awards.csv", names, periods):
        if name in decided:
            nothing = (np.zeros(len(periods)), np.zeros(len(periods)))
            powers = found.setdefault((name, int(bus)), nothing)
            for power, cell in zip(powers, cells, strict=True):
                power[int(period)] = float(cell or 0.0)
    parts: list[FirmPart] = []
    for (name, at_bus), (p_mw, q_mvar) in sorted(found.items()):
        order = decided[name]
        if isinstance(order, CurtailOrder) and order.asset is not None:
            column = int(np.flatnonzero(network.loads.index == int(order.asset[5:]))[0])
            p_mw = p_mw - fixed.load_p_mw[:, column]
            q_mvar = q_mvar - fixed.load_q_mvar[:, column]
        parts += _parts(order, at_bus, p_mw, q_mvar)
    return tuple(parts)


def _parts(order: Order, bus: int, p_mw: Floats, q_mvar: Floats) -> list[FirmPart]:
    """Return the part of a bus; two where it injects and withdraws in turn."""
    asset = order.asset if bus == order.buses[0][0] else None
    name = f"{order.id}{AT}{bus}"
    nothing = np.zeros_like(p_mw)
    if ((p_mw <= 0.0).all() and (p_mw < 0.0).any()) or (asset or "").startswith("load:"):
        must_take = _must_take(order, name, bus, asset, -np.minimum(p_mw, 0.0))
        return [
            FirmPart(order=must_take, injection_mw=np.minimum(p_mw, 0.0), injection_mvar=q_mvar)
        ]
    must_run = _must_run(order, name, bus, asset, np.maximum(p_mw, 0.0))
    found = [FirmPart(order=must_run, injection_mw=np.maximum(p_mw, 0.0), injection_mvar=q_mvar)]
    if (p_mw < 0.0).any():
        taken = np.minimum(p_mw, 0.0)
        must_take = _must_take(order, f"{name}-", bus, None, -taken)
        found.append(FirmPart(order=must_take, injection_mw=taken, injection_mvar=nothing))
    return found


def _must_run(
    order: Order, name: str, bus: int, asset: str | None, p_mw: Floats
) -> GenerationOrder:
    return GenerationOrder(
        id=name, participant=order.participant, buses=((bus, 1.0),), asset=asset,
        submitted_at=order.submitted_at, p_mw_min=p_mw,
        steps=(PriceStep(p_mw=p_mw, price_eur_per_mwh=np.zeros_like(p_mw)),),
    )  # fmt: skip


def _must_take(order: Order, name: str, bus: int, asset: str | None, p_mw: Floats) -> DemandOrder:
    return DemandOrder(
        id=name, participant=order.participant, buses=((bus, 1.0),), asset=asset,
        submitted_at=order.submitted_at, p_mw_min=p_mw,
        steps=(PriceStep(p_mw=p_mw, price_eur_per_mwh=np.zeros_like(p_mw)),),
    )  # fmt: skip


def rest_of_firm(orders: Sequence[Order], first: int) -> list[Order]:
    """Return the firm parts among orders, cut to the periods from ``first`` on."""
    rest: list[Order] = []
    for order in orders:
        if is_firm(order):
            assert isinstance(order, GenerationOrder | DemandOrder)
            p_mw = order.p_mw_min[first:]
            step = PriceStep(p_mw=p_mw, price_eur_per_mwh=np.zeros_like(p_mw))
            rest.append(replace(order, p_mw_min=p_mw, steps=(step,)))
    return rest


def told_to_firm(orders: Sequence[Order]) -> dict[str, Floats]:
    """Return the power of firm parts by asset [MW]: what they do is what they were told.

    A generator's firm part is left out: it feeds in no more than there is.
    """
    found: dict[str, Floats] = {}
    for order in orders:
        if not is_firm(order) or not isinstance(order, GenerationOrder | DemandOrder):
            continue
        asset = order.asset or f"order:{order.id}"
        if not asset.startswith("sgen:"):
            found[asset] = order.p_mw_min
    return found
