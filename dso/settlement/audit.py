"""Check a settlement against its case, by a second statement of the rules.

Nothing of `dso.settlement.books`, `markets`, `services` and `communities` is used: sums are
rationals (`fractions.Fraction`), quantities are re-derived from the case, and every line must be
expected exactly once. A line paid twice, an amount off by one micro-EUR or a missing line is named.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from fractions import Fraction

from data.errors import Problem
from data.periods import format_utc
from data.records.settlement import (
    SettlementCase,
    SettlementLine,
    SettlementResult,
)
from data.units import WH_PER_MWH, round_half_even
from dso.settlement.audit_services import (
    Entry,
    Expected,
    expect_communities,
    expect_flexibility,
    expect_reactive,
)


def check_settlement(case: SettlementCase, result: SettlementResult) -> tuple[Problem, ...]:
    """Recompute a settlement independently and compare it line by line.

    Parameters
    ----------
    case : SettlementCase
        The case as the auditor has it.
    result : SettlementResult
        The lines to be checked.

    Returns
    -------
    tuple of Problem
        Empty where every line is right: each expected line once, none else, every market and
        period at zero, rounding at most one micro-EUR per line.
    """
    booked: dict[datetime, list[SettlementLine]] = defaultdict(list)
    for line in result.lines:
        booked[line.period_start].append(line)
    problems: list[Problem] = []
    for period, start in enumerate(case.periods.starts):
        lines = booked.pop(start, [])
        problems.extend(_sum_problems(start, lines))
        problems.extend(_line_problems(start, _expect(case, period), lines))
    problems.extend(
        Problem(where=format_utc(start), what="is no period of the case")
        for start in sorted(booked)
    )
    return tuple(problems)


def _sum_problems(start: datetime, lines: list[SettlementLine]) -> Iterator[Problem]:
    """Yield a problem for every market that does not sum to zero or rounds too much."""
    sums: Counter[str] = Counter()
    rounding: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for line in lines:
        sums[line.market] += line.amount_micro_eur
        if line.kind == "rounding":
            rounding[line.market] += line.amount_micro_eur
        else:
            count[line.market] += 1
    for market in sorted(sums):
        where = f"{format_utc(start)} {market}"
        if sums[market]:
            yield Problem(where=where, what=f"sums to {sums[market]} micro-EUR, not to zero")
        if abs(rounding[market]) > count[market]:
            yield Problem(
                where=where,
                what=f"rounding of {rounding[market]} micro-EUR for {count[market]} lines",
            )


def _line_problems(
    start: datetime, expected: list[Entry], lines: list[SettlementLine]
) -> Iterator[Problem]:
    """Yield a problem for every line missing, not due, paid again or with another content."""
    due = Counter(expected)
    booked = Counter(
        (
            line.participant, line.connection, str(line.kind), line.market,
            line.quantity_wh, line.price_micro_eur_per_mwh, line.amount_micro_eur,
        )
        for line in lines
    )  # fmt: skip
    for entry, times in sorted((booked - due).items()):
        what = "is booked again" if entry in due else "is not due"
        yield Problem(where=_named(start, entry), what=f"{what} ({times} x {entry[6]} micro-EUR)")
    for entry, times in sorted((due - booked).items()):
        yield Problem(where=_named(start, entry), what=f"is missing ({times} x {entry[6]})")


def _named(start: datetime, entry: Entry) -> str:
    participant, connection, kind, market, *_ = entry
    return " ".join(filter(None, (format_utc(start), market, participant, connection, kind)))


def _expect(case: SettlementCase, period: int) -> list[Entry]:
    """Return every line that is due in a period."""
    expected = Expected()
    activations = {(a.participant, a.connection): a for a in case.activations if a.period == period}
    bought = expect_flexibility(expected, case, activations, period)
    last = _expect_trades(expected, case, period, bought)
    _expect_accounts(expected, case, period, last)
    expect_reactive(expected, case, period)
    expect_communities(expected, case, period)
    for market in sorted(expected.by_market):
        if market not in ("refund", "flexibility"):
            expected.close(market)
    _expect_refund(expected, case, period)
    return expected.entries


def _expect_trades(
    expected: Expected, case: SettlementCase, period: int, bought: dict[tuple[str, str], int]
) -> list[int]:
    """Book what participants traded; return the rounds of the period."""
    prices = {price.bus: price for price in case.prices}
    numbers = {1}
    if case.rounds is not None:
        numbers = {line.round for line in case.rounds if line.period == period} or {1}
    rounds = {
        (line.participant, line.connection, line.round): line
        for line in case.rounds or ()
        if line.period == period
    }
    for p in case.positions:
        if p.held is not None and not p.held[period]:
            continue
        owner, price = (p.participant, p.connection), prices[p.bus]
        da_price = price.dlmp_da_micro_eur_per_mwh[period]
        last_price = price.dlmp_id_micro_eur_per_mwh[period]
        if p.bus_to is not None:
            da_price -= prices[p.bus_to].dlmp_da_micro_eur_per_mwh[period]
            last_price -= prices[p.bus_to].dlmp_id_micro_eur_per_mwh[period]
        expected.priced(owner, "da", "da", p.da_wh[period], da_price)
        held = p.da_wh[period]
        for number in sorted(numbers):
            after, id_price = p.id_wh[period], last_price
            if case.rounds is not None:
                line = rounds.get((*owner, number))
                after = held if line is None else line.position_wh
                id_price = 0 if line is None else line.dlmp_micro_eur_per_mwh
            if after != held:
                expected.priced(owner, "id", f"id/{number}", after - held, id_price)
            held = after
        deviation = p.meter_wh[period] - held - bought.get(owner, 0)
        due = price.imbalance_micro_eur_per_mwh[period]
        if case.rules.imbalance == "dual":
            spread = case.rules.imbalance_spread_micro_eur_per_mwh
            due = due - spread if deviation > 0 else due + spread
        if deviation:
            expected.priced(owner, "imbalance", "imbalance", deviation, due)
    return sorted(numbers)


def _expect_accounts(
    expected: Expected, case: SettlementCase, period: int, rounds: list[int]
) -> None:
    """Book the upstream bill and the operator's rents of every energy market."""
    substation = case.substation
    metered = substation.import_wh[period]
    scheduled = {}
    for name, given in (("da", substation.da_import_wh), ("id", substation.id_import_wh)):
        if given is not None:
            scheduled[name] = given[period]
        else:
            held = sum(
                p.meter_wh[period] - (p.da_wh if name == "da" else p.id_wh)[period]
                for p in case.positions
                if p.bus_to is None
            )
            scheduled[name] = metered + held
    labels = [f"id/{number}" for number in rounds]
    carried = {(p.participant, p.connection) for p in case.positions if p.bus_to is not None}
    imports = {"da": scheduled["da"], "imbalance": metered - scheduled["id"]}
    left = scheduled["id"] - scheduled["da"]
    for label in labels[:-1]:
        imports[label] = -sum(
            entry[4] for entry in expected.by_market[label] if (entry[0], entry[1]) not in carried
        )
        left -= imports[label]
    imports[labels[-1]] = left
    price = substation.import_price_micro_eur_per_mwh[period]
    for label, quantity in imports.items():
        traded = list(expected.by_market[label])
        if quantity:
            expected.priced(("account:upstream", ""), "upstream", label, quantity, price)
        paid = sum(Fraction(entry[4] * entry[5], WH_PER_MWH) for entry in traded)
        difference = -paid - Fraction(quantity * price, WH_PER_MWH)
        if label == "imbalance":
            expected.account("imbalance_residual", "imbalance_residual", label, difference)
        elif case.split == "none" or (case.split == "da" and label != "da"):
            expected.account("rent_unsplit", "rent_unsplit", label, difference)
        else:
            _expect_rents(expected, case, period, label, traded, quantity, difference)


