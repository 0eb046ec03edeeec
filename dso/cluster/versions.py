"""What a process runs on: unlike engines would give unlike bytes, so they are refused."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from opf.engine_source import engine_sha256

Versions = Mapping[str, str]
PACKAGES: Final = (
    "gridclear", "clarabel", "distributed", "highspy", "lightgbm", "numpy", "pandapower",
    "power-grid-model", "qdldl", "scipy", "simbench",
)  # fmt: skip


@cache
def installed_versions() -> Versions:
    """Return the versions that decide results, and the engine's source as SHA-256."""
    found = {"python": sys.version.split()[0], "engine": engine_sha256()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def differences(expected: Versions, found: Versions) -> tuple[str, ...]:
    """Return one sentence per version that is not as expected.

    Examples
    --------
    >>> differences({"numpy": "2.4.6", "python": "3.11.7"}, {"numpy": "2.3.0", "python": "3.11.7"})
    ('numpy is 2.3.0 there and 2.4.6 here',)
    """
    return tuple(
        f"{name} is {_short(found.get(name, 'absent'))} there and {_short(wanted)} here"
        for name, wanted in sorted(expected.items())
        if found.get(name) != wanted
    )


def _short(text: str) -> str:
    return text if len(text) <= 16 else text[:12]
