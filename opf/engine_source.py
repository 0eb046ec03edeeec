"""Which engine this is: a digest of its own source.

Between two releases the version of the package says nothing about a changed engine, and another
engine may end at other last digits. So every result names the text that computed it.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Final

ENGINE: Final = "engine source"
# Digits of the digest that results and benchmarks name.
DIGITS: Final = 12
_PACKAGE: Final = Path(__file__).resolve().parent
_IMPORTS: Final = re.compile(r"^\s*(?:from|import) opf\.([\w.]+)", re.MULTILINE)


@cache
def engine_sha256() -> str:
    """Return a digest of the source that `opf.clearing` imports within `opf`, itself included.

    Imports within functions count. Line ends do not, so that every checkout has the same digest.
    """
    found: dict[str, bytes] = {}
    waiting = ["clearing"]
    while waiting:
        name = waiting.pop()
        path = _PACKAGE.joinpath(*name.split(".")).with_suffix(".py")
        if name in found or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        found[name] = text.encode()
        waiting += _IMPORTS.findall(text)
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(f"opf/{name.replace('.', '/')}.py".encode() + b"\0")
        digest.update(found[name])
    return digest.hexdigest()


def name_engine() -> tuple[str, str]:
    """Return the entry that the versions of every result carry."""
    return ENGINE, engine_sha256()[:DIGITS]
