"""What a forecast does not know, as joint scenarios of a feeder's injections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import write_atomically
from data.periods import Periods
from data.readers.simbench import NetworkProfiles
from data.records.clearing import ClearingCase, LimitMargins
from data.records.forecast import Forecast
from data.records.network import Elements
from data.records.order import GenerationOrder, Order
from dso.cycles.case import Book, expected_profiles, make_case
from dso.cycles.outlook_files import outlook_files
from dso.cycles.plan import DayPlan
from dso.cycles.recorded import TOTAL
from forecasting.scenarios import Scenarios, draw_scenarios, past_days
from opf.power_flow import PowerFlowDiverged
from opf.problems.outlook import CongestionOutlook, congestion_outlook
from opf.problems.security_margins import security_margins

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
SCENARIOS: Final = 100
TEMPLATE_DAYS_MAX: Final = 60
# Notes on the day-ahead margins, beside the forecast they rest on.
MARGINS_JSON: Final = "margins.json"


def joint_scenarios(plan: DayPlan, forecast: Forecast, gate: datetime) -> Scenarios:
    """Draw scenarios of all elements together: the forecast's quantiles, past days' dependence.

    Days known at the gate lend their ranks (the same class of day where there are ten); the seed is
    the delivery day, so one day has one set of scenarios.
    """
    own = [row for row, name in enumerate(forecast.series) if not name.startswith(TOTAL)]
    reading = plan.recorded.readings_until(gate)
    column = {name: place for place, name in enumerate(reading.series)}
    names = tuple(forecast.series[row] for row in own)
    template = past_days(reading, forecast.periods, TEMPLATE_DAYS_MAX, plan.delivery.timezone)
    capacity_mw = plan.recorded.expected.capacity_mw
    return draw_scenarios(
        Forecast(
            series=names,
            periods=forecast.periods,
            quantiles=forecast.quantiles,
            value_mw=forecast.value_mw[own],
            known_at=forecast.known_at,
            model_id=forecast.model_id,
        ),
        template[:, [column[name] for name in names]],
        SCENARIOS,
        plan.delivery.day.toordinal(),
        minimum_mw=0.0,
        maximum_mw=np.array([capacity_mw.get(name, np.inf) for name in names]),
    )


def injection_deviation(
    plan: DayPlan,
    scenarios: Scenarios,
    profiles: NetworkProfiles,
    gate: datetime,
    *,
    fixed: frozenset[str] = frozenset(),
    held: frozenset[str] = frozenset(),
) -> Complexes:
    """Return what each scenario injects beyond the expected profiles, by bus.

    Parameters
    ----------
    plan : DayPlan
        Grid and records.
    scenarios : Scenarios
        Powers of ``load:i`` and ``sgen:i`` [MW].
    profiles : NetworkProfiles
        What is expected of the same periods.
    gate : datetime
        Loads keep the reactive ratio known then, generators that of the network.
    fixed : frozenset of str
        Elements that do as expected in every scenario.
    held : frozenset of str
        Generators that may not exceed what they sold: their scenarios end at the expected power.

    Returns
    -------
    ndarray of complex, shape (scenarios, buses, periods)
        [MW + j Mvar], rows as the network's buses.
    """
    network = plan.network
    place = {name: row for row, name in enumerate(scenarios.series)}
    bus_row = {int(bus): row for row, bus in enumerate(network.buses.index)}
    count, _, periods = scenarios.value_mw.shape
    total = np.zeros((count, len(bus_row), periods), dtype=complex)
    for kind, sign, elements, p_mw, ratio in (
        ("load", -1.0, network.loads, profiles.load_p_mw,
         plan.recorded.reactive_ratio_until(gate)),
        ("sgen", 1.0, network.sgens, profiles.sgen_p_mw, _own_ratio(network.sgens)),
    ):  # fmt: skip
        for column, index in enumerate(elements.index):
            name = f"{kind}:{index}"
            if name in place and name not in fixed and elements.in_service[column]:
                beyond = scenarios.value_mw[:, place[name]] - p_mw[:, column]
                if name in held:
                    beyond = np.minimum(beyond, 0.0)
                total[:, bus_row[int(elements.bus[column])]] += (
                    sign * beyond * (1.0 + 1j * ratio[column])
                )
    return total


def held_assets(orders: tuple[Order, ...]) -> frozenset[str]:
    """Return the generators whose setpoint is what they sold: they never feed in more."""
    return frozenset(
        order.asset for order in orders if isinstance(order, GenerationOrder) and order.asset
    )


def write_expectation(plan: DayPlan, forecast: Forecast, folder: Path) -> None:
    """Write the congestion outlook of the day ahead (`outlook_of`)."""
    _, files = outlook_of(plan, forecast)
    for name, content in files.items():
        write_atomically(folder / name, content)


def outlook_of(
    plan: DayPlan, forecast: Forecast
) -> tuple[CongestionOutlook | None, dict[str, bytes]]:
    """Return the congestion outlook of a day at the day-ahead gate, and its files by name.

    Expected injections without an AC solution leave no outlook: a named fallback.
    """
    gate = plan.day_ahead_gate
    case = make_case(
        plan,
        name=f"{plan.feeder.id} {plan.delivery.day} without market",
        periods=plan.periods,
        profiles=expected_profiles(plan, forecast, gate),
        book=Book(orders=()),
    )
    scenarios = joint_scenarios(plan, forecast, gate)
    outlook, fallbacks = None, []
    try:
        deviation = injection_deviation(plan, scenarios, profiles_of(case), gate)
        outlook = congestion_outlook(case, deviation)
    except PowerFlowDiverged as error:
        fallbacks.append(f"no outlook: {error}")
    return outlook, outlook_files(
        outlook,
        plan.network,
        plan.periods,
        known_at=gate,
        model_id=scenarios.model_id,
        scenarios=len(scenarios.value_mw),
        fallbacks=fallbacks,
    )


def secured_case(
    plan: DayPlan, case: ClearingCase, forecast: Forecast, gate: datetime
) -> tuple[ClearingCase, dict[str, Any]]:
    """Draw the limits of a clearing in as the rule set asks, and say how; unchanged by default.

    Returns
    -------
    (ClearingCase, dict)
        The case, and what to note of its margins: nothing where the rules ask for none.
    """
    quantile = plan.rules.margin_quantile
    if quantile is None:
        return case, {}
    notes: dict[str, Any] = {"margin_quantile": quantile, "fallbacks": []}
    try:
        (margins,) = margins_of_case(plan, case, forecast, gate, (quantile,))
    except PowerFlowDiverged as error:
        return case, notes | {"fallbacks": [f"no security margins: {error}"]}
    return replace(case, margins=margins), notes


def margins_of_case(
    plan: DayPlan,
    case: ClearingCase,
    forecast: Forecast,
    gate: datetime,
    quantiles: Sequence[float],
) -> tuple[LimitMargins, ...]:
    """Return the security margins of a clearing at each quantile of its joint scenarios.

    Generators keep their setpoints, so none feeds in more than it sold; but what a plant lacks
    relieves a limit only where it is not curtailed already, which the clearing decides. The margin
    of a limit is therefore the larger one of two: with the shortfalls, and without them.
    """
    scenarios = joint_scenarios(plan, _during(forecast, case.periods), gate)
    profiles, held = profiles_of(case), held_assets(case.orders)
    deviations = (
        injection_deviation(plan, scenarios, profiles, gate, held=held),
        injection_deviation(plan, scenarios, profiles, gate, fixed=held),
    )
    return security_margins(case, deviations, quantiles)


def profiles_of(case: ClearingCase) -> NetworkProfiles:
    """Return the expected powers of a case."""
    return NetworkProfiles(
        load_p_mw=case.load_p_mw,
        load_q_mvar=case.load_q_mvar,
        sgen_p_mw=case.sgen_p_mw,
        sgen_q_mvar=case.sgen_q_mvar,
    )


def _during(forecast: Forecast, periods: Periods) -> Forecast:
    """A forecast made for these periods is what is asked for; another is a fault of the caller."""
    if forecast.periods != periods:
        raise ValueError("the forecast is of other periods than the case")
    return forecast


def _own_ratio(elements: Elements) -> Floats:
    p_mw: Floats = elements.p_mw
    return np.divide(elements.q_mvar, p_mw, out=np.zeros_like(p_mw), where=p_mw != 0.0)
