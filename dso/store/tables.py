"""Tables of the store. A change here needs a migration in ``dso/store/migrations``."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

# Constraints carry names, or a later migration could not drop them on PostgreSQL.
METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

CYCLE_RUN: Final = Table(
    "cycle_run",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("market", String(100), nullable=False),
    Column("feeder", String(100), nullable=False),
    Column("kind", String(50), nullable=False),
    # UTC text: equal on every database, sorts in time, and is what files and keys show.
    Column("first_period", String(20), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("input_sha256", String(64), nullable=False),
    Column("output_sha256", String(64)),
    Column("begun_at", String(20), nullable=False),
    Column("finished_at", String(20)),
    UniqueConstraint("market", "feeder", "kind", "first_period", "revision", name="uq_cycle_key"),
    CheckConstraint("state IN ('running', 'done')", name="state"),
    CheckConstraint("(state = 'done') = (output_sha256 IS NOT NULL)", name="done_has_output"),
)

ARTEFACT: Final = Table(
    "artefact",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("run_id", ForeignKey(CYCLE_RUN.c.id, ondelete="CASCADE"), nullable=False),
    Column("name", String(400), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("byte_count", BigInteger, nullable=False),
    UniqueConstraint("run_id", "name", name="uq_artefact_name"),
)
