"""Tables of the market's results; each row belongs to the stage run that made it.

The files of a run are the master: they are hashed and posted. These rows are the same numbers for
whoever asks by party, asset, bus or time.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Integer, SmallInteger, String, Table, Text

from dso.store.columns import METADATA, identifier, run_key, utc, whole

FORECAST: Final = Table(
    "forecast",
    METADATA,
    run_key(),
    identifier("series", key=True),
    utc("period_start", key=True),
    Column("level_permille", SmallInteger, primary_key=True, autoincrement=False),
    whole("power_w"),
    comment="Forecast power of a series at a probability level [W].",
)
MARKET_ORDER: Final = Table(
    "market_order",
    METADATA,
    run_key(),
    identifier("order_id", key=True),
    Column("kind", String(20), nullable=False),
    identifier("participant"),
    identifier("asset", optional=True),
    Column("terms", Text, nullable=False),
    comment="An order as it stood at the gate, its terms as in orders.json.",
)
AWARD: Final = Table(
    "award",
    METADATA,
    run_key(),
    identifier("order_id", key=True),
    Column("bus", Integer, primary_key=True, autoincrement=False),
    utc("period_start", key=True),
    whole("injection_w"),
    whole("injection_var"),
    whole("charge_w", optional=True),
    whole("discharge_w", optional=True),
    comment="What an order was awarded in a binding period [W, var].",
)
PRICE: Final = Table(
    "price",
    METADATA,
    run_key(),
    Column("bus", Integer, primary_key=True, autoincrement=False),
    utc("period_start", key=True),
    *(
        whole(f"{part}_micro_eur_per_mwh")
        for part in ("dlmp_p", "energy", "loss", "congestion", "voltage")
    ),
    whole("dlmp_q_micro_eur_per_mvarh"),
    comment="Price at a bus in a binding period, with its parts.",
)
TRADE: Final = Table(
    "trade",
    METADATA,
    run_key(),
    identifier("trade_id", key=True),
    utc("period_start", key=True),
    identifier("order_id"),
    identifier("participant"),
    Column("bus", Integer, nullable=False),
    whole("energy_wh"),
    whole("price_micro_eur_per_mwh"),
    postgresql_partition_by="RANGE (period_start)",
    comment="A trade with the pool, as posted.",
)
SETPOINT: Final = Table(
    "setpoint",
    METADATA,
    run_key(),
    identifier("asset", key=True),
    utc("period_start", key=True),
    whole("told_w"),
    whole("told_var"),
    Column("reason", Text, nullable=True),
    comment="What an asset was told for a period [W, var]; of the day-ahead run.",
)
DELIVERY: Final = Table(
    "delivery",
    METADATA,
    run_key(),
    identifier("asset", key=True),
    utc("period_start", key=True),
    whole("delivered_w"),
    whole("delivered_var"),
    comment="What an asset did in a period [W, var].",
)
SETTLEMENT_LINE: Final = Table(
    "settlement_line",
    METADATA,
    run_key(),
    Column("line", Integer, primary_key=True, autoincrement=False),
    identifier("participant"),
    identifier("connection", optional=True),
    utc("period_start"),
    Column("kind", String(30), nullable=False),
    Column("market", String(30), nullable=False),
    whole("quantity_wh"),
    whole("price_micro_eur_per_mwh"),
    whole("amount_micro_eur"),
    comment="One amount of one participant or account; every market and period sums to zero.",
)
