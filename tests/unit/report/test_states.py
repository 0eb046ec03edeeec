from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from dso.report.day_folder import read_day_folder
from dso.report.states import broken_elements, feeder_order, period_states, period_to_open
from dso.report.views import DayView, Scenario, ViolationView

Edit = Callable[[str, Callable[[str], str]], Path]


def broken(scenario: Scenario, period: int, side: str = "upper") -> ViolationView:
    return ViolationView(
        scenario=scenario, element_kind="bus", element=3, period=period, side=side,
        value=1.06 if side == "upper" else 0.95, limit=1.055 if side == "upper" else 0.965,
        unit="pu",
    )  # fmt: skip


def test_the_four_states_and_what_makes_them(day: DayView) -> None:
    quiet = replace(day, violations=(), causes=())
    assert set(period_states(quiet)) == {"green"}
    stressed = replace(
        quiet,
        violations=(
            broken("without_market", 10),
            broken("without_market", 11), broken("with_market", 11),
            broken("schedule", 12),
        ),
        rounds=tuple(
            replace(summary, status="infeasible") if summary.first == 40 else summary
            for summary in day.rounds
        ),
    )  # fmt: skip
    states = period_states(stressed)
    assert states[10:14] == ("yellow", "orange", "orange", "green")
    assert states[39:45] == ("green", "red", "red", "red", "red", "green")


def test_a_binding_limit_alone_is_yellow(day: DayView) -> None:
    only_prices = replace(day, violations=())
    binding = set(np.concatenate([cause.periods for cause in day.causes]).tolist())
    assert binding
    yellow = {k for k, state in enumerate(period_states(only_prices)) if state == "yellow"}
    assert yellow == binding


def test_worst_element_and_its_worst_value(day: DayView) -> None:
    low = [broken("without_market", 3, "lower"), broken("without_market", 4, "lower")]
    found = broken_elements(
        replace(day, violations=(broken("without_market", 3), *low)), "without_market"
    )
    assert [(item.side, item.periods) for item in found] == [("lower", 2), ("upper", 1)]
    assert found[0].name == "North 2"
    assert found[0].worst.excess > 0


def test_neighbours_stand_together(day: DayView) -> None:
    order = feeder_order(day.feeder).tolist()
    assert sorted(order) == list(range(7))
    assert order in ([0, 1, 2, 3, 4, 5, 6], [0, 1, 4, 5, 6, 2, 3])


def test_the_map_opens_where_most_would_break(day: DayView) -> None:
    per_period = np.zeros(len(day.periods), dtype=int)
    for violation in day.violations:
        if violation.scenario == "without_market":
            per_period[violation.period] += 1
    assert per_period[period_to_open(day)] == per_period.max() > 0


def test_exactly_what_the_replay_counted_is_listed(written_day: Path) -> None:
    view = read_day_folder(written_day)
    for scenario, replay in view.replays:
        mine = [violation for violation in view.violations if violation.scenario == scenario]
        assert len(mine) == replay.violations
        assert len({violation.period for violation in mine}) == replay.periods_violated
