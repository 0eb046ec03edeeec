"""Tables of the store, by subject. A change needs a migration in ``dso/store/migrations``."""

from __future__ import annotations

from dso.store.columns import METADATA
from dso.store.tables_api import (
    API_ACTION,
    API_ANSWER,
    API_CLIENT,
    BOOK_ORDER,
    DEPOSIT,
    ORDER_BOOK,
    RECEIVED_FORECAST,
    REGISTRATION,
    STUDY_REQUEST,
)
from dso.store.tables_cycles import (
    ARTEFACT,
    ATTEMPT,
    CLOCK,
    CYCLE_RUN,
    DUE_CYCLE,
    FALLBACK,
    LEADER,
    SIGNATURE,
)
from dso.store.tables_market import (
    AWARD,
    DELIVERY,
    FORECAST,
    MARKET_ORDER,
    PRICE,
    SETPOINT,
    SETTLEMENT_LINE,
    TRADE,
)
from dso.store.tables_parties import (
    ASSET,
    ASSET_CALENDAR,
    CONNECTION_POINT,
    MANDATE,
    NETWORK,
    PARTY,
    RULE_SET,
)
from dso.store.tables_readings import READING
from dso.store.tables_real_time import INSTRUCTION, STEP_RECORD, TELEMETRY

__all__ = [
    "API_ACTION", "API_ANSWER", "API_CLIENT", "ARTEFACT", "ASSET", "ASSET_CALENDAR",
    "ATTEMPT", "AWARD",
    "BOOK_ORDER", "CLOCK", "CONNECTION_POINT",
    "CYCLE_RUN", "DELIVERY", "DEPOSIT", "DUE_CYCLE", "FALLBACK", "FORECAST", "INSTRUCTION",
    "LEADER", "MANDATE",
    "MARKET_ORDER",
    "METADATA", "NETWORK", "ORDER_BOOK", "PARTY", "PRICE", "READING",
    "RECEIVED_FORECAST", "REGISTRATION", "RULE_SET", "SETPOINT",
    "SETTLEMENT_LINE", "SIGNATURE", "STEP_RECORD", "STUDY_REQUEST", "TELEMETRY", "TRADE",
]  # fmt: skip
