"""Tables of real time: what devices report, and what they are told beside setpoints."""

from __future__ import annotations

from typing import Final

from sqlalchemy import CheckConstraint, Column, Index, String, Table, Text

from dso.store.columns import METADATA, identifier, run_key, utc, whole

# Names of assets and instructions in letters may be this long.
LETTER_NAME: Final = String(200)

TELEMETRY: Final = Table(
    "telemetry",
    METADATA,
    identifier("feeder", key=True),
    Column("asset", LETTER_NAME, primary_key=True),
    utc("known_at", key=True),
    utc("device_at"),
    whole("measured_w"),
    whole("measured_var"),
    whole("voltage_micro_pu", optional=True),
    whole("stored_wh", optional=True),
    Column("active", LETTER_NAME, nullable=True),
    Index("ix_telemetry_feeder_known_at", "feeder", "known_at"),
    comment="What a device reported of itself; the last report of a second counts.",
)
INSTRUCTION: Final = Table(
    "instruction",
    METADATA,
    run_key(),
    identifier("asset", key=True),
    Column("kind", String(10), primary_key=True),
    utc("valid_from", key=True),
    utc("expires_at"),
    whole("min_w", optional=True),
    whole("max_w", optional=True),
    Column("droop", Text, nullable=False),
    Column("reason", Text, nullable=False),
    CheckConstraint("kind IN ('envelope', 'droop', 'shed')", name="kind"),
    comment="What an asset was told beside setpoints; droop corners as JSON.",
)
STEP_RECORD: Final = Table(
    "step_record",
    METADATA,
    run_key(),
    utc("decided_at", key=True),
    identifier("asset", key=True),
    Column("what", String(20), primary_key=True),
    Column("step", String(10), nullable=False),
    whole("from_w"),
    whole("to_w"),
    Column("why", Text, nullable=False),
    Column("rule", String(20), nullable=False),
    CheckConstraint("step IN ('yellow', 'orange', 'red')", name="step"),
    comment="What a step of real time did to a connection, from and to [W], and why.",
)
