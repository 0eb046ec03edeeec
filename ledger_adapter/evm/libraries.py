"""Loading the chain's libraries without what they do to the interpreter."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def keeping_recursion_limit() -> Iterator[None]:
    """Put the interpreter's recursion limit back after an import inside.

    A part of eth_account raises it to 100,000 frames, which is more than the stack holds: deeply
    nested input would then end the process where it should be refused.
    """
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
