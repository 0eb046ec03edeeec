"""Every integer choice of 200 small markets, gone through: the engine finds the same answer.

The markets are tests/support/random_markets.py; the answer is the definition itself, enumerated by
tests/support/enumerated_market.py: the cheapest choice whose own prices leave no accepted order
with a loss. Forty markets without losses are enumerated by SciPy's linprog as well, which shares no
code with the engine.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from data.records.clearing import ClearingCase, ClearingResult
from data.records.order import (
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    PriceStep,
    StorageOrder,
)
from data.units import AWARD_TICK_MW
from opf.awards import RESERVE_TICKS
from opf.clearing import clear_case
from tests.support.enumerated_market import (
    Enumeration,
    Market,
    enumerate_market,
    exhaust_market,
    judge,
    paradoxically_rejected,
)
from tests.support.fixed_choice import FixedChoiceMarket
from tests.support.integer_choices import Choice, blocks_of, curtails_of
from tests.support.linear_market import LinearMarket
from tests.support.order_simulator import broken_rules
from tests.support.random_markets import INTEGER_ORDERS_MAX, random_market

SEEDS = range(200)
QUICK = [seed for seed in range(28) if seed not in (5, 9, 10)]  # those take seconds each
LOSSLESS = [pytest.param(k, marks=pytest.mark.long) if k == 10 else k for k in range(40)]
# Near zero surplus rounding decides, and either answer is right: such markets are few.
UNCLEAR_MAX = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the check of one market saw; ``faults`` is empty when everything holds."""

    case: ClearingCase
    result: ClearingResult
    truth: Enumeration
    faults: tuple[str, ...]

    @property
    def contested(self) -> bool:
        """Whether some choice that lets an order lose would have cost less."""
        best = self.truth.best.clearing.total_eur
        return any(v.losers and v.clearing.total_eur < best - 1e-3 for v in self.truth.cleared)


def choice_of(case: ClearingCase, result: ClearingResult) -> Choice:
    """The integer choice that awards tell: accepted blocks, on periods of curtail orders."""
    awards = {award.order: award for award in result.awards}
    taken = [
        block.id
        for block in blocks_of(case.orders)
        if np.abs(awards[block.id].injection_mw).max() > AWARD_TICK_MW
    ]
    on = [
        tuple((awards[order.id].accepted_share > 1e-9).tolist())
        for order in curtails_of(case.orders)
    ]
    return Choice(accepted=frozenset(taken), patterns=tuple(on))


def tick_worth_eur(case: ClearingCase, result: ClearingResult) -> float:
    """What ticks are worth at the dearest bus: one in every period, for awards are on ticks.

    And for each storage those of one period that it stays off its energy bounds.
    """
    dearest = np.abs(result.prices.dlmp_p_eur_per_mwh).max(axis=0)
    storages = sum(isinstance(order, StorageOrder) for order in case.orders)
    ticks = dearest.sum() + RESERVE_TICKS * storages * dearest.max()
    return float(AWARD_TICK_MW * result.periods.mtu_h * ticks)


def compare(
    market: Market, result: ClearingResult, truth: Enumeration, *, relative: float = 1e-6
) -> list[str]:
    """Welfare, chosen orders, their surplus and paradoxical rejections."""
    case, best = market.case, truth.best.clearing
    faults = [] if result.status == "certified" else [f"{result.status}: {result.message}"]
    total = result.objective_eur + result.penalty_eur
    if total != pytest.approx(
        best.total_eur, rel=relative, abs=1e-6 + tick_worth_eur(case, result)
    ):
        faults.append(f"welfare {-total} EUR instead of {-best.total_eur} EUR")
    chosen = truth.best
    if choice_of(case, result) != best.choice:
        chosen = judge(case, market.clear(choice_of(case, result)))
        if chosen.clearing.total_eur != pytest.approx(best.total_eur, rel=relative, abs=1e-6):
            faults.append(f"chose {chosen.clearing.choice} instead of {best.choice}")
    row_of = {bus: k for k, bus in enumerate(case.network.buses.index.tolist())}
    for award in result.awards:
        if award.order not in chosen.surplus:
            continue
        dlmp_q = result.prices.dlmp_q_eur_per_mvarh[[row_of[bus] for bus in award.buses]]
        reactive = case.periods.mtu_h * float((dlmp_q * award.injection_mvar).sum())
        # one that sets the price earns nothing, up to what ticks leave of it
        if award.surplus_eur + reactive < -chosen.loss_eur(award.order):
            faults.append(f"{award.order} loses {-award.surplus_eur - reactive} EUR")
        stated = chosen.surplus[award.order]
        if award.surplus_eur != pytest.approx(stated, rel=1e-4, abs=2e-3):
            faults.append(f"{award.order} earns {award.surplus_eur}, not {stated} EUR")
    found = {a.order for a in result.awards if a.status == "paradoxically_rejected"}
    kept_out = set(paradoxically_rejected(case, chosen))
    if found != kept_out:
        faults.append(f"paradoxically rejected {sorted(found)}, not {sorted(kept_out)}")
    return faults


