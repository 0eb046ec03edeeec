"""One settlement from folder to folder: settle, check, revise, write what everybody gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from data.canonical import csv_bytes, pretty_json
from data.errors import Problem, refuse_if_any
from data.periods import format_utc
from data.records.settlement import (
    ACCOUNT_PREFIX,
    SettlementCase,
    SettlementLine,
    SettlementResult,
)
from dso.settlement.audit import check_settlement
from dso.settlement.books import settle
from dso.settlement.disputes import Addition, Dispute, contested_lines, revise
from dso.settlement.earlier import (
    LINE_COLUMNS,
    PAYMENT_COLUMNS,
    EarlierSettlement,
    disputes_csv,
    read_disputes,
    read_earlier,
)
from dso.settlement.exact import BooksError
from dso.settlement.indicators import compute_indicators
from dso.settlement.invoices import invoice_html
from dso.settlement.outputs import statement_name, write_settlement
from dso.settlement.payments import (
    Balance,
    PaymentTerms,
    balance_participants,
    find_payee_problems,
    read_payment_terms,
)
from dso.settlement.read_case import read_settlement
from dso.settlement.remittance import payment_reference, remittance_xml
from dso.settlement.report_inputs import ReportInputs, read_report_inputs
from dso.settlement.scores import score_delivery
from dso.settlement.statement_notes import collect_notes
from dso.settlement.tariffs import charge_tariff

CHARGE_COLUMNS = (
    "participant", "connection", "month", "item", "quantity", "price_micro_eur",
    "amount_micro_eur",
)  # fmt: skip
SCORE_COLUMNS = (
    "participant", "activations", "complete", "ordered_wh", "delivered_wh", "score_ppm",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementRun:
    """What a run wrote.

    ``result.lines`` are the lines that stand; with an open dispute they are not yet those of a
    fresh settlement. ``additions`` are what a revision added, ``balances`` what is paid.
    """

    result: SettlementResult
    revision: int = 0
    additions: tuple[Addition, ...] = ()
    balances: tuple[Balance, ...] = ()


def settle_folder(
    folder: Path,
    out: Path,
    *,
    earlier: Path | None = None,
    disputes: Path | None = None,
    payments: Path | None = None,
) -> SettlementRun:
    """Read a settlement folder, settle it, check the lines independently, write the output.

    Parameters
    ----------
    folder : Path
        Settlement folder.
    out : Path
        Output folder; may be the same. It is not touched when anything is wrong.
    earlier : Path, optional
        Output folder of the run before: this one is its revision and adds to its lines.
    disputes : Path, optional
        List of disputes; open ones hold their lines back.
    payments : Path, optional
        Terms of the payment run; with them there are invoices and a remittance file.

    Raises
    ------
    InputError
        With all problems of the folder, or of one of the other inputs.
    BooksError
        If the independent check finds a line that is not right: a fault of the program.
    """
    case = read_settlement(folder)
    inputs = read_report_inputs(folder, case)
    listed = read_disputes(disputes) if disputes is not None else ()
    before = read_earlier(earlier) if earlier is not None else None
    terms = read_payment_terms(payments) if payments is not None else None
    _refuse_strangers(case, listed, before)
    fresh = settle(case)
    wrong = check_settlement(case, fresh)
    if wrong:
        raise BooksError("\n".join(map(str, wrong)))
    run = _revision(fresh, before, listed)
    if terms is not None:
        paid = before.paid_cent if before is not None else {}
        held = contested_lines(run.result.lines, listed)
        balances = balance_participants(
            run.result.lines, held, terms.brought_forward_micro_eur, paid
        )
        refuse_if_any(find_payee_problems(terms, balances))
        run = replace(run, balances=balances)
    files = {
        **report_files(case, fresh, inputs),
        **_revision_files(run, before, listed),
        **payment_files(run, terms),
    }
    notes = collect_notes(
        case, inputs, disputes=listed, additions=run.additions, revision=run.revision
    )
    facts = {
        "revision": run.revision,
        "earlier_lines_sha256": before.lines_sha256 if before is not None else None,
        "report_inputs_sha256": dict(inputs.sha256 or {}),
    }
    write_settlement(run.result, out, notes=notes, more_files=files, facts=facts)
    return run


def _refuse_strangers(
    case: SettlementCase, disputes: tuple[Dispute, ...], before: EarlierSettlement | None
) -> None:
    """Refuse disputes of nobody, and an earlier settlement of other periods."""
    owners = {(p.participant, p.connection) for p in case.positions}
    parties = {participant for participant, _ in owners}
    problems = []
    for dispute in disputes:
        known = (dispute.participant, dispute.connection) in owners
        if not known and (dispute.connection or dispute.participant not in parties):
            problems.append(
                Problem(where=f"dispute {dispute.id}", what="names nobody who has a position")
            )
    starts = set(case.periods.starts)
    if before is not None and any(line.period_start not in starts for line in before.standing):
        problems.append(
            Problem(
                where="earlier settlement", what="has periods that this one has not",
                remedy="revise with the same periods",
            )
        )  # fmt: skip
    refuse_if_any(problems)


def _revision(
    fresh: SettlementResult, before: EarlierSettlement | None, disputes: tuple[Dispute, ...]
) -> SettlementRun:
    if before is None:
        return SettlementRun(result=fresh)
    revised = revise(before.standing, fresh.lines, disputes)
    held = any(line.kind == "dispute" for line in revised.standing)
    lines = revised.standing if held else fresh.lines
    if any(_sums(lines).values()):
        raise BooksError("the lines that stand do not sum to zero in every market and period")
    return SettlementRun(
        result=replace(fresh, lines=lines),
        revision=before.revision + 1,
        additions=revised.additions,
    )


def _sums(lines: tuple[SettlementLine, ...]) -> Counter[tuple[datetime, str]]:
    sums: Counter[tuple[datetime, str]] = Counter()
    for line in lines:
        sums[line.period_start, line.market] += line.amount_micro_eur
    return sums


def report_files(
    case: SettlementCase, result: SettlementResult, inputs: ReportInputs
) -> dict[str, bytes]:
    """Return the reports beside the lines: key figures, and where there are any, scores, tariff."""
    figures = compute_indicators(case, result, inputs.emissions)
    files = {"indicators.json": pretty_json(figures)}
    scores = score_delivery(case)
    if scores:
        rows = [tuple(getattr(score, name) for name in SCORE_COLUMNS) for score in scores]
        files["delivery_scores.csv"] = csv_bytes(SCORE_COLUMNS, rows)
    if inputs.tariff is not None:
        charges = charge_tariff(case, inputs.tariff)
        rows = [tuple(getattr(charge, name) for name in CHARGE_COLUMNS) for charge in charges]
        files["tariff_charges.csv"] = csv_bytes(CHARGE_COLUMNS, rows)
    return files


def _revision_files(
    run: SettlementRun, before: EarlierSettlement | None, disputes: tuple[Dispute, ...]
) -> dict[str, bytes]:
    """Return what a revision added, whole and by participant, and the disputes it knew."""
    files = {}
    if before is not None:
        files["deltas.csv"] = _additions_csv(run.additions)
        for participant in sorted({a.line.participant for a in run.additions}):
            if not participant.startswith(ACCOUNT_PREFIX):
                own = [a for a in run.additions if a.line.participant == participant]
                files[f"deltas/{statement_name(participant)}.csv"] = _additions_csv(own)
    if disputes:
        files["disputes.csv"] = disputes_csv(disputes)
    return files


def _additions_csv(additions: Sequence[Addition]) -> bytes:
    rows = (
        (
            line.participant, line.connection, format_utc(line.period_start), line.kind,
            line.quantity_wh, line.price_micro_eur_per_mwh, line.amount_micro_eur, line.market,
            "reversal" if addition.reverses else "booking",
        )
        for addition in additions
        for line in (addition.line,)
    )  # fmt: skip
    return csv_bytes((*LINE_COLUMNS, "entry"), rows)


def payment_files(run: SettlementRun, terms: PaymentTerms | None) -> dict[str, bytes]:
    """Return payments, invoices and the remittance file; nothing without terms."""
    if terms is None:
        return {}
    rows = [
        (
            b.participant, payment_reference(terms, b), b.standing_micro_eur, b.contested_micro_eur,
            b.brought_forward_micro_eur, b.paid_before_cent, b.due_cent, b.carried_micro_eur,
        )
        for b in run.balances
    ]  # fmt: skip
    files = {"payments.csv": csv_bytes(PAYMENT_COLUMNS, rows)}
    for balance in run.balances:
        lines = [line for line in run.result.lines if line.participant == balance.participant]
        name = f"invoices/{statement_name(balance.participant)}.html"
        files[name] = invoice_html(balance, lines, terms, run.result)
    remittance = remittance_xml(run.balances, terms)
    if remittance is not None:
        files["remittance.xml"] = remittance
    return files
