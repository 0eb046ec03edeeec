"""A witness as somebody else runs it: a process of its own on a free port."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ledger_adapter.verify.note import VerifierKey, parse_verifier_keys

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningWitness:
    """Where it listens, its public keys, and the folder it remembers in."""

    url: str
    vkeys: Path
    folder: Path

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        return parse_verifier_keys(self.vkeys.read_text(encoding="utf-8"))


@contextmanager
def running_witness(
    folder: Path, *logs: Path, name: str = "witness.example/w"
) -> Iterator[RunningWitness]:
    """Start a witness of some logs' .vkey files; stop it by its own process id."""
    words = [sys.executable, "-m", "ledger_adapter.witness", "--folder", folder, "--port", "0"]
    words += ["--name", name, *(word for log in logs for word in ("--log", log))]
    process = subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        url = said.split(",")[0].removeprefix("witness on ")
        yield RunningWitness(url=url, vkeys=folder / "witness.vkey", folder=folder)
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0
        process.stdout.close()
