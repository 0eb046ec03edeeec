"""The definition of a clearing with integers, by going through every choice of a small market.

    maximise welfare over the choices whose own prices leave no accepted order with a loss

`enumerate_market` clears choices best bound first, each by `FixedClearing` of a market, and stops
when no other choice can be better. The bound is Lagrange's: at the prices of choice A, nobody can
get more from another choice B than his best answer to those prices, so

    cost(B) >= cost(A) + surplus of the integer orders at A - their best surplus under B.

It holds for a convex remainder; ``MARGIN`` covers what the AC grid takes from convexity, and
`exhaust_market` clears every choice without any bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingCase
from data.records.order import BlockOrder, CurtailOrder, Order
from tests.support.fixed_choice import FixedClearing
from tests.support.integer_choices import (
    Choice,
    Pattern,
    block_sets,
    blocks_of,
    curtails_of,
    legal_patterns,
    ratio_bounds,
    rebound_window,
    reducible_mw,
    runs_of,
    tan_phi,
)

Floats = NDArray[np.float64]
# What curvature of the AC grid may take from the bound, as a share of what it tells apart, and
# in EUR.
MARGIN: Final = (0.05, 0.02)
# A surplus is negative below this [EUR/MWh of energy moved]: what a solver leaves of a zero.
LOSS_EUR_PER_MWH: Final = 3e-4
# Ratios nearer than this are the same.
SAME_RATIO: Final = 1e-6


class Market(Protocol):
    """Clears one choice after the other."""

    case: ClearingCase

    def clear(self, choice: Choice) -> FixedClearing: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What every accepted order gets at a choice's own prices [EUR]; admissible without losses.

    ``surplus`` is what is paid, for active energy; ``worth`` adds what the reactive power that
    follows a curtail order's load is worth at its DLMP, and decides whether the order loses.
    """

    clearing: FixedClearing
    surplus: dict[str, float]
    worth: dict[str, float]
    moved_mwh: dict[str, float]

    def loss_eur(self, name: str) -> float:
        """Surplus below minus this is a loss; the energy moved sets the scale."""
        return LOSS_EUR_PER_MWH * self.moved_mwh[name]

    @property
    def losers(self) -> list[str]:
        return [name for name, value in self.worth.items() if value < -self.loss_eur(name)]

    @property
    def unclear(self) -> list[str]:
        """Orders so near to a loss that rounding could decide; exact zeros are none."""
        return [
            name
            for name, value in self.worth.items()
            if 0.3 < abs(value) / self.loss_eur(name) < 3.0
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Enumeration:
    """The answer of the definition: ``best`` of ``count`` choices, of which some were cleared."""

    best: Verdict
    cleared: tuple[Verdict, ...]
    count: int

    @property
    def unclear(self) -> bool:
        """Whether rounding could change the answer: a near zero, or a second choice as good."""
        best = self.best.clearing.total_eur
        rivals = [v for v in self.cleared if v.clearing.total_eur < best + 1e-3 * abs(best)]
        return any(verdict.unclear for verdict in rivals)


def judge(case: ClearingCase, clearing: FixedClearing) -> Verdict:
    """Surplus of accepted orders: energy at the DLMP less what the order asks for it."""
    h = case.periods.mtu_h
    surplus, worth, moved = {}, {}, {}
    for order in case.orders:
        if order.id not in clearing.injection_mw:
            continue
        injection = clearing.injection_mw[order.id]
        assert isinstance(order, BlockOrder | CurtailOrder)
        asked = injection if isinstance(order, BlockOrder) else clearing.reduction_mw[order.id]
        revenue = _price_at(order, clearing.price) @ injection
        surplus[order.id] = h * float(revenue - order.price_eur_per_mwh @ asked)
        worth[order.id] = surplus[order.id]
        if isinstance(order, CurtailOrder):
            reactive = tan_phi(case, order) * injection
            worth[order.id] += h * float(_price_at(order, clearing.price_q) @ reactive)
        moved[order.id] = h * float(np.abs(asked).sum())
    return Verdict(clearing=clearing, surplus=surplus, worth=worth, moved_mwh=moved)


def _price_at(order: Order, price: dict[int, Floats]) -> Floats:
    return np.asarray(sum(share * price[bus] for bus, share in order.buses))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceTable:
    """All choices as a product: sets of blocks, and patterns of each curtail order."""

    case: ClearingCase
    sets: list[frozenset[str]]
    patterns: list[list[Pattern]]

    @classmethod
    def of(cls, case: ClearingCase) -> ChoiceTable:
        curtails = curtails_of(case.orders)
        return cls(
            case=case,
            sets=block_sets(blocks_of(case.orders)),
            patterns=[legal_patterns(order, reducible_mw(case, order)) for order in curtails],
        )

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.sets), *(len(patterns) for patterns in self.patterns))

    def __len__(self) -> int:
        return int(np.prod(self.shape))

    def __iter__(self) -> Iterator[Choice]:
        for accepted, *patterns in product(self.sets, *self.patterns):
            yield Choice(accepted=accepted, patterns=tuple(patterns))

    def at(self, number: int) -> Choice:
        """Return the choice of a number."""
        at = np.unravel_index(number, self.shape)
        chosen = [patterns[int(k)] for patterns, k in zip(self.patterns, at[1:], strict=True)]
        return Choice(accepted=self.sets[int(at[0])], patterns=tuple(chosen))

    def best_answers(self, clearing: FixedClearing) -> Floats:
        """Most that the integer orders could get under every choice at given prices [EUR].

        Links and groups between ratios are left out, which only raises it. Reactive power of a
        curtail order counts, as it does in the optimum.
        """
        h, case = self.case.periods.mtu_h, self.case
        blocks = {block.id: block for block in blocks_of(case.orders)}
        gain = {
            name: h * float(block.profile_mw @ (_price_at(block, clearing.price)
                                                - block.price_eur_per_mwh))
            for name, block in blocks.items()
        }  # fmt: skip
        of_set = []
        for accepted in self.sets:
            bounds = ratio_bounds([blocks[name] for name in accepted])
            assert bounds is not None
            of_set.append(sum(max(gain[k] * low, gain[k] * high) for k, (low, high) in
                              bounds.items()))  # fmt: skip
        total = np.array(of_set, dtype=float)
        for order, patterns in zip(curtails_of(case.orders), self.patterns, strict=True):
            answers = answer_by_pattern(case, order, patterns, clearing)
            total = total[..., None] + answers
        return total.reshape(-1)


