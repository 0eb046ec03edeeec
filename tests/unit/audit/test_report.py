"""The audit report: what it says for each outcome, and that it needs no network."""

from __future__ import annotations

from pathlib import Path

import pytest

from dso.audit.compare import Comparison
from dso.audit.explain import CHECKS, explain
from dso.audit.replay import ReplayReport, RunReplay
from dso.audit.report import build_report
from dso.cli.main import main
from ledger_adapter.keys import OperatorKeys, load_or_create_keys
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.verify import verify_bundle
from tests.support.ledger_day import export_day, write_day


@pytest.fixture
def keys(tmp_path: Path) -> OperatorKeys:
    return load_or_create_keys(tmp_path / "keys", "dso.example/<report>")


@pytest.fixture
def bundle(tmp_path: Path, keys: OperatorKeys) -> Path:
    from sqlalchemy import create_engine

    engine = create_engine(f"sqlite:///{tmp_path}/log.db")
    export_day(write_day(tmp_path / "day"), tmp_path / "bundle", SqlLog(engine, keys.signer), keys)
    engine.dispose()
    return tmp_path / "bundle"


def page(bundle: Path, keys: OperatorKeys, replay: ReplayReport | None = None) -> str:
    report = verify_bundle(bundle, keys.vkey_text)
    first = build_report(bundle, report, key_text=keys.vkey_text, replay=replay)
    assert build_report(bundle, report, key_text=keys.vkey_text, replay=replay) == first
    return first.decode()


def replayed(
    *differences: str, notes: tuple[str, ...] = (), left_out: tuple[str, ...] = ()
) -> ReplayReport:
    comparison = Comparison(differences=list(differences), notes=list(notes), prices=7)
    run = RunReplay(name="day-ahead", kind="clearing", comparison=comparison)
    return ReplayReport(runs=(run,), left_out=left_out)


def test_the_verdict_is_never_better_than_what_was_checked(
    bundle: Path, keys: OperatorKeys
) -> None:
    assert "The bundle holds. It was not run again." in page(bundle, keys)
    good = page(bundle, keys, replayed())
    assert "The bundle holds, and so do its results." in good
    assert "class='verdict good'" in good
    claim = "every price, award and trade is what the product computes"
    assert claim in good
    part = page(bundle, keys, replayed(left_out=("settlement",)))
    assert "so do the runs that were repeated" in part
    assert "class='verdict good'" not in part
    assert claim not in part
    bad = page(bundle, keys, replayed("prices.csv row 2 <b>: other", notes=("numpy 9",)))
    assert "class='verdict bad'" in bad
    assert claim not in bad
    assert "The day runs again: not shown" in bad
    assert "repeat with those, then judge" in bad
    assert "prices.csv row 2 &lt;b&gt;: other" in bad
    (bundle / "checkpoint").write_bytes(b"")
    broken = page(bundle, keys)
    assert "The bundle does not hold." in broken
    assert "class='verdict bad'" in broken
    assert "no file is missing or added" not in broken


def test_names_are_escaped_and_nothing_is_loaded(bundle: Path, keys: OperatorKeys) -> None:
    text = page(bundle, keys)
    assert "dso.example/&lt;report&gt;" in text
    assert "<report>" not in text
    for word in ("http:", "https:", "src=", "@import", "url("):
        assert word not in text


def test_explain_speaks_of_every_check(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = explain()
    for check in CHECKS:
        assert check.name in text
        assert check.command in text
    assert main(["audit", "explain", str(bundle)]) == 0
    assert "settlement (leaf 4): inclusion in the log, replay, its records open" in (
        capsys.readouterr().out
    )


def test_what_cannot_be_read_is_said(
    bundle: Path, keys: OperatorKeys, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = str(tmp_path / "keys/operator.vkey")
    witness = str(tmp_path / "keys/operator-mldsa.vkey")
    out = str(tmp_path / "page.html")
    for words in (
        ["report", str(tmp_path / "nowhere"), "--key", key, "--out", out],
        ["report", str(bundle), "--key", str(bundle / "checkpoint"), "--out", out],
        ["report", str(bundle), "--key", key, "--out", out, "--quorum", "1"],
        ["verify", str(bundle), "--key", key, "--witness", witness],
    ):
        assert main(["audit", *words]) == 2
        assert "UNREADABLE" in capsys.readouterr().err
    (tmp_path / "binary.vkey").write_bytes(b"\xff\xfe")
    words = ["replay", str(bundle), "--key", str(tmp_path / "binary.vkey")]
    for action in (words, ["verify", *words[1:]], ["report", *words[1:], "--out", out]):
        assert main(["audit", *action]) == 2
        assert "UNREADABLE" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
    (bundle / "manifest.json").write_text("{}")
    assert main(["audit", "explain", str(bundle)]) == 2
    assert main(["audit", "report", str(bundle), "--key", key, "--out", out]) == 1
