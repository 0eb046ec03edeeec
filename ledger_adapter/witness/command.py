"""Run a witness until it is interrupted."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ledger_adapter.verify.canonical import Malformed
from ledger_adapter.verify.note import parse_verifier_keys
from ledger_adapter.witness.core import PUBLIC_FILE, Witness
from ledger_adapter.witness.server import WitnessServer

EXIT_UNREADABLE = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of a witness."""
    parser.add_argument(
        "--folder", type=Path, required=True, metavar="DIR",
        help="keys and newest heads of the witness, made on first use",
    )  # fmt: skip
    parser.add_argument(
        "--log", type=Path, required=True, action="append", metavar="FILE",
        help="public key (.vkey) of a log to witness; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--name", default="gridclear.example/witness", metavar="NAME",
        help="name of the witness for a new folder",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8440, help="port (0: a free one)")


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted; 2 if keys or heads cannot be read."""
    try:
        keys = [
            key
            for path in options.log
            for key in parse_verifier_keys(path.read_text(encoding="utf-8"))
        ]
        witness = Witness(options.folder, keys, name=options.name)
    except (Malformed, OSError, ValueError) as error:
        sys.stderr.write(f"UNREADABLE: {error}\n")
        return EXIT_UNREADABLE
    with WitnessServer(witness, options.host, options.port) as server:
        sys.stdout.write(f"witness on {server.url}, keys in {options.folder / PUBLIC_FILE}\n")
        sys.stdout.flush()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the witness from the command line."""
    parser = argparse.ArgumentParser(
        prog="ledger_adapter.witness",
        description="Cosign the heads of logs, and never two that contradict each other.",
    )
    add_arguments(parser)
    return run(parser.parse_args(arguments))
