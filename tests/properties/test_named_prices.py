"""The price or size that an explanation names is where the decision turns: both sides are cleared.

Every named price is tried 1 % (at least 1 cent) to either side, every named size 1 % below and
above, by clearing the whole market again with that one order changed.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from data.records.clearing import Award, ClearingCase
from data.records.order import (
    BilateralOrder,
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    ShiftOrder,
    StorageOrder,
)
from opf.clearing import clear_case
from opf.explanations.order import explain_order
from opf.explanations.published import Published, publish
from opf.explanations.records import OrderExplanation
from tests.support.cases import storage
from tests.support.random_feeders import random_feeder
from tests.support.random_markets import random_market

# Two ticks: what an award may be off by rounding.
TICK_MW = 2.5e-6
STEP_MIN = 0.01
# Markets with integer orders that clear in a few tenths of a second.
INTEGER_SEEDS = (0, 1, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19)


class Undecided(Exception):
    """The engine gave no certified clearing there, so there is no decision to compare with."""


def cleared_with(case: ClearingCase, order: Order) -> Award:
    orders = tuple(order if other.id == order.id else other for other in case.orders)
    result = clear_case(dataclasses.replace(case, orders=orders))
    if not result.status.startswith("certified"):
        raise Undecided(result.message)
    return next(award for award in result.awards if award.order == order.id)


def continuous_market(seed: int) -> ClearingCase:
    """A random market without its integer orders, with a bilateral, a shift and an idle storage."""
    case = random_market(seed)
    size, buses = len(case.periods), len(case.network.buses.index)
    rng, ones = np.random.default_rng(seed), np.ones(len(case.periods))
    own = [order for order in case.orders if not isinstance(order, BlockOrder | CurtailOrder)]
    if buses > 2:
        own.append(
            BilateralOrder(
                id="pair", participant="P", buses=((1, 1.0),), bus_to=buses - 1,
                participant_to="Q", p_mw=0.2 * ones,
                price_eur_per_mwh=rng.uniform(-4.0, 1.0) * ones,
            )
        )  # fmt: skip
    baseline = np.round(rng.uniform(0.1, 0.3, size), 3)
    own.append(
        ShiftOrder(
            id="shift", participant="S", buses=((1, 1.0),), baseline_mw=baseline,
            p_mw_min=0.0 * ones, p_mw_max=0.4 * ones, window_periods=size,
            price_eur_per_mwh=60.0 * ones,
        )
    )  # fmt: skip
    own = [order for order in own if order.id != "battery"]
    own.append(storage("battery", 1, p_mw=0.1, energy_mwh=0.4, periods=size, throughput=60.0))
    return dataclasses.replace(case, orders=tuple(sorted(own, key=lambda order: order.id)))


def published_market(case: ClearingCase) -> Published:
    result = clear_case(case)
    assert result.status == "certified", result.message
    return publish(case, result)


def at_price(order: Order, price: float, period: int | None) -> Order:
    """The order at another price, in one period or in all."""

    def changed(prices: np.ndarray) -> np.ndarray:
        new = prices.copy()
        new[slice(None) if period is None else period] = price
        return new

    match order:
        case GenerationOrder() | DemandOrder():
            best = max if isinstance(order, GenerationOrder) else min
            first, *later = order.steps
            steps = [dataclasses.replace(first, price_eur_per_mwh=changed(first.price_eur_per_mwh))]
            for step in later:
                raised = changed(step.price_eur_per_mwh)
                raised[period] = best(float(step.price_eur_per_mwh[period]), price)
                steps.append(dataclasses.replace(step, price_eur_per_mwh=raised))
            return dataclasses.replace(order, steps=tuple(steps))
        case StorageOrder():
            both = changed(order.price_charge_eur_per_mwh)
            return dataclasses.replace(
                order, price_charge_eur_per_mwh=both, price_discharge_eur_per_mwh=both
            )
        case BilateralOrder() | ShiftOrder() | BlockOrder() | CurtailOrder():
            prices = changed(order.price_eur_per_mwh)
            return dataclasses.replace(order, price_eur_per_mwh=prices)
    raise AssertionError(order)


def at_size(order: Order, p_mw: float, period: int) -> Order:
    """The order cut to a size in one period."""
    if isinstance(order, BilateralOrder):
        power = order.p_mw.copy()
        power[period] = p_mw
        return dataclasses.replace(order, p_mw=power)
    assert isinstance(order, GenerationOrder | DemandOrder)
    steps, left = [], p_mw
    for step in order.steps:
        power = step.p_mw.copy()
        power[period] = min(float(power[period]), left)
        left -= float(power[period])
        steps.append(dataclasses.replace(step, p_mw=power))
    return dataclasses.replace(order, steps=tuple(steps))


def used(order: Order, award: Award, period: int | None) -> bool:
    """Whether the order does anything there."""
    if isinstance(order, BlockOrder | CurtailOrder):
        return bool(award.accepted_share.any())
    if isinstance(order, ShiftOrder):
        return bool(np.abs(award.injection_mw[0] + order.baseline_mw).max() > TICK_MW)
    if isinstance(order, StorageOrder):
        assert award.charge_mw is not None
        assert award.discharge_mw is not None
        return bool(max(award.charge_mw.max(), award.discharge_mw.max()) > TICK_MW)
    return bool(np.abs(award.injection_mw[0, period]) > TICK_MW)


def turns_at_price(case: ClearingCase, order: Order, explained: OrderExplanation) -> bool:
    threshold = explained.threshold
    assert threshold is not None
    price, t = threshold.price_eur_per_mwh, threshold.period
    step = max(0.01 * abs(price), STEP_MIN) * (-1 if threshold.direction == "at_most" else 1)
    tried = [price + step, price - step]
    if threshold.basis != "energy":  # a cost is never below zero
        tried = [max(value, 0.0) for value in tried]
    inside, outside = (used(order, cleared_with(case, at_price(order, p, t)), t) for p in tried)
    return inside and not outside


def turns_at_size(case: ClearingCase, order: Order, explained: OrderExplanation) -> bool:
    size = explained.size
    assert size is not None
    assert size.period is not None

    def whole(p_mw: float) -> bool:
        award = cleared_with(case, at_size(order, p_mw, size.period))
        got = abs(float(award.injection_mw[0, size.period] / award_share(order)))
        return got > p_mw - TICK_MW

    return whole(0.99 * size.p_mw) and not whole(1.01 * size.p_mw)


def award_share(order: Order) -> float:
    return 1.0 if isinstance(order, BilateralOrder) else order.buses[0][1]


def continuous_explanations(
    markets: int, feeders: int
) -> Iterator[tuple[ClearingCase, Order, OrderExplanation]]:
    for case in (
        *(continuous_market(seed) for seed in range(markets)),
        *(random_feeder(seed).case for seed in range(feeders)),
    ):
        published = published_market(case)
        for order in case.orders:
            yield case, order, explain_order(published, order.id)


@dataclasses.dataclass(kw_only=True)
class Tally:
    """What was named, tried, and did not turn."""

    kinds: Counter[str] = dataclasses.field(default_factory=Counter)
    sizes: int = 0
    undecided: int = 0
    wrong: list[object] = dataclasses.field(default_factory=list)

    def try_out(self, case: ClearingCase, order: Order, explained: OrderExplanation) -> None:
        try:
            if explained.threshold is not None:
                self.kinds[explained.kind] += 1
                if not turns_at_price(case, order, explained):
                    self.wrong.append((case.network.name, order.id, explained.threshold))
            if explained.size is not None and explained.size.p_mw > 1e-3:
                self.sizes += 1
                if not turns_at_size(case, order, explained):
                    self.wrong.append((case.network.name, order.id, explained.size))
        except Undecided:
            self.undecided += 1


@pytest.mark.parametrize(
    ("markets", "feeders"), [(9, 1), pytest.param(26, 3, marks=pytest.mark.long)]
)
def test_prices_and_sizes_named_for_orders_without_integers_turn_the_decision(
    markets: int, feeders: int
) -> None:
    tally = Tally()
    for case, order, explained in continuous_explanations(markets, feeders):
        tally.try_out(case, order, explained)
    assert tally.wrong == []
    assert tally.kinds.total() >= 3 * markets
    assert min(tally.kinds[kind] for kind in ("generation", "demand", "bilateral")) >= markets // 5
    assert min(tally.kinds[kind] for kind in ("storage", "shift")) >= markets // 9
    assert tally.sizes >= 3 * markets // 2
    assert tally.undecided <= 3


@pytest.mark.long
def test_prices_and_sizes_named_for_integer_orders_turn_the_decision() -> None:
    """Threshold and size of blocks and curtailments, where the explanation calls them confirmed."""
    tried, unconfirmed, paradoxical, wrong = 0, 0, 0, []
    for seed in INTEGER_SEEDS:
        case = random_market(seed)
        published = published_market(case)
        for order in case.orders:
            award = published.awards[order.id]
            if not isinstance(order, BlockOrder | CurtailOrder) or award.status == "accepted":
                continue
            explained = explain_order(published, order.id)
            paradoxical += explained.reason == "paradoxical"
            if explained.threshold is None:
                continue
            if not explained.threshold.confirmed:
                assert any("does not flip" in note for note in explained.notes)
                unconfirmed += 1
                continue
            tried += 1
            if not turns_at_price(case, order, explained):
                wrong.append((seed, order.id, explained.threshold))
            if explained.size is not None and explained.size.confirmed:
                assert explained.size.share is not None
                if not turns_at_share(case, order, explained.size.share):
                    wrong.append((seed, order.id, explained.size))
    assert wrong == []
    assert tried >= 15
    assert unconfirmed <= 0.2 * tried
    assert paradoxical >= 3


def turns_at_share(case: ClearingCase, order: Order, share: float) -> bool:
    """Whether a block of that share of the profile, all or nothing, is accepted, a larger not."""
    assert isinstance(order, BlockOrder)
    inside, outside = (
        cleared_with(
            case,
            dataclasses.replace(
                order, profile_mw=factor * share * order.profile_mw, acceptance_min=1.0
            ),
        ).accepted_share.any()
        for factor in (0.99, 1.01)
    )
    return bool(inside and not outside)
