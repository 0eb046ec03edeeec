"""Second version: the whole market beside its cycles.

Parties and things by version, readings, results, due cycles.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import VARCHAR

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UTC: Final = sa.String(20).with_variant(VARCHAR(20, collation="C"), "postgresql")


def _version() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", sa.String(100), nullable=False),
        sa.Column("version", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("valid_from", UTC, nullable=False),
        sa.Column("known_at", UTC, nullable=False),
        sa.Column("ended", sa.Boolean, nullable=False),
    ]


def upgrade() -> None:
    """Create the tables."""
    _create_work()
    _create_people()
    _create_parties()
    _create_things()
    _create_readings()
    _create_market()
    _create_money()


def _create_work() -> None:
    # what is due and who has it
    op.create_table(
        "due_cycle",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("market", sa.String(100), nullable=False),
        sa.Column("feeder", sa.String(100), nullable=False),
        sa.Column("cycle", sa.String(50), nullable=False),
        sa.Column("first_period", UTC, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("lane", sa.String(20), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("due_at", UTC, nullable=False),
        sa.Column("late_after", UTC, nullable=False),
        sa.Column("skip_after", UTC),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("light", sa.String(10)),
        sa.Column("remark", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(100)),
        sa.Column("leased_until", UTC),
        sa.Column("finished_at", UTC),
        sa.PrimaryKeyConstraint("id", name="pk_due_cycle"),
        sa.CheckConstraint(
            "(state = 'leased') = (leased_until IS NOT NULL)",
            name=op.f("ck_due_cycle_leased_has_end"),
        ),
        sa.CheckConstraint(
            "light IN ('green', 'yellow', 'orange', 'red')", name=op.f("ck_due_cycle_light")
        ),
        sa.CheckConstraint(
            "state IN ('due', 'leased', 'held', 'done', 'skipped', 'failed')",
            name=op.f("ck_due_cycle_state"),
        ),
        sa.UniqueConstraint(
            "market", "feeder", "cycle", "first_period", "revision", name="uq_due_key"
        ),
        comment="Cycles that are due: inserted by the scheduler, leased by workers.",
    )
    op.create_index("ix_due_cycle_lane", "due_cycle", ["feeder", "lane", "due_at", "id"])
    op.create_table(
        "cycle_attempt",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("due_id", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(100), nullable=False),
        sa.Column("begun_at", UTC, nullable=False),
        sa.Column("ended_at", UTC),
        sa.Column("outcome", sa.String(10)),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_cycle_attempt"),
        sa.ForeignKeyConstraint(
            ["due_id"],
            ["due_cycle.id"],
            name="fk_cycle_attempt_due_id_due_cycle",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint(
            "outcome IN ('done', 'failed', 'lost', 'held', 'skipped')",
            name=op.f("ck_cycle_attempt_outcome"),
        ),
        sa.UniqueConstraint("due_id", "attempt", name="uq_attempt"),
        comment="Every time a worker took a cycle, and how that ended.",
    )


def _create_people() -> None:
    # fallbacks, who leads, what time it is, who signed
    op.create_table(
        "cycle_fallback",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("due_id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(50), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_cycle_fallback"),
        sa.ForeignKeyConstraint(
            ["due_id"],
            ["due_cycle.id"],
            name="fk_cycle_fallback_due_id_due_cycle",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("due_id", "number", name="uq_fallback"),
        comment="Fallbacks that a cycle's result rests on, by name.",
    )
    op.create_table(
        "leader",
        sa.Column("role", sa.String(100), nullable=False),
        sa.Column("holder", sa.String(100), nullable=False),
        sa.Column("held_until", UTC, nullable=False),
        sa.PrimaryKeyConstraint("role", name="pk_leader"),
        comment="Who was elected for a role, on databases without advisory locks.",
    )
    op.create_table(
        "market_clock",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("simulated_now", UTC, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_market_clock"),
        sa.CheckConstraint("id = 1", name=op.f("ck_market_clock_one_row")),
        comment="Instant of a simulated market; no row: the machine's clock holds.",
    )
    op.create_table(
        "release_signature",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("due_id", sa.Integer, nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("verdict", sa.String(10), nullable=False),
        sa.Column("output_sha256", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("signed_at", UTC, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_release_signature"),
        sa.ForeignKeyConstraint(
            ["due_id"],
            ["due_cycle.id"],
            name="fk_release_signature_due_id_due_cycle",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint(
            "verdict IN ('release', 'override', 'withhold')",
            name=op.f("ck_release_signature_verdict"),
        ),
        sa.UniqueConstraint("due_id", "actor", "verdict", name="uq_signature"),
        comment="Signatures of people under a clearing before it binds anybody.",
    )


def _create_parties() -> None:
    # who takes part and where
    op.create_table(
        "party",
        *_version(),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("certification", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", "version", name="pk_party"),
        sa.CheckConstraint(
            "role IN ('operator', 'planner', 'aggregator', 'meter_data', 'prosumer', 'supplier',"
            " 'auditor')",
            name=op.f("ck_party_role"),
        ),
        comment="Who takes part, in which role.",
    )
    op.create_index("ix_party_valid", "party", ["id", "valid_from"])
    op.create_table(
        "mandate",
        *_version(),
        sa.Column("grantor", sa.String(100), nullable=False),
        sa.Column("agent", sa.String(100), nullable=False),
        sa.Column("connection_point", sa.String(100), nullable=False),
        sa.Column("scope", sa.String(20), nullable=False),
        sa.PrimaryKeyConstraint("id", "version", name="pk_mandate"),
        sa.CheckConstraint("scope IN ('trade', 'read', 'dispatch')", name=op.f("ck_mandate_scope")),
        comment="Who may act for whom at which connection point.",
    )
    op.create_index("ix_mandate_valid", "mandate", ["id", "valid_from"])
    op.create_table(
        "connection_point",
        *_version(),
        sa.Column("feeder", sa.String(100), nullable=False),
        sa.Column("bus", sa.Integer, nullable=False),
        sa.Column("party", sa.String(100), nullable=False),
        sa.Column("import_w_max", sa.BigInteger, nullable=False),
        sa.Column("export_w_max", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", "version", name="pk_connection_point"),
        comment="Where a party is connected, and how much it may take and give [W].",
    )
    op.create_index("ix_connection_point_valid", "connection_point", ["id", "valid_from"])


def _create_things() -> None:
    # devices, grids and rules
    op.create_table(
        "asset",
        *_version(),
        sa.Column("connection_point", sa.String(100), nullable=False),
        sa.Column("technology", sa.String(50), nullable=False),
        sa.Column("import_w_max", sa.BigInteger, nullable=False),
        sa.Column("export_w_max", sa.BigInteger, nullable=False),
        sa.Column("energy_wh_max", sa.BigInteger),
        sa.Column("certification", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", "version", name="pk_asset"),
        comment="A device: technology, capacity [W, Wh], certification.",
    )
    op.create_index("ix_asset_valid", "asset", ["id", "valid_from"])
    op.create_table(
        "asset_calendar",
        *_version(),
        sa.Column("asset", sa.String(100), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("starts_at", UTC, nullable=False),
        sa.Column("ends_at", UTC, nullable=False),
        sa.Column("available_permille", sa.SmallInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", "version", name="pk_asset_calendar"),
        sa.CheckConstraint(
            "kind IN ('availability', 'maintenance', 'outage')", name=op.f("ck_asset_calendar_kind")
        ),
        sa.CheckConstraint("starts_at < ends_at", name=op.f("ck_asset_calendar_order")),
        sa.CheckConstraint(
            "available_permille BETWEEN 0 AND 1000", name=op.f("ck_asset_calendar_share")
        ),
        comment="When how much of an asset can be used.",
    )
    op.create_index("ix_asset_calendar_valid", "asset_calendar", ["id", "valid_from"])
    op.create_table(
        "network",
        *_version(),
        sa.Column("reference", sa.String(400), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", "version", name="pk_network"),
        comment="The grid of a feeder.",
    )
    op.create_index("ix_network_valid", "network", ["id", "valid_from"])
    op.create_table(
        "rule_set",
        *_version(),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", "version", name="pk_rule_set"),
        comment="The rules of a market, as the file that was in force.",
    )
    op.create_index("ix_rule_set_valid", "rule_set", ["id", "valid_from"])


def _create_readings() -> None:
    # what meters said
    op.create_table(
        "reading",
        sa.Column("connection_point", sa.String(100), nullable=False),
        sa.Column("period_start", UTC, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("period_minutes", sa.SmallInteger, nullable=False),
        sa.Column("import_wh", sa.BigInteger),
        sa.Column("export_wh", sa.BigInteger),
        sa.Column("import_varh", sa.BigInteger),
        sa.Column("export_varh", sa.BigInteger),
        sa.Column("voltage_mv", sa.BigInteger),
        sa.Column("frequency_mhz", sa.BigInteger),
        sa.Column("quality", sa.String(12), nullable=False),
        sa.Column("known_at", UTC, nullable=False),
        sa.PrimaryKeyConstraint("connection_point", "period_start", "revision", name="pk_reading"),
        sa.CheckConstraint(
            "(quality = 'missing') = (import_wh IS NULL AND export_wh IS NULL)",
            name=op.f("ck_reading_missing"),
        ),
        sa.CheckConstraint(
            "quality IN ('measured', 'estimated', 'substituted', 'missing')",
            name=op.f("ck_reading_quality"),
        ),
        postgresql_partition_by="RANGE (period_start)",
        comment="Energy of one period by register, the latest revision counts.",
    )


def _create_market() -> None:
    # what was offered and cleared
    op.create_table(
        "forecast",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("series", sa.String(100), nullable=False),
        sa.Column("period_start", UTC, nullable=False),
        sa.Column("level_permille", sa.SmallInteger, nullable=False, autoincrement=False),
        sa.Column("power_w", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint(
            "run_id", "series", "period_start", "level_permille", name="pk_forecast"
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["cycle_run.id"], name="fk_forecast_run_id_cycle_run", ondelete="CASCADE"
        ),
        comment="Forecast power of a series at a probability level [W].",
    )
    op.create_table(
        "market_order",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("order_id", sa.String(100), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("participant", sa.String(100), nullable=False),
        sa.Column("asset", sa.String(100)),
        sa.Column("terms", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "order_id", name="pk_market_order"),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["cycle_run.id"],
            name="fk_market_order_run_id_cycle_run",
            ondelete="CASCADE",
        ),
        comment="An order as it stood at the gate, its terms as in orders.json.",
    )
    op.create_table(
        "award",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("order_id", sa.String(100), nullable=False),
        sa.Column("bus", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("period_start", UTC, nullable=False),
        sa.Column("injection_w", sa.BigInteger, nullable=False),
        sa.Column("injection_var", sa.BigInteger, nullable=False),
        sa.Column("charge_w", sa.BigInteger),
        sa.Column("discharge_w", sa.BigInteger),
        sa.PrimaryKeyConstraint("run_id", "order_id", "bus", "period_start", name="pk_award"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["cycle_run.id"], name="fk_award_run_id_cycle_run", ondelete="CASCADE"
        ),
        comment="What an order was awarded in a binding period [W, var].",
    )
    op.create_table(
        "price",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("bus", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("period_start", UTC, nullable=False),
        sa.Column("dlmp_p_micro_eur_per_mwh", sa.BigInteger, nullable=False),
        sa.Column("energy_micro_eur_per_mwh", sa.BigInteger, nullable=False),
        sa.Column("loss_micro_eur_per_mwh", sa.BigInteger, nullable=False),
        sa.Column("congestion_micro_eur_per_mwh", sa.BigInteger, nullable=False),
        sa.Column("voltage_micro_eur_per_mwh", sa.BigInteger, nullable=False),
        sa.Column("dlmp_q_micro_eur_per_mvarh", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "bus", "period_start", name="pk_price"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["cycle_run.id"], name="fk_price_run_id_cycle_run", ondelete="CASCADE"
        ),
        comment="Price at a bus in a binding period, with its parts.",
    )


def _create_money() -> None:
    # what was traded, told and paid
    op.create_table(
        "trade",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("trade_id", sa.String(100), nullable=False),
        sa.Column("period_start", UTC, nullable=False),
        sa.Column("order_id", sa.String(100), nullable=False),
        sa.Column("participant", sa.String(100), nullable=False),
        sa.Column("bus", sa.Integer, nullable=False),
        sa.Column("energy_wh", sa.BigInteger, nullable=False),
        sa.Column("price_micro_eur_per_mwh", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "trade_id", "period_start", name="pk_trade"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["cycle_run.id"], name="fk_trade_run_id_cycle_run", ondelete="CASCADE"
        ),
        postgresql_partition_by="RANGE (period_start)",
        comment="A trade with the pool, as posted.",
    )
    op.create_table(
        "setpoint",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("asset", sa.String(100), nullable=False),
        sa.Column("period_start", UTC, nullable=False),
        sa.Column("told_w", sa.BigInteger, nullable=False),
        sa.Column("told_var", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "asset", "period_start", name="pk_setpoint"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["cycle_run.id"], name="fk_setpoint_run_id_cycle_run", ondelete="CASCADE"
        ),
        comment="What an asset was told for a period [W, var]; of the day-ahead run.",
    )
    op.create_table(
        "delivery",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("asset", sa.String(100), nullable=False),
        sa.Column("period_start", UTC, nullable=False),
        sa.Column("delivered_w", sa.BigInteger, nullable=False),
        sa.Column("delivered_var", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "asset", "period_start", name="pk_delivery"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["cycle_run.id"], name="fk_delivery_run_id_cycle_run", ondelete="CASCADE"
        ),
        comment="What an asset did in a period [W, var].",
    )
    op.create_table(
        "settlement_line",
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("line", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("participant", sa.String(100), nullable=False),
        sa.Column("connection", sa.String(100)),
        sa.Column("period_start", UTC, nullable=False),
        sa.Column("kind", sa.String(30), nullable=False),
        sa.Column("market", sa.String(30), nullable=False),
        sa.Column("quantity_wh", sa.BigInteger, nullable=False),
        sa.Column("price_micro_eur_per_mwh", sa.BigInteger, nullable=False),
        sa.Column("amount_micro_eur", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "line", name="pk_settlement_line"),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["cycle_run.id"],
            name="fk_settlement_line_run_id_cycle_run",
            ondelete="CASCADE",
        ),
        comment="One amount of one participant or account; every market and period sums to zero.",
    )


def downgrade() -> None:
    """Drop the tables; partitions go with the table they belong to."""
    for table in (
        "settlement_line",
        "delivery",
        "setpoint",
        "trade",
        "price",
        "award",
        "market_order",
        "forecast",
        "reading",
        "rule_set",
        "network",
        "asset_calendar",
        "asset",
        "connection_point",
        "mandate",
        "party",
        "release_signature",
        "market_clock",
        "leader",
        "cycle_fallback",
        "cycle_attempt",
        "due_cycle",
    ):
        op.drop_table(table)
