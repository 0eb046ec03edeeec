"""Envelopes are fair as their definition says, in AC, by power flows of power-grid-model.

Random radial feeders; twenty and more of them run with the long proofs. What each rule promises
stands in docs/dispatch.md, how it is judged in `tests.support.fair_shares`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from opf.problems.envelopes import FAIRNESS_RULES, Envelopes, FairnessRule, operating_envelopes
from opf.problems.monitored_grid import monitor_grid
from tests.support.fair_shares import faults_of_shares
from tests.support.random_envelopes import SharedFeeder, shared_feeder

# One where a small line binds that most connections hardly load, one with reactive power.
SEEDS = (1, 2)
MANY = range(3, 28)


@cache
def shared(seed: int, rule: FairnessRule) -> tuple[SharedFeeder, Envelopes]:
    feeder = shared_feeder(seed)
    at = monitor_grid(feeder.network, feeder.limits)
    others = at.by_node(feeder.background)[:, 0]
    margin = np.zeros(len(at.limits))
    return feeder, operating_envelopes(at, (others, others), feeder.connections, rule, margin)


def judge(seed: int, rule: FairnessRule) -> int:
    """Expect no fault in either direction; return how many go on beyond what they hardly load."""
    feeder, answer = shared(seed, rule)
    beyond = 0
    for sign, part in ((1.0, answer.export), (-1.0, answer.draw)):
        assert part.settled
        assert not part.background_breaks
        faults, slight = faults_of_shares(feeder, rule, sign, part.p_mw)
        assert faults == [], (seed, rule, sign)
        beyond += slight
    return beyond


@pytest.mark.parametrize("rule", FAIRNESS_RULES)
@pytest.mark.parametrize("seed", SEEDS)
def test_everybody_below_the_request_has_a_bottleneck(seed: int, rule: FairnessRule) -> None:
    beyond = judge(seed, rule)
    if seed == SEEDS[0]:
        assert beyond > 0


@pytest.mark.long
@pytest.mark.parametrize("rule", FAIRNESS_RULES)
@pytest.mark.parametrize("seed", MANY)
def test_everybody_has_a_bottleneck_on_many_feeders(seed: int, rule: FairnessRule) -> None:
    judge(seed, rule)


@pytest.mark.parametrize("rule", FAIRNESS_RULES)
def test_the_judge_finds_what_is_not_fair(rule: FairnessRule) -> None:
    feeder, answer = shared(SEEDS[1], rule)
    fair = answer.export.p_mw
    held = [row for row, why in enumerate(answer.export.held_by) if why != "request"]
    name = feeder.connections.name[held[0]]

    less = fair.copy()
    less[held[0]] *= 0.95
    faults, _ = faults_of_shares(feeder, rule, 1.0, less)
    assert any(each.startswith(f"{name} has no bottleneck") for each in faults)

    faults, _ = faults_of_shares(feeder, rule, 1.0, 1.03 * fair)
    assert any("is exceeded by" in each for each in faults)

    given = fair.copy()
    given[held[0]], given[held[1]] = 0.9 * fair[held[0]], fair[held[1]] + 0.1 * fair[held[0]]
    assert faults_of_shares(feeder, rule, 1.0, given)[0]
