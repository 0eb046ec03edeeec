"""A small study of its own network: every table has a row, every default is exercised."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.readers.pandapower_net import network_from_pandapower
from data.records.network import Network

STUDY_TOML = """\
name = "small"
start = 2026-03-28T23:00:00Z
periods = 4
mtu_minutes = 15
timezone = "Europe/Berlin"
network = "network.json"
formulation = "ac"
[import_price]
eur_per_mwh = 20.0
import_mw_max = 10.0
[limits]
vm_pu_min = 0.95
vm_pu_max = 1.05
"""
STORAGE_ORDER: dict[str, Any] = {
    "id": "battery", "kind": "storage", "participant": "Anna", "bus": 3, "asset": "storage:0",
    "charge_mw_max": 0.2, "discharge_mw_max": [0.2, 0.1, 0.2, 0.2], "energy_mwh_max": 0.4,
    "energy_mwh_start": 0.2, "efficiency_charge": 0.95, "efficiency_discharge": 0.95,
}  # fmt: skip
ORDERS: list[dict[str, Any]] = [
    STORAGE_ORDER,
    {
        "id": "pv", "kind": "generation", "participant": "Anna", "bus": 3, "asset": "sgen:0",
        "p_mw_max": [0.1, 0.2, 0.3, 0.4], "price_eur_per_mwh": -5, "power_factor_min": 0.9,
        "submitted_at": "2026-03-28T12:00:00+01:00",
    },
    {
        "id": "unit", "kind": "generation", "participant": "Bo", "buses": {"2": 0.25, "3": 0.75},
        "steps": [
            {"p_mw": 0.5, "price_eur_per_mwh": 30}, {"p_mw": 0.5, "price_eur_per_mwh": 45.5},
        ],
        "p_mw_min": 0.1, "ramp_mw_per_h": 2, "p_mw_before": 0.1,
    },
    {
        "id": "buyer", "kind": "demand", "participant": "Cy", "bus": 2, "pay": "flexibility/v1",
        "steps": [
            {"p_mw": 0.5, "price_eur_per_mwh": 60}, {"p_mw": 0.5, "price_eur_per_mwh": [9, 8, 7, 6]}
        ],
    },
    {
        "id": "heat", "kind": "shift", "participant": "Cy", "bus": 2, "asset": "load:0",
        "baseline_mw": [0.1, 0.2, 0.1, 0.2], "p_mw_max": 0.3, "window_periods": 4,
        "price_eur_per_mwh": 3, "q_mvar_min": -0.1, "q_mvar_max": 0.1,
    },
    {
        "id": "dimmer", "kind": "curtail", "participant": "Cy", "bus": 3, "p_mw_max": 0.3,
        "price_eur_per_mwh": 80, "rebound_share": 0.5, "rebound_periods": 2,
    },
    {
        "id": "block-a", "kind": "block", "participant": "Bo", "bus": 3,
        "profile_mw": [0.1, 0.1, 0, 0], "price_eur_per_mwh": 33,
    },
    {
        "id": "block-b", "kind": "block", "participant": "Bo", "bus": 3, "parent": "block-a",
        "profile_mw": [0, 0, -0.1, -0.1], "price_eur_per_mwh": -3, "acceptance_min": 0.5,
    },
    {
        "id": "friends", "kind": "bilateral", "participant": "Bo", "participant_to": "Cy", "bus": 2,
        "bus_to": 3, "p_mw": [0.1, 0.1, 0.1, 0], "price_eur_per_mwh": 2.5,
    },
]  # fmt: skip


@pytest.fixture(scope="session")
def network_json() -> str:
    """A pandapower net: 110 kV, transformer with a tap, two 20 kV buses, one line, one of each."""
    import pandapower as pp

    net = pp.create_empty_network()
    for name, kv in (("slack", 110.0), ("busbar", 20.0), ("middle", 20.0), ("end", 20.0)):
        pp.create_bus(net, vn_kv=kv, name=name, geodata=(11.0, 53.0))
    pp.create_ext_grid(net, 0, vm_pu=1.02)
    pp.create_transformer(net, 0, 1, "25 MVA 110/20 kV", name="T1", max_loading_percent=100.0)
    for start in (1, 2):
        pp.create_line(net, start, start + 1, 2.0, "NA2XS2Y 1x70 RM/25 12/20 kV",
                       name=f"L{start}", max_loading_percent=90.0)  # fmt: skip
    pp.create_load(net, 2, p_mw=0.3, q_mvar=0.1, name="village", scaling=0.7)
    pp.create_load(net, 3, p_mw=0.2, q_mvar=0.0, name="farm")
    pp.create_sgen(net, 3, p_mw=0.4, q_mvar=-0.1, name="roof")
    pp.create_storage(net, 3, p_mw=0.2, max_e_mwh=0.4, name="cell")
    pp.create_shunt(net, 2, q_mvar=-0.05, p_mw=0.0, step=2, max_step=2)
    text = pp.to_json(net)
    assert isinstance(text, str)
    return text


@pytest.fixture(scope="session")
def network(network_json: str) -> Network:
    """The network of the small study."""
    import pandapower as pp

    return network_from_pandapower(pp.from_json_string(network_json), "network.json")


@pytest.fixture
def study(tmp_path: Path, network_json: str) -> Path:
    """The small study, valid, in a folder of its own."""
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "study.toml").write_text(STUDY_TOML)
    (folder / "network.json").write_text(network_json)
    (folder / "orders.json").write_text(json.dumps(ORDERS))
    return folder


@pytest.fixture
def edit_order(study: Path) -> Callable[..., None]:
    """Change fields of one order of the small study; None removes a field."""

    def edit(order_id: str, **fields: Any) -> None:
        path = study / "orders.json"
        orders = json.loads(path.read_text())
        (order,) = (entry for entry in orders if entry["id"] == order_id)
        for name, value in fields.items():
            if value is None:
                order.pop(name, None)
            else:
                order[name] = value
        path.write_text(json.dumps(orders))

    return edit
