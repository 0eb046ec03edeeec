"""Each forecast of a feeder with congestion points is followed by a request."""

from __future__ import annotations

import csv
import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from dso.config import load_feeder
from tests.support.small_market import FEEDER, write_configs
from tests.unit.scheduler.conftest import DAY, GATE, START, open_market

POINT = """
[[congestion_points]]
id = "ea1.2026-01.grid.example:village"
name = "Village transformer"
elements = ["trafo:0"]
bus = {bus}
"""


def _configs(folder: Path, bus: int = 9) -> Path:
    configs = write_configs(folder)
    feeder = configs / f"feeders/{FEEDER}.toml"
    feeder.write_text(feeder.read_text() + POINT.format(bus=bus))
    return configs


def test_a_day_publishes_its_requests(tmp_path: Path) -> None:
    with open_market(tmp_path, _configs(tmp_path / "configs")) as market:
        market.work(GATE)
        row = market.row("flexibility_request")
        assert (row["state"], row["light"], row["first_period"]) == (
            "done", "yellow", "2016-07-24T11:30:00Z",
        )  # fmt: skip
        place = market.day / "forecast/requests/20160724T1130Z"
        (request,) = json.loads((place / "requests.json").read_text())
        assert (request["message"], request["revision"]) == ("FlexRequest", 1)
        assert request["period"] == "2016-07-25"
        asked = [isp for isp in request["isps"] if isp["disposition"] == "Requested"]
        # the feeder's PV loads its transformer around noon: less injection is asked for
        assert asked
        assert all(isp["max_power_w"] > 0 == isp["min_power_w"] for isp in asked)
        assert sum(isp["duration"] for isp in request["isps"]) == 96
        need = json.loads((market.day / "forecast/outlook.json").read_text())
        (point,) = json.loads((place / "request_summary.json").read_text())["points"]
        worst = max(each["need_mw_q90_max"] for each in need["elements"])
        # the bus of the point is as good as the best one for its transformer, to a few percent
        assert worst <= point["need_mw_max"] <= 1.1 * worst

        market.work(GATE + timedelta(hours=3))
        # the day-ahead market has kept every limit: nothing is left to buy
        bought = market.row("flexibility_purchase")
        assert (bought["state"], bought["light"], bought["due_at"]) == (
            "done", "green", "2016-07-24T14:00:00Z",
        )  # fmt: skip
        assert json.loads((market.day / "flexibility/orders.json").read_text()) == []
        told = json.loads((market.day / "flexibility/purchase.json").read_text())
        assert (told["missing_before"], told["rejections"], told["fallbacks"]) == ([], [], [])

        market.work(GATE + timedelta(hours=12))
        states = [
            row["state"]
            for row in market.operation.queue.states()
            if row["cycle"] == "flexibility_request"
        ]
        # the one at the first round's gate gave way to the one that knew more
        assert states[:3] == ["done", "skipped", "done"]
        (later,) = json.loads((place.parent / "20160724T2330Z/requests.json").read_text())
        assert later["revision"] == 3
        assert later["message_id"] != request["message_id"]
        assert min(isp["start"] for isp in later["isps"]) == 7  # of what is left of the day


def test_a_feeder_without_points_asks_for_nothing(tmp_path: Path) -> None:
    with open_market(tmp_path, write_configs(tmp_path / "configs")) as market:
        market.operation.insert_due(GATE, since=DAY, until=DAY)
        cycles = {row["cycle"] for row in market.operation.queue.states()}
    assert "forecast" in cycles
    assert not {"flexibility_request", "flexibility_purchase"} & cycles


def test_capacity_under_contract_is_kept_free_in_the_clearing(tmp_path: Path) -> None:
    """The storage at bus 9 keeps 20 of its 33 kW from 18 to 20 o'clock, and half an hour of it.

    Half of the window is given back before the day-ahead gate; what comes after it is not known.
    """
    configs = write_configs(tmp_path / "configs")
    feeder = configs / f"feeders/{FEEDER}.toml"
    feeder.write_text('contracts = ["evening.json"]\n' + feeder.read_text())
    contract = {
        "id": "evening", "participant": "aggregator-north", "connection": "storage:1",
        "congestion_point": "ea1.2026-01.grid.example:village", "asset": "storage:1", "bus": 9,
        "direction": "inject", "power_mw": 0.02, "first_day": "2016-07-01",
        "last_day": "2016-07-31", "from": "18:00", "to": "20:00", "duration_h_max": 0.5,
        "availability_eur_per_mw_h": 5, "utilisation_eur_per_mwh": 90,
    }  # fmt: skip
    (configs / "feeders/evening.json").write_text(json.dumps([contract]))
    messages = configs / "feeders/messages/2016-07-25"
    messages.mkdir(parents=True)
    feeder.write_text(feeder.read_text() + '[flexibility]\nmessages = "messages"\n')
    for stamp, kept in (("20160724T1129Z", 4), ("20160724T2131Z", 0)):
        update = {
            "message": "FlexReservationUpdate", "message_id": stamp, "contract_id": "evening",
            "congestion_point": contract["congestion_point"], "period": "2016-07-25",
            "isps": [{"power_w": -20000, "start": 73, "duration": kept}] if kept else [],
        }  # fmt: skip
        (messages / f"{stamp}-operator.json").write_text(json.dumps([update]))
    with open_market(tmp_path, configs) as market:
        market.work(GATE)
        orders = json.loads((market.day / "clearing/orders.json").read_text())
        (order,) = [order for order in orders if order.get("asset") == "storage:1"]
        most = np.array(order["discharge_mw_max"])
        np.testing.assert_allclose(most[72:76], most[0] - 0.02, atol=1e-9)
        assert np.all(most[:72] == most[0])
        assert np.all(most[76:] == most[0])
        kept = 0.02 * 0.5 / order["efficiency_discharge"]
        assert order["energy_mwh_min"] == pytest.approx(kept)
        assert json.loads((market.day / "forecast/reserved.json").read_text()) == {"remarks": []}
        with (market.day / "clearing/awards.csv").open(newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row["order"] == order["id"]]
        assert len(rows) == 96
        assert all(float(row["discharge_mw"]) <= most[72] + 1e-9 for row in rows[72:80])
        assert all(float(row["soc_mwh"]) >= kept - 1e-6 for row in rows)
        market.work(START - timedelta(minutes=30))
        (later,) = (market.day / "clearing/intraday").iterdir()
        again = json.loads((later / "orders.json").read_text())
        (order,) = [order for order in again if order.get("asset") == "storage:1"]
        np.testing.assert_allclose(order["discharge_mw_max"], most, atol=1e-9)


def test_a_point_without_a_proper_address_is_refused(tmp_path: Path) -> None:
    configs = _configs(tmp_path / "configs")
    feeder = configs / f"feeders/{FEEDER}.toml"
    text = feeder.read_text().replace("ea1.2026-01.grid.example:village", "village")
    feeder.write_text(text.replace('"trafo:0"', '"transformer 0"'))
    with pytest.raises(InputError) as refused:
        load_feeder(FEEDER, DAY, folder=configs)
    said = " ".join(str(problem) for problem in refused.value.problems)
    assert "ea1.YYYY-MM.domain:name" in said
    assert "congestion_points.0.elements.0" in said
