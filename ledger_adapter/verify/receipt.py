"""Check a participant's receipt: a ``.tlog-proof`` against the log's key and its witnesses."""

from __future__ import annotations

from dataclasses import dataclass

from ledger_adapter.verify.canonical import Malformed
from ledger_adapter.verify.merkle import leaf_hash, verify_inclusion
from ledger_adapter.verify.note import (
    Checkpoint,
    VerifierKey,
    open_cosigned,
    parse_note,
)
from ledger_adapter.verify.proof import parse_inclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustPolicy:
    """Whom an auditor trusts, and how much of it is enough.

    Parameters
    ----------
    key : VerifierKey
        The log's Ed25519 key.
    cosigners : tuple of VerifierKey
        Keys of witnesses, and the log's ML-DSA-44 key where it is known.
    quorum : int
        How many names among the cosigners must have cosigned a head.
    """

    key: VerifierKey
    cosigners: tuple[VerifierKey, ...] = ()
    quorum: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenLeaf:
    """A leaf that is in the log: where, under which head, and who cosigned that."""

    leaf: bytes
    index: int
    head: Checkpoint
    cosigners: tuple[str, ...]


def open_head(checkpoint: bytes, policy: TrustPolicy) -> tuple[Checkpoint, tuple[str, ...]]:
    """Open a checkpoint under a policy.

    Raises
    ------
    Malformed
        If it does not hold, or too few have cosigned it.
    """
    head, names = open_cosigned(checkpoint, policy.key, policy.cosigners)
    if len(names) < policy.quorum:
        raise Malformed(
            f"cosigned by {len(names)} of the trusted names, {policy.quorum} are needed: "
            f"{', '.join(names) or 'nobody'}"
        )
    return head, names


def verify_receipt(content: bytes, policy: TrustPolicy) -> ProvenLeaf:
    """Check a ``.tlog-proof``.

    Raises
    ------
    Malformed
        If the checkpoint or the proof does not hold, or too few have cosigned it.
    """
    proof = parse_inclusion(content)
    head, names = open_head(proof.checkpoint.encode(), policy)
    leaf = leaf_hash(proof.leaf)
    if not verify_inclusion(leaf, proof.index, head.size, proof.path, head.root):
        raise Malformed("the proof does not lead to the root of the checkpoint")
    return ProvenLeaf(leaf=proof.leaf, index=proof.index, head=head, cosigners=names)


def same_head(cosigned: bytes, checkpoint: bytes, policy: TrustPolicy) -> tuple[str, ...]:
    """Check that a cosigned checkpoint is the head of another file; return who cosigned it."""
    _, names = open_head(cosigned, policy)
    if parse_note(cosigned).text != parse_note(checkpoint).text:
        raise Malformed("is cosigned for another head than that of the bundle")
    return names
