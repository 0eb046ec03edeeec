"""A day of the benchmark: what really happened breaks fewer limits with margins than without."""

from __future__ import annotations

import dataclasses
from datetime import date
from pathlib import Path

import pytest

from benchmarks.margins import Outcome, cases_of, measure, plan_of
from data.study import case_sha256, read_study, write_study
from dso.cycles.stage_forecast import make_day_ahead_forecast

pytestmark = pytest.mark.slow
DAY, QUANTILE = date(2016, 3, 22), 0.95


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Outcome, Path, str]:
    plan = plan_of(DAY)
    cases = dict(cases_of(plan, make_day_ahead_forecast(plan)))
    off, first = measure(plan, cases[None], None, None)
    secured, result = measure(plan, cases[QUANTILE], QUANTILE, first)
    study = tmp_path_factory.mktemp("secured") / "study"
    write_study(cases[QUANTILE], study, plan.feeder.network)
    assert result.input_sha256 == case_sha256(cases[QUANTILE])
    named = {(each.element, each.period) for each in result.binding_margins}
    assert named, "a margin binds on this day"
    return off, secured, study, result.input_sha256


def test_fewer_limits_break_and_welfare_is_lost(
    outcomes: tuple[Outcome, Outcome, Path, str],
) -> None:
    off, secured, _, _ = outcomes
    assert off.status == secured.status == "certified"
    assert off.broken > 20
    assert secured.broken < 0.5 * off.broken
    assert secured.depth_pu < off.depth_pu
    assert 0.0 < secured.cost_eur - off.cost_eur < 50.0


def test_the_study_folder_carries_the_margins(
    outcomes: tuple[Outcome, Outcome, Path, str],
) -> None:
    """Whoever has the folder has the same case: hash, and margins in force."""
    _, _, study, sha256 = outcomes
    case = read_study(study)
    assert case_sha256(case) == sha256
    without = dataclasses.replace(case, margins=None)
    assert case_sha256(without) != sha256
