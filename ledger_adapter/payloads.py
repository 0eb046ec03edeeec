"""Payloads: what the leaves commit to, encrypted, in a table from which rows can be erased.

Each payload is encrypted (AES-256-GCM) under a key made from its subject's erasable key. Erasing
the subject deletes that key and the rows; copies of the rows in a backup are then noise. The
leaves stay, and with them every root and proof.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Sequence
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    delete,
    insert,
    select,
)

from data.records.posting import Receipt
from ledger_adapter.commitment import jcs
from ledger_adapter.keys import SubjectErased, SubjectKeys
from ledger_adapter.ports import LedgerError
from ledger_adapter.verify.opening import OpenRecord

NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
PAYLOAD_METADATA: Final = MetaData()
PAYLOAD: Final = Table(
    "ledger_payload",
    PAYLOAD_METADATA,
    Column(
        "leaf",
        BigInteger().with_variant(Integer(), "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("batch_key", LargeBinary, nullable=False, index=True),
    Column("tag", LargeBinary, nullable=False, comment="HMAC under the payload key"),
    Column("sealed", LargeBinary, nullable=False, comment="nonce and AES-256-GCM ciphertext"),
    comment="Erasable; no name of a subject stands here in plain text.",
)


class PayloadStore:
    """Encrypted payloads of the leaves of one log.

    Parameters
    ----------
    engine : Engine
        Database; the table is made where it is missing.
    subjects : SubjectKeys
        The erasable keys.
    """

    def __init__(self, engine: Engine, subjects: SubjectKeys) -> None:
        self._engine = engine
        self._subjects = subjects
        PAYLOAD_METADATA.create_all(engine)

    def keep(self, connection: Connection, receipt: Receipt, records: Sequence[OpenRecord]) -> None:
        """Write the payloads of a posted batch in the caller's transaction; again is no change.

        Record ``k`` belongs to leaf ``receipt.first + 1 + k``: the first leaf is the header.
        """
        known = connection.execute(
            select(PAYLOAD.c.leaf).where(PAYLOAD.c.batch_key == receipt.key).limit(1)
        ).first()
        if known is not None or not records:
            return
        keys = {
            subject: self._subjects.payload_key(subject, receipt.key)
            for subject in {record.subject for record in records}
        }
        rows = [
            {
                "leaf": leaf,
                "batch_key": receipt.key,
                "tag": _tag(keys[record.subject]),
                "sealed": _seal(keys[record.subject], leaf, record),
            }
            for leaf, record in enumerate(records, start=receipt.first + 1)
        ]
        connection.execute(insert(PAYLOAD), rows)

    def read(self, subject: str, batch_key: bytes) -> dict[int, OpenRecord]:
        """Return a subject's payloads of one batch by leaf index.

        Raises
        ------
        SubjectErased
            If the subject was erased.
        LedgerError
            If a row was changed.
        """
        key = self._subjects.payload_key(subject, batch_key)
        query = select(PAYLOAD.c.leaf, PAYLOAD.c.sealed).where(
            PAYLOAD.c.batch_key == batch_key, PAYLOAD.c.tag == _tag(key)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(PAYLOAD.c.leaf)).all()
        return {leaf: open_payload(key, leaf, sealed) for leaf, sealed in rows}

    def erase(self, subject: str) -> int:
        """Erase a subject for good: its rows, then its key; return how many rows went.

        A crash in between leaves the key, and the same call goes on.
        """
        with self._engine.begin() as connection:
            batches = list(connection.execute(select(PAYLOAD.c.batch_key).distinct()).scalars())
            try:
                tags = [_tag(self._subjects.payload_key(subject, key)) for key in batches]
            except SubjectErased:
                return 0
            done = connection.execute(delete(PAYLOAD).where(PAYLOAD.c.tag.in_(tags)))
        self._subjects.erase(subject)
        return done.rowcount


def open_payload(key: bytes, leaf: int, sealed: bytes) -> OpenRecord:
    """Decrypt one payload; raises LedgerError if key, place or content is another."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce, content = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    try:
        plain = json.loads(AESGCM(key).decrypt(nonce, content, str(leaf).encode()))
    except InvalidTag as error:
        raise LedgerError(f"the payload of leaf {leaf} cannot be read with this key") from error
    return OpenRecord(
        record_id=plain["record_id"], subject=plain["subject"], fields=plain["fields"]
    )


def _seal(key: bytes, leaf: int, record: OpenRecord) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    content = jcs(
        {
            "fields": dict(record.fields),
            "record_id": record.record_id,
            "subject": record.subject,
        }
    )
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, content, str(leaf).encode())


def _tag(key: bytes) -> bytes:
    return hmac.digest(key, b"row", "sha256")[:TAG_BYTES]
