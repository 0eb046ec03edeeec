"""What every ledger must do, as checks that a stranger can run on an adapter of his own.

Each check opens ledgers through the adapter's own opener and raises `NotConforming` with what is
wrong. Items that need a chain (reorganisation, stuck fee, paused contract) are an anchor's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from data.records.posting import Batch, Finality, Receipt
from ledger_adapter.ports import KeyConflict, Ledger, LedgerError, NotAppendOnly
from ledger_adapter.signers import Signer
from ledger_adapter.verify.canonical import Malformed
from ledger_adapter.verify.merkle import (
    leaf_hash,
    root_hash,
    verify_consistency,
    verify_inclusion,
)
from ledger_adapter.verify.note import (
    Checkpoint,
    format_checkpoint,
    open_checkpoint,
    parse_note,
)

OpenLedger = Callable[[str, Signer], Ledger]
"""An adapter: (location, signer) -> ledger; a location that holds nothing yet is an empty log."""

POWERS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class NotConforming(Exception):
    """The adapter does not do what the ``Ledger`` port demands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """An adapter under test.

    Parameters
    ----------
    open_ledger : callable
        The adapter.
    new_location : callable
        Gives a location that was not used before.
    signer, other_signer : Signer
        Two different keys of one name.
    """

    open_ledger: OpenLedger
    new_location: Callable[[], str]
    signer: Signer
    other_signer: Signer

    def fresh(self) -> tuple[Ledger, str]:
        """Return an empty ledger and where it is."""
        location = self.new_location()
        return self.open_ledger(location, self.signer), location

    def again(self, location: str) -> Ledger:
        """Open a ledger that was used before, as after a restart."""
        return self.open_ledger(location, self.signer)


def make_batch(number: int, count: int = 1, first: int | None = None) -> Batch:
    """Make a batch whose key and leaves follow from its number."""
    leaves = tuple(f"batch {number} leaf {place}".encode() for place in range(count))
    return Batch(key=number.to_bytes(32, "big"), leaves=leaves, first=first)


def replay(bench: Bench) -> None:
    """The same batch again gives the same receipt and appends nothing."""
    ledger, _ = bench.fresh()
    first = ledger.post(make_batch(1, 3, first=0))
    second = ledger.post(make_batch(2, 2))
    _require(ledger.post(make_batch(1, 3, first=0)) == first, "a replay gives another receipt")
    _require(ledger.get(make_batch(1).key) == first, "get gives another receipt than post gave")
    _require(ledger.get(bytes(32)) is None, "get invents a receipt of a key never posted")
    _require(ledger.head() == second, "a replay moved the head")


def conflict(bench: Bench) -> None:
    """A known key with other leaves is refused and leaves nothing."""
    ledger, _ = bench.fresh()
    head = ledger.post(make_batch(1, 3))
    with _refusal(KeyConflict, "a known key with fewer leaves"):
        ledger.post(make_batch(1, 2))
    with _refusal(KeyConflict, "a known key with its leaves in another order"):
        ledger.post(replace(make_batch(1, 3), leaves=make_batch(1, 3).leaves[::-1]))
    _require(ledger.head() == head, "a refused batch moved the head")


def gap(bench: Bench) -> None:
    """A batch that starts beyond the end is refused."""
    ledger, _ = bench.fresh()
    head = ledger.post(make_batch(1, 3))
    for first in (4, 5, 1000):
        with _refusal(NotAppendOnly, f"a batch at {first} of a log with 3 leaves"):
            ledger.post(make_batch(2, 1, first=first))
    _require(ledger.head() == head, "a refused batch moved the head")


def out_of_order(bench: Bench) -> None:
    """A batch that starts before the end is refused."""
    ledger, _ = bench.fresh()
    head = ledger.post(make_batch(1, 3))
    for first in (0, 1, 2):
        with _refusal(NotAppendOnly, f"a batch at {first} of a log with 3 leaves"):
            ledger.post(make_batch(2, 1, first=first))
    _require(ledger.head() == head, "a refused batch moved the head")
    _require(ledger.post(make_batch(2, 1, first=3)).size == 4, "the right place is refused")


def crash_between_send_and_record(bench: Bench) -> None:
    """Who lost the receipt and asks again after a restart gets the same one."""
    ledger, location = bench.fresh()
    sent = ledger.post(make_batch(1, 5))
    later = bench.again(location)
    _require(later.post(make_batch(1, 5)) == sent, "after a restart a replay is appended again")
    _require(later.head() == sent, "after a restart the head is another")


