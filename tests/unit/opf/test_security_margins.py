"""Margins draw limits in where and when they say, scenarios set them, the result names them."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from data.records.clearing import ClearingCase, ClearingResult, Formulation, LimitMargins
from data.study import case_sha256
from data.study.margins import no_margins
from opf.clearing import clear_case
from opf.explanations.published import publish
from opf.grid import build_grid
from opf.limits import limit_values, list_limits, with_margins
from opf.power_flow import NodalSolver, solve_state
from opf.problems.outlook import congestion_outlook
from opf.problems.scenario_limits import expected_grid, scenario_values
from opf.problems.security_margins import security_margins
from opf.problems.unmarketed import bus_injections, node_injections
from opf.replay import replay_violations
from tests.support.cases import generation, library_network, make_case

Floats = NDArray[np.float64]
PV_BUS, PERIODS, LIMIT_PU, MARGIN_PU = 17, 2, 1.05, 0.01


def case33_with_pv(vm_pu_max: float = LIMIT_PU, periods: int = PERIODS) -> ClearingCase:
    """3 MW of PV at the end of case33bw: the upper voltage limit binds."""
    return make_case(
        library_network("case33bw"),
        [generation("pv", PV_BUS, 3.0, 0.0, periods)],
        vm_pu_max=vm_pu_max,
        periods=periods,
    )


def with_upper_margin(case: ClearingCase, bus: int, period: int, margin: float) -> ClearingCase:
    margins = no_margins(case.network, len(case.periods))
    margins.vm_pu_upper[case.network.buses.index == bus, period] = margin
    return dataclasses.replace(case, margins=margins)


@pytest.fixture(scope="module")
def drawn_in() -> ClearingResult:
    return clear_case(with_upper_margin(case33_with_pv(), PV_BUS, 1, MARGIN_PU))


def test_a_margin_holds_in_its_period_and_nowhere_else(drawn_in: ClearingResult) -> None:
    assert drawn_in.status == "certified"
    assert drawn_in.grid.vm_pu[PV_BUS] == pytest.approx([LIMIT_PU, LIMIT_PU - MARGIN_PU], abs=2e-6)


def test_a_margin_clears_like_the_limit_it_leaves(drawn_in: ClearingResult) -> None:
    """Of two independent periods the second equals a case whose limit is lower by the margin."""
    lower = clear_case(case33_with_pv(LIMIT_PU - MARGIN_PU))
    award = [result.awards[0].injection_mw[0, 1] for result in (drawn_in, lower)]
    assert award[0] == pytest.approx(award[1], abs=2e-6)
    price = [result.prices.dlmp_p_eur_per_mwh[:, 1] for result in (drawn_in, lower)]
    assert price[0] == pytest.approx(price[1], abs=2e-4)


def test_a_price_part_from_a_margin_is_named_as_such(drawn_in: ClearingResult) -> None:
    (named,) = drawn_in.binding_margins
    assert (named.element_kind, named.element, named.side, named.period) == (
        "bus",
        PV_BUS,
        "upper",
        1,
    )
    assert (named.limit, named.margin) == pytest.approx((LIMIT_PU, MARGIN_PU))
    assert named.shadow_price_eur_per_mwh > 1.0
    (part,) = [p for p in drawn_in.prices.parts if p.element_kind == "bus"]
    assert (part.element, part.side) == (PV_BUS, "upper")


def test_the_explanation_says_that_a_margin_sets_the_price(drawn_in: ClearingResult) -> None:
    case = with_upper_margin(case33_with_pv(), PV_BUS, 1, MARGIN_PU)
    published = publish(case, drawn_in)
    full, drawn = (published.lines({PV_BUS: 1.0}, period)[2] for period in range(PERIODS))
    assert (full.limit, "margin" in full.name) == (LIMIT_PU, False)
    assert drawn.limit == pytest.approx(LIMIT_PU - MARGIN_PU)
    assert drawn.name.endswith("drawn in by a security margin of 0.0100 pu")


def test_no_margins_and_margins_of_zero_clear_alike() -> None:
    case = case33_with_pv(periods=1)
    zero = dataclasses.replace(case, margins=no_margins(case.network, 1))
    plain, drawn = clear_case(case), clear_case(zero)
    assert drawn.awards[0].injection_mw == pytest.approx(plain.awards[0].injection_mw, abs=1e-9)
    assert drawn.binding_margins == ()
    assert case_sha256(case) != case_sha256(zero)


def test_a_loading_margin_is_a_share_of_the_rating() -> None:
    network = library_network("case33bw")
    ratings = dataclasses.replace(network.lines, max_i_ka=np.full(len(network.lines.index), 0.1))
    case = make_case(
        dataclasses.replace(network, lines=ratings),
        [generation("pv", PV_BUS, 3.0, 0.0)],
        line_loading_percent_max=100.0,
    )
    # the lines next to the substation feed the loads and cannot be relieved that far
    case = dataclasses.replace(
        case, load_p_mw=0.1 * case.load_p_mw, load_q_mvar=0.1 * case.load_q_mvar
    )
    margins = no_margins(case.network, 1)
    margins.line_loading_percent[:] = 12.5
    full, drawn = clear_case(case), clear_case(dataclasses.replace(case, margins=margins))
    loading = [max(flow.loading_percent[0] for flow in r.grid.branches) for r in (full, drawn)]
    assert loading == pytest.approx([100.0, 87.5], abs=1e-3)
    assert {round(each.margin, 9) for each in drawn.binding_margins} == {12.5}


def test_what_a_margin_cannot_hold_is_slack_against_what_is_left() -> None:
    """Nobody can lift case33bw's far end above 0.95 pu: short of what is left, and said so."""
    case = make_case(library_network("case33bw"), [], vm_pu_min=0.90)
    margins = no_margins(case.network, 1)
    margins.vm_pu_lower[case.network.buses.index == PV_BUS] = 0.05
    result = clear_case(dataclasses.replace(case, margins=margins))
    assert result.status == "certified_with_slack"
    (short,) = result.violations
    assert (short.element, short.limit) == (PV_BUS, pytest.approx(0.95))


@pytest.mark.parametrize("formulation", ["lindistflow", "branch_flow_soc"])
def test_approximations_keep_the_drawn_in_limit(formulation: Formulation) -> None:
    case = dataclasses.replace(case33_with_pv(periods=1), formulation=formulation)
    lower = dataclasses.replace(case33_with_pv(1.04, periods=1), formulation=formulation)
    margins = no_margins(case.network, 1)
    margins.vm_pu_upper[:] = 0.01
    award = [
        clear_case(each).awards[0].injection_mw[0, 0]
        for each in (dataclasses.replace(case, margins=margins), lower)
    ]
    assert award[0] == pytest.approx(award[1], abs=1e-4)


def test_buses_of_one_node_share_the_strictest_of_what_is_left() -> None:
    """Two buses behind a closed switch: the tighter limit, unless the other's margin is larger."""
    network = library_network("case33bw")
    linked = dataclasses.replace(
        network,
        lines=dataclasses.replace(network.lines, in_service=network.lines.to_bus != PV_BUS),
        bus_links=((16, PV_BUS),),
    )
    case = make_case(linked, [], periods=3, vm_pu_max=1.05)
    limit = case.limits.vm_pu_max.copy()
    limit[PV_BUS] = 1.06
    margins = no_margins(linked, 3)
    margins.vm_pu_upper[PV_BUS] = (0.0, 0.005, 0.03)
    case = dataclasses.replace(
        case, limits=dataclasses.replace(case.limits, vm_pu_max=limit), margins=margins
    )
    grid = build_grid(linked)
    limits = with_margins(list_limits(case, grid), case, grid)
    shared = [k for k, e in enumerate(limits.element) if e == 16 and limits.side[k] == "upper"]
    assert limits.bound(3)[shared[0]] == pytest.approx([1.05, 1.05, 1.03])


def scenarios(case: ClearingCase, count: int, spread: float) -> NDArray[np.complex128]:
    """Loads that are all larger or smaller together, and each by itself."""
    draw = np.random.default_rng(5)
    shape = (count, len(case.network.buses.index), len(case.periods))
    own = bus_injections(case)[None, :, :]
    common = draw.standard_normal((count, 1, shape[2]))
    return np.asarray(own * spread * (0.8 * common + 0.6 * draw.standard_normal(shape)))


@pytest.fixture(scope="module")
def uncertain() -> tuple[ClearingCase, NDArray[np.complex128]]:
    case = case33_with_pv()
    return case, scenarios(case, 200, 0.15)


