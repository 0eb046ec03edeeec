"""Sealed bids: a commitment before the gate, the bid after it.

A commitment binds the market, the interval, the bidder and the bid. So it can neither be opened as
another bid, nor be copied by another bidder, nor be used again in another interval. A bid that is
not revealed is out; the rule is the simplest that nobody, the operator included, can bend.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ledger_adapter.verify.canonical import Malformed, canonical_json
from ledger_adapter.verify.opening import LEAF_FORMAT

SEALED_KIND: Final = "sealed-bid"
SALT_HEX: Final = 32
_SALT = re.compile(rf"[0-9a-f]{{{SALT_HEX}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bid:
    """A bid in plain text: market, interval (as the gate names it), bidder, fields as text."""

    market: str
    interval: str
    bidder: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reveal:
    """A bid and the 128-bit salt (hex) that its bidder drew."""

    bid: Bid
    salt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Outcome of a reveal phase.

    Parameters
    ----------
    bids : tuple of Bid
        Those that count, in the order of their commitments.
    unrevealed : tuple of int
        Places of commitments that nobody opened: these bids are out.
    refused : tuple of int
        Places of reveals that open no commitment, or one that is open already.
    """

    bids: tuple[Bid, ...]
    unrevealed: tuple[int, ...]
    refused: tuple[int, ...]


def sealed_leaf(reveal: Reveal) -> bytes:
    """Leaf by which a bidder commits to a bid; says nothing about it.

    Raises
    ------
    Malformed
        If the salt is not 128 bits in hex.
    """
    if not _SALT.fullmatch(reveal.salt):
        raise Malformed("the salt of a sealed bid is 32 hexadecimal digits")
    bid = reveal.bid
    content = canonical_json([reveal.salt, bid.market, bid.interval, bid.bidder, dict(bid.fields)])
    digest = hashlib.sha256(content).hexdigest()
    return canonical_json({"commitment": digest, "format": LEAF_FORMAT, "kind": SEALED_KIND})


def open_bids(leaves: Sequence[bytes], reveals: Sequence[Reveal]) -> Opened:
    """Match reveals with the commitments that were in the log at the gate.

    Parameters
    ----------
    leaves : sequence of bytes
        Leaves posted before the gate, in the order of the log.
    reveals : sequence of Reveal
        What bidders revealed after it, in any order.
    """
    waiting = {leaf: place for place, leaf in reversed(list(enumerate(leaves)))}
    bids: dict[int, Bid] = {}
    refused = []
    for number, reveal in enumerate(reveals):
        try:
            place = waiting.pop(sealed_leaf(reveal), None)
        except Malformed:
            place = None
        if place is None:
            refused.append(number)
        else:
            bids[place] = reveal.bid
    return Opened(
        bids=tuple(bids[place] for place in sorted(bids)),
        unrevealed=tuple(place for place in range(len(leaves)) if place not in bids),
        refused=tuple(refused),
    )
