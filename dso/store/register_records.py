"""Parties, mandates, connection points, assets, networks and rule sets as records.

Every record is one version: ``id``, ``valid_from`` (it holds from then until the next version's
``valid_from``) and ``known_at`` (since when we know). ``ended`` closes the thing from then on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

PartyRole = Literal[
    "operator", "planner", "aggregator", "meter_data", "prosumer", "supplier", "auditor"
]
MandateScope = Literal["trade", "read", "dispatch"]
CalendarKind = Literal["availability", "maintenance", "outage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Versioned:
    """What all versions have; instants are aware."""

    id: str
    valid_from: datetime
    known_at: datetime
    ended: bool = False

    def __post_init__(self) -> None:
        if self.valid_from.tzinfo is None or self.known_at.tzinfo is None:
            raise ValueError(f"{self.id}: valid_from and known_at must be aware instants")


@dataclass(frozen=True, slots=True, kw_only=True)
class Party(Versioned):
    """Who takes part; ``certification`` names the proof of identity, empty without one."""

    name: str
    role: PartyRole
    certification: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mandate(Versioned):
    """``agent`` may act for ``grantor`` at a connection point."""

    grantor: str
    agent: str
    connection_point: str
    scope: MandateScope


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPoint(Versioned):
    """Where a party is connected; ``import_w_max``/``export_w_max`` are its contract [W]."""

    feeder: str
    bus: int
    party: str
    import_w_max: int
    export_w_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset(Versioned):
    """A device; capacities [W, Wh], ``energy_wh_max`` None unless it stores."""

    connection_point: str
    technology: str
    import_w_max: int
    export_w_max: int
    energy_wh_max: int | None = None
    certification: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarEntry(Versioned):
    """From ``starts_at`` until ``ends_at`` an asset has ``available_permille`` of its capacity."""

    asset: str
    kind: CalendarKind
    starts_at: datetime
    ends_at: datetime
    available_permille: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkVersion(Versioned):
    """A grid: its reference, and its content where no library has it (empty else)."""

    reference: str
    sha256: str
    content: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSetVersion(Versioned):
    """The rules of a market, as the file that was in force."""

    sha256: str
    content: str
