"""Run a page of the documentation: its commands, programs and files, in the order they stand."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Final

from dso.cli.main import main

BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PICTURE: Final = re.compile(r"!\[[^\]]+\]\(([^)]+)\)")


def run_page(page: Path, folder: Path) -> int:
    """Run every block in ``folder`` and return the number of commands.

    A ``csv`` or ``toml`` block is the file that its first line names; every command must end
    with 0.
    """
    before = Path.cwd()
    os.chdir(folder)
    commands = 0
    try:
        for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            if language in ("csv", "toml"):
                name, _, content = text.partition("\n")
                path = Path(name.removeprefix("# "))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8")
            elif language == "python":
                exec(compile(text, str(page), "exec"), {"__name__": "walk_through"})
            else:
                assert language == "console"
                for line in text.splitlines():
                    words = shlex.split(line)
                    assert words[0] == "dso"
                    assert main([*words[1:]]) == 0, line
                    commands += 1
    finally:
        os.chdir(before)
    return commands


def pictures_of(page: Path) -> list[Path]:
    """Return the pictures that a page shows."""
    return [page.parent / name for name in PICTURE.findall(page.read_text(encoding="utf-8"))]
