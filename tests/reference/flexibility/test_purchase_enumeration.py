"""What is bought equals the enumeration of all choices by power flows of pandapower."""

from __future__ import annotations

import pytest

from dso.flexibility.buy import Purchase, Tray, buy
from flexibility.procurement.acceptance import Desk
from tests.support.flexibility_markets import (
    AT,
    POINT,
    Choice,
    FlexibilityMarket,
    choices,
    cost_eur,
    enumerate_cheapest,
    flexibility_market,
    keeps_limits,
    missing_mw,
)

CASES = 50
IN_CI = (1, 2, 3, 4, 5, 7)


def _buy(market: FlexibilityMarket) -> Purchase:
    desk = Desk(points={POINT.id: POINT}, requests={}, contracts={}, at=AT)
    return buy(market.case, Tray(offers=market.offers), desk)


def _bought(market: FlexibilityMarket, purchase: Purchase) -> Choice:
    offer_of = {offer.message_id: offer for offer in market.offers}
    found = []
    for order in purchase.orders:
        offer = offer_of[order.offer]
        option = next(each for each in offer.options if each.reference == order.option)
        found.append((offer, option, order.factor))
    return tuple(found)


def _short_mw(purchase: Purchase) -> float:
    """Sum over elements and periods; the two ends of a line are one element."""
    worst: dict[tuple[str, int, int], float] = {}
    for each in purchase.after.violations:
        key = (each.element_kind, each.element, each.period)
        worst[key] = max(worst.get(key, 0.0), each.mw_short)
    return sum(worst.values())


def _check(seed: int) -> str:
    market = flexibility_market(seed)
    purchase = _buy(market)
    bought = _bought(market, purchase)
    cost = purchase.cost_micro_eur / 1e6
    assert cost == pytest.approx(cost_eur(bought), abs=1e-5)
    cheapest = enumerate_cheapest(market)
    if cheapest is None:
        assert purchase.state == "orange"
        every = [*choices(market), *choices(market, whole=True)]
        assert not any(keeps_limits(market, choice) for choice in every)
        # the fewest MW missing count first, the cost of offers decides among equals
        best = min(
            1e5 * missing_mw(market, choice) + cost_eur(choice) for choice in choices(market)
        )
        own = 1e5 * missing_mw(market, bought) + cost
        assert own <= best * (1 + 2e-3)
        assert _short_mw(purchase) == pytest.approx(missing_mw(market, bought), rel=5e-3)
        return "orange"
    assert purchase.state in ("green", "yellow")
    assert keeps_limits(market, bought)
    # a divisible option is bought in hundredths: the search may end one of them off the least
    hundredth = max(
        [option.price_micro_eur / 1e8 for _, option, factor in bought if option.factor_min < 1.0],
        default=0.0,
    )
    assert cheapest[0] - 1e-5 <= cost <= cheapest[0] + hundredth + 1e-5
    return purchase.state


@pytest.mark.parametrize("seed", IN_CI)
def test_bought_at_least_cost(seed: int) -> None:
    _check(seed)


@pytest.mark.long
def test_fifty_cases_bought_at_least_cost() -> None:
    states = [_check(seed) for seed in range(CASES)]
    assert len(states) == CASES
    assert states.count("yellow") >= 35
    assert states.count("orange") >= 8
