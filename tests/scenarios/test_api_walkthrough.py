"""docs/aggregator.md as it stands: its code blocks run against `dso serve` on PostgreSQL."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from dso.api.client import MarketClient
from dso.store import Store
from dso.store.due import set_simulated_now
from ledger_adapter.keys import load_or_create_keys
from ledger_adapter.verify.disclosure import verify_disclosure
from ledger_adapter.verify.receipt import TrustPolicy
from tests.support.small_market import options, start, write_configs

pytestmark = [pytest.mark.slow, pytest.mark.service]
PAGE = Path(__file__).parents[2] / "docs/aggregator.md"
WAIT_S = 240


def said(process: subprocess.Popen[str]) -> str:
    out, complaints = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, complaints
    return out


@contextmanager
def served(url: str, where: list[str]) -> Iterator[None]:
    """Run `dso serve` until the block ends."""
    port = url.rpartition(":")[2]
    server = start("serve", "--since", "2016-07-25", "--port", port, *where)
    try:
        for _ in range(600):
            try:
                with urlopen(f"{url}/api/v1/openapi.json", timeout=5):
                    break
            except OSError:
                assert server.poll() is None, server.communicate()
                time.sleep(0.1)
        yield
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)


def test_the_page_runs(postgres_url: str, tmp_path: Path) -> None:
    """The market stands still before the first gate, has its day, and is asked again."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 8
    configs = write_configs(tmp_path / "configs")
    where = options(tmp_path / "out", configs, tmp_path / "keys", postgres_url)
    with closing(Store.open(postgres_url)) as store:
        set_simulated_now(store, datetime(2016, 7, 24, 10, 0, tzinfo=UTC))
    made = said(start("access", "add", "--party", "room", "--role", "operator", *where[:-1]))
    credentials = dict(line.split() for line in made.splitlines())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    names: dict[str, Any] = {"URL": url, "operator": MarketClient(url, **credentials)}
    with served(url, where):
        for block in blocks[:6]:
            exec(compile(block, str(PAGE), "exec"), names)
    assert names["order"].in_book
    # the server is away meanwhile: it would insert the days after as the clock moves on
    said(start("simulate", "--from", "2016-07-25", "--days", "1", *where))
    with served(url, where):
        for block in blocks[6:]:
            exec(compile(block, str(PAGE), "exec"), names)
        market = names["market"]
        late = market.hand_in(names["ASSET"], names["DAY"], "generation", names["TERMS"])
        market.close()
        names["operator"].close()
    assert (late.state, late.in_book) == ("late", False)
    assert {row["participant"] for row in names["trades"]} == {names["me"]["party"]}
    assert {row["order_id"] for row in names["trades"]} == {names["order"].id}
    assert len({row["period_start"] for row in names["trades"]}) == 96
    assert len(names["awards"]) >= 96
    assert names["paid_eur"] > 0
    assert names["gate"] == "2016-07-24T11:30:00Z"
    assert names["forecast"]["periods"] == 1
    assert names["why"]["details"]["order"] == names["order"].id
    assert names["price"]["details"]["bus"] == 7
    policy = TrustPolicy(key=load_or_create_keys(tmp_path / "keys").signer.key)
    opened, _ = verify_disclosure(names["receipt"].encode(), policy)
    assert opened.fields["participant"][1] == names["me"]["party"]
