"""`dso audit`: check what was published, without database and network."""

from __future__ import annotations

import argparse
from typing import Final

DESCRIPTION: Final = "Check what was published, offline and without trusting anybody."

EPILOG: Final = """\
example:
  dso audit verify out/day/bundle --key out/day/operator.vkey

Take the operator's key from the operator, not from who gave you the bundle."""

VERIFY_EPILOG: Final = """\
examples:
  dso audit verify out/day/bundle --key out/day/operator.vkey
  python -m ledger_adapter.verify out/day/bundle --key operator.vkey     the same, on its own

exit codes:
  0  the bundle holds
  1  it does not: the first file or statement that does not hold is named
  2  the bundle or the key cannot be read"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso audit`."""
    from ledger_adapter.verify import command

    parser.description, parser.epilog = DESCRIPTION, EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")
    verify = actions.add_parser(
        "verify",
        help="check a bundle against the operator's key",
        description="Check every file of a bundle, its proofs and the signed checkpoint.",
        epilog=VERIFY_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(verify)


def run(arguments: argparse.Namespace) -> int:
    """Verify, with the stand-alone verifier's own words and exit codes."""
    from ledger_adapter.verify import command

    return command.run(arguments)
