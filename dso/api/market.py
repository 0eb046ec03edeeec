"""What the API stands on: store, ledger, tokens, limits and the gates of the market."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

from data.errors import InputError, Problem
from data.periods import DeliveryDay, Periods
from dso.api.limits import ApiLimits, RateLimiter
from dso.store.register import Register
from dso.store.register_records import Asset, ConnectionPoint, Mandate, Party

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dso.api.tokens import TokenRing
    from dso.bootstrap import Services
    from dso.clock import Clock
    from dso.scheduler.operation import Operation
    from dso.store import Connection
    from dso.store.register import V

DAYS_AHEAD_MAX: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingDay:
    """Gate and periods of a delivery day on a feeder."""

    gate: datetime
    periods: Periods


class Calendar(Protocol):
    """Tells which feeders are operated and when their books close."""

    def feeders(self) -> tuple[str, ...]:
        """Return the ids of the feeders."""
        ...

    def trading_day(self, feeder: str, day: date) -> TradingDay:
        """Return the day-ahead gate and periods; raises InputError without rules."""
        ...


class OperationCalendar:
    """The calendar of an operated market."""

    def __init__(self, operation: Operation, today: date) -> None:
        self._operation = operation
        self._sources = {
            operation.rules_on(source, today)[0].id: source for source in operation.site.feeders
        }

    def feeders(self) -> tuple[str, ...]:
        """Return the ids of the feeders."""
        return tuple(sorted(self._sources))

    def trading_day(self, feeder: str, day: date) -> TradingDay:
        """Return the day-ahead gate and periods of a day."""
        if feeder not in self._sources:
            raise InputError([Problem(where=f"feeder {feeder}", what="is not operated here")])
        rules = self._operation.rules_on(self._sources[feeder], day)[1]
        delivery = DeliveryDay(day=day, timezone=rules.timezone, mtu_minutes=rules.mtu_minutes)
        gate = delivery.instant(rules.day_ahead_gate, days_before=rules.day_ahead_days_before)
        return TradingDay(gate=gate, periods=delivery.periods)


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


def latest_gate(now: datetime) -> datetime:
    """Return the last instant for which anybody may trade."""
    return now + timedelta(days=DAYS_AHEAD_MAX)


__all__ = [
    "Asset", "Calendar", "ConnectionPoint", "Market", "OperationCalendar", "Party", "TradingDay",
    "current", "latest_gate", "mandate_id", "may_act",
]  # fmt: skip
