from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data.periods import Periods
from data.records.settlement import (
    BusPrices,
    ConnectionPosition,
    SettlementCase,
    SettlementRules,
    SubstationSeries,
)
from dso.settlement import check_settlement, settle_folder, write_settlement_case


def random_day(*, connections: int, count: int) -> SettlementCase:
    """Every connection re-trades and deviates in every period, at 30 buses."""
    draw = random.Random(connections * count)

    def series(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw.randint(low, high) for _ in range(count))

    return SettlementCase(
        periods=Periods(start=datetime(2026, 1, 1, tzinfo=UTC), count=count),
        rules=SettlementRules(),
        positions=tuple(
            ConnectionPosition(
                participant=f"p{k % 40}", connection=f"c{k}", bus=k % 30,
                da_wh=series(-90_000, 60_000), id_wh=series(-90_000, 60_000),
                meter_wh=series(-90_000, 60_000),
            )
            for k in range(connections)
        ),
        prices=tuple(
            BusPrices(
                bus=bus,
                dlmp_da_micro_eur_per_mwh=series(-50_000_000, 200_000_000),
                dlmp_id_micro_eur_per_mwh=series(-50_000_000, 200_000_000),
                imbalance_micro_eur_per_mwh=series(-50_000_000, 200_000_000),
            )
            for bus in range(30)
        ),
        substation=SubstationSeries(
            import_wh=series(0, 5_000_000),
            import_price_micro_eur_per_mwh=series(-50_000_000, 90_000_000),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("count", [92, 96, 100])
def test_days_of_any_length_are_settled(tmp_path: Path, count: int) -> None:
    case = random_day(connections=40, count=count)
    write_settlement_case(case, tmp_path / "in")
    result = settle_folder(tmp_path / "in", tmp_path / "out").result
    assert check_settlement(case, result) == ()
    assert len({line.period_start for line in result.lines}) == count
    assert sum(1 for line in result.lines if line.kind == "da") == 40 * count
    assert len(list((tmp_path / "out" / "statements").iterdir())) == 2 * 41
