"""A bundle holds as exported, and no byte of it can change, appear or vanish unnoticed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from data.errors import InputError
from data.records.posting import Batch
from ledger_adapter.batches import (
    batch_for_clearing,
    folder_files,
    folder_root,
    read_records,
)
from ledger_adapter.bundle import PostedBatch, export_bundle, receipt_for_leaf
from ledger_adapter.keys import OperatorKeys, load_or_create_keys
from ledger_adapter.ports import KeyConflict
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import configure_sqlite
from ledger_adapter.verify import Unreadable, verify_bundle
from ledger_adapter.verify.command import main
from ledger_adapter.verify.merkle import leaf_hash, verify_inclusion
from ledger_adapter.verify.proof import parse_inclusion
from ledger_adapter.verify.zipapp import build_zipapp
from tests.support.ledger_day import RUN, export_day, post_day, write_day

REPOSITORY = Path(__file__).resolve().parents[3]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, OperatorKeys]:
    """A bundle whose log held three leaves of something else before the day."""
    folder = tmp_path_factory.mktemp("bundle")
    keys = load_or_create_keys(folder / "keys", "dso.example/test")
    log = SqlLog(configure_sqlite(create_engine(f"sqlite:///{folder}/log.db")), keys.signer)
    log.post(Batch(key=bytes(32), leaves=(b"a", b"b", b"c")))
    export_day(write_day(folder / "day"), folder / "bundle", log, keys)
    return folder / "bundle", keys


@pytest.fixture
def bundle(made: tuple[Path, OperatorKeys], tmp_path: Path) -> Path:
    return shutil.copytree(made[0], tmp_path / "bundle")


def refused(folder: Path, keys: OperatorKeys) -> list[str]:
    report = verify_bundle(folder, keys.vkey_text)
    assert report.holds == (not report.failures)
    return [failure.file for failure in report.failures]


def test_it_holds_and_says_what_was_checked(made: tuple[Path, OperatorKeys]) -> None:
    folder, keys = made
    report = verify_bundle(folder, keys.vkey_text)
    assert report.holds, report.failures
    found = contents(folder)
    assert report.counts == {
        "files": len(found),
        "bytes": sum(map(len, found.values())),
        "batches": 2,
        "proofs": 4,
        "opened_records": 3 + 3,
        "unopened_batches": 0,
        "unmatched_digests": 0,
    }
    assert report.size == 3 + 4 + 4 + 1
    assert {name.split("/")[0] for name in found} == {
        "checkpoint", "inputs", "manifest.json", "outputs", "proofs", "settlement",
    }  # fmt: skip
    assert not any("timings" in name for name in found)


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.long)])
def test_every_changed_byte_is_refused_and_the_file_named(
    bundle: Path, made: tuple[Path, OperatorKeys], every: int
) -> None:
    for name, content in contents(bundle).items():
        path = bundle / name
        for place in range(len(name) % every, len(content), every):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            named = refused(bundle, made[1])
            assert named[:1] == [name], (name, place, named)
        path.write_bytes(content)
    assert refused(bundle, made[1]) == []


@pytest.mark.parametrize("extra", [b"\n", b" ", b"\r\n", b"\0"])
def test_a_byte_at_either_end_is_refused(
    bundle: Path, made: tuple[Path, OperatorKeys], extra: bytes
) -> None:
    for name, content in contents(bundle).items():
        for changed in (content + extra, extra + content, content[:-1], content[1:], b""):
            (bundle / name).write_bytes(changed)
            assert refused(bundle, made[1])[:1] == [name]
        (bundle / name).write_bytes(content)


def test_a_missing_file_is_named(bundle: Path, made: tuple[Path, OperatorKeys]) -> None:
    for name, content in contents(bundle).items():
        (bundle / name).unlink()
        assert name in refused(bundle, made[1]), name
        (bundle / name).write_bytes(content)


@pytest.mark.parametrize(
    "name",
    ["extra", "timings.json", "inputs/day-ahead/.hidden", "proofs/x.tlog-proof", "new/folder/x"],
)
def test_an_added_file_is_named(bundle: Path, made: tuple[Path, OperatorKeys], name: str) -> None:
    (bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle / name).write_bytes(b"")
    assert refused(bundle, made[1]) == [name]


def test_links_and_empty_folders_are_named(bundle: Path, made: tuple[Path, OperatorKeys]) -> None:
    (bundle / "empty").mkdir()
    assert refused(bundle, made[1]) == ["empty"]
    (bundle / "empty").rmdir()
    study = bundle / "inputs/day-ahead/study.toml"
    study.rename(bundle.parent / "elsewhere.toml")
    study.symlink_to(bundle.parent / "elsewhere.toml")
    assert refused(bundle, made[1])[0] == "inputs/day-ahead/study.toml"


def test_swapped_and_renamed_files_are_refused(
    bundle: Path, made: tuple[Path, OperatorKeys]
) -> None:
    first, second = (bundle / f"proofs/{name}.tlog-proof" for name in ("day-ahead", "settlement"))
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    named = refused(bundle, made[1])
    assert {"proofs/day-ahead.tlog-proof", "proofs/settlement.tlog-proof"} <= set(named)
    first.write_bytes(one)
    second.write_bytes(other)
    (bundle / "proofs/bundle.tlog-proof").write_bytes(one)
    assert refused(bundle, made[1])[0] == "proofs/bundle.tlog-proof"


def test_another_operators_key_and_a_rewritten_log(
    made: tuple[Path, OperatorKeys], tmp_path: Path
) -> None:
    other = load_or_create_keys(tmp_path / "keys", "dso.example/test")
    assert refused(made[0], other) == ["checkpoint"]
    # Same files, honestly posted by another operator: only the key tells them apart.
    log = SqlLog(create_engine(f"sqlite:///{tmp_path}/log.db"), other.signer)
    export_day(write_day(tmp_path / "day"), tmp_path / "bundle", log, other)
    assert verify_bundle(tmp_path / "bundle", other.vkey_text).holds
    assert refused(tmp_path / "bundle", made[1]) == ["checkpoint"]


def test_who_holds_the_key_can_tell_another_story_and_the_report_says_so(
    made: tuple[Path, OperatorKeys], tmp_path: Path
) -> None:
    log = SqlLog(create_engine(f"sqlite:///{tmp_path}/log.db"), made[1].signer)
    export_day(write_day(tmp_path / "day"), tmp_path / "bundle", log, made[1])
    report = verify_bundle(tmp_path / "bundle", made[1].vkey_text)
    assert report.holds
    assert report.root != verify_bundle(made[0], made[1].vkey_text).root
    assert any("rewrite and re-sign" in text for text in report.does_not_prove)


def test_the_same_day_twice_gives_the_same_bytes(
    made: tuple[Path, OperatorKeys], tmp_path: Path
) -> None:
    log = SqlLog(create_engine(f"sqlite:///{tmp_path}/log.db"), made[1].signer)
    log.post(Batch(key=bytes(32), leaves=(b"a", b"b", b"c")))
    day = write_day(tmp_path / "day")
    first = export_day(day, tmp_path / "bundle", log, made[1])
    assert contents(tmp_path / "bundle") == contents(made[0])
    assert export_day(day, tmp_path / "bundle", log, made[1]) == first
    assert contents(tmp_path / "bundle") == contents(made[0])
    assert log.head().size == first.size


def test_a_bundle_without_salts_holds_and_says_so(
    log: SqlLog, keys: OperatorKeys, tmp_path: Path
) -> None:
    export_day(write_day(tmp_path / "day"), tmp_path / "bundle", log, keys, disclose=False)
    report = verify_bundle(tmp_path / "bundle", keys.vkey_text)
    assert report.holds, report.failures
    assert (report.counts["opened_records"], report.counts["unopened_batches"]) == (0, 2)
    assert not any("disclosure" in name for name in contents(tmp_path / "bundle"))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("input_root", "manifest.json"),
        ("output_root", "manifest.json"),
        ("certificate_sha256", "manifest.json"),
        ("trades", "outputs/day-ahead/trades.csv"),
    ],
)
def test_an_operator_who_posted_something_else_is_found_out(
    log: SqlLog,
    keys: OperatorKeys,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: str,
    named: str,
) -> None:
    day = write_day(tmp_path / "day")
    rows = read_records("trade", day / "output" / "trades.csv")
    if wrong == "trades":
        rows[0]["energy_wh"] = "251"
    digests = {
        "input_root": folder_root(day / "study"),
        "output_root": folder_root(day / "output"),
        "certificate_sha256": folder_files(day / "output")["summary.json"],
    }
    digests |= {wrong: "0" * 64} if wrong in digests else {}
    batch = batch_for_clearing(
        {**RUN, "run": "day-ahead"},
        **digests,
        status="certified",
        trades=rows,
        subjects=keys.subjects,
    )
    # The exporter would refuse; an operator who means to deceive would not use it.
    monkeypatch.setattr("ledger_adapter.bundle._header_problems", lambda *_: [])
    log.post(batch)
    monkeypatch.setattr(
        "tests.support.ledger_day.batch_for_clearing", lambda *_args, **_fields: batch
    )
    export_day(day, tmp_path / "bundle", log, keys)
    assert refused(tmp_path / "bundle", keys) == [named]


def test_digests_without_their_files_are_counted(
    log: SqlLog, keys: OperatorKeys, tmp_path: Path
) -> None:
    day = write_day(tmp_path / "day")
    posted = [
        PostedBatch(name=batch.name, receipt=batch.receipt) for batch in post_day(day, log, keys)
    ]
    export_bundle(
        tmp_path / "bundle",
        log,
        key_fields=RUN,
        folders={"inputs/day-ahead": day / "study"},
        batches=posted,
        size_before=0,
    )
    report = verify_bundle(tmp_path / "bundle", keys.vkey_text)
    assert report.holds
    assert report.counts["unmatched_digests"] == 3 + 2


def test_other_files_than_were_posted_are_not_exported(
    log: SqlLog, keys: OperatorKeys, tmp_path: Path
) -> None:
    day = write_day(tmp_path / "day")
    batches = post_day(day, log, keys)
    size = log.head().size
    (day / "output" / "trades.csv").write_text("changed")
    (day / "settle" / "new.csv").write_text("added")
    with pytest.raises(InputError) as refusal:
        export_day_of(day, tmp_path / "bundle", log, batches)
    text = str(refusal.value)
    assert "outputs/day-ahead is not the posted output_root" in text
    assert "settlement/input is not the posted input_root" in text
    assert log.head().size == size
    assert not (tmp_path / "bundle").exists()


def export_day_of(day: Path, target: Path, log: SqlLog, batches: list[PostedBatch]) -> None:
    export_bundle(
        target,
        log,
        key_fields={**RUN, "run": "bundle"},
        folders={
            "inputs/day-ahead": day / "study",
            "outputs/day-ahead": day / "output",
            "settlement/input": day / "settle",
            "settlement/output": day / "settled",
        },
        batches=batches,
        size_before=0,
    )


def test_export_refuses_all_problems_together(
    log: SqlLog, keys: OperatorKeys, tmp_path: Path
) -> None:
    batch = post_day(write_day(tmp_path / "day"), log, keys)[0]
    with pytest.raises(InputError) as refusal:
        export_bundle(
            tmp_path / "bundle",
            log,
            key_fields=RUN,
            folders={"../out": tmp_path, "inputs/a": tmp_path, "inputs/a/b": tmp_path},
            batches=[batch, batch],
            size_before=9,
        )
    assert len(refusal.value.problems) == 9
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    with pytest.raises(InputError, match="is no bundle"):
        export_day(tmp_path / "day", tmp_path / "mine", log, keys)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "keep me"


def test_a_second_export_with_other_content_needs_a_revision(
    log: SqlLog, keys: OperatorKeys, tmp_path: Path
) -> None:
    day = write_day(tmp_path / "day")
    export_day(day, tmp_path / "bundle", log, keys)
    batches = post_day(day, log, keys)
    with pytest.raises(KeyConflict):
        export_bundle(
            tmp_path / "other",
            log,
            key_fields={**RUN, "run": "bundle"},
            folders={"inputs/only": day / "study"},
            batches=[PostedBatch(name="day-ahead", receipt=batches[0].receipt)],
            size_before=0,
        )
    assert not (tmp_path / "other").exists()


def test_a_participants_receipt_stands_alone(
    log: SqlLog, keys: OperatorKeys, tmp_path: Path
) -> None:
    batch = post_day(write_day(tmp_path / "day"), log, keys)[0]
    head = log.head()
    proof = parse_inclusion(receipt_for_leaf(log, batch.receipt.first + 2, head).encode())
    assert proof.checkpoint == head.checkpoint
    assert set(json.loads(proof.leaf)) == {"commitment", "format", "kind"}
    leaf = leaf_hash(proof.leaf)
    assert verify_inclusion(leaf, proof.index, head.size, proof.path, head.root)


def test_the_command_answers_0_1_and_2(
    made: tuple[Path, OperatorKeys],
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    key = tmp_path / "operator.vkey"
    key.write_text(made[1].vkey_text)
    assert main([str(bundle), "--key", str(key)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("HOLDS: log dso.example/test, 12 leaves, root ")
    assert "does not prove" in out
    trades = bundle / "outputs/day-ahead/trades.csv"
    trades.write_bytes(trades.read_bytes() + b"\n")
    assert main([str(bundle), "--key", str(key)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("DOES NOT HOLD: outputs/day-ahead/trades.csv: ")
    assert main([str(tmp_path / "nowhere"), "--key", str(key)]) == 2
    assert main([str(bundle), "--key", str(tmp_path / "nokey")]) == 2
    key.write_text("no key at all")
    assert main([str(bundle), "--key", str(key)]) == 2
    assert capsys.readouterr().err.count("UNREADABLE: ") == 3
    with pytest.raises(Unreadable):
        verify_bundle(bundle, "")


def test_the_zipapp_verifies_without_the_product(
    made: tuple[Path, OperatorKeys], bundle: Path, tmp_path: Path
) -> None:
    archive = build_zipapp(tmp_path / "verify.pyz")
    key = tmp_path / "operator.vkey"
    key.write_text(made[1].vkey_text)
    probe = (
        "import runpy, sys;"
        f"sys.path = [p for p in sys.path if p not in ('', {str(REPOSITORY)!r})];"
        "blocked = {'data', 'sqlalchemy', 'rfc8785', 'numpy', 'opf', 'dso'};"
        "hook = type('Hook', (), {'find_spec': staticmethod("
        "lambda name, *_: (_ for _ in ()).throw(ImportError(name))"
        " if name.split('.')[0] in blocked else None)});"
        "sys.meta_path.insert(0, hook);"
        "archive = sys.argv.pop(1);"
        "runpy.run_path(archive, run_name='__main__')"
    )

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", "-c", probe, archive, bundle, "--key", key],
            cwd=tmp_path, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    done = run()
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.startswith("HOLDS")
    (bundle / "checkpoint").write_bytes(b"")
    assert run().returncode == 1
    assert build_zipapp(tmp_path / "again.pyz").read_bytes() == archive.read_bytes()
