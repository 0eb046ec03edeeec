"""Integer orders in the engine: determinism, many orders, time limits, what is reported."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from data.errors import UnsupportedComponent
from data.records.clearing import ClearingCase
from data.records.order import BlockOrder, CurtailOrder, Order
from data.results import write_result
from opf.clearing import clear_case
from opf.integer_clearing import EXACT_UP_TO
from tests.support.cases import generation, library_network, make_case
from tests.support.order_simulator import broken_rules

PERIODS = 4
PRICE = np.array([20.0, 25.0, 22.0, 18.0])


def busy_case(blocks: int, seed: int = 3) -> ClearingCase:
    """Blocks at random buses of case33bw around the import price, an import cap in their way."""
    rng = np.random.default_rng(seed)
    orders: list[Order] = [
        generation("g1", 17, 0.3, 22.0, PERIODS),
        generation("g2", 30, 0.5, 40.0, PERIODS),
    ]
    for k in range(blocks):
        profile = np.round(rng.uniform(0.0, 0.15, PERIODS), 6)
        orders.append(
            BlockOrder(
                id=f"b{k:02d}",
                participant="P",
                buses=((int(rng.integers(1, 33)), 1.0),),
                profile_mw=profile if rng.random() < 0.7 else -profile,
                price_eur_per_mwh=np.full(PERIODS, round(float(rng.normal(21.0, 3.0)), 2)),
                acceptance_min=float(rng.choice([1.0, 0.5])),
                parent=f"b{k - 1:02d}" if k % 4 == 1 else None,
                exclusive_group="x" if k % 4 == 2 else None,
            )
        )
    ones = np.ones(PERIODS)
    orders.append(
        CurtailOrder(
            id="c1",
            participant="Q",
            buses=((24, 1.0),),
            asset="load:23",
            p_mw_max=0.2 * ones,
            p_mw_min_on=0.1 * ones,
            price_eur_per_mwh=10.0 * ones,
            duration_periods_max=2,
            activations_max=1,
            rebound_share=0.5,
            rebound_periods=1,
        )
    )
    return make_case(
        library_network("case33bw"), orders, price=PRICE, periods=PERIODS,
        vm_pu_max=1.01, import_mw_max=3.3,
    )  # fmt: skip


def written(case: ClearingCase, folder: Path) -> dict[str, bytes]:
    write_result(clear_case(case), case, folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_two_runs_give_equal_bytes(tmp_path: Path) -> None:
    case = busy_case(8)
    assert written(case, tmp_path / "a") == written(case, tmp_path / "b")


@pytest.mark.parametrize("blocks", [8, 30])
def test_the_answer_keeps_every_rule_and_lets_nobody_lose(blocks: int) -> None:
    case = busy_case(blocks)
    result = clear_case(case)
    assert result.status == "certified", result.message
    assert result.integers is not None
    assert result.integers.orders == blocks + 1
    for award in result.awards:
        if award.order[0] == "b":
            assert award.surplus_eur >= -1e-5, award.order
        assert award.status in ("accepted", "partial", "rejected", "paradoxically_rejected")
    assert not broken_rules(case, result.awards)
    assert any(award.status == "accepted" for award in result.awards if award.order[0] == "b")


def test_many_orders_end_at_a_stated_gap() -> None:
    blocks = EXACT_UP_TO + 10
    result = clear_case(busy_case(blocks))
    assert result.integers is not None
    assert not result.integers.proven
    assert 0.0 <= result.integers.gap < 1e-2
    assert "not proven" in result.message
    assert result.bound_kind == "milp"
    assert result.bound_eur is not None
    assert result.bound_eur <= result.objective_eur + 1e-6


def test_few_and_many_agree_where_nothing_is_paradoxical() -> None:
    """The heuristic for many orders is judged by the exact search on a book both can take."""
    import opf.integer_clearing as searching

    case = busy_case(12, seed=8)
    exact = clear_case(case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "EXACT_UP_TO", 0)
        quick = clear_case(case)
    assert exact.integers is not None
    assert exact.integers.proven
    assert quick.objective_eur >= exact.objective_eur - 1e-6
    assert quick.objective_eur == pytest.approx(exact.objective_eur, rel=2e-3)


def test_a_time_limit_leaves_the_best_choice_so_far() -> None:
    result = clear_case(busy_case(8), out_of_time=lambda: True)
    assert result.integers is not None
    assert not result.integers.proven
    assert result.integers.choices_cleared == 1
    assert "not proven" in result.message


def test_approximations_refuse_integers_by_name() -> None:
    case = dataclasses.replace(busy_case(2), formulation="lindistflow")
    with pytest.raises(UnsupportedComponent, match="order b00"):
        clear_case(case)


def test_a_curtailed_load_stays_among_the_fixed_loads() -> None:
    """A dear reduction changes nothing: the load it names is drawn as without the order."""
    ones = np.ones(PERIODS)
    order = CurtailOrder(
        id="c1", participant="Q", buses=((24, 1.0),), asset="load:23",
        p_mw_max=0.2 * ones, p_mw_min_on=0.2 * ones, price_eur_per_mwh=1000.0 * ones,
    )  # fmt: skip
    network = library_network("case33bw")
    with_order = clear_case(make_case(network, [order], price=PRICE, periods=PERIODS))
    without = clear_case(make_case(network, [], price=PRICE, periods=PERIODS))
    assert with_order.objective_eur == pytest.approx(without.objective_eur, abs=1e-9)
    np.testing.assert_allclose(with_order.grid.import_mw, without.grid.import_mw, atol=1e-9)


def test_a_rebound_alone_has_no_bound_and_still_clears() -> None:
    """The reduction is all or nothing, so the rebound is the only column left to the solver."""
    ones = np.ones(PERIODS)
    order = CurtailOrder(
        id="c1",
        participant="Q",
        buses=((24, 1.0),),
        p_mw_max=0.2 * ones,
        p_mw_min_on=0.2 * ones,
        price_eur_per_mwh=1.0 * ones,
        duration_periods_max=1,
        activations_max=1,
        rebound_share=0.5,
        rebound_periods=1,
    )
    case = make_case(library_network("case33bw"), [order], price=PRICE, periods=PERIODS)
    result = clear_case(case)
    assert result.status == "certified", result.message
    assert result.awards[0].status == "accepted"
    assert result.awards[0].injection_mw.tolist() == [[0.0, 0.2, -0.1, 0.0]]
