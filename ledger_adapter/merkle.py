"""Merkle tree over a store of tiles: append, root, proofs (RFC 9162).

Only the leaves and every eighth level are stored, as the tiles of https://c2sp.org/tlog-tiles:
one stored node per 256 children. That keeps appending cheap (1.004 rows per leaf) and a proof
needs three short reads for sixteen million leaves. Nodes in between are hashed from their tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from ledger_adapter.verify.merkle import EMPTY_ROOT, fold_hashes, node_hash

TILE_LEVELS: Final = 8
TILE_WIDTH: Final = 1 << TILE_LEVELS

ReadTile = Callable[[int, int], list[bytes]]
"""(tile level, tile number) -> the hashes of that tile stored so far, up to 256."""


class RightEdge:
    """The unfinished tiles of a tree: all that appending and the root need.

    Parameters
    ----------
    size : int
        Number of leaves so far.
    read_tile : callable
        Reads the unfinished tile of each level.
    """

    def __init__(self, size: int, read_tile: ReadTile) -> None:
        self.size = size
        self._open: list[list[bytes]] = []
        count = size
        while count:
            tile, width = divmod(count, TILE_WIDTH)
            held = read_tile(len(self._open), tile)[:width] if width else []
            if len(held) != width:
                raise ValueError(f"tile {tile} of level {len(self._open)} is incomplete")
            self._open.append(held)
            count = tile

    def append(self, hashes: Iterable[bytes]) -> list[tuple[int, int, bytes]]:
        """Append leaf hashes; return the (level, index, hash) of every node to be stored."""
        finished: list[tuple[int, int, bytes]] = []
        for leaf in hashes:
            self.size += 1
            value, level = leaf, 0
            while True:
                if level == len(self._open):
                    self._open.append([])
                tile = self._open[level]
                tile.append(value)
                if len(tile) < TILE_WIDTH:
                    break
                value, level = fold_hashes(tile), level + 1
                tile.clear()
                finished.append((level, (self.size >> (level * TILE_LEVELS)) - 1, value))
        return finished

    def root(self) -> bytes:
        """Root of the tree."""
        carried: list[bytes] = []
        for tile in self._open:
            children = tile + carried
            carried = [fold_hashes(children)] if children else []
        return carried[0] if carried else EMPTY_ROOT


class TileTree:
    """Roots and proofs of any size of a stored tree.

    Parameters
    ----------
    read_tile : callable
        Reads one tile; called once for each tile, so make a new tree for each request.
    """

    def __init__(self, read_tile: ReadTile) -> None:
        self._read_tile = read_tile
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    def root(self, size: int) -> bytes:
        """Root of the first ``size`` leaves."""
        return self._range(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Inclusion proof PATH(index, D[size]), section 2.1.3.1, from the leaf upwards.

        Raises
        ------
        IndexError
            If the leaf is not in the tree.
        """
        if not 0 <= index < size:
            raise IndexError(f"leaf {index} is not in a tree of {size}")
        path: list[bytes] = []
        begin, end = 0, size
        while end - begin > 1:
            middle = begin + _split(end - begin)
            if index < middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(begin, middle))
                begin = middle
        return path[::-1]

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Consistency proof PROOF(old, D[new]), section 2.1.4.1.

        Raises
        ------
        IndexError
            If ``old`` is larger than ``new`` or negative.
        """
        if not 0 <= old <= new:
            raise IndexError(f"no proof from size {old} to {new}")
        if old in (0, new):
            return []
        path: list[bytes] = []
        begin, end, whole = 0, new, True
        while old != end:
            middle = begin + _split(end - begin)
            if old <= middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(begin, middle))
                begin, whole = middle, False
        if not whole:
            path.append(self._range(begin, end))
        return path[::-1]

    def _range(self, begin: int, end: int) -> bytes:
        """Root of leaves ``[begin, end)``; ``begin`` is aligned as every range of a proof is."""
        length = end - begin
        if length & (length - 1) == 0:
            return self._node(length.bit_length() - 1, begin)
        middle = begin + _split(length)
        return node_hash(self._range(begin, middle), self._range(middle, end))

    def _node(self, height: int, begin: int) -> bytes:
        """Root of the full subtree of ``2 ** height`` leaves that starts at ``begin``."""
        level, above = divmod(height, TILE_LEVELS)
        number = begin >> (level * TILE_LEVELS)
        tile, offset = divmod(number, TILE_WIDTH)
        if (level, tile) not in self._tiles:
            self._tiles[level, tile] = self._read_tile(level, tile)
        children = self._tiles[level, tile][offset : offset + (1 << above)]
        if len(children) != 1 << above:
            raise IndexError(f"the log has no full subtree of 2**{height} leaves at {begin}")
        return fold_hashes(children)


def _split(length: int) -> int:
    """Largest power of two smaller than ``length`` (section 2.1.1)."""
    return 1 << ((length - 1).bit_length() - 1)
