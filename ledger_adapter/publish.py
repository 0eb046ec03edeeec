"""Publish a head: cosign it with ML-DSA-44 and ask witnesses to cosign it."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from data.errors import InputError, Problem
from data.records.posting import Receipt
from ledger_adapter.ports import LedgerError
from ledger_adapter.signers import Cosigner
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.verify.canonical import Malformed, format_base64, parse_decimal
from ledger_adapter.verify.manifest import CHECKPOINT
from ledger_adapter.verify.note import (
    VerifierKey,
    add_signatures,
    open_checkpoint,
    open_cosigned,
)

OK: Final = 200
CONFLICT: Final = 409
TIMEOUT_S: Final = 20.0
ANSWER_BYTES_MAX: Final = 1 << 17


class WitnessRefused(LedgerError):
    """A witness did not cosign: it knows another history of this log, or cannot be asked."""


def cosign_head(log: SqlLog, receipt: Receipt, cosigner: Cosigner) -> str:
    """Cosign a head with the log's ML-DSA-44 key once; return the cosigned checkpoint."""
    _, names = open_cosigned_head(log, receipt, [cosigner.key])
    if not names:
        log.add_cosignatures(receipt.size, [cosigner.cosign(receipt.checkpoint, 0)])
    return log.cosigned(receipt)


def head_of_bundle(log: SqlLog, bundle: Path) -> Receipt:
    """Return the receipt of the head that a bundle carries.

    Raises
    ------
    InputError
        If the bundle has no checkpoint, or it is not one of this log.
    """
    path = bundle / CHECKPOINT
    try:
        checkpoint = open_checkpoint(path.read_bytes(), log.key)
    except (OSError, Malformed) as error:
        raise InputError([Problem(where=str(path), what=str(error))]) from error
    receipt = log.receipt_at(checkpoint.size)
    if receipt is None or receipt.root != checkpoint.root:
        raise InputError([Problem(where=str(path), what="is no head of this log")])
    return receipt


def open_cosigned_head(
    log: SqlLog, receipt: Receipt, keys: Sequence[VerifierKey]
) -> tuple[str, tuple[str, ...]]:
    """Return the cosigned checkpoint of a head, and which of the keys cosigned it."""
    content = log.cosigned(receipt)
    _, names = open_cosigned(content.encode(), log.key, keys)
    return content, names


def ask_witness(log: SqlLog, receipt: Receipt, url: str, keys: Sequence[VerifierKey]) -> str:
    """Have a witness cosign a head; its lines are verified and kept in the log.

    Parameters
    ----------
    log : SqlLog
        The log.
    receipt : Receipt
        The head.
    url : str
        Submission prefix of the witness, ``http://host:port``.
    keys : sequence of VerifierKey
        Public keys of the witness.

    Returns
    -------
    str
        The cosigned checkpoint.

    Raises
    ------
    WitnessRefused
        If the witness knows another history, does not answer, or signs with another key.
    """
    status, body = _post(url, _request(log, receipt, 0))
    if status == CONFLICT:
        # The first question was only to learn what the witness knows, as the protocol suggests.
        try:
            known = parse_decimal(body.removesuffix("\n"))
        except Malformed as error:
            raise WitnessRefused(f"{url} answers 409 without a size") from error
        if known > receipt.size:
            raise WitnessRefused(
                f"{url} has cosigned {known} leaves of this log, which has {receipt.size} now"
            )
        status, body = _post(url, _request(log, receipt, known))
    if status != OK:
        raise WitnessRefused(f"{url} answers {status}: {body.strip()[:200]}")
    lines = body.splitlines(keepends=True)
    try:
        cosigned = add_signatures(receipt.checkpoint, lines)
        _, names = open_cosigned(cosigned.encode(), log.key, keys)
    except Malformed as error:
        raise WitnessRefused(f"{url}: {error}") from error
    if not names:
        raise WitnessRefused(f"{url} signs with another key than the one given")
    log.add_cosignatures(receipt.size, lines)
    return log.cosigned(receipt)


def _request(log: SqlLog, receipt: Receipt, old: int) -> bytes:
    proof = log.consistency(old, receipt.size)
    lines = [f"old {old}", *map(format_base64, proof), "", ""]
    return "\n".join(lines).encode() + receipt.checkpoint.encode()


def _post(url: str, body: bytes) -> tuple[int, str]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise WitnessRefused(f"{url!r} is not the URL of a witness (http://host:port)")
    kind = http.client.HTTPConnection if parts.scheme == "http" else http.client.HTTPSConnection
    connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", f"{parts.path.rstrip('/')}/add-checkpoint", body=body)
        answer = connection.getresponse()
        return answer.status, answer.read(ANSWER_BYTES_MAX).decode()
    except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
        raise WitnessRefused(f"{url} cannot be asked: {error}") from error
    finally:
        connection.close()
