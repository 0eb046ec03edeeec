"""One statement per participant: totals, then by kind, by connection and by period."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from data.periods import format_utc
from data.records.settlement import LINE_KINDS, LineKind, SettlementLine, SettlementResult
from data.units import MICRO_PER_UNIT, WH_PER_MWH
from dso.settlement.exact import divide_half_even

KIND_TEXT: Final[Mapping[LineKind, tuple[str, str]]] = {
    "da": ("Day-ahead", "scheduled energy x day-ahead price at the bus"),
    "id": ("Intraday", "change of the schedule x price of the round at the bus"),
    "imbalance": ("Imbalance", "(metered - scheduled energy) x imbalance price"),
    "flexibility": ("Flexibility", "delivered flexibility x contract price"),
    "penalty": ("Penalty", "flexibility not delivered x penalty price"),
    "refund": ("Refund", "share in the rents of the grid; negative when they are"),
    "upstream": ("Upstream", "import from the grid above x its price"),
    "rent_congestion": ("Congestion rent", "price part of a line or transformer x withdrawal"),
    "rent_voltage": ("Voltage rent", "price part of a voltage limit x withdrawal"),
    "rent_loss": ("Loss over-collection", "losses collected at the margin - cost of losses"),
    "rent_import": ("Import rent", "energy price x import - import bill"),
    "rent_unsplit": ("Rent, not split", "payments - import bill, without parts of the price"),
    "imbalance_residual": ("Imbalance residual", "changed losses and price spread"),
    "rounding": ("Rounding", "at most one micro-EUR per line"),
}
ENERGY_KINDS: Final = frozenset({"da", "id", "imbalance"})
PRICED_KINDS: Final = ENERGY_KINDS | {"flexibility", "penalty", "upstream"}
REFUND_TEXT: Final = {
    "pro_rata_withdrawal": "rents of a period are shared by metered withdrawal",
    "pro_rata_capacity": "rents of a period are shared by contracted capacity",
    "retain": "rents are kept for grid reinforcement",
}
STYLE: Final = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--page:#fff;--card:#f4f6f8;\
--rule:#d5dae0}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a8b0ba;--page:#14171b;--card:#1f242a;\
--rule:#3a424c}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.5rem 1rem 3rem;max-width:70rem;background:var(--page);\
color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2rem 0 .5rem}
p{margin:.25rem 0}.soft,footer{color:var(--soft);font-size:.9rem;overflow-wrap:anywhere}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.75rem;\
margin:1.25rem 0}
.card{background:var(--card);border:1px solid var(--rule);border-radius:.5rem;padding:.75rem 1rem}
.card b{display:block;font-size:1.4rem;font-variant-numeric:tabular-nums}
.table{overflow-x:auto;border:1px solid var(--rule);border-radius:.5rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .75rem;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th{background:var(--card);font-weight:600}
th:first-child,td:first-child{text-align:left}
small{display:block;color:var(--soft);white-space:normal;min-width:11rem}
tr:last-child td{border-bottom:0}tfoot td{font-weight:600;border-top:2px solid var(--rule)}
footer{margin-top:2rem;border-top:1px solid var(--rule);padding-top:.75rem}
"""


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


def eur(amount_micro_eur: int, decimals: int = 2) -> str:
    """Write micro-EUR as EUR with a fixed number of decimals, half-even, thousands apart.

    Examples
    --------
    >>> eur(1_234_567_890), eur(-4_000), eur(-4_000, 4)
    ('1,234.57', '0.00', '-0.0040')
    """
    scaled = divide_half_even(amount_micro_eur * 10**decimals, MICRO_PER_UNIT)
    whole, fraction = divmod(abs(scaled), 10**decimals)
    return f"{'-' if scaled < 0 else ''}{whole:,}.{fraction:0{decimals}d}"


def mwh(energy_wh: int) -> str:
    """Write Wh as MWh with three decimals."""
    return eur(energy_wh, 3)


def statement_html(name: str, lines: Sequence[SettlementLine], result: SettlementResult) -> bytes:
    """Return the statement of one participant (or of the operator's accounts) as one HTML page.

    The page needs nothing from outside: no script, no font, no picture.
    """
    by_kind: dict[LineKind, _Sums] = defaultdict(_Sums)
    by_unit: dict[str, _Sums] = defaultdict(_Sums)
    by_period: dict[str, dict[LineKind, int]] = defaultdict(lambda: defaultdict(int))
    energy: dict[tuple[str, str, str], int] = defaultdict(int)
    accounts = all(line.participant.startswith("account:") for line in lines)
    for line in lines:
        start = format_utc(line.period_start)
        by_kind[line.kind].add(line)
        by_unit[line.participant if accounts else line.connection].add(line)
        by_period[start][line.kind] += line.amount_micro_eur
        if line.kind in ENERGY_KINDS:
            energy[start, line.participant, line.connection] += line.quantity_wh
    kinds = [kind for kind in LINE_KINDS if kind in by_kind]
    first, last = format_utc(result.periods.start), format_utc(result.periods.end)
    body = [
        f"<h1>Settlement statement: {escape(name)}</h1>",
        (
            f'<p class="soft">Delivery from {first} to {last} (UTC), {result.periods.count} '
            f"periods of {result.periods.mtu_minutes} minutes. Positive amounts are received, "
            "negative ones are paid; energy is positive into the grid.</p>"
        ),
        _cards(lines, energy.values(), accounts=accounts),
        _kind_table(kinds, by_kind),
    ]
    if len(by_unit) > 1:
        body.append(_unit_table(by_unit, "Account" if accounts else "Connection"))
    body += [_period_table(kinds, by_period, energy), _footer(result)]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Settlement: {escape(name)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    ).encode()


