"""Settlement: the case that goes in and the lines that come out, all in exact integers.

Energy is integer Wh, power integer W (the award tick of 1e-6 MW), prices integer
micro-EUR/MWh, money integer micro-EUR. Signs as in `data.units`: injection positive, money
positive = the participant receives. Series are tuples of one integer per period.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from data.periods import Periods

ACCOUNT_PREFIX: Final = "account:"
ImbalanceRule = Literal["single", "dual"]
RefundRule = Literal["pro_rata_withdrawal", "pro_rata_capacity", "retain"]
FlexibilityRule = Literal["usef", "threshold_75", "threshold_80", "sliding_50_100", "cap_120"]
SharingKey = Literal["static", "pro_rata"]
SplitMarkets = Literal["none", "da", "all"]
LineKind = Literal[
    "da", "id", "imbalance", "reactive", "community", "availability", "flexibility", "penalty",
    "refund", "upstream", "rent_congestion", "rent_voltage", "rent_loss", "rent_import",
    "rent_unsplit", "rent_reactive", "imbalance_residual", "rounding", "dispute",
]  # fmt: skip
IMBALANCE_RULES: Final[tuple[ImbalanceRule, ...]] = ("single", "dual")
REFUND_RULES: Final[tuple[RefundRule, ...]] = (
    "pro_rata_withdrawal", "pro_rata_capacity", "retain",
)  # fmt: skip
FLEXIBILITY_RULES: Final[tuple[FlexibilityRule, ...]] = (
    "usef", "threshold_75", "threshold_80", "sliding_50_100", "cap_120",
)  # fmt: skip
LINE_KINDS: Final[tuple[LineKind, ...]] = (
    "da", "id", "imbalance", "reactive", "community", "availability", "flexibility", "penalty",
    "refund", "upstream", "rent_congestion", "rent_voltage", "rent_loss", "rent_import",
    "rent_unsplit", "rent_reactive", "imbalance_residual", "rounding", "dispute",
)  # fmt: skip
SHARING_KEYS: Final[tuple[SharingKey, ...]] = ("static", "pro_rata")


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementRules:
    """What `settlement.toml` says.

    Parameters
    ----------
    imbalance : {"single", "dual"}
        ``single``: every deviation at the imbalance price p. ``dual``: a surplus gets
        p - spread, a shortfall pays p + spread.
    imbalance_spread_micro_eur_per_mwh : int
        The spread [micro-EUR/MWh], >= 0; 0 with ``single``.
    refund : {"pro_rata_withdrawal", "pro_rata_capacity", "retain"}
        Who gets the rents of a period back, or bears them when they are negative.
    settle_reactive : bool
        Whether reactive energy is paid at its price; else it is shown and not paid.
    """

    imbalance: ImbalanceRule = "single"
    imbalance_spread_micro_eur_per_mwh: int = 0
    refund: RefundRule = "pro_rata_withdrawal"
    settle_reactive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPosition:
    """What one participant sold, re-traded and injected at one connection.

    ``da_wh``, ``id_wh`` (position after the last round) and ``meter_wh`` have shape (periods,),
    injection positive [Wh].

    With ``bus_to`` it is a bilateral order instead: what it injects at ``bus`` is withdrawn at
    ``bus_to``, and its participant pays energy x (price at ``bus_to`` - price at ``bus``) for the
    grid between them. It has no meter: ``meter_wh`` is ``id_wh``, and what its parties do not
    deliver is the imbalance of their own connections.

    ``held`` says in which periods the participant holds the connection, shape (periods,); None =
    in all. Outside them its energies are 0 and nothing is booked: another participant holds it.
    """

    participant: str
    connection: str
    bus: int
    da_wh: tuple[int, ...]
    id_wh: tuple[int, ...]
    meter_wh: tuple[int, ...]
    bus_to: int | None = None
    held: tuple[bool, ...] | None = None

    @property
    def is_bilateral(self) -> bool:
        """Whether energy is only carried from one bus to another."""
        return self.bus_to is not None

    def is_held(self, period: int) -> bool:
        """Whether the participant holds the connection in a period (index from 0)."""
        return self.held is None or self.held[period]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPosition:
    """The position of one connection after one intraday round; absent = unchanged in the round.

    ``period`` is the index of the period from 0, ``round`` counts from 1. The price of a bilateral
    order is that at its bus minus that at ``bus_to``.
    """

    participant: str
    connection: str
    period: int
    round: int
    position_wh: int
    dlmp_micro_eur_per_mwh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BusPrices:
    """Prices of one bus, shape (periods,) each [micro-EUR/MWh]; id = after the last round."""

    bus: int
    dlmp_da_micro_eur_per_mwh: tuple[int, ...]
    dlmp_id_micro_eur_per_mwh: tuple[int, ...]
    imbalance_micro_eur_per_mwh: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePartLine:
    """What one binding element adds to one bus price in one period of one market.

    ``market`` is ``da`` or ``id/<round>`` (round 1 where the case lists no rounds).
    """

    market: str
    bus: int
    period: int
    element_kind: Literal["line", "trafo", "bus", "ext_grid"]
    element: str
    side: str
    p_micro_eur_per_mwh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubstationSeries:
    """What the operator takes from upstream and pays for it, shape (periods,) each.

    Parameters
    ----------
    import_wh : tuple of int
        Metered import [Wh], export negative.
    import_price_micro_eur_per_mwh : tuple of int
        Price of the import [micro-EUR/MWh]; export earns the same.
    da_import_wh, id_import_wh : tuple of int or None
        Import scheduled after the day-ahead market and after the last round [Wh]; both or
        neither. Without them the metered losses are held in every market, so that the schedule
        is the metered import plus what the connections changed since.
    da_energy_micro_eur_per_mwh, id_energy_micro_eur_per_mwh : tuple of int or None
        Energy part of the bus prices (the price at the reference bus) [micro-EUR/MWh]; None =
        the import price, and then there is no import rent.
    """

    import_wh: tuple[int, ...]
    import_price_micro_eur_per_mwh: tuple[int, ...]
    da_import_wh: tuple[int, ...] | None = None
    id_import_wh: tuple[int, ...] | None = None
    da_energy_micro_eur_per_mwh: tuple[int, ...] | None = None
    id_energy_micro_eur_per_mwh: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """A flexibility order and what the obliged party's own meter showed.

    Withdrawal is positive here, as in USEF: ``ordered_w`` = 2_000_000 means 2 MW less
    withdrawal, a negative order means more.
    """

    participant: str
    connection: str
    period: int
    baseline_w: int
    ordered_w: int
    meter_w: int
    price_micro_eur_per_mwh: int
    penalty_micro_eur_per_mwh: int
    rule: FlexibilityRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Capacity kept ready for the operator in one period, paid whether or not it is called.

    Parameters
    ----------
    available_w : int
        Capacity kept ready [W], >= 0.
    price_micro_eur_per_mw_h : int
        Fee for one MW over one hour [micro-EUR/(MW h)].
    delivery_ppm : int
        Share of the fee that past delivery earned, in millionths: the mean delivery of the month
        before in the rule set of SSEN TRANSITION; 1_000_000 = all of it.
    """

    participant: str
    connection: str
    period: int
    available_w: int
    price_micro_eur_per_mw_h: int
    delivery_ppm: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactivePosition:
    """Reactive energy of one connection in one period, injection positive.

    ``q_varh`` is in varh, ``price_micro_eur_per_mvarh`` the reactive price at the bus.
    """

    participant: str
    connection: str
    period: int
    q_varh: int
    price_micro_eur_per_mvarh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommunityMember:
    """One who shares a generator: ``share_ppm`` in millionths, used by the key ``static``."""

    participant: str
    connection: str
    share_ppm: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Community:
    """Members who share what one generator injects, at a price of their own.

    Parameters
    ----------
    generator : (str, str)
        Participant and connection of the shared generator.
    key : {"static", "pro_rata"}
        ``static``: a fixed share of the generation for each member; ``pro_rata``: by what each
        withdraws in the period. Nobody gets more than he withdraws.
    price_micro_eur_per_mwh : int
        What a member pays the generator for shared energy [micro-EUR/MWh].
    """

    name: str
    generator: tuple[str, str]
    key: SharingKey
    price_micro_eur_per_mwh: int
    members: tuple[CommunityMember, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionCapacity:
    """Contracted capacity of one connection [W], the weight of ``pro_rata_capacity``."""

    participant: str
    connection: str
    capacity_w: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementCase:
    """Everything one settlement needs; the order inside the tuples means nothing.

    Parameters
    ----------
    rounds : tuple of RoundPosition or None
        None = one intraday round, from ``da_wh`` to ``id_wh`` at the bus's intraday price.
    parts : tuple of PricePartLine
        Parts of the prices; an absent part of a split market is zero.
    split : {"none", "da", "all"}
        Markets whose difference is split onto elements; the difference of the others stands on
        ``account:rent_unsplit``.
    """

    periods: Periods
    rules: SettlementRules
    positions: tuple[ConnectionPosition, ...]
    prices: tuple[BusPrices, ...]
    substation: SubstationSeries
    rounds: tuple[RoundPosition, ...] | None = None
    parts: tuple[PricePartLine, ...] = ()
    split: SplitMarkets = "none"
    activations: tuple[Activation, ...] = ()
    capacities: tuple[ConnectionCapacity, ...] = ()
    availabilities: tuple[Availability, ...] = ()
    reactive: tuple[ReactivePosition, ...] = ()
    communities: tuple[Community, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementLine:
    """One amount of one participant or account.

    The amount is the half-even product of quantity and price for the kinds da, id, imbalance,
    flexibility, penalty, availability, community and upstream. Rents, residual, rounding and
    disputed amounts are no product: 0 in both. A refund by withdrawal shows the withdrawal and the
    rate, rounded; its amount is the exact share. For ``reactive`` the quantity is in varh and the
    price in micro-EUR/Mvarh, for ``availability`` Wh are W x h of capacity kept ready.

    Parameters
    ----------
    market : str
        ``da``, ``id/<round>``, ``imbalance``, ``reactive``, ``community``, ``flexibility``
        (availability too) or ``refund``; the lines of one market and period sum to zero.
    """

    participant: str
    connection: str
    period_start: datetime
    kind: LineKind
    quantity_wh: int
    price_micro_eur_per_mwh: int
    amount_micro_eur: int
    market: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementResult:
    """The lines of one settlement, sorted by period and market.

    ``remarks`` name every assumption the case left to the settlement; ``input_sha256`` is the
    hash of the case in its canonical files.
    """

    periods: Periods
    rules: SettlementRules
    lines: tuple[SettlementLine, ...]
    remarks: tuple[str, ...]
    input_sha256: str
