"""A certificate from the meter to a statement: minted, bought, handed over, retired."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("web3", reason="the extra evm is not installed")

from data.periods import Periods
from data.records.settlement import (
    BusPrices,
    ConnectionPosition,
    SettlementCase,
    SettlementRules,
    SubstationSeries,
)
from dso.cli.main import main
from dso.settlement import write_settlement_case
from ledger_adapter.verify.canonical import Malformed
from ledger_adapter.verify.chain import (
    CERTIFICATES_CODE_HASH,
    RETIRED_SLOT,
    verify_retirement_evidence,
)
from ledger_adapter.verify.keccak import keccak256
from tests.support.anvil import EVM, running_anvil, tell
from tests.support.chain_market import ChainMarket, open_market

pytestmark = pytest.mark.service
START = datetime(2016, 7, 25, 12, tzinfo=UTC)
START_S = int(START.timestamp())


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    with running_anvil() as url:
        yield url


@pytest.fixture
def market(node: str, tmp_path: Path) -> Iterator[ChainMarket]:
    opened = open_market(node, tmp_path)
    (tmp_path / "chain.json").write_text(opened.place.text())
    yield opened
    opened.engine.dispose()


def key_file(folder: Path, account: Any) -> str:
    path = folder / f"{account.address}.key"
    path.write_text("0x" + bytes(account.key).hex())
    path.chmod(0o600)
    return str(path)


def settlement(folder: Path) -> Path:
    """Two quarter-hours: a plant at bus 42 injects in the first, a house at bus 7 takes it."""
    sun, house = (750_000, 0), (-750_000, -1_000)
    case = SettlementCase(
        periods=Periods(start=START, count=2),
        rules=SettlementRules(),
        positions=(
            ConnectionPosition(participant="plant", connection="pv-1", bus=42, da_wh=sun,
                               id_wh=sun, meter_wh=sun),
            ConnectionPosition(participant="house", connection="home", bus=7, da_wh=house,
                               id_wh=house, meter_wh=house),
        ),
        prices=tuple(
            BusPrices(bus=bus, dlmp_da_micro_eur_per_mwh=(50_000_000,) * 2,
                      dlmp_id_micro_eur_per_mwh=(50_000_000,) * 2,
                      imbalance_micro_eur_per_mwh=(60_000_000,) * 2)
            for bus in (7, 42)
        ),
        substation=SubstationSeries(
            import_wh=(0, 1_000), import_price_micro_eur_per_mwh=(50_000_000,) * 2
        ),
    )  # fmt: skip
    write_settlement_case(case, folder / "settlement")
    return folder / "settlement"


def test_a_certificate_ends_on_the_statement_with_its_proof(
    market: ChainMarket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    who, registry = market.people, market.contract("AssetRegistry").functions
    number = registry.count().call() + 1
    market.send(who.registrar, registry.register(who.producer.address, "pv", 4_000_000, 42))
    market.send(who.certifier, registry.certify(number, START_S, START_S + 86_400))
    place, folder = str(tmp_path / "chain.json"), settlement(tmp_path)

    log = [place, str(tmp_path / "log.sqlite"), "--keys", str(tmp_path / "keys")]
    mint = ["chain", "certificates", *log, "--key", key_file(tmp_path, who.poster)]
    mint += ["--settlement", str(folder)]
    assert main([*mint, "--asset", f"{number}=home"]) == 2
    assert "the asset is registered at 42" in capsys.readouterr().err
    for _ in range(2):  # a second time changes nothing
        assert main([*mint, "--asset", f"{number}=pv-1"]) == 0
        assert "Certificates: 750,000 Wh" in capsys.readouterr().out
    certificates = market.contract("EnergyCertificates").functions
    token = certificates.classOf(START_S, START_S + 900, 42, "pv").call()
    assert certificates.balanceOf(who.producer.address, token).call() == 750_000

    named = ["--certificate", f"0x{token:064x}"]
    sell = ["chain", "transfer", place, *named, "--key", key_file(tmp_path, who.producer)]
    assert main([*sell, "--wh", "500000", "--to", who.buyer.address]) == 0
    retire = ["chain", "retire", place, *named, "--key", key_file(tmp_path, who.buyer)]
    retire += ["--settlement", str(folder)]
    assert main([*retire, "--wh", "300000", "--participant", "nobody"]) == 2
    assert main([*retire, "--wh", "500001", "--participant", "house"]) == 1
    assert "ERC1155InsufficientBalance" in capsys.readouterr().out
    assert main([*retire, "--wh", "300000", "--participant", "house"]) == 0
    assert certificates.retiredWh(token).call() == 300_000
    assert certificates.balanceOf(who.buyer.address, token).call() == 200_000

    assert main(["settle", str(folder), "--out", str(tmp_path / "money")]) == 0
    statement = (tmp_path / "money/statements/house.html").read_text()
    (proof,) = (folder / "certificates").iterdir()
    assert "Certificates retired for you" in statement
    assert "300" in statement.split("Certificates retired for you")[-1].split("</table>")[0]
    assert proof.stem in statement
    assert "retired for you" not in (tmp_path / "money/statements/plant.html").read_text()

    plain = json.loads(proof.read_bytes())
    block = tell(market.place.url, "eth_getBlockByNumber", [hex(int(plain["block"])), False])
    trusted = {
        "block_hash": bytes.fromhex(block["hash"][2:]),
        "contract": bytes.fromhex(market.place.contracts["EnergyCertificates"][2:]),
    }
    found = verify_retirement_evidence(proof.read_bytes(), **trusted)
    assert (found.energy_wh, found.token) == (300_000, token)
    assert found.account.hex() == who.buyer.address[2:].lower()
    other = json.dumps({**plain, "account": who.producer.address.lower()}).encode()
    with pytest.raises(Malformed):
        verify_retirement_evidence(other, **trusted)


def test_a_table_of_certificates_that_is_wrong_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = settlement(tmp_path)
    (folder / "certificates.csv").write_text(
        "participant,period_start,source,bus,energy_wh,certificate,proof_sha256\n"
        "nobody,2016-07-25T12:00:00Z,pv,42,0,0x1,ab\n"
        "house,2016-07-25T12:00:00Z,pv,42,5,0x1,ab\n"
    )
    assert main(["settle", str(folder), "--out", str(tmp_path / "money")]) == 2
    said = capsys.readouterr().err
    for what in ("unknown participant 'nobody'", "0 is not above 0"):
        assert what in said
    assert not (tmp_path / "money").exists()


def test_the_verifier_knows_the_code_and_the_slot_of_the_certificates() -> None:
    artefact = json.loads((EVM / "artefacts" / "EnergyCertificates.json").read_text())
    assert keccak256(bytes.fromhex(artefact["deployed_bytecode"][2:])).hex() == (
        CERTIFICATES_CODE_HASH
    )
    slots = {entry["label"]: entry["slot"] for entry in artefact["storage"]}
    assert slots["retiredBy"] == str(RETIRED_SLOT)
