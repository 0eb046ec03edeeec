"""Contracts of a tender against the enumeration of every set of bids."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import linprog

from opf.problems.flexibility_tender import TenderCase, choose_contracts


def _case(seed: int) -> TenderCase:
    rng = np.random.default_rng(seed)
    bids, periods = int(rng.integers(2, 6)), int(rng.integers(4, 12))
    need = np.round(rng.uniform(0.0, 2.0, periods) * (rng.random(periods) < 0.7), 2)
    limit = np.where(rng.random(bids) < 0.4, rng.uniform(0.5, 2.0, bids), np.inf)
    return TenderCase(
        need_mw=need,
        expected_mw=np.round(need * rng.uniform(0.1, 0.6, periods), 3),
        hours=rng.choice([0.25, 1.0, 30.0], periods),
        window=rng.random((bids, periods)) < 0.75,
        power_mw=np.round(rng.uniform(0.3, 1.5, bids), 2),
        effect=np.round(rng.uniform(0.4, 1.0, bids), 2),
        fee_eur_per_mw_h=np.round(rng.uniform(1.0, 20.0, bids), 1),
        utilisation_eur_per_mwh=np.round(rng.uniform(20.0, 300.0, bids), 0),
        energy_mwh_max=limit,
        shortage_eur_per_mwh=5000.0,
    )


def _cost_of(case: TenderCase, accepted: np.ndarray) -> float:
    """Cost of a set of bids: fees, shortage of capacity, and the cheapest calls."""
    ready = accepted[:, None] * case.window
    capacity = (case.effect * case.power_mw) @ ready
    short = np.maximum(case.need_mw - capacity, 0.0) @ case.hours
    fees = (case.fee_eur_per_mw_h * case.power_mw * accepted) @ (case.window @ case.hours)
    bids, periods = ready.shape
    # y[bid, period], then energy that nobody delivers
    cost = np.concatenate(
        [np.outer(case.utilisation_eur_per_mwh, case.hours).ravel(), 5000.0 * case.hours]
    )
    cover = np.zeros((periods, len(cost)))
    for t in range(periods):
        cover[t, t : bids * periods : periods] = case.effect
        cover[t, bids * periods + t] = 1.0
    energy, most = [], []
    for bid in np.flatnonzero(np.isfinite(case.energy_mwh_max)):
        row = np.zeros(len(cost))
        row[bid * periods : (bid + 1) * periods] = case.hours
        energy.append(row)
        most.append(case.energy_mwh_max[bid] * accepted[bid])
    upper = (case.power_mw[:, None] * ready).ravel()
    found = linprog(
        cost,
        A_ub=np.vstack([-cover, *[row[None] for row in energy]]),
        b_ub=np.concatenate([-case.expected_mw, most]),
        bounds=[*zip(np.zeros(len(upper)), upper, strict=True), *[(0.0, None)] * periods],
    )
    return float(fees + 5000.0 * short + found.fun)


@pytest.mark.parametrize("seed", range(25))
def test_choice_is_the_cheapest_of_all_sets(seed: int) -> None:
    case = _case(seed)
    result = choose_contracts(case)
    sets = [
        np.array(chosen, dtype=float)
        for chosen in itertools.product((0, 1), repeat=len(case.power_mw))
    ]
    cheapest = min(_cost_of(case, chosen) for chosen in sets)
    assert result.total_eur == pytest.approx(cheapest, rel=1e-7, abs=1e-6)
    assert _cost_of(case, result.accepted.astype(float)) == pytest.approx(cheapest, rel=1e-7)
    assert result.bound_eur == pytest.approx(cheapest, rel=1e-7, abs=1e-5)
    short = np.maximum(case.need_mw - result.covered_mw, 0.0)
    np.testing.assert_allclose(result.short_mw, short, atol=1e-8)


def test_a_high_fee_is_worth_a_low_utilisation_price_only_where_much_is_called() -> None:
    def tender(expected_mw: float) -> tuple[bool, ...]:
        case = TenderCase(
            need_mw=np.ones(10),
            expected_mw=np.full(10, expected_mw),
            hours=np.ones(10),
            window=np.ones((2, 10), dtype=bool),
            power_mw=np.ones(2),
            effect=np.ones(2),
            fee_eur_per_mw_h=np.array([10.0, 2.0]),
            utilisation_eur_per_mwh=np.array([40.0, 100.0]),
            energy_mwh_max=np.full(2, np.inf),
            shortage_eur_per_mwh=1e5,
        )
        return tuple(choose_contracts(case).accepted.tolist())

    # 10 + 40 e against 2 + 100 e: equal at e = 8 / 60
    assert tender(0.1) == (False, True)
    assert tender(0.2) == (True, False)
