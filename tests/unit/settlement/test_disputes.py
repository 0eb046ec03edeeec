from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from data.errors import InputError
from data.records.settlement import ConnectionPosition, SettlementCase, SettlementLine
from dso.settlement import Dispute, contested_lines, revise, settle
from dso.settlement.earlier import disputes_csv, read_disputes

Build = Callable[..., SettlementCase]
MWH = 1_000_000
EUR = 1_000_000
START = datetime(2026, 6, 1, tzinfo=UTC)
DISPUTE = Dispute(
    id="7", participant="buyer", connection="b", start=START, end=START + timedelta(hours=1),
    argument="not mine", opened_at=START,
)  # fmt: skip


def metered(position: ConnectionPosition, mwh: int) -> ConnectionPosition:
    return replace(position, meter_wh=(mwh * MWH,))


def cash(lines: tuple[SettlementLine, ...], participant: str) -> int:
    return sum(line.amount_micro_eur for line in lines if line.participant == participant)


def test_a_contested_change_waits_on_the_account_of_the_dispute(small_case: Build) -> None:
    """The buyer's meter is revised from -10 to -8 MWh: 2 x 70 = 140 EUR wait for the decision."""
    seller, buyer = small_case().positions
    first = settle(small_case()).lines
    fresh = settle(small_case(positions=(seller, metered(buyer, -8)))).lines
    held = revise(first, fresh, [DISPUTE])
    assert cash(held.standing, "buyer") == cash(first, "buyer")
    assert cash(held.standing, "account:dispute/7") == 140 * EUR
    assert sum(line.amount_micro_eur for line in held.standing) == 0
    decided = replace(DISPUTE, state="accepted", decided_at=START, reason="right")
    ended = revise(held.standing, fresh, [decided])
    assert ended.standing == revise(first, fresh).standing
    assert cash(tuple(a.line for a in ended.additions), "account:dispute/7") == -140 * EUR
    assert cash(tuple(a.line for a in ended.additions), "buyer") == 140 * EUR


def test_a_rejected_dispute_leaves_the_lines_as_they_were(small_case: Build) -> None:
    first = settle(small_case()).lines
    held = revise(first, first, [DISPUTE])
    rejected = replace(DISPUTE, state="rejected", decided_at=START, reason="register agrees")
    assert held.additions == revise(held.standing, first, [rejected]).additions == ()
    assert contested_lines(first, [DISPUTE])
    assert contested_lines(first, [rejected]) == ()


def test_a_list_of_disputes_reads_back(tmp_path: Path) -> None:
    decided = replace(
        DISPUTE, id="8", state="accepted", decided_at=START, reason='he said "twice", rightly'
    )
    path = tmp_path / "disputes.csv"
    path.write_bytes(disputes_csv((DISPUTE, decided)))
    assert read_disputes(path) == (DISPUTE, decided)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"argument": " "}, "has no argument"),
        ({"state": "lost"}, "unknown state"),
        ({"state": "accepted"}, "a decision has a time and a reason"),
        ({"end": START}, "ends before it starts"),
        ({"participant": "account:refund"}, "contests nothing"),
    ],
)
def test_refusals(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "disputes.csv"
    path.write_bytes(disputes_csv((replace(DISPUTE, **change),)))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=said):
        read_disputes(path)
