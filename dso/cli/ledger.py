"""`dso ledger`: look after the log: check it, publish it, hand its keys over."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ledger_adapter.open_log import OpenLogs

DESCRIPTION: Final = """\
Look after the log that `dso day` posts to. STORE is its SQLite file (OUT/store.sqlite) or a
database URL, --keys the operator's key folder."""

EPILOG: Final = """\
examples:
  dso ledger fsck out/day/store.sqlite
  dso ledger tiles out/day/store.sqlite --out out/tiles
  dso ledger publish out/day/store.sqlite --bundle out/day/bundle --out bundle.cosigned \\
      --witness http://127.0.0.1:8440 --witness-key witness.vkey
  dso ledger receipt out/day/store.sqlite --leaf 1 --out first-trade.tlog-proof
  dso ledger disclose out/day/store.sqlite --bundle out/day/bundle --batch day-ahead \\
      --record RECORD --field bus --out disclosure.json
  dso ledger rotate out/day/store.sqlite --out rotation.tlog-proof
  dso ledger act out/day/store.sqlite --actor "A. Lovelace" --role operator --verb approve \\
      --object "day-ahead 2016-07-25" --reason "checked"
  dso ledger erase out/day/store.sqlite --subject NAME
  dso ledger witness --folder witness --log operator.vkey

exit codes:
  0  done; fsck found nothing
  1  fsck found damage, or a witness refused
  2  bad input: store, keys or names cannot be used"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso ledger`."""
    from ledger_adapter.witness import command

    parser.description, parser.epilog = DESCRIPTION, EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")

    def add(name: str, summary: str) -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=summary, description=f"{summary.capitalize()}.")
        action.add_argument("store", metavar="STORE", help="SQLite file or database URL")
        action.add_argument("--keys", type=Path, default=None, metavar="DIR", help="key folder")
        return action

    def add_out(action: argparse.ArgumentParser, what: str) -> None:
        action.add_argument("--out", type=Path, required=True, metavar="PATH", help=what)

    add("fsck", "re-hash both logs and compare nodes, roots and checkpoints")
    add_out(add("tiles", "export the record log as static tiles"), "folder of the export")
    publish = add("publish", "cosign a head with ML-DSA-44 and have witnesses cosign it")
    publish.add_argument("--bundle", type=Path, metavar="DIR", help="its head (default: newest)")
    publish.add_argument(
        "--witness", action="append", default=[], metavar="URL", help="may be repeated"
    )
    publish.add_argument(
        "--witness-key", type=Path, action="append", default=[], metavar="FILE",
        help="public keys of the witness, in the order of --witness",
    )  # fmt: skip
    add_out(publish, "the cosigned checkpoint")
    receipt = add("receipt", "write the .tlog-proof of one leaf")
    receipt.add_argument("--leaf", type=int, required=True, metavar="N", help="index of the leaf")
    add_out(receipt, "the receipt")
    disclose = add("disclose", "show some fields of one record, and prove that it was committed to")
    disclose.add_argument("--bundle", type=Path, required=True, metavar="DIR")
    disclose.add_argument("--batch", required=True, metavar="NAME", help="e.g. day-ahead")
    disclose.add_argument("--record", required=True, metavar="ID", help="trade or participant")
    disclose.add_argument("--field", action="append", required=True, metavar="NAME")
    add_out(disclose, "the disclosure")
    add_out(add("rotate", "replace the signing key"), "proof of the hand-over, for auditors")
    act = add("act", "write down what a person did, in the action log")
    for name in ("actor", "role", "verb", "object", "reason"):
        act.add_argument(f"--{name}", required=True, metavar="TEXT")
    erase = add("erase", "forget a subject for good: its key and its payloads; proofs stay valid")
    erase.add_argument("--subject", required=True, metavar="NAME", help="participant or actor")
    witness = actions.add_parser("witness", help="run a witness of other logs")
    command.add_arguments(witness)


def run(arguments: argparse.Namespace) -> int:
    """Run one action."""
    if arguments.action == "witness":
        from ledger_adapter.witness import command

        return command.run(arguments)
    from dso.cli.day import default_keys
    from ledger_adapter.open_log import open_logs

    actions = {
        "fsck": _fsck, "tiles": _tiles, "publish": _publish, "receipt": _receipt,
        "disclose": _disclose, "rotate": _rotate, "act": _act,
        "erase": _erase,
    }  # fmt: skip
    with open_logs(arguments.store, arguments.keys or default_keys()) as logs:
        return actions[arguments.action](arguments, logs)


