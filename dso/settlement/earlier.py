"""Read what an earlier run left: lines that stand, payments made, and the list of disputes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from data.canonical import csv_bytes, sha256_hex
from data.errors import Problem, refuse_if_any
from data.periods import format_utc
from data.records.settlement import LINE_KINDS, SettlementLine
from dso.settlement.disputes import Dispute, find_dispute_problems
from dso.settlement.tables import TableFolder

LINE_COLUMNS: Final = (
    "participant", "connection", "period_start", "kind", "quantity_wh",
    "price_micro_eur_per_mwh", "amount_micro_eur", "market",
)  # fmt: skip
DISPUTE_COLUMNS: Final = (
    "id", "participant", "connection", "start", "end", "argument", "opened_at", "state",
    "decided_at", "reason",
)  # fmt: skip
PAYMENT_COLUMNS: Final = (
    "participant", "reference", "standing_micro_eur", "contested_micro_eur",
    "brought_forward_micro_eur", "paid_before_cent", "due_cent", "carried_micro_eur",
)  # fmt: skip
INTEGER_DIGITS: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierSettlement:
    """The output folder of the run before: what stands, what was paid, its number and hash."""

    revision: int
    standing: tuple[SettlementLine, ...]
    paid_cent: Mapping[str, int]
    lines_sha256: str


def read_earlier(folder: Path) -> EarlierSettlement:
    """Read the output folder of an earlier settlement.

    Raises
    ------
    InputError
        With all problems: a folder that is none, lines that are no lines.
    """
    files = TableFolder(folder=folder)
    revision = 0
    try:
        summary = json.loads(files.text("summary.json") or "{}")
        revision = int(summary.get("revision", 0))
    except (ValueError, AttributeError):
        files.complain("summary.json", "is no summary of a settlement")
    lines = _read_lines(files)
    paid: dict[str, int] = {}
    if (folder / "payments.csv").exists():
        for row, cells in files.table("payments.csv", PAYMENT_COLUMNS).rows:
            before = _integer(files, "payments.csv", row, "paid_before_cent", cells[5])
            due = _integer(files, "payments.csv", row, "due_cent", cells[6])
            paid[cells[0]] = before + due
    refuse_if_any(files.all_problems())
    return EarlierSettlement(
        revision=revision,
        standing=lines,
        paid_cent=paid,
        lines_sha256=sha256_hex((folder / "lines.csv").read_bytes()),
    )


def _read_lines(files: TableFolder) -> tuple[SettlementLine, ...]:
    name = "lines.csv"
    lines = []
    for row, cells in files.table(name, LINE_COLUMNS).rows:
        participant, connection, label, kind, quantity, price, amount, market = cells
        start = files.instant(name, row, label)
        numbers = [
            _integer(files, name, row, column, text)
            for column, text in zip(LINE_COLUMNS[4:7], (quantity, price, amount), strict=True)
        ]
        if kind not in LINE_KINDS:
            files.complain(name, f"unknown kind {kind!r}", row=row)
        if start is not None:
            lines.append(
                SettlementLine(
                    participant=participant,
                    connection=connection,
                    period_start=start,
                    kind=cast("Any", kind),
                    quantity_wh=numbers[0],
                    price_micro_eur_per_mwh=numbers[1],
                    amount_micro_eur=numbers[2],
                    market=market,
                )
            )
    return tuple(lines)


def _integer(files: TableFolder, name: str, row: int, column: str, text: str) -> int:
    """Read an integer of any size that money has; 0 with a problem noted."""
    stripped = text.strip()
    whole = stripped.removeprefix("-").isdecimal() and stripped.isascii()
    if whole and len(stripped) < INTEGER_DIGITS:
        return int(stripped)
    files.complain(name, f"{column}: {text!r} is not an integer", row=row)
    return 0


def read_disputes(path: Path) -> tuple[Dispute, ...]:
    """Read a list of disputes, by time of opening.

    Raises
    ------
    InputError
        With all problems of the list.
    """
    files = TableFolder(folder=path.parent)
    name = path.name
    disputes = []
    for row, cells in files.table(name, DISPUTE_COLUMNS).rows:
        key, participant, connection, start, end, argument, opened, state, decided, reason = cells
        instants = [files.instant(name, row, text) for text in (start, end, opened)]
        decided_at = files.instant(name, row, decided) if decided.strip() else None
        first, last, at = instants
        if first is None or last is None or at is None:
            continue
        disputes.append(
            Dispute(
                id=files.label(name, row, "id", key),
                participant=files.label(name, row, "participant", participant),
                connection=connection.strip(),
                start=first,
                end=last,
                argument=argument.strip(),
                opened_at=at,
                state=cast("Any", state.strip()),  # the check of the list names an unknown word
                decided_at=decided_at,
                reason=reason.strip(),
            )
        )
    found: list[Problem] = [*files.all_problems(), *find_dispute_problems(disputes)]
    refuse_if_any(found)
    return tuple(sorted(disputes, key=lambda d: (d.opened_at, d.id)))


def disputes_csv(disputes: tuple[Dispute, ...]) -> bytes:
    """Write a list of disputes; `read_disputes` returns it again."""
    rows = (
        (
            d.id, d.participant, d.connection, format_utc(d.start), format_utc(d.end), d.argument,
            format_utc(d.opened_at), d.state,
            "" if d.decided_at is None else format_utc(d.decided_at), d.reason,
        )
        for d in disputes
    )  # fmt: skip
    return csv_bytes(DISPUTE_COLUMNS, rows)
