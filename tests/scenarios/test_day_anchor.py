"""A delivery day on a chain: its head stands there, and an auditor needs no node to see it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("web3", reason="the extra evm is not installed")

from dso.cli.main import main
from tests.support.anvil import accounts, mine, running_anvil, tell
from tests.support.delivery_days import FinishedDay

pytestmark = [pytest.mark.slow, pytest.mark.service]


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    with running_anvil() as url:
        yield url


@pytest.fixture
def day(long: FinishedDay, tmp_path: Path) -> Path:
    """A finished day with its keys, that a test may add to."""
    shutil.copytree(long.out, tmp_path / "day")
    shutil.copytree(long.out.parent / "keys", tmp_path / "keys")
    return tmp_path / "day"


def key_file(folder: Path, number: int) -> str:
    path = folder / f"{number}.key"
    path.write_text("0x" + bytes(accounts()[number].key).hex())
    path.chmod(0o600)
    return str(path)


def deploy(url: str, folder: Path) -> str:
    addresses = [account.address for account in accounts()]
    words = ["chain", "deploy", "--url", url, "--key", key_file(folder, 0)]
    words += ["--board", *addresses[5:8], "--poster", addresses[1], "--pauser", addresses[2]]
    words += ["--registrar", addresses[3], "--certifier", addresses[4]]
    assert main([*words, "--out", str(folder / "chain.json")]) == 0
    return str(folder / "chain.json")


def test_a_day_is_anchored_and_its_evidence_needs_no_node(
    node: str, day: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = day.parent
    chain, keys = deploy(node, folder), ["--keys", str(folder / "keys")]
    about = json.loads((day / "day.json").read_text()) if (day / "day.json").exists() else {}
    again = ["day", "--date", "2016-10-30", "--feeder", "1-LV-semiurb4--2-sw", "--quiet"]
    again += ["--out", str(day), *keys, "--anchor", "evm"]
    assert main(again) == 2
    assert "needs --chain FILE and --poster-key FILE" in capsys.readouterr().err, about
    poster = ["--chain", chain, "--poster-key", key_file(folder, 1)]
    assert main([*again, *poster]) in (0, 4)
    assert "Anchored: " in capsys.readouterr().out
    evidence = day / "anchor-evidence.json"
    plain = json.loads(evidence.read_text())
    trusted = tell(node, "eth_getBlockByNumber", [hex(int(plain["block"])), False])["hash"]
    contract = json.loads(Path(chain).read_text())["contracts"]["HeadAnchor"]
    verify = ["audit", "verify", str(day / "bundle"), "--key", str(day / "operator.vkey")]
    verify += ["--anchor-evidence", str(evidence)]
    assert main([*verify, "--block-hash", trusted, "--anchor-contract", contract]) == 0
    assert "Its head stands on chain in block" in capsys.readouterr().out
    wrong = "0x" + "00" * 32
    assert main([*verify, "--block-hash", wrong, "--anchor-contract", contract]) == 1
    assert "not that of the block you named" in capsys.readouterr().out
    assert main(verify) == 2
    assert "--block-hash is not 0x" in capsys.readouterr().err
    mine(node, 8)
    store = [chain, str(day / "store.sqlite"), *keys]
    final = ["--bundle", str(day / "bundle"), "--key", key_file(folder, 1)]
    assert main(["chain", "anchor", *store, *final, "--evidence", str(evidence)]) == 0
    assert main(["chain", "status", *store]) == 0
    said = capsys.readouterr().out
    assert "posting is open" in said
    assert "INCLUDED" not in said  # every head is final


def test_a_chain_that_is_down_delays_anchoring_and_nothing_else(
    day: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = day.parent
    with running_anvil() as url:
        chain = deploy(url, folder)
    words = ["day", "--date", "2016-10-30", "--feeder", "1-LV-semiurb4--2-sw", "--quiet"]
    words += ["--out", str(day), "--keys", str(folder / "keys"), "--anchor", "evm"]
    words += ["--chain", chain, "--poster-key", key_file(folder, 1)]
    assert main(words) in (0, 4)
    said = capsys.readouterr().out
    assert "Anchoring waits: the node does not answer" in said
    assert "Report: " in said
