"""First version: cycle runs and what they left."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "cycle_run",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("market", sa.String(100), nullable=False),
        sa.Column("feeder", sa.String(100), nullable=False),
        sa.Column("kind", sa.String(50), nullable=False),
        sa.Column("first_period", sa.String(20), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("input_sha256", sa.String(64), nullable=False),
        sa.Column("output_sha256", sa.String(64)),
        sa.Column("begun_at", sa.String(20), nullable=False),
        sa.Column("finished_at", sa.String(20)),
        sa.PrimaryKeyConstraint("id", name="pk_cycle_run"),
        sa.UniqueConstraint(
            "market", "feeder", "kind", "first_period", "revision", name="uq_cycle_key"
        ),
        sa.CheckConstraint("state IN ('running', 'done')", name="state"),
        sa.CheckConstraint(
            "(state = 'done') = (output_sha256 IS NOT NULL)", name="done_has_output"
        ),
    )
    op.create_table(
        "artefact",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(400), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("byte_count", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_artefact"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["cycle_run.id"], name="fk_artefact_run_id_cycle_run", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("run_id", "name", name="uq_artefact_name"),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("artefact")
    op.drop_table("cycle_run")
