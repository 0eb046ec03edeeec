"""Send transactions of one account: next nonce, fee raised on the same nonce until it is taken.

Nothing is remembered between calls. The lowest nonce that the chain has not taken is the one to
use: what another process of ours left pending there is replaced, never sent beside it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from data.errors import InputError, Problem
from ledger_adapter.evm.libraries import keeping_recursion_limit
from ledger_adapter.evm.node import chain_errors, refusal
from ledger_adapter.ports import LedgerError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from hexbytes import HexBytes
    from web3 import Web3
    from web3.contract.contract import ContractConstructor, ContractFunction

GWEI: Final = 10**9
BUMP_PERCENT: Final = 125  # nodes ask for 10 percent at least to replace a transaction
GAS_MARGIN_PERCENT: Final = 120  # first posts write more slots than the estimate of a later one
POLL_S: Final = 0.05


class FeeTooHigh(LedgerError):
    """The transaction was not taken up to the highest fee allowed; it may still be, later."""


class NonceTaken(LedgerError):
    """Another process of the same account was first: read the state and decide again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeRule:
    """How much to offer, and how long to wait before offering more.

    Parameters
    ----------
    fee_max_wei : int
        Highest fee per gas that is ever offered [wei].
    tip_wei : int
        What the first offer leaves to the block's maker, per gas [wei].
    wait_s : float
        How long an offer stands before it is raised [s].
    """

    fee_max_wei: int = 200 * GWEI
    tip_wei: int = GWEI
    wait_s: float = 30.0


def read_account(path: Path) -> LocalAccount:
    """Read the account of a file that holds a private key as 64 hex digits.

    Raises
    ------
    InputError
        If the file cannot be read, others may read it, or it holds no key.
    """
    with keeping_recursion_limit():
        from eth_account import Account

    where = f"key file {path}"
    try:
        content = path.read_text(encoding="ascii").strip()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise InputError([Problem(where=where, what=str(error))]) from error
    if mode & 0o077:
        remedy = f"chmod 600 {path}"
        raise InputError([Problem(where=where, what="others may read it", remedy=remedy)])
    try:
        account: LocalAccount = Account.from_key(content)
    except ValueError as error:
        raise InputError([Problem(where=where, what="holds no private key")]) from error
    return account


class Sender:
    """Sends calls of one account and waits until a block has taken them.

    Parameters
    ----------
    chain : Web3
        Connection.
    account : LocalAccount
        Who signs and pays.
    fees : FeeRule
        How much to offer.
    """

    def __init__(self, chain: Web3, account: LocalAccount, fees: FeeRule | None = None) -> None:
        self.chain = chain
        self.account = account
        self.fees = fees or FeeRule()

    @property
    def address(self) -> str:
        """Address of the account."""
        return str(self.account.address)

    def send(self, call: ContractFunction | ContractConstructor) -> dict[str, Any]:
        """Try a call without sending it, send it, and return the receipt of its block.

        Raises
        ------
        LedgerError
            What the contract refuses, before anything is sent; `FeeTooHigh`, `NonceTaken`.
        """
        with chain_errors():
            if hasattr(call, "call"):
                call.call({"from": self.address})
            gas = call.estimate_gas({"from": self.address}) * GAS_MARGIN_PERCENT // 100
            nonce = self.chain.eth.get_transaction_count(self.account.address)
            base = self.chain.eth.get_block("latest").get("baseFeePerGas") or 0
            tip = min(self.fees.tip_wei, self.fees.fee_max_wei)
            fee = min(2 * base + tip, self.fees.fee_max_wei)
            sent: list[HexBytes] = []
            while True:
                self._offer(call, sent, nonce=nonce, gas=gas, fee=fee, tip=tip)
                taken = self._wait(sent, nonce)
                if taken is not None:
                    return self._checked(call, taken)
                if fee >= self.fees.fee_max_wei:
                    raise FeeTooHigh(
                        f"nonce {nonce} of {self.address} was not taken at "
                        f"{fee / GWEI:g} gwei, the highest fee allowed"
                    )
                fee = min(fee * BUMP_PERCENT // 100 + 1, self.fees.fee_max_wei)
                tip = min(tip * BUMP_PERCENT // 100 + 1, fee)

    def _offer(
        self,
        call: ContractFunction | ContractConstructor,
        sent: list[HexBytes],
        *,
        nonce: int,
        gas: int,
        fee: int,
        tip: int,
    ) -> None:
        """Sign and hand over one offer; an offer too low to replace another is no error."""
        from web3.exceptions import Web3RPCError
        from web3.types import Nonce, Wei

        draft: Any = call.build_transaction(
            {
                "from": self.account.address,
                "chainId": self.chain.eth.chain_id,
                "nonce": Nonce(nonce),
                "gas": gas,
                "maxFeePerGas": Wei(fee),
                "maxPriorityFeePerGas": Wei(tip),
            }
        )
        signed = self.account.sign_transaction(draft)
        try:
            self.chain.eth.send_raw_transaction(signed.raw_transaction)
        except Web3RPCError as error:
            text = str(error).lower()
            if "underpriced" in text:
                return  # what stands there pays more: the next round offers more
            if "nonce too low" in text:
                if not sent:
                    raise NonceTaken(f"nonce {nonce} of {self.address} is taken") from error
                return  # one of the offers before was taken meanwhile
            if "already" not in text:
                raise
        sent.append(signed.hash)

    def _wait(self, sent: list[HexBytes], nonce: int) -> dict[str, Any] | None:
        """Return the receipt of whichever offer a block took; None when the time is over."""
        from web3.exceptions import TransactionNotFound

        until = time.monotonic() + self.fees.wait_s
        while True:
            for tx in reversed(sent):
                try:
                    return dict(self.chain.eth.get_transaction_receipt(tx))
                except TransactionNotFound:
                    continue
            if sent and self.chain.eth.get_transaction_count(self.account.address) > nonce:
                # One more look: the offer may have been taken between the two questions.
                for tx in sent:
                    try:
                        return dict(self.chain.eth.get_transaction_receipt(tx))
                    except TransactionNotFound:
                        continue
                raise NonceTaken(f"nonce {nonce} of {self.address} was taken by another process")
            if time.monotonic() >= until:
                return None
            time.sleep(POLL_S)

    def _checked(
        self, call: ContractFunction | ContractConstructor, receipt: dict[str, Any]
    ) -> dict[str, Any]:
        """Refuse a transaction that a block took and the contract refused."""
        if receipt["status"] == 1:
            return receipt
        if hasattr(call, "call"):
            call.call({"from": self.address})  # says why, where it still holds
        raise refusal(None)
