"""Sealed bids: nobody sees them before the gate, nobody changes or copies them after it."""

from __future__ import annotations

from dataclasses import replace

import pytest

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
