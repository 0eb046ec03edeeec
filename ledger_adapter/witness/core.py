"""What a witness decides: pure of HTTP, so that it can be tested without a network."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from ledger_adapter.signers import Cosigner, read_key, write_new_key, write_private
from ledger_adapter.verify.canonical import (
    Malformed,
    format_base64,
    parse_decimal,
    parse_hash,
)
from ledger_adapter.verify.merkle import EMPTY_ROOT, verify_consistency
from ledger_adapter.verify.note import (
    ED25519_COSIGNATURE_TYPE,
    MLDSA44_COSIGNATURE_TYPE,
    Checkpoint,
    VerifierKey,
    parse_checkpoint,
    parse_note,
    verify_note,
)

PROOF_LINES_MAX: Final = 63
UNPROCESSABLE: Final = 422
HEADS_FILE: Final = "heads.json"
EVIDENCE_FILE: Final = "refused.txt"
EVIDENCE_BYTES_MAX: Final = 1 << 20
PUBLIC_FILE: Final = "witness.vkey"
KEY_FILES: Final = {
    "witness.key": ED25519_COSIGNATURE_TYPE,
    "witness-mldsa.key": MLDSA44_COSIGNATURE_TYPE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Answer to one request: HTTP status, body and content type."""

    status: int
    body: str
    content_type: str = "text/plain; charset=utf-8"


class Witness:
    """Remembers the newest head of each log and cosigns only what extends it.

    Parameters
    ----------
    folder : Path
        Where keys and the newest heads are kept; made on first use (0700).
    logs : sequence of VerifierKey
        Keys of the logs it serves; the name of a key is the log's origin.
    name : str
        Name of the witness for a new folder, e.g. ``regulator.example/witness``.
    clock : callable
        Gives POSIX time [s].
    """

    def __init__(
        self,
        folder: Path,
        logs: Sequence[VerifierKey],
        *,
        name: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._logs = tuple(logs)
        self._clock = clock
        self._lock = Lock()
        self.cosigners = tuple(_open_key(folder / file, name, k) for file, k in KEY_FILES.items())
        write_private(folder / PUBLIC_FILE, self.vkey_text, mode=0o644)
        self._heads = _read_heads(folder / HEADS_FILE)

    @property
    def vkey_text(self) -> str:
        """Public keys of the witness, one per line: give them to auditors."""
        return "".join(f"{cosigner.key.text}\n" for cosigner in self.cosigners)

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer an ``add-checkpoint`` request.

        Returns
        -------
        Answer
            200 with cosignature lines; 400 malformed; 403 no trusted signature; 404 unknown log;
            409 with the size this witness knows; 422 the log was not extended.
        """
        try:
            old, proof, checkpoint = split_request(body)
            note = parse_note(checkpoint)
            head = parse_checkpoint(note.text)
        except Malformed as error:
            return Answer(status=400, body=f"{error}\n")
        keys = [key for key in self._logs if key.name == head.origin]
        if not keys:
            return Answer(status=404, body="unknown log\n")
        signed = [key for key in keys if verify_note(note, key)]
        if not signed:
            return Answer(status=403, body="no signature of a key this witness trusts\n")
        if old > head.size:
            return Answer(status=400, body="the old size is beyond the checkpoint\n")
        with self._lock:
            refusal = self._refuse(old, proof, head)
            if refusal is not None:
                if self._contradicts(head, refusal):
                    self._keep_evidence(body, checkpoint, refusal)
                return refusal
            # Kept before it is signed: after a crash no head can be cosigned beside this one.
            self._heads[head.origin] = (head.size, head.root)
            _write_heads(self._folder / HEADS_FILE, self._heads)
        now = int(self._clock())
        text = checkpoint.decode()
        lines = [
            cosigner.cosign(text, now)
            for cosigner in self.cosigners
            if cosigner.key.kind == ED25519_COSIGNATURE_TYPE or not head.extensions
        ]
        return Answer(status=200, body="".join(lines))

    def _refuse(self, old: int, proof: Sequence[bytes], head: Checkpoint) -> Answer | None:
        size, root = self._heads.get(head.origin, (0, EMPTY_ROOT))
        if old != size or (old == head.size > 0 and root != head.root):
            return Answer(status=409, body=f"{size}\n", content_type="text/x.tlog.size")
        if not verify_consistency(size, head.size, root, head.root, proof):
            return Answer(status=UNPROCESSABLE, body="the consistency proof does not hold\n")
        return None

    def _contradicts(self, head: Checkpoint, refusal: Answer) -> bool:
        """Tell whether a signed head may convict the log: no proof, or two roots of one size."""
        size, root = self._heads.get(head.origin, (0, EMPTY_ROOT))
        return refusal.status == UNPROCESSABLE or (size == head.size > 0 and root != head.root)

    def _keep_evidence(self, body: bytes, checkpoint: bytes, refusal: Answer) -> None:
        path = self._folder / EVIDENCE_FILE
        held = path.read_bytes() if path.exists() else b""
        if checkpoint not in held and len(held) < EVIDENCE_BYTES_MAX:
            with path.open("ab") as stream:
                stream.write(f"# answered {refusal.status}\n".encode() + body + b"\n")


def split_request(body: bytes) -> tuple[int, list[bytes], bytes]:
    """Split a request into old size, consistency proof and checkpoint.

    Raises
    ------
    Malformed
        If it is not in the form that the protocol prescribes.
    """
    head, blank, checkpoint = body.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise Malformed("the request is not ASCII before its checkpoint") from error
    word, space, number = lines[0].partition(" ")
    if not blank or word != "old" or not space:
        raise Malformed("the request does not begin with 'old SIZE'")
    if len(lines) - 1 > PROOF_LINES_MAX:
        raise Malformed(f"more than {PROOF_LINES_MAX} lines of proof")
    return parse_decimal(number), [parse_hash(line) for line in lines[1:]], checkpoint


def _open_key(path: Path, name: str, kind: int) -> Cosigner:
    if not path.exists():
        write_new_key(path, name, kind)
    key, seed = read_key(path, kind)
    return Cosigner(key=key, seed=seed)


def _read_heads(path: Path) -> dict[str, tuple[int, bytes]]:
    if not path.exists():
        return {}
    plain = json.loads(path.read_text(encoding="utf-8"))
    return {origin: (int(size), parse_hash(root)) for origin, (size, root) in plain.items()}


def _write_heads(path: Path, heads: dict[str, tuple[int, bytes]]) -> None:
    plain = {origin: [size, format_base64(root)] for origin, (size, root) in heads.items()}
    write_private(path, json.dumps(plain, sort_keys=True, indent=1) + "\n")
    # The new name must survive a power cut too, or an older head comes back.
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
