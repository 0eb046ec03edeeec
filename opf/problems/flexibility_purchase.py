"""Buy flexibility at least cost: the market's positions stay, offers are chosen with AC physics.

    minimise    sum of (activation factor x price of the option) + calls x utilisation price
                + shortage price x MW-equivalent by which a limit cannot hold x h
    subject to  every limit of the grid at the AC state of positions and ordered flexibility,
                at most one option of an offer, factors 0 or from their least value to 1

It is a clearing whose import costs nothing, so that energy and losses weigh nothing beside what
the operator pays, and whose orders are paid as bid. The shortage price stands far above any offer:
a limit is broken only where no choice of offers keeps it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods
from data.records.clearing import Award, ClearingCase, ClearingResult, LimitMargins, Violation
from data.records.order import BlockOrder, CurtailOrder, DemandOrder, GenerationOrder, Order
from opf.certificate import BALANCE_MAX_MW, REPLAY_VM_MAX_PU
from opf.clearing import clear_case

Floats = NDArray[np.float64]
# Price of a limit that cannot hold [EUR/MWh], beyond what any offer asks.
SHORTAGE_EUR_PER_MWH: Final = 100_000.0
BY_PERIOD: Final[dict[type[Order], tuple[str, ...]]] = {
    BlockOrder: ("profile_mw", "price_eur_per_mwh"),
    CurtailOrder: ("p_mw_max", "p_mw_min_on", "price_eur_per_mwh"),
    GenerationOrder: ("p_mw_min",),
    DemandOrder: ("p_mw_min",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FlexibilityChoice:
    """What was chosen of the orders offered.

    Parameters
    ----------
    shares : mapping of order id to ratio
        Of blocks, 0 or from their least ratio to 1.
    injections : mapping of order id to ndarray, shape (periods,)
        Of every order, over the whole horizon [MW].
    cost_eur : float
        What the chosen powers cost as bid [EUR].
    result : ClearingResult or None
        The search, over the periods in which anything was offered; None where nothing was.
    """

    shares: dict[str, float]
    injections: dict[str, Floats]
    cost_eur: float
    result: ClearingResult | None


def choose_flexibility(
    held: ClearingCase,
    orders: Sequence[Order],
    *,
    shortage_eur_per_mwh: float = SHORTAGE_EUR_PER_MWH,
    out_of_time: Callable[[], bool] | None = None,
) -> FlexibilityChoice:
    """Choose what to buy.

    Parameters
    ----------
    held : ClearingCase
        The grid with the market's positions (`opf.problems.held_positions.held_case`).
    orders : sequence of Order
        Offers and contract calls: blocks, curtailments, generation and demand, paid as bid.
    shortage_eur_per_mwh : float
        Price of a limit that cannot hold [EUR/MWh].
    out_of_time : callable, optional
        As in `opf.clearing.clear_case`.
    """
    count = len(held.periods)
    touched = np.zeros(count, dtype=bool)
    for order in orders:
        touched |= _offered(order) != 0.0
    if not touched.any():
        return FlexibilityChoice(shares={}, injections={}, cost_eur=0.0, result=None)
    first, after = int(np.argmax(touched)), count - int(np.argmax(touched[::-1]))
    case = _purchase_case(
        during(held, first, after), [_cut(order, first, after) for order in orders],
        shortage_eur_per_mwh,
    )  # fmt: skip
    result = clear_case(case, out_of_time=out_of_time)
    injections = {}
    for award in result.awards:
        whole = np.zeros(count)
        whole[first:after] = award.injection_mw.sum(axis=0)
        injections[award.order] = whole
    blocks = {order.id for order in orders if isinstance(order, BlockOrder)}
    return FlexibilityChoice(
        shares={a.order: _ratio(a) for a in result.awards if a.order in blocks},
        injections=injections,
        cost_eur=result.objective_eur,
        result=result,
    )


def flexibility_outcome(
    held: ClearingCase,
    fixed: Sequence[Order],
    *,
    shortage_eur_per_mwh: float = SHORTAGE_EUR_PER_MWH,
) -> ClearingResult:
    """Return the certified state of the grid with the flexibility ordered, and what is missing.

    ``violations`` of the result are the limits that still do not hold, with the MW missing at the
    bus that relieves each most.
    """
    return clear_case(_purchase_case(held, fixed, shortage_eur_per_mwh))


def is_sound(outcome: ClearingResult) -> bool:
    """Tell whether an outcome of `flexibility_outcome` may be relied on.

    Nothing is optimised in it and its prices mean nothing, so what counts of the certificate is
    that the independent power flow gives the same voltages and that energy is balanced.
    """
    proof = outcome.certificate
    return (
        outcome.status != "infeasible"
        and proof.replay_vm_pu_error_max <= REPLAY_VM_MAX_PU
        and proof.energy_balance_mw <= BALANCE_MAX_MW
    )


def missing_by_period(violations: Sequence[Violation], periods: int) -> Floats:
    """Return the largest MW missing in each period, shape (periods,)."""
    missing = np.zeros(periods)
    for violation in violations:
        missing[violation.period] = max(missing[violation.period], violation.mw_short)
    return missing


def _purchase_case(
    held: ClearingCase, orders: Sequence[Order], shortage_eur_per_mwh: float
) -> ClearingCase:
    return dataclasses.replace(
        held,
        formulation="ac",
        import_price_eur_per_mwh=np.zeros(len(held.periods)),
        limits=dataclasses.replace(held.limits, scarcity_price_eur_per_mwh=shortage_eur_per_mwh),
        orders=tuple(sorted(orders, key=lambda order: order.id)),
    )


def during(case: ClearingCase, first: int, after: int) -> ClearingCase:
    """Return a case without orders over some of its periods."""
    part = slice(first, after)
    margins = case.margins
    if margins is not None:
        margins = LimitMargins(
            vm_pu_upper=margins.vm_pu_upper[:, part],
            vm_pu_lower=margins.vm_pu_lower[:, part],
            line_loading_percent=margins.line_loading_percent[:, part],
            trafo_loading_percent=margins.trafo_loading_percent[:, part],
        )
    periods = case.periods
    return dataclasses.replace(
        case,
        periods=Periods(
            start=periods.start + first * periods.mtu,
            count=after - first,
            mtu_minutes=periods.mtu_minutes,
        ),
        load_p_mw=case.load_p_mw[part],
        load_q_mvar=case.load_q_mvar[part],
        sgen_p_mw=case.sgen_p_mw[part],
        sgen_q_mvar=case.sgen_q_mvar[part],
        import_price_eur_per_mwh=case.import_price_eur_per_mwh[part],
        margins=margins,
    )


def _offered(order: Order) -> Floats:
    """Return what an order offers in each period, of any sign [MW]."""
    if isinstance(order, BlockOrder):
        return order.profile_mw
    if isinstance(order, CurtailOrder):
        return order.p_mw_max
    if isinstance(order, GenerationOrder | DemandOrder):
        return np.asarray(sum(step.p_mw for step in order.steps))
    raise TypeError(f"order {order.id}: flexibility is no {type(order).__name__}")


def _cut(order: Order, first: int, after: int) -> Order:
    part = slice(first, after)
    changed: dict[str, Any] = {name: getattr(order, name)[part] for name in BY_PERIOD[type(order)]}
    if isinstance(order, GenerationOrder | DemandOrder):
        changed["steps"] = tuple(
            dataclasses.replace(
                step, p_mw=step.p_mw[part], price_eur_per_mwh=step.price_eur_per_mwh[part]
            )
            for step in order.steps
        )
    return dataclasses.replace(order, **changed)


def _ratio(award: Award) -> float:
    return float(award.accepted_share.max(initial=0.0))
