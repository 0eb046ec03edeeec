"""Energy certificates: claims in the log, minted against their proof, retired on a statement.

A claim is a leaf in plain text: asset, bus, source, quarter-hour and settled energy. Who registers
an asset agrees to that; trades and statements of others stay commitments.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from data.errors import InputError, Problem, refuse_if_any
from data.records.posting import Batch, Receipt
from ledger_adapter.batches import header_leaf
from ledger_adapter.commitment import RunFields, batch_key, jcs
from ledger_adapter.evm.anchor import ChainFile
from ledger_adapter.evm.evidence import prove_storage
from ledger_adapter.evm.node import chain_errors, connect, contract_at
from ledger_adapter.evm.sender import Sender
from ledger_adapter.ports import LedgerError
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.verify.chain import (
    RETIREMENT_FORMAT,
    RetiredEnergy,
    retired_slot,
    verify_retirement_evidence,
)
from ledger_adapter.verify.merkle import root_hash

if TYPE_CHECKING:
    from web3 import Web3
    from web3.types import BlockIdentifier

QUARTER_S: Final = 900
KIND: Final = "certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A registered asset, as the registry on the chain tells it.

    Parameters
    ----------
    number : int
        Its token.
    owner : str
        Address of who owns it.
    source : str
        Technology, e.g. ``pv``.
    capacity_w : int
        Highest output [W].
    bus : int
        Bus of the feeder.
    certified_from_s, certified_until_s : int
        Span of its certification [s since 1970].
    """

    number: int
    owner: str
    source: str
    capacity_w: int
    bus: int
    certified_from_s: int
    certified_until_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Settled energy of an asset in one quarter-hour.

    Parameters
    ----------
    asset : Asset
        The asset.
    start_s : int
        Start of the quarter-hour [s since 1970].
    energy_wh : int
        Energy injected and settled [Wh].
    """

    asset: Asset
    start_s: int
    energy_wh: int

    def leaf(self, registry: str) -> bytes:
        """Return the leaf that the contract will look for; ``registry`` is its address."""
        return jcs(
            {
                "asset": str(self.asset.number),
                "bus": str(self.asset.bus),
                "end": str(self.start_s + QUARTER_S),
                "energy_wh": str(self.energy_wh),
                "kind": KIND,
                "registry": registry.lower(),
                "source": self.asset.source,
                "start": str(self.start_s),
            }
        )


def claims_batch(run: RunFields, claims: Sequence[Claim], registry: str) -> Batch:
    """Return the batch of a run's claims: a header and one leaf each, by asset and start.

    Raises
    ------
    InputError
        If a claim stands twice, is no quarter-hour, is empty or is more than the asset can give.
    """
    problems: list[Problem] = []
    seen: set[tuple[int, int]] = set()
    ordered = sorted(claims, key=lambda claim: (claim.asset.number, claim.start_s))
    for claim in ordered:
        where = f"asset {claim.asset.number} at {claim.start_s}"
        if (claim.asset.number, claim.start_s) in seen:
            problems.append(Problem(where=where, what="is claimed twice"))
        seen.add((claim.asset.number, claim.start_s))
        if claim.start_s % QUARTER_S:
            problems.append(Problem(where=where, what="does not start on a quarter-hour"))
        possible = claim.asset.capacity_w * QUARTER_S // 3600
        if not 0 < claim.energy_wh <= possible:
            what = f"{claim.energy_wh} Wh is not within 1 to {possible} Wh"
            problems.append(Problem(where=where, what=what))
        inside = claim.asset.certified_from_s <= claim.start_s
        if not inside or claim.start_s + QUARTER_S > claim.asset.certified_until_s:
            problems.append(Problem(where=where, what="lies outside the asset's certification"))
    refuse_if_any(problems)
    fields = {**run, "kind": KIND}
    leaves = [claim.leaf(registry) for claim in ordered]
    header = {
        "records": len(leaves),
        "records_kind": KIND,
        "records_root": root_hash(leaves).hex(),
    }
    return Batch(key=batch_key(fields), leaves=(header_leaf(fields, KIND, header), *leaves))


@dataclass(frozen=True, slots=True, kw_only=True)
class Minted:
    """What became of a claim.

    Parameters
    ----------
    claim : Claim
        The claim.
    token : int
        Class of the certificate: interval, bus and source.
    gas : int
        Gas that the mint took; 0 where it was minted before.
    """

    claim: Claim
    token: int
    gas: int


class CertificateDesk:
    """Assets and certificates on the chain, for one account.

    Parameters
    ----------
    place : ChainFile
        Node and contracts.
    sender : Sender or None
        Who sends; None reads only.
    """

    def __init__(self, place: ChainFile, sender: Sender | None = None) -> None:
        self.place = place
        self.chain: Web3 = connect(place.url) if sender is None else sender.chain
        self.registry = contract_at(self.chain, "AssetRegistry", place.contracts["AssetRegistry"])
        self.certificates = contract_at(
            self.chain, "EnergyCertificates", place.contracts["EnergyCertificates"]
        )
        self._sender = sender

    def asset(self, number: int) -> Asset:
        """Read an asset.

        Raises
        ------
        Refused
            If there is none of this number.
        """
        with chain_errors():
            found = self.registry.functions.get(number).call()
            owner = self.registry.functions.ownerOf(number).call()
        source, capacity, bus, start, until, _, _ = found
        return Asset(
            number=number,
            owner=str(owner),
            source=source,
            capacity_w=capacity,
            bus=bus,
            certified_from_s=start,
            certified_until_s=until,
        )

    def mint(self, claims: Sequence[Claim], receipt: Receipt, log: SqlLog) -> list[Minted]:
        """Mint the claims of a batch to the owners of their assets, each once.

        Parameters
        ----------
        claims : sequence of Claim
            Claims in the batch.
        receipt : Receipt
            Receipt of the batch, anchored already.
        log : SqlLog
            The log that proves them.
        """
        leaves = list(log.entries(receipt.first, receipt.size))
        minted = []
        for claim in claims:
            leaf = claim.leaf(self.registry.address)
            if leaf not in leaves:
                where = f"asset {claim.asset.number} at {claim.start_s}"
                raise InputError([Problem(where=where, what="is no claim of this batch")])
            index = receipt.first + leaves.index(leaf)
            minted.append(self._mint_one(claim, receipt, index, log.inclusion(index, receipt.size)))
        return minted

    def retire(self, token: int, energy_wh: int, purpose: bytes) -> dict[str, Any]:
        """Retire energy of the account for good; ``purpose`` is a SHA-256."""
        return self._send(self.certificates.functions.retire(token, energy_wh, purpose))

    def origin(self, token: int) -> Claim:
        """Return what a class of certificates was first minted for: asset and quarter-hour.

        Raises
        ------
        InputError
            If nothing was minted in it.
        """
        with chain_errors():
            found = self.certificates.events.Minted().get_logs(
                from_block=0, argument_filters={"id": token}
            )
        if not found:
            what = "nothing was minted in this class"
            raise InputError([Problem(where=f"certificate 0x{token:064x}", what=what)])
        told = found[0]["args"]
        return Claim(
            asset=self.asset(told["asset"]), start_s=told["start"], energy_wh=told["energyWh"]
        )

    def retirement_evidence(
        self, account: str, token: int, block: BlockIdentifier
    ) -> tuple[bytes, RetiredEnergy]:
        """Return the proof of what an account has retired in a class, and what it says.

        Raises
        ------
        LedgerError
            If the node does not answer or proves something else.
        """
        holder = bytes.fromhex(account.removeprefix("0x"))
        address = self.certificates.address
        found = prove_storage(self.chain, address, [retired_slot(holder, token)], block)
        plain = {
            **found.plain,
            "format": RETIREMENT_FORMAT,
            "account": f"0x{holder.hex()}",
            "token": f"0x{token:064x}",
            "energy_proof": found.proofs[0],
        }
        content = (json.dumps(plain, indent=1, sort_keys=True) + "\n").encode()
        try:
            retired = verify_retirement_evidence(
                content, block_hash=found.block_hash, contract=bytes.fromhex(address[2:])
            )
        except ValueError as error:
            raise LedgerError(f"no proof of retirement: {error}") from error
        return content, retired

    def transfer(self, recipient: str, token: int, energy_wh: int) -> dict[str, Any]:
        """Hand energy of the account to another, as after a sale."""
        owner = None if self._sender is None else self._sender.address
        return self._send(
            self.certificates.functions.safeTransferFrom(owner, recipient, token, energy_wh, b"")
        )

    def token_of(self, claim: Claim) -> int:
        """Return the class of a claim's certificate."""
        asset = claim.asset
        with chain_errors():
            return int(
                self.certificates.functions.classOf(
                    claim.start_s, claim.start_s + QUARTER_S, asset.bus, asset.source
                ).call()
            )

    def _mint_one(
        self, claim: Claim, receipt: Receipt, index: int, path: Sequence[bytes]
    ) -> Minted:
        token, asset = self.token_of(claim), claim.asset
        with chain_errors():
            held = self.certificates.functions.mintedWh(asset.number, claim.start_s).call()
        if held == claim.energy_wh:
            return Minted(claim=claim, token=token, gas=0)
        fields = (asset.number, claim.start_s, claim.start_s + QUARTER_S, claim.energy_wh)
        sent = self._send(
            self.certificates.functions.mint(fields, asset.owner, receipt.key, index, list(path))
        )
        return Minted(claim=claim, token=token, gas=int(sent["gasUsed"]))

    def _send(self, call: Any) -> dict[str, Any]:  # noqa: ANN401 - a call of web3
        if self._sender is None:
            what = "this needs an account"
            raise InputError([Problem(where="certificates", what=what, remedy="give --key")])
        return self._sender.send(call)