@functools.cache
def examine(seed: int) -> Findings:
    """Clear a market, enumerate it, compare, and replay every award."""
    case = random_market(seed)
    market = FixedChoiceMarket(case)
    truth = enumerate_market(market)
    result = clear_case(case)
    faults = [f"{b.order} {b.rule} {b.period}: {b.text}" for b in broken_rules(case, result.awards)]
    assert all(verdict.clearing.converged for verdict in truth.cleared)
    if not truth.unclear:
        faults += compare(market, result, truth)
    return Findings(case=case, result=result, truth=truth, faults=tuple(faults))


def kinds_in(case: ClearingCase) -> Counter[str]:
    """How many integer orders of each kind a market holds."""
    found: Counter[str] = Counter()
    for order in curtails_of(case.orders):
        found["curtail"] += 1
        found["curtail at a load"] += order.asset is not None
        found["rebound"] += order.rebound_share > 0
        found["least duration"] += order.duration_periods_min > 1
        found["cooldown"] += order.cooldown_periods > 0
        found["activations"] += order.activations_max is not None
    for block in blocks_of(case.orders):
        found["sells" if block.profile_mw.max() > 0 else "buys"] += 1
        found["linked"] += block.parent is not None
        found["group"] += block.exclusive_group is not None
        found["least acceptance"] += block.acceptance_min < 1.0
    return found


@pytest.mark.parametrize("seed", QUICK)
def test_engine_finds_the_answer_of_the_definition(seed: int) -> None:
    assert examine(seed).faults == ()


@pytest.mark.long
def test_two_hundred_markets() -> None:
    seen = {seed: examine(seed) for seed in SEEDS}
    faults = {seed: found.faults for seed, found in seen.items() if found.faults}
    assert faults == {}
    unclear = [seed for seed, found in seen.items() if found.truth.unclear]
    assert len(unclear) <= UNCLEAR_MAX * len(SEEDS)
    binding = sum(found.truth.best.clearing.binding for found in seen.values())
    assert binding >= 0.6 * len(SEEDS)
    # without the rule against losses a quarter of the answers would be others
    assert sum(found.contested for found in seen.values()) >= 0.25 * len(SEEDS)
    kept_out = sum(bool(paradoxically_rejected(f.case, f.truth.best)) for f in seen.values())
    assert kept_out >= 0.25 * len(SEEDS)


def test_markets_hold_every_kind_of_integer_order() -> None:
    markets = [kinds_in(random_market(seed)) for seed in range(40)]
    found: Counter[str] = sum(markets, Counter())
    assert min(found.values()) >= 12, found
    assert set(found) == {
        "curtail", "curtail at a load", "rebound", "least duration", "cooldown", "activations",
        "sells", "buys", "linked", "group", "least acceptance",
    }  # fmt: skip
    orders = [m["curtail"] + m["sells"] + m["buys"] for m in markets]
    assert min(orders) >= 3
    assert max(orders) == INTEGER_ORDERS_MAX


def test_a_market_of_a_seed_is_always_the_same() -> None:
    first, second = (random_market(8) for _ in range(2))
    assert [order.id for order in first.orders] == [order.id for order in second.orders]
    for one, other in zip(blocks_of(first.orders), blocks_of(second.orders), strict=True):
        assert np.array_equal(one.profile_mw, other.profile_mw)
        assert np.array_equal(one.price_eur_per_mwh, other.price_eur_per_mwh)


