"""From lines to payments: what is due in cents, what is contested, what is carried on.

A payment is whole cents; the micro-EUR that are left over are carried to the next payment and
named, so that nothing is lost::

    10,000 (paid before + due) + carried = standing - contested + brought forward
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from data.errors import InputError, Problem, refuse_if_any
from data.records.settlement import ACCOUNT_PREFIX, SettlementLine
from dso.settlement.exact import divide_half_even

MICRO_PER_CENT: Final = 10_000
IBAN_REMAINDER: Final = 97
_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_BIC: Final = re.compile(r"[A-Z]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?")
_MESSAGE_ID: Final = re.compile(r"[A-Za-z0-9/?:().,'+ -]{1,30}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Payee:
    """Name, address and account of somebody; the operator has one too."""

    name: str
    address: tuple[str, ...]
    iban: str
    bic: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentTerms:
    """What payments need and a settlement does not know.

    Parameters
    ----------
    message_id : str
        Names the payment message and, with the participant's number, every payment in it.
    created_at : datetime
        When the message is made; from here and not from a clock, so that equal input is equal
        bytes.
    execution_date, due_date : date
        When the operator pays, and until when it is paid.
    parties : mapping
        Payees by participant.
    brought_forward_micro_eur : mapping
        What the payment before carried on, by participant [micro-EUR].
    """

    message_id: str
    created_at: datetime
    execution_date: date
    due_date: date
    operator: Payee
    parties: Mapping[str, Payee]
    brought_forward_micro_eur: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What one participant is due; positive = the participant receives.

    ``due_cent`` is what is paid now [cent], ``carried_micro_eur`` what is left for the next
    payment, ``contested_micro_eur`` what waits for the end of a dispute.
    """

    participant: str
    number: int
    standing_micro_eur: int
    contested_micro_eur: int
    brought_forward_micro_eur: int
    paid_before_cent: int
    due_cent: int
    carried_micro_eur: int


def balance_participants(
    lines: Iterable[SettlementLine],
    contested: Iterable[SettlementLine],
    brought_forward_micro_eur: Mapping[str, int],
    paid_before_cent: Mapping[str, int],
) -> tuple[Balance, ...]:
    """Return the balance of every participant who has a line, by name.

    Parameters
    ----------
    lines : iterable of SettlementLine
        All lines that stand.
    contested : iterable of SettlementLine
        Those among them that an open dispute holds.
    brought_forward_micro_eur : mapping
        What payments of other settlements carried on, by participant.
    paid_before_cent : mapping
        What payments of earlier revisions of this settlement moved, by participant.
    """
    standing: dict[str, int] = defaultdict(int)
    held: dict[str, int] = defaultdict(int)
    for line in lines:
        if not line.participant.startswith(ACCOUNT_PREFIX):
            standing[line.participant] += line.amount_micro_eur
    for line in contested:
        held[line.participant] += line.amount_micro_eur
    balances = []
    for number, (participant, amount) in enumerate(sorted(standing.items()), start=1):
        brought = brought_forward_micro_eur.get(participant, 0)
        paid = paid_before_cent.get(participant, 0)
        payable = amount - held[participant] + brought - paid * MICRO_PER_CENT
        due_cent = divide_half_even(payable, MICRO_PER_CENT)
        balances.append(
            Balance(
                participant=participant,
                number=number,
                standing_micro_eur=amount,
                contested_micro_eur=held[participant],
                brought_forward_micro_eur=brought,
                paid_before_cent=paid,
                due_cent=due_cent,
                carried_micro_eur=payable - due_cent * MICRO_PER_CENT,
            )
        )
    return tuple(balances)


def find_payee_problems(terms: PaymentTerms, balances: Iterable[Balance]) -> Iterator[Problem]:
    """Yield who has money to move and nowhere to move it."""
    for balance in balances:
        if balance.due_cent and balance.participant not in terms.parties:
            yield Problem(
                where=f"payments {balance.participant}", what="has an amount due and no account",
                remedy="add a [[party]] with participant, name, address and iban",
            )  # fmt: skip


def read_payment_terms(path: Path) -> PaymentTerms:
    """Read the terms of a payment run.

    Raises
    ------
    InputError
        With all problems: missing keys, an IBAN whose check digits are wrong (ISO 13616), a BIC
        that is none (ISO 9362), dates that are none.
    """
    try:
        given = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        what = f"cannot be read: {type(error).__name__}"
        raise InputError([Problem(where=str(path), what=what)]) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError([Problem(where=str(path), what=f"is no TOML: {error}")]) from error
    problems: list[Problem] = []
    message_id = str(given.get("message_id", ""))
    if not _MESSAGE_ID.fullmatch(message_id):
        problems.append(
            Problem(
                where=f"{path.name} message_id", what=f"{message_id!r} cannot name a message",
                remedy="1 to 30 letters, digits and / - ? : ( ) . , ' +",
            )
        )  # fmt: skip
    created = given.get("created_at")
    if not isinstance(created, datetime) or created.tzinfo is None:
        problems.append(Problem(where=f"{path.name} created_at", what="is no instant with offset"))
    problems += [
        Problem(where=f"{path.name} {key}", what="is no date")
        for key in ("execution_date", "due_date")
        if type(given.get(key)) is not date
    ]
    parties: dict[str, Payee] = {}
    brought: dict[str, int] = {}
    for place, entry in enumerate(given.get("party", []), start=1):
        name = str(entry.get("participant", ""))
        where = f"{path.name} party {place} ({name})"
        if not name or name in parties:
            problems.append(Problem(where=where, what="names no participant, or one twice"))
        parties[name] = _payee(where, entry, problems)
        carried = entry.get("brought_forward_micro_eur", 0)
        if type(carried) is not int:
            problems.append(Problem(where=where, what="brought_forward_micro_eur is not whole"))
        else:
            brought[name] = carried
    operator = _payee(f"{path.name} operator", given.get("operator", {}), problems)
    refuse_if_any(problems)
    return PaymentTerms(
        message_id=message_id,
        created_at=given["created_at"],
        execution_date=given["execution_date"],
        due_date=given["due_date"],
        operator=operator,
        parties=parties,
        brought_forward_micro_eur=brought,
    )


def _payee(where: str, entry: Mapping[str, Any], problems: list[Problem]) -> Payee:
    name = str(entry.get("name", "")).strip()
    address = entry.get("address", [])
    iban = str(entry.get("iban", "")).replace(" ", "")
    bic = str(entry.get("bic", ""))
    if not name:
        problems.append(Problem(where=where, what="has no name"))
    if not isinstance(address, list) or not address:
        problems.append(Problem(where=where, what="has no address", remedy="a list of lines"))
        address = []
    if not is_iban(iban):
        problems.append(Problem(where=where, what=f"{iban!r} is no IBAN", remedy="check a digit"))
    if bic and not _BIC.fullmatch(bic):
        problems.append(Problem(where=where, what=f"{bic!r} is no BIC"))
    return Payee(name=name, address=tuple(map(str, address)), iban=iban, bic=bic)


def is_iban(text: str) -> bool:
    """Whether the check digits of an IBAN hold: ISO 7064 mod 97-10, as ISO 13616 asks.

    Examples
    --------
    >>> is_iban("DE89370400440532013000"), is_iban("DE89370400440532013001")
    (True, False)
    """
    if not _IBAN.fullmatch(text):
        return False
    digits = "".join(str(int(char, 36)) for char in text[4:] + text[:4])
    return int(digits) % IBAN_REMAINDER == 1
