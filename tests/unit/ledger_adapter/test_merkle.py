"""The tree against the recursive definition of RFC 9162 section 2.1 and published roots."""

from __future__ import annotations

import functools
import hashlib

import pytest

from ledger_adapter.merkle import RightEdge, TileTree
from ledger_adapter.verify.merkle import (
    EMPTY_ROOT,
    leaf_hash,
    root_hash,
    verify_consistency,
    verify_inclusion,
)

SIZE_MAX = 130
LEAVES = [f"leaf {number}".encode() for number in range(SIZE_MAX)]

# Test vectors of the certificate-transparency project (merkle_tree_test), which RFC 9162 keeps.
PUBLISHED_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
PUBLISHED_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def split(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power


@functools.cache
def naive_root(begin: int, end: int) -> bytes:
    """MTH(D[begin:end]), section 2.1.1, letter by letter."""
    count = end - begin
    if count == 0:
        return hashlib.sha256(b"").digest()
    if count == 1:
        return hashlib.sha256(b"\x00" + LEAVES[begin]).digest()
    middle = begin + split(count)
    content = b"\x01" + naive_root(begin, middle) + naive_root(middle, end)
    return hashlib.sha256(content).digest()


def naive_path(index: int, begin: int, end: int) -> list[bytes]:
    """PATH(m, D[begin:end]), section 2.1.3.1."""
    count = end - begin
    if count == 1:
        return []
    k = split(count)
    if index < k:
        return [*naive_path(index, begin, begin + k), naive_root(begin + k, end)]
    return [*naive_path(index - k, begin + k, end), naive_root(begin, begin + k)]


def naive_proof(old: int, begin: int, end: int, *, whole: bool = True) -> list[bytes]:
    """SUBPROOF(m, D[begin:end], b), section 2.1.4.1."""
    count = end - begin
    if old == count:
        return [] if whole else [naive_root(begin, end)]
    k = split(count)
    if old <= k:
        return [*naive_proof(old, begin, begin + k, whole=whole), naive_root(begin + k, end)]
    return [*naive_proof(old - k, begin + k, end, whole=False), naive_root(begin, begin + k)]


class Tiles:
    """Tiles kept in memory, filled by a `RightEdge` in batches."""

    def __init__(self, leaves: list[bytes], batches: list[int]) -> None:
        self.hashes = [leaf_hash(leaf) for leaf in leaves]
        self.nodes: dict[int, list[bytes]] = {}
        self.roots: dict[int, bytes] = {}
        self.held = 0
        for count in batches:
            edge = RightEdge(self.held, self.read)
            for level, index, value in edge.append(self.hashes[self.held : self.held + count]):
                stored = self.nodes.setdefault(level, [])
                assert index == len(stored)
                stored.append(value)
            self.held += count
            assert edge.size == self.held
            self.roots[self.held] = edge.root()

    def read(self, level: int, tile: int) -> list[bytes]:
        row = self.hashes[: self.held] if level == 0 else self.nodes.get(level, [])
        return row[tile * 256 : (tile + 1) * 256]


@pytest.fixture(scope="module")
def tree() -> TileTree:
    return TileTree(Tiles(LEAVES, [1] * SIZE_MAX).read)


def test_published_roots() -> None:
    roots = [root_hash(PUBLISHED_LEAVES[:count]).hex() for count in range(1, 9)]
    assert roots == PUBLISHED_ROOTS
    edge_roots = Tiles(PUBLISHED_LEAVES, [1] * 8).roots
    assert [edge_roots[count].hex() for count in range(1, 9)] == PUBLISHED_ROOTS
    assert root_hash([]).hex().startswith("e3b0c44298fc1c14")


def test_roots_of_all_sizes(tree: TileTree) -> None:
    growing = Tiles(LEAVES, [1] * SIZE_MAX).roots
    for size in range(1, SIZE_MAX + 1):
        expected = naive_root(0, size)
        assert tree.root(size) == growing[size] == root_hash(LEAVES[:size]) == expected
    assert tree.root(0) == EMPTY_ROOT == naive_root(0, 0)


def test_inclusion_of_every_leaf_in_every_size(tree: TileTree) -> None:
    for size in range(1, SIZE_MAX + 1):
        root = naive_root(0, size)
        for index in range(size):
            path = tree.inclusion(index, size)
            assert path == naive_path(index, 0, size)
            assert verify_inclusion(leaf_hash(LEAVES[index]), index, size, path, root)


def test_consistency_of_every_pair_of_sizes(tree: TileTree) -> None:
    for new in range(1, SIZE_MAX + 1):
        for old in range(1, new + 1):
            path = tree.consistency(old, new)
            assert path == naive_proof(old, 0, new)
            assert verify_consistency(old, new, naive_root(0, old), naive_root(0, new), path)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 33])
