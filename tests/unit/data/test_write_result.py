"""The output folder of a clearing: columns, sorting, trades that add up, no silent gaps."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.readers.result_tables import HEADERS, read_awards, read_prices, read_result_table
from data.readers.result_tables import read_trades as read_trades_table
from data.records.clearing import (
    Award,
    BranchFlow,
    Certificate,
    ClearingCase,
    ClearingResult,
    GridState,
    PricePart,
    Prices,
    Violation,
)
from data.results import write_result, write_timings
from data.study import case_sha256, read_study

COUNT = 4


@pytest.fixture
def case(study: Path) -> ClearingCase:
    return read_study(study)


def certificate() -> Certificate:
    return Certificate(
        replay_engine="e", replay_vm_pu_error_max=1e-9, worst_voltage_violation_pu=0.0,
        worst_loading_violation_percent=0.0, stationarity=1e-8, complementarity=0.0, dual_sign=0.0,
        parts_residual_eur_per_mwh=0.0, energy_balance_mw=1e-9, probe_error=1e-6, iterations=5,
        solver="s", solver_options=(("threads", "1"),),
    )  # fmt: skip


def result_of(case: ClearingCase, *, seed: int = 1) -> ClearingResult:
    """A result with random numbers on the award tick for every order."""
    random = np.random.default_rng(seed)

    def awards_of(order_id: str, participant: str, buses: tuple[int, ...]) -> Award:
        injection = np.round(random.normal(size=(len(buses), COUNT)), 6)
        stored = np.full(COUNT, 0.1) if order_id == "battery" else None
        return Award(
            order=order_id, participant=participant, buses=buses, injection_mw=injection,
            injection_mvar=injection / 10, accepted_share=np.full(COUNT, 0.5), charge_mw=stored,
            discharge_mw=stored, soc_mwh=stored, status="partial", surplus_eur=1 / 3,
            reason='price gap, "3 EUR/MWh"', binding_element="line L1",
        )  # fmt: skip

    awards = []
    for order in reversed(case.orders):
        buses = tuple(bus for bus, _ in order.buses)
        buses = (*buses, order.bus_to) if hasattr(order, "bus_to") else buses
        awards.append(awards_of(order.id, order.participant, buses))
    shape = (len(case.network.buses.index), COUNT)
    price = np.round(random.normal(30, 10, shape), 6)
    zero = np.zeros(shape)
    part = zero.copy()
    part[3, 1] = 1.5
    return ClearingResult(
        case_name=case.name, periods=case.periods, status="certified", message="ok",
        objective_eur=100.0, penalty_eur=0.0,
        violations=(
            Violation(element_kind="line", element=1, side="to", period=2, value=101.0,
                      limit=100.0, mw_short=0.1),
            Violation(element_kind="bus", element=3, side="upper", period=0, value=1.06,
                      limit=1.05, mw_short=0.2),
        ),
        bound_eur=99.0, bound_kind="lp", awards=tuple(awards),
        prices=Prices(
            dlmp_p_eur_per_mwh=price, dlmp_q_eur_per_mvarh=zero, energy_eur_per_mwh=price - part,
            loss_eur_per_mwh=zero, congestion_eur_per_mwh=part, voltage_eur_per_mwh=zero,
            parts=(
                PricePart(element_kind="line", element=1, side="to", p_eur_per_mwh=part,
                          q_eur_per_mvarh=zero),
                PricePart(element_kind="bus", element=3, side="upper", p_eur_per_mwh=zero,
                          q_eur_per_mvarh=part),
            ),
        ),
        grid=GridState(
            vm_pu=np.ones(shape), shadow_price_upper_eur_per_pu_h=zero,
            shadow_price_lower_eur_per_pu_h=zero,
            branches=tuple(
                BranchFlow(element_kind=kind, element=number, p_from_mw=np.arange(4.0),
                           q_from_mvar=np.zeros(4), loading_percent=np.full(4, 50.0),
                           shadow_price_eur_per_mva_h=np.zeros(4))
                for kind, number in (("trafo", 0), ("line", 1), ("line", 0))
            ),
            import_mw=np.zeros(4), import_mvar=np.zeros(4),
        ),
        certificate=certificate(), input_sha256=case_sha256(case), versions=(("solver", "1"),),
    )  # fmt: skip


def lines(folder: Path, name: str) -> list[str]:
    return (folder / name).read_text().splitlines()


def test_files_and_columns(case: ClearingCase, tmp_path: Path) -> None:
    write_result(result_of(case), case, tmp_path)
    for name, header in HEADERS.items():
        assert lines(tmp_path, name)[0] == ",".join(header)
    assert lines(tmp_path, "orders.csv")[0] == "order,status,surplus_eur,reason,binding_element"
    assert 'battery,partial,0.333333333333,"price gap, ""3 EUR/MWh""",line L1' in lines(
        tmp_path, "orders.csv"
    )
    first = case.periods.labels()[0]
    assert [row.split(",")[:2] for row in lines(tmp_path, "prices.csv")[1:5]] == [
        [str(bus), first] for bus in range(4)
    ]
    assert [row.split(",")[:2] for row in lines(tmp_path, "branches.csv")[1:4]] == [
        ["line", "0"], ["line", "1"], ["trafo", "0"],
    ]  # fmt: skip
    second = case.periods.labels()[1]
    assert lines(tmp_path, "price_parts.csv")[1:] == [
        f"3,{second},bus,3,upper,0,1.5", f"3,{second},line,1,to,1.5,0",
    ]  # fmt: skip
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["gap"] == pytest.approx(0.01)
    assert [v["period_start"] for v in summary["violations"]] == [first, case.periods.labels()[2]]
    assert summary["certificate"]["solver_options"] == {"threads": "1"}
    assert summary["input_sha256"] == case_sha256(case)


