from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data.errors import InputError
from data.periods import Periods
from data.records.settlement import (
    BusPrices,
    ConnectionPosition,
    SettlementCase,
    SubstationSeries,
)
from dso.settlement import Tariff, TariffBand, charge_tariff
from dso.settlement.report_inputs import read_report_inputs

Build = Callable[..., SettlementCase]
EUR = 1_000_000
TARIFF = Tariff(
    zone="Europe/Berlin",
    bands=(
        TariffBand(
            name="high", price_micro_eur_per_mwh=120 * EUR, days="workdays", from_minute=17 * 60,
            to_minute=20 * 60,
        ),
        TariffBand(name="night", price_micro_eur_per_mwh=20 * EUR, from_minute=22 * 60,
                   to_minute=6 * 60),
        TariffBand(name="base", price_micro_eur_per_mwh=60 * EUR),
    ),
    peak_micro_eur_per_kw=5 * EUR,
)  # fmt: skip


def hours(small_case: Build, start: datetime, withdrawn_wh: list[int]) -> SettlementCase:
    """One connection that withdraws so much in every hour from the start."""
    count = len(withdrawn_wh)
    series = tuple(-wh for wh in withdrawn_wh)
    return small_case(
        periods=Periods(start=start, count=count, mtu_minutes=60),
        positions=(
            ConnectionPosition(
                participant="home", connection="c", bus=1, da_wh=series, id_wh=series,
                meter_wh=series,
            ),
        ),
        prices=(
            BusPrices(
                bus=1, dlmp_da_micro_eur_per_mwh=(0,) * count,
                dlmp_id_micro_eur_per_mwh=(0,) * count, imbalance_micro_eur_per_mwh=(0,) * count,
            ),
        ),
        substation=SubstationSeries(
            import_wh=(0,) * count, import_price_micro_eur_per_mwh=(0,) * count
        ),
    )  # fmt: skip


def test_time_of_use_and_peak_by_hand(small_case: Build) -> None:
    """Friday 2026-06-05, 16:00 to 24:00 in Berlin: 1 kWh an hour, 3 kWh from 18:00 to 19:00.

    High 17-20 h: 1 + 3 + 1 = 5 kWh x 0.12 = 0.60 EUR; base 16, 20, 21 h: 3 kWh x 0.06 = 0.18;
    night 22, 23 h: 2 kWh x 0.02 = 0.04; peak 3 kW x 5 = 15 EUR.
    """
    start = datetime(2026, 6, 5, 14, tzinfo=UTC)
    case = hours(small_case, start, [1_000, 1_000, 3_000, 1_000, 1_000, 1_000, 1_000, 1_000])
    charges = {c.item: c for c in charge_tariff(case, TARIFF)}
    assert {item: c.amount_micro_eur for item, c in charges.items()} == {
        "high": -600_000, "base": -180_000, "night": -40_000, "peak": -15 * EUR,
    }  # fmt: skip
    assert charges["peak"].quantity == 3_000
    assert {c.month for c in charges.values()} == {"2026-06"}


def test_the_weekend_has_no_high_band(small_case: Build) -> None:
    case = hours(small_case, datetime(2026, 6, 6, 15, tzinfo=UTC), [1_000])  # Saturday 17 h
    assert charge_tariff(case, TARIFF)[0].item == "base"


def test_the_long_october_night_has_an_hour_more(small_case: Build) -> None:
    """22 h to 6 h on the night of 2026-10-25 is nine hours: 9 kWh in the night band."""
    start = datetime(2026, 10, 24, 20, tzinfo=UTC)  # 22 h in Berlin, summer time
    case = hours(small_case, start, [1_000] * 10)
    energy = {c.item: c.quantity for c in charge_tariff(case, TARIFF) if c.item != "peak"}
    assert energy == {"night": 9_000, "base": 1_000}


def test_injection_and_other_months_are_kept_apart(small_case: Build) -> None:
    start = datetime(2026, 6, 30, 21, tzinfo=UTC)  # 23 h in Berlin, then July
    charges = charge_tariff(hours(small_case, start, [2_000, 500, -4_000]), TARIFF)
    found = {(c.month, c.item): c.quantity for c in charges}
    assert found == {
        ("2026-06", "night"): 2_000, ("2026-07", "night"): 500,
        ("2026-06", "peak"): 2_000, ("2026-07", "peak"): 500,
    }  # fmt: skip


BAND = '[[band]]\nname = "b"\neur_per_mwh = 1\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'zone = "Nowhere/Land"\n{BAND}', "no IANA zone"),
        ('zone = "UTC"\n', "has no band"),
        (f'zone = "UTC"\n{BAND}from = "25:00"\n', "no time of day"),
        (f'zone = "UTC"\n{BAND}days = "workdays"\n', "without a band"),
        ('zone = "UTC"\ncolour = 1\n[[band]]\nname = "b"\neur_per_mwh = "x"\n', "unknown key"),
    ],
)  # fmt: skip
def test_a_tariff_file_is_refused_with_reasons(
    tmp_path: Path, small_case: Build, text: str, said: str
) -> None:
    (tmp_path / "tariff.toml").write_text(text)
    with pytest.raises(InputError, match=said):
        read_report_inputs(tmp_path, small_case())
