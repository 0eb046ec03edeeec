"""Thousands of random markets, meters and revisions: the invariants of the books."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import timedelta
from random import Random

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.records.settlement import (
    Activation,
    ConnectionPosition,
    SettlementCase,
    SettlementLine,
    SettlementRules,
    SubstationSeries,
)
from dso.settlement import Dispute, check_settlement, revise, settle
from dso.settlement.bulk import MeterBlock, settle_block
from tests.support.random_books import random_case

THOUSANDS = settings(
    max_examples=600, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
HUNDREDS = settings(THOUSANDS, max_examples=200)
seeds = st.integers(0, 2**40)


def sums(lines: tuple[SettlementLine, ...]) -> dict[tuple[object, str], int]:
    found: dict[tuple[object, str], int] = defaultdict(int)
    for line in lines:
        found[line.period_start, line.market] += line.amount_micro_eur
    return found


@THOUSANDS
@given(seeds)
def test_zero_sums_bounded_rounding_any_order_and_the_audit_agrees(seed: int) -> None:
    case = random_case(seed)
    result = settle(case)
    assert set(sums(result.lines).values()) <= {0}
    lines = Counter((line.period_start, line.market) for line in result.lines)
    for line in result.lines:
        if line.kind == "rounding":
            assert abs(line.amount_micro_eur) < lines[line.period_start, line.market]
    assert check_settlement(case, result) == ()
    mixed = {}
    for name in ("positions", "prices", "parts", "activations", "capacities", "reactive",
                 "availabilities", "communities"):  # fmt: skip
        rows = list(getattr(case, name))
        Random(seed).shuffle(rows)
        mixed[name] = tuple(rows)
    assert settle(replace(case, **mixed)).lines == result.lines


@THOUSANDS
@given(seeds)
def test_one_micro_eur_and_a_double_payment_are_found(seed: int) -> None:
    """Neither can be hidden by booking the counterpart on another line of the same market."""
    case = random_case(seed)
    result = settle(case)
    draw = Random(seed + 1)
    lines = list(result.lines)
    place = draw.randrange(len(lines))
    wrong = replace(lines[place], amount_micro_eur=lines[place].amount_micro_eur + 1)
    fellows = [
        k
        for k, line in enumerate(lines)
        if k != place and (line.period_start, line.market) == (wrong.period_start, wrong.market)
    ]
    planted = lines.copy()
    planted[place] = wrong
    if fellows:
        other = draw.choice(fellows)
        planted[other] = replace(lines[other], amount_micro_eur=lines[other].amount_micro_eur - 1)
    if Counter(planted) != Counter(lines):
        assert check_settlement(case, replace(result, lines=tuple(planted)))
    paid = lines[place]
    back = replace(
        paid, participant="account:rounding", connection="", kind="rounding",
        quantity_wh=0, price_micro_eur_per_mwh=0, amount_micro_eur=-paid.amount_micro_eur,
    )  # fmt: skip
    twice = replace(result, lines=(*lines, paid, back))
    problems = "\n".join(map(str, check_settlement(case, twice)))
    assert "is booked again" in problems


def late(case: SettlementCase, seed: int) -> SettlementCase:
    """The case when one more meter message has come."""
    draw = Random(seed)
    k = draw.randrange(len(case.positions))
    changed = tuple(
        draw.randint(-3_000_000, 3_000_000) if case.positions[k].is_held(t) else 0
        for t in range(case.periods.count)
    )
    positions = list(case.positions)
    positions[k] = replace(positions[k], meter_wh=changed)
    return replace(case, positions=tuple(positions))


@THOUSANDS
@given(seeds)
def test_late_meters_and_disputes_end_in_the_fresh_settlement(seed: int) -> None:
    """Settle, open a dispute, revise, revise again, decide: additions sum to the fresh run."""
    case = random_case(seed)
    second, third = late(case, seed + 1), late(late(case, seed + 1), seed + 2)
    runs = [settle(each).lines for each in (case, second, third)]
    who = case.positions[seed % len(case.positions)]
    dispute = Dispute(
        id="d", participant=who.participant, connection=who.connection if seed % 2 else "",
        start=case.periods.start, end=case.periods.start + timedelta(minutes=15 * (1 + seed % 3)),
        argument="no", opened_at=case.periods.end,
    )  # fmt: skip
    booked = list(runs[0])
    standing = runs[0]
    for fresh in runs[1:]:
        held = revise(standing, fresh, [dispute])
        assert set(sums(held.standing).values()) <= {0}
        assert Counter(filter(dispute.contests, held.standing)) == Counter(
            filter(dispute.contests, runs[0])
        )
        booked += [addition.line for addition in held.additions]
        standing = held.standing
    ended = revise(standing, runs[2], [])
    booked += [addition.line for addition in ended.additions]
    assert Counter(ended.standing) == Counter(runs[2])
    assert _net(booked) == _net(runs[2])
    assert revise(runs[2], runs[2], []).additions == ()


def _net(lines: list[SettlementLine] | tuple[SettlementLine, ...]) -> dict[tuple[object, ...], int]:
    found: Counter[tuple[object, ...]] = Counter()
    for line in lines:
        key = (line.participant, line.connection, line.period_start, line.market, line.kind)
        found[key] += line.amount_micro_eur
    return {key: amount for key, amount in found.items() if amount}


@HUNDREDS
@given(
    st.integers(1, 5_000_000), st.integers(-(10**8), 10**9), st.integers(-(10**8), 10**9),
    st.integers(0, 8_000_000),
)  # fmt: skip
def test_a_curtailment_is_paid_once_whichever_way(
    ordered_wh: int, fee: int, imbalance: int, meter_wh: int
) -> None:
    """Sold in the intraday round or called as flexibility at the same price: the same cash.

    Over one hour, withdrawal of 8 MWh sold ahead; what is delivered beyond the order is imbalance
    both times, and so is nothing of what the operator bought.
    """
    draw = random_case(7)
    base = -8_000_000
    price = replace(
        draw.prices[0], dlmp_da_micro_eur_per_mwh=(10**7,), dlmp_id_micro_eur_per_mwh=(fee,),
        imbalance_micro_eur_per_mwh=(imbalance,),
    )  # fmt: skip

    def cash(id_wh: int, activations: tuple[Activation, ...]) -> int:
        case = SettlementCase(
            periods=replace(draw.periods, count=1, mtu_minutes=60),
            rules=SettlementRules(refund="retain"),
            positions=(
                ConnectionPosition(
                    participant="p", connection="c", bus=price.bus, da_wh=(base,), id_wh=(id_wh,),
                    meter_wh=(-meter_wh,),
                ),
            ),
            prices=(price,),
            substation=SubstationSeries(import_wh=(0,), import_price_micro_eur_per_mwh=(0,)),
            activations=activations,
        )  # fmt: skip
        result = settle(case)
        assert check_settlement(case, result) == ()
        return sum(line.amount_micro_eur for line in result.lines if line.participant == "p")

    called = Activation(
        participant="p", connection="c", period=0, baseline_w=-base, ordered_w=ordered_wh,
        meter_w=meter_wh, price_micro_eur_per_mwh=fee, penalty_micro_eur_per_mwh=0, rule="usef",
    )  # fmt: skip
    delivered = min(max(-base - meter_wh, 0), ordered_wh)
    as_sold = cash(base + delivered, ())
    assert abs(cash(base, (called,)) - as_sold) <= 3


@HUNDREDS
@given(seeds)
def test_a_block_of_meters_is_settled_as_line_by_line(seed: int) -> None:
    case = random_case(seed)
    count = case.periods.count
    draw = Random(seed)
    plain = replace(
        case, activations=(), availabilities=(), reactive=(), communities=(), rounds=None,
        positions=tuple(replace(p, held=None) for p in case.positions), split="da",
        parts=tuple(part for part in case.parts if part.market == "da"),
        substation=replace(
            case.substation,
            **{
                name: tuple(draw.randint(-(10**6), 10**6) for _ in range(count))
                for name in ("da_import_wh", "id_import_wh", "da_energy_micro_eur_per_mwh",
                             "id_energy_micro_eur_per_mwh")
            },
        ),
    )  # fmt: skip
    if len({p.connection for p in plain.positions}) < len(plain.positions):
        plain = replace(plain, positions=plain.positions[:-1], capacities=plain.capacities[:-1])
    result = settle(plain)
    assert check_settlement(plain, result) == ()
    block = settle_block(_block(plain), replace(plain.rules, settle_reactive=False))
    place = {p.connection: k for k, p in enumerate(plain.positions)}
    row = {start: t for t, start in enumerate(plain.periods.starts)}
    found = {kind: np.zeros_like(values) for kind, values in block.amounts.items()}
    accounts: Counter[str] = Counter()
    for line in result.lines:
        if line.connection:
            found[line.kind][row[line.period_start], place[line.connection]] += (
                line.amount_micro_eur
            )
        else:
            market = line.market.split("/")[0]
            accounts[f"{market}/{line.participant.removeprefix('account:')}"] += (
                line.amount_micro_eur
            )
    for kind, values in found.items():
        assert np.array_equal(values, block.amounts[kind])
    totals = {name: int(values.sum()) for name, values in block.accounts.items()}
    assert {n: v for n, v in totals.items() if v} == {n: v for n, v in accounts.items() if v}
    assert block.lines == len(result.lines)


def _block(case: SettlementCase) -> MeterBlock:
    def columns(rows: list[tuple[int, ...]]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return np.array(rows, dtype=np.int64).T

    buses = [price.bus for price in case.prices]
    substation = case.substation
    parts: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int64]]] = {}
    for part in case.parts:
        kind = "rent_voltage" if part.element_kind == "bus" else "rent_congestion"
        name = f"{kind}/{part.element_kind}:{part.element}:{part.side}"
        values = parts.setdefault(name, np.zeros((case.periods.count, len(buses)), dtype=np.int64))
        values[part.period, buses.index(part.bus)] = part.p_micro_eur_per_mwh
    weight = {(c.participant, c.connection): c.capacity_w for c in case.capacities}
    assert substation.da_import_wh is not None
    assert substation.id_import_wh is not None
    assert substation.da_energy_micro_eur_per_mwh is not None
    return MeterBlock(
        bus=np.array([buses.index(p.bus) for p in case.positions], dtype=np.int64),
        da_wh=columns([p.da_wh for p in case.positions]),
        id_wh=columns([p.id_wh for p in case.positions]),
        meter_wh=columns([p.meter_wh for p in case.positions]),
        dlmp_da=columns([p.dlmp_da_micro_eur_per_mwh for p in case.prices]),
        dlmp_id=columns([p.dlmp_id_micro_eur_per_mwh for p in case.prices]),
        imbalance=columns([p.imbalance_micro_eur_per_mwh for p in case.prices]),
        import_wh=np.array(substation.import_wh),
        da_import_wh=np.array(substation.da_import_wh),
        id_import_wh=np.array(substation.id_import_wh),
        import_price=np.array(substation.import_price_micro_eur_per_mwh),
        energy_price=np.array(substation.da_energy_micro_eur_per_mwh),
        parts=parts,
        capacity_w=np.array([weight[p.participant, p.connection] for p in case.positions]),
    )
