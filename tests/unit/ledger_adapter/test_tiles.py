"""The tile export: paths and widths of the specification, and nothing in it can change."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger_adapter.keys import OperatorKeys
from ledger_adapter.merkle import TileTree
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.tiles import export_tiles
from ledger_adapter.verify.canonical import Malformed
from ledger_adapter.verify.merkle import root_hash
from ledger_adapter.verify.tiles import split_entries, tile_name, tile_widths, verify_tiles
from tests.support.ledger_batches import batch


def test_widths_of_the_specifications_examples() -> None:
    # c2sp.org/tlog-tiles: "a tree of size 70,000 ..."
    tiles = list(tile_widths(70_000))
    assert [sum(1 for t in tiles if t[0] == level and t[2] == 256) for level in range(3)] == [
        273, 1, 0,
    ]  # fmt: skip
    assert [t for t in tiles if t[2] < 256] == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    assert list(tile_widths(0)) == []


@pytest.mark.parametrize("counts", [(1,), (255,), (256,), (257, 3), (600, 1, 300)])
def test_an_export_holds_and_grows(
    keys: OperatorKeys, log: SqlLog, tmp_path: Path, counts: tuple[int, ...]
) -> None:
    leaves: list[bytes] = []
    target = tmp_path / "tiles"
    for number, count in enumerate(counts):
        posted = batch(number, count)
        log.post(posted)
        leaves.extend(posted.leaves)
        assert export_tiles(target, log) == len(leaves)
        head = verify_tiles(target, keys.signer.key)
        assert (head.size, head.root) == (len(leaves), root_hash(leaves))

    def read(level: int, tile: int) -> list[bytes]:
        width = {(t[0], t[1]): t[2] for t in tile_widths(len(leaves))}[level, tile]
        content = (target / tile_name(level, tile, width)).read_bytes()
        return [content[k : k + 32] for k in range(0, len(content), 32)]

    # Whoever has the tiles makes every proof himself.
    size = len(leaves)
    for index in {0, size // 2, size - 1}:
        assert TileTree(read).inclusion(index, size) == log.inclusion(index, size)


def test_every_changed_file_is_named(keys: OperatorKeys, log: SqlLog, tmp_path: Path) -> None:
    log.post(batch(1, 300))
    target = tmp_path / "tiles"
    export_tiles(target, log)
    for path in sorted(path for path in target.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        for changed in (whole[:-1], whole + b"\0", bytes([whole[-1] ^ 1]), b"", None):
            path.unlink() if changed is None else path.write_bytes(changed)
            with pytest.raises(Malformed):
                verify_tiles(target, keys.signer.key)
            path.write_bytes(whole)
    assert verify_tiles(target, keys.signer.key).size == 300


def test_a_cut_entry_bundle_is_refused() -> None:
    assert split_entries(b"\0\1a\0\0") == [b"a", b""]
    for wrong in (b"\0\2a", b"\0"):
        with pytest.raises(Malformed):
            split_entries(wrong)
