"""The key folder: made once, private, and honest about what was erased."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from data.errors import InputError
from ledger_adapter.keys import OperatorKeys, SubjectErased, load_or_create_keys
from ledger_adapter.verify.note import open_checkpoint, parse_verifier_key

RUN = bytes(32)


def test_made_on_first_use_and_the_same_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "keys"
    first = load_or_create_keys(folder, "dso.example/one")
    again = load_or_create_keys(folder, "dso.example/other")
    assert again.signer == first.signer
    assert first.signer.key.name == "dso.example/one"
    assert (folder / "operator.vkey").read_text() == first.vkey_text
    assert parse_verifier_key(first.vkey_text) == first.signer.key
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    for name in ("operator.vkey", "operator-mldsa.vkey", "actions.vkey"):
        assert modes.pop(name) == 0o644
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_signatures_are_deterministic_and_hold(keys: OperatorKeys) -> None:
    note = keys.signer.sign_checkpoint(7, bytes(32))
    assert note == keys.signer.sign_checkpoint(7, bytes(32))
    assert open_checkpoint(note.encode(), keys.signer.key).size == 7
    assert "seed" not in repr(keys)


def test_copies_of_a_folder_agree_also_on_subjects_seen_later(tmp_path: Path) -> None:
    load_or_create_keys(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    one, other = load_or_create_keys(tmp_path / "a"), load_or_create_keys(tmp_path / "b")
    assert one.subjects.run_keys(["x", "y"], RUN) == other.subjects.run_keys(["y", "x", "x"], RUN)
    stranger = load_or_create_keys(tmp_path / "c")
    assert one.subjects.run_keys(["x"], RUN) != stranger.subjects.run_keys(["x"], RUN)


def test_run_keys_differ_by_subject_and_run(keys: OperatorKeys) -> None:
    found = keys.subjects.run_keys(["x", "y"], RUN)
    assert len({*found.values(), *keys.subjects.run_keys(["x", "y"], b"1" * 32).values()}) == 4


def test_erasing_is_for_good_and_touches_nobody_else(keys: OperatorKeys, tmp_path: Path) -> None:
    before = keys.subjects.run_keys(["gone", "stays"], RUN)
    master = (tmp_path / "keys" / "salts.secret").read_text()
    keys.subjects.erase("gone")
    keys.subjects.erase("gone")
    keys.subjects.erase("never seen")
    for name in ("gone", "never seen"):
        with pytest.raises(SubjectErased, match=name):
            keys.subjects.run_keys(["stays", name], RUN)
    again = load_or_create_keys(tmp_path / "keys")
    assert again.subjects.run_keys(["stays"], RUN)["stays"] == before["stays"]
    kept = "".join(path.read_text() for path in (tmp_path / "keys").iterdir())
    assert master.strip() not in kept
    assert "gone" not in kept
    assert "never seen" not in kept


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("operator.key", "nonsense"),
        ("operator.key", None),
        (
            "operator.vkey",
            "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\n",
        ),
        ("salts.secret", "00"),
        ("salts.secret", None),
        ("subjects.json", "{}"),
        ("subjects.json", "["),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path: Path, name: str, content: str | None) -> None:
    load_or_create_keys(tmp_path / "keys")
    path = tmp_path / "keys" / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(InputError, match="key folder"):
        load_or_create_keys(tmp_path / "keys")


@pytest.mark.parametrize("name", ["", "with space", "a+b", "a\nb"])
def test_an_unusable_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        load_or_create_keys(tmp_path / "keys", name)


def test_a_folder_whose_making_was_interrupted_is_finished(tmp_path: Path) -> None:
    keys = load_or_create_keys(tmp_path / "keys")
    (tmp_path / "keys" / "operator.vkey").unlink()
    assert load_or_create_keys(tmp_path / "keys").signer == keys.signer
    for name in ("operator.vkey", "operator.key"):
        (tmp_path / "keys" / name).unlink()
    fresh = load_or_create_keys(tmp_path / "keys")
    assert fresh.signer != keys.signer
    fresh.subjects.run_keys(["in use"], RUN)
    for name in ("operator.vkey", "operator.key"):
        (tmp_path / "keys" / name).unlink()
    with pytest.raises(InputError, match=r"operator\.key"):
        load_or_create_keys(tmp_path / "keys")