def test_a_wrong_inclusion_proof_is_refused(tree: TileTree, size: int) -> None:
    root = naive_root(0, size)
    for index in range(size):
        leaf = leaf_hash(LEAVES[index])
        path = tree.inclusion(index, size)
        assert not verify_inclusion(leaf, index, size, [*path, root], root)
        assert not verify_inclusion(leaf, index, size, path[:-1] if path else [leaf], root)
        assert not verify_inclusion(leaf_hash(b"other"), index, size, path, root)
        assert not verify_inclusion(leaf, index, size, path, leaf_hash(b"other"))
        for other in (*range(size + 2), -1):
            if other != index:
                assert not verify_inclusion(leaf, other, size, path, root)
        for place in range(len(path)):
            changed = [*path]
            changed[place] = bytes([changed[place][0] ^ 1]) + changed[place][1:]
            assert not verify_inclusion(leaf, index, size, changed, root)
            if place and path[place] != path[place - 1]:
                changed = [*path]
                changed[place - 1 : place + 1] = path[place], path[place - 1]
                assert not verify_inclusion(leaf, index, size, changed, root)


@pytest.mark.parametrize(("old", "new"), [(1, 2), (3, 7), (4, 8), (6, 8), (7, 32), (65, 130)])
def test_a_wrong_consistency_proof_is_refused(tree: TileTree, old: int, new: int) -> None:
    first, second = naive_root(0, old), naive_root(0, new)
    path = tree.consistency(old, new)
    assert verify_consistency(old, new, first, second, path)
    assert not verify_consistency(old, new, first, second, [*path, second])
    assert not verify_consistency(old, new, first, second, path[:-1])
    assert not verify_consistency(old, new, second, second, path)
    assert not verify_consistency(old, new, first, first, path)
    assert not verify_consistency(new, old, second, first, path)
    for other in range(new + 2):
        if other != old:
            assert not verify_consistency(other, new, first, second, path)
    for place in range(len(path)):
        changed = [*path]
        changed[place] = bytes(32)
        assert not verify_consistency(old, new, first, second, changed)


def test_the_empty_tree_begins_every_tree() -> None:
    root = naive_root(0, 5)
    assert verify_consistency(0, 5, EMPTY_ROOT, root, [])
    assert not verify_consistency(0, 5, root, root, [])
    assert not verify_consistency(0, 5, EMPTY_ROOT, root, [root])
    assert verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    assert not verify_consistency(0, 0, root, root, [])
    assert verify_consistency(5, 5, root, root, [])
    assert not verify_consistency(5, 5, root, EMPTY_ROOT, [])


@pytest.mark.parametrize("batches", [[255, 1, 1], [256], [257, 300], [1000], [65_535, 1, 1]])
def test_tiles_that_fill_up(batches: list[int]) -> None:
    size = sum(batches)
    leaves = [number.to_bytes(4, "big") for number in range(size)]
    tiles = Tiles(leaves, batches)
    total = 0
    for count in batches:
        total += count
        assert tiles.roots[total] == root_hash(leaves[:total])
    tree, root = TileTree(tiles.read), root_hash(leaves)
    for index in {0, 1, 254, 255, 256, size // 2, size - 2, size - 1}:
        if index < size:
            path = tree.inclusion(index, size)
            assert verify_inclusion(leaf_hash(leaves[index]), index, size, path, root)
    for old in {1, 2, 254, 255, 256, 257, size // 2, size - 1}:
        if old <= size:
            before = root_hash(leaves[:old])
            assert verify_consistency(old, size, before, root, tree.consistency(old, size))


def test_outside_the_tree(tree: TileTree) -> None:
    for index, size in ((-1, 5), (5, 5), (0, 0)):
        with pytest.raises(IndexError):
            tree.inclusion(index, size)
    with pytest.raises(IndexError):
        tree.consistency(6, 5)
    with pytest.raises(IndexError, match="no full subtree"):
        tree.inclusion(0, SIZE_MAX + 300)


def test_a_tile_with_a_gap_is_refused() -> None:
    with pytest.raises(ValueError, match="incomplete"):
        RightEdge(5, lambda _level, _tile: [b""] * 4)
