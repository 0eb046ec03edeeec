"""What the audit expects beside the energy markets, stated a second time.

Nothing of `dso.settlement.services` and `dso.settlement.communities` is used.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction

from data.records.settlement import Activation, SettlementCase
from data.units import MICRO_PER_UNIT, WH_PER_MWH, money_micro_eur, round_half_even

# participant, connection, kind, market, quantity, price, amount
Entry = tuple[str, str, str, str, int, int, int]


@dataclass(slots=True)
class Expected:
    """Expected lines and the exact value of everything of one period, per market."""

    entries: list[Entry] = field(default_factory=list)
    by_market: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))

    def priced(
        self, owner: tuple[str, str], kind: str, market: str, quantity_wh: int, price: int
    ) -> None:
        """Expect a product of quantity and price."""
        amount = money_micro_eur(quantity_wh, price)
        self.entry((*owner, kind, market, quantity_wh, price, amount))

    def account(self, name: str, kind: str, market: str, value: Fraction) -> None:
        """Expect an amount on an account of the operator, where it is not zero."""
        amount = round_half_even(value)
        if amount:
            self.entry((f"account:{name}", "", kind, market, 0, 0, amount))

    def entry(self, entry: Entry) -> None:
        """Expect a line."""
        self.entries.append(entry)
        self.by_market[entry[3]].append(entry)

    def close(self, market: str) -> None:
        """Expect what rounding leaves in a market."""
        remainder = sum(entry[6] for entry in self.by_market[market])
        self.account("rounding", "rounding", market, Fraction(-remainder))


def expect_flexibility(
    expected: Expected,
    case: SettlementCase,
    activations: dict[tuple[str, str], Activation],
    period: int,
) -> dict[tuple[str, str], int]:
    """Book availability and activations; return the injection bought per connection [Wh]."""
    hours = Fraction(case.periods.mtu_minutes, 60)
    for kept in case.availabilities:
        if kept.period == period:
            earned = Fraction(kept.delivery_ppm, MICRO_PER_UNIT)
            ready_wh = round_half_even(kept.available_w * hours * earned)
            price = kept.price_micro_eur_per_mw_h
            for party, sign in ((kept.participant, 1), ("account:flexibility", -1)):
                if ready_wh:
                    expected.priced(
                        (party, kept.connection), "availability", "flexibility", sign * ready_wh,
                        price,
                    )  # fmt: skip
    bought = {}
    for owner, a in activations.items():
        ratio = Fraction(a.baseline_w - a.meter_w, a.ordered_w)
        within = min(max(ratio, Fraction(0)), Fraction(1))
        share = {
            "usef": within,
            "threshold_75": within if ratio >= Fraction(3, 4) else Fraction(0),
            "threshold_80": within if ratio >= Fraction(4, 5) else Fraction(0),
            "sliding_50_100": within * max(Fraction(0), 2 * within - 1),
            "cap_120": min(max(ratio, Fraction(0)), Fraction(6, 5)),
        }[a.rule]
        energy = abs(a.ordered_w) * hours
        paid_wh = round_half_even(share * energy)
        short_wh = round_half_even(max(Fraction(0), 1 - ratio) * energy)
        taken = within if a.rule != "cap_120" else share
        # Meters are whole watts: a cap between two of them is taken down.
        taken_w = int(taken * abs(a.ordered_w)) if share else 0
        sign = 1 if a.ordered_w > 0 else -1
        bought[owner] = sign * round_half_even(taken_w * hours)
        operator = ("account:flexibility", owner[1])
        for kind, quantity, price in (
            ("flexibility", paid_wh, a.price_micro_eur_per_mwh),
            ("penalty", -short_wh, a.penalty_micro_eur_per_mwh),
        ):
            if quantity:
                expected.priced(owner, kind, "flexibility", quantity, price)
                expected.priced(operator, kind, "flexibility", -quantity, price)
    return bought


def expect_reactive(expected: Expected, case: SettlementCase, period: int) -> None:
    """Book reactive energy at its price, and the operator's rent from it."""
    if not case.rules.settle_reactive:
        return
    value = Fraction(0)
    for q in case.reactive:
        if q.period == period:
            owner = (q.participant, q.connection)
            expected.priced(owner, "reactive", "reactive", q.q_varh, q.price_micro_eur_per_mvarh)
            value += Fraction(q.q_varh * q.price_micro_eur_per_mvarh, WH_PER_MWH)
    expected.account("rent_reactive", "rent_reactive", "reactive", -value)


def expect_communities(expected: Expected, case: SettlementCase, period: int) -> None:
    """Book the difference between community price and bus price on what is shared."""
    injected = {(p.participant, p.connection): p.meter_wh[period] for p in case.positions}
    bus = {(p.participant, p.connection): p.bus for p in case.positions}
    price = {p.bus: p.dlmp_da_micro_eur_per_mwh[period] for p in case.prices}
    for community in case.communities:
        generated = max(injected[community.generator], 0)
        wants = {
            (m.participant, m.connection): max(-injected[m.participant, m.connection], 0)
            for m in community.members
        }
        if community.key == "static":
            given = {
                (m.participant, m.connection): min(
                    int(Fraction(m.share_ppm, MICRO_PER_UNIT) * generated),
                    wants[m.participant, m.connection],
                )
                for m in community.members
            }
        else:
            given = _largest_remainder(min(generated, sum(wants.values())), wants)
        due = community.price_micro_eur_per_mwh - price[bus[community.generator]]
        for owner, energy_wh in given.items():
            if energy_wh:
                expected.priced(owner, "community", "community", -energy_wh, due)
        if shared := sum(given.values()):
            expected.priced(community.generator, "community", "community", shared, due)


def _largest_remainder(total: int, wants: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Share a whole number in proportion; the largest remainders, then the names, go first."""
    whole = sum(wants.values())
    if not whole:
        return {}
    exact = {owner: Fraction(total * want, whole) for owner, want in wants.items()}
    given = {owner: int(share) for owner, share in exact.items()}
    left = total - sum(given.values())
    by_remainder = sorted(exact, key=lambda owner: (given[owner] - exact[owner], owner))
    for owner in by_remainder[:left]:
        given[owner] += 1
    return given
