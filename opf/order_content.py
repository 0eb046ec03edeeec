"""What an order says apart from its names: the sequence of columns follows this, never an id."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from data.records.order import Order

NAMES: Final = frozenset(
    {"id", "participant", "participant_to", "submitted_at", "pay", "parent", "exclusive_group"}
)


def content_of(order: Order) -> tuple[bytes, ...]:
    """Return a sort key that is equal for orders which differ in their names alone."""
    fields = [field.name for field in dataclasses.fields(order) if field.name not in NAMES]
    return type(order).__name__.encode(), *(plain(getattr(order, name)) for name in fields)


def plain(value: object) -> bytes:
    """Return the bytes of a value, of records and tuples those of their parts."""
    if isinstance(value, np.ndarray):
        return np.asarray(value, dtype=float).tobytes()
    if dataclasses.is_dataclass(value):
        return b"".join(plain(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, tuple):
        return b"".join(plain(item) for item in value) + b";"
    return repr(value).encode()
