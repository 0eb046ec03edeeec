"""docs/auditor.md: every command in it is run, and what it promises is said."""

from __future__ import annotations

import csv
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from dso.cli.main import main
from ledger_adapter.keys import load_or_create_keys
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import configure_sqlite
from tests.support.ledger_batches import batch
from tests.support.replay_day import clear_and_settle, post_and_export

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "auditor.md"
REPOSITORY = DOCUMENT.parent.parent
NAME = "dso.example/market"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command, its exit code, and texts it must say."""

    command: str
    code: int
    said: tuple[str, ...]


def steps(language: str) -> list[Step]:
    """Return the commands of all blocks of a language, in their order."""
    found: list[Step] = []
    blocks = re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(), re.M | re.S)
    for line in "".join(blocks).splitlines():
        if line.startswith("# "):
            last = found.pop()
            found.append(Step(command=last.command, code=last.code, said=(*last.said, line[2:])))
            continue
        command, _, remark = line.partition("    # exit ")
        found.append(Step(command=command, code=int(remark or 0), said=()))
    return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what an operator has: store, keys, bundle; and a forged bundle."""
    day = clear_and_settle(tmp_path / "day")
    keys = load_or_create_keys(tmp_path / "keys", NAME)
    engine = configure_sqlite(create_engine(f"sqlite:///{tmp_path}/store.sqlite"))
    post_and_export(day, tmp_path / "bundle", SqlLog(engine, keys.signer), keys)
    engine.dispose()

    def raise_a_price(forged: Path) -> None:
        path = forged / "clearing/prices.csv"
        rows = path.read_text().split("\n")
        cells = rows[5].split(",")
        cells[2] = str(float(cells[2]) + 0.01)
        rows[5] = ",".join(cells)
        path.write_text("\n".join(rows))

    other = configure_sqlite(create_engine(f"sqlite:///{tmp_path}/forged.sqlite"))
    forged_day = Path(shutil.copytree(day, tmp_path / "forged_day"))
    log = SqlLog(other, keys.signer)
    post_and_export(forged_day, tmp_path / "forged", log, keys, forge=raise_a_price)
    other.dispose()
    for name in ("operator.vkey", "operator-mldsa.vkey"):
        shutil.copy(tmp_path / "keys" / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def first_trade(place: Path) -> str:
    with (place / "bundle/outputs/day-ahead/trades.csv").open() as stream:
        return next(csv.DictReader(stream))["trade"]


def post_next_day(place: Path) -> None:
    """Post something under the new key, as the next day would."""
    keys = load_or_create_keys(place / "keys")
    engine = configure_sqlite(create_engine(f"sqlite:///{place}/store.sqlite"))
    SqlLog(engine, keys.signer).post(batch(1, 3))
    engine.dispose()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def in_background(command: str, folder: Path) -> Iterator[None]:
    """Run a command that goes on, until its first line is said; stop it by its own id."""
    words = [sys.executable, "-m", "dso.cli.main", *shlex.split(command)[1:-1]]
    process = subprocess.Popen(
        words, cwd=folder, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(REPOSITORY)}
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("witness on http://127.0.0.1:")
        yield
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0
        process.stdout.close()


def run(step: Step, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(step.command)
    if words[0] == "dso":
        capsys.readouterr()
        code, said = main(words[1:]), capsys.readouterr().out
    else:
        if words[0] == "python":
            words[0] = sys.executable
        done = subprocess.run(
            words, cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(REPOSITORY)}
        )
        code, said = done.returncode, done.stdout
    assert code == step.code, (step.command, said)
    for text in step.said:
        assert text in said, (step.command, said)


def test_every_command_of_the_walkthrough(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    witness, *operator = steps("operator")
    port = str(free_port())
    assert witness.command.endswith("&")
    with in_background(witness.command.replace("8440", port), place):
        shutil.copy(place / "witness/witness.vkey", place / "witness.vkey")
        for step in operator:
            command = step.command.replace("8440", port).replace("RECORD", first_trade(place))
            run(Step(command=command, code=step.code, said=step.said), place, capsys)
            if command.startswith("dso ledger rotate"):
                post_next_day(place)
    auditor = steps("sh")
    assert len(auditor) >= 15
    for step in auditor:
        run(step, place, capsys)
    page = (place / "audit.html").read_text()
    assert "The bundle holds, and so do its results." in page
    assert "http" not in page.replace("http-equiv", "")
