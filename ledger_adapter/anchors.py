"""What waits to be anchored, and how settled it is: kept in the database beside the log.

The heads to anchor are those of the batches that the outbox has posted, in the order of the log. An
anchor that is down delays anchoring and nothing else; a crash between sending and recording asks
the far side again, which holds a key once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import (
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    insert,
    select,
    update,
)

from data.records.posting import Finality, Receipt
from ledger_adapter.outbox import OUTBOX, POSTED
from ledger_adapter.ports import Anchor, LedgerError

ANCHOR_METADATA: Final = MetaData()
ANCHORED: Final = Table(
    "ledger_anchored",
    ANCHOR_METADATA,
    Column("id", Integer, primary_key=True),
    Column("key", LargeBinary, nullable=False, unique=True),
    Column("finality", Integer, nullable=False),
    Column("anchor", Text, nullable=False),
)
FindReceipt = Callable[[bytes], Receipt | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchoring:
    """What one round of anchoring came to.

    Parameters
    ----------
    receipts : tuple of Receipt
        Heads that stand outside now, in the order of the log.
    waiting : tuple of bytes
        Keys of heads that do not, in the order of the log.
    reason : str
        Why the round stopped early; empty where it did not.
    """

    receipts: tuple[Receipt, ...]
    waiting: tuple[bytes, ...]
    reason: str = ""


class AnchorBook:
    """Remembers which heads an anchor has taken, so that one it loses is known as lost.

    Parameters
    ----------
    engine : Engine
        Database of the log and its outbox.
    find_receipt : callable
        ``Ledger.get``.
    """

    def __init__(self, engine: Engine, find_receipt: FindReceipt) -> None:
        self._engine = engine
        self._find_receipt = find_receipt
        ANCHOR_METADATA.create_all(engine)

    def receipt(self, key: bytes) -> Receipt | None:
        """Return the log's receipt of a key, with the anchor that was recorded for it."""
        receipt = self._find_receipt(key)
        if receipt is None:
            return None
        query = select(ANCHORED.c.anchor).where(ANCHORED.c.key == key)
        with self._engine.connect() as connection:
            found = connection.execute(query).scalar()
        return receipt if found is None else replace(receipt, anchor=json.loads(found))

    def record(self, receipt: Receipt) -> None:
        """Write down what the anchor says; a head it lost keeps the place it had."""
        values: dict[str, object] = {"finality": int(receipt.finality)}
        if receipt.anchor:
            values["anchor"] = json.dumps(dict(receipt.anchor), sort_keys=True)
        with self._engine.begin() as connection:
            known = ANCHORED.c.key == receipt.key
            if connection.execute(update(ANCHORED).where(known).values(values)).rowcount == 0:
                row = {"key": receipt.key, "anchor": "{}", **values}
                connection.execute(insert(ANCHORED).values(row))

    def open_keys(self) -> list[bytes]:
        """Return the keys of heads that are not final yet, in the log's order.

        These are the batches that the outbox has posted, and whatever was anchored beside them.
        """
        posted = select(OUTBOX.c.key).where(OUTBOX.c.state == POSTED)
        beside = select(ANCHORED.c.key)
        final = select(ANCHORED.c.key).where(ANCHORED.c.finality == int(Finality.FINAL))
        with self._engine.connect() as connection:
            keys = {*connection.execute(posted).scalars(), *connection.execute(beside).scalars()}
            keys -= set(connection.execute(final).scalars())
        return sorted(keys, key=self._size_of)

    def _size_of(self, key: bytes) -> int:
        receipt = self._find_receipt(key)
        if receipt is None:
            raise LedgerError(f"key {key.hex()} was posted by the outbox and is not in the log")
        return receipt.size


def anchor_heads(
    book: AnchorBook, anchor: Anchor, keys: Sequence[bytes] | None = None
) -> Anchoring:
    """Submit what the anchor does not hold, in order, and record how settled the rest is.

    An error of the anchor ends the round and is its reason; the heads after it wait.
    """
    wanted = list(book.open_keys() if keys is None else keys)
    receipts: list[Receipt] = []
    for place, key in enumerate(wanted):
        try:
            receipt = anchor.status(key)
            if receipt.finality < Finality.INCLUDED:
                book.record(receipt)
                known = book.receipt(key)
                receipt = anchor.submit(receipt if known is None else known)
        except LedgerError as error:
            return Anchoring(
                receipts=tuple(receipts), waiting=tuple(wanted[place:]), reason=str(error)
            )
        book.record(receipt)
        receipts.append(receipt)
    return Anchoring(receipts=tuple(receipts), waiting=())
