"""Malformed orders of every kind in one book: each named with what is wrong, all at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from data.errors import Problem
from data.study.order_fields import OrderContext
from data.study.read_orders import read_orders
from dso.cli.main import main

COUNT = 4
CONTEXT = OrderContext(
    period_count=COUNT,
    bus_of_asset={"load:0": 2, "load:1": 3, "sgen:0": 3, "storage:0": 3},
    running_buses=frozenset({0, 1, 2, 3}),
)
WHOLE: dict[str, dict[str, Any]] = {
    "generation": {"p_mw_max": 0.1, "price_eur_per_mwh": 20},
    "demand": {"p_mw_max": 0.1, "price_eur_per_mwh": 20},
    "storage": {
        "charge_mw_max": 0.2, "discharge_mw_max": 0.2, "energy_mwh_max": 0.4,
        "energy_mwh_start": 0.2, "efficiency_charge": 0.9, "efficiency_discharge": 0.9,
    },
    "shift": {
        "baseline_mw": [0.1] * COUNT, "p_mw_max": 0.3, "window_periods": 4, "price_eur_per_mwh": 3,
    },
    "curtail": {"p_mw_max": 0.3, "price_eur_per_mwh": 80},
    "block": {"profile_mw": [0.1] * COUNT, "price_eur_per_mwh": 33},
    "bilateral": {
        "bus_to": 3, "participant_to": "Cy", "p_mw": [0.1] * COUNT, "price_eur_per_mwh": 2.5,
    },
}  # fmt: skip
NAN, INF, HUGE = float("nan"), float("inf"), 10**400

# (kind, what is stated instead, what is said of it: every problem once)
FAULTS: list[tuple[str, dict[str, Any], list[str]]] = [
    # numbers
    ("generation", {"p_mw_max": NAN}, ["p_mw_max is nan -> state 0 to 1e+06"]),
    ("generation", {"p_mw_max": [0.1, NAN, 0.1, 0.1]}, ["p_mw_max is nan in period 1"]),
    ("generation", {"p_mw_max": INF}, ["p_mw_max is inf"]),
    ("generation", {"p_mw_max": 1e308}, ["p_mw_max is 1e+308 -> state 0 to 1e+06"]),
    ("generation", {"p_mw_max": HUGE}, ["p_mw_max is inf"]),
    ("generation", {"p_mw_max": [HUGE] * COUNT}, ["p_mw_max is inf in period 0"]),
    ("generation", {"p_mw_max": -1e-9}, ["p_mw_max is -1e-09 -> state 0 to 1e+06"]),
    ("generation", {"p_mw_max": "0.1"}, ["p_mw_max is '0.1' -> state a number or a list"]),
    ("generation", {"p_mw_max": True}, ["p_mw_max is True"]),
    ("generation", {"p_mw_max": [0.1, True, 0.1, 0.1]}, ["p_mw_max is [0.1, True, 0.1, 0.1]"]),
    ("generation", {"p_mw_max": [0.1, None, 0.1, 0.1]}, ["p_mw_max is [0.1, None"]),
    ("generation", {"p_mw_max": [[0.1] * COUNT]}, ["p_mw_max is [[0.1,"]),
    ("generation", {"p_mw_max": []}, ["p_mw_max has 0 values, the study 4 periods"]),
    ("generation", {"p_mw_max": [0.1] * 100_000}, ["p_mw_max has 100000 values"]),
    ("generation", {"p_mw_max": {"0": 0.1}}, ["p_mw_max is {'0': 0.1} -> state a number"]),
    ("generation", {"price_eur_per_mwh": -INF}, ["price_eur_per_mwh is -inf"]),
    ("generation", {"price_eur_per_mwh": -1e7}, ["price_eur_per_mwh is -1e+07"]),
    ("generation", {"ramp_mw_per_h": NAN}, ["ramp_mw_per_h is nan -> state a finite number"]),
    ("generation", {"ramp_mw_per_h": HUGE}, ["ramp_mw_per_h is inf -> state a finite number"]),
    ("generation", {"ramp_mw_per_h": [1, 1, 1, 1]}, ["ramp_mw_per_h is [1, 1, 1, 1]"]),
    ("generation", {"p_mw_min": 0.2}, ["p_mw_min is above p_mw_max in period 0"]),
    # steps
    ("generation", {"steps": [{"p_mw": 1, "price_eur_per_mwh": 1}]},
     ["states steps and p_mw_max", "states steps and price_eur_per_mwh"]),
    ("generation", {"p_mw_max": None, "price_eur_per_mwh": None, "steps": []},
     ["steps is not a list with at least one step"]),
    ("generation", {"p_mw_max": None, "price_eur_per_mwh": None, "steps": "many"},
     ["steps is not a list with at least one step"]),
    ("generation", {"p_mw_max": None, "price_eur_per_mwh": None, "steps": [3]},
     [" step 0: is not a table of fields", " step 0: p_mw is missing",
      " step 0: price_eur_per_mwh is missing"]),
    ("generation", {"p_mw_max": None, "price_eur_per_mwh": None, "steps": [
        {"p_mw": 1, "price_eur_per_mwh": 9}, {"p_mw": 1, "price_eur_per_mwh": [9, 9, 8, 9]}]},
     ["prices of its steps decrease"]),
    ("demand", {"p_mw_max": None, "price_eur_per_mwh": None, "steps": [
        {"p_mw": 1, "price_eur_per_mwh": 9}, {"p_mw": 1, "price_eur_per_mwh": 10, "q": 0}]},
     ["prices of its steps increase", " step 1: unknown field 'q'"]),
    ("demand", {"p_mw_max": None}, ["p_mw_max is missing"]),
    # names
    ("generation", {"participant": ""}, ["participant is ''"]),
    ("generation", {"participant": None}, ["participant is missing"]),
    ("generation", {"participant": 7}, ["participant is 7"]),
    ("generation", {"participant": " Anna"}, ["participant is ' Anna' -> state at most 200"]),
    ("generation", {"participant": "A" * 201}, ["participant is 'AAAA"]),
    ("generation", {"participant": "A\u0000"}, ["participant is 'A\\x00'"]),
    ("generation", {"participant": "\ud800"}, ["participant is '\\ud800'"]),
    ("generation", {"kind": None}, ["kind is missing -> one of generation"]),
    ("generation", {"kind": "Generation"}, ["kind 'Generation' is unknown"]),
    ("generation", {"kind": ["block"]}, ["kind ['block'] is unknown"]),
    ("generation", {"price_eur_per_MWh": 3}, ["unknown field 'price_eur_per_MWh'"]),
    ("generation", {"\u202eprice": 3}, ["unknown field '\\u202eprice'"]),
    ("generation", {"pay": "cash"}, ["pay is 'cash' -> \"dlmp\" or \"flexibility/<rule set>\""]),
    ("generation", {"pay": "flexibility/"}, ["pay is 'flexibility/'"]),
    ("generation", {"submitted_at": "yesterday"}, ["submitted_at: Invalid isoformat string"]),
    ("generation", {"submitted_at": "2026-06-01T10:00:00"}, ["has no UTC offset"]),
    ("generation", {"submitted_at": 1780000000}, ["submitted_at: Invalid isoformat string"]),
    ("generation", {"submitted_at": "9999-12-31T23:59:59-14:00"}, ["submitted_at: date value"]),
    # places
    ("generation", {"bus": None}, ["states neither or both of bus and buses"]),
    ("generation", {"buses": {"2": 1}}, ["states neither or both of bus and buses"]),
    ("generation", {"bus": 77}, ["bus 77 is unknown or out of service"]),
    ("generation", {"bus": -1}, ["bus -1 is unknown"]),
    ("generation", {"bus": 2.0}, ["bus is 2.0 -> state the index of a bus"]),
    ("generation", {"bus": "2"}, ["bus is '2'"]),
    ("generation", {"bus": HUGE}, ["bus 1000000000000000000000000000000000000000 is unknown"]),
    ("generation", {"bus": None, "buses": {}}, ["buses is {} -> state {bus: share}"]),
    ("generation", {"bus": None, "buses": [2, 3]}, ["buses is [2, 3]"]),
    ("generation", {"bus": None, "buses": {"2": 0.5, "3": 0.4}}, ["its buses sum to 0.9"]),
    ("generation", {"bus": None, "buses": {"2": 0.5, "02": 0.5}}, ["buses is '02'"]),
    ("generation", {"bus": None, "buses": {"2": 0.5, "\uff13": 0.5}}, ["buses is '\uff13'"]),
    ("generation", {"bus": None, "buses": {"2": NAN, "3": 0.5}}, ["the share of bus 2 is nan"]),
    ("generation", {"bus": None, "buses": {"2": "1"}}, ["the share of bus 2 is 1 -> state"]),
    ("generation", {"bus": None, "buses": {"2": 1.5, "3": -0.5}},
     ["the share of bus 2 is 1.5", "the share of bus 3 is -0.5"]),
    ("generation", {"asset": "load:0"}, ["asset 'load:0' does not fit this kind"]),
    ("generation", {"asset": "sgen:9"}, ["asset 'sgen:9' is unknown or out of service"]),
    ("generation", {"asset": "sgen:0"}, ["asset sgen:0 is at bus 3 -> state bus 3"]),
    ("generation", {"asset": 3}, ["asset is 3"]),
    # reactive power
    ("generation", {"q_mvar_min": 0.2, "q_mvar_max": 0.1}, ["q_mvar_min is above q_mvar_max"]),
    ("generation", {"q_mvar_min": -0.2}, ["its reactive range is open at one end"]),
    ("generation", {"power_factor_min": 0}, ["power_factor_min is 0 -> state at least 1e-06"]),
    ("generation", {"power_factor_min": 95}, ["power_factor_min is 95 -> state at most 1"]),
    ("bilateral", {"power_factor_min": 0.9}, ["a bilateral order does not have"]),
    ("block", {"q_mvar_min": 0, "q_mvar_max": 1}, ["a block order does not have"]),
    # storages
    ("storage", {"energy_mwh_start": 0.5}, [
        "energy_mwh_start is 0.5, outside 0 to 0.4 MWh", "energy_mwh_end_min is 0.5, outside"]),
    ("storage", {"energy_mwh_min": 0.3}, [
        "energy_mwh_start is 0.2, outside 0.3", "energy_mwh_end_min is 0.2, outside 0.3"]),
    ("storage", {"energy_mwh_departure_min": 1}, ["energy_mwh_departure_min is 1, outside 0"]),
    ("storage", {"efficiency_charge": 0}, ["efficiency_charge is 0 -> state at least 1e-06"]),
    ("storage", {"efficiency_discharge": 90}, ["efficiency_discharge is 90 -> state at most 1"]),
    ("storage", {"self_discharge_per_day": 1}, ["self_discharge_per_day is 1 -> state at most"]),
    ("storage", {"availability": [1, 2, 1, 1]}, ["availability is 2 in period 1"]),
    ("storage", {"price_charge_eur_per_mwh": -1}, ["price_charge_eur_per_mwh is -1"]),
    ("storage", {"energy_mwh_max": None}, ["energy_mwh_max is missing"]),
    ("storage", {"p_mw_max": 1}, ["unknown field 'p_mw_max'"]),
    # shifts
    ("shift", {"window_periods": 0}, ["window_periods is 0 -> state a whole number of at least"]),
    ("shift", {"window_periods": 2.0}, ["window_periods is 2.0"]),
    ("shift", {"window_periods": 10**30}, ["window_periods is 1000000000000000000000000000000"]),
    ("shift", {"p_mw_max": 0.05}, ["its baseline from period 0 on cannot be met: 0.4 MW in sum"]),
    ("shift", {"p_mw_min": 0.4}, ["p_mw_min is above p_mw_max", "its baseline from period 0 on"]),
    ("shift", {"price_eur_per_mwh": -3}, ["price_eur_per_mwh is -3 -> state 0 to 1e+06"]),
    # curtailments
    ("curtail", {"p_mw_min_on": 0.4}, ["p_mw_min_on is above p_mw_max in period 0"]),
    ("curtail", {"duration_periods_min": 3, "duration_periods_max": 2},
     ["duration_periods_min is above duration_periods_max"]),
    ("curtail", {"duration_periods_min": 5}, ["its shortest activation takes 5 periods"]),
    ("curtail", {"duration_periods_min": 0}, ["duration_periods_min is 0"]),
    ("curtail", {"duration_periods_max": "2"}, ["duration_periods_max is '2'"]),
    ("curtail", {"cooldown_periods": -1}, ["cooldown_periods is -1 -> state a whole number of"]),
    ("curtail", {"activations_max": 0}, ["activations_max is 0"]),
    ("curtail", {"rebound_share": 0.5}, ["rebound_share needs rebound_periods"]),
    ("curtail", {"rebound_share": 0.5, "rebound_periods": 4},
     ["its shortest activation and the rebound after it takes 5 periods, the study has 4"]),
    ("curtail", {"rebound_share": -0.1, "rebound_periods": 1}, ["rebound_share is -0.1"]),
    ("curtail", {"rebound_share": 1e308, "rebound_periods": 1}, ["rebound_share is 1e+308"]),
    ("curtail", {"power_factor_min": 0.9}, ["a curtail order does not have"]),
    ("curtail", {"asset": "sgen:0"}, ["asset 'sgen:0' does not fit this kind -> one of load"]),
    # blocks
    ("block", {"profile_mw": [0.1, -0.1, 0, 0]}, ["profile_mw mixes signs"]),
    ("block", {"acceptance_min": 1.1}, ["acceptance_min is 1.1 -> state at most 1"]),
    ("block", {"acceptance_min": NAN}, ["acceptance_min is nan"]),
    ("block", {"parent": "nobody"}, ["its parent 'nobody' is no block order"]),
    ("block", {"parent": "unit"}, ["its parent 'unit' is no block order"]),
    ("block", {"parent": ["block-a"]}, ["parent is ['block-a']"]),
    ("block", {"parent": "block-a", "exclusive_group": "g"}, ["states parent and exclusive_group"]),
    ("block", {"exclusive_group": 4}, ["exclusive_group is 4"]),
    ("block", {"p_mw_max": 3}, ["unknown field 'p_mw_max'"]),
    # bilateral orders
    ("bilateral", {"bus_to": 2}, ["bus_to 2 is also the bus it comes from"]),
    ("bilateral", {"bus_to": None}, ["bus_to is missing"]),
    ("bilateral", {"bus_to": 99}, ["bus 99 is unknown"]),
    ("bilateral", {"participant_to": None}, ["participant_to is missing"]),
    ("bilateral", {"p_mw": -0.1}, ["p_mw is -0.1"]),
    ("bilateral", {"bus": None, "buses": {"1": 0.5, "2": 0.5}}, ["comes from several buses"]),
]  # fmt: skip
OWN = [
    {"id": "unit", "participant": "Bo", "kind": "generation", "bus": 2, **WHOLE["generation"]},
    {"id": "block-a", "participant": "Bo", "kind": "block", "bus": 2, **WHOLE["block"]},
]
# Entries that cannot be told by an id of their own.
NAMELESS: list[tuple[object, str]] = [
    (None, "orders.json [{}]: is not a table of fields"),
    (["id", "x"], "orders.json [{}]: is not a table of fields"),
    ({}, "orders.json [{}]: id is missing"),
    ({"id": 5}, "orders.json [{}]: id is 5"),
    ({"id": ""}, "orders.json [{}]: id is ''"),
    ({"id": "a\nb"}, "orders.json [{}]: id is 'a\\nb'"),
    ({"id": "\ud800"}, "orders.json [{}]: id is '\\ud800'"),
    ({"id": "x" * 300}, "orders.json [{}]: id is 'xxx"),
    ({"id": " pad "}, "order  pad : id is ' pad '"),
    ({"id": "\u03a9 \u2014 \u7535\u6c60", "kind": "tea"}, "order \u03a9 \u2014 \u7535\u6c60: kind"),
]


def faulty(number: int) -> dict[str, Any]:
    kind, changes, _ = FAULTS[number]
    order = {"id": f"o{number:03}", "participant": "Anna", "kind": kind, "bus": 2, **WHOLE[kind]}
    return {name: value for name, value in {**order, **changes}.items() if value is not None}


def read(folder: Path, entries: list[object]) -> list[str]:
    (folder / "orders.json").write_text(json.dumps(entries))
    problems: list[Problem] = []
    read_orders(folder, CONTEXT, problems)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    "number", range(len(FAULTS)), ids=[f"{kind}-{next(iter(f))!a}" for kind, f, _ in FAULTS]
)
def test_a_fault_is_named_and_nothing_else_is_said(number: int, tmp_path: Path) -> None:
    _, _, expected = FAULTS[number]
    said = read(tmp_path, [*OWN, faulty(number)])
    assert len(said) == len(expected), said
    for fragment in expected:
        assert any(fragment in line and line.startswith(f"order o{number:03}") for line in said), (
            fragment, said,
        )  # fmt: skip


def test_the_whole_orders_have_no_fault(tmp_path: Path) -> None:
    whole: list[object] = [
        {"id": kind, "participant": "Anna", "kind": kind, "bus": 2, **fields}
        for kind, fields in WHOLE.items()
    ]
    assert read(tmp_path, whole) == []


def test_dso_clear_names_all_faults_of_one_book_and_makes_nothing(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book: list[object] = [*OWN, *(faulty(number) for number in range(len(FAULTS)))]
    first = len(book)
    book += [entry for entry, _ in NAMELESS]
    (study / "orders.json").write_text(json.dumps(book))
    assert main(["clear", str(study), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()
    said = capsys.readouterr().err
    lines = said.splitlines()
    assert len(FAULTS) >= 60
    for number, (_, _, expected) in enumerate(FAULTS):
        own = [line for line in lines if f"order o{number:03}" in line]
        assert [part for part in expected if not any(part in line for line in own)] == [], own
    for number, (_, expected_line) in enumerate(NAMELESS, start=first):
        assert expected_line.format(number) in said
    assert all(len(line) < 400 for line in lines)


def test_links_between_orders_are_checked(tmp_path: Path) -> None:
    def block(name: str, **fields: object) -> dict[str, object]:
        return {"id": name, "participant": "A", "kind": "block", "bus": 2, **WHOLE["block"],
                **fields}  # fmt: skip

    said = read(tmp_path, [block("a", parent="b"), block("b", parent="a"), block("c", parent="c")])
    assert [line for line in said if "its parents form a circle" in line] == said
    assert len(said) == 3
    # a parent with a fault of its own is there all the same
    said = read(tmp_path, [block("a", profile_mw="none"), block("b", parent="a")])
    assert len(said) == 1
    twins = [block("a"), block("a")]
    assert read(tmp_path, list(twins)) == ["order a: the id is used twice -> rename one"]
    assets = [{**OWN[0], "id": name, "bus": 3, "asset": "sgen:0"} for name in ("a", "b")]
    assert read(tmp_path, list(assets)) == [
        "order b: asset 'sgen:0' is already named by order a -> one order per asset"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "orders.json: cannot be read"),
        ("{}", "orders.json: is not a list of orders"),
        ("3", "orders.json: is not a list of orders"),
        ("[" * 100_000, "orders.json: cannot be read"),
        ('[{"id": "a", "id": "b"}]', "order b: states 'id' twice -> remove one of them"),
        ('[{"price": 1, "price": 2}]', "orders.json: states 'price' twice"),
        ("[1" + "0" * 5000 + "]", "orders.json: cannot be read"),
    ],
)
def test_a_file_that_is_no_book_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "orders.json").write_text(text)
    problems: list[Problem] = []
    read_orders(tmp_path, CONTEXT, problems)
    assert any(said in str(problem) for problem in problems), problems
    assert all(len(str(problem)) < 400 for problem in problems)
