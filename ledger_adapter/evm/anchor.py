"""Anchor heads in the contract HeadAnchor: the `Anchor` port on an EVM chain."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from data.errors import InputError, Problem
from data.records.posting import Finality, Receipt
from ledger_adapter.evm.evidence import prove_storage
from ledger_adapter.evm.node import (
    FINALITY_TAGS,
    NotPermitted,
    WrongChain,
    chain_errors,
    connect,
    contract_at,
)
from ledger_adapter.evm.sender import FeeRule, NonceTaken, Sender
from ledger_adapter.ports import Caps, KeyConflict, LedgerError
from ledger_adapter.verify.chain import (
    ANCHOR_CODE_HASH,
    EVIDENCE_FORMAT,
    HEADS_SLOT,
    verify_anchor_evidence,
)
from ledger_adapter.verify.keccak import keccak256

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3 import Web3
    from web3.types import BlockIdentifier

FINALITY_OF_TAG: Final = dict(
    zip(FINALITY_TAGS, (Finality.INCLUDED, Finality.SAFE, Finality.FINAL), strict=True)
)
EPOCHS_TO_FINAL_S: Final = 900.0  # two epochs of 32 slots of 12 s, and some
ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainFile:
    """Where the contracts stand; `dso chain deploy` writes it.

    Parameters
    ----------
    url : str
        JSON-RPC of a node.
    chain_id : int
        Number of the chain.
    contracts : mapping
        Address of each contract by its name.
    """

    url: str
    chain_id: int
    contracts: dict[str, str]

    def text(self) -> str:
        """Return the file as JSON."""
        plain = {"url": self.url, "chain_id": self.chain_id, "contracts": self.contracts}
        return json.dumps(plain, indent=2, sort_keys=True) + "\n"


def read_chain_file(path: Path) -> ChainFile:
    """Read a chain file.

    Raises
    ------
    InputError
        If it cannot be read or lacks something.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return ChainFile(
            url=str(plain["url"]),
            chain_id=int(plain["chain_id"]),
            contracts={str(name): str(at) for name, at in plain["contracts"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"is no chain file: {type(error).__name__} {error}"
        remedy = "dso chain deploy writes one"
        raise InputError([Problem(where=str(path), what=what, remedy=remedy)]) from error


class EvmAnchor:
    """Heads in a contract that grants them once and never takes them back.

    Parameters
    ----------
    place : ChainFile
        Node, chain and contracts.
    receipts : callable
        Finds the receipt of a key in the log (``SqlLog.get``).
    account : LocalAccount or None
        Who posts; None reads only.
    fees : FeeRule or None
        How much to offer.
    timeout_s : float
        How long one question to the node may take [s].

    Raises
    ------
    WrongChain
        If the node serves another chain or other code stands at the address.
    NotPermitted
        If the account is no poster.
    NodeUnreachable
        If the node does not answer.
    """

    def __init__(
        self,
        place: ChainFile,
        receipts: Callable[[bytes], Receipt | None],
        *,
        account: LocalAccount | None = None,
        fees: FeeRule | None = None,
        timeout_s: float = 20.0,
    ) -> None:
        self.place = place
        self.chain: Web3 = connect(place.url, timeout_s=timeout_s)
        self.contract = contract_at(self.chain, "HeadAnchor", place.contracts["HeadAnchor"])
        self._receipts = receipts
        self._sender = None if account is None else Sender(self.chain, account, fees)
        self._check_place()

    @property
    def caps(self) -> Caps:
        """What an EVM chain with finality can do."""
        return Caps(
            finality_max=Finality.FINAL,
            expected_delay_s=EPOCHS_TO_FINAL_S,
            stores_entries=False,
            verifies_inclusion=True,
            can_reorganise=True,
        )

    def submit(self, receipt: Receipt) -> Receipt:
        """Post a head and wait until a block has taken it; what stands there is not sent again.

        Raises
        ------
        KeyConflict, NotAppendOnly, NotPermitted, Paused, RateExceeded
            What the contract refuses.
        FeeTooHigh, NodeUnreachable
            What may be tried again.
        """
        if self._sender is None:
            raise LedgerError("this anchor was opened without an account: it only reads")
        for _ in range(ATTEMPTS):
            if self._held(receipt, "latest"):
                break
            call = self.contract.functions.post(
                receipt.key, receipt.root, receipt.first, receipt.size
            )
            try:
                self._sender.send(call)
            except NonceTaken:
                continue  # another worker of this key was first, perhaps with this very head
        return self._status(receipt)

    def status(self, key: bytes) -> Receipt:
        """Read how settled a key is: by the finality tags, not by the age of a transaction."""
        receipt = self._receipts(key)
        if receipt is None:
            raise LedgerError(f"key {key.hex()} is not in the log")
        return self._status(receipt)

    def evidence(self, key: bytes, *, block: BlockIdentifier = "finalized") -> bytes:
        """Return header and proofs that the head of a key stands in a block; checked here once.

        Raises
        ------
        LedgerError
            If the block does not hold the head, or the node proves something else.
        """
        slot = int.from_bytes(keccak256(key + HEADS_SLOT.to_bytes(32, "big")), "big")
        slots = [slot % (1 << 256), (slot + 1) % (1 << 256)]
        found = prove_storage(self.chain, self.contract.address, slots, block)
        plain = {
            **found.plain,
            "format": EVIDENCE_FORMAT,
            "key": f"0x{key.hex()}",
            "root_proof": found.proofs[0],
            "size_proof": found.proofs[1],
        }
        content = (json.dumps(plain, indent=1, sort_keys=True) + "\n").encode()
        try:
            verify_anchor_evidence(
                content,
                block_hash=found.block_hash,
                contract=bytes.fromhex(self.contract.address[2:]),
            )
        except ValueError as error:
            raise LedgerError(f"no evidence at block {found.plain['block']}: {error}") from error
        return content

    def _status(self, receipt: Receipt) -> Receipt:
        finality = Finality.QUEUED
        for tag, reached in FINALITY_OF_TAG.items():
            if not self._held(receipt, tag):
                break
            finality = reached
        if finality is Finality.QUEUED and receipt.anchor:
            finality = Finality.ORPHANED  # it stood there once: a reorganisation took it out
        anchor = {
            "scheme": "evm",
            "chain_id": str(self.place.chain_id),
            "contract": self.contract.address,
        }
        if finality < Finality.INCLUDED:
            anchor = {}
        return replace(receipt, finality=finality, anchor=anchor)

    def _held(self, receipt: Receipt, tag: Any) -> bool:  # noqa: ANN401 - web3's literal of tags
        """Whether the chain holds this head at a tag; another head under its key is an error."""
        from web3.exceptions import BadFunctionCallOutput

        try:
            with chain_errors(passing=(BadFunctionCallOutput,)):
                root, first, size, _ = self.contract.functions.head(receipt.key).call(
                    block_identifier=tag
                )
        except BadFunctionCallOutput:
            return False  # at this tag the contract itself does not stand yet, or no longer
        if size == 0:
            return False
        if (root, first, size) != (receipt.root, receipt.first, receipt.size):
            raise KeyConflict(f"the chain holds another head under key {receipt.key.hex()}")
        return True

    def _check_place(self) -> None:
        """Refuse another chain, another contract and an account that may not post."""
        with chain_errors():
            chain_id = self.chain.eth.chain_id
            code = bytes(self.chain.eth.get_code(self.contract.address))
        if chain_id != self.place.chain_id:
            raise WrongChain(f"the node serves chain {chain_id}, not {self.place.chain_id}")
        if keccak256(code).hex() != ANCHOR_CODE_HASH:
            raise WrongChain(f"no head anchor of ours stands at {self.contract.address}")
        if self._sender is None:
            return
        with chain_errors():
            role = self.contract.functions.POSTER_ROLE().call()
            permitted = self.contract.functions.hasRole(role, self._sender.address).call()
        if not permitted:
            raise NotPermitted(f"{self._sender.address} lacks the role POSTER")
