"""After each posting the heads of the ledger go to the anchor; one that is down stops nothing."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from data.records.posting import Batch, Finality, Receipt
from dso.cycles.perform import CycleResult
from dso.scheduler import worker as worker_module
from dso.scheduler.operation import Operation
from ledger_adapter.outbox import enqueue_batch
from ledger_adapter.ports import Caps, Ledger, LedgerError
from tests.unit.scheduler.conftest import START, Market

NAMES = (b"a", b"b")


class Board:
    """An anchor in memory that can be taken down."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.held: list[Receipt] = []
        self.down = True

    @property
    def caps(self) -> Caps:
        return Caps(
            finality_max=Finality.FINAL, expected_delay_s=0.0, stores_entries=False,
            verifies_inclusion=False, can_reorganise=False,
        )  # fmt: skip

    def submit(self, receipt: Receipt) -> Receipt:
        self.held.append(dataclasses.replace(receipt, finality=Finality.FINAL))
        return self.held[-1]

    def status(self, key: bytes) -> Receipt:
        if self.down:
            raise LedgerError("the board does not answer")
        local = self._ledger.get(key)
        assert local is not None
        return next((receipt for receipt in self.held if receipt.key == key), local)

    def evidence(self, key: bytes) -> bytes:
        return key


def test_heads_are_anchored_in_order_once_the_anchor_answers(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cycles themselves are left out: what counts is that posting asks the anchor."""

    def nothing(*_: Any, **__: Any) -> CycleResult:
        return CycleResult(light="green", fallbacks=())

    monkeypatch.setattr(worker_module, "perform_cycle", nothing)
    monkeypatch.setattr(worker_module, "tell_setpoints", nothing)
    services = market.operation.services
    board = Board(services.ledger)
    market.operation = Operation(market.operation.site, services, anchor=board)
    with services.store.transaction() as connection:
        for name in NAMES:
            enqueue_batch(connection, Batch(key=name * 32, leaves=(name,)))
    market.work(START + timedelta(days=2))
    assert market.row("posting")["state"] == market.row("report")["state"] == "done"
    assert board.held == []
    board.down = False
    anchored = market.operation.anchor_heads()
    assert anchored is not None
    assert [receipt.key for receipt in board.held] == [name * 32 for name in NAMES]
    assert [receipt.size for receipt in board.held] == [1, 2]
    assert market.operation.anchor_heads() is not None
    assert len(board.held) == len(NAMES)  # what is final is not sent again


def test_a_posting_that_is_done_has_anchored_what_waited(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: Any, **__: Any) -> CycleResult:
        return CycleResult(light="green", fallbacks=())

    monkeypatch.setattr(worker_module, "perform_cycle", nothing)
    monkeypatch.setattr(worker_module, "tell_setpoints", nothing)
    services = market.operation.services
    board = Board(services.ledger)
    board.down = False
    market.operation = Operation(market.operation.site, services, anchor=board)
    with services.store.transaction() as connection:
        enqueue_batch(connection, Batch(key=b"a" * 32, leaves=(b"a",)))
    market.work(START + timedelta(hours=12))
    assert board.held == []  # the settlement's day has not come
    market.work(START + timedelta(days=2))
    assert [receipt.key for receipt in board.held] == [b"a" * 32]


def test_without_an_anchor_nothing_is_asked(market: Market) -> None:
    assert market.operation.anchor_heads() is None
