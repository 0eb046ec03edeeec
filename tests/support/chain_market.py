"""Contracts on a test chain with a log beside them, for tests of the chain side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine

from data.records.posting import Batch, Receipt
from ledger_adapter.anchors import AnchorBook
from ledger_adapter.evm.anchor import ChainFile, EvmAnchor
from ledger_adapter.evm.deploy import Roles, deploy_contracts
from ledger_adapter.evm.node import connect, contract_at
from ledger_adapter.evm.sender import FeeRule, Sender
from ledger_adapter.keys import load_or_create_keys
from ledger_adapter.outbox import create_outbox, drain_outbox, enqueue_batch
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import configure_sqlite
from tests.support.anvil import accounts

DELAY_S = 3600
QUICK = FeeRule(wait_s=5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Accounts of a test chain by what they do."""

    deployer: Any
    poster: Any
    pauser: Any
    registrar: Any
    certifier: Any
    board: tuple[Any, Any, Any]
    producer: Any
    buyer: Any


def people() -> People:
    found = accounts(10)
    board = tuple(sorted(found[5:8], key=lambda member: member.address.lower()))
    return People(
        deployer=found[0],
        poster=found[1],
        pauser=found[2],
        registrar=found[3],
        certifier=found[4],
        board=(board[0], board[1], board[2]),
        producer=found[8],
        buyer=found[9],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainMarket:
    """A log, its outbox, and the contracts."""

    place: ChainFile
    people: People
    engine: Engine
    log: SqlLog
    book: AnchorBook

    def anchor(self, account: Any = None, fees: FeeRule = QUICK, **changes: Any) -> EvmAnchor:
        return EvmAnchor(
            changes.pop("place", self.place),
            self.book.receipt,
            account=account or self.people.poster,
            fees=fees,
            **changes,
        )

    def post(self, number: int, leaves: Sequence[bytes] | int = 2) -> Receipt:
        """Put a batch through the outbox into the log."""
        if isinstance(leaves, int):
            leaves = [f"batch {number} leaf {place}".encode() for place in range(leaves)]
        batch = Batch(key=number.to_bytes(32, "big"), leaves=tuple(leaves))
        with self.engine.begin() as connection:
            enqueue_batch(connection, batch)
        return drain_outbox(self.engine, self.log)[-1]

    def contract(self, name: str) -> Any:
        return contract_at(connect(self.place.url), name, self.place.contracts[name])

    def send(self, account: Any, call: Any) -> dict[str, Any]:
        return Sender(connect(self.place.url), account, QUICK).send(call)

    def head(self, number: int) -> Any:
        return self.contract("HeadAnchor").functions.head(number.to_bytes(32, "big")).call()


def open_market(url: str, folder: Path, *, posts: int = 400) -> ChainMarket:
    """Deploy contracts and open a log beside them."""
    who = people()
    roles = Roles(
        board=tuple(member.address for member in who.board),
        delay_s=DELAY_S,
        poster=who.poster.address,
        pauser=who.pauser.address,
        registrar=who.registrar.address,
        certifier=who.certifier.address,
        posts=posts,
    )
    place = deploy_contracts(url, who.deployer, roles, fees=QUICK)
    engine = configure_sqlite(create_engine(f"sqlite:///{folder / 'log.sqlite'}"))
    create_outbox(engine)
    keys = load_or_create_keys(folder / "keys", "gridclear.example/chain")
    log = SqlLog(engine, keys.signer)
    return ChainMarket(
        place=place, people=who, engine=engine, log=log, book=AnchorBook(engine, log.get)
    )


def board_signatures(market: ChainMarket, target: str, data: bytes, signers: Sequence[Any]) -> Any:
    """Signatures of board members on the next call, in the order of the signers given."""
    digest = market.contract("AdminBoard").functions.digest(target, data).call()
    return [signer.unsafe_sign_hash(digest).signature for signer in signers]
