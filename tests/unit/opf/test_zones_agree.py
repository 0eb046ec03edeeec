"""Grids cut into 2, 5 and 90 zones clear as one system does: the cases of the clearing's tests."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from benchmarks.simbench_cases import SUNNY, WINTER, simbench_case
from data.records.clearing import ClearingCase
from opf.grid import build_grid
from opf.zones import zones_by_size
from tests.support.random_feeders import random_feeder
from tests.unit.opf.test_zones import solved, zoned

COUNTS = (2, 5, 90)


def differences(case: ClearingCase, counts: tuple[int, ...]) -> list[tuple[float, float]]:
    """Relative difference of objective and prices to those of one system, by number of zones."""
    cost, price = solved(zoned(case, 0))
    found = []
    for count in counts:
        other_cost, other_price = solved(zoned(case, count))
        off = float(np.abs(other_price - price).max() / np.abs(price).max())
        found.append((abs(other_cost - cost) / max(abs(cost), 1.0), off))
    return found


@pytest.mark.parametrize(
    ("code", "day"),
    [
        ("1-MV-rural--2-sw", SUNNY),
        ("1-LV-rural3--2-sw", WINTER),
        pytest.param("1-MV-rural--2-sw", WINTER, marks=pytest.mark.long),
        pytest.param("1-LV-rural3--2-sw", SUNNY, marks=pytest.mark.long),
        pytest.param("1-MV-semiurb--2-sw", SUNNY, marks=pytest.mark.long),
        pytest.param("1-MV-semiurb--2-sw", WINTER, marks=pytest.mark.long),
    ],
)
def test_a_simbench_day_clears_alike(code: str, day: date) -> None:
    for cost, price in differences(simbench_case(code, day), COUNTS):
        assert cost < 1e-6
        assert price < 1e-4


@pytest.mark.parametrize("seed", [0, 2, 4, 5])
def test_a_random_feeder_clears_alike(seed: int) -> None:
    for cost, price in differences(random_feeder(seed).case, (2, 5)):
        assert cost < 1e-6
        assert price < 1e-4


@pytest.mark.long
def test_random_feeders_clear_alike_or_end_in_another_optimum() -> None:
    """Where overvoltage binds a feeder may have several optima; their costs are next to equal."""
    apart = 0
    for seed in range(50):
        case = random_feeder(seed).case
        assert all(
            zones_by_size(build_grid(case.network), count).count == count for count in (2, 5)
        )
        found = differences(case, (2, 5))
        apart += any(cost > 1e-6 or price > 1e-4 for cost, price in found)
        assert max(cost for cost, _ in found) < 1e-3
    assert apart <= 10
