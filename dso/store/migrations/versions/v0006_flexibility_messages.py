"""Sixth version: messages of flexibility procurement."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import VARCHAR

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UTC: Final = sa.String(20).with_variant(VARCHAR(20, collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "flexibility_message",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("party", sa.String(length=100), nullable=False),
        sa.Column("participant", sa.String(length=100), nullable=True),
        sa.Column("feeder", sa.String(length=100), nullable=False),
        sa.Column("congestion_point", sa.String(length=100), nullable=False),
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("received_at", UTC, nullable=False),
        sa.Column("settles", sa.String(length=36), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('FlexRequest', 'FlexOffer', 'FlexOfferRevocation', 'FlexOrder')",
            name=op.f("ck_flexibility_message_kind"),
        ),
        sa.CheckConstraint(
            "(settles IS NULL) = (kind IN ('FlexRequest', 'FlexOffer'))",
            name=op.f("ck_flexibility_message_settles_an_offer"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_flexibility_message")),
        sa.UniqueConstraint("message_id", name="uq_flexibility_message_message_id"),
        sa.UniqueConstraint("settles", name="uq_flexibility_message_settles"),
        comment="Messages of flexibility procurement; an offer is ordered once or taken back once.",
    )
    op.create_index("ix_flexibility_message_feeder", "flexibility_message", ["feeder", "day", "id"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("flexibility_message")
