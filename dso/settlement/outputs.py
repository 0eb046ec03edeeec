"""Write a settlement: lines, statements and the summary, equal input to equal bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from data.canonical import csv_bytes, pretty_json, write_atomically
from data.errors import InputError, Problem
from data.periods import format_utc
from data.records.settlement import (
    ACCOUNT_PREFIX,
    LINE_KINDS,
    LineKind,
    SettlementLine,
    SettlementResult,
)
from data.units import MICRO_PER_UNIT
from dso.settlement.exact import format_micro
from dso.settlement.statements import statement_html

LINE_COLUMNS = (
    "participant", "connection", "period_start", "kind", "quantity_wh",
    "price_micro_eur_per_mwh", "amount_micro_eur", "market",
)  # fmt: skip
# No participant's file starts with an underscore: `statement_name` writes it as %5F.
ACCOUNTS_FILE = "_operator_accounts"
FILE_NAME_MAX = 200


def lines_csv(lines: Iterable[SettlementLine]) -> bytes:
    """Return lines as CSV; ``market`` is the last column and groups what sums to zero."""
    labels: dict[object, str] = {}
    rows = (
        (
            line.participant, line.connection,
            labels.get(line.period_start)
            or labels.setdefault(line.period_start, format_utc(line.period_start)),
            line.kind, line.quantity_wh, line.price_micro_eur_per_mwh, line.amount_micro_eur,
            line.market,
        )
        for line in lines
    )  # fmt: skip
    return csv_bytes(LINE_COLUMNS, rows)


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


def settlement_files(result: SettlementResult) -> dict[str, bytes]:
    """Return name and content of every output file.

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
        files[f"statements/{name}.html"] = statement_html(participant, lines, result)
    if accounts:
        files[f"statements/{ACCOUNTS_FILE}.csv"] = lines_csv(accounts)
        files[f"statements/{ACCOUNTS_FILE}.html"] = statement_html(
            "accounts of the operator", accounts, result
        )
    files["summary.json"] = pretty_json(summarise(result))
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


def write_settlement(result: SettlementResult, folder: Path) -> None:
    """Write ``lines.csv``, ``statements/`` and, last, ``summary.json``.

    The folder may be the settlement folder itself. Statements of an earlier run that are not
    part of this one are removed; an interrupted run leaves no ``summary.json``.
    """
    files = settlement_files(result)
    summary = files.pop("summary.json")
    (folder / "summary.json").unlink(missing_ok=True)
    statements = folder / "statements"
    statements.mkdir(parents=True, exist_ok=True)
    for path in sorted(statements.iterdir()):
        own = path.suffix in {".csv", ".html"} and path.is_file()
        if own and f"statements/{path.name}" not in files:
            path.unlink()
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
