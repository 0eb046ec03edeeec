"""A market's rules for orders: every order, field and rule that do not go together, at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.records.order_rules import OrderRules
from data.study import read_study, write_study
from data.study.order_rules import is_multiple
from data.study.settings import SETTINGS_FILE
from dso.cli.main import main

RULES = """
[order_rules]
price_min_eur_per_mwh = -500.0
price_max_eur_per_mwh = 3000.0
price_tick_eur_per_mwh = 0.01
power_tick_mw = 0.001
power_min_mw = 0.01
"""
# Each order of the small study, what is changed in it, and what is said.
BROKEN = {
    "pv": (
        {"price_eur_per_mwh": [-5, -500.01, 3000.5, -5]},
        [
            "order pv: price_eur_per_mwh is -500.01 EUR/MWh in period 1, below the floor of -500",
            "order pv: price_eur_per_mwh is 3000.5 EUR/MWh in period 2, above the cap of 3000",
        ],
    ),
    "unit": (
        {
            "steps": [
                {"p_mw": 0.5005, "price_eur_per_mwh": 30},
                {"p_mw": 0.5, "price_eur_per_mwh": 45.505},
            ]
        },
        [
            "order unit: step 0 p_mw is 0.5005 MW, no whole number of ticks of 0.001 MW -> state",
            "order unit: step 1 price_eur_per_mwh is 45.505 EUR/MWh, no whole number of ticks",
        ],
    ),
    "buyer": ({"p_mw_min": 0.0001}, ["order buyer: p_mw_min is 0.0001 MW, no whole number"]),
    "battery": (
        {"charge_mw_max": 0.2002, "price_discharge_eur_per_mwh": 3001},
        [
            "order battery: charge_mw_max is 0.2002 MW, no whole number",
            "order battery: price_discharge_eur_per_mwh is 3001 EUR/MWh, above the cap",
        ],
    ),
    "heat": (
        {"baseline_mw": [0.1, 0.2, 0.1005, 0.1995]},
        ["order heat: baseline_mw is 0.1005 MW in period 2, no whole number"],
    ),
    "dimmer": (
        {"p_mw_max": 0.009},
        ["order dimmer: its largest power is 0.009 MW, below the market's minimum of 0.01 MW"],
    ),
    "block-b": (
        {"profile_mw": [0, 0, -0.1001, 0], "price_eur_per_mwh": 1e-3},
        [
            "order block-b: profile_mw is -0.1001 MW in period 2, no whole number",
            "order block-b: price_eur_per_mwh is 0.001 EUR/MWh, no whole number",
        ],
    ),
    "friends": (
        {"p_mw": [0.002, 0, 0, 0], "price_eur_per_mwh": 4000},
        [
            "order friends: its largest power is 0.002 MW, below the market's minimum",
            "order friends: price_eur_per_mwh is 4000 EUR/MWh, above the cap of 3000",
        ],
    ),
}  # fmt: skip


@pytest.fixture
def ruled(study: Path) -> Path:
    path = study / SETTINGS_FILE
    path.write_text(path.read_text() + RULES)
    return study


def test_orders_within_the_rules_are_read(ruled: Path, edit_order: Callable[..., None]) -> None:
    assert len(read_study(ruled).orders) == 9
    edit_order("pv", p_mw_max=0)  # offers nothing: no size to be below the minimum
    read_study(ruled)


def test_every_breach_is_named_at_once_and_nothing_is_made(
    ruled: Path, edit_order: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for order, (fields, _) in BROKEN.items():
        edit_order(order, **fields)
    assert main(["clear", str(ruled), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()
    said = capsys.readouterr().err
    expected = [line for _, lines in BROKEN.values() for line in lines]
    assert [line for line in expected if line not in said] == []
    with pytest.raises(InputError) as caught:
        read_study(ruled)
    assert len(caught.value.problems) == len(expected)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("-500.0", "3001", "price_min_eur_per_mwh is 3001, above price_max_eur_per_mwh 3000"),
        ("3000.0", "4000", "price_max_eur_per_mwh is 4000, not below the scarcity price of 4000"),
        ("= 0.001", "= 0.0000015", "power_tick_mw is 1.5e-06 -> state a whole multiple"),
        ("= 0.001", "= 0", "power_tick_mw is 0 -> state at least 1e-06"),
        ("= 0.01\npower", "= -1\npower", "price_tick_eur_per_mwh is -1"),
        ("= 0.01\n", "= nan\n", "is nan -> state a finite number"),
        ("power_min_mw", "power_least_mw", "unknown field 'power_least_mw'"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(ruled: Path, old: str, new: str, said: str) -> None:
    path = ruled / SETTINGS_FILE
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError) as caught:
        read_study(ruled)
    assert said in str(caught.value)
    assert "study.toml [order_rules]" in str(caught.value)


def test_a_written_study_carries_the_rules_and_keeps_them(study: Path, tmp_path: Path) -> None:
    case = read_study(study)
    rules = OrderRules(price_min_eur_per_mwh=-500.0, price_tick_eur_per_mwh=0.1, power_tick_mw=1e-6)
    write_study(case, tmp_path / "copy", str(study / "network.json"), order_rules=rules)
    text = (tmp_path / "copy" / SETTINGS_FILE).read_text()
    assert "[order_rules]\nprice_min_eur_per_mwh = -500.0\n" in text
    read_study(tmp_path / "copy")
    orders = json.loads((tmp_path / "copy/orders.json").read_text())
    next(order for order in orders if order["id"] == "pv")["price_eur_per_mwh"] = 0.05
    (tmp_path / "copy/orders.json").write_text(json.dumps(orders))
    with pytest.raises(InputError, match=r"0\.05 EUR/MWh, no whole number of ticks of 0\.1"):
        read_study(tmp_path / "copy")
    with pytest.raises(InputError, match="order pv"):
        write_study(
            case, tmp_path / "none", str(study / "network.json"),
            order_rules=OrderRules(price_min_eur_per_mwh=0.0),
        )  # fmt: skip
    assert not (tmp_path / "none").exists()


def test_multiples_are_those_of_decimals_not_of_binary_fractions() -> None:
    multiples = np.array([0.3, 0.1 + 0.2, -500.0, 2999.99, 1e6, 0.0, 0.07, 1e-2])
    assert is_multiple(multiples, 0.01).all()
    assert not is_multiple(np.array([0.305, 2999.999, 1e-3, 0.010000001]), 0.01).any()
