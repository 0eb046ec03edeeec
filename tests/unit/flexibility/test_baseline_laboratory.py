"""Error and bias on event-free days, and what is flagged around events, on real households."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from flexibility.baselines import DropTo, LocalTable, MeterBeforeAfter, method_named
from flexibility.baselines.gaming import (
    DetectionStudy,
    GamingRules,
    flagged_among_all,
    judge,
    measure_drifts,
    permutation_p,
    study_detection,
    windows_of,
)
from flexibility.baselines.laboratory import (
    LabMethod,
    LabRules,
    LabRun,
    MethodScore,
    last_week,
    measure_delivery,
    profile_of_others,
    run_laboratory,
    score_methods,
)
from tests.support.load_tables import MONDAY, table_of
from tests.support.metered_street import START, households

LAB, GAMING = LabRules(), GamingRules()
NAMES = (
    "high-5-of-10", "mid-8-of-10", "mid-8-of-10+additive", "rolling-5", "meter-before-after",
    "drop-to-0", "regression",
)  # fmt: skip


def street_tables(count: int) -> list[LocalTable]:
    names, wh = households()
    return [table_of(wh[:, k] * 4e-6, START, name=names[k]) for k in range(count)]


@pytest.fixture(scope="module")
def scores() -> tuple[LabRun, dict[str, MethodScore]]:
    tables = street_tables(8)
    methods = [LabMethod(name=name, method=method_named(name)) for name in NAMES]
    methods.append(
        LabMethod(name="nominated", method=method_named("nominated"), nominate=last_week)
    )
    methods.append(LabMethod(name="fixed-profile", method=profile_of_others(tables, 28)))
    run = run_laboratory(tables, methods, LAB)
    return run, {score.method: score for score in score_methods(run)}


def test_known_ranking_of_the_literature_on_real_households(
    scores: tuple[LabRun, dict[str, MethodScore]],
) -> None:
    """High X of Y is biased upward (Lind et al. 2023, doi:10.1016/j.jup.2023.101688)."""
    _, found = scores
    assert found["high-5-of-10"].bias_low > 0.1
    assert abs(found["mid-8-of-10"].bias_median) < 0.1
    assert found["mid-8-of-10"].error_median < found["high-5-of-10"].error_median
    assert found["drop-to-0"].bias_median == -1.0
    assert found["drop-to-0"].error_median == 1.0
    for score in found.values():
        assert score.portfolio_error <= score.error_high + 1e-9, score.method
        assert abs(score.portfolio_bias) <= score.portfolio_error + 1e-12
        assert score.refused == 0
    assert found["regression"].fallbacks == found["regression"].baselines  # no temperature here


def test_scores_against_plain_arithmetic(scores: tuple[LabRun, dict[str, MethodScore]]) -> None:
    run, found = scores
    which = run.methods.index("rolling-5")
    difference = run.baseline_mw[which] - run.actual_mw
    load = run.actual_mw.mean(axis=(1, 2))
    error = np.abs(difference).mean(axis=(1, 2)) / load
    assert found["rolling-5"].error_median == pytest.approx(np.median(error))
    total, said = run.actual_mw.sum(axis=0), run.baseline_mw[which].sum(axis=0)
    expected = np.abs(said - total).mean() / total.mean()
    assert found["rolling-5"].portfolio_error == pytest.approx(expected)


def test_a_load_that_never_changes_has_no_error_by_any_history() -> None:
    flat = table_of(np.full(60 * 96, 0.003), MONDAY)
    methods = [LabMethod(name=n, method=method_named(n)) for n in NAMES if n != "drop-to-0"]
    for score in score_methods(run_laboratory([flat], methods, LAB)):
        assert score.error_median == pytest.approx(0.0, abs=1e-9), score.method


def test_a_refusal_is_counted_and_not_averaged() -> None:
    holes = np.full(60 * 96, 0.002)
    holes[39 * 96 + 67] = np.nan  # the reading before the event of one day
    methods = [
        LabMethod(name="around", method=MeterBeforeAfter()),
        LabMethod(name="none", method=DropTo()),
    ]
    around, none = score_methods(run_laboratory([table_of(holes, MONDAY)], methods, LAB))
    assert (around.refused, none.refused) == (1, 0)
    assert around.error_median == pytest.approx(0.0, abs=1e-9)


# ---------------------------------------------------------------- behaviour around events


@pytest.fixture(scope="module")
def study() -> DetectionStudy:
    return study_detection(
        street_tables(20), LAB, GAMING, sizes_kw=(0.0, 0.5, 1.0, 2.0), events=12, repeats=4, seed=3
    )


def test_honest_households_are_flagged_at_the_stated_rate(study: DetectionStudy) -> None:
    """5 % of 80 trials are 4; ten and more would have a probability below 1 %."""
    assert study.trials == 80
    assert study.raised[0] * study.trials <= 9
    assert study.shifted[0] * study.trials <= 9


def test_injected_raise_and_shift_are_flagged(study: DetectionStudy) -> None:
    assert study.raised[2] >= 0.9  # 1 kW, three hours before twelve events
    assert study.shifted[3] >= 0.9  # 2 kW out of two hours, back in the three after
    assert (np.diff(study.raised) >= 0).all()
    assert (np.diff(study.shifted) >= 0).all()


def test_injection_into_the_series_itself_is_what_the_study_adds() -> None:
    """The study adds the injected power to the drift; here it is put into the meter instead."""
    table = street_tables(3)[2]
    rows = frozenset(np.flatnonzero(table.working)[30:70:4].tolist())
    injected = table.withdrawal_mw.copy()
    for row in rows:
        window = windows_of(table, row, LAB, GAMING)["before"]
        injected[row, table.place(window)[1]] += 0.001
    honest = judge(measure_drifts(table, rows, LAB, GAMING), GAMING)
    gamed_table = replace(table, withdrawal_mw=injected)
    gamed = judge(measure_drifts(gamed_table, rows, LAB, GAMING), GAMING)
    assert gamed.before_mw - honest.before_mw == pytest.approx(0.001)
    assert (gamed.event_mw, gamed.after_mw) == pytest.approx((honest.event_mw, honest.after_mw))
    assert gamed.raised_before
    assert not honest.raised_before
    assert gamed.events == 10


def test_shifted_energy_is_measured() -> None:
    table = street_tables(1)[0]
    rows = frozenset(np.flatnonzero(table.working)[30:75:3].tolist())
    moved = table.withdrawal_mw.copy()
    for row in rows:
        windows = windows_of(table, row, LAB, GAMING)
        moved[row, table.place(windows["event"])[1]] -= 0.003
        moved[row, table.place(windows["after"])[1]] += 0.003 * 2 / 3 * 0.8
    honest = judge(measure_drifts(table, rows, LAB, GAMING), GAMING)
    found = judge(measure_drifts(replace(table, withdrawal_mw=moved), rows, LAB, GAMING), GAMING)
    assert found.shifted
    assert not honest.shifted
    assert found.recovered == pytest.approx(0.8, abs=0.25)


def test_listed_events_are_settled_by_every_method_in_parallel() -> None:
    """A flat load of 2 kW that drops by 0.5 kW in two events of two hours delivers 2 kWh."""
    load = np.full(60 * 96, 0.002)
    rows = frozenset({43, 50})
    for row in rows:
        load[row * 96 + 68 : row * 96 + 76] = 0.0015
    load[50 * 96 + 75] = 0.0030  # one quarter-hour above the baseline is not paid back
    names = ("mid-8-of-10", "meter-before-after", "drop-to-0.001")
    methods = [LabMethod(name=name, method=method_named(name)) for name in names]
    table = table_of(load, MONDAY)
    found = measure_delivery([table], methods, LAB, {"house": rows})
    for score in found[:2]:
        assert (score.events, score.refused) == (2, 0)
        assert score.delivered_mwh == pytest.approx(0.002 - 0.000125)
        assert score.net_mwh == pytest.approx(0.002 - 0.000125 - 0.00025)
    assert found[2].delivered_mwh == 0.0
    assert found[2].net_mwh < 0


def test_permutation_against_every_choice_there_is() -> None:
    """Three of nine days: all 84 choices counted one by one."""
    from itertools import combinations

    drift = np.array([0.9, 0.1, -0.2, 0.7, 0.0, 0.2, 0.5, -0.4, 0.3])
    is_event = np.isin(np.arange(9), (0, 3, 8))

    def difference(chosen: tuple[int, ...]) -> float:
        inside = np.isin(np.arange(9), chosen)
        return float(drift[inside].mean() - drift[~inside].mean())

    every = [difference(chosen) for chosen in combinations(range(9), 3)]
    exact = sum(value >= difference((0, 3, 8)) - 1e-12 for value in every) / len(every)
    assert permutation_p(drift, is_event)[1] == pytest.approx(exact, abs=0.02)


def test_holm_by_hand() -> None:
    """Four parties at 5 %: 0.010 <= 0.05/4, 0.016 <= 0.05/3, 0.030 > 0.05/2: the rest stays."""
    table = street_tables(1)[0]
    some = judge(measure_drifts(table, frozenset({36, 50, 64}), LAB, GAMING), GAMING)
    scores = [
        replace(some, connection=name, before_p=p)
        for name, p in (("c", 0.030), ("a", 0.010), ("d", 0.001 + 0.03), ("b", 0.016))
    ]
    assert flagged_among_all(scores, GAMING) == {"a", "b"}


def test_the_window_before_ends_with_the_start_and_days_stay_local() -> None:
    table = table_of(np.zeros(20 * 96), MONDAY - timedelta(hours=2), timezone="Europe/Berlin")
    windows = windows_of(table, 3, LAB, GAMING)
    assert windows["before"].end == windows["event"].start
    assert windows["event"].start == MONDAY + timedelta(days=3, hours=15)  # 17:00 in summer
    assert windows["after"].count == 12
