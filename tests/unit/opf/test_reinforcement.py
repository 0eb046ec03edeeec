"""Value of reinforcement: shadow prices over a weighted sample equal the re-solved change."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.simbench_cases import SUNNY, WINTER, simbench_case
from data.records.clearing import ClearingCase
from opf.clearing import clear_case
from opf.problems.reinforcement import BranchKind, rating_mva, rating_values, with_rating
from tests.support.cases import generation, library_network, make_case

WEIGHTS = ((SUNNY, 150.0), (WINTER, 215.0))
# Change of rating of the finite difference, as a share of it.
STEP = 5e-4


def total_eur(case: ClearingCase) -> float:
    result = clear_case(case)
    assert result.status in ("certified", "certified_with_slack")
    return result.objective_eur + result.penalty_eur


def with_line_limit(case: ClearingCase, percent: float) -> ClearingCase:
    lines = np.full(len(case.network.lines.index), percent)
    limits = dataclasses.replace(case.limits, line_loading_percent_max=lines)
    return dataclasses.replace(case, limits=limits)


def year_change(
    sample: list[tuple[ClearingCase, float]], kind: BranchKind, element: int, mva: float
) -> float:
    """Change of the yearly cost per MVA, by clearing the whole sample twice more."""
    less, more = (
        sum(days * total_eur(with_rating(case, kind, element, step)) for case, days in sample)
        for step in (-mva, mva)
    )
    return (less - more) / (2 * mva)


@pytest.mark.parametrize(
    ("code", "line_percent", "priced"),
    [
        # a transformer that exports too much; two cables in a row, each full in other hours
        ("1-LV-rural1--2-sw", 100.0, {("trafo", 0)}),
        pytest.param(
            "1-LV-semiurb4--2-sw", 60.0, {("line", 33), ("line", 34)}, marks=pytest.mark.long
        ),
    ],
)
def test_shadow_prices_of_a_year_equal_the_re_solved_change(
    code: str, line_percent: float, priced: set[tuple[BranchKind, int]]
) -> None:
    sample = [
        (with_line_limit(simbench_case(code, day), line_percent), days) for day, days in WEIGHTS
    ]
    value: dict[tuple[BranchKind, int], float] = {}
    for case, days in sample:
        for found in rating_values(case, clear_case(case)):
            key = (found.element_kind, found.element)
            value[key] = value.get(key, 0.0) + days * found.eur_per_mva
    assert {key for key, eur in value.items() if eur > 0} == priced
    for kind, element in priced:
        step = STEP * rating_mva(sample[0][0].network, kind, element)
        expected = year_change(sample, kind, element, step)
        assert value[kind, element] == pytest.approx(expected, rel=0.02)


def congested() -> ClearingCase:
    """Case33bw whose line from bus 6 to 7 is full of generation that wants out."""
    network = library_network("case33bw", slack_vm_pu=1.0)
    max_i_ka = network.lines.max_i_ka.copy()
    max_i_ka[5] = 0.035
    lines = dataclasses.replace(network.lines, max_i_ka=max_i_ka)
    return make_case(
        dataclasses.replace(network, lines=lines),
        [generation("pv", 17, 3.0, 5.0)],
        price=40.0,
        line_loading_percent_max=np.where(np.arange(37) == 5, 80.0, 1e6),
    )


def test_the_value_belongs_to_the_full_line_and_falls_as_it_grows() -> None:
    case = congested()
    values = {v.element: v for v in rating_values(case, clear_case(case)) if v.eur_per_mva > 0}
    assert list(values) == [5]
    small = 1e-3 * values[5].rating_mva
    change = year_change([(case, 1.0)], "line", 5, small)
    assert values[5].eur_per_mva == pytest.approx(change, rel=1e-3)
    assert values[5].periods_binding == 1
    step = 0.5 * values[5].rating_mva
    saved = total_eur(case) - total_eur(with_rating(case, "line", 5, step))
    assert 0 < saved <= values[5].eur_per_mva * step * (1 + 1e-6)


def test_rating_is_that_of_the_nameplate_and_only_it_changes() -> None:
    case = congested()
    lines = case.network.lines
    mva = rating_mva(case.network, "line", 5)
    assert mva == pytest.approx(np.sqrt(3) * lines.max_i_ka[5] * 12.66)
    larger = with_rating(case, "line", 5, mva)
    assert rating_mva(larger.network, "line", 5) == pytest.approx(2 * mva)
    for name in ("r_ohm_per_km", "x_ohm_per_km", "max_i_ka"):
        np.testing.assert_array_equal(getattr(larger.network.lines, name), getattr(lines, name))
