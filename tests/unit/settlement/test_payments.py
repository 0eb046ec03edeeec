from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import xmlschema
from sepaxml import validation  # type: ignore[import-untyped]

from data.errors import InputError
from data.records.settlement import LineKind, SettlementLine
from dso.settlement import Payee, PaymentTerms, balance_participants, remittance_xml
from dso.settlement.payments import is_iban, read_payment_terms

START = datetime(2026, 6, 1, tzinfo=UTC)
OPERATOR = Payee(
    name="Grid Ltd", address=("Grid Square 1",), iban="DE89370400440532013000", bic="COBADEFFXXX"
)
ANNA = Payee(name="Änne Müller & Söhne", address=("Street 1",), iban="GB82WEST12345698765432")
TERMS = PaymentTerms(
    message_id="2026-06", created_at=datetime(2026, 7, 3, 8, tzinfo=UTC),
    execution_date=date(2026, 7, 6), due_date=date(2026, 7, 17), operator=OPERATOR,
    parties={"anna": ANNA, "bert": replace(ANNA, name="Bert")}, brought_forward_micro_eur={},
)  # fmt: skip
FILE = """\
message_id = "2026-06"
created_at = 2026-07-03T08:00:00Z
execution_date = 2026-07-06
due_date = 2026-07-17

[operator]
name = "Grid Ltd"
address = ["Grid Square 1"]
iban = "DE89 3704 0044 0532 0130 00"
bic = "COBADEFFXXX"

[[party]]
participant = "anna"
name = "Anna"
address = ["Street 1"]
iban = "GB82 WEST 1234 5698 7654 32"
brought_forward_micro_eur = -4000
"""


def line(participant: str, amount: int, kind: LineKind = "da") -> SettlementLine:
    return SettlementLine(
        participant=participant, connection="c", period_start=START, kind=kind, quantity_wh=0,
        price_micro_eur_per_mwh=0, amount_micro_eur=amount, market="da",
    )  # fmt: skip


def test_cents_are_paid_and_fractions_carried() -> None:
    lines = [line("anna", 1_234_567), line("anna", -4_000), line("account:refund", 5)]
    (anna,) = balance_participants(lines, [], {"anna": 4_400}, {})
    assert (anna.due_cent, anna.carried_micro_eur) == (123, 4_967)  # 1,234,967 micro-EUR
    (later,) = balance_participants(
        [*lines, line("anna", 50_000)], [], {"anna": 4_400}, {"anna": 123}
    )
    assert (later.due_cent, later.carried_micro_eur) == (5, 4_967)


def test_contested_lines_are_not_due() -> None:
    contested = line("anna", -70_000)
    (anna,) = balance_participants([line("anna", 100_000), contested], [contested], {}, {})
    assert (anna.due_cent, anna.contested_micro_eur) == (10, -70_000)


def test_the_remittance_file_fits_its_schema_and_has_no_clock_in_it() -> None:
    balances = balance_participants([line("anna", 12_340_000), line("bert", -50_000)], [], {}, {})
    content = remittance_xml(balances, TERMS)
    assert content is not None
    assert content == remittance_xml(balances, TERMS)
    schema = Path(validation.__file__).parent / "schemas/pain.001.001.03.xsd"
    xmlschema.XMLSchema(str(schema)).validate(content.decode())
    text = content.decode()
    assert text.count("<CdtTrfTxInf>") == 1
    assert "<CtrlSum>12.34</CtrlSum>" in text
    assert "<CreDtTm>2026-07-03T08:00:00</CreDtTm>" in text
    assert "<EndToEndId>2026-06-001</EndToEndId>" in text
    assert "<ReqdExctnDt>2026-07-06</ReqdExctnDt>" in text
    assert "Anne Muller &amp; Sohne" in text


def test_nobody_to_pay_is_no_file() -> None:
    assert remittance_xml(balance_participants([line("bert", -5)], [], {}, {}), TERMS) is None


def test_published_ibans() -> None:
    """The examples of the SWIFT IBAN registry for Germany, Great Britain and Norway."""
    for iban in ("DE89370400440532013000", "GB29NWBK60161331926819", "NO9386011117947"):
        assert is_iban(iban)
        assert not is_iban(iban[:-1] + str((int(iban[-1]) + 1) % 10))
    assert not is_iban("DE")


def test_terms_are_read(tmp_path: Path) -> None:
    path = tmp_path / "payments.toml"
    path.write_text(FILE)
    terms = read_payment_terms(path)
    assert terms.operator == replace(OPERATOR)
    assert terms.parties["anna"].iban == ANNA.iban
    assert terms.brought_forward_micro_eur == {"anna": -4_000}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("GB82 WEST", "GB83 WEST", "is no IBAN"),
        ('"COBADEFFXXX"', '"COBA"', "is no BIC"),
        ("execution_date = 2026-07-06\n", "", "is no date"),
        ("08:00:00Z", "08:00:00", "no instant with offset"),
        ('"2026-06"', '"#"', "cannot name a message"),
        ('address = ["Street 1"]\n', "", "has no address"),
        ('participant = "anna"\n', "", "names no participant"),
    ],
)
def test_terms_are_refused_with_reasons(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "payments.toml"
    path.write_text(FILE.replace(old, new))
    with pytest.raises(InputError, match=said):
        read_payment_terms(path)
