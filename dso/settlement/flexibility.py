"""Flexibility services: delivered against ordered, by the rule set of the contract.

The meter is that of the party obliged, never of its counterparty. With withdrawal positive and
an order for less withdrawal, reduction = baseline - meter; an order for more mirrors the signs.

    delivered  = clip(reduction, 0, ordered)
    deficiency = max(0, ordered - reduction)            penalised in every rule set

=================  ========================================================================
rule               paid energy, with r = reduction / ordered
=================  ========================================================================
``usef``           delivered (USEF, settle phase: over-delivery is not paid)
``threshold_75``   delivered if r >= 75 %, else nothing (E.ON SWITCH)
``threshold_80``   delivered if r >= 80 %, else nothing (sthlmflex / NODES)
``sliding_50_100`` delivered x (r - 50 %) / 50 % from r = 50 % to 100 %, nothing below (SSEN
                   TRANSITION names the scale and the cap; the linear factor is our reading)
``cap_120``        clip(reduction, 0, 120 % of ordered) (ESO DFS; its bands below 50 % are not
                   part of the rule, because their reductions are not published in our source)
=================  ========================================================================

A contract without penalty has a penalty price of 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from data.records.settlement import Activation
from dso.settlement.exact import divide_half_even

THRESHOLD_PERCENT: Final = {"threshold_75": 75, "threshold_80": 80}


@dataclass(frozen=True, slots=True, kw_only=True)
class FlexibilityOutcome:
    """What an activation comes to.

    Parameters
    ----------
    paid_wh : int
        Energy the price applies to [Wh], >= 0.
    bought_injection_wh : int
        Energy the operator took over, in terms of injection [Wh]: it leaves the imbalance of the
        connection, so that nothing is paid twice. 0 where the rule pays nothing.
    deficiency_wh : int
        Energy the penalty applies to [Wh], >= 0.
    """

    paid_wh: int
    bought_injection_wh: int
    deficiency_wh: int


def rate_activation(activation: Activation, mtu_minutes: int) -> FlexibilityOutcome:
    """Apply the rule of an activation to its meter.

    Parameters
    ----------
    activation : Activation
        Baseline, order and meter [W], withdrawal positive.
    mtu_minutes : int
        Length of the period [min].

    Returns
    -------
    FlexibilityOutcome
        Energies of one period [Wh], each half-even.
    """
    sign = 1 if activation.ordered_w > 0 else -1
    ordered_w = abs(activation.ordered_w)
    reduction_w = sign * (activation.baseline_w - activation.meter_w)
    delivered_w = min(max(reduction_w, 0), ordered_w)
    # Powers carry the denominator of the scale, so that the energy is rounded once.
    paid, denominator = delivered_w, 1
    bought_w = delivered_w
    threshold_percent = THRESHOLD_PERCENT.get(activation.rule, 0)
    if 100 * reduction_w < threshold_percent * ordered_w:
        paid = bought_w = 0
    elif activation.rule == "sliding_50_100":
        if 2 * delivered_w <= ordered_w:
            paid = bought_w = 0
        else:
            paid, denominator = delivered_w * (2 * delivered_w - ordered_w), ordered_w
    elif activation.rule == "cap_120":
        paid, denominator = min(max(5 * reduction_w, 0), 6 * ordered_w), 5
        bought_w = min(max(reduction_w, 0), 6 * ordered_w // 5)
    return FlexibilityOutcome(
        paid_wh=divide_half_even(paid * mtu_minutes, 60 * denominator),
        bought_injection_wh=sign * divide_half_even(bought_w * mtu_minutes, 60),
        deficiency_wh=divide_half_even(max(0, ordered_w - reduction_w) * mtu_minutes, 60),
    )
