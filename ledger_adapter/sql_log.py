"""The default ledger: rows in SQLite or PostgreSQL, an RFC 9162 tree, signed checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    Connection,
    CursorResult,
    Engine,
    RowMapping,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from data.records.posting import Batch, Finality, Receipt
from ledger_adapter.adapter_parts import check_batch
from ledger_adapter.merkle import TILE_WIDTH, ReadTile, RightEdge, TileTree
from ledger_adapter.ports import KeyConflict, LedgerError, NotAppendOnly
from ledger_adapter.signers import Signer
from ledger_adapter.sql_schema import RECORD_TABLES, LogTables, create_tables, insert_rows
from ledger_adapter.verify.canonical import Malformed
from ledger_adapter.verify.merkle import EMPTY_ROOT, leaf_hash
from ledger_adapter.verify.note import (
    Checkpoint,
    VerifierKey,
    add_signatures,
    format_checkpoint,
    parse_note,
    verify_note,
)
from ledger_adapter.verify.rotation import rotation_key, rotation_leaf

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
    tables : LogTables
        `RECORD_TABLES`, or `ACTION_TABLES` for the log of people's actions.

    Raises
    ------
    LedgerError
        If the database is another one, or its newest head was not signed by this key.
    """

    def __init__(self, engine: Engine, signer: Signer, tables: LogTables = RECORD_TABLES) -> None:
        if engine.dialect.name not in ("sqlite", "postgresql"):
            raise LedgerError(f"no ledger on {engine.dialect.name}: use SQLite or PostgreSQL")
        self._engine = engine
        self._signer = signer
        self._tables = tables
        self._edge: RightEdge | None = None
        self._posted: Receipt | None = None
        with engine.begin() as connection:
            create_tables(connection, tables)
            self._check_key(self._newest(connection))

    @property
    def key(self) -> VerifierKey:
        """Public key of this log."""
        return self._signer.key

    @property
    def engine(self) -> Engine:
        """The database."""
        return self._engine

    def _check_key(self, newest: _Stored | None) -> None:
        """Refuse a key that did not sign the newest head, or that was replaced in it."""
        if newest is None:
            return
        receipt = newest.receipt
        if receipt.checkpoint == self._signer.sign_checkpoint(receipt.size, receipt.root):
            return
        note = parse_note(receipt.checkpoint.encode())
        mine = (self._signer.key.name, self._signer.key.key_id)
        if note.signatures[0][:2] != mine or not verify_note(note, self._signer.key):
            raise LedgerError(f"the log was signed by another key than {self._signer.key.text}")

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
            If the batch is empty, its key or a leaf has a wrong size, the database is not set
            to keep what it commits, or the log's key was replaced.
        """
        check_batch(batch)
        with self._transaction(connection) as opened:
            return self._post(opened, batch)

    def post_rotation(self, following: Signer) -> Receipt:
        """Post the hand-over to another key; the head that covers it is signed by both.

        From then on only a log opened with ``following`` takes batches.

        Raises
        ------
        LedgerError
            If ``following`` bears another name, or this key was replaced before.
        """
        old, new = self._signer.key, following.key
        if new.name != old.name or new == old:
            raise LedgerError(f"key {new.text} cannot follow {old.text}")
        batch = Batch(key=rotation_key(old, new), leaves=(rotation_leaf(old, new),))
        with self._transaction(None) as opened:
            return self._post(opened, batch, following)

    def _post(
        self, connection: Connection, batch: Batch, following: Signer | None = None
    ) -> Receipt:
        hashes = [leaf_hash(leaf) for leaf in batch.leaves]
        content = hashlib.sha256(b"".join(hashes)).digest()
        _check_durable(connection)
        self._take_turn(connection)
        known, newest = self._of_key_and_newest(connection, batch.key)
        if known is None:
            return self._append(connection, batch, newest, hashes, content, following)
        if known.content != content:
            raise KeyConflict(f"key {batch.key.hex()} was posted with other content")
        return known.receipt

    def _take_turn(self, connection: Connection) -> None:
        """Become the only poster until the transaction ends: the write comes before any read."""
        lock = self._tables.lock
        connection.execute(update(lock).values(turn=lock.c.turn + 1))

    def _append(
        self,
        connection: Connection,
        batch: Batch,
        newest: _Stored | None,
        hashes: list[bytes],
        content: bytes,
        following: Signer | None,
    ) -> Receipt:
        first = 0 if newest is None else newest.receipt.size
        edge = self._edge_after(connection, newest)
        if batch.first is not None and batch.first != first:
            raise NotAppendOnly(f"batch starts at leaf {batch.first}, the log has {first} leaves")
        # Held again only when this batch is the newest of the log: see `_edge_after`.
        self._edge = self._posted = None
        nodes = edge.append(hashes)
        size, root = edge.size, edge.root()
        receipt = Receipt(
            key=batch.key,
            first=first,
            size=size,
            root=root,
            finality=Finality.LOCAL,
            checkpoint=(
                self._signer.sign_checkpoint(size, root)
                if following is None
                else following.sign_checkpoint(size, root, beside=self._signer)
            ),
        )
        insert_rows(connection, self._tables.entry, list(enumerate(batch.leaves, start=first)))
        insert_rows(connection, self._tables.node, nodes)
        connection.execute(
            insert(self._tables.batch).values(
                seq=0 if newest is None else newest.number + 1,
                key=receipt.key,
                first=receipt.first,
                size=receipt.size,
                root=receipt.root,
                content=content,
                checkpoint=receipt.checkpoint,
            )
        )
        if following is None:
            self._edge, self._posted = edge, receipt
        return receipt

    def _edge_after(self, connection: Connection, newest: _Stored | None) -> RightEdge:
        """Return the open tiles after the newest batch.

        Those kept from the last post serve while that batch is still the newest, which only this
        transaction's holder of the turn can change. A post that was rolled back, or another
        process's, leaves another newest batch: then the tiles are read, and the key is checked,
        for that process may have replaced it.
        """
        if self._edge is not None and newest is not None and newest.receipt == self._posted:
            return self._edge
        self._check_key(newest)
        return RightEdge(0 if newest is None else newest.receipt.size, self._reader(connection))

    def get(self, key: bytes) -> Receipt | None:
        """Return the receipt of a posted key, or None."""
        with self._engine.connect() as connection:
            known = self._of_key(connection, key)
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
            newest = self._newest(connection)
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

    def receipt_at(self, size: int) -> Receipt | None:
        """Return the receipt of the batch that ended at ``size`` leaves, or None."""
        table = self._tables.batch
        with self._engine.connect() as connection:
            known = _stored(connection.execute(select(table).where(table.c.size == size)))
        return None if known is None else known.receipt

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the inclusion proof of a leaf; raises LedgerError outside the log."""
        with self._engine.connect() as connection:
            self._check_size(connection, size)
            try:
                return TileTree(self._reader(connection)).inclusion(index, size)
            except IndexError as error:
                raise LedgerError(str(error)) from error

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the consistency proof of two sizes; raises LedgerError outside the log."""
        with self._engine.connect() as connection:
            self._check_size(connection, new)
            try:
                return TileTree(self._reader(connection)).consistency(old, new)
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
            self._check_size(connection, stop)
        if not 0 <= start <= stop:
            raise LedgerError(f"no leaves from {start} to {stop}")
        return self._entries(start, stop)

    def _entries(self, start: int, stop: int) -> Iterator[bytes]:
        for begin in range(start, stop, ROWS_PER_READ):
            with self._engine.connect() as connection:
                leaves = self._leaves(connection, begin, min(stop, begin + ROWS_PER_READ))
            yield from leaves

    def read_tile(self, level: int, tile: int) -> list[bytes]:
        """Return the hashes of one tile stored so far, up to 256 (c2sp.org/tlog-tiles)."""
        with self._engine.connect() as connection:
            return self._reader(connection)(level, tile)

    def add_cosignatures(self, size: int, lines: Sequence[str]) -> None:
        """Keep signature lines for the head of ``size`` leaves; a line kept before is no change.

        The caller has verified them: a log stores what it was given.
        """
        table = self._tables.cosignature
        with self._transaction(None) as connection:
            self._take_turn(connection)
            held = set(self._cosignatures(connection, size))
            last = connection.execute(
                select(table.c.seq).order_by(table.c.seq.desc()).limit(1)
            ).scalar()
            new = [line for line in dict.fromkeys(lines) if line not in held]
            for seq, line in enumerate(new, start=0 if last is None else last + 1):
                connection.execute(insert(table).values(seq=seq, size=size, line=line))

    def cosigned(self, receipt: Receipt) -> str:
        """Return the checkpoint of a receipt with the cosignatures kept for its head."""
        with self._engine.connect() as connection:
            return add_signatures(receipt.checkpoint, self._cosignatures(connection, receipt.size))

    def _cosignatures(self, connection: Connection, size: int) -> list[str]:
        table = self._tables.cosignature
        query = select(table.c.line).where(table.c.size == size).order_by(table.c.seq)
        return list(connection.execute(query).scalars())

    def find_damage(self) -> list[str]:
        """Re-hash every leaf and compare nodes, roots and checkpoints; an empty list is good."""
        found: list[str] = []
        edge = RightEdge(0, lambda _level, _tile: [])
        node, table, entry = self._tables.node, self._tables.batch, self._tables.entry
        with self._engine.connect() as connection:
            nodes = {(row.level, row.seq): row.hash for row in connection.execute(select(node))}
            batches = connection.execute(select(table).order_by(table.c.seq)).all()
            rows = connection.execute(select(entry.c.seq).order_by(entry.c.seq.desc()).limit(1))
            stored = rows.scalar()
        for batch in batches:
            if batch.first != edge.size:
                found.append(f"batch {batch.seq} starts at {batch.first}, not {edge.size}")
                return found
            if not _is_whole(batch._mapping):  # noqa: SLF001 - SQLAlchemy's public name
                found.append(f"batch {batch.seq}: a cell is of another type than was written")
                return found
            # SQLite keeps whatever type a cell is given; what is no leaf hashes to no leaf.
            leaves: list[object] = list(self._entries(batch.first, batch.size))
            hashes = [leaf_hash(leaf) if isinstance(leaf, bytes) else b"" for leaf in leaves]
            for level, seq, value in edge.append(hashes):
                if nodes.pop((level, seq), None) != value:
                    found.append(f"node {level}/{seq} is not the hash of its children")
            if (batch.size, batch.root) != (edge.size, edge.root()):
                found.append(f"batch {batch.seq}: the leaves do not give its root")
        if nodes or (-1 if stored is None else stored) != edge.size - 1:
            found.append("rows stand outside every batch")
        return found + self._checkpoint_damage(batches)

    def _checkpoint_damage(self, batches: Sequence[Any]) -> list[str]:
        """Walk back from the newest head: each must be signed by the key in force then."""
        found: list[str] = []
        key, retired = self._signer.key, list(self._signer.retired)
        for batch in reversed(batches):
            signers: list[VerifierKey] = [key]
            head = Checkpoint(origin=key.name, size=batch.size, root=batch.root)
            try:
                note = parse_note(batch.checkpoint.encode())
            except Malformed:
                note = None
            if note is not None and len(note.signatures) > 1 and retired:
                signers.append(retired.pop())
            holds = (
                note is not None
                and note.text == format_checkpoint(head)
                and [line[:2] for line in note.signatures]
                == [(signer.name, signer.key_id) for signer in signers]
                and all(verify_note(note, signer) for signer in signers)
            )
            if not holds:
                found.append(f"batch {batch.seq}: its checkpoint is not the one signed")
            key = signers[-1]
        return found[::-1]

    def _transaction(self, given: Connection | None) -> AbstractContextManager[Connection]:
        return self._engine.begin() if given is None else nullcontext(given)

    def _check_size(self, connection: Connection, size: int) -> None:
        newest = self._newest(connection)
        held = 0 if newest is None else newest.receipt.size
        if not 0 <= size <= held:
            raise LedgerError(f"the log has {held} leaves, asked for {size}")

    def _newest(self, connection: Connection) -> _Stored | None:
        table = self._tables.batch
        return _stored(connection.execute(select(table).order_by(table.c.seq.desc()).limit(1)))

    def _of_key(self, connection: Connection, key: bytes) -> _Stored | None:
        table = self._tables.batch
        return _stored(connection.execute(select(table).where(table.c.key == key)))

    def _of_key_and_newest(
        self, connection: Connection, key: bytes
    ) -> tuple[_Stored | None, _Stored | None]:
        """Return the batch of a key and the newest one, in one query."""
        table = self._tables.batch
        last = select(func.max(table.c.seq)).scalar_subquery()
        query = select(table).where(or_(table.c.key == key, table.c.seq == last))
        known = newest = None
        for row in connection.execute(query.order_by(table.c.seq)).mappings():
            newest = _to_stored(row)
            if newest.receipt.key == key:
                known = newest
        return known, newest

    def _leaves(self, connection: Connection, start: int, stop: int) -> list[bytes]:
        entry = self._tables.entry
        query = select(entry.c.leaf).where(entry.c.seq >= start, entry.c.seq < stop)
        return list(connection.execute(query.order_by(entry.c.seq)).scalars())

    def _reader(self, connection: Connection) -> ReadTile:
        """Return a reader of tiles in one query each: 256 leaves to hash, or 256 stored nodes."""
        node = self._tables.node

        def read(level: int, tile: int) -> list[bytes]:
            start, stop = tile * TILE_WIDTH, (tile + 1) * TILE_WIDTH
            if level == 0:
                return [leaf_hash(leaf) for leaf in self._leaves(connection, start, stop)]
            query = select(node.c.hash).where(
                node.c.level == level, node.c.seq >= start, node.c.seq < stop
            )
            return list(connection.execute(query.order_by(node.c.seq)).scalars())

        return read


def _is_whole(batch: Any) -> bool:  # noqa: ANN401 - the mapping of a row
    """Tell whether the cells of a batch row are of the types that were written."""
    kinds = {"first": int, "size": int, "root": bytes, "checkpoint": str}
    return all(isinstance(batch[name], kind) for name, kind in kinds.items())


def _check_durable(connection: Connection) -> None:
    """Refuse SQLite connections that may lose a commit; the pragma holds per connection."""
    if connection.dialect.name != "sqlite":
        return
    level = connection.execute(text("PRAGMA synchronous")).scalar()
    if not isinstance(level, int) or level < SQLITE_FULL:
        raise LedgerError("PRAGMA synchronous must be FULL: see configure_sqlite")


def _stored(rows: CursorResult[Any]) -> _Stored | None:
    row = rows.mappings().first()
    return None if row is None else _to_stored(row)


def _to_stored(row: RowMapping) -> _Stored:
    if not _is_whole(row):
        raise LedgerError(f"batch {row['seq']} is damaged: restore a backup")
    receipt = Receipt(
        key=row["key"],
        first=row["first"],
        size=row["size"],
        root=row["root"],
        finality=Finality.LOCAL,
        checkpoint=row["checkpoint"],
    )
    return _Stored(number=row["seq"], content=row["content"], receipt=receipt)
