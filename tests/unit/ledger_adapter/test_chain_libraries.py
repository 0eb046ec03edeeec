"""What loading the chain's libraries must not do to the process."""

from __future__ import annotations

import subprocess
import sys


def test_deep_nesting_is_refused_after_the_chain_was_used() -> None:
    program = (
        "import json\n"
        "from ledger_adapter.evm.node import connect\n"
        "connect('http://127.0.0.1:9')\n"
        "try:\n"
        "    json.loads('[' * 100_000)\n"
        "except RecursionError:\n"
        "    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr
