"""The money of a day: every sum zero, every position that of the awards, energy that adds up."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from dso.cli.main import main
from tests.support.delivery_days import FinishedDay

pytestmark = pytest.mark.slow
WH_PER_MWH = 1_000_000
# as many as SimBench's own tables have
CONNECTIONS = {
    "1-MV-rural--2-sw": {"load": 96, "sgen": 102, "storage": 90},
    "1-LV-semiurb4--2-sw": {"load": 58, "sgen": 6, "storage": 4},
}


def rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="") as stream:
        yield from csv.DictReader(stream)


def wh(text: str) -> int:
    exact = Decimal(text) * WH_PER_MWH
    assert exact == int(exact), text
    return int(exact)


def test_every_market_and_period_sums_to_zero(any_day: FinishedDay) -> None:
    sums: dict[tuple[str, str], int] = defaultdict(int)
    rounding: dict[tuple[str, str], int] = defaultdict(int)
    lines: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows(any_day.out / "settlement/lines.csv"):
        key = row["period_start"], row["market"]
        sums[key] += int(row["amount_micro_eur"])
        if row["kind"] == "rounding":
            rounding[key] += int(row["amount_micro_eur"])
        else:
            lines[key] += 1
    markets = {market.split("/")[0] for _, market in sums}
    assert markets == {"da", "id", "imbalance", "refund"}
    assert set(sums.values()) == {0}
    assert all(abs(amount) <= lines[key] for key, amount in rounding.items())


def test_everybody_is_settled(any_day: FinishedDay) -> None:
    owner: dict[str, str] = {}
    for row in rows(any_day.out / "settlement/positions.csv"):
        assert owner.setdefault(row["connection"], row["participant"]) == row["participant"]
    kinds = [connection.split(":")[0] for connection in owner]
    assert {kind: kinds.count(kind) for kind in kinds} == CONNECTIONS[any_day.feeder]
    assert set(owner.values()) == {"aggregator-north", "aggregator-south", "default-supplier"}
    ordered = {order["asset"] for order in _orders(any_day.out / "clearing")}
    passive = {name for name, party in owner.items() if party == "default-supplier"}
    assert passive == owner.keys() - ordered


def _orders(folder: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((folder / "orders.json").read_text())
    return found


def test_the_trades_of_all_clearings_add_up_to_the_positions(any_day: FinishedDay) -> None:
    asset = {order["id"]: order["asset"] for order in _orders(any_day.out / "clearing")}
    first: dict[tuple[str, str], int] = defaultdict(int)
    last: dict[tuple[str, str], int] = defaultdict(int)
    folders = [any_day.out / "clearing", *(any_day.out / "clearing/intraday").iterdir()]
    for number, folder in enumerate(folders):
        for row in rows(folder / "trades.csv"):
            key = asset[row["order"]], row["period_start"]
            last[key] += int(row["energy_wh"])
            if number == 0:
                first[key] += int(row["energy_wh"])
    for row in rows(any_day.out / "settlement/positions.csv"):
        key = row["connection"], row["period_start"]
        if row["connection"] in asset.values():
            assert (wh(row["da_mwh"]), wh(row["id_mwh"])) == (first[key], last[key]), key


def test_the_metered_energy_adds_up_to_the_losses(any_day: FinishedDay) -> None:
    metered = [wh(row["meter_mwh"]) for row in rows(any_day.out / "settlement/positions.csv")]
    imported = [wh(row["import_mwh"]) for row in rows(any_day.out / "settlement/substation.csv")]
    replay = json.loads((any_day.out / "dispatch/replay.json").read_text())["with_market"]
    losses_wh = sum(metered) + sum(imported)
    half_a_wh_each = 0.5 * (len(metered) + len(imported))
    assert losses_wh == pytest.approx(replay["losses_mwh"] * WH_PER_MWH, abs=half_a_wh_each)


def test_the_whole_difference_stands_on_binding_elements_losses_and_import(
    any_day: FinishedDay,
) -> None:
    """Every rent has its element; what is left are the losses as the clearing priced them.

    Day-ahead: loss over-collection = sum of loss part x withdrawal - energy price x losses.
    """
    folder = any_day.out / "settlement"
    binding = {
        (row["period_start"], f"{row['element_kind']}:{row['element']}:{row['side']}")
        for row in rows(folder / "parts.csv")
    }
    booked: dict[str, int] = defaultdict(int)
    for row in rows(folder / "lines.csv"):
        assert row["kind"] != "rent_unsplit"
        if row["kind"] in ("rent_congestion", "rent_voltage"):
            assert (row["period_start"], row["participant"].partition("/")[2]) in binding
        if row["kind"] == "rent_loss" and row["market"] == "da":
            booked[row["period_start"]] += int(row["amount_micro_eur"])
    loss = {
        (row["bus"], row["period_start"]): float(row["loss_eur_per_mwh"])
        for row in rows(any_day.out / "clearing/prices.csv")
    }
    collected: dict[str, float] = defaultdict(float)
    withdrawn: dict[str, float] = defaultdict(float)
    moved: dict[str, float] = defaultdict(float)
    for row in rows(folder / "positions.csv"):
        start, taken = row["period_start"], -float(row["da_mwh"])
        collected[start] += loss[row["bus"], start] * taken
        withdrawn[start] += taken
        moved[start] += abs(taken)
    for row in rows(folder / "substation.csv"):
        start = row["period_start"]
        losses = float(row["da_import_mwh"]) - withdrawn[start]
        expected = collected[start] - float(row["da_energy_eur_per_mwh"]) * losses
        # published prices and parts are whole micro-EUR/MWh
        assert booked[start] / 1e6 == pytest.approx(expected, abs=2e-5 * moved[start] + 1e-5)


def test_the_settlement_is_the_same_when_run_again(summer: FinishedDay, tmp_path: Path) -> None:
    again = tmp_path / "money"
    assert main(["settle", str(summer.out / "settlement"), "--out", str(again)]) == 0
    for path in again.rglob("*"):
        if path.is_file():
            name = path.relative_to(again)
            assert path.read_bytes() == (summer.out / "settlement" / name).read_bytes(), name


def test_the_clearings_are_the_same_when_run_again(summer: FinishedDay, tmp_path: Path) -> None:
    rounds = sorted((summer.out / "clearing/intraday").iterdir())
    for study in (summer.out / "clearing", rounds[-6]):
        again = tmp_path / study.name
        assert main(["clear", str(study), "--out", str(again)]) == 0
        for path in (again / "study").iterdir():
            assert path.read_bytes() == (study / path.name).read_bytes(), path
        for path in filter(Path.is_file, again.iterdir()):
            # A round trades its binding periods only, which a study folder does not state.
            if path.name not in ("timings.json", *(["trades.csv"] if study in rounds else [])):
                assert path.read_bytes() == (study / path.name).read_bytes(), path
