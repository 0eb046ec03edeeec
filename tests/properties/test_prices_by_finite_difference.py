"""Every price is what one more MWh costs: re-solve with pandapower in the loop and compare.

Fifty random feeders (tests/support/random_feeders.py), central differences of 1e-3 MW of the
optimum found by tests/support/independent_optimum.py, which shares no code with the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import opf.linearise
import opf.settled
from data.records.clearing import ClearingResult
from data.units import MICRO_PER_UNIT
from opf.clearing import clear_case
from opf.linearise import Linearisation
from opf.problem import Tolerances, prepare_problem
from opf.successive import optimise
from tests.support.independent_optimum import (
    IndependentOptimum,
    PriceComparison,
    compare_prices,
    decisions_of,
)
from tests.support.random_feeders import RandomFeeder, random_feeder

SEEDS = range(50)
QUICK = (10, 12, 15, 16, 18, 19, 21, 42)
TOLERANCE = 1e-3
# What the optimum is solved to before its awards go onto ticks of 1e-6 MW.
TIGHT = Tolerances(kkt=1e-10, voltage_pu=1e-10, loading_share=1e-10, cap_mw=1e-10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the check of one feeder saw; ``faults`` is empty when everything holds."""

    result: ClearingResult
    comparisons: list[PriceComparison]
    faults: list[str]

    @property
    def binding(self) -> bool:
        return any(part.p_eur_per_mwh.any() for part in self.result.prices.parts)

    @property
    def negative(self) -> bool:
        return bool(self.result.prices.dlmp_p_eur_per_mwh.min() < 0)


def certificate_faults(result: ClearingResult) -> list[str]:
    """Status, KKT residuals below 1e-6, and parts that sum to the price to the micro-EUR."""
    faults = [] if result.status == "certified" else [f"{result.status}: {result.message}"]
    certificate = result.certificate
    faults += [
        f"{name} is {getattr(certificate, name):.2g}"
        for name in ("stationarity", "complementarity", "dual_sign")
        if not getattr(certificate, name) < 1e-6
    ]
    prices = result.prices

    def whole(values: Any) -> Any:
        return np.round(values * MICRO_PER_UNIT).astype(np.int64)

    total = sum(
        whole(part)
        for part in (
            prices.energy_eur_per_mwh,
            prices.loss_eur_per_mwh,
            prices.congestion_eur_per_mwh,
            prices.voltage_eur_per_mwh,
        )
    )
    if not np.array_equal(total, whole(prices.dlmp_p_eur_per_mwh)):
        faults.append("parts do not sum to the price")
    by_element = sum((whole(part.p_eur_per_mwh) for part in prices.parts), 0 * total)
    of_limits = whole(prices.congestion_eur_per_mwh) + whole(prices.voltage_eur_per_mwh)
    if not np.array_equal(by_element, of_limits):
        faults.append("parts of the elements do not sum to congestion and voltage")
    return faults


def examine(feeder: RandomFeeder, *, buses: int = 5, all_periods: bool = True) -> Findings:
    """Clear the feeder, find its optimum independently, compare cost and prices."""
    result = clear_case(feeder.case, tolerances=TIGHT)
    faults = certificate_faults(result)
    solver = IndependentOptimum(feeder.net, feeder.case)
    base = solver.solve(decisions_of(feeder.case, result))
    # awards on ticks may break a limit by 1e-6 pu, which is worth up to some 100 EUR/pu
    if base.cost_eur != pytest.approx(result.objective_eur, rel=2e-6, abs=5e-4):
        faults.append(f"cost {result.objective_eur} instead of {base.cost_eur}")
    rng = np.random.default_rng(feeder.seed)
    drawn = [int(bus) for bus in rng.choice(len(feeder.net.bus), buses, replace=False)]
    size = len(feeder.case.periods)
    periods = range(size) if all_periods else [int(rng.integers(size))]
    places = [(bus, t, False) for bus in drawn for t in periods]
    places += [(bus, int(rng.integers(size)), True) for bus in drawn[:2]]
    comparisons = compare_prices(solver, base, result, places)
    faults += [f"price {c}" for c in comparisons if not c.agrees(TOLERANCE)]
    return Findings(result=result, comparisons=comparisons, faults=faults)


@pytest.mark.parametrize("seed", QUICK)
def test_price_is_the_marginal_cost_of_another_code_path(seed: int) -> None:
    assert examine(random_feeder(seed), all_periods=False).faults == []


@pytest.mark.parametrize("seed", [10, 21])
def test_the_optimum_is_solved_to_1e_10(seed: int) -> None:
    assert optimise(prepare_problem(random_feeder(seed).case, TIGHT)).residuals.worst < 1e-10


@pytest.mark.long
def test_fifty_optima_are_solved_to_1e_10() -> None:
    worst = {}
    for seed in SEEDS:
        solution = optimise(prepare_problem(random_feeder(seed).case, TIGHT))
        if not (solution.converged and solution.residuals.worst < 1e-10):
            worst[seed] = solution.residuals.worst
    assert worst == {}


