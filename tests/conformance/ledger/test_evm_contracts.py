"""Contracts: built again byte for byte, every refusal, the board's two of three and its delay."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("web3", reason="the extra evm is not installed")

from data.errors import InputError
from ledger_adapter.anchors import anchor_heads
from ledger_adapter.commitment import jcs
from ledger_adapter.evm.artefacts import CONTRACTS, load_artefact
from ledger_adapter.evm.certificates import Asset, CertificateDesk, Claim, claims_batch
from ledger_adapter.evm.deploy import Roles, deploy_contracts
from ledger_adapter.evm.node import NotPermitted, Refused
from ledger_adapter.evm.sender import Sender
from ledger_adapter.ports import LedgerError
from ledger_adapter.verify.chain import ANCHOR_CODE_HASH, HEADS_SLOT
from ledger_adapter.verify.keccak import keccak256
from ledger_adapter.verify.merkle import leaf_hash
from tests.support.anvil import EVM, mine, running_anvil, tell
from tests.support.chain_market import (
    DELAY_S,
    ChainMarket,
    board_signatures,
    open_market,
    people,
)

pytestmark = pytest.mark.service
START = 1_469_448_000  # 2016-07-25 12:00 UTC
NOBODY = "0x0000000000000000000000000000000000000000"


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    with running_anvil() as url:
        yield url


@pytest.fixture
def market(node: str, tmp_path: Path) -> Iterator[ChainMarket]:
    opened = open_market(node, tmp_path)
    yield opened
    opened.engine.dispose()


def test_the_artefacts_are_built_again_byte_for_byte(tmp_path: Path) -> None:
    assert shutil.which("node") is not None
    subprocess.run(["node", str(EVM / "build.js"), str(tmp_path)], check=True, timeout=120)
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in (EVM / "artefacts").iterdir()}
    assert set(built) == {f"{name}.json" for name in (*CONTRACTS, "Invariants")}
    assert built == kept


def test_the_verifier_knows_the_code_and_the_slot_of_the_anchor() -> None:
    artefact = json.loads((EVM / "artefacts" / "HeadAnchor.json").read_text())
    code = bytes.fromhex(artefact["deployed_bytecode"][2:])
    assert keccak256(code).hex() == ANCHOR_CODE_HASH
    slots = {entry["label"]: entry["slot"] for entry in artefact["storage"]}
    assert slots["_heads"] == str(HEADS_SLOT)


def test_keccak_is_that_of_another_library() -> None:
    from eth_hash.auto import keccak

    for length in (0, 1, 31, 32, 135, 136, 137, 271, 272, 1000):
        content = bytes(range(256)) * 4
        assert keccak256(content[:length]) == keccak(content[:length])


def test_roles_are_checked_before_anything_is_deployed() -> None:
    who = people()
    member = who.board[0].address
    wrong = Roles(
        board=(member, member.lower(), who.board[1].address), delay_s=0, poster="0x12",
        pauser=member, registrar=member, certifier=member,
    )  # fmt: skip
    with pytest.raises(InputError) as refused:
        deploy_contracts("http://127.0.0.1:9", who.deployer, wrong)
    told = str(refused.value)
    assert "0x12" in told
    assert "three different members" in told
    assert "delay" in told


def refused(market: ChainMarket, account: Any, call: Any, error: str) -> None:
    """Whatever a contract refuses is refused by the name of its error."""
    with pytest.raises(LedgerError, match=rf"\b{error}\("):
        Sender(market.anchor().chain, account).send(call)


def registered(market: ChainMarket) -> Asset:
    """One certified photovoltaic asset of 4 MW at bus 42."""
    who, registry = market.people, market.contract("AssetRegistry")
    number = registry.functions.count().call() + 1
    call = registry.functions.register(who.producer.address, "pv", 4_000_000, 42)
    market.send(who.registrar, call)
    span = registry.functions.certify(number, START - 900, START + 86_400)
    market.send(who.certifier, span)
    return CertificateDesk(market.place).asset(number)


def claimed(market: ChainMarket, claims: list[Claim], revision: str = "0") -> Any:
    """Post and anchor the claims; return the receipt."""
    run = {"market": "test", "interval": "2016-07-25", "run": "certificates", "revision": revision}
    batch = claims_batch(run, claims, market.place.contracts["AssetRegistry"])
    receipt = market.log.post(batch)
    market.anchor().submit(receipt)
    return receipt


def test_every_refusal_of_the_registry(market: ChainMarket) -> None:
    who, registry = market.people, market.contract("AssetRegistry").functions
    asset = registered(market).number
    unauthorised = "AccessControlUnauthorizedAccount"
    owner = who.producer.address
    refused(market, who.buyer, registry.register(owner, "pv", 1, 1), unauthorised)
    for source in ("", "PV", 'p"v', "a" * 32):
        refused(market, who.registrar, registry.register(owner, source, 1, 1), "BadSource")
    refused(market, who.registrar, registry.register(owner, "pv", 0, 1), "NoCapacity")
    refused(market, who.registrar, registry.register(NOBODY, "pv", 1, 1), "ERC721InvalidReceiver")
    refused(market, who.registrar, registry.certify(asset, 1, 2), unauthorised)
    refused(market, who.certifier, registry.certify(asset, 2, 2), "BadSpan")
    missing = "ERC721NonexistentToken"
    refused(market, who.certifier, registry.certify(99, 1, 2), missing)
    refused(market, who.buyer, registry.setMaintenanceRoot(asset, bytes(32)), "NotPermitted")
    refused(market, who.buyer, registry.setMaintenanceRoot(99, bytes(32)), missing)
    refused(market, who.buyer, registry.setProductionRoot(asset, bytes(32)), unauthorised)
    refused(market, who.registrar, registry.setProductionRoot(99, bytes(32)), missing)
    refused(market, who.buyer, registry.setPermission(asset, owner, 1), "NotPermitted")
    with pytest.raises(Refused, match=missing):
        CertificateDesk(market.place).asset(99)
    refused(
        market, who.buyer, registry.transferFrom(owner, who.buyer.address, asset),
        "ERC721InsufficientApproval",
    )  # fmt: skip


def test_histories_and_permissions_follow_the_owner(market: ChainMarket) -> None:
    who, registry = market.people, market.contract("AssetRegistry").functions
    asset, worker = registered(market).number, who.buyer
    may = 1
    market.send(who.producer, registry.setPermission(asset, worker.address, may))
    market.send(worker, registry.setMaintenanceRoot(asset, b"m" * 32))
    market.send(who.registrar, registry.setProductionRoot(asset, b"p" * 32))
    assert registry.get(asset).call()[5:] in ([b"m" * 32, b"p" * 32], (b"m" * 32, b"p" * 32))
    new_owner = who.board[0].address
    market.send(who.producer, registry.transferFrom(who.producer.address, new_owner, asset))
    assert not registry.permits(asset, worker.address, may).call()
    refused(market, worker, registry.setMaintenanceRoot(asset, bytes(32)), "NotPermitted")


def test_a_leaf_of_the_contract_is_the_leaf_of_the_log(market: ChainMarket) -> None:
    asset = registered(market)
    claim = Claim(asset=asset, start_s=START, energy_wh=750_000)
    registry, certificates = (market.contract(n) for n in ("AssetRegistry", "EnergyCertificates"))
    fields = (asset.number, START, START + 900, 750_000)
    made = certificates.functions.leafOf(fields, registry.functions.get(asset.number).call()).call()
    assert made == claim.leaf(registry.address)
    assert jcs(json.loads(made)) == made


def test_every_refusal_of_the_certificates(market: ChainMarket) -> None:
    who, asset = market.people, registered(market)
    certificates = market.contract("EnergyCertificates").functions
    claim = Claim(asset=asset, start_s=START, energy_wh=750_000)
    receipt = claimed(market, [claim])
    index = receipt.first + 1
    path = market.log.inclusion(index, receipt.size)
    owner, number = asset.owner, asset.number

    def mint(
        *, asset: int = number, start: int = START, end: int = START + 900, energy: int = 750_000,
        to: str = owner, key: bytes = receipt.key, at: int = index, proof: Any = path,
    ) -> Any:  # fmt: skip
        return certificates.mint((asset, start, end, energy), to, key, at, proof)

    refused(market, who.buyer, mint(energy=0), "BadClaim")
    refused(market, who.buyer, mint(start=START + 1, end=START + 901), "BadClaim")
    refused(market, who.buyer, mint(end=START + 1800), "BadClaim")
    refused(market, who.buyer, mint(asset=99), "ERC721NonexistentToken")
    early = START - 1800
    refused(market, who.buyer, mint(start=early, end=early + 900), "NotCertified")
    refused(market, who.buyer, mint(energy=1_000_001), "AboveCapacity")
    refused(market, who.buyer, mint(to=who.buyer.address), "NotPermitted")
    refused(market, who.buyer, mint(energy=750_001), "NotInLog")
    refused(market, who.buyer, mint(at=index - 1), "NotInLog")
    refused(market, who.buyer, mint(at=receipt.size), "NotInLog")
    refused(market, who.buyer, mint(proof=[*path, bytes(32)]), "NotInLog")
    refused(market, who.buyer, mint(key=bytes(32)), "UnknownKey")
    market.send(who.buyer, mint())  # anybody who has the proof
    refused(market, who.buyer, mint(), "AlreadyMinted")
    token = CertificateDesk(market.place).token_of(claim)
    refused(market, who.producer, certificates.retire(token, 0, bytes(32)), "NothingToRetire")
    short = "ERC1155InsufficientBalance"
    refused(market, who.producer, certificates.retire(token, 750_001, bytes(32)), short)
    moved = certificates.safeTransferFrom(owner, who.buyer.address, token, 1, b"")
    refused(market, who.buyer, moved, "ERC1155MissingApprovalForAll")


def test_no_energy_is_minted_twice_also_not_by_another_leaf(market: ChainMarket) -> None:
    asset = registered(market)
    desk = CertificateDesk(market.place, Sender(market.anchor().chain, market.people.buyer))
    claim = Claim(asset=asset, start_s=START, energy_wh=500_000)
    receipt = claimed(market, [claim])
    assert desk.mint([claim], receipt, market.log)[0].gas > 0
    assert desk.mint([claim], receipt, market.log)[0].gas == 0  # again: nothing is sent
    larger = Claim(asset=asset, start_s=START, energy_wh=600_000)
    again = claimed(market, [larger], "1")
    with pytest.raises(Refused, match="AlreadyMinted"):
        desk.mint([larger], again, market.log)
    token = desk.token_of(claim)
    functions = desk.certificates.functions
    assert functions.settledWh(token).call() == 500_000
    assert functions.balanceOf(asset.owner, token).call() == 500_000
    # One Wh is in one certificate: by asset and quarter-hour, two assets of one class add up.
    second = registered(market)
    other = Claim(asset=second, start_s=START, energy_wh=7)
    desk.mint([other], claimed(market, [other], "2"), market.log)
    assert desk.token_of(other) == token
    assert functions.settledWh(token).call() == 500_007


def test_claims_are_checked_before_they_are_posted(market: ChainMarket) -> None:
    asset = registered(market)
    claims = [
        Claim(asset=asset, start_s=START, energy_wh=1),
        Claim(asset=asset, start_s=START, energy_wh=1),
        Claim(asset=asset, start_s=START + 901, energy_wh=1_000_001),
        Claim(asset=asset, start_s=START - 9000, energy_wh=1),
    ]
    with pytest.raises(InputError) as told:
        claimed(market, claims)
    for what in ("claimed twice", "quarter-hour", "1000001 Wh", "outside the asset's"):
        assert what in str(told.value)


def test_the_inclusion_check_on_chain_agrees_with_the_log(market: ChainMarket) -> None:
    contract = market.contract("HeadAnchor").functions
    for number, count in enumerate((1, 1, 2, 3, 6), start=1):
        receipt = market.post(number, count)
        market.anchor().submit(receipt)
        leaves = list(market.log.entries(0, receipt.size))
        for index, leaf in enumerate(leaves):
            path = market.log.inclusion(index, receipt.size)
            for at in range(receipt.size + 1):
                holds = contract.includes(receipt.key, leaf_hash(leaf), at, path).call()
                assert holds == (at == index), (receipt.size, index, at)


def test_the_poster_key_is_rotated_while_posting(market: ChainMarket) -> None:
    """Two signatures, the delay, and posting goes on with the old key until the new one is in."""
    who, book = market.people, market.book
    board, delay = (market.contract(name).functions for name in ("AdminBoard", "AdminDelay"))
    head = market.contract("HeadAnchor")
    role = head.functions.POSTER_ROLE().call()
    swap = [
        head.encode_abi("grantRole", [role, who.buyer.address]),
        head.encode_abi("revokeRole", [role, who.poster.address]),
    ]
    planned = [[head.address] * 2, [0, 0], swap, bytes(32), bytes(32)]
    lock = market.contract("AdminDelay")
    schedule = bytes.fromhex(lock.encode_abi("scheduleBatch", [*planned, DELAY_S])[2:])
    execute = delay.executeBatch(*planned)

    market.post(1)
    assert anchor_heads(book, market.anchor()).waiting == ()
    one = board_signatures(market, lock.address, schedule, who.board[:1])
    refused(market, who.buyer, board.call(lock.address, schedule, one), "TooFewSignatures")
    twice = one * 2
    refused(market, who.buyer, board.call(lock.address, schedule, twice), "SignersNotInOrder")
    stranger = board_signatures(market, lock.address, schedule, [who.board[0], who.buyer])
    refused(market, who.buyer, board.call(lock.address, schedule, stranger), "NotAMember")
    both = board_signatures(market, lock.address, schedule, who.board[1:])
    wrong_order = both[::-1]
    refused(market, who.buyer, board.call(lock.address, schedule, wrong_order), "SignersNotInOrder")
    market.send(who.buyer, board.call(lock.address, schedule, both))
    refused(market, who.buyer, board.call(lock.address, schedule, both), "NotAMember")  # nonce
    refused(market, who.buyer, execute, "TimelockUnexpectedOperationState")
    market.post(2)
    assert anchor_heads(book, market.anchor()).waiting == ()
    tell(market.place.url, "evm_increaseTime", [DELAY_S])
    mine(market.place.url)
    market.send(who.buyer, execute)
    market.post(3)
    with pytest.raises(NotPermitted):
        market.anchor(who.poster)
    assert anchor_heads(book, market.anchor(who.buyer)).waiting == ()
    assert market.head(3)[2] == 6


def test_nobody_but_the_delay_is_admin(market: ChainMarket) -> None:
    who, head = market.people, market.contract("HeadAnchor").functions
    unauthorised = "AccessControlUnauthorizedAccount"
    for account in (who.deployer, who.poster, who.pauser, who.board[0]):
        refused(market, account, head.setRate(1, 1), unauthorised)
        refused(market, account, head.unpause(), unauthorised)
        refused(market, account, head.grantRole(bytes(32), account.address), unauthorised)
    refused(market, who.buyer, head.pause(), unauthorised)
    market.send(who.pauser, head.pause())
    refused(market, who.pauser, head.pause(), "EnforcedPause")
    lock = market.contract("AdminDelay").functions
    for role in (lock.PROPOSER_ROLE().call(), lock.DEFAULT_ADMIN_ROLE().call()):
        assert not lock.hasRole(role, who.deployer.address).call()
    refused(
        market, who.board[0],
        lock.schedule(NOBODY, 0, b"", bytes(32), bytes(32), DELAY_S), unauthorised,
    )  # fmt: skip


def test_admin_actions_behind_the_delay_can_also_be_refused(market: ChainMarket) -> None:
    """Impersonating the time lock shows what the contract itself refuses its admin."""
    url, head = market.place.url, market.contract("HeadAnchor")
    admin = market.place.contracts["AdminDelay"]
    tell(url, "anvil_impersonateAccount", [admin])
    tell(url, "anvil_setBalance", [admin, hex(10**18)])
    for call, error in ((("setRate", [0, 1]), "BadRate"), (("setRate", [1, 0]), "BadRate"),
                        (("unpause", []), "ExpectedPause")):  # fmt: skip
        data = head.encode_abi(*call)
        with pytest.raises(RuntimeError) as told:
            tell(url, "eth_call", [{"from": admin, "to": head.address, "data": data}])
        assert keccak256(f"{error}()".encode())[:4].hex() in str(told.value)
    tell(url, "anvil_stopImpersonatingAccount", [admin])


def test_a_board_has_three_different_members(market: ChainMarket) -> None:
    who, chain = market.people, market.anchor().chain
    artefact = load_artefact("AdminBoard")
    factory = chain.eth.contract(abi=artefact.abi, bytecode=artefact.bytecode)
    first, second = (member.address for member in who.board[:2])
    for members in ([first, first, second], [second, first, first], [NOBODY, first, second]):
        refused(market, who.deployer, factory.constructor(members), "BadMembers")


def test_every_error_of_ours_is_in_a_test() -> None:
    tests = Path(__file__).read_text() + Path(__file__).with_name("test_evm_anchor.py").read_text()
    own = set()
    for path in (EVM / "contracts").glob("*.sol"):
        own |= set(re.findall(r"^    error (\w+)\(", path.read_text(), re.MULTILINE))
    assert len(own) > 15
    assert {name for name in own if name not in tests} == set()
