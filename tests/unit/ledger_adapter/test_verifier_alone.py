"""The verifier as a package of its own: built, installed and run without the product."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from ledger_adapter.keys import load_or_create_keys
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import configure_sqlite
from tests.support.ledger_day import export_day, write_day

REPOSITORY = Path(__file__).resolve().parents[3]
VERIFIER = REPOSITORY / "ledger_adapter" / "verify"


def test_its_version_and_needs_are_those_of_the_product() -> None:
    own = tomllib.loads((VERIFIER / "pyproject.toml").read_text())["project"]
    whole = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert own["version"] == whole["version"]
    assert own["requires-python"] == whole["requires-python"]
    assert set(own["dependencies"]) <= set(whole["dependencies"])


def test_it_installs_and_verifies_alone(tmp_path: Path) -> None:
    pytest.importorskip("pip")
    source = shutil.copytree(VERIFIER, tmp_path / "source")
    shutil.rmtree(source / "__pycache__", ignore_errors=True)
    words = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    words += ["--disable-pip-version-check", "--target", str(tmp_path / "site"), str(source)]
    subprocess.run([sys.executable, *words], check=True, cwd=tmp_path, capture_output=True)
    installed = {path.name for path in (tmp_path / "site/ledger_adapter").iterdir()}
    assert installed - {"__pycache__"} == {"verify"}
    keys = load_or_create_keys(tmp_path / "keys", "dso.example/test")
    engine = configure_sqlite(create_engine(f"sqlite:///{tmp_path}/log.db"))
    export_day(write_day(tmp_path / "day"), tmp_path / "bundle", SqlLog(engine, keys.signer), keys)
    engine.dispose()
    # The product is out of sight: only what was installed, and `cryptography` where it is.
    probe = (
        "import sys; sys.path = [p for p in sys.path if p not in ('', sys.argv[1])]\n"
        "sys.path.insert(0, sys.argv.pop(2)); root = sys.argv.pop(1)\n"
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
        "from ledger_adapter.verify import command\n"
        "code = command.main()\n"
        "loaded = {m.split('.')[0] for m in sys.modules}\n"
        "assert not loaded & {'data', 'dso', 'opf', 'sqlalchemy', 'numpy', 'rfc8785'}, loaded\n"
        "sys.exit(code)\n"
    )
    words = ["-c", probe, str(REPOSITORY), str(tmp_path / "site"), str(tmp_path / "bundle")]
    words += ["--key", str(tmp_path / "keys/operator.vkey")]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, env=clean
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.startswith("HOLDS: log dso.example/test")
    script = (tmp_path / "site/bin/gridclear-verify").read_text()
    assert "ledger_adapter.verify.command" in script
