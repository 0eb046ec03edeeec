"""`dso chain`: heads, assets and certificates on an EVM chain."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ledger_adapter.anchors import Anchoring
    from ledger_adapter.evm.anchor import EvmAnchor

DESCRIPTION: Final = """\
Put heads of the log on an EVM chain, where the operator cannot take them back, and energy
certificates beside them. CHAIN is the file that `deploy` writes; STORE is OUT/store.sqlite or a
database URL. Needs the extra: pip install 'gridclear[evm]'."""

EPILOG: Final = """\
examples:
  dso chain deploy --url http://127.0.0.1:8545 --key deployer.key --board 0xA.. 0xB.. 0xC.. \\
      --poster 0xP.. --pauser 0xQ.. --registrar 0xR.. --certifier 0xS.. --out chain.json
  dso chain anchor chain.json out/day/store.sqlite --bundle out/day/bundle --key poster.key \\
      --evidence evidence.json
  dso chain status chain.json out/day/store.sqlite
  dso chain certificates chain.json out/day/store.sqlite --settlement out/day/settlement \\
      --asset 1=CONNECTION --key poster.key
  dso audit verify out/day/bundle --key operator.vkey --anchor-evidence evidence.json \\
      --block-hash 0x.. --anchor-contract 0x..

exit codes:
  0  done
  1  the chain refused or does not answer; what waits is named, the same command goes on
  2  bad input: a file, an address or an option cannot be used"""

DELAY_HOURS: Final = 48.0
HOUR_S: Final = 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso chain`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")

    def add(name: str, summary: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=summary, description=f"{summary.capitalize()}.")

    deploy = add("deploy", "deploy all contracts; the deployer keeps no role")
    deploy.add_argument("--url", required=True, metavar="URL", help="JSON-RPC of a node")
    _add_key(deploy, "key file of who pays")
    deploy.add_argument("--board", nargs=3, required=True, metavar="ADDRESS",
                        help="the three members; two together are admin")  # fmt: skip
    deploy.add_argument("--delay-hours", type=float, default=DELAY_HOURS, metavar="H",
                        help="how long an admin action waits (default 48)")  # fmt: skip
    for role in ("poster", "pauser", "registrar", "certifier"):
        deploy.add_argument(f"--{role}", required=True, metavar="ADDRESS")
    deploy.add_argument("--out", type=Path, required=True, metavar="CHAIN")
    status = add("status", "say how settled every posted head is, and what waits")
    anchor = add("anchor", "anchor what waits, in order; write the evidence of a bundle's head")
    certificates = add("certificates", "claim settled energy of assets in the log and mint it")
    give = add("transfer", "hand certificates of this key over to another account")
    retire = add("retire", "retire certificates of this key for a participant's statement")
    for action in (give, retire):
        action.add_argument("chain", type=Path, metavar="CHAIN", help="file of `deploy`")
        _add_key(action, "key file of the holder")
        action.add_argument("--certificate", required=True, metavar="0x..", help="its class")
        action.add_argument("--wh", type=int, required=True, metavar="WH", help="energy [Wh]")
    give.add_argument("--to", required=True, metavar="ADDRESS", help="who receives them")
    retire.add_argument("--participant", required=True, metavar="NAME")
    retire.add_argument("--settlement", type=Path, required=True, metavar="DIR",
                        help="settlement folder, or a copy, that `dso settle` reads")  # fmt: skip
    for action in (status, anchor, certificates):
        action.add_argument("chain", type=Path, metavar="CHAIN", help="file of `deploy`")
        action.add_argument("store", metavar="STORE", help="SQLite file or database URL")
        action.add_argument("--keys", type=Path, default=None, metavar="DIR", help="key folder")
    for action in (anchor, certificates):
        _add_key(action, "key file of the poster")
    anchor.add_argument("--bundle", type=Path, metavar="DIR", help="anchor the head of this bundle")
    anchor.add_argument("--evidence", type=Path, metavar="FILE", help="evidence of that head")
    certificates.add_argument("--settlement", type=Path, required=True, metavar="DIR",
                              help="settlement folder of the day")  # fmt: skip
    certificates.add_argument("--asset", action="append", required=True, metavar="N=CONNECTION",
                              help="registered asset of a connection; may be repeated")  # fmt: skip


def _add_key(action: argparse.ArgumentParser, what: str) -> None:
    action.add_argument("--key", type=Path, required=True, metavar="FILE",
                        help=f"{what}: a private key in hex, readable by you alone")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Run one action."""
    from ledger_adapter.ports import LedgerError

    actions = {"deploy": _deploy, "status": _status, "anchor": _anchor,
               "certificates": _certificates, "transfer": _transfer,
               "retire": _retire}  # fmt: skip
    try:
        return actions[arguments.action](arguments)
    except LedgerError as error:
        print(f"REFUSED: {error}")
        return 1


