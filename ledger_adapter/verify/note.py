"""Signed notes and checkpoints of C2SP, with Ed25519 signatures and both kinds of cosignature.

Sources: https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint and
https://c2sp.org/tlog-cosignature.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ledger_adapter.verify.canonical import (
    Malformed,
    format_base64,
    parse_base64,
    parse_decimal,
    parse_hash,
)
from ledger_adapter.verify.cosignature import (
    ed25519_cosigned_message,
    mldsa_cosigned_message,
    split_timestamp,
)

ED25519_TYPE: Final = 0x01
ED25519_COSIGNATURE_TYPE: Final = 0x04
MLDSA44_COSIGNATURE_TYPE: Final = 0x06
PUBLIC_KEY_BYTES: Final = {
    ED25519_TYPE: 32,
    ED25519_COSIGNATURE_TYPE: 32,
    MLDSA44_COSIGNATURE_TYPE: 1312,
}
KEY_ID_BYTES: Final = 4
SIGNATURES_MAX: Final = 16
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A public key: its name, key id (4 bytes), key (32 or 1,312 bytes) and signature type."""

    name: str
    key_id: bytes
    public: bytes
    kind: int = ED25519_TYPE

    @property
    def text(self) -> str:
        """The key as ``name+hexkeyid+base64``."""
        material = format_base64(bytes([self.kind]) + self.public)
        return f"{self.name}+{self.key_id.hex()}+{material}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A parsed note: the signed text and the signature lines (name, key id, signature)."""

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A tree head: whose log, how many leaves, which root; extension lines if there are any."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()


def check_key_name(name: str) -> str:
    """Return a key name, or refuse one that is empty or holds spaces, ``+`` or controls."""
    if not name or "+" in name or any(mark.isspace() or ord(mark) < 32 for mark in name):
        raise Malformed(f"{name!r} is not a key name (no spaces, no '+')")
    return name


def key_id_of(name: str, public: bytes, kind: int = ED25519_TYPE) -> bytes:
    """Key id: SHA-256(name || 0x0A || signature type || public key), first four bytes."""
    content = name.encode() + b"\n" + bytes([kind]) + public
    return hashlib.sha256(content).digest()[:KEY_ID_BYTES]


def parse_verifier_key(text: str) -> VerifierKey:
    """Read ``name+hexkeyid+base64`` (one line, one trailing newline allowed).

    Raises
    ------
    Malformed
        If it is not a verifier key of a known type or its id does not belong to it.
    """
    parts = text.removesuffix("\n").split("+", 2)
    if len(parts) != 3:
        raise Malformed("a verifier key reads name+hexkeyid+base64")
    name, key_id, material = parts
    check_key_name(name)
    raw = parse_base64(material)
    kind, public = raw[0] if raw else 0, raw[1:]
    if len(public) != PUBLIC_KEY_BYTES.get(kind):
        raise Malformed("the verifier key is of no known type, or has the wrong length")
    expected = key_id_of(name, public, kind)
    if key_id != expected.hex():
        raise Malformed(f"key id {key_id[:16]!r} does not belong to this key")
    return VerifierKey(name=name, key_id=expected, public=public, kind=kind)


def parse_verifier_keys(text: str) -> tuple[VerifierKey, ...]:
    """Read one verifier key per line."""
    return tuple(parse_verifier_key(line) for line in text.removesuffix("\n").split("\n"))


