"""What a measurement was taken on and with: machine, versions, the engine's own text."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

from opf.engine_source import engine_sha256

__all__ = ["PACKAGES", "REPOSITORY", "describe_machine", "engine_sha256"]

REPOSITORY: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = (
    "clarabel", "numpy", "pandapower", "power-grid-model", "scipy", "simbench",
)  # fmt: skip
PROCESSOR_FILE: Final = Path("/proc/cpuinfo")


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
