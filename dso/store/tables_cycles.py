"""Tables of the work itself: what is due, who has it, what was tried, what came out."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from dso.store.columns import METADATA, digest, identifier, utc

CYCLE_RUN: Final = Table(
    "cycle_run",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("market", String(100), nullable=False),
    Column("feeder", String(100), nullable=False),
    Column("kind", String(50), nullable=False),
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

DUE_CYCLE: Final = Table(
    "due_cycle",
    METADATA,
    Column("id", Integer, primary_key=True),
    identifier("market"),
    identifier("feeder"),
    Column("cycle", String(50), nullable=False),
    utc("first_period"),
    Column("revision", Integer, nullable=False),
    Column("lane", String(20), nullable=False),
    Column("day", String(10), nullable=False),
    utc("due_at"),
    utc("late_after"),
    utc("skip_after", optional=True),
    Column("state", String(10), nullable=False),
    Column("light", String(10)),
    Column("remark", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("worker", String(100)),
    utc("leased_until", optional=True),
    utc("finished_at", optional=True),
    UniqueConstraint("market", "feeder", "cycle", "first_period", "revision", name="uq_due_key"),
    CheckConstraint(
        "state IN ('due', 'leased', 'held', 'done', 'skipped', 'failed')", name="state"
    ),
    CheckConstraint("light IN ('green', 'yellow', 'orange', 'red')", name="light"),
    CheckConstraint("(state = 'leased') = (leased_until IS NOT NULL)", name="leased_has_end"),
    # A lane of a feeder is worked through in this order.
    Index("ix_due_cycle_lane", "feeder", "lane", "due_at", "id"),
    comment="Cycles that are due: inserted by the scheduler, leased by workers.",
)

ATTEMPT: Final = Table(
    "cycle_attempt",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("due_id", ForeignKey(DUE_CYCLE.c.id, ondelete="CASCADE"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("worker", String(100), nullable=False),
    utc("begun_at"),
    utc("ended_at", optional=True),
    Column("outcome", String(10)),
    Column("reason", Text, nullable=False),
    UniqueConstraint("due_id", "attempt", name="uq_attempt"),
    CheckConstraint("outcome IN ('done', 'failed', 'lost', 'held', 'skipped')", name="outcome"),
    comment="Every time a worker took a cycle, and how that ended.",
)

FALLBACK: Final = Table(
    "cycle_fallback",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("due_id", ForeignKey(DUE_CYCLE.c.id, ondelete="CASCADE"), nullable=False),
    Column("name", String(50), nullable=False),
    Column("text", Text, nullable=False),
    Column("number", Integer, nullable=False),
    UniqueConstraint("due_id", "number", name="uq_fallback"),
    comment="Fallbacks that a cycle's result rests on, by name.",
)

LEADER: Final = Table(
    "leader",
    METADATA,
    identifier("role", key=True),
    identifier("holder"),
    utc("held_until"),
    comment="Who was elected for a role, on databases without advisory locks.",
)

CLOCK: Final = Table(
    "market_clock",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    utc("simulated_now"),
    CheckConstraint("id = 1", name="one_row"),
    comment="Instant of a simulated market; no row: the machine's clock holds.",
)

SIGNATURE: Final = Table(
    "release_signature",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("due_id", ForeignKey(DUE_CYCLE.c.id, ondelete="CASCADE"), nullable=False),
    identifier("actor"),
    Column("verdict", String(10), nullable=False),
    digest("output_sha256"),
    Column("reason", Text, nullable=False),
    utc("signed_at"),
    UniqueConstraint("due_id", "actor", "verdict", name="uq_signature"),
    CheckConstraint("verdict IN ('release', 'override', 'withhold')", name="verdict"),
    comment="Signatures of people under a clearing before it binds anybody.",
)
