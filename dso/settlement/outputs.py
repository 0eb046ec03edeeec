"""Write a settlement: lines, statements and the summary, equal input to equal bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from data.canonical import csv_bytes, pretty_json, write_atomically
from data.errors import InputError, Problem
from data.records.settlement import (
    ACCOUNT_PREFIX,
    LINE_KINDS,
    LineKind,
    SettlementLine,
    SettlementResult,
)
from data.units import MICRO_PER_UNIT
from dso.settlement.earlier import LINE_COLUMNS
from dso.settlement.exact import format_micro
from dso.settlement.statement_notes import StatementNotes
from dso.settlement.statements import statement_html

# No participant's file starts with an underscore: `statement_name` writes it as %5F.
ACCOUNTS_FILE = "_operator_accounts"
FILE_NAME_MAX = 200
OPTIONAL_OUTPUTS = (
    "deltas.csv", "delivery_scores.csv", "indicators.json", "payments.csv",
    "remittance.xml", "tariff_charges.csv",
)  # fmt: skip


def lines_csv(lines: Iterable[SettlementLine]) -> bytes:
    """Return lines as CSV; ``market`` is the last column and groups what sums to zero."""
    cells: dict[object, str] = {}

    def text(value: object) -> str:
        """Write a name or an instant as `csv_bytes` does; a year has few of them, but often."""
        found = cells.get(value)
        if found is None:
            found = cells[value] = csv_bytes((), [(value,)]).decode()[1:-1]
        return found

    rows = [
        f"{text(line.participant)},{text(line.connection)},{text(line.period_start)},{line.kind},"
        f"{line.quantity_wh},{line.price_micro_eur_per_mwh},{line.amount_micro_eur},"
        f"{text(line.market)}\n"
        for line in lines
    ]
    return (",".join(LINE_COLUMNS) + "\n" + "".join(rows)).encode()


def statement_name(participant: str) -> str:
    """Return the file name of a statement without its ending: safe and different for each name.

    Capitals are escaped too, because some file systems take them for small letters.

    Examples
    --------
    >>> statement_name("agg_1"), statement_name("_a/b"), statement_name("Anna")
    ('agg_1', '%5Fa%2Fb', '%41nna')
    """
    text = quote(participant, safe="")
    parts = []
    for place, char in enumerate(text):
        in_escape = "%" in text[max(0, place - 2) : place + 1]
        first = place == 0 and char in "_."
        odd = char == "~" or char.isupper() or first
        parts.append(f"%{ord(char):02X}" if odd and not in_escape else char)
    return "".join(parts)


def settlement_files(
    result: SettlementResult,
    notes: Mapping[str, StatementNotes] | None = None,
    facts: Mapping[str, object] | None = None,
) -> dict[str, bytes]:
    """Return name and content of every output file.

    Parameters
    ----------
    result : SettlementResult
        Lines that stand.
    notes : mapping, optional
        What a statement says beside its lines, by participant.
    facts : mapping, optional
        What the summary says besides its own.

    Raises
    ------
    InputError
        If a participant's name is too long for a file name.
    """
    by_party: dict[str, list[SettlementLine]] = defaultdict(list)
    accounts: list[SettlementLine] = []
    for line in result.lines:
        own = (
            accounts if line.participant.startswith(ACCOUNT_PREFIX) else by_party[line.participant]
        )
        own.append(line)
    files = {"lines.csv": lines_csv(result.lines)}
    for participant, lines in sorted(by_party.items()):
        name = statement_name(participant)
        if len(name) > FILE_NAME_MAX:
            raise InputError([Problem(where=participant, what="is too long a name for a file")])
        files[f"statements/{name}.csv"] = lines_csv(lines)
        files[f"statements/{name}.html"] = statement_html(
            participant, lines, result, (notes or {}).get(participant)
        )
    if accounts:
        files[f"statements/{ACCOUNTS_FILE}.csv"] = lines_csv(accounts)
        files[f"statements/{ACCOUNTS_FILE}.html"] = statement_html(
            "accounts of the operator", accounts, result
        )
    files["summary.json"] = pretty_json({**summarise(result), **(facts or {})})
    return files


def summarise(result: SettlementResult) -> Mapping[str, object]:
    """Return the content of ``summary.json``: totals, and the zero of every market and period."""
    kinds: dict[LineKind, int] = defaultdict(int)
    parties: dict[str, int] = defaultdict(int)
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    labels = dict(zip(result.periods.starts, result.periods.labels(), strict=True))
    for line in result.lines:
        kinds[line.kind] += line.amount_micro_eur
        parties[line.participant] += line.amount_micro_eur
        group = sums[labels[line.period_start], line.market]
        group[0] += line.amount_micro_eur
        if line.kind == "rounding":
            group[1] += line.amount_micro_eur
        else:
            group[2] += 1
    rules = result.rules
    return {
        "input_sha256": result.input_sha256,
        "rules": {
            "imbalance": rules.imbalance,
            "imbalance_spread_micro_eur_per_mwh": rules.imbalance_spread_micro_eur_per_mwh,
            "refund": rules.refund,
            "settle_reactive": rules.settle_reactive,
        },
        "remarks": result.remarks,
        "lines": len(result.lines),
        "sum_micro_eur": sum(kinds.values()),
        "totals_micro_eur": {kind: kinds[kind] for kind in LINE_KINDS if kind in kinds},
        "participants_micro_eur": parties,
        "periods": [
            {
                "period_start": start,
                "market": market,
                "sum_micro_eur": total,
                "rounding_micro_eur": rounding,
                "lines": count,
            }
            for (start, market), (total, rounding, count) in sums.items()
        ],
    }


def write_settlement(
    result: SettlementResult,
    folder: Path,
    *,
    notes: Mapping[str, StatementNotes] | None = None,
    more_files: Mapping[str, bytes] | None = None,
    facts: Mapping[str, object] | None = None,
) -> None:
    """Write ``lines.csv``, ``statements/``, the other files and, last, ``summary.json``.

    The folder may be the settlement folder itself. What an earlier run left and this one does not
    write is removed; an interrupted run leaves no ``summary.json``.
    """
    files = {**settlement_files(result, notes, facts), **(more_files or {})}
    summary = files.pop("summary.json")
    (folder / "summary.json").unlink(missing_ok=True)
    for place in ("statements", "invoices", "deltas"):
        for path in sorted((folder / place).glob("*")):
            own = path.suffix in {".csv", ".html"} and path.is_file()
            if own and f"{place}/{path.name}" not in files:
                path.unlink()
    for name in OPTIONAL_OUTPUTS:
        if name not in files:
            (folder / name).unlink(missing_ok=True)
    for parent in {(folder / name).parent for name in files}:
        parent.mkdir(parents=True, exist_ok=True)
    for name, content in sorted(files.items()):
        # Hundreds of statements: written plainly, because the summary vouches for them all.
        (folder / name).write_bytes(content)
    write_atomically(folder / "summary.json", summary)


def describe(result: SettlementResult) -> str:
    """Return one line for the screen: lines, participants and the money that moved."""
    parties = {line.participant for line in result.lines}
    people = sum(1 for party in parties if not party.startswith(ACCOUNT_PREFIX))
    moved = sum(max(0, line.amount_micro_eur) for line in result.lines)
    eur = format_micro(moved - moved % (MICRO_PER_UNIT // 100))
    return f"{len(result.lines)} lines, {people} participants, {eur} EUR credited, sum 0"