@pytest.mark.parametrize("seed", [9, 19, 26])
def test_reactive_power_below_a_binding_branch_comes_to_rest(seed: int) -> None:
    # without the second derivative of the current these ended after 40 iterations, uncertified
    result = clear_case(random_feeder(seed).case)
    assert any(part.element_kind in ("line", "trafo") for part in result.prices.parts)
    assert result.status == "certified"
    assert result.certificate.iterations <= 15


@pytest.mark.long
def test_prices_of_fifty_random_feeders() -> None:
    seen = [examine(random_feeder(seed)) for seed in SEEDS]
    faults = {seed: found.faults for seed, found in zip(SEEDS, seen, strict=True) if found.faults}
    assert faults == {}
    assert sum(found.binding for found in seen) >= 40
    assert sum(found.negative for found in seen) >= 10
    comparisons = [c for found in seen for c in found.comparisons]
    assert len(comparisons) >= 50 * 7
    errors = np.array([c.error for c in comparisons])
    # kinks are the exception, and away from them the agreement is far better than asked for
    assert np.mean(errors <= TOLERANCE) >= 0.95
    assert float(np.median(errors)) <= 1e-5


@pytest.mark.parametrize(
    "seed", [16, *(pytest.param(seed, marks=pytest.mark.long) for seed in (10, 21))]
)
def test_independent_optimum_does_not_depend_on_its_start(seed: int) -> None:
    feeder = random_feeder(seed)
    solver = IndependentOptimum(feeder.net, feeder.case)
    cleared = solver.solve(decisions_of(feeder.case, clear_case(feeder.case)))
    idle = solver.solve(np.zeros(len(solver.columns.bus)), reach_mw=0.5)
    assert idle.cost_eur == pytest.approx(cleared.cost_eur, rel=1e-7, abs=1e-6)


def test_independent_flows_are_pandapowers_own_tables() -> None:
    feeder = random_feeder(19)
    solver = IndependentOptimum(feeder.net, feeder.case)
    injection = solver.injection(0.5 * solver.columns.upper, {})[0]
    point = solver.feeder.point(injection)
    net, limits = solver.feeder.net, feeder.case.limits
    assert point.import_mw == pytest.approx(float(net.res_ext_grid.p_mw.sum()), abs=1e-10)
    others = net.bus.index != solver.feeder.slack
    over = (net.res_bus.vm_pu - limits.vm_pu_max)[others]
    assert point.limits[: others.sum()] == pytest.approx(over.to_numpy(), abs=1e-10)
    loading = net.res_trafo.loading_percent.to_numpy() / limits.trafo_loading_percent_max - 1
    assert point.limits[-2:].max() == pytest.approx(float(loading[0]), abs=1e-9)
    step = 1e-3
    for bus, unit in ((5, 1.0), (7, 1j)):
        moved = []
        for sign in (1.0, -1.0):
            there = injection.copy()
            there[bus] += sign * step * unit
            moved.append(solver.feeder.point(there))
        slope = (moved[0].limits - moved[1].limits) / (2 * step)
        told = point.limit_slope[:, bus].imag if unit == 1j else point.limit_slope[:, bus].real
        assert told == pytest.approx(slope, abs=1e-6, rel=1e-4)


def flip_import_p(lin: Linearisation) -> None:
    # losses with the wrong sign: dP0/dp = -1 + dloss/dp becomes -1 - dloss/dp
    lin.import_p[:] = -2.0 - lin.import_p


def flip_import_q(lin: Linearisation) -> None:
    lin.import_q[:] *= -1.0


def flip_limit_p(lin: Linearisation) -> None:
    lin.limit_p[:] *= -1.0


def flip_limit_q(lin: Linearisation) -> None:
    lin.limit_q[:] *= -1.0


@pytest.mark.parametrize("flip", [flip_import_p, flip_import_q, flip_limit_p, flip_limit_q])
def test_wrong_sign_in_a_priced_gradient_is_found(
    flip: Callable[[Linearisation], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    linearise = opf.settled.linearise

    def planted(*arguments: Any) -> Linearisation:
        lin = linearise(*arguments)
        flip(lin)
        return lin

    monkeypatch.setattr(opf.settled, "linearise", planted)
    faults = examine(random_feeder(42), buses=2, all_periods=False).faults
    assert any(fault.startswith("price") for fault in faults)


@pytest.mark.parametrize(
    ("name", "part", "seed"),
    [
        ("import_gradient", 0, 15),
        ("import_gradient", 1, 15),
        ("limit_gradients", 0, 15),
        ("limit_gradients", 1, 21),
    ],
)
def test_wrong_sign_in_the_optimisation_is_found(
    name: str, part: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradient = getattr(opf.linearise, name)

    def planted(*arguments: Any) -> Any:
        found = [values.copy() for values in gradient(*arguments)]
        found[part][1:] *= -1.0
        return tuple(found)

    monkeypatch.setattr(opf.linearise, name, planted)
    feeder = random_feeder(seed)
    assert clear_case(feeder.case).status == "uncertified"
    assert examine(feeder, buses=2, all_periods=False).faults
