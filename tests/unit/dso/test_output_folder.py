"""An output folder is whole or absent, and nobody else's files are lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import InputError
from dso.cli.output_folder import staged_output


def _write(out: Path, names: dict[str, str], *, force: bool = False) -> None:
    with staged_output(out, marker="summary.json", force=force) as folder:
        for name, text in names.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)


def _tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_new_folder_holds_the_output(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    _write(out, {"summary.json": "1", "statements/x.csv": "2"})
    assert _tree(tmp_path) == {"a/b/summary.json": "1", "a/b/statements/x.csv": "2"}


def test_an_error_leaves_nothing_not_even_parents(tmp_path: Path) -> None:
    def fail() -> None:
        with staged_output(tmp_path / "a" / "b", marker="summary.json") as folder:
            (folder / "prices.csv").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_error_keeps_the_previous_output(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _write(out, {"summary.json": "1"})

    def fail() -> None:
        with staged_output(out, marker="summary.json") as folder:
            (folder / "summary.json").write_text("2")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert _tree(tmp_path) == {"out/summary.json": "1"}


def test_a_previous_output_is_replaced_with_its_old_statements(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _write(out, {"summary.json": "1", "statements/gone.csv": "1", "statements/kept.csv": "1"})
    (out / "study.toml").write_text("input")
    _write(out, {"summary.json": "2", "statements/kept.csv": "2"})
    assert _tree(out) == {"summary.json": "2", "statements/kept.csv": "2", "study.toml": "input"}


def test_foreign_files_are_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(InputError, match=r"thesis\.tex.*--force"):
        _write(tmp_path, {"summary.json": "1"})
    assert _tree(tmp_path) == {"thesis.tex": "years"}


def test_force_writes_beside_foreign_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years")
    _write(out, {"summary.json": "1"}, force=True)
    assert _tree(tmp_path) == {"out/thesis.tex": "years", "out/summary.json": "1"}


def test_a_file_in_the_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("file")
    with pytest.raises(InputError, match="is a file"):
        _write(tmp_path / "out", {"summary.json": "1"}, force=True)


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    _write(out, {"summary.json": "1"})
    assert _tree(out) == {"summary.json": "1"}
