"""Wherever the solve starts (nothing, the linear grid's schedule, full export) it ends alike.

On the sunny day the problem is not convex: under the binding overvoltage it pays by a hundredth
of a cent to leave one of two quarter-hours of equal wholesale price free of discharge, either of
them. Which one is not up to the start (`opf.interior_path`; docs/decisions.md, 23).
"""

from __future__ import annotations

import dataclasses
from datetime import date

import numpy as np
import pytest

from benchmarks.simbench_cases import SUNNY, WINTER, simbench_case
from data.records.clearing import ClearingResult
from opf.bound import soc_bound_eur
from opf.clearing import clear_case

pytestmark = pytest.mark.slow
GRID = "1-MV-rural--2-sw"
# By how much prices may be apart, relative to the largest.
PRICE_SHARE = 1e-5


def full_export(result: ClearingResult) -> ClearingResult:
    """The same orders with every injection at its largest and no storage moving."""
    awards = []
    for award in result.awards:
        share = np.maximum(award.accepted_share, 1e-9)
        offered = np.where(award.accepted_share > 1e-6, award.injection_mw / share, 50.0)
        idle = award.charge_mw is not None
        awards.append(
            dataclasses.replace(
                award, injection_mw=0.0 * award.injection_mw if idle else np.abs(offered)
            )
        )
    return dataclasses.replace(result, awards=tuple(awards))


def nothing(result: ClearingResult) -> ClearingResult:
    """The same orders with nothing awarded."""
    awards = tuple(
        dataclasses.replace(
            award,
            injection_mw=0.0 * award.injection_mw,
            charge_mw=None if award.charge_mw is None else 0.0 * award.charge_mw,
            discharge_mw=None if award.discharge_mw is None else 0.0 * award.discharge_mw,
        )
        for award in result.awards
    )
    return dataclasses.replace(result, awards=awards)


@pytest.mark.parametrize("day", [SUNNY, pytest.param(WINTER, marks=pytest.mark.long)], ids=str)
def test_three_starts_end_at_one_optimum(day: date) -> None:
    case = simbench_case(GRID, day)
    linear = clear_case(dataclasses.replace(case, formulation="lindistflow"))
    first = clear_case(case)
    largest = float(np.abs(first.prices.dlmp_p_eur_per_mwh).max())
    for start in (None, nothing(linear), linear, full_export(linear)):
        result = first if start is None else clear_case(case, start=start)
        assert result.status == "certified", result.message
        certificate = result.certificate
        assert max(certificate.stationarity, certificate.complementarity) < 1e-6
        assert result.objective_eur == pytest.approx(first.objective_eur, rel=1e-9)
        apart = np.abs(result.prices.dlmp_p_eur_per_mwh - first.prices.dlmp_p_eur_per_mwh)
        assert float(apart.max()) < PRICE_SHARE * largest
        for one, other in zip(result.awards, first.awards, strict=True):
            np.testing.assert_allclose(one.injection_mw, other.injection_mw, rtol=0, atol=1e-5)


@pytest.mark.long
def test_the_cone_bound_is_tight_on_the_winter_day() -> None:
    case = simbench_case(GRID, WINTER)
    result = clear_case(case)
    bound = soc_bound_eur(case)
    assert bound is not None
    gap = (result.objective_eur - bound) / abs(result.objective_eur)
    assert -1e-7 < gap < 1e-4
