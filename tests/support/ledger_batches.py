"""Numbered batches for tests of ledgers."""

from __future__ import annotations

from data.records.posting import Batch


def batch(number: int, count: int = 1, first: int | None = None) -> Batch:
    """Make a batch whose key and leaves follow from its number."""
    leaves = tuple(f"batch {number} leaf {k}".encode() for k in range(count))
    return Batch(key=number.to_bytes(32, "big"), leaves=leaves, first=first)
