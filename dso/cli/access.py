"""`dso access`: clients of the API for parties that the operator vouches for, and token keys."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from dso.cli.market_options import add_market_options, open_operation

DESCRIPTION: Final = """\
Give a party access to the API without an application (the first operator, a meter service of the
house), stop a client, or replace the key that signs tokens."""

EPILOG: Final = """\
examples:
  dso access add --party control-room --role operator --out out/market
  dso access revoke --client c-0f3a... --out out/market
  dso access rotate --out out/market            new key; tokens of before live their minutes out
  dso access rotate --stolen --out out/market   every token of before stops at once

exit codes:
  0  done; 2 bad input, all problems listed"""
ROLES: Final = (
    "operator", "planner", "aggregator", "meter_data", "prosumer", "supplier", "auditor",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso access`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("what", choices=("add", "revoke", "rotate"), help="what to do")
    parser.add_argument("--party", default=None, metavar="ID", help="party to add")
    parser.add_argument("--role", default=None, choices=ROLES, help="its role")
    parser.add_argument("--client", default=None, metavar="ID", help="client to revoke")
    parser.add_argument("--stolen", action="store_true", help="drop all token keys of before")
    add_market_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do one of the three."""
    from data.errors import Problem, refuse_if_any
    from dso.api.credentials import add_party_client
    from dso.api.tokens import TokenRing
    from dso.clock import SystemClock
    from dso.store.access import revoke_client

    needed = {"add": ("party", "role"), "revoke": ("client",), "rotate": ()}[arguments.what]
    refuse_if_any(
        Problem(where=f"--{name}", what="is needed")
        for name in needed
        if not getattr(arguments, name)
    )
    with open_operation(arguments) as operation:
        services = operation.services
        if arguments.what == "add":
            made = add_party_client(services.store, arguments.party, arguments.role)
            print(f"client_id {made.client_id}\nclient_secret {made.client_secret}")
        elif arguments.what == "revoke":
            with services.store.transaction() as connection:
                known = revoke_client(connection, arguments.client)
            refuse_if_any([] if known else [Problem(where="--client", what="is unknown")])
            print(f"{arguments.client} is revoked; its last token ends within minutes")
        else:
            folder: Path = services.keys.folder
            ring = TokenRing(folder, issuer=services.keys.signer.key.name, clock=SystemClock())
            print(f"key {ring.rotate(stolen=arguments.stolen)} signs from now on")
    return 0
