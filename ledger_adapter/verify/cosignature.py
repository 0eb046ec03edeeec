"""Messages that a cosigner signs, for Ed25519 (type 0x04) and ML-DSA-44 (type 0x06).

Source: https://c2sp.org/tlog-cosignature. A cosignature says that its signer checked the head to
be consistent with every head of that log it saw before. A log signs its own heads with ML-DSA-44
in the same format, because the signed-note type for logs knows Ed25519 only.
"""

from __future__ import annotations

import struct
from typing import Final

from ledger_adapter.verify.canonical import Malformed

TIME_BYTES: Final = 8
TIME_MAX: Final = 2**63 - 1
_LABEL: Final = b"subtree/v1\n\0"
_NAME_BYTES_MAX: Final = 255


def ed25519_cosigned_message(timestamp: int, text: str) -> bytes:
    """Message of an Ed25519 cosignature: two header lines, then the whole text of the note."""
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def mldsa_cosigned_message(
    cosigner: str, timestamp: int, origin: str, size: int, root: bytes
) -> bytes:
    """Message of an ML-DSA-44 cosignature over the tree of ``size`` leaves.

    Parameters
    ----------
    cosigner, origin : str
        Name of the cosigner's key and of the log; at most 255 bytes each.
    timestamp : int
        POSIX time [s]; 0 where the cosigner does not say that this is the largest tree it saw.
    size : int
        Number of leaves.
    root : bytes
        RFC 9162 root, 32 bytes.

    Raises
    ------
    Malformed
        If a name is empty or too long for the format.
    """
    return (
        _LABEL
        + _short(cosigner)
        + struct.pack(">Q", timestamp)
        + _short(origin)
        + struct.pack(">QQ", 0, size)
        + root
    )


def split_timestamp(signature: bytes) -> tuple[int, bytes]:
    """Split a ``timestamped_signature`` into POSIX time [s] and signature."""
    if len(signature) <= TIME_BYTES:
        raise Malformed("a cosignature is too short")
    (timestamp,) = struct.unpack(">Q", signature[:TIME_BYTES])
    if timestamp > TIME_MAX:
        raise Malformed("the time of a cosignature is beyond 2^63 - 1")
    return timestamp, signature[TIME_BYTES:]


def join_timestamp(timestamp: int, signature: bytes) -> bytes:
    """Write a ``timestamped_signature``."""
    return struct.pack(">Q", timestamp) + signature


def _short(text: str) -> bytes:
    content = text.encode()
    if not 1 <= len(content) <= _NAME_BYTES_MAX:
        raise Malformed(f"name {text[:40]!r} does not fit into 255 bytes")
    return bytes([len(content)]) + content