def parse_note(content: bytes) -> Note:
    """Split a note at its last blank line; refuse every spelling the format does not allow."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise Malformed("the note is not UTF-8") from error
    if _CONTROL.search(text):
        raise Malformed("the note holds control characters")
    body, blank, block = text.rpartition("\n\n")
    if not blank or not block.endswith("\n"):
        raise Malformed("the note has no signature block after a blank line")
    lines = block[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise Malformed(f"the note has more than {SIGNATURES_MAX} signatures")
    return Note(text=body + "\n", signatures=tuple(_signature(line) for line in lines))


def _signature(line: str) -> tuple[str, bytes, bytes]:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "\N{EM DASH}":
        raise Malformed(f"{line[:40]!r} is not a signature line")
    raw = parse_base64(parts[2])
    if len(raw) <= KEY_ID_BYTES:
        raise Malformed("a signature is too short")
    return check_key_name(parts[1]), raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:]


def format_note(note: Note) -> str:
    """Write a note; reading it again gives the same note."""
    lines = "".join(
        f"\N{EM DASH} {name} {format_base64(key_id + signature)}\n"
        for name, key_id, signature in note.signatures
    )
    return f"{note.text}\n{lines}"


def verify_note(note: Note, key: VerifierKey) -> bool:
    """Tell whether the key signed the text; lines of other keys are ignored, as C2SP says.

    One failing signature under the key's own name and id makes the whole note false.
    """
    mine = [s for name, key_id, s in note.signatures if (name, key_id) == (key.name, key.key_id)]
    return bool(mine) and all(_holds(key, note.text, signature) for signature in mine)


def _holds(key: VerifierKey, text: str, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        if key.kind == ED25519_TYPE:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())
            return True
        timestamp, inner = split_timestamp(signature)
        if key.kind == ED25519_COSIGNATURE_TYPE:
            message = ed25519_cosigned_message(timestamp, text)
            Ed25519PublicKey.from_public_bytes(key.public).verify(inner, message)
            return True
        return _holds_mldsa(key, text, timestamp, inner)
    except (InvalidSignature, Malformed):
        return False


def _holds_mldsa(key: VerifierKey, text: str, timestamp: int, signature: bytes) -> bool:
    """Check an ML-DSA-44 cosignature; it covers no extension lines, so there must be none."""
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

    head = parse_checkpoint(text)
    if head.extensions:
        return False
    message = mldsa_cosigned_message(key.name, timestamp, head.origin, head.size, head.root)
    MLDSA44PublicKey.from_public_bytes(key.public).verify(signature, message)
    return True


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint note."""
    if not text.endswith("\n"):
        raise Malformed("the checkpoint does not end in a newline")
    lines = text[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise Malformed("a checkpoint has an origin, a size and a root, without blank lines")
    return Checkpoint(
        origin=lines[0],
        size=parse_decimal(lines[1]),
        root=parse_hash(lines[2]),
        extensions=tuple(lines[3:]),
    )


def format_checkpoint(checkpoint: Checkpoint) -> str:
    """Write the text that a checkpoint signs."""
    lines = (checkpoint.origin, str(checkpoint.size), format_base64(checkpoint.root))
    return "".join(f"{line}\n" for line in (*lines, *checkpoint.extensions))


def open_checkpoint(content: bytes, key: VerifierKey) -> Checkpoint:
    """Read a checkpoint that this key alone signed; the bytes must be its only spelling.

    Raises
    ------
    Malformed
        If a byte is out of place, the signature does not hold, another log or signer is named,
        or extension lines are present.
    """
    note = parse_note(content)
    if [(name, key_id) for name, key_id, _ in note.signatures] != [(key.name, key.key_id)]:
        raise Malformed(f"the checkpoint is not signed by {key.name} {key.key_id.hex()} alone")
    return open_cosigned(content, key)[0]


def open_cosigned(
    content: bytes, key: VerifierKey, cosigners: Sequence[VerifierKey] = ()
) -> tuple[Checkpoint, tuple[str, ...]]:
    """Read a checkpoint that the log signed and others may have cosigned.

    Parameters
    ----------
    content : bytes
        The checkpoint; its bytes must be its only spelling.
    key : VerifierKey
        The log's Ed25519 key; its name is the origin.
    cosigners : sequence of VerifierKey
        Keys of witnesses and the log's own ML-DSA-44 key. Lines of other keys are ignored.

    Returns
    -------
    tuple
        The checkpoint, and the names of those cosigners whose cosignature is there.

    Raises
    ------
    Malformed
        If a byte is out of place, the log's signature or one of a known cosigner does not hold,
        another log is named, or extension lines are present.
    """
    note = parse_note(content)
    if format_note(note).encode() != content:
        raise Malformed("the checkpoint is not in canonical form")
    checkpoint = parse_checkpoint(note.text)
    if key.kind != ED25519_TYPE:
        raise Malformed(f"{key.name} {key.key_id.hex()} is a cosigner's key, not a log's")
    if not verify_note(note, key):
        raise Malformed(f"the signature of {key.name} does not hold")
    if checkpoint.origin != key.name:
        raise Malformed(f"the checkpoint is of log {checkpoint.origin!r}, not {key.name!r}")
    if checkpoint.extensions:
        raise Malformed("the checkpoint has extension lines")
    present = {(name, key_id) for name, key_id, _ in note.signatures}
    there = [other for other in cosigners if (other.name, other.key_id) in present]
    for other in there:
        if not verify_note(note, other):
            raise Malformed(f"the cosignature of {other.name} does not hold")
    return checkpoint, tuple(dict.fromkeys(other.name for other in there))


def add_signatures(checkpoint: str, lines: Iterable[str]) -> str:
    """Append signature lines to a checkpoint; each ends in a newline, none stands twice."""
    text, _, block = checkpoint.rpartition("\n\n")
    signed = dict.fromkeys([*block.splitlines(keepends=True), *lines])
    return f"{text}\n\n{''.join(signed)}"


def signature_line(key: VerifierKey, signature: bytes) -> str:
    """Write one signature line, with its newline."""
    return f"\N{EM DASH} {key.name} {format_base64(key.key_id + signature)}\n"
