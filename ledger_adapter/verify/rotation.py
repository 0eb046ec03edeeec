"""Key rotation: the statement by which a log's old key hands over to its new one.

The statement is a leaf of the log, and the head that covers it is signed by both keys. Its
``.tlog-proof`` is what an auditor who knows the old key needs in order to trust the new one.
"""

from __future__ import annotations

from typing import Final

from ledger_adapter.verify.canonical import Malformed, canonical_json, parse_json
from ledger_adapter.verify.merkle import leaf_hash, verify_inclusion
from ledger_adapter.verify.note import (
    VerifierKey,
    format_note,
    open_cosigned,
    parse_note,
    parse_verifier_key,
)
from ledger_adapter.verify.opening import LEAF_FORMAT, key_of_run
from ledger_adapter.verify.proof import parse_inclusion

ROTATION_KIND: Final = "key-rotation"


def rotation_leaf(old: VerifierKey, new: VerifierKey) -> bytes:
    """Leaf by which ``old`` hands over to ``new``."""
    return canonical_json(
        {
            "format": LEAF_FORMAT,
            "key": rotation_key(old, new).hex(),
            "kind": ROTATION_KIND,
            "run": _run(old, new),
        }
    )


def rotation_key(old: VerifierKey, new: VerifierKey) -> bytes:
    """Batch key of the hand-over."""
    return bytes.fromhex(key_of_run(_run(old, new)))


def _run(old: VerifierKey, new: VerifierKey) -> dict[str, str]:
    return {"kind": ROTATION_KIND, "new": new.text, "old": old.text}


def follow_rotation(content: bytes, key: VerifierKey) -> VerifierKey:
    """Return the key that follows a trusted one, from the proof of the rotation.

    Parameters
    ----------
    content : bytes
        The ``.tlog-proof`` of the rotation leaf.
    key : VerifierKey
        The key trusted so far.

    Raises
    ------
    Malformed
        If the statement is not of this key, or a signature or the proof does not hold.
    """
    proof = parse_inclusion(content)
    plain = parse_json(proof.leaf)
    run = plain.get("run") if isinstance(plain, dict) else None
    if not isinstance(run, dict) or not isinstance(run.get("new"), str):
        raise Malformed("the proof is not of a key rotation")
    new = parse_verifier_key(run["new"])
    if proof.leaf != rotation_leaf(key, new) or new.name != key.name:
        raise Malformed(f"the rotation does not start from {key.name} {key.key_id.hex()}")
    checkpoint = proof.checkpoint.encode()
    note = parse_note(checkpoint)
    signers = [(name, key_id) for name, key_id, _ in note.signatures]
    if signers[:2] != [(new.name, new.key_id), (key.name, key.key_id)]:
        raise Malformed("the head of the rotation is not signed by both keys")
    if format_note(note).encode() != checkpoint:
        raise Malformed("the checkpoint is not in canonical form")
    head, _ = open_cosigned(checkpoint, key)
    open_cosigned(checkpoint, new)
    leaf = leaf_hash(proof.leaf)
    if not verify_inclusion(leaf, proof.index, head.size, proof.path, head.root):
        raise Malformed("the proof does not lead to the root of the checkpoint")
    return new
