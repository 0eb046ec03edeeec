"""Tables of who and what: parties, mandates, connection points, assets, networks, rule sets.

Nothing here is changed in place. A row is one version: it holds from ``valid_from`` until the next
version's ``valid_from``, and ``known_at`` says since when we know, so that any past day can be seen
with the eyes of then. ``ended`` closes a thing from ``valid_from`` on.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    SmallInteger,
    String,
    Table,
    Text,
)

from dso.store.columns import METADATA, digest, identifier, utc, whole


def _versioned(name: str, *columns: Any, comment: str) -> Table:  # noqa: ANN401 - of SQLAlchemy
    return Table(
        name,
        METADATA,
        identifier("id", key=True),
        Column("version", Integer, primary_key=True, autoincrement=False),
        utc("valid_from"),
        utc("known_at"),
        Column("ended", Boolean, nullable=False),
        *columns,
        Index(f"ix_{name}_valid", "id", "valid_from"),
        comment=comment,
    )


PARTY: Final = _versioned(
    "party",
    Column("name", String(200), nullable=False),
    Column("role", String(20), nullable=False),
    Column("certification", String(200), nullable=False),
    CheckConstraint(
        "role IN ('operator', 'planner', 'aggregator', 'meter_data', 'prosumer', 'supplier',"
        " 'auditor')",
        name="role",
    ),
    comment="Who takes part, in which role.",
)
MANDATE: Final = _versioned(
    "mandate",
    identifier("grantor"),
    identifier("agent"),
    identifier("connection_point"),
    Column("scope", String(20), nullable=False),
    CheckConstraint("scope IN ('trade', 'read', 'dispatch')", name="scope"),
    comment="Who may act for whom at which connection point.",
)
CONNECTION_POINT: Final = _versioned(
    "connection_point",
    identifier("feeder"),
    Column("bus", Integer, nullable=False),
    identifier("party"),
    whole("import_w_max"),
    whole("export_w_max"),
    comment="Where a party is connected, and how much it may take and give [W].",
)
ASSET: Final = _versioned(
    "asset",
    identifier("connection_point"),
    Column("technology", String(50), nullable=False),
    whole("import_w_max"),
    whole("export_w_max"),
    whole("energy_wh_max", optional=True),
    Column("certification", String(200), nullable=False),
    comment="A device: technology, capacity [W, Wh], certification.",
)
ASSET_CALENDAR: Final = _versioned(
    "asset_calendar",
    identifier("asset"),
    Column("kind", String(20), nullable=False),
    utc("starts_at"),
    utc("ends_at"),
    Column("available_permille", SmallInteger, nullable=False),
    CheckConstraint("kind IN ('availability', 'maintenance', 'outage')", name="kind"),
    CheckConstraint("available_permille BETWEEN 0 AND 1000", name="share"),
    CheckConstraint("starts_at < ends_at", name="order"),
    comment="When how much of an asset can be used.",
)
NETWORK: Final = _versioned(
    "network",
    Column("reference", String(400), nullable=False),
    digest("sha256"),
    Column("content", Text, nullable=False),
    comment="The grid of a feeder.",
)
RULE_SET: Final = _versioned(
    "rule_set",
    digest("sha256"),
    Column("content", Text, nullable=False),
    comment="The rules of a market, as the file that was in force.",
)
