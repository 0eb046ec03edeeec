"""What the API stands on: store, ledger, tokens, limits and the gates of the market."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol
from zoneinfo import ZoneInfo

from data.errors import InputError, Problem
from data.periods import DeliveryDay, Periods
from data.records.order_rules import NO_RULES, OrderRules
from data.units import price_micro_eur
from dso.api.limits import ApiLimits, RateLimiter
from dso.cycles.plan import intraday_rounds
from dso.cycles.timetable import day_timetable, purchase_gate
from dso.settlement.collateral import CollateralRules
from dso.store.book import BookKey
from dso.store.register import Register
from dso.store.register_records import Asset, ConnectionPoint, Mandate, Party

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from data.records.network import Network
    from dso.api.tokens import TokenRing
    from dso.bootstrap import Services
    from dso.clock import Clock
    from dso.config import MarketRules
    from dso.scheduler.operation import Operation
    from dso.store import Connection, DueCycle
    from dso.store.register import V
    from flexibility.procurement.records import CongestionPoint

DAYS_AHEAD_MAX: Final = 8
DAYS_KEPT: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingDay:
    """Gates, periods and rules of a delivery day on a feeder.

    Parameters
    ----------
    gate : datetime
        Of the day-ahead market.
    periods : Periods
        Of the delivery day.
    last_round_gate : datetime or None
        Gate of the last intraday round; None: no intraday market.
    order_rules : OrderRules
        What the rule set makes of prices and powers.
    collateral : CollateralRules or None
        How the worst case of an order is counted; None: no collateral is asked for.
    timezone : str
        The market's zone.
    congestion_points : tuple of CongestionPoint
        What flexibility is bought for.
    purchase_gate : datetime or None
        When the market buys it: offers are received before; None: it does not by itself.
    """

    gate: datetime
    periods: Periods
    last_round_gate: datetime | None = None
    order_rules: OrderRules = NO_RULES
    collateral: CollateralRules | None = None
    timezone: str = "Europe/Berlin"
    congestion_points: tuple[CongestionPoint, ...] = ()
    purchase_gate: datetime | None = None

    def book(self, feeder: str, day: date) -> BookKey:
        """Return the key of the day's book on a feeder."""
        return BookKey(
            feeder=feeder,
            day=day.isoformat(),
            gate=self.gate,
            last_round_gate=self.last_round_gate,
        )


class Calendar(Protocol):
    """Tells which feeders are operated, when their books close, and where their runs are."""

    def feeders(self) -> tuple[str, ...]:
        """Return the ids of the feeders."""
        ...

    def trading_day(self, feeder: str, day: date) -> TradingDay:
        """Return gates, periods and rules of a day; raises InputError without rules."""
        ...

    def network(self, feeder: str, day: date) -> Network | None:
        """Return the network in force, None where it is not at hand."""
        ...

    def timetable(self, feeder: str, day: date) -> tuple[DueCycle, ...]:
        """Return the cycles of a delivery day."""
        ...

    def day_folder(self, feeder: str, first_period: datetime) -> Path:
        """Return where the files of the day of a period are."""
        ...


class OperationCalendar:
    """The calendar of an operated market."""

    def __init__(self, operation: Operation, today: date) -> None:
        self._operation = operation
        self._sources = {
            operation.rules_on(source, today)[0].id: source for source in operation.site.feeders
        }
        self._networks = threading.Lock()
        self._days: dict[tuple[str, date], TradingDay] = {}

    def feeders(self) -> tuple[str, ...]:
        """Return the ids of the feeders."""
        return tuple(sorted(self._sources))

    def trading_day(self, feeder: str, day: date) -> TradingDay:
        """Return gates, periods and rules of a day, made once: thousands of orders ask for them."""
        known = self._days.get((feeder, day))
        if known is None:
            if len(self._days) >= DAYS_KEPT:
                self._days.clear()
            known = self._days[feeder, day] = self._make_day(feeder, day)
        return known

    def _make_day(self, feeder: str, day: date) -> TradingDay:
        settings, rules = self._operation.rules_on(self._source(feeder), day)
        delivery = DeliveryDay(day=day, timezone=rules.timezone, mtu_minutes=rules.mtu_minutes)
        rounds = intraday_rounds(rules, delivery.periods)
        return TradingDay(
            gate=delivery.instant(rules.day_ahead_gate, days_before=rules.day_ahead_days_before),
            periods=delivery.periods,
            last_round_gate=rounds[-1].gate if rounds else None,
            order_rules=rules.order_rules,
            collateral=_collateral_rules(rules),
            timezone=rules.timezone,
            congestion_points=settings.congestion_points,
            purchase_gate=(
                None
                if settings.purchase_at is None
                else purchase_gate(rules, day, settings.purchase_at)
            ),
        )

    def network(self, feeder: str, day: date) -> Network:
        """Return the network in force on a day; the first time it is read from its source."""
        with self._networks:
            return self._operation.network_on(self._source(feeder), day)

    def timetable(self, feeder: str, day: date) -> tuple[DueCycle, ...]:
        """Return the cycles of a delivery day."""
        settings, rules = self._operation.rules_on(self._source(feeder), day)
        return day_timetable(
            rules,
            feeder,
            day,
            requests=bool(settings.congestion_points),
            purchase_at=settings.purchase_at,
        )

    def day_folder(self, feeder: str, first_period: datetime) -> Path:
        """Return where the files of the day of a period are."""
        zone = ZoneInfo(self._rules(feeder, first_period.date()).timezone)
        day = first_period.astimezone(zone).date()
        return self._operation.site.out / feeder / day.isoformat()

    def _rules(self, feeder: str, day: date) -> MarketRules:
        return self._operation.rules_on(self._source(feeder), day)[1]

    def _source(self, feeder: str) -> str:
        if feeder not in self._sources:
            raise InputError([Problem(where=f"feeder {feeder}", what="is not operated here")])
        return self._sources[feeder]