def _expect_rents(
    expected: Expected,
    case: SettlementCase,
    period: int,
    label: str,
    traded: list[Entry],
    import_wh: int,
    difference: Fraction,
) -> None:
    """Book the rent of each binding element, of the import, and the rest as losses."""
    positions = {(p.participant, p.connection): p for p in case.positions}
    withdrawn: dict[int | None, Fraction] = defaultdict(Fraction)
    for entry in traded:
        position = positions[entry[0], entry[1]]
        withdrawn[position.bus] -= Fraction(entry[4], WH_PER_MWH)
        withdrawn[position.bus_to] += Fraction(entry[4], WH_PER_MWH)
    rents: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    for part in case.parts:
        if part.period == period and part.market == label:
            kind = "rent_voltage" if part.element_kind == "bus" else "rent_congestion"
            name = f"{kind}/{part.element_kind}:{part.element}:{part.side}"
            rents[kind, name] += part.p_micro_eur_per_mwh * withdrawn[part.bus]
    given = (
        case.substation.da_energy_micro_eur_per_mwh
        if label == "da"
        else case.substation.id_energy_micro_eur_per_mwh
    )
    price = case.substation.import_price_micro_eur_per_mwh[period]
    over_price = (price if given is None else given[period]) - price
    rents["rent_import", "rent_import"] = Fraction(over_price * import_wh, WH_PER_MWH)
    rents["rent_loss", "rent_loss"] = difference - sum(rents.values())
    for (kind, name), value in rents.items():
        expected.account(name, kind, label, value)


def _expect_refund(expected: Expected, case: SettlementCase, period: int) -> None:
    """Book the refund of the rents of day-ahead and intraday."""
    rule = case.rules.refund
    pot = sum(entry[6] for entry in expected.entries if entry[2].startswith("rent_"))
    if rule == "pro_rata_capacity":
        gone = {
            (p.participant, p.connection)
            for p in case.positions
            if p.held is not None and not p.held[period]
        }
        weights = {
            (c.participant, c.connection): c.capacity_w
            for c in case.capacities
            if (c.participant, c.connection) not in gone
        }
    else:
        weights = {
            (p.participant, p.connection): max(0, -p.meter_wh[period])
            for p in case.positions
            if p.bus_to is None
        }
    total = sum(weights.values())
    if rule == "retain" or pot == 0 or total == 0:
        return
    by_energy = rule == "pro_rata_withdrawal"
    rate = round_half_even(Fraction(pot * WH_PER_MWH, total)) if by_energy else 0
    for owner, weight in weights.items():
        if weight:
            share = round_half_even(Fraction(pot * weight, total))
            quantity = weight if by_energy else 0
            expected.entry((*owner, "refund", "refund", quantity, rate, share))
    expected.account("refund", "refund", "refund", Fraction(-pot))
    expected.close("refund")
