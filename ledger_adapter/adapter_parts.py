"""Parts that adapters share: the form of a batch, a signed head, the tree over leaves in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from data.records.posting import Batch, Finality, Receipt
from ledger_adapter.merkle import TILE_WIDTH, TileTree
from ledger_adapter.ports import LedgerError
from ledger_adapter.signers import Signer
from ledger_adapter.verify.merkle import fold_hashes, leaf_hash, root_hash

KEY_BYTES: Final = 32
LEAF_BYTES_MAX: Final = 65_535  # what a tile export can carry (c2sp.org/tlog-tiles)


def check_batch(batch: Batch) -> None:
    """Refuse a batch without leaves, with a key of a wrong size or with a leaf that is too long.

    Raises
    ------
    LedgerError
        If it is one of these.
    """
    if len(batch.key) != KEY_BYTES:
        raise LedgerError(f"a batch key has {KEY_BYTES} bytes, not {len(batch.key)}")
    if not batch.leaves:
        raise LedgerError("a batch without leaves has nothing to post")
    if any(len(leaf) > LEAF_BYTES_MAX for leaf in batch.leaves):
        raise LedgerError(f"a leaf is longer than {LEAF_BYTES_MAX} bytes")


def sign_head(signer: Signer, key: bytes, first: int, leaves: Sequence[bytes]) -> Receipt:
    """Make the receipt of the batch that begins at ``first`` and ends these leaves."""
    root = root_hash(leaves)
    return Receipt(
        key=key,
        first=first,
        size=len(leaves),
        root=root,
        finality=Finality.LOCAL,
        checkpoint=signer.sign_checkpoint(len(leaves), root),
    )


class MemoryTree:
    """Proofs over leaves that are in memory, refusing what is not among them.

    Parameters
    ----------
    leaves : sequence of bytes
        All leaves of the log.
    """

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._leaves = leaves
        self._hashes = [leaf_hash(leaf) for leaf in leaves]

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the inclusion proof of a leaf; raises LedgerError outside the log."""
        try:
            return self._tree(size).inclusion(index, size)
        except IndexError as error:
            raise LedgerError(str(error)) from error

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the consistency proof of two sizes; raises LedgerError outside the log."""
        try:
            return self._tree(new).consistency(old, new)
        except IndexError as error:
            raise LedgerError(str(error)) from error

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        """Return leaves ``[start, stop)``; raises LedgerError outside the log."""
        if not 0 <= start <= stop <= len(self._leaves):
            raise LedgerError(f"no leaves from {start} to {stop} of {len(self._leaves)}")
        return iter(self._leaves[start:stop])

    def _tree(self, size: int) -> TileTree:
        if not 0 <= size <= len(self._hashes):
            raise LedgerError(f"the log has {len(self._hashes)} leaves, asked for {size}")

        def read_tile(level: int, number: int) -> list[bytes]:
            width = TILE_WIDTH**level
            stop = min((number + 1) * TILE_WIDTH, size // width)
            places = range(number * TILE_WIDTH, stop)
            return [fold_hashes(self._hashes[k * width : (k + 1) * width]) for k in places]

        return TileTree(read_tile)
