"""Orders: any participant's binding instruction, bid or offer (market rules: docs/market.md)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# What `Order.pay` says where an order is paid the price of its bus.
AT_BUS_PRICE: Final = "dlmp"
OrderKind = Literal["generation", "demand", "storage", "shift", "curtail", "block", "bilateral"]
ORDER_KINDS: Final[tuple[OrderKind, ...]] = (
    "generation", "demand", "storage", "shift", "curtail", "block", "bilateral",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceStep:
    """One incremental step of a price curve; one value per period in each array.

    Parameters
    ----------
    p_mw : ndarray, shape (periods,)
        Size of the step [MW].
    price_eur_per_mwh : ndarray, shape (periods,)
        Price of the step [EUR/MWh], any sign.
    """

    p_mw: Floats
    price_eur_per_mwh: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactiveRange:
    """Reactive capability: injection between bounds [Mvar]; |q| <= p tan(acos(pf)) when given."""

    q_mvar_min: Floats | None = None
    q_mvar_max: Floats | None = None
    power_factor_min: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What all kinds share.

    Parameters
    ----------
    id, participant : str
        Order id (unique in a study) and the party it binds.
    buses : tuple of (bus index, share)
        Where it acts; one entry with share 1, or a portfolio whose shares sum to 1.
    asset : str or None
        ``sgen:12``, ``load:3`` or ``storage:7``: that element leaves the fixed part for all
        periods. None: the resource is additional to the network.
    submitted_at : datetime or None
        When it entered the book, UTC.
    reactive : ReactiveRange or None
        Reactive capability; None means q = 0 (generation, storage) or the asset's power factor
        (demand, shift, curtail).
    pay : str
        ``dlmp`` or ``flexibility/<rule set>``.
    """

    id: str
    participant: str
    buses: tuple[tuple[int, float], ...]
    asset: str | None = None
    submitted_at: datetime | None = None
    reactive: ReactiveRange | None = None
    pay: str = "dlmp"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOrder(Order):
    """Sells injection up a non-decreasing price curve; ``p_mw_min`` must run."""

    steps: tuple[PriceStep, ...]
    p_mw_min: Floats
    ramp_mw_per_h: float | None = None
    p_mw_before: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandOrder(Order):
    """Buys withdrawal down a non-increasing price curve; ``p_mw_min`` must be taken."""

    steps: tuple[PriceStep, ...]
    p_mw_min: Floats
    ramp_mw_per_h: float | None = None
    p_mw_before: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageOrder(Order):
    """A storage unit: e_t = e_(t-1) (1-self)^(h/24) + eff_c h c - h d / eff_d.

    Powers [MW] and availability (0..1) have one value per period, energies [MWh] are scalars;
    prices are costs per grid-side MWh on top of the DLMP cash flow [EUR/MWh].
    ``energy_mwh_departure_min`` holds at the end of the last available period.
    """

    charge_mw_max: Floats
    discharge_mw_max: Floats
    energy_mwh_min: float
    energy_mwh_max: float
    energy_mwh_start: float
    energy_mwh_end_min: float
    efficiency_charge: float
    efficiency_discharge: float
    price_charge_eur_per_mwh: Floats
    price_discharge_eur_per_mwh: Floats
    self_discharge_per_day: float
    availability: Floats
    energy_mwh_departure_min: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftOrder(Order):
    """Withdrawal p with sum(p) = sum(baseline) in each block of ``window_periods``."""

    baseline_mw: Floats
    p_mw_min: Floats
    p_mw_max: Floats
    window_periods: int
    price_eur_per_mwh: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class BilateralOrder(Order):
    """+p at ``buses``, -p at ``bus_to``; accepted while DLMP(to) - DLMP(from) < price."""

    bus_to: int
    participant_to: str
    p_mw: Floats
    price_eur_per_mwh: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class CurtailOrder(Order):
    """Sells a reduction that is switched on and off.

    While on, the reduction lies between ``p_mw_min_on`` and ``p_mw_max`` [MW]. A run of on periods
    lasts ``duration_periods_min`` to ``duration_periods_max`` (None: no upper limit) and is
    followed by at least ``cooldown_periods`` off periods; there are at most ``activations_max``
    runs. After a run ``rebound_share`` of the energy it reduced is drawn again, equally over the
    ``rebound_periods`` that follow, which lie inside the horizon. An ``asset`` stays among the
    fixed loads, because the award is the reduction against it; no more can be reduced than it
    draws.
    """

    p_mw_max: Floats
    p_mw_min_on: Floats
    price_eur_per_mwh: Floats
    duration_periods_min: int = 1
    duration_periods_max: int | None = None
    cooldown_periods: int = 0
    activations_max: int | None = None
    rebound_share: float = 0.0
    rebound_periods: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockOrder(Order):
    """One ratio for a whole profile: 0, or between ``acceptance_min`` and 1.

    ``profile_mw`` is injection (all >= 0) or withdrawal (all <= 0) [MW]. The ratio is at most that
    of the ``parent`` block; the ratios of one ``exclusive_group`` sum to at most 1.
    """

    profile_mw: Floats
    price_eur_per_mwh: Floats
    acceptance_min: float = 1.0
    parent: str | None = None
    exclusive_group: str | None = None


def kind_of(order: Order) -> OrderKind:
    """Return the market's name of an order's kind."""
    names: dict[type[Order], OrderKind] = {
        GenerationOrder: "generation",
        DemandOrder: "demand",
        StorageOrder: "storage",
        ShiftOrder: "shift",
        CurtailOrder: "curtail",
        BlockOrder: "block",
        BilateralOrder: "bilateral",
    }
    return names[type(order)]