def _collateral_rules(rules: MarketRules) -> CollateralRules | None:
    """Return how orders are counted: energy at any price at the cap, what fails at its own."""
    if rules.shortfall_eur_per_mwh is None:
        return None
    cap = rules.order_rules.price_max_eur_per_mwh or rules.scarcity_price_eur_per_mwh
    return CollateralRules(
        price_cap_micro_eur_per_mwh=price_micro_eur(cap),
        shortfall_micro_eur_per_mwh=price_micro_eur(rules.shortfall_eur_per_mwh),
    )


@dataclass(frozen=True, kw_only=True)
class Market:
    """Everything a request may need; ``machine`` is the clock of tokens and locks."""

    services: Services
    calendar: Calendar
    tokens: TokenRing
    machine: Clock
    limits: ApiLimits = field(default_factory=ApiLimits)
    parties: RateLimiter = field(init=False)
    addresses: RateLimiter = field(init=False)

    def __post_init__(self) -> None:
        limits = self.limits
        parties = RateLimiter(per_s=limits.requests_per_s, burst=limits.burst)
        addresses = RateLimiter(per_s=limits.anonymous_per_s, burst=limits.anonymous_burst)
        object.__setattr__(self, "parties", parties)
        object.__setattr__(self, "addresses", addresses)


def current(connection: Connection, kind: type[V], name: str, at: datetime) -> V | None:
    """Return the version of a thing that holds at an instant, or None."""
    found: V | None = None
    for version in Register(kind).history(connection, name):
        if version.valid_from <= at and (found is None or version.valid_from >= found.valid_from):
            found = version
    return None if found is None or found.ended else found


def mandate_id(grantor: str, agent: str, connection_point: str, scope: str) -> str:
    """Return the id of a mandate: one for each grantor, agent, place and scope."""
    from data.canonical import sha256_hex

    said = f"{grantor}\0{agent}\0{connection_point}\0{scope}"
    return f"m-{sha256_hex(said.encode())[:24]}"


def may_act(
    connection: Connection,
    party: str,
    point: ConnectionPoint,
    scopes: Sequence[str],
    at: datetime,
) -> bool:
    """Tell whether a party owns a connection point or holds a mandate of one of the scopes."""
    if point.party == party:
        return True
    return any(
        current(connection, Mandate, mandate_id(point.party, party, point.id, scope), at)
        is not None
        for scope in scopes
    )


def visible_point(
    connection: Connection, name: str, party: str | None, at: datetime
) -> ConnectionPoint | None:
    """Return a connection that a party may read or trade for (None: whoever sees all), or None."""
    point = current(connection, ConnectionPoint, name, at)
    if point is None or party is None:
        return point
    return point if may_act(connection, party, point, ("read", "trade"), at) else None


def traded_asset(
    connection: Connection, name: str, party: str | None, at: datetime
) -> tuple[Asset, ConnectionPoint] | None:
    """Return an asset that a party may trade for (None: anybody's) with its connection, or None."""
    asset = current(connection, Asset, name, at)
    if asset is None:
        return None
    point = current(connection, ConnectionPoint, asset.connection_point, at)
    if point is None or not (party is None or may_act(connection, party, point, ("trade",), at)):
        return None
    return asset, point


def books_ahead(
    market: Market, feeder: str, instants: Collection[datetime], now: datetime
) -> list[BookKey]:
    """Return the books of the delivery days with some of the instants, as far as anybody trades."""
    found = []
    for ahead in range(-1, DAYS_AHEAD_MAX + 2):
        day = now.date() + timedelta(days=ahead)
        try:
            trading = market.calendar.trading_day(feeder, day)
        except InputError:
            continue  # no rules in force on that day, so no market of it
        if any(trading.periods.start <= at < trading.periods.end for at in instants):
            found.append(trading.book(feeder, day))
    return found


def latest_gate(now: datetime) -> datetime:
    """Return the last instant for which anybody may trade."""
    return now + timedelta(days=DAYS_AHEAD_MAX)


__all__ = [
    "Asset", "Calendar", "ConnectionPoint", "Market", "OperationCalendar", "Party", "TradingDay",
    "books_ahead", "current", "latest_gate", "mandate_id", "may_act",
    "traded_asset", "visible_point",
]  # fmt: skip
