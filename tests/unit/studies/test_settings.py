"""Settings on a case in memory: each does what it says, and what cannot be is said at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandapower
import pytest

from data.errors import InputError
from data.records.order import GenerationOrder, StorageOrder
from data.records.order_rules import OrderRules
from data.study import case_sha256, read_study
from dso.studies import Study, apply_settings, load_study, new_study, parse_settings, save_study
from opf.clearing import clear_case


def words(*texts: str) -> tuple:
    return parse_settings(list(texts))


def problems_of(study: Study, *texts: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        study.with_settings(words(*texts))
    return [str(problem) for problem in caught.value.problems]


def test_prices_follow_factor_shift_and_list(study: Study) -> None:
    case = apply_settings(
        study.case,
        words(
            "import_price.eur_per_mwh=[10, 20, 30, -5]",
            "import_price.factor=2",
            "import_price.shift_eur_per_mwh=-1",
        ),
    )
    assert case.import_price_eur_per_mwh.tolist() == [19.0, 39.0, 59.0, -11.0]
    assert study.case.import_price_eur_per_mwh.tolist() == [40.0] * 4


def test_loads_scale_with_the_orders_that_name_them() -> None:
    study = new_study("simbench:1-LV-rural1--2-sw", feeder="1-MV-rural--2-sw")
    twice = study.with_settings(words("load.scale=2", "sgen.scale=3")).case
    assert np.allclose(twice.load_p_mw, 2 * study.case.load_p_mw, rtol=1e-11)
    assert np.allclose(twice.sgen_q_mvar, 3 * study.case.sgen_q_mvar, rtol=1e-11)
    named = {"load": 2.0, "sgen": 3.0}
    for before, after in zip(study.case.orders, twice.orders, strict=True):
        factor = named.get(str(before.asset).split(":")[0])
        if factor is None:
            assert isinstance(after, StorageOrder)
            assert np.array_equal(after.charge_mw_max, before.charge_mw_max)
        else:
            sums = [sum(step.p_mw for step in order.steps) for order in (before, after)]
            assert np.allclose(sums[1], factor * sums[0], atol=1e-6)


def test_only_the_technology_named_is_scaled() -> None:
    study = new_study("simbench:1-MV-rural--2-sw", feeder="1-MV-rural--2-sw")
    technology = np.array(study.case.network.sgens.technology)
    case = study.with_settings(words("sgen.Wind.scale=0.5")).case
    wind = np.char.startswith(technology, "Wind")
    assert 0 < wind.sum() < len(wind)
    assert np.allclose(case.sgen_p_mw[:, wind], 0.5 * study.case.sgen_p_mw[:, wind], rtol=1e-11)
    assert np.array_equal(case.sgen_p_mw[:, ~wind], study.case.sgen_p_mw[:, ~wind])


def test_an_added_generator_follows_another_ones_profile() -> None:
    study = new_study("simbench:1-LV-rural1--2-sw", feeder="1-MV-rural--2-sw")
    sgens = study.case.network.sgens
    bus = int(study.case.network.loads.bus[0])
    case = study.with_settings(
        words(f'generation.more={{bus={bus}, p_mw=0.05, like="sgen:{sgens.index[2]}"}}')
    ).case
    (order,) = [order for order in case.orders if order.id == "more"]
    assert isinstance(order, GenerationOrder)
    shape = study.case.sgen_p_mw[:, 2] / sgens.p_mw[2]
    assert np.allclose(order.steps[0].p_mw, 0.05 * shape, atol=1e-6)
    assert order.buses == ((bus, 1.0),)


def test_a_tap_position_is_what_pandapower_makes_of_it(tmp_path: Path) -> None:
    net = pandapower.create_empty_network()
    high = pandapower.create_bus(net, 110.0)
    low = [pandapower.create_bus(net, 20.0, min_vm_pu=0.8, max_vm_pu=1.2) for _ in range(2)]
    pandapower.create_ext_grid(net, high, vm_pu=1.01)
    pandapower.create_transformer(net, high, low[0], std_type="25 MVA 110/20 kV")
    pandapower.create_line(net, *low, length_km=5.0, std_type="NA2XS2Y 1x240 RM/25 12/20 kV")
    pandapower.create_load(net, low[1], p_mw=4.0, q_mvar=1.0)
    net.bus["min_vm_pu"], net.bus["max_vm_pu"] = 0.8, 1.2
    pandapower.to_json(net, str(tmp_path / "two.json"))
    study = new_study(
        str(tmp_path / "two.json"),
        periods=1,
        import_price_eur_per_mwh=50.0,
        limits={"line_loading_percent_max": 100.0, "trafo_loading_percent_max": 100.0},
    )
    for position in (-4, 3):
        changed = study.with_settings(
            words(f"trafo.0.tap_pos={position}", "ext_grid.vm_pu=0.99", "line.0.parallel=2")
        )
        net.trafo["tap_pos"], net.ext_grid["vm_pu"], net.line["parallel"] = position, 0.99, 2
        pandapower.runpp(net, tolerance_mva=1e-10, calculate_voltage_angles=True)
        result = clear_case(changed.case)
        assert result.status == "certified"
        assert np.allclose(result.grid.vm_pu[:, 0], net.res_bus.vm_pu, atol=1e-8)
        assert np.isclose(result.grid.import_mw[0], net.res_ext_grid.p_mw[0], atol=1e-7)
        assert [change.field for change in changed.network_changes] == [
            "tap_pos", "vm_pu", "parallel",
        ]  # fmt: skip
        save_study(changed, tmp_path / f"at{position}")
        assert load_study(tmp_path / f"at{position}").sha256 == changed.sha256
    assert problems_of(study, "trafo.0.tap_pos=12") == [
        "setting trafo.0.tap_pos: tap_pos is 12; state -9 to 9"
    ]


def test_the_rules_of_the_market_stay_with_the_study(study: Study, tmp_path: Path) -> None:
    rules = OrderRules(price_max_eur_per_mwh=100.0, power_tick_mw=1e-6, power_min_mw=0.01)
    save_study(dataclasses.replace(study, order_rules=rules), tmp_path / "ruled")
    ruled = load_study(tmp_path / "ruled")
    assert ruled.order_rules == rules
    save_study(ruled.with_settings(words("orders.scale=1.23456789")), tmp_path / "scaled")
    assert load_study(tmp_path / "scaled").order_rules == rules
    broken = words("orders.storage.scale=0.001", "battery.b5={bus=3, p_mw=1, energy_mwh=1, "
                   "efficiency=0.9, price_charge_eur_per_mwh=300}")  # fmt: skip
    with pytest.raises(InputError) as caught:
        save_study(ruled.with_settings(broken), tmp_path / "broken")
    assert len(caught.value.problems) == 2
    assert not (tmp_path / "broken").exists()


def test_the_last_of_two_values_of_one_element_counts(study: Study) -> None:
    twice = study.with_settings(words("line.3.max_i_ka=0.2", "line.3.max_i_ka=0.3"))
    again = twice.with_settings(words("line.3.max_i_ka=0.25"))
    assert again.case.network.lines.max_i_ka[3] == 0.25
    assert [
        (change.element, change.value)
        for change in again.network_changes
        if change.element == "line:3"
    ] == [("line:3", 0.25)]


def test_in_memory_and_on_disk_are_one_case(study: Study, tmp_path: Path) -> None:
    changed = study.with_settings(
        words(
            "load.5.scale=1.7", "import_mw_max=4", "orders.storage.scale=2", "line.2.closed=true",
            "limits.scarcity_price_eur_per_mwh=3000", "name=other", "formulation=lindistflow",
        )
    )  # fmt: skip
    save_study(changed, tmp_path / "study")
    assert case_sha256(read_study(tmp_path / "study")) == changed.sha256
    assert load_study(tmp_path / "study").network_changes == changed.network_changes


WRONG = {
    "line.99.max_i_ka=1": "the network has no line '99'",
    "line.3.max_i_ka=-1": "max_i_ka is -1; state a number above 0",
    "line.3.colour=1": "'colour' of a line cannot be changed",
    "bus.3.vn_kv=1": "is no setting",
    "limits.vm_pu=1": "is no setting",
    "import_price.factor=high": "is 'high' -> state a number",
    "import_price.eur_per_mwh=[1, 2]": "holds 2 values -> state 4 finite numbers or one",
    "load.999.scale=2": "the network has no load 999",
    "formulation=dc": "is 'dc' -> one of copper_plate",
    "battery.b1={bus=2, p_mw=1, energy_mwh=1, efficiency=0.9}": "an order b1 is there already",
    "battery.b2={bus=999, p_mw=1, energy_mwh=1, efficiency=0.9}": "bus 999",
    "battery.b3={bus=2, p_mw=1, energy_mwh=1}": "efficiency is missing",
    "battery.b4=big": "is 'big' -> state a table",
    'generation.g={bus=2, p_mw=1, like="sgen:3"}': "the network has no sgen 3",
    "orders.block.scale=2": "the study has no such order",
    "ext_grid.vm_pu=nan": "vm_pu is nan; state a number above 0",
    "load.scale=inf": "is inf -> state a finite number of at least 0",
}


def test_every_wrong_setting_is_named(study: Study) -> None:
    found = problems_of(study, *WRONG)
    assert len(found) == len(WRONG), found
    for text, said, problem in zip(WRONG, WRONG.values(), found, strict=True):
        assert problem.startswith(f"setting {text.partition('=')[0]}"), problem
        assert said in problem


def test_what_only_shows_as_a_whole_is_named_too(study: Study) -> None:
    assert "vm_pu_min 1.04 is not below vm_pu_max 1.03" in str(
        problems_of(study, "limits.vm_pu_min=1.04", "limits.vm_pu_max=1.03")
    )
    twice = "{{kind='generation', participant='p', bus=5, asset='load:5', p_mw_max=1}}"
    assert problems_of(study, f"order.x={twice}")


def test_a_storage_of_the_network_needs_its_order() -> None:
    study = new_study("simbench:1-LV-rural1--2-sw", feeder="1-MV-rural--2-sw")
    storage = next(order for order in study.case.orders if isinstance(order, StorageOrder))
    (problem,) = problems_of(study, f"order.{storage.id}.remove=true")
    assert "no order names it" in problem
    assert str(storage.asset).replace(":", " ") in problem


def test_words_that_are_no_settings_are_all_named() -> None:
    with pytest.raises(InputError) as caught:
        parse_settings(["a", "=1", "load.scale=1", "b="])
    assert len(caught.value.problems) == 3
