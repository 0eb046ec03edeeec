"""What an explanation says, as frozen records; units are in the names.

A sensitivity says by how much one more MW *taken* at the bus (or given by the order, see there)
uses a limit up; below zero it relieves it. Part = sensitivity x shadow price.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Unit = Literal["pu", "MVA", "MW"]
ReasonCode = Literal[
    "accepted",
    "price",
    "binding_element",
    "marginal",
    "no_cycle_pays",
    "no_move_pays",
    "paradoxical",
    "parent_rejected",
    "group_partner_accepted",
    "not_feasible",
    "nothing_offered",
    "no_clearing",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitKey:
    """A limit as the result files name it; ``side`` of a branch end, a voltage or a cap."""

    element_kind: str
    element: int
    side: str

    def __str__(self) -> str:
        return f"{self.element_kind}:{self.element}:{self.side}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLine:
    """One line of a price: energy, loss or what one limit adds.

    Parameters
    ----------
    cause : str
        ``energy``, ``loss``, ``limit`` or ``reactive`` (what the order's reactive power is worth).
    part_eur_per_mwh : float
        Its part of the price [EUR/MWh].
    key, name, unit : LimitKey, str, str or None
        The limit, its name in the network, and the unit it is in; None but for limits.
    limit : float or None
        Its value [unit].
    sensitivity : float or None
        Use of the limit by one more MW [unit/MW]; of a loss: MW lost per MW taken. None where
        several periods are averaged, or a zero import price leaves it open.
    shadow_price : float or None
        What one more unit of the limit is worth [EUR/(unit h)]; of a loss: the import price.
    """

    cause: Literal["energy", "loss", "limit", "reactive"]
    part_eur_per_mwh: float
    key: LimitKey | None = None
    name: str = ""
    unit: Unit | None = None
    limit: float | None = None
    sensitivity: float | None = None
    shadow_price: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRange:
    """Prices that the same schedule admits [EUR/MWh]; more than one where it is degenerate."""

    low_eur_per_mwh: float
    high_eur_per_mwh: float

    @property
    def degenerate(self) -> bool:
        """Whether the schedule leaves the price open by more than 0.1 % (at least 1 cent)."""
        size = max(abs(self.low_eur_per_mwh), abs(self.high_eur_per_mwh), 10.0)
        return self.high_eur_per_mwh - self.low_eur_per_mwh > 1e-3 * size


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceExplanation:
    """Why the price at a bus is what it is; the lines add up to it in whole micro-EUR/MWh."""

    bus: int
    period: int
    dlmp_p_eur_per_mwh: float
    dlmp_q_eur_per_mvarh: float
    import_price_eur_per_mwh: float
    lines: tuple[PriceLine, ...]
    price_range: PriceRange | None
    short: tuple[Shortage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodOutcome:
    """One order in one period.

    Parameters
    ----------
    offered_mw, awarded_mw : float
        What it offered or asked for, and got [MW, not negative].
    limit_price_eur_per_mwh : float
        Price of the first MW not awarded; of the last one where all is.
    market_price_eur_per_mwh : float
        What the order is worth or costs there: the share-weighted DLMP with the worth of the
        reactive power that comes with it; the difference of two of a bilateral.
    gap_eur_per_mwh : float
        By how much the order is out of the money; below zero: in the money. None for storages and
        shifts, whose periods only pay together.
    """

    period: int
    offered_mw: float
    awarded_mw: float
    limit_price_eur_per_mwh: float
    market_price_eur_per_mwh: float
    gap_eur_per_mwh: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """The price that would have been accepted.

    Parameters
    ----------
    direction : str
        ``at_most`` (offers, costs) or ``at_least`` (bids).
    price_eur_per_mwh : float
        The price.
    period : int or None
        Where it holds; None for orders that are decided as a whole.
    price_range : PriceRange or None
        Prices the same schedule admits, where degenerate; the threshold is its end that matters.
    confirmed : bool or None
        Whether clearing again with prices 1 % to either side flipped the decision; None: not tried,
        because for orders without integers it follows from the prices.
    basis : str
        What the price is measured on: ``energy``, ``cycle`` (on each MWh charged and discharged)
        or ``move`` (on each MWh moved).
    """

    direction: Literal["at_most", "at_least"]
    price_eur_per_mwh: float
    period: int | None
    price_range: PriceRange | None = None
    confirmed: bool | None = None
    basis: Literal["energy", "cycle", "move"] = "energy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The size that would have been accepted in full [MW]; of a block its share of the profile.

    ``binding`` is the limit that admits no more, or needs no more, where one is behind it.
    """

    p_mw: float
    period: int | None
    share: float | None = None
    confirmed: bool | None = None
    binding: LimitKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BestUse:
    """The best thing a storage or shift that stays idle could do at the published prices.

    ``take_period`` is where it would take more, ``give_period`` where it would give or take less;
    None where one of the two does not occur; prices are the DLMP there. ``worth_eur_per_mwh`` is
    the cost at which it breaks even, on each MWh charged and discharged, or moved.
    """

    take_period: int | None
    give_period: int | None
    take_price_eur_per_mwh: float | None
    give_price_eur_per_mwh: float | None
    worth_eur_per_mwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderExplanation:
    """Why an order got what it got.

    Parameters
    ----------
    reason : str
        One of `ReasonCode`.
    deciding_period : int or None
        The period that the lines speak of; None where they average over the order's profile.
    lines : tuple of PriceLine
        Parts of ``market_price_eur_per_mwh``.
    binding : LimitKey or None
        The limit that took most of the price from the order.
    other_order : str
        Parent or partner that decided, else empty.
    notes : tuple of str
        What the reader must know besides.
    """

    order: str
    kind: str
    status: str
    reason: ReasonCode
    surplus_eur: float
    offered_mwh: float
    awarded_mwh: float
    deciding_period: int | None
    limit_price_eur_per_mwh: float | None
    market_price_eur_per_mwh: float | None
    lines: tuple[PriceLine, ...]
    binding: LimitKey | None = None
    periods: tuple[PeriodOutcome, ...] = ()
    threshold: Threshold | None = None
    size: Size | None = None
    best_use: BestUse | None = None
    other_order: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Helper:
    """An order that could have helped a limit that did not hold.

    ``relief_mw_per_mw``: MW-equivalent of the shortage relieved by one MW of it; ``unused_mw``:
    what it had left in that period (None where it depends on other periods).
    """

    order: str
    relief_mw_per_mw: float
    unused_mw: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """A limit that did not hold over its periods.

    ``mw_short`` has one value per period [MW-equivalent]; ``worst_period`` has the largest.
    """

    key: LimitKey
    name: str
    unit: Unit
    limit: float
    worst_value: float
    periods: tuple[int, ...]
    mw_short: tuple[float, ...]
    worst_period: int
    helpers: tuple[Helper, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collapse:
    """Periods without an AC power flow: how much of the fixed load is too much.

    ``carried_share`` of what no order names can be carried; ``mw_short`` is the rest of the fixed
    withdrawal in the worst period. ``weakest_bus`` has the lowest voltage just before.
    """

    periods: tuple[int, ...]
    carried_share: float
    mw_short: float
    worst_period: int
    weakest_bus: int
    weakest_name: str
    weakest_vm_pu: float
    helpers: tuple[Helper, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusExplanation:
    """What a clearing could not do, and why; empty where every limit holds."""

    status: str
    message: str
    shortages: tuple[Shortage, ...] = ()
    collapse: Collapse | None = None
