"""A scheduler and workers in processes of their own, behind a line that a test can cut."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = 65536


class Line:
    """A TCP line to one port; while it is cut nobody gets through, and who was is thrown out."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._cut = threading.Event()
        self._ended = threading.Event()
        self.cuts = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def cut(self, seconds: float) -> None:
        """Cut the line for some seconds, and return when it is whole again."""
        self._cut.set()
        self.cuts += len(self._pairs)
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()
        time.sleep(seconds)
        self._cut.clear()

    def close(self) -> None:
        self._ended.set()
        self._server.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if self._cut.is_set():
                near.close()
                continue
            try:
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                continue
            self._pairs.append((near, far))
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        with near, far:
            while True:
                try:
                    for end in select.select([near, far], [], [])[0]:
                        block = end.recv(BLOCK)
                        if not block:
                            return
                        other[end].sendall(block)
                except (OSError, ValueError):
                    return


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Run `dso cluster ...`; SIGTERM at the end, and no process is left."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dso.cli.main", "cluster", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def far_cluster(workers: int = 2) -> Iterator[Line]:
    """Run a scheduler and workers; whoever wants to reach the scheduler takes the line."""
    with running("scheduler", "--port", "0") as scheduler:
        assert scheduler.stdout is not None
        said = scheduler.stdout.readline()
        line = Line(int(said.rpartition(":")[2]))
        with running("worker", line.address, "--workers", str(workers)) as staff:
            assert staff.stdout is not None
            for _ in range(workers):
                assert "at work" in staff.stdout.readline()
            yield line
        line.close()
