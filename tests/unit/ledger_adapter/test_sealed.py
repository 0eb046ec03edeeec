"""Sealed bids: nobody sees them before the gate, nobody changes or copies them after it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from data.errors import InputError
from ledger_adapter.sealed_bids import batch_for_sealed_bids, open_posted_bids
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.verify.canonical import Malformed
from ledger_adapter.verify.sealed import Bid, Opened, Reveal, open_bids, sealed_leaf


def reveal(bidder: str, price: int, salt: str = "ab") -> Reveal:
    bid = Bid(
        market="village", interval="2016-07-25T10", bidder=bidder, fields={"price": str(price)}
    )
    return Reveal(bid=bid, salt=salt * 16)


def test_revealed_bids_count_in_the_order_of_their_commitments() -> None:
    bids = [reveal("a", 10), reveal("b", 10, "cd"), reveal("c", 30, "ef")]
    leaves = [sealed_leaf(bid) for bid in bids]
    assert open_bids(leaves, [bids[2], bids[0]]) == Opened(
        bids=(bids[0].bid, bids[2].bid), unrevealed=(1,), refused=()
    )
    assert open_bids(leaves, []) == Opened(bids=(), unrevealed=(0, 1, 2), refused=())


def test_a_bid_cannot_change_be_copied_or_be_opened_twice() -> None:
    true = reveal("a", 10)
    leaf = sealed_leaf(true)
    other_price = replace(true, bid=replace(true.bid, fields={"price": "11"}))
    copied = replace(true, bid=replace(true.bid, bidder="thief"))
    later = replace(true, bid=replace(true.bid, interval="2016-07-25T11"))
    elsewhere = replace(true, bid=replace(true.bid, market="town"))
    attacks = [other_price, copied, later, elsewhere, reveal("a", 10, "cd")]
    assert open_bids([leaf], attacks) == Opened(
        bids=(), unrevealed=(0,), refused=tuple(range(len(attacks)))
    )
    assert open_bids([leaf], [true, true]) == Opened(bids=(true.bid,), unrevealed=(), refused=(1,))
    # A thief who posts the very same commitment gains nothing: it opens for its owner once.
    assert open_bids([leaf, leaf], [true, copied]) == Opened(
        bids=(true.bid,), unrevealed=(1,), refused=(1,)
    )


def test_the_commitment_says_nothing_without_the_salt() -> None:
    leaf = sealed_leaf(reveal("a", 10))
    for price in range(500):
        for salt in ("00", "ff"):
            assert sealed_leaf(reveal("a", price, salt)) != leaf
    for salt in ("", "zz", "AB", "abc"):
        with pytest.raises(Malformed):
            sealed_leaf(reveal("a", 10, salt))
    assert open_bids([leaf], [reveal("a", 10, "zz")]).refused == (0,)


def test_bids_are_posted_sealed_and_opened_from_the_log(log: SqlLog) -> None:
    bids = [reveal("a", 10), reveal("b", 20, "cd")]
    gate = {"market": "village", "interval": "2016-07-25T10", "run": "gate", "revision": 0}
    posted = batch_for_sealed_bids(gate, [sealed_leaf(bid) for bid in bids])
    receipt = log.post(posted)
    late = reveal("c", 5, "ef")
    log.post(replace(posted, key=bytes(32), leaves=(sealed_leaf(late),)))
    opened = open_posted_bids(log, receipt, [late, bids[1]])
    assert opened == Opened(bids=(bids[1].bid,), unrevealed=(0,), refused=(0,))
    with pytest.raises(InputError) as refusal:
        batch_for_sealed_bids(gate, [posted.leaves[1], b"price 10", posted.leaves[1], b"{}"])
    assert len(refusal.value.problems) == 3
    with pytest.raises(InputError, match="there are none"):
        batch_for_sealed_bids(gate, [])
