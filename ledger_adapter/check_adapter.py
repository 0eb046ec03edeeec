"""Hold an adapter to the conformance list: ``python -m ledger_adapter.check_adapter NAME``."""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from data.errors import InputError
from ledger_adapter.adapters import find_adapter
from ledger_adapter.conformance import CHECKS, Bench
from ledger_adapter.keys import load_or_create_keys, prepare_next_key


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every check; 0 all passed, 1 one failed, 2 there is no such adapter."""
    parser = argparse.ArgumentParser(
        prog="ledger_adapter.check_adapter",
        description="Hold a ledger adapter to the conformance list, each check on a new log.",
    )
    parser.add_argument("name", metavar="NAME", help="entry point in gridclear.ledgers, or sql")
    parser.add_argument(
        "--location", default="{path}", metavar="TEXT",
        help="how the adapter names a log; {path} becomes a new path (sql: sqlite:///{path})",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        adapter = find_adapter(options.name)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        keys = load_or_create_keys(Path(folder) / "keys", "gridclear.example/conformance")
        numbers = itertools.count()
        bench = Bench(
            open_ledger=adapter,
            new_location=lambda: options.location.format(path=f"{folder}/log-{next(numbers)}"),
            signer=keys.signer,
            other_signer=prepare_next_key(keys.folder),
        )
        for name, check in CHECKS.items():
            try:
                check(bench)
            except Exception as error:  # noqa: BLE001 - a stranger's code may raise anything
                failed += 1
                sys.stdout.write(f"FAILED  {name}: {type(error).__name__}: {error}\n")
            else:
                sys.stdout.write(f"passed  {name}\n")
    sys.stdout.write(f"{len(CHECKS) - failed} of {len(CHECKS)} checks passed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
