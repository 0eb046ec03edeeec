"""Posting: the batch that goes to a ledger and the receipt that comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum


class Finality(IntEnum):
    """How settled a posted batch is; only an anchor takes it past ``LOCAL``."""

    ORPHANED = -1
    QUEUED = 0
    LOCAL = 1
    SUBMITTED = 2
    INCLUDED = 3
    SAFE = 4
    FINAL = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One clearing, one settlement revision or one bundle, as leaves of the log.

    Parameters
    ----------
    key : bytes
        32 bytes, SHA-256 over the canonical run fields; posting is idempotent by it.
    leaves : tuple of bytes
        Canonical commitment bytes, never personal data. The first leaf is the header.
    first : int or None
        Index the sender expects for the first leaf; None leaves the position to the ledger.
    """

    key: bytes
    leaves: tuple[bytes, ...]
    first: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a ledger answers: where the batch stands and the signed head that covers it.

    Parameters
    ----------
    key : bytes
        Key of the batch; empty for the head of an empty log.
    first, size : int
        Index of its first leaf, and the number of leaves in the log after it.
    root : bytes
        RFC 9162 root of the first ``size`` leaves.
    finality : Finality
        How settled this is.
    checkpoint : str
        C2SP signed note over ``size`` and ``root``.
    anchor : mapping
        Scheme-tagged evidence of an anchor, e.g. ``{"scheme": "evm", ...}``; empty without one.
    """

    key: bytes
    first: int
    size: int
    root: bytes
    finality: Finality
    checkpoint: str
    anchor: Mapping[str, str] = field(default_factory=dict)
