"""A ledger in one text file, a line of JSON per batch: simple, slow, and it conforms."""

# ruff: noqa: ANN001, ANN204, ANN201, D101, D102, INP001
# What each method does stands in ledger_adapter.ports.Ledger.
import fcntl
import json
import os
from pathlib import Path

from data.records.posting import Finality
from ledger_adapter.adapter_parts import MemoryTree, check_batch, sign_head
from ledger_adapter.ports import KeyConflict, LedgerError, NotAppendOnly


class FileLedger:
    def __init__(self, location, signer):
        self.path, self.signer = Path(location), signer
        self.path.touch()
        self.load()  # refuses a file that another key has signed

    def load(self):
        whole = self.path.read_bytes().rpartition(b"\n")[0]  # a line cut by a crash is none
        leaves, receipts = [], [sign_head(self.signer, b"", 0, [])]
        for key, texts, checkpoint in map(json.loads, whole.splitlines()):
            leaves += map(bytes.fromhex, texts)
            head = bytes.fromhex(key), receipts[-1].size
            receipts.append(sign_head(self.signer, *head, leaves))
            if receipts[-1].checkpoint != checkpoint:
                raise LedgerError("the file was changed, or signed by another key")
        return leaves, receipts, len(whole) + bool(whole)

    def post(self, batch):
        check_batch(batch)
        with self.path.open("r+b", buffering=0) as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # one poster at a time; ends with the file
            leaves, receipts, end = self.load()
            known = next((held for held in receipts[1:] if held.key == batch.key), None)
            if known and leaves[known.first : known.size] != list(batch.leaves):
                raise KeyConflict(f"{batch.key.hex()} was posted with other leaves")
            if known is None:
                if batch.first not in (None, len(leaves)):
                    raise NotAppendOnly(f"the log has {len(leaves)} leaves, not {batch.first}")
                first, leaves = len(leaves), [*leaves, *batch.leaves]
                known = sign_head(self.signer, batch.key, first, leaves)
                row = batch.key.hex(), [leaf.hex() for leaf in batch.leaves], known.checkpoint
                os.ftruncate(stream.fileno(), end)
                os.pwrite(stream.fileno(), json.dumps(row).encode() + b"\n", end)
                os.fsync(stream.fileno())
            return known

    def get(self, key):
        return next((held for held in self.load()[1][1:] if held.key == key), None)

    def head(self, at=Finality.LOCAL):
        if at > Finality.LOCAL:
            raise LedgerError(f"a file has no {at.name} head")
        return self.load()[1][-1]

    def __getattr__(self, name):  # inclusion, consistency, entries
        return getattr(MemoryTree(self.load()[0]), name)
