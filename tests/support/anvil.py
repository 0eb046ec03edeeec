"""A chain of a test's own: anvil from its npm package, on a free port, ended by its process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ledger_adapter.evm.libraries import keeping_recursion_limit

EVM = Path(__file__).resolve().parents[2] / "ledger_adapter" / "evm"
PACKAGED = EVM / "node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil"
# Published with every anvil: keys of nothing but test chains.
MNEMONIC = "test test test test test test test test test test test junk"


def find_anvil() -> str:
    """Return the program, or say that it is missing: a failure where services are required."""
    found = os.environ.get("DSO_ANVIL") or (str(PACKAGED) if PACKAGED.exists() else None)
    found = found or shutil.which("anvil")
    if found is None:
        message = "chain tests not run: npm ci in ledger_adapter/evm, or set DSO_ANVIL"
        if os.environ.get("DSO_REQUIRE_SERVICES") == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return found


@contextmanager
def running_anvil(*options: str, port: int | None = None) -> Iterator[str]:
    """Run anvil and give its URL."""
    if port is None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
    command = [find_anvil(), "--host", "127.0.0.1", "--port", str(port), "--silent"]
    command += ["--slots-in-an-epoch", "2", "--mnemonic", MNEMONIC, *options]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def accounts(count: int = 10) -> list[Any]:
    """The funded accounts of the test chain."""
    with keeping_recursion_limit():
        from eth_account import Account

    Account.enable_unaudited_hdwallet_features()
    return [
        Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{number}")
        for number in range(count)
    ]


def tell(url: str, method: str, parameters: Sequence[object] = ()) -> Any:
    """Ask the node for something beyond the standard methods."""
    import json
    import urllib.request

    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)})
    request = urllib.request.Request(
        url, data=body.encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        plain = json.load(answer)
    if "error" in plain:
        raise RuntimeError(plain["error"])
    return plain["result"]


def mine(url: str, blocks: int = 1) -> None:
    """Make blocks at once."""
    tell(url, "anvil_mine", [hex(blocks)])
