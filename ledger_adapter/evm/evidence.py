"""Ask a node for a header and storage proofs, and write them so that nobody needs the node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ledger_adapter.evm.node import chain_errors
from ledger_adapter.ports import LedgerError
from ledger_adapter.verify.keccak import keccak256

if TYPE_CHECKING:
    from web3 import Web3
    from web3.types import BlockIdentifier

# Fields of a block header in the order of its RLP (execution-specs); later forks append.
HEADER_FIELDS: Final = (
    "parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot",
    "logsBloom", "difficulty", "number", "gasLimit", "gasUsed", "timestamp", "extraData",
    "mixHash", "nonce", "baseFeePerGas", "withdrawalsRoot", "blobGasUsed", "excessBlobGas",
    "parentBeaconBlockRoot", "requestsHash",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageProof:
    """Words of a contract's storage in one block, proven.

    Parameters
    ----------
    plain : mapping
        Chain, contract, block, header and account proof, as an evidence file holds them.
    proofs : list of list of str
        Nodes of each slot's proof in hex, in the order asked for.
    block_hash : bytes
        Hash of the block.
    """

    plain: dict[str, Any]
    proofs: list[list[str]]
    block_hash: bytes


def prove_storage(
    chain: Web3, address: str, slots: Sequence[int], block: BlockIdentifier
) -> StorageProof:
    """Return the proofs of storage slots of a contract at a block.

    Raises
    ------
    LedgerError
        If the node does not answer or the header cannot be written.
    """
    with chain_errors():
        header: dict[str, Any] = dict(chain.eth.get_block(block))
        chain_id = chain.eth.chain_id
        proof: Any = chain.eth.get_proof(  # type: ignore[call-arg]
            address,  # type: ignore[arg-type]
            list(slots),
            header["number"],
        )
    plain = {
        "chain_id": str(chain_id),
        "contract": address.lower(),
        "block": str(header["number"]),
        "block_hash": f"0x{bytes(header['hash']).hex()}",
        "header": f"0x{encode_header(header).hex()}",
        "account_proof": [f"0x{bytes(node).hex()}" for node in proof["accountProof"]],
    }
    proofs = [[f"0x{bytes(node).hex()}" for node in one["proof"]] for one in proof["storageProof"]]
    return StorageProof(plain=plain, proofs=proofs, block_hash=bytes(header["hash"]))


def encode_header(header: dict[str, Any]) -> bytes:
    """Write the RLP of a block header and check that it hashes to the block's hash.

    Raises
    ------
    LedgerError
        If it does not: the chain's headers have fields that are not known here.
    """
    import rlp  # type: ignore[import-untyped]

    fields = []
    for name in HEADER_FIELDS:
        value = header.get(name)
        if value is None:
            break
        if isinstance(value, int):
            fields.append(value.to_bytes((value.bit_length() + 7) // 8, "big"))
        elif isinstance(value, str):
            fields.append(bytes.fromhex(value.removeprefix("0x")))
        else:
            fields.append(bytes(value))
    encoded: bytes = rlp.encode(fields)
    if keccak256(encoded) != bytes(header["hash"]):
        raise LedgerError("the block's header has fields that are not known here")
    return encoded
