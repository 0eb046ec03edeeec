"""Fourth version: intraday orders, collateral, forecasts of others, studies by request."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import VARCHAR

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UTC: Final = sa.String(20).with_variant(VARCHAR(20, collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables, and the columns of the books."""
    op.add_column("order_book", sa.Column("round_closed_at", sa.String(length=27), nullable=True))
    with op.batch_alter_table("book_order") as table:
        table.add_column(
            sa.Column("market", sa.String(10), nullable=False, server_default="day_ahead")
        )
        table.add_column(sa.Column("exposure_micro_eur", sa.BigInteger(), nullable=True))
        table.create_check_constraint(
            op.f("ck_book_order_market"), "market IN ('day_ahead', 'intraday')"
        )
    _create_forecasts_and_deposits()
    _create_studies()


def _create_forecasts_and_deposits() -> None:
    op.create_table(
        "received_forecast",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("party", sa.String(length=100), nullable=False),
        sa.Column("source", sa.String(length=200), nullable=False),
        sa.Column("asset", sa.String(length=100), nullable=False),
        sa.Column("issued_at", UTC, nullable=False),
        sa.Column("received_at", UTC, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("periods", sa.Integer(), nullable=False),
        sa.Column("left_out", sa.Integer(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_received_forecast")),
        sa.UniqueConstraint("party", "sha256", name="uq_received_forecast_content"),
        comment="Forecasts of others, as they came, with what was not plausible left out.",
    )
    op.create_index("ix_received_forecast_asset", "received_forecast", ["asset", "id"])
    op.create_table(
        "deposit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("party", sa.String(length=100), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("amount_micro_eur", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at_utc", UTC, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deposit")),
        comment="What parties left with the operator as collateral; negative: given back.",
    )
    op.create_index("ix_deposit_party", "deposit", ["party"])


def _create_studies() -> None:
    op.create_table(
        "study_request",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("party", sa.String(length=100), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("submitted_at", UTC, nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=100), nullable=True),
        sa.Column("leased_until", UTC, nullable=True),
        sa.Column("ended_at", UTC, nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("result", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'running', 'done', 'refused', 'failed')",
            name=op.f("ck_study_request_state"),
        ),
        sa.CheckConstraint(
            "(state = 'running') = (leased_until IS NOT NULL)",
            name=op.f("ck_study_request_running_has_end"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study_request")),
        comment="Studies that planners handed in, and what came out; both are ZIP archives.",
    )
    op.create_index("ix_study_request_party", "study_request", ["party", "id"])


def downgrade() -> None:
    """Drop the tables and the columns."""
    for table in ("study_request", "deposit", "received_forecast"):
        op.drop_table(table)
    with op.batch_alter_table("book_order") as orders:
        orders.drop_constraint(op.f("ck_book_order_market"), type_="check")
        orders.drop_column("exposure_micro_eur")
        orders.drop_column("market")
    op.drop_column("order_book", "round_closed_at")
