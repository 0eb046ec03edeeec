"""The two ports: a ledger owns order and data, an anchor publishes heads outside.

Adapters share no base class; ``tests/conformance/ledger`` holds them to these sentences.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from data.records.posting import Batch, Finality, Receipt


class LedgerError(Exception):
    """A ledger refused or cannot answer."""


class KeyConflict(LedgerError):
    """The key was posted before with other content; a correction needs a new revision."""


class NotAppendOnly(LedgerError):
    """The batch does not start where the log ends, or a stored row was about to change."""


class Ledger(Protocol):
    """Owns order and data.

    ``post`` MUST be atomic and durable when it returns; the same key and leaves MUST give the
    same receipt, byte for byte, also after a crash; other leaves under a known key MUST raise
    `KeyConflict`; a ``first`` that is not the size of the log MUST raise `NotAppendOnly`. A head
    once signed MUST stay a prefix of every later head.
    """

    def post(self, batch: Batch) -> Receipt:
        """Append a batch and return its receipt."""
        ...

    def get(self, key: bytes) -> Receipt | None:
        """Return the receipt of a posted key, or None."""
        ...

    def head(self, at: Finality = Finality.LOCAL) -> Receipt:
        """Return the newest head that reached a finality; MUST raise when none can."""
        ...

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the RFC 9162 inclusion proof of a leaf in the tree of ``size`` leaves."""
        ...

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Return the RFC 9162 consistency proof between two sizes."""
        ...

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        """Return the leaves of ``[start, stop)`` in order; MUST raise beyond the end."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What an anchor can do; ``expected_delay_s`` is the usual time to ``finality_max`` [s]."""

    finality_max: Finality
    expected_delay_s: float
    stores_entries: bool
    verifies_inclusion: bool
    can_reorganise: bool


class Anchor(Protocol):
    """Publishes heads outside: an EVM chain, a witness, a timestamp authority.

    ``submit`` MAY send more than once, so the far side MUST be idempotent by key; ``status`` MAY
    go back to ORPHANED.
    """

    @property
    def caps(self) -> Caps:
        """What this anchor can do."""
        ...

    def submit(self, receipt: Receipt) -> Receipt:
        """Hand over a head; returns with finality SUBMITTED or better."""
        ...

    def status(self, key: bytes) -> Receipt:
        """Read the state of a key on the far side."""
        ...

    def evidence(self, key: bytes) -> bytes:
        """Return what an auditor needs to check the anchor without us."""
        ...
