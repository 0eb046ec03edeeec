"""Random markets: sums, order, splits, re-runs and revisions."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.periods import Periods
from data.records.settlement import (
    Activation,
    Availability,
    BusPrices,
    Community,
    CommunityMember,
    ConnectionCapacity,
    ConnectionPosition,
    FlexibilityRule,
    ImbalanceRule,
    LineKind,
    PricePartLine,
    ReactivePosition,
    RefundRule,
    RoundPosition,
    SettlementCase,
    SettlementLine,
    SettlementResult,
    SettlementRules,
    SharingKey,
    SubstationSeries,
)
from dso.settlement import (
    check_settlement,
    delta_lines,
    rate_activation,
    read_settlement,
    settle,
    settlement_files,
    write_settlement_case,
)

FEW = settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
BUSES = (1, 2, 3)
energy = st.integers(-3_000_000, 3_000_000)
price = st.integers(-500_000_000, 4_000_000_000)


@st.composite
def cases(draw: st.DrawFn) -> SettlementCase:
    count = draw(st.integers(1, 3))
    owners = [
        (f"p{k % 3}", f"c{k}", draw(st.sampled_from(BUSES))) for k in range(draw(st.integers(1, 5)))
    ]

    def series(values: st.SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(st.lists(values, min_size=count, max_size=count)))

    positions = [
        ConnectionPosition(
            participant=who, connection=where, bus=bus,
            da_wh=series(energy), id_wh=series(energy), meter_wh=series(energy),
        )
        for who, where, bus in owners
    ]  # fmt: skip
    rounds = draw(st.none() | st.just(draw(_rounds(count, owners))))
    if rounds is not None:
        last = {(r.connection, r.period): r for r in sorted(rounds, key=lambda r: r.round)}
        positions = [
            replace(p, id_wh=tuple(
                last[p.connection, t].position_wh if (p.connection, t) in last else p.da_wh[t]
                for t in range(count)
            ))
            for p in positions
        ]  # fmt: skip
    rule = draw(st.sampled_from(get_args(ImbalanceRule)))
    labels = {"da", "id/1"} if rounds is None else {"da", *(f"id/{r.round}" for r in rounds)}
    keys = st.tuples(
        st.sampled_from(sorted(labels)), st.sampled_from(BUSES), st.integers(0, count - 1),
        st.sampled_from(["line", "trafo", "bus", "ext_grid"]), st.sampled_from(["0", "1"]),
    )  # fmt: skip
    split = draw(st.sampled_from(["none", "all"]))
    parts = draw(st.sets(keys, max_size=8)) if split == "all" else set()
    return SettlementCase(
        periods=Periods(start=datetime(2026, 3, 1, tzinfo=UTC), count=count),
        rules=SettlementRules(
            imbalance=rule,
            imbalance_spread_micro_eur_per_mwh=draw(st.integers(0, 10**7)) if rule == "dual" else 0,
            refund=draw(st.sampled_from(get_args(RefundRule))),
            settle_reactive=draw(st.booleans()),
        ),
        positions=tuple(positions),
        prices=tuple(
            BusPrices(
                bus=bus,
                dlmp_da_micro_eur_per_mwh=series(price),
                dlmp_id_micro_eur_per_mwh=series(price),
                imbalance_micro_eur_per_mwh=series(price),
            )
            for bus in BUSES
        ),
        substation=draw(_substations(count)),
        rounds=rounds,
        parts=tuple(
            PricePartLine(
                market=m, bus=b, period=t, element_kind=k, element=e, side="x",
                p_micro_eur_per_mwh=draw(price),
            )
            for m, b, t, k, e in sorted(parts)
        ),
        split=split,
        activations=draw(_activations(count, owners)),
        capacities=tuple(
            ConnectionCapacity(participant=w, connection=c, capacity_w=draw(st.integers(1, 10**7)))
            for w, c, _ in owners
        ),
        availabilities=draw(_availabilities(count, owners)),
        reactive=draw(_reactive(count, owners)),
        communities=draw(_communities(owners)),
    )  # fmt: skip


@st.composite
def _availabilities(
    draw: st.DrawFn, count: int, owners: list[tuple[str, str, int]]
) -> tuple[Availability, ...]:
    who, where, _ = draw(st.sampled_from(owners))
    return tuple(
        Availability(
            participant=who, connection=where, period=period,
            available_w=draw(st.integers(0, 10**7)),
            price_micro_eur_per_mw_h=draw(st.integers(0, 10**8)),
            delivery_ppm=draw(st.integers(0, 10**6)),
        )
        for period in draw(st.sets(st.integers(0, count - 1)))
    )  # fmt: skip


@st.composite
def _reactive(
    draw: st.DrawFn, count: int, owners: list[tuple[str, str, int]]
) -> tuple[ReactivePosition, ...]:
    return tuple(
        ReactivePosition(
            participant=who, connection=where, period=period,
            q_varh=draw(energy), price_micro_eur_per_mvarh=draw(price),
        )
        for who, where, _ in draw(st.sets(st.sampled_from(owners), max_size=3))
        for period in range(draw(st.integers(0, count)))
    )  # fmt: skip


@st.composite
def _communities(draw: st.DrawFn, owners: list[tuple[str, str, int]]) -> tuple[Community, ...]:
    if len(owners) < 2 or not draw(st.booleans()):
        return ()
    (generator, connection, _), *others = draw(st.permutations(owners))
    key = draw(st.sampled_from(get_args(SharingKey)))
    return (
        Community(
            name="street", generator=(generator, connection), key=key,
            price_micro_eur_per_mwh=draw(price),
            members=tuple(
                CommunityMember(
                    participant=who, connection=where,
                    share_ppm=draw(st.integers(1, 10**6 // len(others))) if key == "static" else 0,
                )
                for who, where, _ in others
            ),
        ),
    )  # fmt: skip


@st.composite
def _rounds(
    draw: st.DrawFn, count: int, owners: list[tuple[str, str, int]]
) -> tuple[RoundPosition, ...]:
    prices: dict[tuple[int, int, int], int] = {}
    lines = []
    for who, where, bus in owners:
        for period in range(count):
            for number in draw(st.sets(st.integers(1, 4), max_size=3)):
                key = (bus, period, number)
                if key not in prices:
                    prices[key] = draw(price)
                lines.append(
                    RoundPosition(
                        participant=who, connection=where, period=period, round=number,
                        position_wh=draw(energy), dlmp_micro_eur_per_mwh=prices[key],
                    )
                )  # fmt: skip
    return tuple(lines)


@st.composite
def _substations(draw: st.DrawFn, count: int) -> SubstationSeries:
    def series(values: st.SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(st.lists(values, min_size=count, max_size=count)))

    scheduled = draw(st.booleans())
    priced = draw(st.booleans())
    return SubstationSeries(
        import_wh=series(energy),
        import_price_micro_eur_per_mwh=series(price),
        da_import_wh=series(energy) if scheduled else None,
        id_import_wh=series(energy) if scheduled else None,
        da_energy_micro_eur_per_mwh=series(price) if priced else None,
        id_energy_micro_eur_per_mwh=series(price) if priced else None,
    )


@st.composite
def _activations(
    draw: st.DrawFn, count: int, owners: list[tuple[str, str, int]]
) -> tuple[Activation, ...]:
    power = st.integers(-5_000_000, 5_000_000)
    places = draw(
        st.sets(st.tuples(st.sampled_from(owners), st.integers(0, count - 1)), max_size=3)
    )
    return tuple(
        Activation(
            participant=who, connection=where, period=period,
            baseline_w=draw(power), ordered_w=draw(power.filter(bool)), meter_w=draw(power),
            price_micro_eur_per_mwh=draw(price),
            penalty_micro_eur_per_mwh=draw(st.integers(0, 10**9)),
            rule=draw(st.sampled_from(get_args(FlexibilityRule))),
        )
        for (who, where, _), period in sorted(places)
    )  # fmt: skip


def group_sums(lines: tuple[SettlementLine, ...]) -> dict[tuple[datetime, str], int]:
    sums: dict[tuple[datetime, str], int] = defaultdict(int)
    for line in lines:
        sums[line.period_start, line.market] += line.amount_micro_eur
    return sums


def cash(result: SettlementResult, participant: str, kinds: tuple[LineKind, ...]) -> int:
    return sum(
        line.amount_micro_eur
        for line in result.lines
        if line.participant == participant and line.kind in kinds
    )


@FEW
@given(cases())
def test_every_market_and_period_sums_to_zero(case: SettlementCase) -> None:
    result = settle(case)
    assert set(group_sums(result.lines).values()) == {0}
    count = Counter((line.period_start, line.market) for line in result.lines)
    for line in result.lines:
        if line.kind == "rounding":
            assert abs(line.amount_micro_eur) < count[line.period_start, line.market]
    assert check_settlement(case, result) == ()


@FEW
@given(cases())
def test_energy_settled_is_energy_metered(case: SettlementCase) -> None:
    """Day-ahead + rounds + imbalance + what the operator bought = meter, for each connection."""
    without = settle(replace(case, activations=()))
    settled: Counter[tuple[str, datetime]] = Counter()
    upstream: Counter[datetime] = Counter()
    for line in without.lines:
        if line.kind in ("da", "id", "imbalance"):
            settled[line.connection, line.period_start] += line.quantity_wh
        if line.kind == "upstream":
            upstream[line.period_start] += line.quantity_wh
    for period, start in enumerate(case.periods.starts):
        assert upstream[start] == case.substation.import_wh[period]
        for position in case.positions:
            assert settled[position.connection, start] == position.meter_wh[period]


@FEW
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_rows_means_nothing(case: SettlementCase, shuffler: Random) -> None:
    changed = {}
    for name in ("positions", "prices", "rounds", "parts", "activations", "capacities",
                 "availabilities", "reactive", "communities"):  # fmt: skip
        rows = getattr(case, name)
        if rows is not None:
            mixed = list(rows)
            shuffler.shuffle(mixed)
            changed[name] = tuple(mixed)
    assert settle(replace(case, **changed)) == settle(case)


@FEW
@given(cases(), energy, energy, energy)
def test_splitting_a_position_moves_at_most_a_micro_eur_per_line(
    case: SettlementCase, da_wh: int, id_wh: int, meter_wh: int
) -> None:
    case = replace(case, rounds=None, activations=(), split="none", parts=(),
                   availabilities=(), reactive=(), communities=())  # fmt: skip
    case = replace(case, rules=replace(case.rules, refund="retain", imbalance="single",
                                       imbalance_spread_micro_eur_per_mwh=0))  # fmt: skip
    whole = case.positions[0]
    one = replace(
        whole, participant="split", connection="x",
        da_wh=tuple(q - da_wh for q in whole.da_wh),
        id_wh=tuple(q - id_wh for q in whole.id_wh),
        meter_wh=tuple(q - meter_wh for q in whole.meter_wh),
    )  # fmt: skip
    count = case.periods.count
    two = replace(
        whole, participant="split", connection="y",
        da_wh=(da_wh,) * count, id_wh=(id_wh,) * count, meter_wh=(meter_wh,) * count,
    )  # fmt: skip
    single = replace(whole, participant="split", connection="x")
    others = case.positions[1:]
    before = settle(replace(case, positions=(single, *others), capacities=()))
    after = settle(replace(case, positions=(one, two, *others), capacities=()))
    for kind in ("da", "id", "imbalance"):
        moved = cash(after, "split", (kind,)) - cash(before, "split", (kind,))
        assert abs(moved) <= count


@FEW
@given(cases())
def test_zero_deviation_is_zero_cash_at_any_price(case: SettlementCase) -> None:
    still = tuple(replace(p, id_wh=p.da_wh, meter_wh=p.da_wh) for p in case.positions)
    result = settle(replace(case, positions=still, rounds=None, activations=(), parts=(),
                            split="none"))  # fmt: skip
    for position in still:
        assert cash(result, position.participant, ("id", "imbalance")) == 0


@FEW
@given(cases(), cases())
def test_deltas_of_a_revision_are_the_fresh_run_minus_the_old(
    case: SettlementCase, other: SettlementCase
) -> None:
    meters = [p.meter_wh[0] for p in other.positions]
    revised = replace(
        case,
        positions=tuple(
            replace(p, meter_wh=(meters[k % len(meters)], *p.meter_wh[1:]))
            for k, p in enumerate(case.positions)
        ),
    )
    before, after = settle(case), settle(revised)
    deltas = delta_lines(before, after)
    assert set(group_sums(deltas).values()) <= {0}

    def totals(lines: tuple[SettlementLine, ...]) -> Counter[tuple[str, ...]]:
        found: Counter[tuple[str, ...]] = Counter()
        for line in lines:
            found[line.participant, line.connection, line.kind] += line.amount_micro_eur
        return found

    corrected = totals((*before.lines, *deltas))
    fresh = totals(after.lines)
    assert {key: v for key, v in corrected.items() if v} == {k: v for k, v in fresh.items() if v}
    assert all(line.period_start == case.periods.start for line in deltas)


@FEW
@given(cases())
def test_a_re_run_from_the_written_folder_gives_equal_bytes(case: SettlementCase) -> None:
    with tempfile.TemporaryDirectory() as name:
        write_settlement_case(case, Path(name))
        again = read_settlement(Path(name))
    assert settlement_files(settle(again)) == settlement_files(settle(case))


@FEW
@given(cases(), st.data())
def test_any_amount_moved_between_two_lines_is_found(
    case: SettlementCase, data: st.DataObject
) -> None:
    result = settle(case)
    lines = list(result.lines)
    first = data.draw(st.integers(0, len(lines) - 1))
    second = data.draw(st.integers(0, len(lines) - 1))
    amount = data.draw(st.integers(1, 5))
    if first == second:
        return
    for place, change in ((first, amount), (second, -amount)):
        lines[place] = replace(
            lines[place], amount_micro_eur=lines[place].amount_micro_eur + change
        )
    if Counter(lines) != Counter(result.lines):
        assert check_settlement(case, replace(result, lines=tuple(lines)))


@FEW
@given(cases())
def test_split_rents_add_up_to_the_unsplit_one(case: SettlementCase) -> None:
    rents: tuple[LineKind, ...] = (
        "rent_congestion", "rent_voltage", "rent_loss", "rent_import", "rent_unsplit",
    )  # fmt: skip
    split = settle(replace(case, split="all" if case.parts else case.split))
    whole = settle(replace(case, parts=(), split="none"))
    for market in {line.market for line in whole.lines} - {"refund", "flexibility"}:
        sums = [
            [line.amount_micro_eur for line in result.lines
             if line.market == market and line.kind in rents]
            for result in (split, whole)
        ]  # fmt: skip
        assert abs(sum(sums[0]) - sum(sums[1])) <= len(sums[0]) + len(sums[1])


def test_the_strategies_reach_what_they_should() -> None:
    """Guard against strategies that never draw rounds, parts or activations."""
    seen = set()

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(cases())
    def look(case: SettlementCase) -> None:
        seen.update(line.kind for line in settle(case).lines)
        seen.update(["rounds"] if case.rounds else [])

    look()
    assert seen == {*get_args(LineKind), "rounds"} - {"dispute"}


@pytest.mark.parametrize("rule", get_args(FlexibilityRule))
def test_no_rule_pays_for_nothing(rule: FlexibilityRule) -> None:
    idle = Activation(
        participant="p", connection="c", period=0, baseline_w=5, ordered_w=2, meter_w=5,
        price_micro_eur_per_mwh=1, penalty_micro_eur_per_mwh=1, rule=rule,
    )  # fmt: skip
    outcome = rate_activation(idle, 60)
    assert (outcome.paid_wh, outcome.bought_injection_wh, outcome.deficiency_wh) == (0, 0, 2)
