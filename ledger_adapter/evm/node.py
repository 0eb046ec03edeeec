"""Talk to a node: one connection, and every failure as a `LedgerError` that names the contract's.

web3 loads here on first use only: its import takes seconds and most commands need no chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from data.errors import InputError, Problem
from ledger_adapter.evm.artefacts import CONTRACTS, load_artefact
from ledger_adapter.evm.libraries import keeping_recursion_limit
from ledger_adapter.ports import KeyConflict, LedgerError, NotAppendOnly
from ledger_adapter.verify.keccak import keccak256

if TYPE_CHECKING:
    from web3 import Web3
    from web3.contract import Contract

TIMEOUT_S: Final = 20.0
FINALITY_TAGS: Final = ("latest", "safe", "finalized")


class NodeUnreachable(LedgerError):
    """The node does not answer, or not in time; nothing is known, trying again is safe."""


class WrongChain(LedgerError):
    """The node serves another chain, or another contract stands at the address."""


class Refused(LedgerError):
    """The contract refused a call; ``error`` is the name of its error."""

    def __init__(self, error: str) -> None:
        super().__init__(f"the contract refuses: {error}")
        self.error = error


class NotPermitted(Refused):
    """The account lacks the role that the call needs."""


class Paused(Refused):
    """Posting is paused: a state, not a fault; it goes on when the admin unpauses."""


class RateExceeded(Refused):
    """The contract's rate limit is used up until its window ends; trying later is safe."""


def connect(url: str, *, timeout_s: float = TIMEOUT_S) -> Web3:
    """Open a connection to a node's JSON-RPC; nothing is sent yet.

    Raises
    ------
    InputError
        If the extra ``evm`` is not installed or the URL is not one of HTTP.
    """
    if not url.startswith(("http://", "https://")):
        what = f"{url!r} is not the URL of a node"
        raise InputError([Problem(where="chain", what=what, remedy="e.g. http://127.0.0.1:8545")])
    try:
        with keeping_recursion_limit():
            from web3 import HTTPProvider, Web3
    except ImportError as error:
        remedy = "install the extra: pip install 'gridclear[evm]'"
        raise InputError([Problem(where="chain", what=str(error), remedy=remedy)]) from error
    provider = HTTPProvider(
        url, request_kwargs={"timeout": timeout_s}, exception_retry_configuration=None
    )
    return Web3(provider)


def contract_at(chain: Web3, name: str, address: str) -> Contract:
    """Return the contract of a name at an address."""
    found: Contract = chain.eth.contract(
        address=chain.to_checksum_address(address), abi=load_artefact(name).abi
    )
    return found


@contextmanager
def chain_errors(passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn what web3 and its connection raise into a `LedgerError` that says what happened.

    Errors of the kinds in ``passing`` go through as they are.
    """
    import requests

    with keeping_recursion_limit():
        from web3.exceptions import ContractCustomError, ContractLogicError, Web3Exception

    try:
        yield
    except passing:
        raise
    except ContractCustomError as error:
        raise refusal(error.data) from error
    except ContractLogicError as error:
        raise Refused(str(error)) from error
    except (requests.exceptions.RequestException, TimeoutError) as error:
        raise NodeUnreachable(f"the node does not answer: {type(error).__name__}") from error
    except Web3Exception as error:
        raise LedgerError(f"the node refuses: {error}") from error


def refusal(data: Any) -> LedgerError:  # noqa: ANN401 - hex text, or what a node sends instead
    """Return the error that a contract's answer stands for; its arguments stay as data."""
    name, arguments = _error_of(data)
    text = f"{name}({', '.join(arguments)})"
    if name == "KeyConflict":
        return KeyConflict(f"the contract holds another head under the key: {text}")
    if name in ("SizeNotGrown", "EmptyBatch"):
        return NotAppendOnly(f"the contract takes only a larger log: {text}")
    kinds: dict[str, type[Refused]] = {
        "AccessControlUnauthorizedAccount": NotPermitted,
        "EnforcedPause": Paused,
        "RateExceeded": RateExceeded,
    }
    return kinds.get(name, Refused)(text)


def _error_of(data: Any) -> tuple[str, list[str]]:  # noqa: ANN401 - what a node sends
    if not isinstance(data, str) or not data.startswith("0x"):
        return f"without a reason ({data!r})", []
    from eth_abi.abi import decode

    found = _errors().get(data[2:10])
    if found is None:
        return f"unknown error {data[:74]}", []
    name, kinds = found
    values = decode(kinds, bytes.fromhex(data[10:]))
    return name, [
        f"0x{value.hex()}" if isinstance(value, bytes) else str(value) for value in values
    ]


@cache
def _errors() -> dict[str, tuple[str, list[str]]]:
    """Names and argument types of all custom errors of our contracts, by selector in hex."""
    found = {}
    for contract in CONTRACTS:
        for item in load_artefact(contract).abi:
            if item["type"] == "error":
                kinds = [given["type"] for given in item["inputs"]]
                signature = f"{item['name']}({','.join(kinds)})"
                found[keccak256(signature.encode())[:4].hex()] = (item["name"], kinds)
    return found
