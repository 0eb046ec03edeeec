"""Files: letters and messages as lines that are appended and never changed.

``down/<asset>.jsonl`` holds the letters to one asset, ``up/<asset>.jsonl`` what it says, one JSON
object a line. Whoever carries the folder (a share, a courier, ``rsync``) connects the two ends. A
line without its end is not there yet.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from data.canonical import canonical_json, write_atomically
from data.errors import InputError, Problem
from dispatch.channels.topics import SAFE
from dispatch.messages import Heard, Letter, Uplink, read_uplink, write_uplink

READ_FILE: Final = "read.json"


class FileChannel:
    """The market's end.

    Parameters
    ----------
    folder : Path
        Where ``down`` and ``up`` stand; made if missing. How far ``up`` was read is kept in
        ``read.json``, so a restart hears nothing twice.

    Raises
    ------
    InputError
        If ``read.json`` cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("down", "up"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._read: dict[str, int] = _read_positions(folder / READ_FILE)

    def send(self, letter: Letter) -> None:
        """Append a letter; it is on the disk when this returns."""
        _append(self._folder / "down" / _name(letter.asset), letter.text)

    def events(self, wait_s: float = 0.0) -> tuple[Heard, ...]:  # noqa: ARG002 files do not ring
        """Return the lines that came since the last call."""
        heard: list[Heard] = []
        before = dict(self._read)
        for path in sorted((self._folder / "up").glob("*.jsonl")):
            sender = unquote(path.stem)
            lines, self._read[path.name] = _new_lines(path, self._read.get(path.name, 0))
            heard += [read_uplink(line, sender) for line in lines]
        if self._read != before:
            write_atomically(self._folder / READ_FILE, canonical_json(self._read))
        return tuple(heard)

    def close(self) -> None:
        """Nothing is left open."""


class FileDeviceLink:
    """A device's end of the same folder; after a restart it reads all letters again."""

    def __init__(self, folder: Path, asset: str) -> None:
        for name in ("down", "up"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._down = folder / "down" / _name(asset)
        self._up = folder / "up" / _name(asset)
        self._position = 0
        self.is_up = True

    def send(self, message: Uplink) -> None:
        """Append a message."""
        _append(self._up, write_uplink(message))

    def letters(self) -> tuple[bytes, ...]:
        """Return the letters that came."""
        lines, self._position = _new_lines(self._down, self._position)
        return tuple(lines)


def _name(asset: str) -> str:
    return f"{quote(asset, safe=SAFE)}.jsonl"


def _append(path: Path, text: bytes) -> None:
    """Append one line in one write; an unfinished line of a killed writer is ended first."""
    with path.open("ab+") as stream:
        size = stream.seek(0, os.SEEK_END)
        if size > 0:
            stream.seek(size - 1)
            text = text if stream.read(1) == b"\n" else b"\n" + text
        stream.write(text + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def _new_lines(path: Path, position: int) -> tuple[list[bytes], int]:
    """Return whole lines from a position on, and the position after them."""
    if not path.exists():
        return [], position
    with path.open("rb") as stream:
        stream.seek(position)
        found = stream.read()
    whole = found.rfind(b"\n") + 1
    return [line for line in found[:whole].split(b"\n") if line], position + whole


def _read_positions(path: Path) -> dict[str, int]:
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_bytes())
        return {str(name): int(position) for name, position in found.items()}
    except (ValueError, AttributeError, TypeError) as error:
        remedy = "restore it, or remove it to hear every message again"
        problem = Problem(where=path.name, what=f"unreadable: {error}", remedy=remedy)
        raise InputError([problem]) from error
