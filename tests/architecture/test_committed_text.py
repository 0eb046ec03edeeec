"""The check of committed text finds what it is for, and nothing of it is committed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / ".ci" / "check_committed_text.py"


@pytest.fixture(scope="module")
def check() -> ModuleType:
    specification = importlib.util.spec_from_file_location("check_committed_text", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "line",
    [
        "--extra-ind" + "ex-url https://packages.example",
        '"resolved": "' + 'https://packages.example/a.tgz"',
        "cd /ro" + "ot/somewhere",
        "-----BEGIN " + "PRIVATE " + "KEY-----",
        "PRIVATE+" + "KEY+operator.example/log+0123abcd+AAECAwQFBgcICQoLDA0ODw",
    ],
)
def test_a_forbidden_line_is_found_with_its_number(
    check: ModuleType, tmp_path: Path, line: str
) -> None:
    path = tmp_path / "notes.md"
    path.write_text(f"fine\n{line}\n")
    (finding,) = check.findings(path)
    assert finding.startswith(f"{path}:2: ")


def test_ordinary_text_is_not_found(check: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    path.write_text("~/.cache, https://example.org/a/page, ${HOME}/jobs/x, out/root/a\n")
    assert check.findings(path) == []


def test_nothing_forbidden_is_committed() -> None:
    result = subprocess.run(
        [sys.executable, SCRIPT], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout


def test_the_lock_holds_names_versions_and_hashes_only() -> None:
    marker = "[a-z_]+ [!=<>]+ '[A-Za-z0-9.]+'"
    shapes = (
        rf"[a-z0-9-]+==[A-Za-z0-9.]+( ; {marker}( or {marker})*)? \\",
        r"    --hash=sha256:[0-9a-f]{64}( \\)?",
    )
    for name, least in (("requirements.lock", 500), ("requirements-pip.lock", 2)):
        lines = (REPOSITORY / name).read_text().splitlines()
        odd = [line for line in lines if not any(re.fullmatch(shape, line) for shape in shapes)]
        assert odd == [], name
        assert len(lines) > least, name
