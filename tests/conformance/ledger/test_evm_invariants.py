"""Invariants of the contracts under 10,000 random call sequences, run inside the node.

Sizes only grow, a key keeps its root, minted never exceeds settled, retired never returns. The
sequences and the checks after each call are checks/Invariants.sol.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("web3", reason="the extra evm is not installed")

from ledger_adapter.evm.artefacts import load_artefact
from ledger_adapter.evm.node import connect, contract_at
from ledger_adapter.evm.sender import Sender
from tests.support.anvil import accounts, running_anvil
from tests.support.chain_market import QUICK

pytestmark = pytest.mark.service
SEQUENCES, AT_ONCE, LENGTH = 10_000, 250, 9
GAS = 10**10


@pytest.fixture(scope="module")
def harness() -> Iterator[Any]:
    with running_anvil("--hardfork", "cancun", "--gas-limit", str(GAS)) as url:
        chain = connect(url, timeout_s=60)
        sender = Sender(chain, accounts()[0], QUICK)

        def deploy(name: str, *arguments: object) -> str:
            artefact = load_artefact(name)
            factory = chain.eth.contract(abi=artefact.abi, bytecode=artefact.bytecode)
            return str(sender.send(factory.constructor(*arguments))["contractAddress"])

        at = deploy("Invariants")
        anchor = deploy("HeadAnchor", at, at, at, 1_000_000, 1)
        registry = deploy("AssetRegistry", at, at, at)
        certificates = deploy("EnergyCertificates", anchor, registry)
        found = contract_at(chain, "Invariants", at)
        sender.send(found.functions.begin(anchor, registry, certificates))
        yield found


def test_invariants_hold_under_ten_thousand_random_sequences(harness: Any) -> None:
    taken, refused = [0] * 7, [0] * 7
    for batch in range(SEQUENCES // AT_ONCE):
        more, less = harness.functions.run(batch, AT_ONCE, LENGTH).call({"gas": GAS})
        taken = [a + b for a, b in zip(taken, more, strict=True)]
        refused = [a + b for a, b in zip(refused, less, strict=True)]
    assert sum(taken) + sum(refused) == SEQUENCES * LENGTH
    # Often enough to matter: post, mint, retire, pause or go on, post. A head that is none of the
    # log is taken where it repeats one; a tampered mint only where the tampering changed nothing.
    assert min(taken[kind] for kind in (0, 2, 3, 4, 5)) > 100, taken
    assert min(refused) > 100, refused


def test_the_checks_find_what_is_broken(harness: Any) -> None:
    """The same sequences over a node that lies about one storage slot end with a violation."""
    chain = harness.w3
    certificates = chain.eth.get_storage_at(harness.address, 2)
    at = "0x" + bytes(certificates)[-20:].hex()
    # Of every account's certificates nothing is minted, but one asset is said to be.
    import eth_abi.abi
    from web3.exceptions import ContractCustomError

    from ledger_adapter.verify.keccak import keccak256

    inner = keccak256(eth_abi.abi.encode(["uint256", "uint256"], [1, 5]))
    slot = keccak256(eth_abi.abi.encode(["uint64"], [1_469_448_000]) + inner)
    chain.provider.make_request(
        "anvil_setStorageAt", [at, "0x" + slot.hex(), "0x" + (5).to_bytes(32, "big").hex()]
    )
    with pytest.raises(ContractCustomError) as told:
        harness.functions.run(1, 1, LENGTH).call({"gas": GAS})
    assert b"minted what was not settled".hex() in str(told.value)