def test_one_linear_step_is_near_the_power_flow(
    uncertain: tuple[ClearingCase, NDArray[np.complex128]],
) -> None:
    """The error is second order: with a tenth of the step a hundredth of it."""
    case, deviation = uncertain
    expected = expected_grid(case)
    solver, grid = NodalSolver(expected.grid), expected.grid
    errors = []
    for share in (1.0, 0.1):
        worst = 0.0
        for period, values in enumerate(scenario_values(expected, share * deviation)):
            by_bus = bus_injections(case)[:, [period]] + share * deviation[:, :, period].T
            exact = limit_values(
                expected.limits, solve_state(solver, node_injections(grid, by_bus))
            )
            worst = max(worst, float(np.abs(values - exact).max()))
        errors.append(worst)
    assert errors[0] < 0.05
    assert errors[1] < 0.02 * errors[0]


def test_margins_are_quantiles_of_what_an_independent_power_flow_finds(
    uncertain: tuple[ClearingCase, NDArray[np.complex128]],
) -> None:
    case, deviation = uncertain
    levels = (0.6, 0.9)
    margins = security_margins(case, (deviation,), levels)
    injection = bus_injections(case)
    vm = np.array(
        [
            replay_violations(
                case.network, case.limits, PERIODS, (injection + each).real, (injection + each).imag
            ).vm_pu
            for each in deviation
        ]
    )
    nominal = replay_violations(
        case.network, case.limits, PERIODS, injection.real, injection.imag
    ).vm_pu
    for level, found in zip(levels, margins, strict=True):
        upper = np.maximum(np.quantile(vm - nominal, level, axis=0), 0.0)
        lower = np.maximum(np.quantile(nominal - vm, level, axis=0), 0.0)
        away = case.network.buses.index != case.network.slack_bus
        assert found.vm_pu_upper[away] == pytest.approx(upper[away], abs=6e-4)
        assert found.vm_pu_lower[away] == pytest.approx(lower[away], abs=6e-4)
    assert lower.max() > 0.01


def test_margins_grow_with_the_quantile_and_never_eat_a_limit(
    uncertain: tuple[ClearingCase, NDArray[np.complex128]],
) -> None:
    case, deviation = uncertain
    found = security_margins(case, (20.0 * deviation,), (0.6, 0.8, 0.95))
    for field in dataclasses.fields(LimitMargins):
        tables = [getattr(each, field.name) for each in found]
        assert all((b >= a).all() for a, b in itertools.pairwise(tables))
        assert (tables[0] >= 0.0).all()
    left = case.limits.vm_pu_max[:, None] - found[-1].vm_pu_upper
    assert (left > case.limits.vm_pu_min[:, None] + found[-1].vm_pu_lower).all()


def test_the_outlook_counts_scenarios_and_states_the_mw(
    uncertain: tuple[ClearingCase, NDArray[np.complex128]],
) -> None:
    """The MW needed, injected at the best bus, bring the limit back to where it holds."""
    case, deviation = uncertain
    case = dataclasses.replace(
        case, limits=dataclasses.replace(case.limits, vm_pu_min=np.full(33, 0.915))
    )
    outlook = congestion_outlook(case, deviation)
    expected = expected_grid(case)
    values = np.stack(list(scenario_values(expected, deviation)), axis=2)
    broken = values > expected.limits.maximum[:, None, None]
    assert outlook.probability == pytest.approx(broken.mean(axis=1))
    k = int(np.argmax(outlook.probability[:, 0]))
    assert (outlook.element_kind[k], outlook.side[k]) == ("bus", "lower")
    assert 0.05 < outlook.probability[k, 0] < 0.95
    single = deviation[[int(np.argmax(values[k, :, 0]))]]
    need = congestion_outlook(case, single).need_mw_mean[k, 0]
    row = int(np.flatnonzero(case.network.buses.index == outlook.element[k])[0])
    relieved = single.copy()
    relieved[0, row, 0] += need
    after = next(scenario_values(expected, relieved))[k, 0]
    before = next(scenario_values(expected, single))[k, 0]
    maximum = expected.limits.maximum[k]
    assert before - maximum > 1e-3
    assert abs(after - maximum) < 0.02 * (before - maximum)
