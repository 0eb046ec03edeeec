"""Study folders: defaults, round trips, and every kind of bad input."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError, Problem
from data.periods import Periods, parse_utc
from data.records.clearing import ClearingCase
from data.records.network import Network
from data.records.order import (
    BlockOrder,
    CurtailOrder,
    DemandOrder,
    GenerationOrder,
    Order,
    ReactiveRange,
    ShiftOrder,
    StorageOrder,
)
from data.study import canonical_case, case_sha256, read_study, write_study
from data.study.order_fields import context_of
from data.study.read_orders import read_orders
from data.study.series import read_profiles

EditOrder = Callable[..., None]
HEADER = "element,id,period_start,p_mw,q_mvar\n"
STARTS = [f"2026-03-28T23:{minute:02d}:00Z" for minute in (0, 15, 30, 45)]


def problems_of(folder: Path) -> str:
    with pytest.raises(InputError) as refused:
        read_study(folder)
    return "\n".join(str(problem) for problem in refused.value.problems)


def order_of(case: ClearingCase, order_id: str) -> Order:
    (order,) = (order for order in case.orders if order.id == order_id)
    return order


def profile_rows(element: str, values: list[str]) -> str:
    rows = zip(STARTS, values, strict=True)
    return "".join(f"{element},{start},{value}\n" for start, value in rows)


def assert_same(a: object, b: object, path: str = "case") -> None:
    """Compare records field by field, arrays bit by bit."""
    if isinstance(a, np.ndarray):
        assert isinstance(b, np.ndarray), path
        assert a.dtype == b.dtype, path
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), path
    elif dataclasses.is_dataclass(a):
        assert type(a) is type(b), path
        for field in dataclasses.fields(a):
            assert_same(getattr(a, field.name), getattr(b, field.name), f"{path}.{field.name}")
    elif isinstance(a, tuple | list):
        assert isinstance(b, tuple | list), path
        assert len(a) == len(b), path
        for number, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}[{number}]")
    elif isinstance(a, dict):
        assert isinstance(b, dict), path
        assert a.keys() == b.keys(), path
        for key in a:
            assert_same(a[key], b[key], f"{path}[{key}]")
    else:
        assert a == b, path


def test_fields_and_defaults(study: Path) -> None:
    case = read_study(study)
    assert case.periods.labels() == tuple(STARTS)
    assert case.import_price_eur_per_mwh.tolist() == [20.0] * 4
    assert (case.import_mw_max, case.export_mw_max) == (10.0, None)
    assert case.limits.vm_pu_max.tolist() == [1.05] * 4
    assert case.limits.line_loading_percent_max.tolist() == [90.0, 90.0]
    assert case.limits.scarcity_price_eur_per_mwh == 4000.0
    assert [order.id for order in case.orders] == sorted(order.id for order in case.orders)

    battery = order_of(case, "battery")
    assert isinstance(battery, StorageOrder)
    assert battery.discharge_mw_max.tolist() == [0.2, 0.1, 0.2, 0.2]
    assert (battery.energy_mwh_min, battery.energy_mwh_end_min) == (0.0, 0.2)
    assert battery.availability.tolist() == [1.0] * 4
    pv = order_of(case, "pv")
    assert isinstance(pv, GenerationOrder)
    assert isinstance(pv.reactive, ReactiveRange)
    assert pv.reactive.power_factor_min == 0.9
    assert str(pv.submitted_at) == "2026-03-28 11:00:00+00:00"
    unit = order_of(case, "unit")
    assert isinstance(unit, GenerationOrder)
    assert unit.buses == ((2, 0.25), (3, 0.75))
    assert [step.p_mw[0] for step in unit.steps] == [0.5, 0.5]
    buyer = order_of(case, "buyer")
    assert isinstance(buyer, DemandOrder)
    assert buyer.steps[1].price_eur_per_mwh.tolist() == [9.0, 8.0, 7.0, 6.0]
    heat = order_of(case, "heat")
    assert isinstance(heat, ShiftOrder)
    assert heat.p_mw_min.tolist() == [0.0] * 4
    dimmer = order_of(case, "dimmer")
    assert isinstance(dimmer, CurtailOrder)
    assert_same(dimmer.p_mw_min_on, np.full(4, 0.3))
    assert dimmer.duration_periods_min == 1
    block = order_of(case, "block-b")
    assert isinstance(block, BlockOrder)
    assert block.parent == "block-a"


def test_elements_without_rows_keep_their_own_power(study: Path) -> None:
    case = read_study(study)
    np.testing.assert_allclose(case.load_p_mw, np.tile([0.21, 0.2], (4, 1)))
    np.testing.assert_allclose(case.load_q_mvar, np.tile([0.07, 0.0], (4, 1)))
    np.testing.assert_allclose(case.sgen_q_mvar, -0.1)


def test_profiles_are_scaled_and_blank_q_keeps_the_power_factor(study: Path) -> None:
    values = ["1,", "2,0.5", "3,", "0,"]
    (study / "profiles.csv").write_text(HEADER + profile_rows("load,0", values))
    case = read_study(study)
    np.testing.assert_allclose(case.load_p_mw[:, 0], [0.7, 1.4, 2.1, 0.0])
    np.testing.assert_allclose(case.load_q_mvar[:, 0], [0.7 / 3, 0.35, 0.7, 0.0])
    np.testing.assert_allclose(case.load_p_mw[:, 1], 0.2)


def test_any_offset_is_read(study: Path) -> None:
    rows = profile_rows("sgen,0", ["1,0", "2,0", "3,0", "4,0"])
    rows = rows.replace("2026-03-28T23:", "2026-03-29T00:").replace("Z", "+01:00")
    (study / "profiles.csv").write_text(HEADER + rows)
    assert read_study(study).sgen_p_mw[:, 0].tolist() == [1.0, 2.0, 3.0, 4.0]


def with_awkward_numbers(case: ClearingCase) -> ClearingCase:
    """A case no file can hold exactly: thirds everywhere, orders shuffled, a position."""
    random = np.random.default_rng(7)

    def thirds(values: np.ndarray) -> np.ndarray:
        return values * random.uniform(0.1, 3.0, values.shape) / 3.0

    return dataclasses.replace(
        case,
        load_p_mw=thirds(case.load_p_mw),
        load_q_mvar=thirds(case.load_q_mvar),
        sgen_p_mw=thirds(case.sgen_p_mw),
        sgen_q_mvar=thirds(case.sgen_q_mvar),
        import_price_eur_per_mwh=thirds(case.import_price_eur_per_mwh),
        export_mw_max=10 / 3,
        orders=tuple(reversed(case.orders)),
        position_mw=random.normal(size=(len(case.orders), 4)),
        position_mvar=random.normal(size=(len(case.orders), 4)),
    )


def test_a_round_trip_gives_the_canonical_case_and_the_same_hash(
    study: Path, tmp_path: Path
) -> None:
    case = with_awkward_numbers(read_study(study))
    write_study(case, tmp_path / "copy", str(study / "network.json"))
    again = read_study(tmp_path / "copy")
    assert_same(again, canonical_case(case))
    assert_same(canonical_case(again), again)
    assert case_sha256(again) == case_sha256(case)
    assert again.load_p_mw[0, 0] != case.load_p_mw[0, 0]
    write_study(again, tmp_path / "third", str(tmp_path / "copy" / "network.json"))
    for file in sorted((tmp_path / "copy").iterdir()):
        assert (tmp_path / "third" / file.name).read_bytes() == file.read_bytes(), file.name


def test_profiles_survive_a_scaling_that_is_no_decimal(study: Path, tmp_path: Path) -> None:
    case = with_awkward_numbers(read_study(study))
    for seed in range(20):
        random = np.random.default_rng(seed)
        case = dataclasses.replace(case, load_p_mw=random.lognormal(0, 3, case.load_p_mw.shape))
        once = canonical_case(case)
        assert_same(canonical_case(once), once)
        assert case_sha256(once) == case_sha256(case)


def test_overridden_limits_and_caps_are_written(study: Path, tmp_path: Path) -> None:
    case = read_study(study)
    write_study(case, tmp_path / "copy", str(study / "network.json"))
    text = (tmp_path / "copy" / "study.toml").read_text()
    assert "vm_pu_min = 0.95" in text
    assert "line_loading" not in text  # the network states it
    assert "import_mw_max = 10.0" in text


def test_limits_that_a_study_cannot_state_are_refused(study: Path, tmp_path: Path) -> None:
    case = read_study(study)
    limits = dataclasses.replace(case.limits, line_loading_percent_max=np.array([80.0, 70.0]))
    case = dataclasses.replace(case, limits=limits)
    with pytest.raises(InputError, match="line_loading_percent_max differs"):
        write_study(case, tmp_path / "copy", str(study / "network.json"))
    assert not (tmp_path / "copy").exists()


def test_writing_refuses_a_foreign_network_reference(study: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"network\.json.*case33bw"):
        write_study(read_study(study), tmp_path / "copy", "pandapower:case33bw")


def test_a_position_that_is_gone_does_not_stay_in_the_folder(study: Path, tmp_path: Path) -> None:
    case = read_study(study)
    positioned = with_awkward_numbers(case)
    write_study(positioned, tmp_path / "copy", str(study / "network.json"))
    write_study(case, tmp_path / "copy", str(study / "network.json"))
    assert read_study(tmp_path / "copy").position_mw is None


def test_a_position_of_an_order_without_rows_is_zero(study: Path) -> None:
    rows = "".join(f"pv,{start},0.1,0\n" for start in STARTS)
    (study / "position.csv").write_text("order,period_start,injection_mw,injection_mvar\n" + rows)
    case = read_study(study)
    assert case.position_mw is not None
    assert dict(zip([o.id for o in case.orders], case.position_mw[:, 0], strict=True)) == {
        **{order.id: 0.0 for order in case.orders}, "pv": 0.1,
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_library_networks(tmp_path: Path, study: Path) -> None:
    text = (study / "study.toml").read_text().replace("network.json", "pandapower:case33bw")
    text = text + "line_loading_percent_max = 100.0\ntrafo_loading_percent_max = 100.0\n"
    (study / "study.toml").write_text(text)
    (study / "orders.json").write_text("[]")
    case = read_study(study)
    assert case.network.name == "pandapower:case33bw"
    write_study(case, tmp_path / "copy", "pandapower:case33bw")
    assert_same(read_study(tmp_path / "copy"), case)
    (study / "study.toml").write_text(text.replace("case33bw", "case33"))
    assert "no network 'case33'" in problems_of(study)


# ---- what a hash covers


CHANGES: dict[str, Callable[[ClearingCase], dict[str, object]]] = {
    "name": lambda _: {"name": "other"},
    "formulation": lambda _: {"formulation": "copper_plate"},
    "timezone": lambda _: {"timezone": "Europe/Brussels"},
    "periods": lambda c: {"periods": dataclasses.replace(c.periods, mtu_minutes=30)},
    "load": lambda c: {"load_p_mw": c.load_p_mw + 1e-11},
    "sgen q": lambda c: {"sgen_q_mvar": c.sgen_q_mvar * 2},
    "price": lambda c: {"import_price_eur_per_mwh": c.import_price_eur_per_mwh + 0.01},
    "cap": lambda _: {"export_mw_max": 1.0},
    "limit": lambda c: {"limits": dataclasses.replace(c.limits, scarcity_price_eur_per_mwh=1.0)},
    "voltage": lambda c: {
        "limits": dataclasses.replace(c.limits, vm_pu_max=c.limits.vm_pu_max + 0.01)
    },
    "order gone": lambda c: {"orders": c.orders[1:]},
    "order's payment": lambda c: {
        "orders": (*c.orders[:-1], dataclasses.replace(c.orders[-1], pay="flexibility/x"))
    },
    "position": lambda c: {"position_mw": np.zeros((len(c.orders), 4))},
    "tap": lambda c: {
        "network": dataclasses.replace(
            c.network, trafos=dataclasses.replace(c.network.trafos, ratio_hv=np.array([1.01]))
        )
    },
    "switch": lambda c: {
        "network": dataclasses.replace(
            c.network,
            lines=dataclasses.replace(c.network.lines, closed_to=np.array([True, False])),
        )
    },
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_the_hash_covers_every_input(
    study: Path, change: Callable[[ClearingCase], dict[str, object]]
) -> None:
    case = read_study(study)
    changed = dataclasses.replace(case, **change(case))  # type: ignore[arg-type]
    assert case_sha256(changed) != case_sha256(case)


def test_the_hash_ignores_the_sequence_of_orders_and_noise_beyond_12_digits(study: Path) -> None:
    case = with_awkward_numbers(read_study(study))
    assert case.position_mw is not None
    assert case.position_mvar is not None
    permuted = dataclasses.replace(
        case,
        orders=case.orders[::-1],
        position_mw=case.position_mw[::-1],
        position_mvar=case.position_mvar[::-1],
        load_p_mw=canonical_case(case).load_p_mw * (1 + 1e-15),
    )
    assert case_sha256(permuted) == case_sha256(case)


# ---- bad input


BAD_ORDERS: list[tuple[str, dict[str, object], str]] = [
    ("pv", {"kind": "lottery"}, "order pv: kind 'lottery' is unknown"),
    ("pv", {"kind": None}, "order pv: kind is missing"),
    ("pv", {"colour": "red"}, "order pv: unknown field 'colour'"),
    ("pv", {"participant": None}, "order pv: participant is missing"),
    ("pv", {"id": "unit"}, "order unit: the id is used twice"),
    ("pv", {"p_mw_max": -1}, "order pv: p_mw_max is -1"),
    ("pv", {"p_mw_max": [1, 2, 3]}, "order pv: p_mw_max has 3 values, the study 4 periods"),
    ("pv", {"p_mw_max": [1, 2, 3, float("nan")]}, "order pv: p_mw_max is nan in period 3"),
    ("pv", {"p_mw_max": [1, 2, True, 4]}, "order pv: p_mw_max is [1, 2, True, 4]"),
    ("pv", {"p_mw_max": "much"}, "order pv: p_mw_max is"),
    ("pv", {"p_mw_max": None}, "order pv: p_mw_max is missing"),
    ("pv", {"price_eur_per_mwh": float("inf")}, "order pv: price_eur_per_mwh is inf"),
    ("pv", {"p_mw_min": 0.15}, "order pv: p_mw_min is above p_mw_max in period 0"),
    ("pv", {"steps": [{"p_mw": 1, "price_eur_per_mwh": 1}]}, "states steps and p_mw_max"),
    ("pv", {"power_factor_min": 1.2}, "order pv: power_factor_min is 1.2"),
    ("pv", {"bus": 77}, "order pv: bus 77 is unknown or out of service"),
    ("pv", {"bus": 2}, "order pv: asset sgen:0 is at bus 3"),
    ("pv", {"bus": None}, "order pv: states neither or both of bus and buses"),
    ("pv", {"bus": "3"}, "order pv: bus is '3'"),
    ("pv", {"asset": "sgen:9"}, "order pv: asset 'sgen:9' is unknown or out of service"),
    ("pv", {"asset": "load:1"}, "order pv: asset 'load:1' does not fit this kind"),
    ("heat", {"asset": "load:x"}, "order heat: asset 'load:x' is unknown"),
    ("pv", {"submitted_at": "2026-03-28T12:00:00"}, "has no UTC offset"),
    ("pv", {"pay": "cash"}, "order pv: pay is 'cash'"),
    ("pv", {"pay": "flexibility/"}, "order pv: pay is 'flexibility/'"),
    ("unit", {"buses": {"2": 0.25, "3": 0.7}}, "order unit: the shares of its buses sum to 0.95"),
    ("unit", {"buses": {"2": 0.25, "9": 0.75}}, "order unit: bus 9 is unknown"),
    ("unit", {"buses": {"2": 1.25, "3": -0.25}}, "order unit: the share of bus 2 is 1.25"),
    (
        "unit",
        {"steps": [{"p_mw": 1, "price_eur_per_mwh": 2}, {"p_mw": 1, "price_eur_per_mwh": 1}]},
        "order unit: prices of its steps decrease",
    ),
    ("unit", {"steps": []}, "order unit: steps is not a list with at least one step"),
    ("unit", {"steps": [{"p_mw": 1}]}, "order unit step 0: price_eur_per_mwh is missing"),
    (
        "buyer",
        {"steps": [{"p_mw": 1, "price_eur_per_mwh": 1}, {"p_mw": 1, "price_eur_per_mwh": 2}]},
        "order buyer: prices of its steps increase",
    ),
    ("battery", {"energy_mwh_start": 0.5}, "energy_mwh_start is 0.5, outside 0 to 0.4"),
    ("battery", {"energy_mwh_end_min": 0.6}, "energy_mwh_end_min is 0.6, outside"),
    ("battery", {"efficiency_charge": 95}, "order battery: efficiency_charge is 95"),
    ("battery", {"efficiency_charge": None}, "order battery: efficiency_charge is missing"),
    ("battery", {"availability": [1, 0, 2, 1]}, "availability is 2 in period 2"),
    ("heat", {"window_periods": 0}, "order heat: window_periods is 0"),
    ("heat", {"p_mw_max": 0.1}, "its baseline from period 0 on cannot be met"),
    ("heat", {"price_eur_per_mwh": -1}, "order heat: price_eur_per_mwh is -1"),
    ("heat", {"q_mvar_min": 0.2}, "order heat: q_mvar_min is above q_mvar_max"),
    ("dimmer", {"rebound_periods": None}, "order dimmer: rebound_share needs rebound_periods"),
    ("dimmer", {"duration_periods_min": 3, "duration_periods_max": 2}, "duration_periods_min is"),
    ("dimmer", {"p_mw_min_on": 0.4}, "p_mw_min_on is above p_mw_max"),
    ("dimmer", {"activations_max": 1.5}, "activations_max is 1.5"),
    ("block-b", {"parent": "pv"}, "order block-b: its parent 'pv' is no block order"),
    ("block-a", {"parent": "block-b"}, "its parents form a circle"),
    ("block-a", {"profile_mw": [0.1, -0.1, 0, 0]}, "order block-a: profile_mw mixes signs"),
    ("block-b", {"exclusive_group": "g"}, "states parent and exclusive_group"),
    ("friends", {"bus_to": 2}, "order friends: bus_to 2 is also the bus it comes from"),
    ("friends", {"participant_to": None}, "order friends: participant_to is missing"),
]


@pytest.mark.parametrize(("order_id", "fields", "message"), BAD_ORDERS)
def test_bad_orders_are_named(
    study: Path,
    network: Network,
    edit_order: EditOrder,
    order_id: str,
    fields: dict[str, object],
    message: str,
) -> None:
    edit_order(order_id, **fields)
    problems: list[Problem] = []
    read_orders(study, context_of(network, 4), problems)
    assert message in "\n".join(map(str, problems))


def test_a_storage_that_no_order_names_is_an_error(study: Path, edit_order: EditOrder) -> None:
    edit_order("battery", asset=None)
    assert "storage 0 (cell): no order names it" in problems_of(study)


BAD_SETTINGS = [
    ('name = "small"', "", "study.toml: name is missing"),
    ("start = 2026-03-28T23:00:00Z", "start = 2026-03-28T23:00:00", "state an instant with offset"),
    ("start = 2026-03-28T23:00:00Z", "", "start is missing"),
    ("periods = 4", "periods = 0", "periods is 0"),
    ("periods = 4", "periods = 5", "discharge_mw_max has 4 values, the study 5 periods"),
    ("mtu_minutes = 15", "mtu_minutes = 7.5", "mtu_minutes is 7.5"),
    ('"Europe/Berlin"', '"Europe/Atlantis"', "'Europe/Atlantis' is not an IANA zone"),
    ('"network.json"', '"absent.json"', "absent.json: cannot be read"),
    ('"network.json"', '"../study/network.json"', "is not a file of the study folder"),
    ('"network.json"', '"simbench:no-such-grid"', "SimBench has no grid 'no-such-grid'"),
    ('formulation = "ac"', 'formulation = "dc"', "formulation 'dc' is unknown"),
    ('formulation = "ac"', 'formulas = "ac"', "unknown field 'formulas'"),
    ("eur_per_mwh = 20.0", "", "states no eur_per_mwh and import_price.csv is not in the folder"),
    ("eur_per_mwh = 20.0", "eur_per_mwh = nan", "eur_per_mwh is nan"),
    ("import_mw_max = 10.0", "import_mw_max = -1", "import_mw_max is -1"),
    ("vm_pu_min = 0.95", "vm_pu_min = 1.1", "vm_pu_min 1.1 is not below vm_pu_max 1.05"),
    ("vm_pu_min = 0.95", "", "bus 2 (middle): has no vm_pu_min"),
    ("vm_pu_min = 0.95", "vm_min = 0.95", "study.toml [limits]: unknown field 'vm_min'"),
    ("[limits]", "[profiles]\nsource = 'simbench'\nday = 2016-07-25\n[limits]", "needs a simbench"),
    ("[limits]", "[limits", "study.toml: cannot be read"),
]


@pytest.mark.parametrize(("old", "new", "message"), BAD_SETTINGS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_bad_settings_are_named(study: Path, old: str, new: str, message: str) -> None:
    path = study / "study.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert message in problems_of(study)


def test_a_missing_limit_names_the_element_and_spares_the_substation(study: Path) -> None:
    path = study / "study.toml"
    path.write_text(path.read_text().replace("vm_pu_max = 1.05", ""))
    text = problems_of(study)
    assert text.count("vm_pu_max: neither the network nor [limits] states one") == 3
    assert "bus 0" not in text


GOOD = profile_rows("load,0", ["1,0", "2,0", "3,0", "4,0"])
BAD_PROFILES = [
    (HEADER + GOOD.replace(",3,0\n", ",nan,0\n"), f"(load 0): p_mw is nan at {STARTS[2]}"),
    (HEADER + GOOD.replace(",3,0\n", ",,0\n"), f"(load 0): p_mw is empty at {STARTS[2]}"),
    (HEADER + GOOD.replace(",3,0\n", ",3,inf\n"), f"(load 0): q_mvar is inf at {STARTS[2]}"),
    (HEADER + GOOD.replace(",3,0\n", ",1_0,0\n"), "p_mw is 1_0"),
    (HEADER + "".join(GOOD.splitlines(keepends=True)[1:]), "load 0 has no row for 1 of 4 periods"),
    (HEADER + GOOD + f"load,0,{STARTS[1]},2,0\n", "row 6: load 0 has a second row for 2026"),
    (HEADER + GOOD.replace("load,0", "load,8"), "row 2: load 8 is not a load or sgen"),
    (HEADER + GOOD.replace("load,0", "storage,0"), "storage 0 is not a load or sgen"),
    (HEADER + GOOD + "load,0,2026-03-29T23:00:00Z,2,0\n", "row 6: 2026-03-29T23:00:00Z is not the"),
    (HEADER + GOOD + "load,0,2026-03-28T23:00:00,2,0\n", "row 6: period_start"),
    (HEADER + GOOD + "load,0,1\n", "profiles.csv row 6: 3 cells, not 5"),
    ("element,id,start,p_mw,q_mvar\n" + GOOD, "profiles.csv row 1: the header is"),
    ("", "profiles.csv row 1: the header is"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message"), BAD_PROFILES)
def test_bad_profiles_are_named(study: Path, network: Network, content: str, message: str) -> None:
    (study / "profiles.csv").write_text(content)
    problems: list[Problem] = []
    periods = Periods(start=parse_utc(STARTS[0]), count=4)
    read_profiles(study, network, periods, problems)
    assert message in "\n".join(map(str, problems))


def test_an_element_without_power_factor_needs_q(study: Path, network_json: str) -> None:
    import pandapower as pp

    net = pp.from_json_string(network_json)
    net.load.loc[1, ["p_mw", "q_mvar"]] = (0.0, 0.1)
    pp.to_json(net, str(study / "network.json"))
    (study / "profiles.csv").write_text(
        HEADER + GOOD.replace("load,0", "load,1").replace(",0\n", ",\n")
    )
    assert "load 1 (farm): q_mvar is empty and the element has no power factor" in problems_of(
        study
    )


def test_bad_prices_and_positions_are_named(study: Path) -> None:
    (study / "import_price.csv").write_text(
        "period_start,eur_per_mwh\n" + "".join(f"{start},x\n" for start in STARTS[:3])
    )
    (study / "position.csv").write_text(
        "order,period_start,injection_mw,injection_mvar\n"
        f"ghost,{STARTS[0]},0,0\npv,{STARTS[0]},0,\n"
    )
    text = problems_of(study)
    assert "eur_per_mwh is stated and import_price.csv exists" in text
    assert "order 'ghost' is not in orders.json" in text
    assert "order pv has no row for 3 of 4 periods" in text
    assert "position.csv row 3: injection_mvar is empty" in text
    toml = (study / "study.toml").read_text()
    (study / "study.toml").write_text(toml.replace("eur_per_mwh = 20.0", ""))
    text = problems_of(study)
    assert "import_price.csv row 2: eur_per_mwh is 'x'" in text
    assert "the price has no row for 1 of 4 periods" in text


def test_networks_with_what_nobody_models_are_refused(study: Path, network_json: str) -> None:
    import pandapower as pp

    net = pp.from_json_string(network_json)
    pp.create_ext_grid(net, 1)
    pp.create_gen(net, 3, p_mw=0.1)
    pp.create_ward(net, 3, 0.1, 0, 0, 0)
    pp.to_json(net, str(study / "network.json"))
    assert "ext_grid: 2 are in service" in problems_of(study)
    net.ext_grid.loc[1, "in_service"] = False
    pp.to_json(net, str(study / "network.json"))
    text = problems_of(study)
    assert "gen 0: no order names it" in text
    assert "ward 0: elements of this kind are not supported" in text
    assert "ext_grid" not in text


def test_a_network_file_may_only_build_tables(study: Path) -> None:
    path = study / "network.json"
    text = path.read_text()
    evil = {"_module": "subprocess", "_class": "function", "_object": "getoutput"}
    for wrapped in (evil, json.dumps(evil), [json.dumps([evil])]):
        plain = json.loads(text)
        plain["_object"]["extra"] = wrapped
        path.write_text(json.dumps(plain))
        assert "names classes that are no tables: subprocess.function" in problems_of(study)


def test_everything_wrong_at_once_is_one_message(study: Path, edit_order: EditOrder) -> None:
    lines = (GOOD.replace(",3,0\n", ",nan,0\n")).splitlines(keepends=True)
    (study / "profiles.csv").write_text(
        HEADER + "".join(lines[1:]) + lines[1] + GOOD.replace("load,0", "load,5")
    )
    edit_order("pv", bus=77, p_mw_max=[1, 2], colour="red")
    edit_order("heat", asset="sgen:0")
    edit_order("unit", kind="lottery")
    edit_order("battery", asset=None, charge_mw_max=-1)
    path = study / "study.toml"
    path.write_text(path.read_text().replace("vm_pu_max = 1.05", "import_cap = 3"))
    with pytest.raises(InputError) as refused:
        read_study(study)
    text = str(refused.value)
    for expected in (
        "(load 0): p_mw is nan", "load 0 has no row for 1 of 4", "load 0 has a second row",
        "load 5 is not a load", "bus 77 is unknown", "p_mw_max has 2 values", "field 'colour'",
        "asset 'sgen:0' is already named by order pv", "does not fit this kind", "kind 'lottery'",
        "storage 0 (cell): no order names it", "charge_mw_max is -1", "unknown field 'import_cap'",
        "bus 3 (end): has no vm_pu_max",
    ):  # fmt: skip
        assert expected in text, expected
    assert len(refused.value.problems) == len(text.splitlines())


def test_no_folder_and_no_files(tmp_path: Path) -> None:
    assert "is not a folder" in problems_of(tmp_path / "absent")
    assert "study.toml: cannot be read" in problems_of(tmp_path)
