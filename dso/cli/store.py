"""`dso store`: look into the database, save it to one file, restore it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dso.store import Store
    from dso.store.backup import StoreState
    from ledger_adapter.keys import OperatorKeys

DESCRIPTION: Final = """\
Look after the database of cycles, results and ledger. STORE is an SQLite file or a database URL."""

EPILOG: Final = """\
examples:
  dso store status out/day/store.sqlite
  dso store backup out/day/store.sqlite --out gridclear.backup
  dso store restore postgresql+psycopg://user@host/gridclear --from gridclear.backup

A backup is one file with every table, the ledger included, in one snapshot; it can be restored to
either kind of database. It refuses to be restored with one byte changed. The operator's keys are
not in it: keep the key folder apart. The files of a day folder are not in it either; their digests
are.

exit codes:
  0  done; after a restore the heads of both logs, all rows and all balances are those saved
  2  bad input: damaged backup, other keys, a database that is not empty, a damaged log"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso store`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")
    for name, summary in (
        ("status", "show version, rows, heads and balances"),
        ("backup", "write everything to one file"),
        ("restore", "fill an empty database from a backup, and prove the heads"),
    ):
        action = actions.add_parser(name, help=summary, description=f"{summary.capitalize()}.")
        action.add_argument("store", metavar="STORE", help="SQLite file or database URL")
        action.add_argument("--keys", type=Path, default=None, metavar="DIR", help="key folder")
        if name == "backup":
            action.add_argument("--out", type=Path, required=True, metavar="FILE")
        if name == "restore":
            action.add_argument(
                "--from", dest="source", type=Path, required=True, metavar="FILE", help="a backup"
            )


def run(arguments: argparse.Namespace) -> int:
    """Run one action."""
    from contextlib import closing

    from data.errors import InputError, Problem
    from dso.cli.day import default_keys
    from dso.store import Store
    from dso.store.backup import refuse_damaged
    from ledger_adapter.keys import PRIVATE_FILE, load_or_create_keys
    from ledger_adapter.ports import LedgerError

    url = str(arguments.store)
    if "://" not in url:
        if arguments.action != "restore" and not Path(url).is_file():
            what = "is no file and no database URL"
            raise InputError([Problem(where=f"store {url}", what=what)])
        url = f"sqlite:///{Path(url).resolve()}"
    folder = arguments.keys or default_keys()
    if not (folder / PRIVATE_FILE).is_file():
        what = f"holds no {PRIVATE_FILE}"
        raise InputError([Problem(where=f"key folder {folder}", what=what)])
    if arguments.action == "restore":
        refuse_damaged(arguments.source)  # before a database is made
    keys = load_or_create_keys(folder)
    actions = {"status": _status, "backup": _backup, "restore": _restore}
    try:
        with closing(Store.open(url)) as store:
            return actions[arguments.action](arguments, store, keys)
    except LedgerError as error:
        remedy = "use the key folder of this store (--keys)"
        raise InputError([Problem(where="ledger", what=str(error), remedy=remedy)]) from error


def _status(_arguments: argparse.Namespace, store: Store, keys: OperatorKeys) -> int:
    from dso.store.backup import create_all, read_state

    create_all(store, keys)
    with store.transaction() as connection:
        _show(read_state(connection))
    return 0


def _backup(arguments: argparse.Namespace, store: Store, keys: OperatorKeys) -> int:
    from dso.store.backup import write_backup

    _show(write_backup(store, keys, arguments.out))
    print(f"Backup of {arguments.out.stat().st_size:,} bytes: {arguments.out}")
    return 0


def _restore(arguments: argparse.Namespace, store: Store, keys: OperatorKeys) -> int:
    from dso.store.backup import restore_backup

    _show(restore_backup(arguments.source, store, keys))
    print("Restored: rows, heads and balances are those of the backup; both logs hold.")
    return 0


def _show(state: StoreState) -> None:
    print(f"Tables of version {state.version}")
    for name, rows in state.rows.items():
        if rows:
            print(f"  {name:20} {rows:>12,} rows")
    for name, checkpoint in state.heads.items():
        lines = checkpoint.split("\n")
        head = f"{int(lines[1]):,} leaves, root {lines[2]}" if checkpoint else "empty"
        print(f"{name} log: {head}")
    for party, amount in state.balances_micro_eur.items():
        print(f"  balance {party:30} {amount:>20,} micro-EUR")
