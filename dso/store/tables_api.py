"""Tables of the API: who may ask, the order books up to their gates, what was answered and done."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from dso.store.columns import METADATA, UTC_LENGTH, digest, identifier, utc

# Instants of arrival are told to the microsecond: many orders come in the last second.
EXACT_UTC_LENGTH: Final = UTC_LENGTH + 7

API_CLIENT: Final = Table(
    "api_client",
    METADATA,
    identifier("id", key=True),
    identifier("party"),
    Column("secret_hash", String(200), nullable=False),
    utc("created_at"),
    Column("revoked", Boolean, nullable=False),
    Column("failures", Integer, nullable=False),
    utc("locked_until", optional=True),
    Index("ix_api_client_party", "party"),
    comment="Programs that may ask for tokens; of a secret only its argon2 hash is kept.",
)
REGISTRATION: Final = Table(
    "registration",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("kind", String(20), nullable=False),
    identifier("applicant"),
    Column("content", Text, nullable=False),
    Column("state", String(10), nullable=False),
    Column("checks", Text, nullable=False),
    Column("reason", Text, nullable=False),
    utc("applied_at"),
    utc("decided_at", optional=True),
    CheckConstraint("kind IN ('party', 'connection_point', 'asset', 'mandate')", name="kind"),
    CheckConstraint("state IN ('applied', 'approved', 'refused')", name="state"),
    CheckConstraint("(state = 'applied') = (decided_at IS NULL)", name="decided"),
    comment="Applications for the register, with the checks on which they were decided.",
)
ORDER_BOOK: Final = Table(
    "order_book",
    METADATA,
    identifier("feeder", key=True),
    Column("day", String(10), primary_key=True),
    utc("gate"),
    Column("last_number", Integer, nullable=False),
    Column("closed_at", String(EXACT_UTC_LENGTH)),
    comment="The book of a feeder and delivery day; whoever writes into it holds its row.",
)
BOOK_ORDER: Final = Table(
    "book_order",
    METADATA,
    identifier("feeder", key=True),
    Column("day", String(10), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    identifier("id"),
    identifier("participant"),
    identifier("actor"),
    Column("terms", Text, nullable=False),
    Column("received_at", String(EXACT_UTC_LENGTH), nullable=False),
    Column("state", String(10), nullable=False),
    Column("cancelled_number", Integer),
    Column("cancelled_at", String(EXACT_UTC_LENGTH)),
    Column("cancel_actor", String(100)),
    Column("cancel_reason", Text),
    ForeignKeyConstraint(["feeder", "day"], ["order_book.feeder", "order_book.day"]),
    UniqueConstraint("id", name="uq_book_order_id"),
    CheckConstraint("state IN ('booked', 'late', 'cancelled')", name="state"),
    CheckConstraint("(state = 'cancelled') = (cancelled_number IS NOT NULL)", name="cancelled"),
    Index("ix_book_order_participant", "participant", "id"),
    comment="Orders as they came: numbers of a book have no gaps, a withdrawal takes one, too.",
)
API_ANSWER: Final = Table(
    "api_answer",
    METADATA,
    identifier("party", key=True),
    Column("request_key", String(100), primary_key=True),
    digest("content_sha256"),
    Column("status", Integer, nullable=False),
    Column("body", Text, nullable=False),
    utc("answered_at"),
    comment="Answers by idempotency key: the same request again is told the same.",
)
API_ACTION: Final = Table(
    "api_action",
    METADATA,
    Column("id", Integer, primary_key=True),
    identifier("action"),
    identifier("actor"),
    Column("role", String(20), nullable=False),
    Column("verb", String(50), nullable=False),
    Column("object", Text, nullable=False),
    Column("reason", Text, nullable=False),
    utc("at_utc"),
    Column("batch_key", String(64)),
    Column("leaf", Integer),
    UniqueConstraint("action", name="uq_api_action_action"),
    Index("ix_api_action_batch_key", "batch_key"),
    comment="What parties did, kept with its effect, then posted to the ledger's action log.",
)
