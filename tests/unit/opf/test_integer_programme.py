"""The rows of curtail and block orders admit exactly what the market rules admit."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import sparse

from data.records.clearing import ClearingCase
from data.records.order import BlockOrder, CurtailOrder, Order
from opf import linear_programme
from opf.integer_choice import IntegerChoice
from opf.integer_programme import IntegerProgramme, build_integer_programme
from opf.linear_programme import (
    Programme,
    Relaxation,
    SolverStopped,
    solve_mixed_integer,
)
from opf.paradox import best_runs_eur
from tests.support.cases import library_network, make_case
from tests.support.integer_choices import (
    block_sets,
    is_legal,
    legal_patterns,
    rebound_window,
    runs_of,
)

PERIODS = 6


def curtail(**rules: object) -> CurtailOrder:
    ones = np.ones(PERIODS)
    fields: dict[str, object] = {
        "p_mw_max": 0.3 * ones,
        "p_mw_min_on": 0.1 * ones,
        "price_eur_per_mwh": 5.0 * ones,
    }
    return CurtailOrder(id="c", participant="P", buses=((20, 1.0),), **{**fields, **rules})  # type: ignore[arg-type]


def case_of(*orders: Order) -> ClearingCase:
    return make_case(library_network("case33bw"), list(orders), periods=PERIODS, mtu_minutes=15)


def relaxation_of(programme: IntegerProgramme, cost: np.ndarray | None = None) -> Relaxation:
    binary = np.concatenate(programme.binary)
    return Relaxation(
        Programme(
            cost=np.zeros(len(binary)) if cost is None else cost,
            rows=programme.rows(),
            rows_lower=np.concatenate(programme.row_lower),
            rows_upper=np.concatenate(programme.row_upper),
            lower=np.concatenate(programme.lower),
            upper=np.concatenate(programme.upper),
            binary=binary,
        )
    )


RULES = (
    {},
    {"duration_periods_min": 2},
    {"duration_periods_min": 2, "duration_periods_max": 3, "cooldown_periods": 2},
    {"duration_periods_max": 1, "activations_max": 2},
    {"cooldown_periods": 3, "activations_max": 1},
    {"rebound_share": 0.5, "rebound_periods": 2, "duration_periods_max": 3},
    {"rebound_share": 1.2, "rebound_periods": 3, "cooldown_periods": 1},
    {"rebound_share": 0.5, "rebound_periods": PERIODS},
    {"duration_periods_min": PERIODS + 1},
)


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_exactly_the_legal_patterns_are_feasible(rules: dict[str, object]) -> None:
    order = curtail(**rules)
    relaxation = relaxation_of(build_integer_programme(case_of(order)))
    for pattern in product((0, 1), repeat=PERIODS):
        found = relaxation.solve(np.array(pattern, dtype=np.int8)) is not None
        assert found == is_legal(order, [bool(on) for on in pattern], order.p_mw_max), pattern


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_programme_and_dynamic_programme_agree_on_the_best_pattern(
    rules: dict[str, object],
) -> None:
    """Sold at given prices, by brute force over patterns and reductions at their ends."""
    rng = np.random.default_rng(5)
    order = curtail(**rules)
    case = case_of(order)
    h = case.periods.mtu_h
    for _ in range(10):
        price = rng.uniform(-10.0, 30.0, PERIODS)
        best = 0.0
        for pattern in legal_patterns(order, order.p_mw_max):
            worth = 0.0
            for run in runs_of(pattern):
                window = list(rebound_window(order, run))
                again = order.rebound_share * float(np.mean(price[window])) if window else 0.0
                for t in range(*run):
                    gain = price[t] - order.price_eur_per_mwh[t] - again
                    worth += h * max(order.p_mw_max[t] * gain, order.p_mw_min_on[t] * gain)
            best = max(best, worth)
        assert best_runs_eur(case, order, price) == pytest.approx(best, abs=1e-9)


def test_families_admit_what_the_rules_admit() -> None:
    def block(name: str, **rules: object) -> BlockOrder:
        fields = {"profile_mw": np.ones(PERIODS), "price_eur_per_mwh": np.ones(PERIODS)}
        return BlockOrder(id=name, participant="P", buses=((20, 1.0),), **{**fields, **rules})  # type: ignore[arg-type]

    blocks = [
        block("a", acceptance_min=0.3),
        block("b", parent="a", acceptance_min=0.5),
        block("c", parent="b"),
        block("x", exclusive_group="g", acceptance_min=0.4),
        block("y", exclusive_group="g", acceptance_min=0.5),
        block("z", exclusive_group="g", acceptance_min=0.7),
    ]
    programme = build_integer_programme(case_of(*blocks))
    relaxation = relaxation_of(programme)
    admitted = set(block_sets(blocks))
    columns = np.flatnonzero(np.concatenate(programme.binary))
    place = {
        name: int(np.searchsorted(columns, own[0])) for name, own in programme.decision.items()
    }
    for bits in product((0, 1), repeat=len(blocks)):
        fixed = np.zeros(len(columns), dtype=np.int8)
        chosen = frozenset(one.id for one, bit in zip(blocks, bits, strict=True) if bit)
        for name in chosen:
            fixed[place[name]] = 1
        assert (relaxation.solve(fixed) is not None) == (chosen in admitted), chosen


def test_an_excluded_choice_is_cut_off_and_no_other() -> None:
    order = curtail()
    programme = build_integer_programme(case_of(order))
    out = IntegerChoice(on={"c": (1, 2)})
    columns, values, least = programme.without(out, PERIODS)
    for pattern in product((0.0, 1.0), repeat=PERIODS):
        met = float(values @ np.array(pattern)) >= least
        assert met == (pattern != (0, 1, 1, 0, 0, 0))
    assert np.array_equal(columns, programme.decision["c"])


def knapsacks(size: int = 60, rows: int = 15) -> Programme:
    """A programme that branching takes long to finish: many knapsacks over the same items."""
    rng = np.random.default_rng(3)
    weights = rng.integers(1, 40, (rows, size)).astype(float)
    return Programme(
        cost=-rng.integers(5, 60, size).astype(float), rows=sparse.csr_matrix(weights),
        rows_lower=np.full(rows, -np.inf), rows_upper=0.4 * weights.sum(axis=1),
        lower=np.zeros(size), upper=np.ones(size), binary=np.ones(size, dtype=bool),
    )  # fmt: skip


def test_effort_ends_a_search_at_the_same_point_every_time() -> None:
    programme = knapsacks()
    size = len(programme.cost) + len(programme.rows_lower)
    first, second = (
        solve_mixed_integer(programme, gap=0.0, effort_max=20.0 * size) for _ in range(2)
    )
    assert first is not None
    assert second is not None
    assert first.bound < first.objective - 1e-6, "the search was over before"
    assert not first.by_time
    assert (first.x.tobytes(), first.bound) == (second.x.tobytes(), second.bound)
    longer = solve_mixed_integer(programme, gap=0.0, effort_max=120.0 * size)
    assert longer is not None
    assert longer.objective - longer.bound < first.objective - first.bound


def test_a_search_that_wall_time_ended_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_programme, "TIME_LIMIT_S", 0.1)
    found = solve_mixed_integer(knapsacks(), gap=0.0, effort_max=np.inf)
    assert found is not None
    assert found.by_time


def test_effort_without_any_point_is_no_answer() -> None:
    with pytest.raises(SolverStopped, match="used up"):
        solve_mixed_integer(knapsacks(), gap=0.0, effort_max=0.0)
