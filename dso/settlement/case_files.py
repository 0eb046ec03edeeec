"""A settlement case as the files of its folder: canonical, so that equal cases are equal bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from data.canonical import csv_bytes, write_atomically
from data.errors import refuse_if_any
from data.records.settlement import SettlementCase
from dso.settlement.community_files import communities_toml
from dso.settlement.exact import format_micro
from dso.settlement.validation import find_problems

POSITION_COLUMNS = (
    "participant", "connection", "bus", "period_start", "da_mwh", "id_mwh", "meter_mwh",
)  # fmt: skip
POSITION_OPTIONAL = ("bus_to",)
ROUND_COLUMNS = (
    "participant", "connection", "period_start", "round", "position_mwh", "dlmp_eur_per_mwh",
)  # fmt: skip
PRICE_COLUMNS = (
    "bus", "period_start", "dlmp_da_eur_per_mwh", "dlmp_id_eur_per_mwh", "imbalance_eur_per_mwh",
)  # fmt: skip
PART_COLUMNS = ("bus", "period_start", "element_kind", "element", "side", "p_eur_per_mwh")
SUBSTATION_COLUMNS = ("period_start", "import_mwh", "import_price_eur_per_mwh")
SUBSTATION_OPTIONAL = (
    "da_import_mwh", "id_import_mwh", "da_energy_eur_per_mwh", "id_energy_eur_per_mwh",
)  # fmt: skip
ACTIVATION_COLUMNS = (
    "participant", "connection", "period_start", "baseline_mw", "ordered_mw", "meter_mw",
    "price_eur_per_mwh", "penalty_eur_per_mwh", "rule",
)  # fmt: skip
CAPACITY_COLUMNS = ("participant", "connection", "capacity_mw")
AVAILABILITY_COLUMNS = (
    "participant", "connection", "period_start", "available_mw", "price_eur_per_mw_h",
    "delivery_share",
)  # fmt: skip
REACTIVE_COLUMNS = (
    "participant", "connection", "period_start", "q_mvarh", "dlmp_q_eur_per_mvarh",
)  # fmt: skip
OPTIONAL_FILES = (
    "rounds.csv", "parts.csv", "connections.csv", "availability.csv", "reactive.csv",
    "communities.toml",
)  # fmt: skip


def case_files(case: SettlementCase) -> dict[str, bytes]:
    """Return name and content of every file of the settlement folder of a valid case."""
    labels = case.periods.labels()
    files = {
        "settlement.toml": _rules_toml(case),
        "positions.csv": _positions_csv(case, labels),
        "prices.csv": csv_bytes(PRICE_COLUMNS, _price_rows(case, labels)),
        "substation.csv": _substation_csv(case, labels),
        "activations.csv": csv_bytes(ACTIVATION_COLUMNS, _activation_rows(case, labels)),
    }
    if case.rounds is not None:
        files["rounds.csv"] = csv_bytes(ROUND_COLUMNS, _round_rows(case, labels))
    if case.split != "none":
        files["parts.csv"] = _parts_csv(case, labels)
    if case.capacities:
        rows = sorted((c.participant, c.connection, c.capacity_w) for c in case.capacities)
        files["connections.csv"] = csv_bytes(
            CAPACITY_COLUMNS, ((*owner, format_micro(watt)) for *owner, watt in rows)
        )
    if case.availabilities:
        files["availability.csv"] = csv_bytes(
            AVAILABILITY_COLUMNS, _availability_rows(case, labels)
        )
    if case.reactive:
        files["reactive.csv"] = csv_bytes(REACTIVE_COLUMNS, _reactive_rows(case, labels))
    if case.communities:
        files["communities.toml"] = communities_toml(case.communities)
    return files


def write_settlement_case(case: SettlementCase, folder: Path) -> None:
    """Write the settlement folder of a case; `read_settlement` returns the case again.

    Raises
    ------
    InputError
        With all problems of the case; then nothing is written.
    """
    refuse_if_any(find_problems(case))
    files = case_files(case)
    for name in OPTIONAL_FILES:
        if name not in files:
            (folder / name).unlink(missing_ok=True)
    for name, content in sorted(files.items()):
        write_atomically(folder / name, content)


def _rules_toml(case: SettlementCase) -> bytes:
    rules = case.rules
    spread = format_micro(rules.imbalance_spread_micro_eur_per_mwh)
    return (
        f"mtu_minutes = {case.periods.mtu_minutes}\n"
        f'imbalance = "{rules.imbalance}"\n'
        f"imbalance_spread_eur_per_mwh = {spread}\n"
        f'refund = "{rules.refund}"\n' + "settle_reactive = true\n" * rules.settle_reactive
    ).encode()


def _positions_csv(case: SettlementCase, labels: Sequence[str]) -> bytes:
    """Write the positions; ``bus_to`` only where there are bilateral orders."""
    positions = sorted(case.positions, key=lambda p: (p.participant, p.connection))
    optional = POSITION_OPTIONAL if any(p.is_bilateral for p in positions) else ()
    rows = (
        (
            p.participant, p.connection, p.bus, label,
            format_micro(p.da_wh[t]), format_micro(p.id_wh[t]), format_micro(p.meter_wh[t]),
            *("" if p.bus_to is None else p.bus_to for _ in optional),
        )
        for t, label in enumerate(labels)
        for p in positions
        if p.is_held(t)
    )  # fmt: skip
    return csv_bytes((*POSITION_COLUMNS, *optional), rows)


def _round_rows(case: SettlementCase, labels: Sequence[str]) -> Iterator[Sequence[object]]:
    lines = sorted(
        case.rounds or (), key=lambda r: (r.period, r.round, r.participant, r.connection)
    )
    for r in lines:
        yield (
            r.participant, r.connection, labels[r.period], r.round,
            format_micro(r.position_wh), format_micro(r.dlmp_micro_eur_per_mwh),
        )  # fmt: skip


def _price_rows(case: SettlementCase, labels: Sequence[str]) -> Iterator[Sequence[object]]:
    prices = sorted(case.prices, key=lambda p: p.bus)
    for t, label in enumerate(labels):
        for p in prices:
            yield (
                p.bus, label, format_micro(p.dlmp_da_micro_eur_per_mwh[t]),
                format_micro(p.dlmp_id_micro_eur_per_mwh[t]),
                format_micro(p.imbalance_micro_eur_per_mwh[t]),
            )  # fmt: skip


def _parts_csv(case: SettlementCase, labels: Sequence[str]) -> bytes:
    parts = sorted(
        (p.period, p.market, p.bus, p.element_kind, p.element, p.side, p.p_micro_eur_per_mwh)
        for p in case.parts
    )
    with_market = case.split == "all"
    header = (*PART_COLUMNS, "market") if with_market else PART_COLUMNS
    rows = (
        (bus, labels[t], kind, element, side, format_micro(price), *((market,) * with_market))
        for t, market, bus, kind, element, side, price in parts
    )
    return csv_bytes(header, rows)


def _substation_csv(case: SettlementCase, labels: Sequence[str]) -> bytes:
    s = case.substation
    optional = (
        s.da_import_wh, s.id_import_wh, s.da_energy_micro_eur_per_mwh,
        s.id_energy_micro_eur_per_mwh,
    )  # fmt: skip
    named = [
        ("import_mwh", s.import_wh),
        ("import_price_eur_per_mwh", s.import_price_micro_eur_per_mwh),
        *((n, v) for n, v in zip(SUBSTATION_OPTIONAL, optional, strict=True) if v is not None),
    ]
    rows = (
        (label, *(format_micro(values[t]) for _, values in named)) for t, label in enumerate(labels)
    )
    return csv_bytes(("period_start", *(name for name, _ in named)), rows)


def _activation_rows(case: SettlementCase, labels: Sequence[str]) -> Iterator[Sequence[object]]:
    for a in sorted(case.activations, key=lambda a: (a.period, a.participant, a.connection)):
        yield (
            a.participant, a.connection, labels[a.period], format_micro(a.baseline_w),
            format_micro(a.ordered_w), format_micro(a.meter_w),
            format_micro(a.price_micro_eur_per_mwh), format_micro(a.penalty_micro_eur_per_mwh),
            a.rule,
        )  # fmt: skip


def _availability_rows(case: SettlementCase, labels: Sequence[str]) -> Iterator[Sequence[object]]:
    found = sorted(case.availabilities, key=lambda a: (a.period, a.participant, a.connection))
    for a in found:
        yield (
            a.participant, a.connection, labels[a.period], format_micro(a.available_w),
            format_micro(a.price_micro_eur_per_mw_h), format_micro(a.delivery_ppm),
        )  # fmt: skip


def _reactive_rows(case: SettlementCase, labels: Sequence[str]) -> Iterator[Sequence[object]]:
    for q in sorted(case.reactive, key=lambda q: (q.period, q.participant, q.connection)):
        yield (
            q.participant, q.connection, labels[q.period], format_micro(q.q_varh),
            format_micro(q.price_micro_eur_per_mvarh),
        )  # fmt: skip
