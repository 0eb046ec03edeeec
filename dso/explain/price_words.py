"""Two sentences on a price, and on what a clearing could not do."""

from __future__ import annotations

from dso.explain.words import (
    LIMIT_DIGITS,
    SHADOW_UNITS,
    STEPS,
    bus_name,
    limit_words,
    money,
    power,
    when,
)
from dso.report.numbers import fixed, significant
from opf.explanations.published import Published
from opf.explanations.records import (
    Collapse,
    Helper,
    PriceExplanation,
    PriceLine,
    Shortage,
    StatusExplanation,
)


def price_sentences(published: Published, price: PriceExplanation) -> tuple[str, str]:
    """Say what the price is and what caused most of it; then what would change it."""
    place = bus_name(published, price.bus)
    first = (
        f"The DLMP at {place} in {when(published.case, price.period)} is "
        f"{money(price.dlmp_p_eur_per_mwh)} EUR/MWh: "
        f"{money(price.import_price_eur_per_mwh)} EUR/MWh at the substation, "
    )
    limits = [line for line in price.lines if line.cause == "limit"]
    loss = next(line for line in price.lines if line.cause == "loss")
    if not limits:
        first += (
            f"and {money(loss.part_eur_per_mwh)} EUR/MWh for losses on the way, as no limit that "
            "matters here is reached."
        )
        return first, _follows(loss)
    largest = limits[0]
    rating = "rating of " if largest.unit == "MVA" else ""
    first += (
        f"and the largest other part is {money(largest.part_eur_per_mwh)} EUR/MWh from the "
        f"{rating}{limit_words(largest)}."
    )
    for short in price.short:
        if short.key == largest.key:
            return first, _short_here(published, short, price.period)
    return first, what_it_is_worth(largest)


def _follows(loss: PriceLine) -> str:
    if loss.sensitivity is None:
        return "The price at the substation is 0, so losses cost nothing."
    more = 1.0 + loss.sensitivity
    return (
        f"It follows the price at the substation: 1.00 EUR/MWh more there is {money(more)} EUR/MWh "
        f"more here, because one more MW taken here draws {fixed(more, 3)} MW there."
    )


def what_it_is_worth(line: PriceLine) -> str:
    """Say what a little more of a limit would save, and how the place uses it."""
    assert line.unit is not None
    assert line.shadow_price is not None
    step, words = STEPS[line.unit]
    what = {
        "pu": f"room for the {line.name}",
        "MVA": f"rating of {line.name}",
        "MW": f"of the {line.name}",
    }[line.unit]
    uses = ""
    if line.sensitivity is not None:
        verb = "uses" if line.sensitivity > 0 else "relieves"
        by = f"{significant(abs(line.sensitivity))} {line.unit}"
        uses = f", and one more MW taken here {verb} it by {by}"
    return (
        f"{words} more {what} would save {money(line.shadow_price * step)} EUR in each hour (a "
        f"small change, at {money(line.shadow_price)} {SHADOW_UNITS[line.unit]}){uses}."
    )


def _short_here(published: Published, short: Shortage, period: int) -> str:
    mw = short.mw_short[short.periods.index(period)]
    scarcity = published.case.limits.scarcity_price_eur_per_mwh
    return (
        f"That limit does not hold: it is {power(mw)} MW short in this period and priced at the "
        f"scarcity price of {money(scarcity)} EUR/MWh{_helpers(short.helpers, ' - most help: ')}."
    )


def _helpers(helpers: tuple[Helper, ...], lead: str) -> str:
    if not helpers:
        return f"{lead}no order could have helped"
    return lead + ", ".join(
        f"{helper.order} ({significant(helper.relief_mw_per_mw)} MW per MW"
        + (f", {power(helper.unused_mw)} MW unused)" if helper.unused_mw is not None else ")")
        for helper in helpers[:3]
    )


def status_sentences(published: Published, status: StatusExplanation) -> tuple[str, str]:
    """Say what did not hold, how much was missing, and who could have helped."""
    if status.collapse is not None:
        return _collapse_sentences(published, status.collapse)
    if status.shortages:
        return _shortage_sentences(published, status.shortages)
    if status.status in ("infeasible", "uncertified"):
        return f"The clearing is {status.status}: {status.message}.", (
            "Nothing of it may be posted."
        )
    return (
        "Every limit holds and every check of the certificate passed.",
        "Ask about an order with --order ID, about a price with --bus B --period T.",
    )


def _shortage_sentences(published: Published, shortages: tuple[Shortage, ...]) -> tuple[str, str]:
    worst = shortages[0]
    digits = LIMIT_DIGITS[worst.unit]
    others = len(shortages) - 1
    first = (
        f"The {worst.name} could not hold in {len(worst.periods)} of {len(published.case.periods)} "
        f"periods: in {when(published.case, worst.worst_period)} it stands at "
        f"{fixed(worst.worst_value, digits)} {worst.unit} against {fixed(worst.limit, digits)} "
        f"{worst.unit}, {power(max(worst.mw_short))} MW short"
    )
    if others:
        first += f"; {others} other {'limit' if others == 1 else 'limits'} did not hold either"
    return f"{first}.", f"{_helpers(worst.helpers, 'What could have helped there most: ')}."


def _collapse_sentences(published: Published, collapse: Collapse) -> tuple[str, str]:
    first = (
        f"In {len(collapse.periods)} of {len(published.case.periods)} periods no AC power flow "
        f"exists: in {when(published.case, collapse.worst_period)} the grid carries about "
        f"{collapse.carried_share:.0%} of what no order names, {power(collapse.mw_short)} MW too "
        "little."
    )
    second = (
        f"Just before, {collapse.weakest_name} has the lowest voltage "
        f"({fixed(collapse.weakest_vm_pu, 3)} pu)"
        f"{_lifting(collapse.helpers)}."
    )
    return first, second


def _lifting(helpers: tuple[Helper, ...]) -> str:
    """Orders that lift a voltage, the strongest first, against the place that lifts it most."""
    if not helpers:
        return ", and no order lifts it"
    named = ", ".join(
        f"{helper.order} ({fixed(100.0 * helper.relief_mw_per_mw, 0)} % of the best place)"
        for helper in helpers[:3]
    )
    return f"; orders that lift it most per MW: {named}"
