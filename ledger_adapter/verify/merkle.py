"""Merkle tree checks of RFC 9162: what a verifier needs and nothing that stores a tree.

Sections cited are those of RFC 9162, https://www.rfc-editor.org/rfc/rfc9162.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """Hash one leaf: SHA-256(0x00 || leaf), section 2.1.1."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash an interior node: SHA-256(0x01 || left || right), section 2.1.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def fold_hashes(hashes: Sequence[bytes]) -> bytes:
    """Root over nodes of equal height, of which the last may stand for a smaller tree.

    Pairing level by level and carrying an odd last node up gives the tree of section 2.1.1,
    whose split is the largest power of two below the size.

    Raises
    ------
    ValueError
        If there is no hash.
    """
    if not hashes:
        raise ValueError("no hash to fold")
    level = list(hashes)
    while len(level) > 1:
        paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            paired.append(level[-1])
        level = paired
    return level[0]


def root_hash(leaves: Iterable[bytes]) -> bytes:
    """Root of a list of leaves (section 2.1.1); the empty tree has SHA-256 of nothing."""
    hashes = [leaf_hash(leaf) for leaf in leaves]
    return fold_hashes(hashes) if hashes else EMPTY_ROOT


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Check that a leaf hash stands at ``index`` of the tree (section 2.1.3.2).

    Parameters
    ----------
    leaf : bytes
        Leaf hash (not the leaf).
    index, size : int
        Position, and number of leaves in the tree.
    proof : sequence of bytes
        Hashes from the sibling of the leaf up to a child of the root.
    root : bytes
        Root of the tree.

    Returns
    -------
    bool
        True only if the proof has exactly the right length and leads to the root.
    """
    if not 0 <= index < size:
        return False
    position, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            found = node_hash(sibling, found)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            found = node_hash(found, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and found == root


def verify_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Check that the tree of ``new`` leaves begins with the tree of ``old`` (section 2.1.4.2).

    Two equal sizes need equal roots and no proof; the empty tree begins every tree.
    """
    if not 0 <= old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root and (old > 0 or old_root == EMPTY_ROOT)
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    position, last = old - 1, new - 1
    while position & 1:
        position >>= 1
        last >>= 1
    found_old = found_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            found_old = node_hash(sibling, found_old)
            found_new = node_hash(sibling, found_new)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            found_new = node_hash(found_new, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and found_old == old_root and found_new == new_root
