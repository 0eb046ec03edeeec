"""The outbox: a batch waits in the caller's transaction until a ledger has taken it.

A clearing result and its outbox row are committed together; a worker posts later. A ledger that
is down delays posting and nothing else. A crash between posting and marking repeats the post,
which is idempotent by key.
"""

from __future__ import annotations

import json
from typing import Final

from sqlalchemy import (
    Column,
    Connection,
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

from data.records.posting import Batch, Receipt
from ledger_adapter.ports import KeyConflict, Ledger

QUEUED: Final = "queued"
POSTED: Final = "posted"
OUTBOX_METADATA: Final = MetaData()
OUTBOX: Final = Table(
    "ledger_outbox",
    OUTBOX_METADATA,
    Column("id", Integer, primary_key=True),
    Column("key", LargeBinary, nullable=False, unique=True),
    Column("payload", Text, nullable=False),
    Column("state", Text, nullable=False),
)


def create_outbox(engine: Engine) -> None:
    """Create the outbox table where it is missing."""
    OUTBOX_METADATA.create_all(engine)


def enqueue_batch(connection: Connection, batch: Batch) -> None:
    """Put a batch into the outbox in the caller's transaction; the same batch again is no change.

    Raises
    ------
    KeyConflict
        If the key waits or was posted with other leaves.
    """
    payload = json.dumps(
        {"first": batch.first, "leaves": [leaf.hex() for leaf in batch.leaves]},
        separators=(",", ":"),
    )
    known = connection.execute(select(OUTBOX.c.payload).where(OUTBOX.c.key == batch.key)).scalar()
    if known is None:
        values = {"key": batch.key, "payload": payload, "state": QUEUED}
        connection.execute(insert(OUTBOX).values(values))
    elif known != payload:
        raise KeyConflict(f"key {batch.key.hex()} is in the outbox with other content")


def queued_batches(engine: Engine) -> list[Batch]:
    """Return what waits, oldest first."""
    query = select(OUTBOX.c.key, OUTBOX.c.payload).where(OUTBOX.c.state == QUEUED)
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(OUTBOX.c.id)).all()
    found = []
    for key, payload in rows:
        plain = json.loads(payload)
        leaves = tuple(bytes.fromhex(leaf) for leaf in plain["leaves"])
        found.append(Batch(key=key, leaves=leaves, first=plain["first"]))
    return found


def drain_outbox(engine: Engine, ledger: Ledger) -> list[Receipt]:
    """Post everything that waits, in order, and mark each row once the ledger has it.

    An error of the ledger stops the drain and leaves this row and the later ones waiting.
    """
    receipts = []
    for batch in queued_batches(engine):
        receipts.append(ledger.post(batch))
        with engine.begin() as connection:
            connection.execute(update(OUTBOX).where(OUTBOX.c.key == batch.key).values(state=POSTED))
    return receipts
