"""One statement per participant: totals, then by kind, by connection and by period."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from data.records.settlement import (
    ACCOUNT_PREFIX,
    LINE_KINDS,
    LineKind,
    SettlementLine,
    SettlementResult,
)
from data.units import WH_PER_MWH
from dso.settlement.exact import divide_half_even
from dso.settlement.html_parts import bar_chart, cards, eur, head, instant, kilo, page, table
from dso.settlement.statement_notes import StatementNotes, note_sections

PERIODS_SHOWN: Final = 200  # longer settlements are shown by day; the CSV has every period
SIGNS: Final = (
    "Positive amounts are received, negative ones are paid; energy is positive into the grid."
)
DAY_DIGITS: Final = len("2026-06-01")

KIND_TEXT: Final[Mapping[LineKind, tuple[str, str]]] = {
    "da": ("Day-ahead", "scheduled energy x day-ahead price at the bus"),
    "id": ("Intraday", "change of the schedule x price of the round at the bus"),
    "imbalance": ("Imbalance", "(metered - scheduled energy) x imbalance price"),
    "reactive": ("Reactive energy", "reactive energy [varh] x reactive price at the bus"),
    "community": ("Community", "shared energy x (community price - bus price at the generator)"),
    "availability": ("Availability", "capacity kept ready x share earned x fee"),
    "flexibility": ("Flexibility", "delivered flexibility x contract price"),
    "penalty": ("Penalty", "flexibility not delivered x penalty price"),
    "refund": ("Refund", "share in the rents of the grid; negative when they are"),
    "upstream": ("Upstream", "import from the grid above x its price"),
    "rent_congestion": ("Congestion rent", "price part of a line or transformer x withdrawal"),
    "rent_voltage": ("Voltage rent", "price part of a voltage limit x withdrawal"),
    "rent_loss": ("Loss over-collection", "losses collected at the margin - cost of losses"),
    "rent_import": ("Import rent", "energy price x import - import bill"),
    "rent_unsplit": ("Rent, not split", "payments - import bill, without parts of the price"),
    "rent_reactive": ("Reactive rent", "reactive energy collected - paid"),
    "imbalance_residual": ("Imbalance residual", "changed losses and price spread"),
    "rounding": ("Rounding", "at most one micro-EUR per line"),
    "dispute": ("In dispute", "changes that wait for the end of a dispute"),
}
ENERGY_KINDS: Final = frozenset({"da", "id", "imbalance"})
PRICED_KINDS: Final = ENERGY_KINDS | {
    "community", "availability", "flexibility", "penalty", "upstream",
}  # fmt: skip
REFUND_TEXT: Final = {
    "pro_rata_withdrawal": "rents of a period are shared by metered withdrawal",
    "pro_rata_capacity": "rents of a period are shared by contracted capacity",
    "retain": "rents are kept for grid reinforcement",
}


@dataclass(slots=True)
class _Sums:
    """Running sums of some lines."""

    energy_wh: int = 0
    gross_wh: int = 0
    amount_micro_eur: int = 0
    lines: int = 0

    def add(self, line: SettlementLine) -> None:
        self.energy_wh += line.quantity_wh
        self.gross_wh += abs(line.quantity_wh)
        self.amount_micro_eur += line.amount_micro_eur
        self.lines += 1


def statement_html(
    name: str,
    lines: Sequence[SettlementLine],
    result: SettlementResult,
    notes: StatementNotes | None = None,
) -> bytes:
    """Return the statement of one participant (or of the operator's accounts) as one HTML page.

    Parameters
    ----------
    name : str
        Whom it is for.
    lines : sequence of SettlementLine
        The lines that stand for this participant.
    result : SettlementResult
        Periods, rules, remarks and the hash of the input.
    notes : StatementNotes, optional
        What is said beside the lines.

    Returns
    -------
    bytes
        A page that needs nothing from outside: no script, no font, no picture.
    """
    notes = notes or StatementNotes()
    by_kind: dict[LineKind, _Sums] = defaultdict(_Sums)
    by_unit: dict[str, _Sums] = defaultdict(_Sums)
    by_start: dict[str, dict[LineKind, int]] = defaultdict(lambda: defaultdict(int))
    energy: dict[tuple[str, str, str], int] = defaultdict(int)
    accounts = all(line.participant.startswith(ACCOUNT_PREFIX) for line in lines)
    by_day = result.periods.count > PERIODS_SHOWN
    for line in lines:
        start = instant(line.period_start)
        by_kind[line.kind].add(line)
        by_unit[line.participant if accounts else line.connection].add(line)
        by_start[start[:DAY_DIGITS] if by_day else start][line.kind] += line.amount_micro_eur
        if line.kind in ENERGY_KINDS:
            energy[start, line.participant, line.connection] += line.quantity_wh
    kinds = [kind for kind in LINE_KINDS if kind in by_kind]
    periods = result.periods
    covered = (
        f"Delivery from {instant(periods.start)} to {instant(periods.end)} (UTC), "
        f"{periods.count} periods of {periods.mtu_minutes} minutes."
    )
    if notes.revision:
        covered = f"Revision {notes.revision}. {covered}"
    bars = [(start, sum(amounts.values())) for start, amounts in sorted(by_start.items())]
    word = "day" if by_day else "period"
    body = [
        head(
            "Settlement statement" if not accounts else "Operator's accounts", name,
            (covered, SIGNS),
        ),
        _cards(lines, energy.values(), accounts=accounts),
        "" if accounts else bar_chart(f"Net amount by {word} [EUR]; up is received", bars),
        _kind_table(kinds, by_kind),
    ]  # fmt: skip
    if len(by_unit) > 1:
        body.append(_unit_table(by_unit, "Account" if accounts else "Connection"))
    body += note_sections(notes)
    body += [_start_table(kinds, by_start, energy, by_day=by_day), _footer(result, notes)]
    return page(f"Settlement: {name}", body)


def _cards(lines: Sequence[SettlementLine], energy: Iterable[int], *, accounts: bool) -> str:
    total = sum(line.amount_micro_eur for line in lines)
    received = sum(max(0, line.amount_micro_eur) for line in lines)
    settled = list(energy)
    entries = [
        ("Net, receives" if total >= 0 else "Net, pays", f"{eur(abs(total))} EUR"),
        ("Sum of credits", f"{eur(received)} EUR"),
        ("Sum of debits", f"{eur(received - total)} EUR"),
    ]
    if not accounts:
        entries += [
            ("Energy injected", f"{kilo(sum(max(0, wh) for wh in settled))} kWh"),
            ("Energy withdrawn", f"{kilo(sum(max(0, -wh) for wh in settled))} kWh"),
        ]
    return cards(entries)


def _kind_table(kinds: Sequence[LineKind], by_kind: Mapping[LineKind, _Sums]) -> str:
    rows = []
    for kind in kinds:
        sums = by_kind[kind]
        energy, mean = "-", "-"
        if kind in PRICED_KINDS:
            energy = kilo(sums.energy_wh)
            # A mean over purchases and sales together would be no price anybody paid.
            if sums.energy_wh and abs(sums.energy_wh) == sums.gross_wh:
                sign = 1 if sums.energy_wh > 0 else -1
                mean = eur(
                    divide_half_even(sign * sums.amount_micro_eur * WH_PER_MWH, sums.gross_wh)
                )
        name, how = KIND_TEXT[kind]
        rows.append((f"{name}\n{how}", eur(sums.amount_micro_eur, 4), energy, mean))
    total = sum(sums.amount_micro_eur for sums in by_kind.values())
    return table(
        "By kind",
        ("Kind", "Amount [EUR]", "Energy, net [kWh]", "Mean price [EUR/MWh]"),
        rows,
        ("Sum", eur(total, 4), "", ""),
    )


def _unit_table(by_unit: Mapping[str, _Sums], label: str) -> str:
    rows = [
        (name or "-", str(sums.lines), eur(sums.amount_micro_eur, 4))
        for name, sums in sorted(by_unit.items())
    ]
    total = sum(sums.amount_micro_eur for sums in by_unit.values())
    return table(
        f"By {label.lower()}", (label, "Lines", "Amount [EUR]"), rows, ("Sum", "", eur(total, 4))
    )


def _start_table(
    kinds: Sequence[LineKind],
    by_start: Mapping[str, Mapping[LineKind, int]],
    energy: Mapping[tuple[str, str, str], int],
    *,
    by_day: bool,
) -> str:
    energy_wh: dict[str, int] = defaultdict(int)
    for (start, _, _), quantity_wh in energy.items():
        energy_wh[start[:DAY_DIGITS] if by_day else start] += quantity_wh
    with_energy = bool(energy)
    first = "Day (UTC)" if by_day else "Period from (UTC)"
    header = [first, "Sum [EUR]", *(f"{KIND_TEXT[kind][0]} [EUR]" for kind in kinds)]
    if with_energy:
        header.append("Energy [kWh]")
    rows = []
    for start, amounts in sorted(by_start.items()):
        of_kinds = (eur(amounts[k], 4) if k in amounts else "-" for k in kinds)
        row = [start, eur(sum(amounts.values()), 4), *of_kinds]
        if with_energy:
            row.append(kilo(energy_wh[start]))
        rows.append(row)
    return table("By day" if by_day else "By period", header, rows)


def _footer(result: SettlementResult, notes: StatementNotes) -> str:
    rules = result.rules
    imbalance = "single imbalance price"
    if rules.imbalance == "dual":
        spread = eur(rules.imbalance_spread_micro_eur_per_mwh)
        imbalance = f"imbalance price less {spread} EUR/MWh for a surplus, plus for a shortfall"
    sources = "".join(f"<p>{escape(name)}: {digest}</p>" for name, digest in notes.sources)
    remarks = "".join(f"<p>Remark: {escape(remark)}.</p>" for remark in result.remarks)
    reactive = "paid at its price" if rules.settle_reactive else "shown and not paid"
    return (
        f"<footer><p>Rules: {imbalance}; {REFUND_TEXT[rules.refund]}; "
        f"reactive energy is {reactive}. Amounts are computed in "
        "micro-EUR and shown rounded; the CSV beside this page has every line exactly.</p>"
        f"{remarks}<p>SHA-256 of the settlement's input: {result.input_sha256}</p>"
        f"{sources}</footer>"
    )
