"""Invoices and credit notes: one page per participant, from the balance of the payment run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from html import escape

from data.records.settlement import LINE_KINDS, LineKind, SettlementLine, SettlementResult
from dso.settlement.html_parts import cards, eur, head, instant, page, table
from dso.settlement.payments import MICRO_PER_CENT, Balance, Payee, PaymentTerms
from dso.settlement.remittance import payment_reference
from dso.settlement.statements import KIND_TEXT


def invoice_html(
    balance: Balance,
    lines: Iterable[SettlementLine],
    terms: PaymentTerms,
    result: SettlementResult,
) -> bytes:
    """Return the invoice (or credit note) of one participant.

    Parameters
    ----------
    balance : Balance
        What is due; below zero the participant pays.
    lines : iterable of SettlementLine
        His lines that stand.
    terms : PaymentTerms
        Operator, payee and dates.
    result : SettlementResult
        Periods and hash of the settlement.
    """
    number = payment_reference(terms, balance)
    owes = balance.due_cent < 0
    payee = terms.parties.get(balance.participant)
    kind = "Invoice" if owes else "Credit note"
    created = terms.created_at.date().isoformat()
    first, last = instant(result.periods.start), instant(result.periods.end)
    amount = f"{eur(abs(balance.due_cent) * MICRO_PER_CENT)} EUR"
    body = [
        head(
            terms.operator.name,
            f"{kind} {number}",
            (f"{created}. Delivery from {first} to {last} (UTC).",),
        ),
        _addresses(balance, payee, terms),
        cards([("You pay" if owes else "You receive", amount), ("Until", _date(terms, owes=owes))]),
        _amounts(balance, lines),
        _how_to_pay(balance, payee, terms, number),
        (
            "<footer><p>Net of taxes and levies. The statement of the same settlement has every "
            "period; the settlement can be run again from its folder.</p>"
            f"<p>SHA-256 of the settlement's input: {result.input_sha256}</p></footer>"
        ),
    ]
    return page(f"{kind} {number}", body)


def _date(terms: PaymentTerms, *, owes: bool) -> str:
    return (terms.due_date if owes else terms.execution_date).isoformat()


def _addresses(balance: Balance, payee: Payee | None, terms: PaymentTerms) -> str:
    def block(title: str, lines: Sequence[str]) -> str:
        text = "<br>".join(map(escape, lines))
        return f'<div><p class="soft">{title}</p><p>{text}</p></div>'

    to = [balance.participant] if payee is None else [payee.name, *payee.address]
    operator = [terms.operator.name, *terms.operator.address]
    return f'<div class="two">{block("To", to)}{block("From", operator)}</div>'


def _amounts(balance: Balance, lines: Iterable[SettlementLine]) -> str:
    sums: dict[LineKind, int] = defaultdict(int)
    for line in lines:
        sums[line.kind] += line.amount_micro_eur
    rows = [
        (f"{KIND_TEXT[kind][0]}\n{KIND_TEXT[kind][1]}", eur(sums[kind], 6))
        for kind in LINE_KINDS
        if kind in sums
    ]
    paid = balance.paid_before_cent * MICRO_PER_CENT
    beside = (
        ("In dispute, not due until it is decided", -balance.contested_micro_eur),
        ("Brought forward from the payment before", balance.brought_forward_micro_eur),
        ("Paid before for this settlement", -paid),
        ("Fractions of a cent, carried to the next payment", -balance.carried_micro_eur),
    )
    rows += [(text, eur(amount, 6)) for text, amount in beside if amount]
    return table(
        "What it is made of",
        ("Item", "Amount [EUR]; positive is yours"),
        rows,
        ("Due", eur(balance.due_cent * MICRO_PER_CENT, 2)),
    )


def _how_to_pay(balance: Balance, payee: Payee | None, terms: PaymentTerms, number: str) -> str:
    if not balance.due_cent:
        return '<p class="note">Nothing is due.</p>'
    amount = eur(abs(balance.due_cent) * MICRO_PER_CENT)
    if balance.due_cent < 0:
        bic = f", BIC {terms.operator.bic}" if terms.operator.bic else ""
        text = (
            f"Please pay {amount} EUR to {terms.operator.name}, IBAN "
            f"{_grouped(terms.operator.iban)}{bic}, until {terms.due_date.isoformat()}, "
            f"reference {number}."
        )
    else:
        iban = "" if payee is None else f" to your account {_grouped(payee.iban)}"
        text = (
            f"We transfer {amount} EUR{iban} on {terms.execution_date.isoformat()}, "
            f"reference {number}."
        )
    return f'<p class="note">{escape(text)}</p>'


def _grouped(iban: str) -> str:
    """Write an IBAN in groups of four, as it is printed."""
    return " ".join(iban[k : k + 4] for k in range(0, len(iban), 4))
