"""The log of instructions: what was ordered and what became of it, appended and never edited.

One JSON object a line. A line is in the file before the letter leaves, so a market that was killed
knows after its restart everything it may have said, and never gives a sequence number twice.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from data.errors import InputError, Problem
from data.periods import parse_utc
from data.records.dispatch import Activation, ActivationChange, ActivationState
from dispatch.messages import BadLetter, format_instant, instruction_fields, read_instruction


class InstructionLog:
    """Keeps activations, in memory or in a file.

    Parameters
    ----------
    path : Path or None
        The file; None keeps nothing beyond the process.
    read_only : bool
        Only look at it: the file is left as it is, and another process may write it meanwhile.

    Raises
    ------
    InputError
        If another process writes the file, or a line cannot be read. An unfinished last line, from
        a process that was killed while it wrote, is cut off: what it began to say was not sent.
    """

    def __init__(self, path: Path | None = None, *, read_only: bool = False) -> None:
        self.activations: dict[str, Activation] = {}
        self._stream: IO[bytes] | None = None
        if path is not None and read_only:
            with path.open("rb") as stream:
                self._read(stream, path)
        elif path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = path.open("a+b")
            _lock(self._stream, path)
            whole = self._read(self._stream, path)
            self._stream.truncate(whole)
            self._stream.seek(0, os.SEEK_END)

    def last_sequence(self, asset: str) -> int:
        """Return the greatest sequence number given to an asset, -1 for none."""
        told = (each.instruction for each in self.activations.values())
        return max((each.sequence for each in told if each.asset == asset), default=-1)

    def last_sequences(self) -> dict[str, int]:
        """Return the greatest sequence number of each asset."""
        found: dict[str, int] = {}
        for each in self.activations.values():
            told = each.instruction
            found[told.asset] = max(found.get(told.asset, -1), told.sequence)
        return found

    def keep(self, activation: Activation) -> None:
        """Write what is new of an activation: itself at first, then its further changes."""
        told = activation.instruction
        before = self.activations.get(told.id)
        if before is None:
            self._append({"instruction": instruction_fields(told)})
        for change in activation.changes[0 if before is None else len(before.changes) :]:
            self._append(
                {
                    "id": told.id,
                    "state": change.state.value,
                    "at": format_instant(change.at),
                    "reason": change.reason,
                }
            )
        self.activations[told.id] = activation

    def note(self, what: str, at: datetime) -> None:
        """Write down something that changed nothing, e.g. an answer that came after the end."""
        self._append({"note": what, "at": format_instant(at)})

    def sync(self) -> None:
        """Return when everything written is on the disk."""
        if self._stream is not None:
            self._stream.flush()
            os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self.sync()
            self._stream.close()
            self._stream = None

    def _append(self, fields: dict[str, object]) -> None:
        if self._stream is not None:
            text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
            self._stream.write(text.encode() + b"\n")

    def _read(self, stream: IO[bytes], path: Path) -> int:
        """Replay the whole lines; return where they end."""
        stream.seek(0)
        whole = 0
        for number, line in enumerate(stream, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                self._replay(json.loads(line))
            except (ValueError, KeyError, TypeError, BadLetter, InputError) as error:
                problem = Problem(where=f"{path.name} line {number}", what=f"unreadable: {error}")
                raise InputError([problem]) from error
            whole += len(line)
        return whole

    def _replay(self, fields: dict[str, Any]) -> None:
        if "instruction" in fields:
            told = read_instruction(fields["instruction"])
            self.activations[told.id] = Activation(instruction=told, changes=())
        elif "id" in fields:
            change = ActivationChange(
                state=ActivationState(fields["state"]),
                at=parse_utc(fields["at"]),
                reason=fields["reason"],
            )
            before = self.activations[fields["id"]]
            self.activations[fields["id"]] = replace(before, changes=(*before.changes, change))


def _lock(stream: IO[bytes], path: Path) -> None:
    """Make this process the only one that gives instructions by this log."""
    try:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        stream.close()
        remedy = "end that process, or name another log"
        problem = Problem(where=str(path), what="another process writes it", remedy=remedy)
        raise InputError([problem]) from error
