"""The tree keeps its shape: sizes, docstrings, import directions and what may be imported where."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("data", "forecasting", "flexibility", "opf", "dispatch", "ledger_adapter", "dso")
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70


def _modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _lines_without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    lines = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node) is not None:
        docstring = node.body[0]
        assert docstring.end_lineno is not None
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def _imports(path: Path) -> set[str]:
    """Return the full names of the modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{_name(path)}:{node.lineno} imports relatively"
            assert node.module is not None
            found.add(node.module)
    return found


def _foreign(package: str, allowed: tuple[str, ...]) -> list[str]:
    """Return imports of a package beyond the standard library and ``allowed`` prefixes."""
    return [
        f"{_name(path)} imports {name}"
        for path in sorted((REPOSITORY / package).rglob("*.py"))
        for name in sorted(_imports(path))
        if name.split(".")[0] not in sys.stdlib_module_names
        and not any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed)
    ]


def test_the_tree_is_found() -> None:
    assert len(_modules()) >= 20


def test_no_module_is_longer_than_500_lines() -> None:
    sizes = {_name(path): len(path.read_text().splitlines()) for path in _modules()}
    assert {name: size for name, size in sizes.items() if size > MODULE_LINES_MAX} == {}


def test_no_function_is_longer_than_70_lines() -> None:
    long = {
        f"{_name(path)}:{function.lineno} {function.name}": lines
        for path in _modules()
        for function in _functions(ast.parse(path.read_text()))
        if (lines := _lines_without_docstring(function)) > FUNCTION_LINES_MAX
    }
    assert long == {}


def test_the_function_size_leaves_the_docstring_out() -> None:
    tree = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    a = 1\n    return a\n')
    assert [_lines_without_docstring(function) for function in _functions(tree)] == [3]


def test_every_module_and_public_name_has_a_docstring() -> None:
    bare = []
    for path in _modules():
        tree = ast.parse(path.read_text())
        if ast.get_docstring(tree) is None:
            bare.append(_name(path))
        bare.extend(
            f"{_name(path)}:{node.lineno} {node.name}"
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and ast.get_docstring(node) is None
        )
    assert bare == []


def test_the_settlement_imports_only_data() -> None:
    # numpy sums a year of meters in integers, sepaxml writes the bank's file: neither is ours.
    assert _foreign("dso/settlement", ("data", "dso.settlement", "numpy", "sepaxml")) == []


def test_the_verifier_imports_nothing_of_ours() -> None:
    assert _foreign("ledger_adapter/verify", ("cryptography", "ledger_adapter.verify")) == []


def test_the_verifier_loads_nothing_of_ours() -> None:
    listing = "import sys, ledger_adapter.verify; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", listing], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    ours = [
        name
        for name in loaded
        if name.split(".")[0] in (*PACKAGES, "numpy", "sqlalchemy")
        and name != "ledger_adapter"
        and not name.startswith("ledger_adapter.verify")
    ]
    assert ours == []


def test_the_import_contracts_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [linter, "--no-cache", "--no-logo"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_resolves_inside_the_repository(package: str) -> None:
    # "data" is a common name: another distribution's module of that name must not win.
    module = importlib.import_module(package)
    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == REPOSITORY / package / "__init__.py"
