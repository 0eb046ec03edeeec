"""Parsers of the verifier with valid texts to start from: only `Malformed` may come out."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger_adapter.bundle import receipt_for_leaf
from ledger_adapter.disclosure import disclose_fields
from ledger_adapter.keys import OperatorKeys, prepare_next_key
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.verify.canonical import (
    Malformed,
    canonical_json,
    parse_base64,
    parse_decimal,
    parse_json,
)
from ledger_adapter.verify.disclosure import verify_disclosure
from ledger_adapter.verify.manifest import parse_manifest
from ledger_adapter.verify.note import (
    open_cosigned,
    parse_checkpoint,
    parse_note,
    parse_verifier_keys,
)
from ledger_adapter.verify.opening import LINE_FIELDS, TRADE_FIELDS, read_rows
from ledger_adapter.verify.proof import parse_consistency, parse_inclusion
from ledger_adapter.verify.receipt import TrustPolicy, verify_receipt
from ledger_adapter.verify.rotation import follow_rotation
from ledger_adapter.verify.tiles import split_entries
from ledger_adapter.witness.core import split_request

_WORDS = (
    b"\n", b"\n\n", b"\0", b"=", b"+", b"-1", b"1e9", b"NaN", b"null", b"true", b"{", b"}", b"[",
    b"]", b'"', b"\\u0000", b"\\ud800", b"\xff", "\N{EM DASH} ".encode(), b"9" * 400, b"9" * 5000,
    b"0" * 40, b"[" * 3000, b'{"a":' * 2000, b"\r\n", b" ", b"old ", b"index ", b"extra ",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parser and texts it accepts."""

    name: str
    parse: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def targets(bundle: Path, log: SqlLog, keys: OperatorKeys) -> tuple[Target, ...]:
    """Return every parser that reads what a stranger may have written."""
    from ledger_adapter.verify.opening import trade_records

    policy = TrustPolicy(key=keys.signer.key, cosigners=(keys.cosigner.key,))
    head = log.head()
    cosigned = head.checkpoint + keys.cosigner.cosign(head.checkpoint, 1)
    trades = (bundle / "outputs/day-ahead/trades.csv").read_bytes()
    record = trade_records(read_rows(trades, TRADE_FIELDS))[0]
    # The first trade follows three foreign leaves and the header.
    proof = receipt_for_leaf(log, 4, head)
    run_key = bytes.fromhex(
        parse_json((bundle / "proofs/day-ahead.disclosure.json").read_bytes())[record.subject]
    )
    disclosure = disclose_fields("trade", record, run_key, {"bus"}, proof)
    following = prepare_next_key(keys.folder)
    rotated = log.post_rotation(following)
    rotation = receipt_for_leaf(SqlLog(log.engine, following), rotated.first, rotated).encode()
    manifest = (bundle / "manifest.json").read_bytes()
    lines = (bundle / "settlement/output/lines.csv").read_bytes()
    vkeys = f"{keys.vkey_text}{keys.cosigner.key.text}\n".encode()
    consistency = (bundle / "proofs/log.consistency").read_bytes()
    request = b"old 3\n" + b"".join(consistency.splitlines(keepends=True)[3:]) + b"\n"
    note = cosigned.encode()
    head_text = note.split(b"\n\n")[0] + b"\n"
    return (
        Target(name="note", parse=parse_note, seeds=(note,)),
        Target(name="checkpoint", parse=_text(parse_checkpoint), seeds=(head_text,)),
        Target(
            name="cosigned checkpoint",
            parse=lambda content: open_cosigned(content, policy.key, policy.cosigners),
            seeds=(note,),
        ),
        Target(name="verifier keys", parse=_text(parse_verifier_keys), seeds=(vkeys,)),
        Target(name="inclusion", parse=parse_inclusion, seeds=(proof.encode(),)),
        Target(
            name="receipt", parse=lambda content: verify_receipt(content, policy),
            seeds=(proof.encode(),),
        ),
        Target(name="consistency", parse=parse_consistency, seeds=(consistency,)),
        Target(
            name="rotation", parse=lambda content: follow_rotation(content, policy.key),
            seeds=(rotation,),
        ),
        Target(
            name="disclosure", parse=lambda content: verify_disclosure(content, policy),
            seeds=(disclosure,),
        ),
        Target(name="manifest", parse=parse_manifest, seeds=(manifest,)),
        Target(
            name="JSON", parse=lambda content: canonical_json(parse_json(content)),
            seeds=(manifest, disclosure, b'[1,{"a":null}]'),
        ),
        Target(
            name="trades", parse=lambda content: read_rows(content, TRADE_FIELDS), seeds=(trades,)
        ),
        Target(
            name="lines", parse=lambda content: read_rows(content, LINE_FIELDS), seeds=(lines,)
        ),
        Target(name="entries", parse=split_entries, seeds=(b"\0\1a\0\0\0\3abc",)),
        Target(name="witness request", parse=split_request, seeds=(request + note,)),
        Target(name="base64", parse=_text(parse_base64), seeds=(b"QUJD", b"QQ==")),
        Target(name="decimal", parse=_text(parse_decimal), seeds=(b"0", b"20852163")),
    )  # fmt: skip


def _text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    """Let a parser of text take bytes: what is no UTF-8 never reaches it."""

    def of_bytes(content: bytes) -> object:
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise Malformed("not UTF-8") from error
        return parse(text)

    return of_bytes


def fuzz(target: Target, rng: random.Random, pool: Sequence[bytes]) -> bool:
    """Parse one mutated text; True if it was accepted. Anything but `Malformed` comes out."""
    content = mutate(rng.choice(target.seeds), rng, pool)
    try:
        target.parse(content)
    except Malformed:
        return False
    return True


def mutate(content: bytes, rng: random.Random, pool: Sequence[bytes]) -> bytes:
    """Change a text in one to four places; sometimes with a piece of another text."""
    for _ in range(rng.randint(1, 4)):
        first, second = sorted((rng.randrange(len(content) + 1), rng.randrange(len(content) + 1)))
        kind = rng.randrange(6)
        if kind == 0:
            content = content[:first] + rng.choice(_WORDS) + content[first:]
        elif kind == 1:
            content = content[:first] + content[second:]
        elif kind == 2 and content:
            place = min(first, len(content) - 1)
            flipped = bytes([content[place] ^ (1 << rng.randrange(8))])
            content = content[:place] + flipped + content[place + 1 :]
        elif kind == 3:
            content = content[:second] + content[first:]
        elif kind == 4:
            piece = rng.choice(pool)
            start = rng.randrange(len(piece) + 1)
            content = content[:first] + piece[start : start + rng.randrange(80)] + content[second:]
        else:
            lines = content.splitlines(keepends=True)
            rng.shuffle(lines)
            content = b"".join(lines)
    return content
