"""Each forecast of a feeder with congestion points is followed by a request."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from data.errors import InputError
from dso.config import load_feeder
from tests.support.small_market import FEEDER, write_configs
from tests.unit.scheduler.conftest import DAY, GATE, open_market

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
    assert "flexibility_request" not in cycles


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
