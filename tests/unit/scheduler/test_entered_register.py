"""What the configuration says stands in the register; what people entered is not overwritten."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from data.canonical import sha256_hex
from dso.scheduler.operation import Operation, Site
from dso.store.register import Register
from dso.store.register_records import (
    Asset,
    ConnectionPoint,
    NetworkVersion,
    Party,
    RuleSetVersion,
)
from tests.support.small_market import FEEDER, write_configs
from tests.unit.scheduler.conftest import DAY, GATE, GRIDS, START, Market, open_market


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    with open_market(tmp_path, write_configs(tmp_path / "configs")) as opened:
        yield opened


def test_parties_assets_network_and_rules_are_entered_once(market: Market) -> None:
    store = market.operation.services.store
    market.operation.insert_due(GATE, since=DAY, until=DAY)
    configs = market.operation.site.configs
    with store.transaction() as connection:
        at = {"at": GATE, "known_at": GATE}
        parties = {each.id: each.role for each in Register(Party).in_force(connection, **at)}
        assets = {each.id: each for each in Register(Asset).in_force(connection, **at)}
        points = {p.id: p for p in Register(ConnectionPoint).in_force(connection, **at)}
        (grid,) = Register(NetworkVersion).in_force(connection, **at)
        (rules,) = Register(RuleSetVersion).in_force(connection, **at)
    network = market.operation.network_on(FEEDER, DAY)
    assert sorted(parties.values()) == ["aggregator", "aggregator", "operator", "supplier"]
    in_service = sum(
        int(table.in_service.sum()) for table in (network.loads, network.sgens, network.storages)
    )
    assert len(assets) == len(points) == in_service
    assert {point.party for point in points.values()} <= set(parties)
    generator = network.sgens
    name = f"{FEEDER}/sgen:{generator.index[0]}"
    assert points[name].bus == generator.bus[0]
    assert assets[name].export_w_max == round(1e6 * max(generator.p_mw[0], generator.sn_mva[0]))
    assert (assets[name].import_w_max, assets[name].energy_wh_max) == (0, None)
    assert grid.reference == "simbench:1-LV-rural1--2-sw"
    assert grid.content == ""  # the library has it
    text = (configs / "markets/four-rounds.toml").read_text(encoding="utf-8")
    assert rules.content == text
    assert rules.sha256 == sha256_hex(text.encode())
    # another process, later: nothing is new
    again = Operation(market.operation.site, market.operation.services, GRIDS)
    again.insert_due(GATE + timedelta(hours=5), since=DAY, until=DAY)
    with store.transaction() as connection:
        assert len(Register(Asset).history(connection, name)) == 1
        assert len(Register(RuleSetVersion).history(connection, "four-rounds")) == 1


def test_what_people_entered_stays_and_new_rules_are_a_new_version(
    market: Market, tmp_path: Path
) -> None:
    store, name = market.operation.services.store, f"{FEEDER}/load:0"
    own = Asset(
        id=name, connection_point="cp-own", technology="heat pump", import_w_max=5, export_w_max=0,
        valid_from=GATE - timedelta(days=1), known_at=GATE - timedelta(days=1),
    )  # fmt: skip
    with store.transaction() as connection:
        Register(Asset).add(connection, [own])
    market.operation.insert_due(GATE, since=DAY, until=DAY)
    with store.transaction() as connection:
        assert Register(Asset).history(connection, name) == (own,)
    rules = tmp_path / "configs/markets/four-rounds.toml"
    changed = rules.read_text(encoding="utf-8") + "attempts_max = 5\n"
    rules.write_text(changed, encoding="utf-8")
    site = Site(feeders=(FEEDER,), out=tmp_path / "out", configs=tmp_path / "configs")
    Operation(site, market.operation.services, GRIDS).insert_due(GATE, since=DAY, until=DAY)
    with store.transaction() as connection:
        versions = Register(RuleSetVersion).history(connection, "four-rounds")
    assert [version.valid_from for version in versions] == [GATE, START]
    assert versions[-1].content == changed
