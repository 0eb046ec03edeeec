"""Check a tile export: the log as static files, as https://c2sp.org/tlog-tiles lays them out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ledger_adapter.verify.canonical import HASH_BYTES, Malformed
from ledger_adapter.verify.merkle import EMPTY_ROOT, fold_hashes, leaf_hash
from ledger_adapter.verify.note import Checkpoint, VerifierKey, open_cosigned

CHECKPOINT_FILE: Final = "checkpoint"
ENTRIES: Final = "entries"
TILE_WIDTH: Final = 256
_LENGTH_BYTES: Final = 2


def tile_name(level: int | str, number: int, width: int = TILE_WIDTH) -> str:
    """Name of a tile below the export, e.g. ``tile/0/x001/234.p/17``.

    Examples
    --------
    >>> tile_name(0, 1234067), tile_name("entries", 5, 17)
    ('tile/0/x001/x234/067', 'tile/entries/005.p/17')
    """
    parts = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        parts.insert(0, f"x{number % 1000:03d}")
    suffix = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(parts)}{suffix}"


def tile_widths(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (level, number, width) of every tile of a tree, level by level.

    Examples
    --------
    >>> list(tile_widths(256))
    [(0, 0, 256), (1, 0, 1)]
    """
    level = 0
    while size:
        full, partial = divmod(size, TILE_WIDTH)
        yield from ((level, number, TILE_WIDTH) for number in range(full))
        if partial:
            yield level, full, partial
        size, level = full, level + 1


def split_entries(content: bytes) -> list[bytes]:
    """Split an entry bundle: each entry follows its length as a big-endian uint16."""
    found, place = [], 0
    while place < len(content):
        start = place + _LENGTH_BYTES
        stop = start + int.from_bytes(content[place:start], "big")
        if stop > len(content):
            raise Malformed("an entry is cut off")
        found.append(content[start:stop])
        place = stop
    return found


def verify_tiles(
    folder: Path, key: VerifierKey, cosigners: Sequence[VerifierKey] = ()
) -> Checkpoint:
    """Re-hash every entry and compare every tile with the signed root.

    Parameters
    ----------
    folder : Path
        The export; it holds ``checkpoint`` and ``tile/``.
    key : VerifierKey
        Key of the log.
    cosigners : sequence of VerifierKey
        Keys whose cosignatures are checked where they are present.

    Raises
    ------
    Malformed
        With the first file that does not hold.
    """
    try:
        head, _ = open_cosigned((folder / CHECKPOINT_FILE).read_bytes(), key, cosigners)
    except OSError as error:
        raise Malformed(f"{CHECKPOINT_FILE}: {error.strerror}") from error
    expected: dict[int, list[bytes]] = {0: []}
    for level, number, width in tile_widths(head.size):
        if level == 0:
            name = tile_name(ENTRIES, number, width)
            leaves = split_entries(_read(folder, name))
            hashes = [leaf_hash(leaf) for leaf in leaves]
            if len(hashes) != width:
                raise Malformed(f"{name}: holds {len(hashes)} entries, not {width}")
        else:
            hashes = expected[level][number * TILE_WIDTH : number * TILE_WIDTH + width]
        if width == TILE_WIDTH:
            expected.setdefault(level + 1, []).append(fold_hashes(hashes))
        name = tile_name(level, number, width)
        content = _read(folder, name)
        if content != b"".join(hashes):
            raise Malformed(f"{name}: holds other hashes than the entries give")
    if root_of_tiles(folder, head.size) != head.root:
        raise Malformed(f"{CHECKPOINT_FILE}: the entries do not give its root")
    return head


def root_of_tiles(folder: Path, size: int) -> bytes:
    """Root of the first ``size`` leaves, from the unfinished tile of each level."""
    carried: list[bytes] = []
    level = 0
    while size:
        full, partial = divmod(size, TILE_WIDTH)
        content = _read(folder, tile_name(level, full, partial)) if partial else b""
        starts = range(0, len(content), HASH_BYTES)
        hashes = [content[k : k + HASH_BYTES] for k in starts] + carried
        carried = [fold_hashes(hashes)] if hashes else []
        size, level = full, level + 1
    return carried[0] if carried else EMPTY_ROOT


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise Malformed(f"{name}: {error.strerror}") from error