def test_tables_read_back_as_they_were(case: ClearingCase, tmp_path: Path) -> None:
    result = result_of(case)
    write_result(result, case, tmp_path)
    prices = read_prices(tmp_path)
    got = prices["dlmp_p_eur_per_mwh"].reshape(COUNT, 4).T
    np.testing.assert_array_equal(got, result.prices.dlmp_p_eur_per_mwh)
    awards = read_awards(tmp_path)
    for award in result.awards:
        for place, bus in enumerate(award.buses):
            rows = (awards["order"] == award.order) & (awards["bus"] == bus)
            np.testing.assert_array_equal(awards["injection_mw"][rows], award.injection_mw[place])
            np.testing.assert_allclose(
                awards["energy_mwh"][rows], award.injection_mw[place] / 4, rtol=1e-11
            )
    charged = np.isfinite(awards["charge_mw"].astype(float))
    assert set(awards["order"][charged].tolist()) == {"battery"}
    assert read_result_table(tmp_path, "buses.csv")["vm_pu"].tolist() == [1.0] * 16


def test_trades_of_rounds_add_up_to_the_last_position(case: ClearingCase, tmp_path: Path) -> None:
    """Odd ticks give quarter Wh: only differences of rounded positions telescope."""
    total: dict[tuple[str, int, str], int] = {}
    ids: list[str] = []
    previous: ClearingResult | None = None
    for number in range(4):
        now = case
        if previous is not None:
            by_id = {award.order: award for award in previous.awards}
            position = np.array([by_id[order.id].injection_mw[0] for order in case.orders])
            now = dataclasses.replace(case, position_mw=position, name=str(number))
        previous = result_of(now, seed=number)
        keep = tuple(a for a in previous.awards if len(a.buses) == 1)
        previous = dataclasses.replace(
            previous, awards=tuple(a if a in keep else _spread(a, now) for a in previous.awards)
        )
        write_result(previous, now, tmp_path / str(number))
        trades = read_trades_table(tmp_path / str(number))
        ids += trades["trade"].tolist()
        for order, bus, start, energy in zip(
            *(trades[name].tolist() for name in ("order", "bus", "period_start", "energy_wh")),
            strict=True,
        ):
            key = (str(order), int(bus), str(start))
            total[key] = total.get(key, 0) + int(energy)
    assert previous is not None
    assert len(set(ids)) == len(ids)
    for award in previous.awards:
        if len(award.buses) > 1:
            continue
        for period, label in enumerate(case.periods.labels()):
            ticks = round(award.injection_mw[0, period] * 1e6)
            exact = ticks / 4
            whole = round(exact)  # half-even
            assert total.get((award.order, award.buses[0], label), 0) == whole