@pytest.mark.parametrize("seed", LOSSLESS)
def test_linear_programme_of_another_code_path_agrees(seed: int) -> None:
    case = random_market(seed, lossless=True)
    market = LinearMarket(case)
    truth = enumerate_market(market)
    assert not truth.unclear
    result = clear_case(case)
    # what losses there are cost up to 1e-6 of the whole
    assert compare(market, result, truth, relative=3e-6) == []
    for bus, price in truth.best.clearing.price.items():
        assert result.prices.dlmp_p_eur_per_mwh[bus] == pytest.approx(price, abs=1e-3)


@pytest.mark.parametrize("seed", [1, 6, 16, 19, 22])
def test_bound_leaves_no_better_choice_out(seed: int) -> None:
    case = random_market(seed)
    every = exhaust_market(FixedChoiceMarket(case))
    some = enumerate_market(FixedChoiceMarket(case))
    assert len(every.cleared) == every.count == some.count
    assert some.best.clearing.choice == every.best.clearing.choice
    assert some.best.clearing.total_eur == pytest.approx(every.best.clearing.total_eur, rel=5e-7)


def as_continuous(case: ClearingCase, accepted: frozenset[str]) -> ClearingCase:
    """The market with accepted blocks as generation that must run or demand that must be met."""
    orders: list[Order] = []
    for order in case.orders:
        if isinstance(order, BlockOrder) and order.id in accepted:
            sells = order.profile_mw.max() > 0
            power = np.abs(order.profile_mw)
            kind = GenerationOrder if sells else DemandOrder
            step = PriceStep(p_mw=power, price_eur_per_mwh=order.price_eur_per_mwh)
            orders.append(
                kind(id=order.id, participant="C", buses=order.buses, steps=(step,), p_mw_min=power)
            )
        elif not isinstance(order, BlockOrder | CurtailOrder):
            orders.append(order)
    return dataclasses.replace(case, orders=tuple(orders))


@pytest.mark.parametrize("seed", [2, 9, 13, 24])
def test_fixed_choice_clears_like_the_same_market_of_continuous_orders(seed: int) -> None:
    """Accepted blocks without a free ratio as must-run injections of the public engine."""
    case = random_market(seed)
    truth = enumerate_market(FixedChoiceMarket(case))
    fixed = [
        v.clearing
        for v in truth.cleared
        if all(r == 1.0 for r in v.clearing.ratio.values())
        and not any(any(pattern) for pattern in v.clearing.choice.patterns)
    ]
    assert fixed
    for clearing in fixed[:4]:
        plain = as_continuous(case, clearing.choice.accepted)
        result = clear_case(plain)
        total = result.objective_eur + result.penalty_eur
        assert total == pytest.approx(clearing.total_eur, rel=1e-6, abs=2e-5)
        for bus, price in clearing.price.items():
            assert result.prices.dlmp_p_eur_per_mwh[bus] == pytest.approx(price, abs=2e-3)


def planted(result: ClearingResult, order: str, **changes: Any) -> ClearingResult:
    """A result with another award of one order."""
    awards = tuple(
        dataclasses.replace(award, **changes) if award.order == order else award
        for award in result.awards
    )
    return dataclasses.replace(result, awards=awards)


def test_comparison_finds_what_is_planted() -> None:
    found = examine(3)
    market, result, truth = FixedChoiceMarket(found.case), found.result, found.truth
    assert compare(market, result, truth) == []
    dearer = dataclasses.replace(result, objective_eur=1.00001 * result.objective_eur)
    assert any("welfare" in fault for fault in compare(market, dearer, truth))
    taken = min(truth.best.clearing.choice.accepted)
    award = next(award for award in result.awards if award.order == taken)
    dropped = planted(result, taken, injection_mw=0.0 * award.injection_mw)
    assert any("chose" in fault for fault in compare(market, dropped, truth))
    losing = planted(result, taken, surplus_eur=-0.01)
    assert any("loses" in fault for fault in compare(market, losing, truth))
    kept_out = min(paradoxically_rejected(found.case, truth.best))
    unsaid = planted(result, kept_out, status="rejected")
    assert any("paradoxically" in fault for fault in compare(market, unsaid, truth))
    # and the choice that would be best if orders might lose is another one
    losers = [v for v in examine(0).truth.cleared if v.losers]
    assert min(v.clearing.total_eur for v in losers) < examine(0).truth.best.clearing.total_eur
