"""What a device must not forget, in one file that is replaced whole."""

from __future__ import annotations

import json
from pathlib import Path

from data.canonical import canonical_json, write_atomically
from data.errors import InputError, Problem
from data.records.dispatch import INSTRUCTION_KINDS
from dispatch.agents.device_agent import AgentMemory

NOTHING_BEGUN = -1


def write_memory(path: Path, memory: AgentMemory) -> None:
    """Write it; it is on the disk when this returns. To be called before the device acts."""
    fields = {
        "begun": dict(memory.begun),
        "letters": [letter.decode() for letter in memory.letters],
    }
    write_atomically(path, canonical_json(fields))


def read_memory(path: Path) -> AgentMemory | None:
    """Read it; None if there is no file yet.

    Raises
    ------
    InputError
        If the file cannot be read: a device that has forgotten could follow what was replaced.
    """
    if not path.exists():
        return None
    try:
        fields = json.loads(path.read_bytes())
        given = fields["begun"]
        begun = {kind: _whole(given.get(kind, NOTHING_BEGUN)) for kind in INSTRUCTION_KINDS}
        letters = tuple(str(letter).encode() for letter in fields["letters"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "remove it once every instruction of before has expired"
        problem = Problem(where=str(path), what=f"unreadable: {error}", remedy=remedy)
        raise InputError([problem]) from error
    return AgentMemory(begun=begun, letters=letters)


def _whole(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is no sequence number")
    return value
