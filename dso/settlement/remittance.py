"""The remittance file for the bank: ISO 20022 pain.001.001.03, written by `sepaxml`.

The library names messages at random and dates them now. Both come from the payment terms here, so
that equal input is equal bytes; the file is validated against the schema after that.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Final
from xml.etree import ElementTree as ET

from data.errors import InputError, Problem
from dso.settlement.payments import Balance, PaymentTerms

SCHEMA: Final = "pain.001.001.03"
NAMESPACE: Final = f"{{urn:iso:std:iso:20022:tech:xsd:{SCHEMA}}}"


def remittance_xml(balances: Sequence[Balance], terms: PaymentTerms) -> bytes | None:
    """Return the credit transfers to everybody who receives, or None if nobody does.

    Parameters
    ----------
    balances : sequence of Balance
        Those who owe are left aside: they get an invoice.
    terms : PaymentTerms
        Every receiver must be among its parties.

    Raises
    ------
    InputError
        If a name or address holds what the schema does not admit.
    """
    from sepaxml import SepaTransfer  # type: ignore[import-untyped]
    from sepaxml.validation import (  # type: ignore[import-untyped]
        ValidationError,
        try_valid_xml,
    )

    receivers = [balance for balance in balances if balance.due_cent > 0]
    if not receivers:
        return None
    operator = terms.operator
    config = {
        "name": operator.name, "IBAN": operator.iban, "currency": "EUR", "batch": True,
        **({"BIC": operator.bic} if operator.bic else {}),
    }  # fmt: skip
    transfer = SepaTransfer(config, schema=SCHEMA, clean=True)
    for balance in receivers:
        payee = terms.parties[balance.participant]
        transfer.add_payment(
            {
                "name": payee.name, "IBAN": payee.iban, "amount": balance.due_cent,
                "execution_date": terms.execution_date,
                "description": f"Settlement {terms.message_id}, {balance.participant}",
                "endtoend_id": payment_reference(terms, balance),
                **({"BIC": payee.bic} if payee.bic else {}),
            }
        )  # fmt: skip
    document = ET.fromstring(transfer.export(validate=False))  # noqa: S314 - our own output, a line above
    texts = {
        "MsgId": terms.message_id,
        "CreDtTm": terms.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "PmtInfId": f"{terms.message_id}-1",
    }
    for name, text in texts.items():
        for element in document.iter(f"{NAMESPACE}{name}"):
            element.text = text
    ET.indent(document)
    content = b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(document) + b"\n"
    try:
        try_valid_xml(content, SCHEMA)
    except ValidationError as error:
        what = f"does not fit {SCHEMA}: {error.__cause__}"
        raise InputError([Problem(where="remittance.xml", what=what)]) from error
    return content


def payment_reference(terms: PaymentTerms, balance: Balance) -> str:
    """Return what names a payment on both account statements: message and running number.

    Examples
    --------
    The invoice of the third participant of message ``2026-06`` is ``2026-06-003``.
    """
    return f"{terms.message_id}-{balance.number:03d}"
