"""The bundle of a real day: it holds, and no byte of it may change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dso.cli.main import main
from ledger_adapter.verify import Report, verify_bundle
from tests.support.delivery_days import FinishedDay

pytestmark = pytest.mark.slow


@pytest.fixture
def bundle(summer: FinishedDay, tmp_path: Path) -> Path:
    return Path(shutil.copytree(summer.out / "bundle", tmp_path / "bundle"))


def verify(bundle: Path, day: FinishedDay) -> Report:
    return verify_bundle(bundle, (day.out / "operator.vkey").read_text())


def change_one_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x01
    path.write_bytes(content)


def test_the_bundle_holds(any_day: FinishedDay, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["audit", "verify", str(any_day.out / "bundle")]
    assert main([*words, "--key", str(any_day.out / "operator.vkey")]) == 0
    said = capsys.readouterr().out
    assert said.startswith("HOLDS")
    assert "0 batches came without disclosed salts, 0 posted digests without their files" in said


def test_every_clearing_and_the_settlement_were_posted(any_day: FinishedDay) -> None:
    manifest = json.loads((any_day.out / "bundle/manifest.json").read_text())
    rounds = sorted(path.name for path in (any_day.out / "clearing/intraday").iterdir())
    names = [batch["name"] for batch in manifest["batches"]]
    assert names == ["day-ahead", *(f"intraday-{label}" for label in rounds), "settlement"]
    indices = [batch["index"] for batch in manifest["batches"]]
    assert indices == sorted(indices)
    for batch in manifest["batches"]:
        assert batch["records"] is not None
        assert set(batch["folders"]) == {"input_root", "output_root"}


def test_the_bundle_is_what_the_day_left(summer: FinishedDay) -> None:
    for place, source in (("inputs/day-ahead", "clearing"), ("outputs/day-ahead", "clearing")):
        for path in (summer.out / "bundle" / place).iterdir():
            assert path.read_bytes() == (summer.out / source / path.name).read_bytes()


def test_a_changed_byte_in_any_file_is_named(summer: FinishedDay, bundle: Path) -> None:
    # All of one kind at once: each is checked on its own, and each must be named.
    manifest = json.loads((bundle / "manifest.json").read_text())
    content = {item["name"] for item in manifest["files"] if item["sha256"] is not None}
    proofs = {batch["proof"] for batch in manifest["batches"]}
    assert len(content) > 300
    for name in content | proofs:
        change_one_byte(bundle / name)
    report = verify(bundle, summer)
    assert not report.holds
    named = {failure.file for failure in report.failures}
    assert content | proofs <= named


@pytest.mark.parametrize(
    "name",
    ["checkpoint", "manifest.json", "proofs/bundle.tlog-proof", "proofs/log.consistency"],
)
def test_a_changed_byte_of_what_holds_the_rest_is_named(
    name: str, summer: FinishedDay, bundle: Path
) -> None:
    change_one_byte(bundle / name)
    report = verify(bundle, summer)
    assert not report.holds
    assert name in {failure.file for failure in report.failures}


def test_a_file_added_or_removed_is_named(
    summer: FinishedDay, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle / "outputs/day-ahead/notes.txt").write_text("an afterthought")
    (bundle / "inputs/day-ahead/orders.json").unlink()
    words = ["audit", "verify", str(bundle), "--key", str(summer.out / "operator.vkey")]
    assert main(words) == 1
    said = capsys.readouterr().out
    assert "outputs/day-ahead/notes.txt" in said
    assert "inputs/day-ahead/orders.json" in said


def test_another_key_is_refused(summer: FinishedDay, tmp_path: Path) -> None:
    from ledger_adapter.keys import load_or_create_keys

    other = load_or_create_keys(tmp_path / "other").vkey_text
    assert not verify_bundle(summer.out / "bundle", other).holds