def _fsck(_arguments: argparse.Namespace, logs: OpenLogs) -> int:
    code = 0
    for name, log in (("record log", logs.records), ("action log", logs.actions)):
        damage = log.find_damage()
        head = log.head()
        print(f"{name}: {head.size:,} leaves, root {head.root.hex()}")
        for text in damage:
            print(f"  DAMAGE: {text}")
        code = 1 if damage else code
    print("no damage" if code == 0 else "damaged: restore a backup whose heads others hold")
    return code


def _tiles(arguments: argparse.Namespace, logs: OpenLogs) -> int:
    from ledger_adapter.tiles import export_tiles

    size = export_tiles(arguments.out, logs.records)
    print(f"Tiles of {size:,} leaves: {arguments.out}")
    return 0


def _publish(arguments: argparse.Namespace, logs: OpenLogs) -> int:
    from data.canonical import write_atomically
    from data.errors import InputError, Problem
    from ledger_adapter.publish import WitnessRefused, ask_witness, cosign_head, head_of_bundle
    from ledger_adapter.verify.note import parse_verifier_keys

    if len(arguments.witness) != len(arguments.witness_key):
        raise InputError([Problem(where="--witness-key", what="give one for each --witness")])
    log = logs.records
    head = log.head() if arguments.bundle is None else head_of_bundle(log, arguments.bundle)
    refused = []
    cosign_head(log, head, logs.keys.cosigner)
    for url, path in zip(arguments.witness, arguments.witness_key, strict=True):
        try:
            ask_witness(log, head, url, parse_verifier_keys(path.read_text(encoding="utf-8")))
        except WitnessRefused as error:
            refused.append(str(error))
            print(f"REFUSED: {error}")
    write_atomically(arguments.out, log.cosigned(head).encode())
    print(f"Head of {head.size:,} leaves with its cosignatures: {arguments.out}")
    return 1 if refused else 0


def _receipt(arguments: argparse.Namespace, logs: OpenLogs) -> int:
    from data.canonical import write_atomically
    from ledger_adapter.bundle import receipt_for_leaf

    log = logs.records
    text = receipt_for_leaf(log, arguments.leaf, log.head(), checkpoint=log.cosigned(log.head()))
    write_atomically(arguments.out, text.encode())
    print(f"Receipt of leaf {arguments.leaf}: {arguments.out}")
    return 0


def _disclose(arguments: argparse.Namespace, logs: OpenLogs) -> int:
    from data.canonical import write_atomically
    from ledger_adapter.disclosure import disclose_from_bundle

    content = disclose_from_bundle(
        arguments.bundle,
        batch=arguments.batch,
        record_id=arguments.record,
        names=set(arguments.field),
        log=logs.records,
        subjects=logs.keys.subjects,
    )
    write_atomically(arguments.out, content)
    print(f"Disclosure of {', '.join(sorted(set(arguments.field)))}: {arguments.out}")
    return 0


def _rotate(arguments: argparse.Namespace, logs: OpenLogs) -> int:
    from data.canonical import write_atomically
    from ledger_adapter.rotation import rotate_key

    new, proof = rotate_key(logs.records, logs.keys)
    write_atomically(arguments.out, proof)
    print(f"New key: {new.text}")
    print(f"Give auditors this proof of the hand-over: {arguments.out}")
    return 0


def _erase(arguments: argparse.Namespace, logs: OpenLogs) -> int:
    from ledger_adapter.payloads import PayloadStore

    store = PayloadStore(logs.records.engine, logs.keys.subjects)
    count = store.erase(arguments.subject)
    print(f"{arguments.subject}: key erased, {count} payloads deleted; every proof stays valid")
    print("Copies of the key folder in backups still open its records: erase it there, too.")
    return 0


def _act(arguments: argparse.Namespace, logs: OpenLogs) -> int:
    from dso.clock import SystemClock
    from ledger_adapter.actions import post_action

    fields = {name: getattr(arguments, name) for name in ("actor", "role", "verb", "object")}
    receipt = post_action(
        logs.actions,
        {**fields, "reason": arguments.reason},
        at=SystemClock().now(),
        record_head=logs.records.head(),
        subjects=logs.keys.subjects,
    )
    print(f"Action {receipt.key.hex()[:16]} stands at leaf {receipt.first + 1} of the action log")
    return 0