def _spread(award: Award, case: ClearingCase) -> Award:
    """Make a two-bus award consistent with one position: shares of a portfolio, or +p and -p."""
    (order,) = (order for order in case.orders if order.id == award.order)
    shares = [-1.0] if len(order.buses) == 1 else [share for _, share in order.buses][1:]
    rows = [award.injection_mw[0]] + [share * award.injection_mw[0] for share in shares]
    return dataclasses.replace(award, injection_mw=np.round(np.array(rows), 6))


def test_a_trade_has_the_published_price_of_its_bus(case: ClearingCase, tmp_path: Path) -> None:
    result = result_of(case)
    write_result(result, case, tmp_path)
    trades = read_trades_table(tmp_path)
    labels = list(case.periods.labels())
    buses = case.network.buses.index.tolist()
    assert len(trades["trade"]) > 0
    for bus, start, price in zip(
        trades["bus"], trades["period_start"], trades["price_micro_eur_per_mwh"], strict=True
    ):
        dlmp = result.prices.dlmp_p_eur_per_mwh[buses.index(bus), labels.index(start)]
        assert price == round(dlmp * 1e6)


def test_only_binding_periods_trade(case: ClearingCase, tmp_path: Path) -> None:
    write_result(result_of(case), case, tmp_path, binding_periods=2)
    starts = set(read_trades_table(tmp_path)["period_start"].tolist())
    assert starts == set(case.periods.labels()[:2])


def test_what_is_not_certified_trades_nothing(case: ClearingCase, tmp_path: Path) -> None:
    result = result_of(case)
    nan = np.full_like(result.prices.dlmp_p_eur_per_mwh, np.nan)
    result = dataclasses.replace(
        result,
        status="infeasible",
        bound_eur=None,
        bound_kind="none",
        prices=dataclasses.replace(result.prices, dlmp_p_eur_per_mwh=nan, parts=()),
        certificate=dataclasses.replace(result.certificate, stationarity=float("inf")),
    )
    write_result(result, case, tmp_path)
    assert lines(tmp_path, "trades.csv") == [",".join(HEADERS["trades.csv"])]
    assert lines(tmp_path, "price_parts.csv") == [",".join(HEADERS["price_parts.csv"])]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["gap"] is None
    assert summary["certificate"]["stationarity"] is None
    with pytest.raises(InputError, match="dlmp_p_eur_per_mwh is empty"):
        read_prices(tmp_path)


def test_a_certified_result_without_a_number_is_refused(case: ClearingCase, tmp_path: Path) -> None:
    result = result_of(case)
    vm_pu = result.grid.vm_pu.copy()
    vm_pu[2, 3] = np.nan
    broken = dataclasses.replace(
        result,
        grid=dataclasses.replace(result.grid, vm_pu=vm_pu),
        certificate=dataclasses.replace(result.certificate, probe_error=float("nan")),
    )
    with pytest.raises(ValueError, match=r"buses\.csv vm_pu, certificate probe_error"):
        write_result(broken, case, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_result_of_another_case_is_refused(case: ClearingCase, tmp_path: Path) -> None:
    result = result_of(case)
    fewer = dataclasses.replace(case, orders=case.orders[1:])
    with pytest.raises(ValueError, match="battery"):
        write_result(result, fewer, tmp_path)
    shorter = dataclasses.replace(case, periods=case.periods.from_index(1))
    with pytest.raises(ValueError, match="other periods"):
        write_result(result, shorter, tmp_path)


def test_equal_results_give_equal_bytes_whatever_the_sequence(
    case: ClearingCase, tmp_path: Path
) -> None:
    result = result_of(case)
    write_result(result, case, tmp_path / "a")
    shuffled = dataclasses.replace(
        result,
        awards=result.awards[::-1],
        violations=result.violations[::-1],
        prices=dataclasses.replace(result.prices, parts=result.prices.parts[::-1]),
        grid=dataclasses.replace(result.grid, branches=result.grid.branches[::-1]),
    )
    write_timings({"clear_s": 1.23456}, tmp_path / "b")
    write_result(shuffled, case, tmp_path / "b")
    for file in (tmp_path / "a").iterdir():
        assert (tmp_path / "b" / file.name).read_bytes() == file.read_bytes(), file.name
    assert json.loads((tmp_path / "b" / "timings.json").read_text()) == {"clear_s": 1.235}
