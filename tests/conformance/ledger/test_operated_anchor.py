"""The anchor of a running market: a chain that is down delays it, and it goes on by itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("web3", reason="the extra evm is not installed")

from data.records.posting import Finality
from dso.chain import OperatedAnchor
from ledger_adapter.anchors import AnchorBook, anchor_heads
from ledger_adapter.evm.anchor import ChainFile
from tests.support.anvil import accounts, running_anvil
from tests.support.chain_market import ChainMarket, open_market

pytestmark = [pytest.mark.slow, pytest.mark.service]
POSTER = 1


@pytest.fixture
def market(tmp_path: Path) -> Iterator[ChainMarket]:
    with running_anvil() as url:
        yield open_market(url, tmp_path)


def write_files(market: ChainMarket, folder: Path, url: str) -> tuple[Path, Path]:
    chain, key = folder / "chain.json", folder / "poster.key"
    place = ChainFile(url=url, chain_id=market.place.chain_id, contracts=market.place.contracts)
    chain.write_text(place.text())
    wanted = market.people.poster.address
    (account,) = [each for each in accounts() if each.address == wanted]
    key.write_text("0x" + bytes(account.key).hex())
    key.chmod(0o600)
    return chain, key


def test_heads_wait_for_a_node_and_stand_on_it_afterwards(
    market: ChainMarket, tmp_path: Path
) -> None:
    """The same anchor object is asked before and after, as a worker asks it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        nobody = f"http://127.0.0.1:{listening.getsockname()[1]}"
    receipts = [market.post(number) for number in (1, 2)]
    book = AnchorBook(market.engine, market.log.get)
    chain, key = write_files(market, tmp_path, nobody)
    away = OperatedAnchor(chain, key, book)  # nothing is asked of the node yet
    done = anchor_heads(book, away)
    assert done.receipts == ()
    assert len(done.waiting) == 2
    assert done.reason
    chain, key = write_files(market, tmp_path, market.place.url)
    here = OperatedAnchor(chain, key, book)
    done = anchor_heads(book, here)
    assert done.waiting == ()
    assert [receipt.size for receipt in done.receipts] == [r.size for r in receipts]
    assert all(receipt.finality >= Finality.INCLUDED for receipt in done.receipts)
    assert market.head(2)[0] == receipts[1].root
    assert here.caps.can_reorganise
