"""Every command and program on the planner's page runs as it stands there."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from dso.cli.main import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "planner.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"!\[[^\]]+\]\(([^)]+)\)")


def blocks() -> list[tuple[str, str]]:
    return BLOCK.findall(PAGE.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_walk_through_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        commands = 0
        for language, text in blocks():
            if language == "toml":
                name = text.partition("\n")[0].removeprefix("# ")
                Path(name).write_text(text, encoding="utf-8")
            elif language == "python":
                exec(compile(text, str(PAGE), "exec"), {"__name__": "planner"})
            else:
                assert language == "console"
                for line in text.splitlines():
                    words = shlex.split(line)
                    assert words[0] == "dso"
                    assert main(words[1:]) == 0, line
                    commands += 1
    finally:
        os.chdir(before)
    assert commands >= 20
    said = capsys.readouterr().out
    assert "16 variants, 16 cleared now, 0 before" in said
    assert "16 variants, 0 cleared now, 16 before" in said
    assert re.search(r"^3\.0 certified [1-9]", said, re.MULTILINE)
    names = {path.name for path in (tmp_path / "comparison").iterdir()}
    listed = set(re.findall(r"^\| `([\w.]+)` \|", PAGE.read_text(), re.MULTILINE))
    assert names - {"index.html"} == listed
    assert (tmp_path / "with-battery.html").is_file()


def test_its_pictures_are_there() -> None:
    pictures = PICTURE.findall(PAGE.read_text(encoding="utf-8"))
    assert len(pictures) >= 2
    for picture in pictures:
        assert (PAGE.parent / picture).is_file(), picture
