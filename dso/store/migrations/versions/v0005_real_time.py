"""Fifth version: what devices report, and what real time tells them beside setpoints."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import VARCHAR

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UTC: Final = sa.String(20).with_variant(VARCHAR(20, collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables, and the column of the setpoints."""
    op.add_column("setpoint", sa.Column("reason", sa.Text(), nullable=True))
    op.create_table(
        "telemetry",
        sa.Column("feeder", sa.String(length=100), nullable=False),
        sa.Column("asset", sa.String(length=200), nullable=False),
        sa.Column("known_at", UTC, nullable=False),
        sa.Column("device_at", UTC, nullable=False),
        sa.Column("measured_w", sa.BigInteger(), nullable=False),
        sa.Column("measured_var", sa.BigInteger(), nullable=False),
        sa.Column("voltage_micro_pu", sa.BigInteger(), nullable=True),
        sa.Column("stored_wh", sa.BigInteger(), nullable=True),
        sa.Column("active", sa.String(length=200), nullable=True),
        sa.PrimaryKeyConstraint("feeder", "asset", "known_at", name=op.f("pk_telemetry")),
        comment="What a device reported of itself; the last report of a second counts.",
    )
    op.create_index("ix_telemetry_feeder_known_at", "telemetry", ["feeder", "known_at"])
    _create_instructions()


def _create_instructions() -> None:
    op.create_table(
        "instruction",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("asset", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("valid_from", UTC, nullable=False),
        sa.Column("expires_at", UTC, nullable=False),
        sa.Column("min_w", sa.BigInteger(), nullable=True),
        sa.Column("max_w", sa.BigInteger(), nullable=True),
        sa.Column("droop", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('envelope', 'droop', 'shed')", name=op.f("ck_instruction_kind")
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["cycle_run.id"],
            name=op.f("fk_instruction_run_id_cycle_run"), ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "run_id", "asset", "kind", "valid_from", name=op.f("pk_instruction")
        ),
        comment="What an asset was told beside setpoints; droop corners as JSON.",
    )  # fmt: skip
    op.create_table(
        "step_record",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("decided_at", UTC, nullable=False),
        sa.Column("asset", sa.String(length=100), nullable=False),
        sa.Column("what", sa.String(length=20), nullable=False),
        sa.Column("step", sa.String(length=10), nullable=False),
        sa.Column("from_w", sa.BigInteger(), nullable=False),
        sa.Column("to_w", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("rule", sa.String(length=20), nullable=False),
        sa.CheckConstraint(
            "step IN ('yellow', 'orange', 'red')", name=op.f("ck_step_record_step")
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["cycle_run.id"],
            name=op.f("fk_step_record_run_id_cycle_run"), ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "run_id", "decided_at", "asset", "what", name=op.f("pk_step_record")
        ),
        comment="What a step of real time did to a connection, from and to [W], and why.",
    )  # fmt: skip


def downgrade() -> None:
    """Drop the tables and the column."""
    for table in ("step_record", "instruction", "telemetry"):
        op.drop_table(table)
    op.drop_column("setpoint", "reason")
