"""Readings of meters, with revisions; on PostgreSQL one partition for each month."""

from __future__ import annotations

from typing import Final

from sqlalchemy import CheckConstraint, Column, Integer, SmallInteger, String, Table

from dso.store.columns import METADATA, identifier, utc, whole

READING: Final = Table(
    "reading",
    METADATA,
    identifier("connection_point", key=True),
    utc("period_start", key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("period_minutes", SmallInteger, nullable=False),
    whole("import_wh", optional=True),
    whole("export_wh", optional=True),
    whole("import_varh", optional=True),
    whole("export_varh", optional=True),
    whole("voltage_mv", optional=True),
    whole("frequency_mhz", optional=True),
    Column("quality", String(12), nullable=False),
    utc("known_at"),
    CheckConstraint(
        "quality IN ('measured', 'estimated', 'substituted', 'missing')", name="quality"
    ),
    CheckConstraint(
        "(quality = 'missing') = (import_wh IS NULL AND export_wh IS NULL)", name="missing"
    ),
    postgresql_partition_by="RANGE (period_start)",
    comment="Energy of one period by register, the latest revision counts.",
)
