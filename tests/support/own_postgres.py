"""A PostgreSQL server of a test's own, so that it can be stopped without harm to others."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

UNPRIVILEGED = "postgres"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPostgres:
    """A running server; ``stop`` and ``start`` as often as wanted."""

    programs: Path
    data: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.data} -c fsync=off"
        self._run("pg_ctl", "-D", self.data, "-w", "-o", options, "-l", self.data / "log", "start")

    def stop(self) -> None:
        """Stop as a crash does: what was committed is found again, nothing else."""
        self._run("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop")

    def make(self) -> None:
        self._run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "--no-sync")

    def _run(self, program: str, *words: object) -> None:
        command = [str(self.programs / program), *map(str, words)]
        if os.geteuid() == 0:  # a server refuses to run as root
            command = ["runuser", "-u", UNPRIVILEGED, "--", *command]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.data.parent)


def find_programs() -> Path | None:
    """Return the folder of the server's programs, or None."""
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("initdb")
    if on_path is not None:
        candidates.append(Path(on_path).resolve().parent)
    found = [
        each for each in candidates if (each / "initdb").exists() and (each / "pg_ctl").exists()
    ]
    if not found or (os.geteuid() == 0 and shutil.which("runuser") is None):
        return None
    return found[0]


@contextmanager
def own_postgres(folder: Path, programs: Path) -> Iterator[OwnPostgres]:
    """Run a server in a folder that is its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if os.geteuid() == 0:
        shutil.chown(folder, UNPRIVILEGED)
    server = OwnPostgres(programs=programs, data=folder / "data", port=port)
    server.make()
    server.start()
    try:
        yield server
    finally:
        server.stop()