def _cards(lines: Sequence[SettlementLine], energy: Iterable[int], *, accounts: bool) -> str:
    total = sum(line.amount_micro_eur for line in lines)
    received = sum(max(0, line.amount_micro_eur) for line in lines)
    settled = list(energy)
    cards = [
        ("Net, receives" if total >= 0 else "Net, pays", f"{eur(abs(total))} EUR"),
        ("Sum of credits", f"{eur(received)} EUR"),
        ("Sum of debits", f"{eur(received - total)} EUR"),
    ]
    if not accounts:
        cards += [
            ("Energy injected", f"{mwh(sum(max(0, wh) for wh in settled))} MWh"),
            ("Energy withdrawn", f"{mwh(sum(max(0, -wh) for wh in settled))} MWh"),
        ]
    text = "".join(f'<div class="card">{name}<b>{value}</b></div>' for name, value in cards)
    return f'<div class="cards">{text}</div>'


def _table(
    title: str, header: Sequence[str], rows: Iterable[Sequence[str]], foot: Sequence[str] = ()
) -> str:
    """Return a headed table that scrolls inside its own frame.

    Cells are escaped; what follows a line break in one is shown small under the rest.
    """

    def cell(text: str) -> str:
        name, _, small = text.partition("\n")
        return f"<td>{escape(name)}{f'<small>{escape(small)}</small>' if small else ''}</td>"

    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in header)
    body = "\n".join("<tr>" + "".join(map(cell, row)) + "</tr>" for row in rows)
    closing = f"<tfoot><tr>{''.join(map(cell, foot))}</tr></tfoot>" if foot else ""
    return (
        f'<h2>{title}</h2>\n<div class="table" tabindex="0" role="region" aria-label="{title}">'
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody>{closing}</table></div>"
    )


def _kind_table(kinds: Sequence[LineKind], by_kind: Mapping[LineKind, _Sums]) -> str:
    rows = []
    for kind in kinds:
        sums = by_kind[kind]
        energy, mean = "-", "-"
        if kind in PRICED_KINDS:
            energy = mwh(sums.energy_wh)
            # A mean over purchases and sales together would be no price anybody paid.
            if sums.energy_wh and abs(sums.energy_wh) == sums.gross_wh:
                sign = 1 if sums.energy_wh > 0 else -1
                mean = eur(
                    divide_half_even(sign * sums.amount_micro_eur * WH_PER_MWH, sums.gross_wh)
                )
        name, how = KIND_TEXT[kind]
        rows.append((f"{name}\n{how}", energy, mean, eur(sums.amount_micro_eur, 4)))
    total = sum(sums.amount_micro_eur for sums in by_kind.values())
    return _table(
        "By kind",
        ("Kind", "Energy, net [MWh]", "Mean price [EUR/MWh]", "Amount [EUR]"),
        rows,
        ("Sum", "", "", eur(total, 4)),
    )


def _unit_table(by_unit: Mapping[str, _Sums], label: str) -> str:
    rows = [
        (name or "-", str(sums.lines), eur(sums.amount_micro_eur, 4))
        for name, sums in sorted(by_unit.items())
    ]
    total = sum(sums.amount_micro_eur for sums in by_unit.values())
    return _table(
        f"By {label.lower()}", (label, "Lines", "Amount [EUR]"), rows, ("Sum", "", eur(total, 4))
    )


def _period_table(
    kinds: Sequence[LineKind],
    by_period: Mapping[str, Mapping[LineKind, int]],
    energy: Mapping[tuple[str, str, str], int],
) -> str:
    energy_wh: dict[str, int] = defaultdict(int)
    for (start, _, _), quantity_wh in energy.items():
        energy_wh[start] += quantity_wh
    with_energy = bool(energy)
    header = ["Period from (UTC)", *(f"{KIND_TEXT[kind][0]} [EUR]" for kind in kinds)]
    if with_energy:
        header.insert(1, "Energy [MWh]")
    rows = []
    for start, amounts in sorted(by_period.items()):
        row = [start, *(eur(amounts[k], 4) if k in amounts else "-" for k in kinds)]
        if with_energy:
            row.insert(1, mwh(energy_wh[start]))
        rows.append([*row, eur(sum(amounts.values()), 4)])
    return _table("By period", [*header, "Sum [EUR]"], rows)


def _footer(result: SettlementResult) -> str:
    rules = result.rules
    imbalance = "single imbalance price"
    if rules.imbalance == "dual":
        spread = eur(rules.imbalance_spread_micro_eur_per_mwh)
        imbalance = f"imbalance price less {spread} EUR/MWh for a surplus, plus for a shortfall"
    remarks = "".join(f"<p>Remark: {escape(remark)}.</p>" for remark in result.remarks)
    return (
        f"<footer><p>Rules: {imbalance}; {REFUND_TEXT[rules.refund]}. Amounts are computed in "
        "micro-EUR and shown rounded; the CSV beside this page has every line exactly.</p>"
        f"{remarks}<p>Input SHA-256: {result.input_sha256}</p></footer>"
    )
