"""Blocks of meters: what is refused, and that totals over blocks sum to zero."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from data.errors import InputError
from data.records.settlement import SettlementRules
from dso.settlement.bulk import MeterBlock, settle_block, settle_stream

RULES = SettlementRules(imbalance="dual", imbalance_spread_micro_eur_per_mwh=5_000_000)


def block(seed: int, periods: int = 4, connections: int = 30, buses: int = 3) -> MeterBlock:
    draw = np.random.default_rng(seed)

    def energy() -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return draw.integers(-5_000, 5_000, (periods, connections))

    def price(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return draw.integers(-50_000_000, 200_000_000, shape)

    return MeterBlock(
        bus=draw.integers(0, buses, connections), da_wh=energy(), id_wh=energy(),
        meter_wh=energy(), dlmp_da=price(periods, buses), dlmp_id=price(periods, buses),
        imbalance=price(periods, buses), import_wh=energy()[:, 0], da_import_wh=energy()[:, 0],
        id_import_wh=energy()[:, 0], import_price=price(periods), energy_price=price(periods),
        parts={"rent_voltage/bus:1:upper": price(periods, buses)},
    )  # fmt: skip


def test_totals_of_a_stream_are_those_of_its_blocks_and_sum_to_zero() -> None:
    blocks = [block(seed) for seed in range(3)]
    totals = settle_stream(iter(blocks), RULES)
    assert totals.total_micro_eur() == 0
    settled = [settle_block(each, RULES) for each in blocks]
    assert totals.lines == sum(each.lines for each in settled)
    assert len({each.sha256() for each in settled}) == 3
    assert settled[0].sha256() == settle_block(block(0), RULES).sha256()
    day = sum(each.amounts["da"].sum(axis=0) for each in settled)
    assert np.array_equal(totals.by_connection["da"], day)


def test_one_changed_watt_hour_changes_the_hash() -> None:
    first = block(0)
    meter = first.meter_wh.copy()
    meter[2, 7] += 1
    hashes = [settle_block(b, RULES).sha256() for b in (first, replace(first, meter_wh=meter))]
    assert all(one != other for one, other in pairwise(hashes))


def test_numbers_that_would_wrap_round_are_refused() -> None:
    wide = block(0)
    with pytest.raises(InputError, match="too large for 64-bit sums"):
        settle_block(replace(wide, da_wh=wide.da_wh * 10**7), RULES)


@pytest.mark.parametrize("name", ["dlmp_id", "import_price", "da_wh", "bus"])
def test_wrong_shapes_are_named(name: str) -> None:
    good = block(0)
    with pytest.raises(InputError, match=name):
        settle_block(replace(good, **{name: getattr(good, name)[1:]}), RULES)


def test_missing_capacities_reactive_energy_and_an_empty_stream_are_refused() -> None:
    with pytest.raises(InputError, match="capacities"):
        settle_block(block(0), replace(RULES, refund="pro_rata_capacity"))
    with pytest.raises(InputError, match="reactive energy"):
        settle_block(block(0), replace(RULES, settle_reactive=True))
    with pytest.raises(InputError, match="no block"):
        settle_stream(iter(()), RULES)
