"""Two sentences on an order: why it got what it got, and what would have been accepted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dso.explain.words import limit_words, money, power, when
from opf.explanations.published import Published
from opf.explanations.records import (
    BestUse,
    OrderExplanation,
    PriceLine,
    ReasonCode,
    Size,
    Threshold,
)

BUYS: Final = ("demand", "bilateral")
# Energy below this is none [MWh].
NO_ENERGY: Final = 1e-9


def order_sentences(published: Published, order: OrderExplanation) -> tuple[str, str]:
    """Say why an order got what it got; then what price or size would have been accepted."""
    return _WORDS[order.reason](published, order)


def _subject(order: OrderExplanation) -> str:
    return f"{order.kind.capitalize()} order {order.order}"


def _what_price(order: OrderExplanation) -> str:
    if order.kind == "bilateral":
        return "the price difference between its buses"
    if order.deciding_period is None:
        return "the mean DLMP over its profile"
    return "the price at its bus"


def _bid(order: OrderExplanation) -> str:
    return "bid" if order.kind in BUYS or _buys_block(order) else "offer"


def _buys_block(order: OrderExplanation) -> bool:
    return order.threshold is not None and order.threshold.direction == "at_least"


def _binding_line(order: OrderExplanation) -> PriceLine | None:
    return next((line for line in order.lines if order.binding and line.key == order.binding), None)


def _share_words(order: OrderExplanation) -> str:
    return f"{power(order.awarded_mwh)} of {power(order.offered_mwh)} MWh"


def _accepted(published: Published, order: OrderExplanation) -> tuple[str, str]:
    if order.kind in ("storage", "shift"):
        verb = "charges and discharges" if order.kind == "storage" else "moves"
        first = f"{_subject(order)} {verb} {power(order.awarded_mwh)} MWh"
    else:
        first = f"{_subject(order)} was accepted, {_share_words(order)}"
    first += f", with a surplus of {money(order.surplus_eur)} EUR."
    t = order.deciding_period
    if order.market_price_eur_per_mwh is None:
        return first, "Nothing of it was refused."
    price = money(order.market_price_eur_per_mwh)
    if order.limit_price_eur_per_mwh is None and t is not None:
        return first, f"It moves most in {when(published.case, t)}, at {price} EUR/MWh."
    assert order.limit_price_eur_per_mwh is not None
    gap = money(abs(order.market_price_eur_per_mwh - order.limit_price_eur_per_mwh))
    where = "" if t is None else f"It was closest to being cut in {when(published.case, t)}: there "
    words = f"{where}{_what_price(order)} is {price} EUR/MWh, {gap} better than its own price"
    return first, f"{words[0].upper()}{words[1:]} of {money(order.limit_price_eur_per_mwh)}."


def _state(published: Published, order: OrderExplanation) -> str:
    """What was refused, and where the reason is told from."""
    cut = [p for p in order.periods if p.awarded_mw < p.offered_mw - 1e-9]
    none = [p for p in order.periods if p.awarded_mw <= 1e-6 < p.offered_mw]
    t = order.deciding_period
    assert t is not None
    if order.status == "rejected":
        several = len(order.periods) > 1
        lead = "was rejected: in its most favourable period, " if several else "was rejected: in "
        return f"{_subject(order)} {lead}{when(published.case, t)}, "
    lead = f"{_subject(order)} was accepted in part, {_share_words(order)}"
    if none and any(p.period == t for p in none):
        return (
            f"{lead}, nothing in {len(none)} of {len(order.periods)} periods: in the most "
            f"favourable of these, {when(published.case, t)}, "
        )
    return (
        f"{lead}, cut in {len(cut)} of {len(order.periods)} periods: in {when(published.case, t)} "
    )


def _whole_state(order: OrderExplanation) -> str:
    """What was refused of an order that is decided as a whole."""
    verdict = "accepted in part" if order.status == "partial" else "rejected"
    return f"{_subject(order)} was {verdict}, {_share_words(order)}: "


def _refused(published: Published, order: OrderExplanation) -> tuple[str, str]:
    """Rejected or cut by price, or by a limit that takes from the price."""
    line = _binding_line(order)
    lead = _whole_state(order) if order.deciding_period is None else _state(published, order)
    assert order.market_price_eur_per_mwh is not None
    assert order.limit_price_eur_per_mwh is not None
    gap = order.market_price_eur_per_mwh - order.limit_price_eur_per_mwh
    side = "above" if gap > 0 else "below"
    tied = abs(gap) < 0.005 or (order.status == "partial" and order.threshold is None)
    if tied:
        body = f"it sets {_what_price(order)} at {money(order.market_price_eur_per_mwh)} EUR/MWh"
        body += f", and the {limit_words(line)} admits no more" if line else (
            ", and more of it would be worth less")  # fmt: skip
    else:
        body = (
            f"{_what_price(order)} is {money(order.market_price_eur_per_mwh)} EUR/MWh, "
            f"{money(abs(gap))} {side} its {_bid(order)} of {money(order.limit_price_eur_per_mwh)}"
        )
        if line is not None:
            body += f"; the {limit_words(line)} alone moves it by {money(line.part_eur_per_mwh)}"
    return f"{lead}{body}.", _would_have(published, order)


def _marginal(published: Published, order: OrderExplanation) -> tuple[str, str]:
    line = _binding_line(order)
    lead = _whole_state(order)
    if order.deciding_period is not None:
        lead = _state(published, order)
    assert order.market_price_eur_per_mwh is not None
    body = f"it sets {_what_price(order)} at {money(order.market_price_eur_per_mwh)} EUR/MWh, and "
    body += f"the {limit_words(line)} needs no more of it" if line else "more is worth less"
    return f"{lead}{body}.", _would_have(published, order)


def _would_have(published: Published, order: OrderExplanation) -> str:
    """What price or size would have been accepted."""
    parts = []
    if order.threshold is not None:
        parts.append(_threshold_words(published, order, order.threshold))
    if order.size is not None:
        parts.append(_size_words(published, order, order.size))
    if not parts:
        return "No other price of its own would have changed that."
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _size_words(published: Published, order: OrderExplanation, size: Size) -> str:
    if size.share is not None:
        what = f"{size.share:.2%} of its profile (at most {power(size.p_mw)} MW)"
        if size.confirmed:
            return f"{what} as a block of its own would have been accepted in full"
        if order.status == "partial":
            return f"{what} is what it was awarded"
        return f"{what} would be awarded if it took any share"
    words = f"{power(size.p_mw)} MW would have been accepted in full"
    if size.period is not None:
        words += f" in {when(published.case, size.period)}"
        if size.binding is not None and size.period != order.deciding_period:
            words += f", where the {published.limits[size.binding].name} decides"
    return words


def _threshold_words(published: Published, order: OrderExplanation, found: Threshold) -> str:
    side = "at most" if found.direction == "at_most" else "at least"
    price = f"{side} {money(found.price_eur_per_mwh)} EUR/MWh"
    t = found.period
    where = " in all periods" if t is None else f" in {when(published.case, t)}"
    if found.confirmed is False:
        return f"with the order in, the mean DLMP is {money(found.price_eur_per_mwh)} EUR/MWh"
    if order.kind == "curtail" and found.price_eur_per_mwh < 0:
        return (
            f"only an offer of {price} would have been accepted, and a curtail order asks for >= 0"
        )
    bid = found.direction == "at_least" or order.kind == "bilateral"
    article = "a bid" if bid else "an offer"
    words = f"{article} of {price}{where} would have been accepted"
    if found.price_range is not None:
        low, high = found.price_range.low_eur_per_mwh, found.price_range.high_eur_per_mwh
        words += f" (prices between {money(low)} and {money(high)} fit the same schedule)"
    return words


def _idle(published: Published, order: OrderExplanation) -> tuple[str, str]:
    storage = order.kind == "storage"
    what = "no cycle pays its losses and costs" if storage else "no move pays its price"
    first = f"{_subject(order)} stays idle: at the prices of its bus {what}."
    best = order.best_use
    if best is None:
        return first, "Its own limits leave it nothing to do."
    use = _use_words(published, best)
    if order.threshold is None:
        return first, f"Even its best use, {use}, would not pay at no cost at all."
    each = "MWh charged and discharged" if storage else "MWh moved"
    return first, (
        f"Its best use, {use}, would have paid at a cost of at most "
        f"{money(best.worth_eur_per_mwh)} EUR on each {each}."
    )


def _use_words(published: Published, best: BestUse) -> str:
    parts = []
    if best.take_period is not None:
        parts.append(f"taking in {when(published.case, best.take_period)}")
    if best.give_period is not None:
        parts.append(f"giving in {when(published.case, best.give_period)}")
    return " and ".join(parts)


def _paradoxical(published: Published, order: OrderExplanation) -> tuple[str, str]:
    first = (
        f"{_subject(order)} was paradoxically rejected: {order.notes[0]}, but its acceptance would "
        "change them until it, or another order, loses."
    )
    return first, _would_have(published, order)


def _family(_published: Published, order: OrderExplanation) -> tuple[str, str]:
    parent = order.reason == "parent_rejected"
    what = (
        "its parent was not accepted far enough" if parent else "another of its exclusive group was"
    )
    first = f"{_subject(order)} was rejected because {what}: {order.other_order}."
    price = (
        "n/a" if order.market_price_eur_per_mwh is None else money(order.market_price_eur_per_mwh)
    )
    return first, (
        f"By itself it is in the money, at a mean DLMP of {price} EUR/MWh over its profile; what "
        f"happens to {order.other_order} decides."
    )


def _not_feasible(_published: Published, order: OrderExplanation) -> tuple[str, str]:
    first = f"{_subject(order)} was rejected: {order.notes[0]}."
    return first, "No price would change that: its durations or powers must."


def _nothing(_published: Published, order: OrderExplanation) -> tuple[str, str]:
    return f"{_subject(order)} offers nothing in this horizon.", "There was nothing to accept."


def _no_clearing(_published: Published, order: OrderExplanation) -> tuple[str, str]:
    first = f"{_subject(order)} got nothing because there is no clearing."
    why = "; ".join(order.notes)
    return first, f"{why[:1].upper()}{why[1:]}."


_WORDS: Final[dict[ReasonCode, Callable[[Published, OrderExplanation], tuple[str, str]]]] = {
    "accepted": _accepted,
    "price": _refused,
    "binding_element": _refused,
    "marginal": _marginal,
    "no_cycle_pays": _idle,
    "no_move_pays": _idle,
    "paradoxical": _paradoxical,
    "parent_rejected": _family,
    "group_partner_accepted": _family,
    "not_feasible": _not_feasible,
    "nothing_offered": _nothing,
    "no_clearing": _no_clearing,
}
