"""How reliably flexibility was delivered: the score that the next month's availability uses."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from data.records.settlement import Activation, SettlementCase
from data.units import MICRO_PER_UNIT
from dso.settlement.exact import divide_half_even
from dso.settlement.flexibility import rate_activation


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryScore:
    """What one participant delivered of what was ordered.

    Parameters
    ----------
    activations, complete : int
        Periods with an order, and those in which all of it was delivered.
    ordered_wh, delivered_wh : int
        Energy ordered, and of it delivered [Wh]; more than ordered in one period does not make up
        for less in another.
    score_ppm : int
        delivered / ordered in millionths, half-even.
    """

    participant: str
    activations: int
    complete: int
    ordered_wh: int
    delivered_wh: int
    score_ppm: int


def score_delivery(case: SettlementCase) -> tuple[DeliveryScore, ...]:
    """Return the score of everybody who had an activation, by name."""
    found: dict[str, list[Activation]] = defaultdict(list)
    for activation in case.activations:
        found[activation.participant].append(activation)
    return tuple(
        _score(participant, activations, case.periods.mtu_minutes)
        for participant, activations in sorted(found.items())
    )


def _score(participant: str, activations: list[Activation], mtu_minutes: int) -> DeliveryScore:
    ordered, delivered, complete = 0, 0, 0
    for activation in activations:
        ordered_wh = divide_half_even(abs(activation.ordered_w) * mtu_minutes, 60)
        short_wh = rate_activation(activation, mtu_minutes).deficiency_wh
        ordered += ordered_wh
        delivered += max(0, ordered_wh - short_wh)
        complete += short_wh == 0
    return DeliveryScore(
        participant=participant,
        activations=len(activations),
        complete=complete,
        ordered_wh=ordered,
        delivered_wh=delivered,
        score_ppm=divide_half_even(delivered * MICRO_PER_UNIT, ordered) if ordered else 0,
    )
