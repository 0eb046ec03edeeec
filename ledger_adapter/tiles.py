"""Export a log as static tiles, so that third-party monitors read it from any web server.

The log's leaves are commitments, so the tiles may be served to everybody.
"""

from __future__ import annotations

from pathlib import Path

from data.canonical import write_atomically
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.verify.tiles import (
    CHECKPOINT_FILE,
    ENTRIES,
    TILE_WIDTH,
    tile_name,
    tile_widths,
)


def export_tiles(target: Path, log: SqlLog) -> int:
    """Write what the export does not hold yet, the checkpoint last; return the size of the head.

    Parameters
    ----------
    target : Path
        Folder of the export; made if missing. Tiles written before stay as they are.
    log : SqlLog
        The log.
    """
    head = log.head()
    for level, number, width in tile_widths(head.size):
        path = target / tile_name(level, number, width)
        if path.exists():
            continue
        if level == 0:
            start = number * TILE_WIDTH
            entries = b"".join(
                len(leaf).to_bytes(2, "big") + leaf for leaf in log.entries(start, start + width)
            )
            write_atomically(target / tile_name(ENTRIES, number, width), entries)
        write_atomically(path, b"".join(log.read_tile(level, number)[:width]))
    write_atomically(target / CHECKPOINT_FILE, log.cosigned(head).encode())
    return head.size
