"""Private keys and what they sign: checkpoints of a log, and cosignatures."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ledger_adapter.verify.canonical import Malformed, format_base64, parse_base64
from ledger_adapter.verify.cosignature import (
    ed25519_cosigned_message,
    join_timestamp,
    mldsa_cosigned_message,
)
from ledger_adapter.verify.note import (
    ED25519_COSIGNATURE_TYPE,
    ED25519_TYPE,
    MLDSA44_COSIGNATURE_TYPE,
    Checkpoint,
    Note,
    VerifierKey,
    check_key_name,
    format_checkpoint,
    format_note,
    key_id_of,
    parse_checkpoint,
    parse_note,
    signature_line,
)

SEED_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Signs checkpoints of one log with Ed25519: equal heads give equal bytes.

    Parameters
    ----------
    key : VerifierKey
        The public key; its name is the log's origin.
    seed : bytes
        The private key, 32 bytes.
    retired : tuple of VerifierKey
        Keys of this log that were replaced, oldest first.
    """

    key: VerifierKey
    seed: bytes = field(repr=False)
    retired: tuple[VerifierKey, ...] = ()

    def sign_checkpoint(self, size: int, root: bytes, *, beside: Signer | None = None) -> str:
        """Return the signed note of a head whose origin is the key's name.

        ``beside`` signs too, in the second line: the outgoing key at a key rotation.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        text = format_checkpoint(Checkpoint(origin=self.key.name, size=size, root=root))
        signers = (self,) if beside is None else (self, beside)
        return format_note(
            Note(
                text=text,
                signatures=tuple(
                    (
                        signer.key.name,
                        signer.key.key_id,
                        Ed25519PrivateKey.from_private_bytes(signer.seed).sign(text.encode()),
                    )
                    for signer in signers
                ),
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosigner:
    """Cosigns checkpoints with ML-DSA-44 or Ed25519, as https://c2sp.org/tlog-cosignature says.

    ML-DSA signatures are randomised: two cosignatures of one head differ and both hold.
    """

    key: VerifierKey
    seed: bytes = field(repr=False)

    def cosign(self, checkpoint: str, timestamp: int) -> str:
        """Return the signature line for a checkpoint.

        Parameters
        ----------
        checkpoint : str
            Signed note of the head.
        timestamp : int
            POSIX time [s]; 0 (ML-DSA-44 only) makes no statement of time.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

        text = parse_note(checkpoint.encode()).text
        if self.key.kind == ED25519_COSIGNATURE_TYPE:
            message = ed25519_cosigned_message(timestamp, text)
            signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(message)
        else:
            head = parse_checkpoint(text)
            if head.extensions:
                raise Malformed("an ML-DSA-44 cosignature covers no extension lines")
            message = mldsa_cosigned_message(
                self.key.name, timestamp, head.origin, head.size, head.root
            )
            signature = MLDSA44PrivateKey.from_seed_bytes(self.seed).sign(message)
        return signature_line(self.key, join_timestamp(timestamp, signature))


def public_key(name: str, seed: bytes, kind: int = ED25519_TYPE) -> VerifierKey:
    """Return the public key of a seed."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

    if kind == MLDSA44_COSIGNATURE_TYPE:
        public = MLDSA44PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()
    else:
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return VerifierKey(name=name, key_id=key_id_of(name, public, kind), public=public, kind=kind)


def write_new_key(path: Path, name: str, kind: int = ED25519_TYPE) -> VerifierKey:
    """Draw a key, write it to ``path`` (0600) as ``PRIVATE+KEY+...`` and return its public key."""
    seed = secrets.token_bytes(SEED_BYTES)
    key = public_key(check_key_name(name), seed, kind)
    material = format_base64(bytes([kind]) + seed)
    write_private(path, f"PRIVATE+KEY+{name}+{key.key_id.hex()}+{material}\n")
    return key


def read_key(path: Path, kind: int = ED25519_TYPE) -> tuple[VerifierKey, bytes]:
    """Read a private key file; returns public key and seed.

    Raises
    ------
    Malformed
        If the file is damaged or holds a key of another type.
    """
    parts = path.read_text(encoding="utf-8").removesuffix("\n").split("+", 4)
    if len(parts) != 5 or parts[:2] != ["PRIVATE", "KEY"]:
        raise Malformed(f"{path.name} does not read PRIVATE KEY name keyid base64, joined by +")
    raw = parse_base64(parts[4])
    if len(raw) != 1 + SEED_BYTES or raw[0] != kind:
        raise Malformed(f"{path.name} holds no key of type {kind:#04x}")
    key = public_key(check_key_name(parts[2]), raw[1:], kind)
    if key.key_id.hex() != parts[3]:
        raise Malformed(f"{path.name} is damaged: its key id does not belong to it")
    return key, raw[1:]


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file whole or not at all, with its mode from the first byte on."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
