"""Check that a head stands on an EVM chain, from a block header and storage proofs alone.

Trusted are the hash of one block and the address of the contract, both from outside the evidence.
The header hashes to the block; its state root holds the account; the account holds the code and
the storage root; that holds the head. The node that gave the evidence is not trusted.
Sources: Ethereum yellow paper, appendices B (RLP), C and D (trie); EIP-1186 (proofs).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ledger_adapter.verify.canonical import HASH_BYTES, Malformed, parse_json
from ledger_adapter.verify.keccak import keccak256

EVIDENCE_FORMAT: Final = "gridclear-evm-evidence-1"
RETIREMENT_FORMAT: Final = "gridclear-evm-retirement-1"
HEADS_SLOT: Final = 2
"""Storage slot of the contract's mapping from key to head; a test compares the artefact."""
ANCHOR_CODE_HASH: Final = "4877fde3d46d71fe609803374e9e1bf4a0adbf11b3180be4a967d1e7f2e94627"
"""Keccak-256 of the deployed code of HeadAnchor; a test compares the artefact."""
RETIRED_SLOT: Final = 8
"""Storage slot of ``retiredBy`` in EnergyCertificates; a test compares the artefact."""
CERTIFICATES_CODE_HASH: Final = "575f5bb153e12cdb2d81a0ade5b86e1ea3746c05479a6c87c55ca8ff17842963"
"""Keccak-256 of the deployed code of EnergyCertificates; a test compares the artefact."""
ADDRESS_BYTES: Final = 20
STATE_ROOT_FIELD: Final = 3
NUMBER_FIELD: Final = 8
TIME_FIELD: Final = 11
HEADER_FIELDS_MIN: Final = 15
ACCOUNT_FIELDS: Final = 4
BRANCH_ITEMS: Final = 17
LIST_PREFIX: Final = 0xC0
TEXT_PREFIX: Final = 0x80
LONG: Final = 55

Rlp = bytes | list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchoredHead:
    """A head that a block of the chain holds.

    Parameters
    ----------
    key : bytes
        Key of the batch.
    first, size : int
        Index of the batch's first leaf, and the number of leaves after it.
    root : bytes
        RFC 9162 root of the first ``size`` leaves.
    posted_at_s, block_at_s : int
        Times of the block that took the head and of the block proven [s since 1970].
    block : int
        Number of the block proven.
    """

    key: bytes
    first: int
    size: int
    root: bytes
    posted_at_s: int
    block_at_s: int
    block: int


