"""One canonical text for hashing and for files: same content, same bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from enum import Enum
from math import isfinite
from pathlib import Path
from typing import Final

import numpy as np

from data.periods import format_utc

UNFINISHED: Final = ".tmp"


def format_number(value: float) -> str:
    """Write a number with at most 12 significant digits; never ``-0``, never NaN.

    Raises
    ------
    ValueError
        If the value is not finite.
    """
    if not np.isfinite(value):
        raise ValueError(f"refusing to write a number that is not finite: {value!r}")
    text = f"{float(value):.12g}"
    return "0" if text == "-0" else text


def to_plain(value: object) -> object:
    """Turn a record into JSON types: keys sorted, arrays as lists, instants as UTC text."""
    if isinstance(value, float):  # first: nearly everything is a number
        if not isfinite(value):
            raise ValueError(f"refusing to serialise a number that is not finite: {value!r}")
        return float(f"{value:.12g}") + 0.0
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return [to_plain(item) for item in value.tolist()]
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Enum):
        return to_plain(value.value)
    if isinstance(value, datetime):
        return format_utc(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, np.generic):
        return to_plain(value.item())
    return value


def canonical_json(value: object) -> bytes:
    """Return the canonical JSON bytes of a record or plain value (sorted keys, no spaces)."""
    return json.dumps(
        to_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def pretty_json(value: object) -> bytes:
    """Return readable JSON bytes: sorted keys, two spaces, one trailing newline."""
    text = json.dumps(
        to_plain(value), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False
    )
    return (text + "\n").encode()


def sha256_hex(content: bytes) -> str:
    """Return the SHA-256 of bytes as lower-case hex."""
    return hashlib.sha256(content).hexdigest()


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    r"""Write a table: ``,`` and ``\n``, floats with 12 significant digits, None as blank."""

    def cell(value: object) -> str:
        if value is None:
            return ""
        if isinstance(value, bool | np.bool_):
            return "true" if value else "false"
        if isinstance(value, int | np.integer):
            return str(int(value))
        if isinstance(value, float | np.floating):
            return format_number(float(value))
        if isinstance(value, datetime):
            return format_utc(value)
        text = str(value)
        if any(mark in text for mark in ',"\n\r'):
            return '"' + text.replace('"', '""') + '"'
        return text

    lines = [",".join(header)]
    lines.extend(",".join(map(cell, row)) for row in rows)
    return ("\n".join(lines) + "\n").encode()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves either the old content or the new, never a part.

    What a kill leaves beside it starts with a dot and ends with `UNFINISHED`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