def answer_by_pattern(
    case: ClearingCase,
    order: CurtailOrder,
    patterns: list[Pattern],
    clearing: FixedClearing,
) -> Floats:
    """Largest surplus of a curtail order in each of its patterns at given prices [EUR]."""
    h = case.periods.mtu_h
    reactive = tan_phi(case, order) * _price_at(order, clearing.price_q)
    worth = _price_at(order, clearing.price) + reactive
    most = reducible_mw(case, order)
    answers = []
    for pattern in patterns:
        total = 0.0
        for run in runs_of(pattern):
            window = list(rebound_window(order, run))
            paid = order.rebound_share * float(worth[window].mean()) if window else 0.0
            for t in range(*run):
                gain = h * (float(worth[t] - order.price_eur_per_mwh[t]) - paid)
                total += max(gain * float(order.p_mw_min_on[t]), gain * float(most[t]))
        answers.append(total)
    return np.array(answers)


def exhaust_market(market: Market) -> Enumeration:
    """Clear every choice."""
    table = ChoiceTable.of(market.case)
    verdicts = [judge(market.case, market.clear(choice)) for choice in table]
    return _answer(verdicts, len(table))


def enumerate_market(market: Market) -> Enumeration:
    """Clear choices best bound first until no other can be better than the best admissible one."""
    table = ChoiceTable.of(market.case)
    bound = np.full(len(table), -np.inf)
    best, verdicts, number = np.inf, [], 0
    while True:
        verdict = judge(market.case, market.clear(table.at(number)))
        verdicts.append(verdict)
        total = verdict.clearing.total_eur
        if not verdict.losers:
            best = min(best, total)
        bound = np.maximum(bound, _bound_by(table, verdict))
        bound[number] = np.inf
        number = int(np.argmin(bound))
        if bound[number] > best:
            return _answer(verdicts, len(table))


def _bound_by(table: ChoiceTable, verdict: Verdict) -> Floats:
    """Lagrange's bound on the cost of every choice, from the prices of one, less the margin."""
    clearing = verdict.clearing
    got = sum(verdict.worth.values())
    change = got - table.best_answers(clearing)
    share, least = MARGIN
    return np.asarray(clearing.total_eur + change - share * np.abs(change) - least)


def _answer(verdicts: list[Verdict], count: int) -> Enumeration:
    admissible = [verdict for verdict in verdicts if not verdict.losers]
    best = min(admissible, key=lambda verdict: verdict.clearing.total_eur)
    return Enumeration(best=best, cleared=tuple(verdicts), count=count)


def paradoxically_rejected(case: ClearingCase, verdict: Verdict) -> dict[str, float]:
    """Rejected orders that links and groups would let in and that would gain: id -> EUR.

    A block is measured at its whole profile, a curtail order at its best legal answer.
    """
    h, clearing = case.periods.mtu_h, verdict.clearing
    found = {}
    for order in case.orders:
        if order.id in clearing.injection_mw:
            continue
        if isinstance(order, CurtailOrder):
            patterns = legal_patterns(order, reducible_mw(case, order))
            gain = float(answer_by_pattern(case, order, patterns, clearing).max())
            scale = h * float(order.p_mw_max.sum())
        elif isinstance(order, BlockOrder):
            if not _has_room(case, order, clearing.ratio):
                continue
            worth = _price_at(order, clearing.price) - order.price_eur_per_mwh
            gain = h * float(order.profile_mw @ worth)
            scale = h * float(np.abs(order.profile_mw).sum())
        else:
            continue
        if gain > LOSS_EUR_PER_MWH * scale:
            found[order.id] = gain
    return found


def _has_room(case: ClearingCase, block: BlockOrder, ratio: dict[str, float]) -> bool:
    """Whether parent and group would admit a rejected block at its least ratio."""
    if block.parent is not None:
        return (
            ratio.get(block.parent, 0.0) >= max(block.acceptance_min, SAME_RATIO) - SAME_RATIO / 2
        )
    if block.exclusive_group is None:
        return True
    taken = sum(
        ratio.get(other.id, 0.0)
        for other in blocks_of(case.orders)
        if other.exclusive_group == block.exclusive_group
    )
    return taken + block.acceptance_min <= 1.0 + SAME_RATIO
