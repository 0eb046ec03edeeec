"""`dso dispatch` as people type it: a device in one process, the market in another.

The device is killed and comes back: it still knows what it was told."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def dso(*words: object, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dso.cli.main", "dispatch", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


@contextmanager
def device(channel: Path, keys: Path, *words: object) -> Iterator[subprocess.Popen[str]]:
    command = [
        sys.executable, "-m", "dso.cli.main", "dispatch", "device", "sgen:12", "--channel",
        str(channel), "--market-key", str(keys / "dispatch.vkey"), *map(str, words),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.terminate()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    from dso.bootstrap import load_letter_key

    load_letter_key(tmp_path / "keys")
    return tmp_path / "keys"


def walk(tmp_path: Path, channel: Path, keys: Path) -> None:
    log, memory = tmp_path / "instructions.jsonl", tmp_path / "memory.json"
    with device(channel, keys, "--p-max-kw", 9, "--memory", memory) as running:
        assert running.stdout is not None
        assert "is free within 0 to 9 kW" in running.stdout.readline()
        sent = dso(
            "send", "--channel", channel, "--keys", keys, "--log", log, "--asset", "sgen:12",
            "--p-kw", "4", "--minutes", "60", "--reason", "line 7 overloaded", "--wait", "30",
        )  # fmt: skip
        assert sent.returncode == 0, sent.stdout + sent.stderr
        assert "4.000 kW" in sent.stdout
        assert "active" in sent.stdout
        assert "follows 4 kW" in running.stdout.readline()
        running.kill()
        running.wait(timeout=10)
    with device(channel, keys, "--p-max-kw", 9, "--memory", memory) as again:
        assert again.stdout is not None
        first = again.stdout.readline()
        # it may have to read its letters before it knows
        assert "follows 4 kW" in first or "follows 4 kW" in again.stdout.readline()
    status = dso("status", "--log", log)
    assert "1 active" in status.stdout


def test_a_setpoint_over_a_folder(tmp_path: Path, keys: Path) -> None:
    channel = tmp_path / "channel.toml"
    channel.write_text('channel = "files"\n[files]\nfolder = "exchange"\n')
    walk(tmp_path, channel, keys)


@pytest.mark.service
def test_a_setpoint_over_the_broker(tmp_path: Path, keys: Path, mqtt_url: str) -> None:
    channel, own = tmp_path / "channel.toml", uuid.uuid4().hex
    channel.write_text(
        f'channel = "mqtt"\n[mqtt]\nurl = "{mqtt_url}"\nroot = "test/{own}"\nclient_id = "{own}"\n'
    )
    walk(tmp_path, channel, keys)


def test_nobody_answers(tmp_path: Path, keys: Path) -> None:
    channel, log = tmp_path / "channel.toml", tmp_path / "log.jsonl"
    channel.write_text('channel = "files"\n[files]\nfolder = "exchange"\n')
    sent = dso(
        "send", "--channel", channel, "--keys", keys, "--log", log, "--asset", "sgen:1",
        "--q-kvar", "1", "--reason", "x", "--wait", "0.3",
    )  # fmt: skip
    assert sent.returncode == 1
    assert "ordered" in sent.stdout
    heard = dso("listen", "--channel", channel, "--keys", keys, "--log", log, "--for", "0.3")
    assert "1 unanswered instructions sent again" in heard.stdout


def test_bad_words_send_nothing(tmp_path: Path) -> None:
    bad = dso("send", "--channel", tmp_path / "none.toml", "--p-kw", "x", "--minutes", "-1")
    assert bad.returncode == 2
    assert "5 problems; nothing written" in bad.stderr
    assert dso("status", "--log", tmp_path / "none").returncode == 2
    assert "pattern write a/b/%u/up/#" in dso("rights", "--root", "a/b").stdout
    assert dso("rights", "--root", "a b").returncode == 2
