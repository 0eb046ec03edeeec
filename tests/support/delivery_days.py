"""Whole delivery days run as an operator would, two at a time, once for all test processes."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

NOT_HASHED = {"timings.json", ".lock", "store.sqlite", "store.sqlite-wal", "store.sqlite-shm"}
WAIT_S_MAX = 1800
# Not the present folder: another test may have changed it while a day waits for its turn.
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedDay:
    """What a run left: its folder, exit code and words; ``kills`` tells how often it was killed."""

    feeder: str
    out: Path
    exit_code: int
    stdout: str
    stderr: str
    kills: int = 0

    def files(self) -> dict[str, bytes]:
        """Content of every file that must be equal between two runs, by name."""
        return {
            path.relative_to(self.out).as_posix(): path.read_bytes()
            for path in sorted(self.out.rglob("*"))
            if path.is_file() and path.name not in NOT_HASHED
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """When to send SIGKILL: ``count`` stages of a kind reached a state, and some seconds passed."""

    kind: str
    state: str = "done"
    count: int = 1
    delay_s: float = 0.0


# After stages and inside those that leave most behind.
KILLS = (
    Kill(kind="day_ahead", state="running", delay_s=0.2),
    Kill(kind="intraday", count=7),
    Kill(kind="settlement", state="running", delay_s=0.3),
    Kill(kind="posting", state="running", delay_s=0.5),
    Kill(kind="report"),
)
# After each of the seven stages, and inside the long ones.
ALL_KILLS = (
    Kill(kind="forecast"),
    Kill(kind="orders"),
    KILLS[0],
    Kill(kind="day_ahead"),
    KILLS[1],
    Kill(kind="intraday", count=24),
    Kill(kind="dispatch"),
    KILLS[2],
    Kill(kind="settlement"),
    KILLS[3],
    Kill(kind="posting"),
    KILLS[4],
)


class DeliveryDays:
    """Runs `dso day` in processes of its own; a day asked for twice is run once.

    The folder may be shared: who comes second with a name waits for the first and takes its run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(max_workers=2)
        self._runs: dict[str, Future[FinishedDay]] = {}

    @property
    def keys(self) -> Path:
        """The key folder that all runs share."""
        return self._folder / "keys"

    def begin(self, name: str, feeder: str, day: str, kills: Sequence[Kill] = ()) -> None:
        """Queue a run under a name."""
        run: Callable[..., FinishedDay] = _run_killed if kills else _run
        self._runs[name] = self._pool.submit(
            _run_once, run, feeder, self.words(name, feeder, day), self._folder / name, kills
        )

    def words(self, name: str, feeder: str, day: str) -> list[str]:
        """What is typed after `dso` for a run."""
        words = ["day", "--date", day, "--feeder", feeder]
        return [*words, "--out", str(self._folder / name), "--keys", str(self.keys)]

    def finished(self, name: str) -> FinishedDay:
        """Wait for a run."""
        return self._runs[name].result(timeout=WAIT_S_MAX)

    def close(self) -> None:
        """Wait for what still runs; what was not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _start(words: Sequence[str]) -> subprocess.Popen[str]:
    # Warnings are errors here too, as in every other test; libraries' deprecations are theirs.
    command = [
        sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning",
        "-W", "ignore::FutureWarning", "-m", "dso.cli.main", *words,
    ]  # fmt: skip
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )


def _run_once(
    run: Callable[..., FinishedDay], feeder: str, words: Sequence[str], out: Path,
    kills: Sequence[Kill],
) -> FinishedDay:  # fmt: skip
    """Run, or wait for the process that does and read what it found."""
    told = out.with_name(f"{out.name}.json")
    with out.with_name(f"{out.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            told.write_text(json.dumps(asdict(run(feeder, words, out, kills)), default=str))
    found = json.loads(told.read_text())
    return FinishedDay(**found | {"out": Path(found["out"])})


def _run(feeder: str, words: Sequence[str], out: Path, _kills: Sequence[Kill] = ()) -> FinishedDay:
    process = _start(words)
    stdout, stderr = process.communicate()
    return FinishedDay(
        feeder=feeder, out=out, exit_code=process.returncode, stdout=stdout, stderr=stderr
    )


def _run_killed(feeder: str, words: Sequence[str], out: Path, kills: Sequence[Kill]) -> FinishedDay:
    """Start, kill, start again: after every one of the kills, then let it end."""
    killed = 0
    for kill in kills:
        process = _start(words)
        while process.poll() is None and not _reached(out / "store.sqlite", kill):
            time.sleep(0.01)
        if process.poll() is None:
            time.sleep(kill.delay_s)
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    return replace(_run(feeder, words, out), kills=killed)


def _reached(store: Path, kill: Kill) -> bool:
    """Look into the store from outside."""
    if not store.exists():
        return False
    query = "SELECT count(*) FROM cycle_run WHERE kind = ? AND state = ?"
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
            found = connection.execute(query, (kill.kind, kill.state)).fetchone()
    except sqlite3.Error:
        return False  # its tables are being made
    return bool(found[0] >= kill.count)
