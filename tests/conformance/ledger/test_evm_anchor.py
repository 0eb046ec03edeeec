"""The chain items of the conformance list, on a real node that the tests start and stop."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("web3", reason="the extra evm is not installed")

from data.errors import InputError
from data.records.posting import Finality
from ledger_adapter.anchors import anchor_heads
from ledger_adapter.evm.anchor import EvmAnchor, read_chain_file
from ledger_adapter.evm.node import NodeUnreachable, NotPermitted, Paused, RateExceeded, WrongChain
from ledger_adapter.evm.sender import GWEI, FeeRule, FeeTooHigh, Sender, read_account
from ledger_adapter.ports import KeyConflict, LedgerError, NotAppendOnly
from ledger_adapter.verify.canonical import Malformed
from ledger_adapter.verify.chain import verify_anchor_evidence
from tests.support.anvil import mine, running_anvil, tell
from tests.support.chain_market import ChainMarket, open_market

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    with running_anvil() as url:
        yield url


@pytest.fixture
def market(node: str, tmp_path: Path) -> Iterator[ChainMarket]:
    opened = open_market(node, tmp_path)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def own_node() -> Iterator[str]:
    """A chain that a test may wind back or hold up."""
    with running_anvil() as url:
        yield url


@pytest.fixture
def own_market(own_node: str, tmp_path: Path) -> Iterator[ChainMarket]:
    opened = open_market(own_node, tmp_path)
    yield opened
    opened.engine.dispose()


def test_a_head_is_anchored_once_and_becomes_final(market: ChainMarket) -> None:
    receipts = [market.post(number) for number in (1, 2)]
    anchor = market.anchor()
    done = anchor_heads(market.book, anchor)
    assert (done.waiting, done.reason) == ((), "")
    assert [receipt.finality for receipt in done.receipts] == [Finality.INCLUDED] * 2
    assert tuple(market.head(2)[:3]) == (receipts[1].root, 2, 4)
    before = anchor.chain.eth.block_number
    again = anchor_heads(market.book, market.anchor())
    assert anchor.chain.eth.block_number == before  # a replay sends nothing
    assert [receipt.key for receipt in again.receipts] == [receipt.key for receipt in receipts]
    mine(market.place.url, 3)
    assert anchor.status(receipts[1].key).finality is Finality.SAFE
    mine(market.place.url, 4)
    final = anchor_heads(market.book, anchor).receipts
    assert {receipt.finality for receipt in final} == {Finality.FINAL}
    assert market.book.open_keys() == []
    assert final[1].anchor["chain_id"] == "31337"


def test_another_head_under_a_known_key_is_a_conflict(market: ChainMarket) -> None:
    receipt = market.post(1)
    anchor = market.anchor()
    anchor.submit(receipt)
    for changed in (replace(receipt, root=bytes(32)), replace(receipt, size=receipt.size + 1)):
        with pytest.raises(KeyConflict):
            anchor.submit(changed)
    assert market.head(1)[2] == receipt.size


def test_a_log_that_does_not_grow_is_refused(market: ChainMarket) -> None:
    first, second = market.post(1), market.post(2)
    anchor = market.anchor()
    anchor.submit(second)
    with pytest.raises(NotAppendOnly, match=r"SizeNotGrown\(4, 2\)"):
        anchor.submit(first)
    with pytest.raises(NotAppendOnly, match=r"EmptyBatch\(9, 9\)"):
        anchor.submit(replace(first, first=9, size=9))


def test_a_wrong_chain_and_a_wrong_contract_are_refused_before_anything_is_sent(
    market: ChainMarket,
) -> None:
    with pytest.raises(WrongChain, match="serves chain 31337, not 1"):
        market.anchor(place=replace(market.place, chain_id=1))
    for name in ("AdminBoard", "nobody"):
        address = market.place.contracts.get(name, market.people.buyer.address)
        elsewhere = replace(market.place, contracts={"HeadAnchor": address})
        with pytest.raises(WrongChain, match="no head anchor of ours"):
            market.anchor(place=elsewhere)


def test_an_account_without_the_role_is_refused(market: ChainMarket) -> None:
    with pytest.raises(NotPermitted, match="lacks the role POSTER"):
        market.anchor(market.people.buyer)
    receipt = market.post(1)
    stranger = Sender(market.anchor().chain, market.people.buyer)
    call = market.contract("HeadAnchor").functions.post(receipt.key, receipt.root, 0, 2)
    with pytest.raises(NotPermitted, match="AccessControlUnauthorizedAccount"):
        stranger.send(call)
    reader = EvmAnchor(market.place, market.book.receipt)
    assert reader.status(receipt.key).finality is Finality.QUEUED
    with pytest.raises(LedgerError, match="only reads"):
        reader.submit(receipt)
    with pytest.raises(LedgerError, match="not in the log"):
        reader.status(bytes(32))


def test_pause_is_a_state_and_the_heads_wait(market: ChainMarket) -> None:
    receipt = market.post(1)
    market.send(market.people.pauser, market.contract("HeadAnchor").functions.pause())
    anchor = market.anchor()
    with pytest.raises(Paused):
        anchor.submit(receipt)
    done = anchor_heads(market.book, anchor)
    assert done.waiting == (receipt.key,)
    assert "EnforcedPause" in done.reason


def test_the_rate_limit_holds_until_its_window_ends(own_node: str, tmp_path: Path) -> None:
    market = open_market(own_node, tmp_path, posts=2)
    for number in range(1, 4):
        market.post(number)
    anchor = market.anchor()
    done = anchor_heads(market.book, anchor)
    assert (len(done.receipts), len(done.waiting)) == (2, 1)
    with pytest.raises(RateExceeded):
        anchor.submit(market.post(4))
    tell(own_node, "evm_increaseTime", [86_400])
    mine(own_node)
    assert len(anchor_heads(market.book, anchor).receipts) == 4
    market.engine.dispose()


def test_a_node_that_is_down_delays_and_nothing_else(tmp_path: Path) -> None:
    with running_anvil() as url:
        market = open_market(url, tmp_path)
        anchor = market.anchor()
    receipt = market.post(1)  # the log takes it
    done = anchor_heads(market.book, anchor)
    assert done.waiting == (receipt.key,)
    assert "does not answer" in done.reason
    with pytest.raises(NodeUnreachable):
        market.anchor()
    market.engine.dispose()


def test_a_node_that_is_slow_is_given_up_in_time(market: ChainMarket) -> None:
    waiting = threading.Event()

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            waiting.wait(10)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        slow = replace(market.place, url=f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(NodeUnreachable, match="Timeout"):
            market.anchor(place=slow, timeout_s=0.2)
    finally:
        waiting.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_stuck_fee_is_raised_on_the_same_nonce(own_market: ChainMarket) -> None:
    url, poster = own_market.place.url, own_market.people.poster
    receipt = own_market.post(1)
    tell(url, "evm_setAutomine", [False])
    low = own_market.anchor(fees=FeeRule(fee_max_wei=2 * GWEI, tip_wei=1, wait_s=0.2))
    nonce = low.chain.eth.get_transaction_count(poster.address)
    with pytest.raises(FeeTooHigh, match="highest fee allowed"):
        low.submit(receipt)
    assert tell(url, "txpool_status") == {"pending": "0x1", "queued": "0x0"}
    pending = tell(url, "txpool_content")["pending"]
    (stuck,) = [sent["hash"] for sent in pending[poster.address.lower()].values()]
    timer = threading.Timer(1.0, lambda: tell(url, "evm_setAutomine", [True]) or mine(url))
    timer.start()
    done = own_market.anchor(fees=FeeRule(wait_s=0.3)).submit(receipt)
    timer.join()
    assert done.finality is Finality.INCLUDED
    assert low.chain.eth.get_transaction_count(poster.address) == nonce + 1
    assert tell(url, "eth_getTransactionReceipt", [stuck]) is None


def test_a_reorganisation_past_safe_is_seen_and_posted_again(own_market: ChainMarket) -> None:
    url = own_market.place.url
    mine(url, 8)
    receipt = own_market.post(1)
    anchor = own_market.anchor()
    assert anchor_heads(own_market.book, anchor).receipts[0].finality is Finality.INCLUDED
    mine(url, 3)
    assert anchor_heads(own_market.book, anchor).receipts[0].finality is Finality.SAFE
    tell(url, "anvil_reorg", [5, []])
    assert anchor.status(receipt.key).finality is Finality.ORPHANED
    assert anchor_heads(own_market.book, anchor).receipts[0].finality >= Finality.INCLUDED
    assert own_market.head(1)[0] == receipt.root


def test_a_crash_between_send_and_record_posts_nothing_twice(market: ChainMarket) -> None:
    receipt = market.post(1)
    market.anchor().submit(receipt)  # and the process ends before it is written down
    before = market.anchor().chain.eth.get_transaction_count(market.people.poster.address)
    done = anchor_heads(market.book, market.anchor())
    assert done.receipts[0].finality is Finality.INCLUDED
    after = market.anchor().chain.eth.get_transaction_count(market.people.poster.address)
    assert after == before


def test_two_workers_of_one_key_post_every_head_once(market: ChainMarket) -> None:
    receipts = [market.post(number) for number in range(1, 7)]
    errors: list[str] = []

    def work() -> None:
        anchor = market.anchor()
        for _ in range(20):
            done = anchor_heads(market.book, anchor, [receipt.key for receipt in receipts])
            if not done.waiting:
                return
        errors.append(done.reason)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert errors == []
    contract = market.contract("HeadAnchor")
    posted = contract.events.HeadPosted().get_logs(from_block=0)
    assert [entry["args"]["size"] for entry in posted] == [receipt.size for receipt in receipts]


def test_evidence_is_checked_without_the_node_and_every_change_is_found(
    market: ChainMarket,
) -> None:
    for number in range(1, 4):
        market.post(number)
    anchor = market.anchor()
    receipts = anchor_heads(market.book, anchor).receipts
    content = anchor.evidence(receipts[1].key, block="latest")
    block = anchor.chain.eth.get_block("latest")
    trusted = {
        "block_hash": bytes(block["hash"]),
        "contract": bytes.fromhex(market.place.contracts["HeadAnchor"][2:]),
    }
    found = verify_anchor_evidence(content, **trusted)
    assert (found.root, found.first, found.size) == (receipts[1].root, 2, 4)
    assert (found.block, found.block_at_s) == (block["number"], block["timestamp"])
    with pytest.raises(Malformed, match="block you named"):
        verify_anchor_evidence(content, block_hash=bytes(32), contract=trusted["contract"])
    elsewhere = bytes.fromhex(market.place.contracts["AdminBoard"][2:])
    with pytest.raises(Malformed):
        verify_anchor_evidence(content, block_hash=trusted["block_hash"], contract=elsewhere)
    other = anchor.evidence(receipts[2].key, block="latest").replace(
        receipts[2].key.hex().encode(), receipts[1].key.hex().encode()
    )
    with pytest.raises(Malformed):
        verify_anchor_evidence(other, **trusted)
    with pytest.raises(LedgerError, match="no head under this key"):
        anchor.evidence(bytes(32), block="latest")


def test_no_byte_of_the_evidence_can_be_changed(market: ChainMarket) -> None:
    receipt = market.post(1)
    anchor = market.anchor()
    anchor_heads(market.book, anchor)
    content = anchor.evidence(receipt.key, block="latest")
    trusted = {
        "block_hash": bytes(anchor.chain.eth.get_block("latest")["hash"]),
        "contract": bytes.fromhex(market.place.contracts["HeadAnchor"][2:]),
    }
    truth = verify_anchor_evidence(content, **trusted)
    import json

    plain = json.loads(content)
    checked = 0
    for name in ("header", "account_proof", "key", "root_proof", "size_proof"):
        parts = plain[name] if isinstance(plain[name], list) else [plain[name]]
        for part, text in enumerate(parts):
            for place in range(2, len(text), 37):
                sign = "0" if text[place] != "0" else "1"
                changed = text[:place] + sign + text[place + 1 :]
                value: Any = changed
                if isinstance(plain[name], list):
                    value = [*parts[:part], changed, *parts[part + 1 :]]
                with pytest.raises(Malformed):
                    verify_anchor_evidence(json.dumps({**plain, name: value}).encode(), **trusted)
                checked += 1
        if isinstance(plain[name], list):
            for value in (parts[:-1], [*parts, parts[0]], parts[::-1] if len(parts) > 1 else []):
                with pytest.raises(Malformed):
                    verify_anchor_evidence(json.dumps({**plain, name: value}).encode(), **trusted)
    assert checked > 100
    assert truth.size == receipt.size


def test_key_files_and_chain_files_say_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "poster.key"
    path.write_text("0x" + "11" * 32)
    path.chmod(0o644)
    with pytest.raises(InputError, match="others may read it"):
        read_account(path)
    path.chmod(0o600)
    assert read_account(path).address.startswith("0x")
    path.write_text("no key")
    with pytest.raises(InputError, match="holds no private key"):
        read_account(path)
    with pytest.raises(InputError, match="No such file"):
        read_account(tmp_path / "none")
    with pytest.raises(InputError, match="dso chain deploy writes one"):
        read_chain_file(path)
