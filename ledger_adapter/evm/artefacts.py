"""The compiled contracts: committed JSON that ``npm run build`` reproduces byte for byte."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

CONTRACTS: Final = (
    "HeadAnchor",
    "AdminBoard",
    "AdminDelay",
    "AssetRegistry",
    "EnergyCertificates",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """One compiled contract.

    Parameters
    ----------
    name : str
        Name of the contract.
    abi : list of mapping
        Its interface, as solc writes it.
    bytecode, deployed_bytecode : str
        Code that deploys and code that stands on the chain, hex after 0x. The second differs on
        the chain where a contract has immutables (AdminBoard).
    """

    name: str
    abi: list[dict[str, Any]]
    bytecode: str
    deployed_bytecode: str


@cache
def load_artefact(name: str) -> Artefact:
    """Read a committed artefact."""
    path = files("ledger_adapter.evm") / "artefacts" / f"{name}.json"
    plain = json.loads(path.read_text(encoding="utf-8"))
    return Artefact(
        name=name,
        abi=plain["abi"],
        bytecode=plain["bytecode"],
        deployed_bytecode=plain["deployed_bytecode"],
    )
