"""Post sealed bids before the gate and open them after it."""

from __future__ import annotations

from collections.abc import Sequence

from data.errors import InputError, Problem
from data.records.posting import Batch, Receipt
from ledger_adapter.batches import header_leaf
from ledger_adapter.commitment import RunFields, batch_key
from ledger_adapter.ports import Ledger
from ledger_adapter.verify.canonical import Malformed, parse_json
from ledger_adapter.verify.merkle import root_hash
from ledger_adapter.verify.sealed import SEALED_KIND, Opened, Reveal, open_bids

RECORDS_KIND = "sealed-bids"


def batch_for_sealed_bids(key_fields: RunFields, leaves: Sequence[bytes]) -> Batch:
    """Batch of the commitments that were handed in before a gate.

    Parameters
    ----------
    key_fields : mapping
        What names the gate: market, interval, run, revision. The kind is added here.
    leaves : sequence of bytes
        Commitments as bidders made them, see `ledger_adapter.verify.sealed.sealed_leaf`.

    Raises
    ------
    InputError
        With every leaf that is no commitment to a bid, or stands twice.
    """
    problems = []
    seen: set[bytes] = set()
    for place, leaf in enumerate(leaves):
        where = f"sealed bid {place}"
        if not _is_sealed(leaf):
            problems.append(Problem(where=where, what="is no commitment to a bid"))
        elif leaf in seen:
            problems.append(Problem(where=where, what="was handed in before"))
        seen.add(leaf)
    if not leaves:
        problems.append(Problem(where="sealed bids", what="there are none"))
    if problems:
        raise InputError(problems)
    run = {**key_fields, "kind": RECORDS_KIND}
    header = header_leaf(
        run,
        RECORDS_KIND,
        {
            "records": len(leaves),
            "records_kind": SEALED_KIND,
            "records_root": root_hash(leaves).hex(),
        },
    )
    return Batch(key=batch_key(run), leaves=(header, *leaves))


def open_posted_bids(ledger: Ledger, receipt: Receipt, reveals: Sequence[Reveal]) -> Opened:
    """Open the bids of a posted batch: only what the log holds from before the gate counts.

    Parameters
    ----------
    ledger : Ledger
        The ledger.
    receipt : Receipt
        Receipt of the batch of commitments.
    reveals : sequence of Reveal
        What bidders revealed after the gate.
    """
    return open_bids(list(ledger.entries(receipt.first + 1, receipt.size)), reveals)


def _is_sealed(leaf: bytes) -> bool:
    try:
        plain = parse_json(leaf)
    except Malformed:
        return False
    names = {"commitment", "format", "kind"}
    return isinstance(plain, dict) and plain.keys() == names and plain["kind"] == SEALED_KIND