def _deploy(arguments: argparse.Namespace) -> int:
    from data.canonical import write_atomically
    from ledger_adapter.evm.deploy import Roles, deploy_contracts
    from ledger_adapter.evm.node import connect
    from ledger_adapter.evm.sender import read_account

    connect(arguments.url)  # a missing extra is told before anything else
    roles = Roles(
        board=tuple(arguments.board),
        delay_s=round(arguments.delay_hours * HOUR_S),
        poster=arguments.poster,
        pauser=arguments.pauser,
        registrar=arguments.registrar,
        certifier=arguments.certifier,
    )
    place = deploy_contracts(
        arguments.url,
        read_account(arguments.key),
        roles,
        heard=lambda name, gas: print(f"  {name}: {gas:,} gas"),
    )
    write_atomically(arguments.out, place.text().encode())
    print(f"Chain {place.chain_id}, heads at {place.contracts['HeadAnchor']}: {arguments.out}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from dso.chain import opened_chain

    with opened_chain(arguments.chain, arguments.store, arguments.keys, key=None) as chain:
        size, _, posted, limit, window = chain.anchor.contract.functions.tip().call()
        paused = chain.anchor.contract.functions.paused().call()
        print(f"chain {chain.anchor.place.chain_id}, contract {chain.anchor.contract.address}")
        print(f"  {size:,} leaves anchored; posting is {'PAUSED' if paused else 'open'}")
        print(f"  {posted} of {limit} heads posted in this window of {window:,} s")
        for receipt in map(chain.anchor.status, chain.book.open_keys()):
            print(f"  {receipt.key.hex()[:16]} {receipt.size:>9,} {receipt.finality.name}")
    return 0


def _anchor(arguments: argparse.Namespace) -> int:
    from dso.chain import anchor_bundle, opened_chain

    with opened_chain(arguments.chain, arguments.store, arguments.keys, arguments.key) as chain:
        done = anchor_bundle(chain, arguments.bundle, arguments.evidence)
        tell_anchoring(chain.anchor, done)
    return 1 if done.waiting else 0


def tell_anchoring(anchor: EvmAnchor, done: Anchoring) -> None:
    """Say what was anchored and what waits, with the reason."""
    print(f"Anchored: {len(done.receipts)} heads in {anchor.contract.address}")
    if done.waiting:
        print(f"  {len(done.waiting)} heads wait: {done.reason}")


def _certificates(arguments: argparse.Namespace) -> int:
    from dso.chain import mint_settled, opened_chain

    with opened_chain(arguments.chain, arguments.store, arguments.keys, arguments.key) as chain:
        minted = mint_settled(chain, arguments.settlement, arguments.asset)
    for one in minted:
        how = f"{one.gas:,} gas" if one.gas else "minted before"
        print(
            f"  asset {one.claim.asset.number}, {one.claim.start_s}: {one.claim.energy_wh:,} Wh, "
            f"class 0x{one.token:064x}: {how}"
        )
    print(f"Certificates: {sum(one.claim.energy_wh for one in minted):,} Wh")
    return 0


def _token(text: str) -> int:
    from data.errors import InputError, Problem

    try:
        return int(text, 16)
    except ValueError as error:
        what = f"{text!r} is no class of certificates"
        raise InputError([Problem(where="--certificate", what=what)]) from error


def _transfer(arguments: argparse.Namespace) -> int:
    from data.errors import InputError, Problem
    from ledger_adapter.evm.anchor import read_chain_file
    from ledger_adapter.evm.certificates import CertificateDesk
    from ledger_adapter.evm.node import connect
    from ledger_adapter.evm.sender import Sender, read_account

    place = read_chain_file(arguments.chain)
    chain = connect(place.url)
    if not chain.is_address(arguments.to):
        raise InputError([Problem(where="--to", what=f"{arguments.to!r} is no address")])
    desk = CertificateDesk(place, Sender(chain, read_account(arguments.key)))
    recipient = chain.to_checksum_address(arguments.to)
    desk.transfer(recipient, _token(arguments.certificate), arguments.wh)
    print(f"Transferred: {arguments.wh:,} Wh to {recipient}")
    return 0


def _retire(arguments: argparse.Namespace) -> int:
    from dso.chain import retire_for

    note = retire_for(
        chain_file=arguments.chain,
        key=arguments.key,
        token=_token(arguments.certificate),
        energy_wh=arguments.wh,
        participant=arguments.participant,
        settlement=arguments.settlement,
    )
    print(f"Retired: {note.energy_wh:,} Wh of {note.source} for {note.participant}")
    print(
        f"  proof {note.proof_sha256}; dso settle {arguments.settlement} puts it on the statement"
    )
    return 0