def two_workers(bench: Bench) -> None:
    """Two posters at once lose nothing and post nothing twice."""
    first, location = bench.fresh()
    second = bench.again(location)
    errors: list[BaseException] = []

    def work(ledger: Ledger, numbers: range) -> None:
        try:
            for number in numbers:
                ledger.post(make_batch(number, 2))
        except Exception as error:  # noqa: BLE001 - a thread hands its error over
            errors.append(error)

    workers = [
        threading.Thread(target=work, args=(first, range(1, 9))),
        threading.Thread(target=work, args=(second, range(5, 13))),
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    _require(not errors, f"two workers at once: {errors[:1]}")
    head = bench.again(location).head()
    _require(head.size == 24, f"12 batches of 2 leaves gave {head.size} leaves")
    leaves = list(bench.again(location).entries(0, head.size))
    _require(root_hash(leaves) == head.root, "the leaves of two workers do not give the root")


def no_leaves(bench: Bench) -> None:
    """An empty log has a signed head; an empty batch, a wrong key and a long leaf are refused."""
    ledger, _ = bench.fresh()
    head = ledger.head()
    _check_head(bench, head, [])
    for what, batch in (
        ("a batch without leaves", make_batch(1, 0)),
        ("a key of five bytes", replace(make_batch(1), key=b"short")),
        ("a leaf of 65,536 bytes", replace(make_batch(1), leaves=(bytes(65_536),))),
    ):
        with _refusal(LedgerError, what):
            ledger.post(batch)
    _require(ledger.head().size == 0, "a refused batch moved the head")
    _require(list(ledger.entries(0, 0)) == [], "an empty log has entries")


def one_leaf(bench: Bench) -> None:
    """A log of one leaf: its root is the leaf's hash, its proof is empty."""
    ledger, _ = bench.fresh()
    receipt = ledger.post(make_batch(1))
    _require(receipt.root == leaf_hash(make_batch(1).leaves[0]), "the root is not the leaf's hash")
    _require(list(ledger.inclusion(0, 1)) == [], "the proof of the only leaf is not empty")
    _check_head(bench, receipt, list(make_batch(1).leaves))


def sizes_around_powers_of_two(bench: Bench) -> None:
    """Roots, inclusion and consistency at 2^k - 1, 2^k and 2^k + 1 leaves."""
    ledger, _ = bench.fresh()
    leaves: list[bytes] = []
    receipts = [ledger.head()]
    wanted = sorted({size for power in POWERS for size in (power - 1, power, power + 1)} - {0})
    for number, size in enumerate(wanted):
        batch = make_batch(number, size - len(leaves), first=len(leaves))
        receipt = ledger.post(batch)
        leaves.extend(batch.leaves)
        _check_head(bench, receipt, leaves)
        receipts.append(receipt)
        for index in {0, size // 2, size - 1}:
            _check_inclusion(ledger, leaves, index, size)
    head = receipts[-1]
    for old in receipts:
        path = ledger.consistency(old.size, head.size)
        holds = verify_consistency(old.size, head.size, old.root, head.root, path)
        _require(holds, f"the consistency proof from {old.size} to {head.size} does not hold")


def outside_the_log(bench: Bench) -> None:
    """What is not in the log is refused, not answered with something else."""
    ledger, _ = bench.fresh()
    ledger.post(make_batch(1, 3))
    calls: dict[str, Callable[[], object]] = {
        "inclusion(3, 3)": lambda: ledger.inclusion(3, 3),
        "inclusion(-1, 3)": lambda: ledger.inclusion(-1, 3),
        "inclusion(0, 4)": lambda: ledger.inclusion(0, 4),
        "consistency(1, 4)": lambda: ledger.consistency(1, 4),
        "consistency(3, 2)": lambda: ledger.consistency(3, 2),
        "entries(0, 4)": lambda: list(ledger.entries(0, 4)),
        "entries(2, 1)": lambda: list(ledger.entries(2, 1)),
        "head(FINAL)": lambda: ledger.head(Finality.FINAL),
    }
    for what, call in calls.items():
        with _refusal(LedgerError, what):
            call()


def changed_record(bench: Bench) -> None:
    """The leaves handed out are the leaves posted, also after a restart."""
    ledger, location = bench.fresh()
    batch = make_batch(1, 4)
    receipt = ledger.post(batch)
    for opened in (ledger, bench.again(location)):
        found = list(opened.entries(0, receipt.size))
        _require(set(found) == set(batch.leaves), "a leaf is not the one that was posted")
        _require(root_hash(found) == receipt.root, "the leaves do not give the signed root")


def swapped_leaves(bench: Bench) -> None:
    """Leaves keep their order, within a batch and across batches."""
    ledger, _ = bench.fresh()
    first, second = make_batch(1, 3), make_batch(2, 3)
    ledger.post(first)
    ledger.post(second)
    found = list(ledger.entries(0, 6))
    _require(found == [*first.leaves, *second.leaves], "the leaves stand in another order")
    _require(list(ledger.entries(2, 5)) == found[2:5], "a range gives other leaves than the whole")


def dropped_tail(bench: Bench) -> None:
    """What was posted is there after a restart, to the last batch."""
    ledger, location = bench.fresh()
    receipts = [ledger.post(make_batch(number, 2)) for number in range(1, 4)]
    later = bench.again(location)
    _require(later.head() == receipts[-1], "after a restart the last batch is gone")
    for receipt in receipts:
        _require(later.get(receipt.key) == receipt, "after a restart a receipt is another")


def truncated_and_signed_again(bench: Bench) -> None:
    """A later head begins with every head that was signed before."""
    ledger, location = bench.fresh()
    kept = ledger.post(make_batch(1, 5))
    later = bench.again(location)
    head = later.post(make_batch(2, 2))
    _require(head.size == 7, f"after 5 and 2 leaves the log has {head.size}")
    path = later.consistency(kept.size, head.size)
    holds = verify_consistency(kept.size, head.size, kept.root, head.root, path)
    _require(holds, "the head signed before is not the beginning of this one")


def split_view(bench: Bench) -> None:
    """Whoever asks, and as often, gets one head of one size."""
    ledger, location = bench.fresh()
    ledger.post(make_batch(1, 3))
    heads = {opened.head().checkpoint for opened in (ledger, ledger, bench.again(location))}
    _require(len(heads) == 1, "two readers were shown two heads of one log")


def proof_with_extra_node(bench: Bench) -> None:
    """Inclusion proofs are exactly as long as they have to be."""
    ledger, _ = bench.fresh()
    leaves = list(make_batch(1, 11).leaves)
    ledger.post(make_batch(1, 11))
    for size in (1, 2, 3, 8, 11):
        for index in range(size):
            _check_inclusion(ledger, leaves, index, size)


def index_off_by_one(bench: Bench) -> None:
    """A receipt says where its batch starts and ends."""
    ledger, _ = bench.fresh()
    leaves: list[bytes] = []
    for number, count in enumerate((1, 3, 2)):
        batch = make_batch(number, count)
        receipt = ledger.post(batch)
        leaves.extend(batch.leaves)
        _require(receipt.first == len(leaves) - count, f"first is {receipt.first}")
        _require(receipt.size == len(leaves), f"size is {receipt.size}, not {len(leaves)}")
        _check_inclusion(ledger, leaves, receipt.first, receipt.size)


def signature_by_other_key(bench: Bench) -> None:
    """Every head is signed by the log's key alone."""
    ledger, _ = bench.fresh()
    for receipt in (ledger.head(), ledger.post(make_batch(1, 2))):
        _open(bench, receipt)


def key_rotation(bench: Bench) -> None:
    """A key changes in the open or not at all: another key does not open the log."""
    ledger, location = bench.fresh()
    ledger.post(make_batch(1))
    with _refusal(LedgerError, "another key on a log that is signed already"):
        bench.open_ledger(location, bench.other_signer).post(make_batch(2))


def checkpoint_extension_lines(bench: Bench) -> None:
    """A checkpoint has three lines; what else is to be said is said in a leaf."""
    ledger, _ = bench.fresh()
    note = parse_note(ledger.post(make_batch(1, 2)).checkpoint.encode())
    _require(note.text.count("\n") == 3, "the checkpoint has extension lines")


def size_with_leading_zero(bench: Bench) -> None:
    """The text of a checkpoint has one spelling."""
    ledger, _ = bench.fresh()
    receipt = ledger.post(make_batch(1, 2))
    text = parse_note(receipt.checkpoint.encode()).text
    lines = text.split("\n")
    _require(lines[1] == str(receipt.size), f"the size is written {lines[1]!r}")
    _require(format_checkpoint(_open(bench, receipt)) == text, "the checkpoint is not canonical")


CHECKS: Final[Mapping[str, Callable[[Bench], None]]] = {
    check.__name__: check
    for check in (
        replay, conflict, gap, out_of_order, crash_between_send_and_record, two_workers, no_leaves,
        one_leaf, sizes_around_powers_of_two, outside_the_log, changed_record, swapped_leaves,
        dropped_tail, truncated_and_signed_again, split_view, proof_with_extra_node,
        index_off_by_one, signature_by_other_key, key_rotation, checkpoint_extension_lines,
        size_with_leading_zero,
    )
}  # fmt: skip
"""The conformance list, by name."""


def _require(holds: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise NotConforming(what)


@contextmanager
def _refusal(kind: type[LedgerError], what: str) -> Iterator[None]:
    """Demand that the block raises this error."""
    try:
        yield
    except kind:
        return
    raise NotConforming(f"{what} was not refused with {kind.__name__}")


def _open(bench: Bench, receipt: Receipt) -> Checkpoint:
    try:
        return open_checkpoint(receipt.checkpoint.encode(), bench.signer.key)
    except Malformed as error:
        raise NotConforming(f"the checkpoint does not open: {error}") from error


def _check_head(bench: Bench, receipt: Receipt, leaves: list[bytes]) -> None:
    signed = _open(bench, receipt)
    _require(receipt.root == root_hash(leaves), f"the root of {len(leaves)} leaves is another")
    _require(
        (signed.size, signed.root) == (receipt.size, receipt.root) == (len(leaves), receipt.root),
        "the checkpoint signs another size or root than the receipt names",
    )


def _check_inclusion(ledger: Ledger, leaves: list[bytes], index: int, size: int) -> None:
    path = ledger.inclusion(index, size)
    holds = verify_inclusion(leaf_hash(leaves[index]), index, size, path, root_hash(leaves[:size]))
    _require(holds, f"the inclusion proof of leaf {index} in {size} does not hold")
