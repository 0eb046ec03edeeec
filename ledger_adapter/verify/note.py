"""Signed notes and checkpoints of C2SP, with Ed25519 keys.

Sources: https://c2sp.org/signed-note and https://c2sp.org/tlog-checkpoint.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from ledger_adapter.verify.canonical import (
    Malformed,
    format_base64,
    parse_base64,
    parse_decimal,
    parse_hash,
)

ED25519_TYPE: Final = 0x01
KEY_ID_BYTES: Final = 4
SIGNATURE_BYTES: Final = 64
PUBLIC_KEY_BYTES: Final = 32
SIGNATURES_MAX: Final = 16
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """The public key of a log: name, key id (4 bytes) and Ed25519 public key (32 bytes)."""

    name: str
    key_id: bytes
    public: bytes

    @property
    def text(self) -> str:
        """The key as ``name+hexkeyid+base64``."""
        material = format_base64(bytes([ED25519_TYPE]) + self.public)
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


def ed25519_key_id(name: str, public: bytes) -> bytes:
    """Key id: SHA-256(name || 0x0A || 0x01 || public key), first four bytes."""
    content = name.encode() + b"\n" + bytes([ED25519_TYPE]) + public
    return hashlib.sha256(content).digest()[:KEY_ID_BYTES]


def parse_verifier_key(text: str) -> VerifierKey:
    """Read ``name+hexkeyid+base64`` (one line, one trailing newline allowed).

    Raises
    ------
    Malformed
        If it is not an Ed25519 verifier key or its id does not belong to it.
    """
    parts = text.removesuffix("\n").split("+", 2)
    if len(parts) != 3:
        raise Malformed("a verifier key reads name+hexkeyid+base64")
    name, key_id, material = parts
    check_key_name(name)
    raw = parse_base64(material)
    if len(raw) != 1 + PUBLIC_KEY_BYTES or raw[0] != ED25519_TYPE:
        raise Malformed("the verifier key is not an Ed25519 key (type 0x01, 32 bytes)")
    expected = ed25519_key_id(name, raw[1:])
    if key_id != expected.hex():
        raise Malformed(f"key id {key_id[:16]!r} does not belong to this key")
    return VerifierKey(name=name, key_id=expected, public=raw[1:])


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
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    mine = [s for name, key_id, s in note.signatures if (name, key_id) == (key.name, key.key_id)]
    public = Ed25519PublicKey.from_public_bytes(key.public)
    for signature in mine:
        try:
            public.verify(signature, note.text.encode())
        except InvalidSignature:
            return False
    return bool(mine)


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
    if format_note(note).encode() != content:
        raise Malformed("the checkpoint is not in canonical form")
    checkpoint = parse_checkpoint(note.text)
    if [(name, key_id) for name, key_id, _ in note.signatures] != [(key.name, key.key_id)]:
        raise Malformed(f"the checkpoint is not signed by {key.name} {key.key_id.hex()} alone")
    if not verify_note(note, key):
        raise Malformed(f"the signature of {key.name} does not hold")
    if checkpoint.origin != key.name:
        raise Malformed(f"the checkpoint is of log {checkpoint.origin!r}, not {key.name!r}")
    if checkpoint.extensions:
        raise Malformed("the checkpoint has extension lines")
    return checkpoint
