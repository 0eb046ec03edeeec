"""Put the contracts on a chain: the deployer keeps no role in any of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from data.errors import Problem, refuse_if_any
from ledger_adapter.evm.anchor import ChainFile
from ledger_adapter.evm.artefacts import load_artefact
from ledger_adapter.evm.node import chain_errors, connect
from ledger_adapter.evm.sender import FeeRule, Sender

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

BOARD_MEMBERS: Final = 3
ANYBODY: Final = "0x0000000000000000000000000000000000000000"
DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Who may do what.

    Parameters
    ----------
    board : tuple of str
        The three members; two of them together propose admin actions.
    delay_s : int
        How long an admin action waits in the open [s].
    poster, pauser, registrar, certifier : str
        Addresses of the four roles.
    posts, window_s : int
        At most so many heads are posted per window [s].
    """

    board: tuple[str, ...]
    delay_s: int
    poster: str
    pauser: str
    registrar: str
    certifier: str
    posts: int = 400
    window_s: int = DAY_S


def deploy_contracts(
    url: str,
    account: LocalAccount,
    roles: Roles,
    *,
    fees: FeeRule | None = None,
    heard: Callable[[str, int], None] = lambda _name, _gas: None,
) -> ChainFile:
    """Deploy all contracts, each with the time lock behind the board as its admin.

    Parameters
    ----------
    url : str
        JSON-RPC of a node.
    account : LocalAccount
        Who pays.
    roles : Roles
        Who may do what.
    fees : FeeRule or None
        How much to offer.
    heard : callable
        Hears of each contract and the gas it took.

    Raises
    ------
    InputError
        If an address is none, the board is not three different members, or a figure is not above
        zero.
    LedgerError
        If the node does not answer or refuses.
    """
    _check_roles(roles)
    chain = connect(url)
    sender = Sender(chain, account, fees)
    addresses: dict[str, str] = {}

    def deploy(name: str, *arguments: object) -> str:
        artefact = load_artefact(name)
        factory = chain.eth.contract(abi=artefact.abi, bytecode=artefact.bytecode)
        receipt = sender.send(factory.constructor(*arguments))
        heard(name, int(receipt["gasUsed"]))
        addresses[name] = str(receipt["contractAddress"])
        return addresses[name]

    board = deploy("AdminBoard", sorted(map(_checksum, roles.board), key=str.lower))
    admin = deploy("AdminDelay", roles.delay_s, [board], [ANYBODY])
    poster, pauser = _checksum(roles.poster), _checksum(roles.pauser)
    anchor = deploy("HeadAnchor", admin, poster, pauser, roles.posts, roles.window_s)
    registrar, certifier = _checksum(roles.registrar), _checksum(roles.certifier)
    registry = deploy("AssetRegistry", admin, registrar, certifier)
    deploy("EnergyCertificates", anchor, registry)
    with chain_errors():
        return ChainFile(url=url, chain_id=chain.eth.chain_id, contracts=addresses)


def _checksum(address: str) -> str:
    from eth_utils.address import to_checksum_address

    return str(to_checksum_address(address))


def _check_roles(roles: Roles) -> None:
    from eth_utils.address import is_address

    names: list[tuple[str, str]] = [("board", member) for member in roles.board]
    names += [
        (name, getattr(roles, name)) for name in ("poster", "pauser", "registrar", "certifier")
    ]
    problems = [
        Problem(where=name, what=f"{address!r} is no address")
        for name, address in names
        if not is_address(address)
    ]
    if not _are_three(roles.board):
        problems.append(Problem(where="board", what="is not three different members"))
    problems += [
        Problem(where=name, what=f"is {figure}", remedy="give a figure above zero")
        for name, figure in (
            ("delay", roles.delay_s), ("posts", roles.posts), ("window", roles.window_s)
        )
        if figure <= 0
    ]  # fmt: skip
    refuse_if_any(problems)


def _are_three(board: Sequence[str]) -> bool:
    return len(board) == BOARD_MEMBERS == len({member.lower() for member in board})
