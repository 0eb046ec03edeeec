"""Gas of the chain side on a local node: ``make bench-evm``. Writes its table to the screen.

Gas is exact and the same on every machine; nothing here is a time.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from ledger_adapter.commitment import jcs
from ledger_adapter.evm.artefacts import load_artefact
from ledger_adapter.evm.certificates import CertificateDesk, Claim, claims_batch
from ledger_adapter.evm.sender import Sender
from ledger_adapter.verify.merkle import leaf_hash
from tests.support.anvil import running_anvil
from tests.support.chain_market import ChainMarket, open_market

LATER_ROOT_MAX = 90_000
TRADES = 1_000
CLEARINGS = 96
START = 1_469_448_000


def gas_of_roots(market: ChainMarket) -> tuple[int, int, int]:
    """Return the gas of the first root, the most of 95 later ones, and of a replay."""
    anchor = market.contract("HeadAnchor").functions
    poster = Sender(market.anchor().chain, market.people.poster)
    spent = []
    for number in range(1, CLEARINGS + 1):
        receipt = market.post(number, [jcs({"trade": k, "of": number}) for k in range(TRADES)])
        call = anchor.post(receipt.key, receipt.root, receipt.first, receipt.size)
        spent.append(int(poster.send(call)["gasUsed"]))
    again = int(poster.send(call)["gasUsed"])
    return spent[0], max(spent[1:]), again


def gas_of_inclusion(market: ChainMarket) -> tuple[int, int]:
    """Return levels and gas, with the 21,000 of a transaction, of one inclusion check."""
    head = market.log.head()
    index = head.size // 3
    path = market.log.inclusion(index, head.size)
    leaf = leaf_hash(next(iter(market.log.entries(index, index + 1))))
    call = market.contract("HeadAnchor").functions.includes(head.key, leaf, index, path)
    if not call.call():
        raise SystemExit("the contract does not find a leaf that is there")
    return len(path), int(call.estimate_gas())


def gas_of_certificates(market: ChainMarket) -> dict[str, int]:
    """Return the gas of what happens to a certificate, in a log of 96,000 trades."""
    who, registry = market.people, market.contract("AssetRegistry").functions
    spent = {
        "register an asset (ERC-721)": market.send(
            who.registrar, registry.register(who.producer.address, "pv", 4_000_000, 42)
        ),
        "certify it": market.send(who.certifier, registry.certify(1, START, START + 86_400)),
    }
    producer = CertificateDesk(market.place, Sender(market.anchor().chain, who.producer))
    asset = producer.asset(1)
    claims = [Claim(asset=asset, start_s=START + 900 * k, energy_wh=750_000) for k in range(2)]
    run = {"market": "bench", "interval": "2016-07-25", "run": "certificates", "revision": 0}
    receipt = market.log.post(claims_batch(run, claims, market.place.contracts["AssetRegistry"]))
    market.anchor().submit(receipt)
    minted = producer.mint(claims, receipt, market.log)
    token = minted[0].token
    spent["hand a certificate over (ERC-1155)"] = producer.transfer(
        who.buyer.address, token, 500_000
    )
    buyer = CertificateDesk(market.place, Sender(market.anchor().chain, who.buyer))
    spent["retire a certificate (burn)"] = buyer.retire(token, 500_000, bytes(32))
    found = {name: int(receipt["gasUsed"]) for name, receipt in spent.items()}
    return {**found, "mint a certificate against its proof": max(one.gas for one in minted)}


def main() -> int:
    """Print the table; 1 where a later root takes more than was promised."""
    with tempfile.TemporaryDirectory() as folder, running_anvil() as url:
        market = open_market(url, Path(folder))
        first, later, again = gas_of_roots(market)
        levels, inclusion = gas_of_inclusion(market)
        certificates = gas_of_certificates(market)
        market.engine.dispose()
    rows = [
        ("post a root: the first", first),
        (f"post a root: each later one (at most {LATER_ROOT_MAX:,})", later),
        ("post the same root again", again),
        (f"check an inclusion on chain, {levels} levels, with the 21,000 base", inclusion),
        *certificates.items(),
    ]
    rows += [
        (f"code of {name} [bytes]", len(load_artefact(name).deployed_bytecode) // 2 - 1)
        for name in ("HeadAnchor", "AssetRegistry", "EnergyCertificates")
    ]
    lines = ["| what | gas |", "|---|---|", *(f"| {name} | {gas:,} |" for name, gas in rows)]
    lines.append(f"| **per trade at {TRADES:,} trades a clearing** | **{later / TRADES:.1f}** |")
    sys.stdout.write("\n".join(lines) + "\n")
    return int(later > LATER_ROOT_MAX)


if __name__ == "__main__":
    sys.exit(main())
