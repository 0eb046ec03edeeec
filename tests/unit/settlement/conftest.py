from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from data.periods import Periods
from data.records.settlement import (
    BusPrices,
    ConnectionPosition,
    SettlementCase,
    SettlementRules,
    SubstationSeries,
)

MWH = 1_000_000
EUR = 1_000_000


@pytest.fixture
def small_case() -> Callable[..., SettlementCase]:
    """A seller at bus 1 and a buyer at bus 2, one hour; whole MWh, prices 50, 60 and 70."""

    def build(**changes: Any) -> SettlementCase:
        case: dict[str, Any] = {
            "periods": Periods(start=datetime(2026, 6, 1, tzinfo=UTC), count=1, mtu_minutes=60),
            "rules": SettlementRules(refund="retain"),
            "positions": (
                ConnectionPosition(
                    participant="seller", connection="s", bus=1,
                    da_wh=(10 * MWH,), id_wh=(10 * MWH,), meter_wh=(10 * MWH,),
                ),
                ConnectionPosition(
                    participant="buyer", connection="b", bus=2,
                    da_wh=(-10 * MWH,), id_wh=(-10 * MWH,), meter_wh=(-10 * MWH,),
                ),
            ),
            "prices": tuple(
                BusPrices(
                    bus=bus,
                    dlmp_da_micro_eur_per_mwh=(50 * EUR,),
                    dlmp_id_micro_eur_per_mwh=(60 * EUR,),
                    imbalance_micro_eur_per_mwh=(70 * EUR,),
                )
                for bus in (1, 2)
            ),
            "substation": SubstationSeries(
                import_wh=(0,), import_price_micro_eur_per_mwh=(50 * EUR,)
            ),
        }  # fmt: skip
        return SettlementCase(**{**case, **changes})

    return build
