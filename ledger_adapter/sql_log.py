"""The default ledger: rows in SQLite or PostgreSQL, an RFC 9162 tree, signed checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, CursorResult, Engine, insert, select, text, update

from data.records.posting import Batch, Finality, Receipt
from ledger_adapter.keys import Signer
from ledger_adapter.merkle import TILE_WIDTH, RightEdge, TileTree
from ledger_adapter.ports import KeyConflict, LedgerError, NotAppendOnly
from ledger_adapter.sql_schema import BATCH, ENTRY, LOCK, NODE, create_tables
from ledger_adapter.verify.merkle import EMPTY_ROOT, leaf_hash

KEY_BYTES: Final = 32
LEAF_BYTES_MAX: Final = 65_535  # what a tile export can carry (c2sp.org/tlog-tiles)
ROWS_PER_READ: Final = 4096
SQLITE_FULL: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """A row of the batch table."""

    number: int
    content: bytes
    receipt: Receipt


class SqlLog:
    """A ledger in the operator's own database; implements the ``Ledger`` port.

    Parameters
    ----------
    engine : Engine
        SQLite (see `configure_sqlite`) or PostgreSQL. Tables and triggers are made where missing.
    signer : Signer
        Key of this log.

    Raises
    ------
    LedgerError
        If the database is another one, or its newest head was not signed by this key.
    """

    def __init__(self, engine: Engine, signer: Signer) -> None:
        if engine.dialect.name not in ("sqlite", "postgresql"):
            raise LedgerError(f"no ledger on {engine.dialect.name}: use SQLite or PostgreSQL")
        self._engine = engine
        self._signer = signer
        with engine.begin() as connection:
            create_tables(connection)
            newest = _newest(connection)
        held = None if newest is None else newest.receipt
        if held is not None and held.checkpoint != signer.sign_checkpoint(held.size, held.root):
            raise LedgerError(f"the log was signed by another key than {signer.key.text}")

    def post(self, batch: Batch, *, connection: Connection | None = None) -> Receipt:
        """Append a batch in one transaction and return its receipt.

        Parameters
        ----------
        batch : Batch
            What to append.
        connection : Connection or None
            The caller's open transaction, to write result and batch together; the caller
            commits. On SQLite nothing may have been read in it before, else another writer's
            commit in between makes the database refuse. None: a transaction of its own.

        Returns
        -------
        Receipt
            The same bytes for the same key and leaves, however often it is posted.

        Raises
        ------
        KeyConflict
            If the key was posted with other leaves.
        NotAppendOnly
            If ``batch.first`` is given and is not the size of the log.
        LedgerError
            If the batch is empty, its key or a leaf has a wrong size, or the database is not set
            to keep what it commits.
        """
        _check_form(batch)
        hashes = [leaf_hash(leaf) for leaf in batch.leaves]
        content = hashlib.sha256(b"".join(hashes)).digest()
        with self._transaction(connection) as opened:
            _check_durable(opened)
            # The write comes first: it makes this the only poster until the transaction ends.
            opened.execute(update(LOCK).values(turn=LOCK.c.turn + 1))
            known = _of_key(opened, batch.key)
            if known is not None:
                if known.content != content:
                    raise KeyConflict(f"key {batch.key.hex()} was posted with other content")
                return known.receipt
            return self._append(opened, batch, hashes, content)

    def _append(
        self, connection: Connection, batch: Batch, hashes: list[bytes], content: bytes
    ) -> Receipt:
        newest = _newest(connection)
        first = 0 if newest is None else newest.receipt.size
        if batch.first is not None and batch.first != first:
            raise NotAppendOnly(f"batch starts at leaf {batch.first}, the log has {first} leaves")
        edge = RightEdge(first, _TileReader(connection))
        nodes = edge.append(hashes)
        receipt = Receipt(
            key=batch.key,
            first=first,
            size=edge.size,
            root=edge.root(),
            finality=Finality.LOCAL,
            checkpoint=self._signer.sign_checkpoint(edge.size, edge.root()),
        )
        connection.execute(
            insert(ENTRY),
            [{"seq": seq, "leaf": leaf} for seq, leaf in enumerate(batch.leaves, start=first)],
        )
        if nodes:
            connection.execute(
                insert(NODE),
                [{"level": level, "seq": seq, "hash": value} for level, seq, value in nodes],
            )
        connection.execute(
            insert(BATCH).values(
                seq=0 if newest is None else newest.number + 1,
                key=receipt.key,
                first=receipt.first,
                size=receipt.size,
                root=receipt.root,
                content=content,
                checkpoint=receipt.checkpoint,
            )
        )
        return receipt

    def get(self, key: bytes) -> Receipt | None:
        """Return the receipt of a posted key, or None."""
        with self._engine.connect() as connection:
            known = _of_key(connection, key)
        return None if known is None else known.receipt

    def head(self, at: Finality = Finality.LOCAL) -> Receipt:
        """Return the newest head; for an empty log that of zero leaves, with an empty key.

        Raises
        ------
        LedgerError
            If a finality past LOCAL is asked for: that is an anchor's to say.
        """
        if at > Finality.LOCAL:
            raise LedgerError(f"a log without an anchor has no {at.name} head")
        with self._engine.connect() as connection:
            newest = _newest(connection)
        if newest is not None:
            return newest.receipt
        return Receipt(
            key=b"",
            first=0,
            size=0,
            root=EMPTY_ROOT,
            finality=Finality.LOCAL,
            checkpoint=self._signer.sign_checkpoint(0, EMPTY_ROOT),
        )

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the inclusion proof of a leaf; raises LedgerError outside the log."""
        with self._engine.connect() as connection:
            _check_size(connection, size)
            try:
                return TileTree(_TileReader(connection)).inclusion(index, size)
            except IndexError as error:
                raise LedgerError(str(error)) from error

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the consistency proof of two sizes; raises LedgerError outside the log."""
        with self._engine.connect() as connection:
            _check_size(connection, new)
            try:
                return TileTree(_TileReader(connection)).consistency(old, new)
            except IndexError as error:
                raise LedgerError(str(error)) from error

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        """Return leaves ``[start, stop)`` in order, a few thousand rows at a time.

        Raises
        ------
        LedgerError
            If the range is not inside the log (raised before the first leaf).
        """
        with self._engine.connect() as connection:
            _check_size(connection, stop)
        if not 0 <= start <= stop:
            raise LedgerError(f"no leaves from {start} to {stop}")
        return self._entries(start, stop)

    def _entries(self, start: int, stop: int) -> Iterator[bytes]:
        for begin in range(start, stop, ROWS_PER_READ):
            with self._engine.connect() as connection:
                leaves = _leaves(connection, begin, min(stop, begin + ROWS_PER_READ))
            yield from leaves

    def find_damage(self) -> list[str]:
        """Re-hash every leaf and compare nodes, roots and checkpoints; an empty list is good."""
        found: list[str] = []
        edge = RightEdge(0, lambda _level, _tile: [])
        with self._engine.connect() as connection:
            nodes = {(row.level, row.seq): row.hash for row in connection.execute(select(NODE))}
            batches = connection.execute(select(BATCH).order_by(BATCH.c.seq)).all()
            rows = connection.execute(select(ENTRY.c.seq).order_by(ENTRY.c.seq.desc()).limit(1))
            stored = rows.scalar()
        for batch in batches:
            if batch.first != edge.size:
                found.append(f"batch {batch.seq} starts at {batch.first}, not {edge.size}")
                return found
            with self._engine.connect() as connection:
                hashes = [leaf_hash(leaf) for leaf in _leaves(connection, batch.first, batch.size)]
            for level, seq, value in edge.append(hashes):
                if nodes.pop((level, seq), None) != value:
                    found.append(f"node {level}/{seq} is not the hash of its children")
            if (batch.size, batch.root) != (edge.size, edge.root()):
                found.append(f"batch {batch.seq}: the leaves do not give its root")
            if batch.checkpoint != self._signer.sign_checkpoint(batch.size, batch.root):
                found.append(f"batch {batch.seq}: its checkpoint is not the one signed")
        if nodes or (-1 if stored is None else stored) != edge.size - 1:
            found.append("rows stand outside every batch")
        return found

    def _transaction(self, given: Connection | None) -> AbstractContextManager[Connection]:
        return self._engine.begin() if given is None else nullcontext(given)


def _check_form(batch: Batch) -> None:
    if len(batch.key) != KEY_BYTES:
        raise LedgerError(f"a batch key has {KEY_BYTES} bytes, not {len(batch.key)}")
    if not batch.leaves:
        raise LedgerError("a batch without leaves has nothing to post")
    if any(len(leaf) > LEAF_BYTES_MAX for leaf in batch.leaves):
        raise LedgerError(f"a leaf is longer than {LEAF_BYTES_MAX} bytes")


def _check_durable(connection: Connection) -> None:
    """Refuse SQLite connections that may lose a commit; the pragma holds per connection."""
    if connection.dialect.name != "sqlite":
        return
    level = connection.execute(text("PRAGMA synchronous")).scalar()
    if not isinstance(level, int) or level < SQLITE_FULL:
        raise LedgerError("PRAGMA synchronous must be FULL: see configure_sqlite")


def _check_size(connection: Connection, size: int) -> None:
    newest = _newest(connection)
    held = 0 if newest is None else newest.receipt.size
    if not 0 <= size <= held:
        raise LedgerError(f"the log has {held} leaves, asked for {size}")


def _newest(connection: Connection) -> _Stored | None:
    return _stored(connection.execute(select(BATCH).order_by(BATCH.c.seq.desc()).limit(1)))


def _of_key(connection: Connection, key: bytes) -> _Stored | None:
    return _stored(connection.execute(select(BATCH).where(BATCH.c.key == key)))


def _stored(rows: CursorResult[Any]) -> _Stored | None:
    row = rows.mappings().first()
    if row is None:
        return None
    receipt = Receipt(
        key=row["key"],
        first=row["first"],
        size=row["size"],
        root=row["root"],
        finality=Finality.LOCAL,
        checkpoint=row["checkpoint"],
    )
    return _Stored(number=row["seq"], content=row["content"], receipt=receipt)


def _leaves(connection: Connection, start: int, stop: int) -> list[bytes]:
    query = select(ENTRY.c.leaf).where(ENTRY.c.seq >= start, ENTRY.c.seq < stop)
    return list(connection.execute(query.order_by(ENTRY.c.seq)).scalars())


class _TileReader:
    """Reads one tile in one query: hashes of 256 leaves, or 256 stored nodes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __call__(self, level: int, tile: int) -> list[bytes]:
        start, stop = tile * TILE_WIDTH, (tile + 1) * TILE_WIDTH
        if level == 0:
            return [leaf_hash(leaf) for leaf in _leaves(self._connection, start, stop)]
        query = select(NODE.c.hash).where(
            NODE.c.level == level, NODE.c.seq >= start, NODE.c.seq < stop
        )
        return list(self._connection.execute(query.order_by(NODE.c.seq)).scalars())
