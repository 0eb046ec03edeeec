"""Third version: who may ask the API, the order books up to their gates, what was answered."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import VARCHAR

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

UTC: Final = sa.String(20).with_variant(VARCHAR(20, collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    _create_access()
    _create_books()


def _create_access() -> None:
    # who asks, and what was answered and done
    op.create_table(
        "api_action",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("action", sa.String(length=100), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("verb", sa.String(length=50), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at_utc", UTC, nullable=False),
        sa.Column("batch_key", sa.String(length=64), nullable=True),
        sa.Column("leaf", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_action")),
        sa.UniqueConstraint("action", name="uq_api_action_action"),
        comment="What parties did, kept with its effect, then posted to the ledger's action log.",
    )
    op.create_index("ix_api_action_batch_key", "api_action", ["batch_key"], unique=False)
    op.create_table(
        "api_answer",
        sa.Column("party", sa.String(length=100), nullable=False),
        sa.Column("request_key", sa.String(length=100), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("answered_at", UTC, nullable=False),
        sa.PrimaryKeyConstraint("party", "request_key", name=op.f("pk_api_answer")),
        comment="Answers by idempotency key: the same request again is told the same.",
    )
    op.create_table(
        "api_client",
        sa.Column("id", sa.String(length=100), nullable=False),
        sa.Column("party", sa.String(length=100), nullable=False),
        sa.Column("secret_hash", sa.String(length=200), nullable=False),
        sa.Column("created_at", UTC, nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("locked_until", UTC, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_client")),
        comment="Programs that may ask for tokens; of a secret only its argon2 hash is kept.",
    )
    op.create_index("ix_api_client_party", "api_client", ["party"], unique=False)
    op.create_table(
        "registration",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("applicant", sa.String(length=100), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("checks", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("applied_at", UTC, nullable=False),
        sa.Column("decided_at", UTC, nullable=True),
        sa.CheckConstraint(
            "(state = 'applied') = (decided_at IS NULL)", name=op.f("ck_registration_decided")
        ),
        sa.CheckConstraint(
            "kind IN ('party', 'connection_point', 'asset', 'mandate')",
            name=op.f("ck_registration_kind"),
        ),
        sa.CheckConstraint(
            "state IN ('applied', 'approved', 'refused')", name=op.f("ck_registration_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registration")),
        comment="Applications for the register, with the checks on which they were decided.",
    )


def _create_books() -> None:
    # orders as they came
    op.create_table(
        "order_book",
        sa.Column("feeder", sa.String(length=100), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("gate", UTC, nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.Column("closed_at", sa.String(length=27), nullable=True),
        sa.PrimaryKeyConstraint("feeder", "day", name=op.f("pk_order_book")),
        comment="The book of a feeder and delivery day; whoever writes into it holds its row.",
    )
    op.create_table(
        "book_order",
        sa.Column("feeder", sa.String(length=100), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(length=100), nullable=False),
        sa.Column("participant", sa.String(length=100), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("received_at", sa.String(length=27), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("cancelled_number", sa.Integer(), nullable=True),
        sa.Column("cancelled_at", sa.String(length=27), nullable=True),
        sa.Column("cancel_actor", sa.String(length=100), nullable=True),
        sa.Column("cancel_reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state = 'cancelled') = (cancelled_number IS NOT NULL)",
            name=op.f("ck_book_order_cancelled"),
        ),
        sa.CheckConstraint(
            "state IN ('booked', 'late', 'cancelled')", name=op.f("ck_book_order_state")
        ),
        sa.ForeignKeyConstraint(
            ["feeder", "day"],
            ["order_book.feeder", "order_book.day"],
            name=op.f("fk_book_order_feeder_day_order_book"),
        ),
        sa.PrimaryKeyConstraint("feeder", "day", "number", name=op.f("pk_book_order")),
        sa.UniqueConstraint("id", name="uq_book_order_id"),
        comment="Orders as they came: numbers of a book have no gaps, a withdrawal takes one, too.",
    )
    op.create_index("ix_book_order_participant", "book_order", ["participant", "id"], unique=False)


def downgrade() -> None:
    """Drop the tables."""
    for table in (
        "book_order", "order_book", "registration", "api_client", "api_answer", "api_action",
    ):  # fmt: skip
        op.drop_table(table)