def verify_anchor_evidence(content: bytes, *, block_hash: bytes, contract: bytes) -> AnchoredHead:
    """Check an evidence file against a block hash and a contract from outside it.

    Raises
    ------
    Malformed
        With what does not hold.
    """
    plain, header, storage_root = _prove_account(
        content, EVIDENCE_FORMAT, block_hash=block_hash, contract=contract, code=ANCHOR_CODE_HASH
    )
    key = _bytes_of(plain, "key")
    slot = int.from_bytes(keccak256(key + HEADS_SLOT.to_bytes(32, "big")), "big")
    root = _storage_word(storage_root, slot, _proof_of(plain, "root_proof"))
    packed = _storage_word(storage_root, slot + 1, _proof_of(plain, "size_proof"))
    size = packed >> 64 & (1 << 64) - 1
    if size == 0:
        raise Malformed("the block holds no head under this key")
    return AnchoredHead(
        key=key,
        first=packed & (1 << 64) - 1,
        size=size,
        root=root.to_bytes(32, "big"),
        posted_at_s=packed >> 128 & (1 << 64) - 1,
        block_at_s=int.from_bytes(_text(header[TIME_FIELD]), "big"),
        block=int.from_bytes(_text(header[NUMBER_FIELD]), "big"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredEnergy:
    """Energy that an account has retired for good in one class of certificates.

    Parameters
    ----------
    account : bytes
        Address of who retired it.
    token : int
        Class: quarter-hour, bus and source.
    energy_wh : int
        All energy that the account has retired in it so far [Wh].
    block : int
        Number of the block proven.
    """

    account: bytes
    token: int
    energy_wh: int
    block: int


def verify_retirement_evidence(
    content: bytes, *, block_hash: bytes, contract: bytes
) -> RetiredEnergy:
    """Check a proof of retirement against a block hash and a contract from outside it.

    Raises
    ------
    Malformed
        With what does not hold.
    """
    plain, header, storage_root = _prove_account(
        content,
        RETIREMENT_FORMAT,
        block_hash=block_hash,
        contract=contract,
        code=CERTIFICATES_CODE_HASH,
    )
    account = read_hex(plain.get("account"), "account", ADDRESS_BYTES)
    token = int.from_bytes(read_hex(plain.get("token"), "token", HASH_BYTES), "big")
    slot = retired_slot(account, token)
    energy_wh = _storage_word(storage_root, slot, _proof_of(plain, "energy_proof"))
    return RetiredEnergy(
        account=account,
        token=token,
        energy_wh=energy_wh,
        block=int.from_bytes(_text(header[NUMBER_FIELD]), "big"),
    )


def retired_slot(account: bytes, token: int) -> int:
    """Return the storage slot of ``retiredBy[account][token]``."""
    outer = keccak256(account.rjust(HASH_BYTES, b"\0") + RETIRED_SLOT.to_bytes(HASH_BYTES, "big"))
    return int.from_bytes(keccak256(token.to_bytes(HASH_BYTES, "big") + outer), "big")


def _prove_account(
    content: bytes, form: str, *, block_hash: bytes, contract: bytes, code: str
) -> tuple[dict[str, Any], list[Any], bytes]:
    """Return the evidence, the block's header and the storage root of a contract of this code."""
    plain = parse_json(content)
    if not isinstance(plain, dict) or plain.get("format") != form:
        raise Malformed("the evidence is not of the format " + form)
    header_bytes = _bytes_of(plain, "header")
    if keccak256(header_bytes) != block_hash:
        raise Malformed("the header in the evidence is not that of the block you named")
    header = decode_rlp(header_bytes)
    if not isinstance(header, list) or len(header) < HEADER_FIELDS_MIN:
        raise Malformed("the header has too few fields")
    account = prove_in_trie(
        _text(header[STATE_ROOT_FIELD]), keccak256(contract), _proof_of(plain, "account_proof")
    )
    fields = decode_rlp(account) if account is not None else []
    if not isinstance(fields, list) or len(fields) != ACCOUNT_FIELDS:
        raise Malformed("the block holds no such contract")
    if _text(fields[3]).hex() != code:
        raise Malformed("the contract's code is not the published one")
    return plain, header, _text(fields[2])


def _storage_word(storage_root: bytes, slot: int, proof: Sequence[bytes]) -> int:
    """Return a 256-bit word of storage; what the trie does not hold is zero."""
    slot %= 1 << 256
    value = prove_in_trie(storage_root, keccak256(slot.to_bytes(32, "big")), proof)
    return 0 if value is None else int.from_bytes(_text(decode_rlp(value)), "big")


def prove_in_trie(root: bytes, path: bytes, proof: Sequence[bytes]) -> bytes | None:
    """Follow a path through a Merkle-Patricia trie; None where the trie proves it holds nothing.

    Parameters
    ----------
    root : bytes
        Hash of the root node.
    path : bytes
        The key, hashed already.
    proof : sequence of bytes
        Nodes from the root down, as ``eth_getProof`` gives them.

    Raises
    ------
    Malformed
        If a node is missing, is another than its parent names, or is left over.
    """
    nibbles = [half for byte in path for half in (byte >> 4, byte & 15)]
    waiting = list(proof)
    reference: Rlp = root
    while True:
        node = _load_node(reference, waiting)
        if len(node) == BRANCH_ITEMS:
            if not nibbles:
                raise Malformed("a path of the proof ends inside the trie")
            reference = node[nibbles.pop(0)]
            if reference == b"":
                _refuse_more(waiting)
                return None
            continue
        if len(node) != 2:
            raise Malformed("a node of the proof is neither branch, extension nor leaf")
        part, is_leaf = _compact(_text(node[0]))
        if nibbles[: len(part)] != part:
            _refuse_more(waiting)
            return None
        del nibbles[: len(part)]
        if is_leaf:
            _refuse_more(waiting)
            return None if nibbles else _text(node[1])
        reference = node[1]


def _load_node(reference: Rlp, waiting: list[bytes]) -> list[Any]:
    """Return the node that a reference names: by hash from the proof, or embedded."""
    if isinstance(reference, list):
        return reference
    if not waiting or keccak256(waiting[0]) != reference:
        raise Malformed("a node of the proof is missing or is not the one its parent names")
    node = decode_rlp(waiting.pop(0))
    if not isinstance(node, list):
        raise Malformed("a node of the proof is no list")
    return node


def _refuse_more(waiting: Sequence[bytes]) -> None:
    if waiting:
        raise Malformed("the proof has a node too many")


def _compact(encoded: bytes) -> tuple[list[int], bool]:
    """Read the hex prefix encoding: the nibbles of a path, and whether they end at a leaf."""
    if not encoded or encoded[0] >> 4 > 3:
        raise Malformed("a path in the proof is not in hex prefix encoding")
    halves = [half for byte in encoded for half in (byte >> 4, byte & 15)]
    return halves[1 if halves[0] & 1 else 2 :], bool(halves[0] & 2)


def decode_rlp(content: bytes) -> Rlp:
    """Read one RLP item that fills the content.

    Raises
    ------
    Malformed
        If it is cut off, has bytes left over, or is not spelled as short as it could be.
    """
    try:
        item, end = _decode_item(content, 0)
    except IndexError as error:
        raise Malformed("RLP that is cut off") from error
    if end != len(content):
        raise Malformed("RLP with bytes left over")
    return item


def _decode_item(content: bytes, start: int) -> tuple[Rlp, int]:
    prefix = content[start]
    if prefix < TEXT_PREFIX:
        return content[start : start + 1], start + 1
    base = LIST_PREFIX if prefix >= LIST_PREFIX else TEXT_PREFIX
    length, begin = prefix - base, start + 1
    if length > LONG:
        width = length - LONG
        digits = content[begin : begin + width]
        length, begin = int.from_bytes(digits, "big"), begin + width
        if len(digits) != width or digits[0] == 0 or length <= LONG:
            raise Malformed("an RLP length that is not as short as it could be")
    end = begin + length
    if end > len(content):
        raise IndexError(end)
    if base == TEXT_PREFIX:
        text = content[begin:end]
        if length == 1 and text[0] < TEXT_PREFIX:
            raise Malformed("an RLP byte that is not as short as it could be")
        return text, end
    items: list[Rlp] = []
    while begin < end:
        item, begin = _decode_item(content[:end], begin)
        items.append(item)
    return items, end


def _text(item: Rlp) -> bytes:
    if not isinstance(item, bytes):
        raise Malformed("a list stands where bytes belong")
    return item


def _bytes_of(plain: dict[str, Any], name: str) -> bytes:
    return read_hex(plain.get(name), name)


def _proof_of(plain: dict[str, Any], name: str) -> list[bytes]:
    nodes = plain.get(name)
    if not isinstance(nodes, list):
        raise Malformed(f"{name} in the evidence is no list")
    return [read_hex(node, name) for node in nodes]


def read_hex(text: object, name: str, length: int | None = None) -> bytes:
    """Read lower case hex after 0x; `Malformed` names the field otherwise."""
    if isinstance(text, str) and text.startswith("0x") and text == text.lower():
        try:
            found = bytes.fromhex(text[2:])
        except ValueError:
            found = None
        if found is not None and length in (None, len(found)) and "0x" + found.hex() == text:
            return found
    raise Malformed(f"{name} is not 0x and {'' if length is None else 2 * length} hex digits")
