"""What a settlement case must hold before a cent is computed: all problems, none raised here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from data.errors import Problem
from data.records.settlement import (
    ACCOUNT_PREFIX,
    FLEXIBILITY_RULES,
    IMBALANCE_RULES,
    REFUND_RULES,
    Activation,
    ConnectionPosition,
    SettlementCase,
)
from dso.settlement.markets import round_label
from dso.settlement.service_problems import find_service_problems, label, twice

PART_ELEMENTS = ("line", "trafo", "bus", "ext_grid")


def find_problems(case: SettlementCase) -> list[Problem]:
    """Return everything that keeps a case from being settled, in a fixed order."""
    return [
        *_rule_problems(case),
        *_length_problems(case),
        *_period_problems(case),
        *_position_problems(case),
        *_round_problems(case),
        *_part_problems(case),
        *_activation_problems(case),
        *_capacity_problems(case),
        *find_service_problems(case),
    ]


def _rule_problems(case: SettlementCase) -> Iterator[Problem]:
    rules = case.rules
    if rules.imbalance not in IMBALANCE_RULES:
        yield Problem(
            where="settlement.toml imbalance", what=f"unknown rule {rules.imbalance!r}",
            remedy=f"one of {', '.join(IMBALANCE_RULES)}",
        )  # fmt: skip
    if rules.refund not in REFUND_RULES:
        yield Problem(
            where="settlement.toml refund", what=f"unknown rule {rules.refund!r}",
            remedy=f"one of {', '.join(REFUND_RULES)}",
        )  # fmt: skip
    spread = rules.imbalance_spread_micro_eur_per_mwh
    if spread < 0 or (spread and rules.imbalance == "single"):
        yield Problem(
            where="settlement.toml imbalance_spread_eur_per_mwh",
            what="must be >= 0, and 0 with the single imbalance price",
        )


def _length_problems(case: SettlementCase) -> Iterator[Problem]:
    substation = case.substation
    series: list[tuple[str, tuple[int, ...] | None]] = [
        ("substation.csv import_mwh", substation.import_wh),
        ("substation.csv import_price", substation.import_price_micro_eur_per_mwh),
        ("substation.csv da_import_mwh", substation.da_import_wh),
        ("substation.csv id_import_mwh", substation.id_import_wh),
        ("substation.csv da_energy", substation.da_energy_micro_eur_per_mwh),
        ("substation.csv id_energy", substation.id_energy_micro_eur_per_mwh),
    ]
    for price in case.prices:
        where = f"prices.csv bus {price.bus}"
        series += [
            (f"{where} da", price.dlmp_da_micro_eur_per_mwh),
            (f"{where} id", price.dlmp_id_micro_eur_per_mwh),
            (f"{where} imbalance", price.imbalance_micro_eur_per_mwh),
        ]
    for position in case.positions:
        where = f"positions.csv {position.participant}, {position.connection}"
        series += [
            (f"{where} da", position.da_wh),
            (f"{where} id", position.id_wh),
            (f"{where} meter", position.meter_wh),
        ]
    for where, values in series:
        if values is not None and len(values) != case.periods.count:
            yield Problem(where=where, what=f"{len(values)} of {case.periods.count} periods")
    if (substation.da_import_wh is None) != (substation.id_import_wh is None):
        yield Problem(
            where="substation.csv",
            what="da_import_mwh and id_import_mwh belong together",
            remedy="give both or neither",
        )
    yield from twice("prices.csv bus", ((price.bus,) for price in case.prices))


def _period_problems(case: SettlementCase) -> Iterator[Problem]:
    named = [("rounds.csv", [line.period for line in case.rounds or ()])]
    named.append(("parts.csv", [part.period for part in case.parts]))
    named.append(("activations.csv", [activation.period for activation in case.activations]))
    for where, found in named:
        for period in sorted(set(found)):
            if not 0 <= period < case.periods.count:
                yield Problem(where=where, what=f"there is no {label(case, period)}")


def _position_problems(case: SettlementCase) -> Iterator[Problem]:
    if not case.positions:
        yield Problem(where="positions.csv", what="has no position: nothing to settle")
    priced = {price.bus for price in case.prices}
    yield from twice("positions.csv", ((p.participant, p.connection) for p in case.positions))
    buses: dict[str, set[int]] = defaultdict(set)
    for position in case.positions:
        where = f"positions.csv {position.participant}, {position.connection}"
        buses[position.connection].add(position.bus)
        if position.bus not in priced:
            yield Problem(
                where=where, what=f"unknown bus {position.bus}", remedy="prices.csv must price it"
            )
        if position.is_bilateral:
            yield from _bilateral_problems(where, position, priced)
        if position.participant.startswith(ACCOUNT_PREFIX):
            yield Problem(where=where, what=f"names with {ACCOUNT_PREFIX} are the operator's")
        if not position.participant or not position.connection:
            yield Problem(where=where, what="participant and connection must be named")
    for connection, found in sorted(buses.items()):
        if len(found) > 1:
            yield Problem(
                where=f"positions.csv connection {connection}",
                what=f"stands at several buses: {', '.join(map(str, sorted(found)))}",
            )


def _bilateral_problems(
    where: str, position: ConnectionPosition, priced: set[int]
) -> Iterator[Problem]:
    if position.bus_to not in priced:
        yield Problem(
            where=where,
            what=f"unknown bus_to {position.bus_to}",
            remedy="prices.csv must price it",
        )
    if position.bus_to == position.bus:
        yield Problem(where=where, what="bus_to is the bus it comes from")
    if any(wh < 0 for wh in (*position.da_wh, *position.id_wh)):
        yield Problem(
            where=where, what="a bilateral order carries energy from bus to bus_to",
            remedy="state energies >= 0, or exchange the buses",
        )  # fmt: skip
    if position.meter_wh != position.id_wh:
        yield Problem(
            where=where, what="a bilateral order has no meter", remedy="state meter_mwh as id_mwh"
        )


def _round_problems(case: SettlementCase) -> Iterator[Problem]:
    if case.rounds is None:
        return
    positions = {(p.participant, p.connection): p for p in case.positions}
    last: dict[tuple[str, str, int], tuple[int, int]] = {}
    prices: dict[tuple[str, int, int], set[int]] = defaultdict(set)
    keys = []
    for line in case.rounds:
        owner = (line.participant, line.connection)
        where = f"rounds.csv {line.participant}, {line.connection}, round {line.round}"
        keys.append((*owner, label(case, line.period), f"round {line.round}"))
        if line.round < 1:
            yield Problem(where=where, what="rounds count from 1")
        if owner not in positions:
            yield Problem(where=where, what="has no position", remedy="add it to positions.csv")
            continue
        key = (*owner, line.period)
        last[key] = max(last.get(key, (0, 0)), (line.round, line.position_wh))
        bus, bus_to = positions[owner].bus, positions[owner].bus_to
        ends = f"bus {bus}" if bus_to is None else f"bus {bus} to {bus_to}"
        place = (ends, line.period, line.round)
        prices[place].add(line.dlmp_micro_eur_per_mwh)
    yield from twice("rounds.csv", keys)
    for (ends, period, number), found in sorted(prices.items()):
        if len(found) > 1:
            yield Problem(
                where=f"rounds.csv {ends}, {label(case, period)}, round {number}",
                what=f"has {len(found)} prices; a bus has one in a round",
            )
    for owner, position in sorted(positions.items()):
        for period, (da_wh, id_wh) in enumerate(zip(position.da_wh, position.id_wh, strict=False)):
            final = last.get((*owner, period), (0, da_wh))[1]
            if final != id_wh:
                yield Problem(
                    where=f"rounds.csv {', '.join(owner)}, {label(case, period)}",
                    what=f"the last round leaves {final} Wh, positions.csv says {id_wh} Wh",
                )


def _part_problems(case: SettlementCase) -> Iterator[Problem]:
    known = {"da"}
    if case.rounds is None:
        known.add(round_label(1))
    else:
        known.update(round_label(number) for number in {line.round for line in case.rounds})
    if case.split == "none" and case.parts:
        yield Problem(where="parts.csv", what="has parts although no market is to be split")
    keys = []
    for part in case.parts:
        where = f"parts.csv bus {part.bus}, {label(case, part.period)}"
        keys.append(
            (part.market, part.bus, label(case, part.period), part.element_kind, part.element,
             part.side)
        )  # fmt: skip
        if part.element_kind not in PART_ELEMENTS:
            yield Problem(
                where=where, what=f"unknown element_kind {part.element_kind!r}",
                remedy=f"one of {', '.join(PART_ELEMENTS)}",
            )  # fmt: skip
        if part.market not in known or (case.split == "da" and part.market != "da"):
            yield Problem(where=where, what=f"unknown market {part.market!r}")
    yield from twice("parts.csv", keys)
    unpriced = {part.bus for part in case.parts} - {price.bus for price in case.prices}
    for bus in sorted(unpriced):
        yield Problem(where="parts.csv", what=f"unknown bus {bus}")


def _activation_problems(case: SettlementCase) -> Iterator[Problem]:
    owners = {(p.participant, p.connection) for p in case.positions if not p.is_bilateral}

    def named(activation: Activation) -> tuple[str, str, str]:
        return activation.participant, activation.connection, label(case, activation.period)

    yield from twice(
        "activations.csv (add the orders of one meter up)", map(named, case.activations)
    )
    for activation in case.activations:
        where = f"activations.csv {', '.join(named(activation))}"
        if (activation.participant, activation.connection) not in owners:
            yield Problem(where=where, what="has no position", remedy="add it to positions.csv")
        if activation.rule not in FLEXIBILITY_RULES:
            yield Problem(
                where=where, what=f"unknown rule {activation.rule!r}",
                remedy=f"one of {', '.join(FLEXIBILITY_RULES)}",
            )  # fmt: skip
        if activation.ordered_w == 0:
            yield Problem(where=where, what="ordered nothing", remedy="leave the row out")
        if activation.penalty_micro_eur_per_mwh < 0:
            yield Problem(where=where, what="a penalty price must be >= 0")


def _capacity_problems(case: SettlementCase) -> Iterator[Problem]:
    owners = {(p.participant, p.connection) for p in case.positions if not p.is_bilateral}
    given = {(c.participant, c.connection) for c in case.capacities}
    yield from twice("connections.csv", ((c.participant, c.connection) for c in case.capacities))
    for capacity in case.capacities:
        where = f"connections.csv {capacity.participant}, {capacity.connection}"
        if (capacity.participant, capacity.connection) not in owners:
            yield Problem(where=where, what="has no position")
        if capacity.capacity_w < 0:
            yield Problem(where=where, what="a capacity must be >= 0")
    if case.rules.refund == "pro_rata_capacity":
        for owner in sorted(owners - given):
            yield Problem(
                where=f"connections.csv {', '.join(owner)}",
                what="has no capacity, which refund = pro_rata_capacity needs",
            )
        if given and not any(c.capacity_w > 0 for c in case.capacities):
            yield Problem(
                where="connections.csv", what="every capacity is 0: no weight to share by"
            )
