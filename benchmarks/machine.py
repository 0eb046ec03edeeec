"""What a measurement was taken on and with: machine, versions, the engine's own text."""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = (
    "clarabel", "numpy", "pandapower", "power-grid-model", "scipy", "simbench",
)  # fmt: skip
PROCESSOR_FILE: Final = Path("/proc/cpuinfo")


def engine_sha256() -> str:
    """Return a digest of the source that `opf.clearing` imports within `opf`, itself included.

    Results of another engine are not its own.
    """
    found: set[Path] = set()
    waiting = [REPOSITORY / "opf" / "clearing.py"]
    while waiting:
        path = waiting.pop()
        if path in found or not path.is_file():
            continue
        found.add(path)
        waiting += [
            (REPOSITORY / name.replace(".", "/")).with_suffix(".py") for name in _imports(path)
        ]
    digest = hashlib.sha256()
    for path in sorted(found):
        digest.update(path.relative_to(REPOSITORY).as_posix().encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _imports(path: Path) -> set[str]:
    """Return the modules of `opf` that a module imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name for name in names if name.startswith("opf.")}


def describe_machine() -> str:
    """Return processor, cores, system and versions in one sentence."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {sys.version.split()[0]}; {versions}"
    )


def _processor() -> str:
    """Return the processor's name where the system tells it."""
    if PROCESSOR_FILE.is_file():
        for line in PROCESSOR_FILE.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "processor not named"
