"""Security margins on 30 SimBench days: limits broken by what really happened, against their cost.

Each day of 1-MV-rural--2-sw is forecast from readings before the day-ahead gate and cleared without
margins and with margins at five quantiles. The day is then replayed in power-grid-model with the
recorded loads and generation, and devices that do as they were told: a generator feeds in at most
what it sold and at most what there is, storages run as scheduled, a load takes what it bought as
far as it wants it. No intraday round mends anything: this is the day-ahead schedule alone.

Run by `make bench-margins`; what is cleared is kept in out/bench-margins, so a run goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.document import replace_section
from benchmarks.machine import describe_machine, engine_sha256
from data.canonical import pretty_json, write_atomically
from data.records.clearing import ClearingCase, ClearingResult
from data.records.forecast import Forecast
from data.study import canonical_case
from dispatch.setpoints import setpoints_from_position
from dispatch.simulated_fleet import FleetBehaviour, simulate_fleet
from dso.config import load_feeder, load_market
from dso.cycles.case import Book, expected_profiles, make_case
from dso.cycles.grid_replay import (
    LOADING_TOLERANCE_PERCENT,
    VOLTAGE_TOLERANCE_PU,
    AssetPower,
    replay,
)
from dso.cycles.plan import DayPlan, plan_day
from dso.cycles.stage_dispatch import truth_of_assets
from dso.cycles.stage_forecast import make_day_ahead_forecast
from dso.cycles.uncertainty import margins_of_case
from dso.report.figures import Figure
from flexibility.offers import make_orders
from opf.clearing import clear_case
from opf.replay import ReplayReport

Floats = NDArray[np.float64]
FEEDER: Final = "1-MV-rural--2-sw"
SECTION: Final = "Security margins"
QUANTILES: Final = (None, 0.6, 0.7, 0.8, 0.9, 0.95)
FIRST: Final = date(2016, 1, 16)
STEP_DAYS: Final = 11
DAYS: Final = tuple(FIRST + timedelta(days=STEP_DAYS * k) for k in range(30))
KEPT: Final = Path("out/bench-margins")
OBEDIENT: Final = FleetBehaviour(
    generation_error=0.0,
    demand_error=0.0,
    storage_error=0.0,
    ramp_share_per_period=1.0,
    late_share=0.0,
    dead_band_share=0.0,
    dead_band=0.0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One day cleared with one quantile (None: no margins), and what really happened.

    ``broken`` counts period-elements beyond their own limit, of ``limits`` in all; ``depth_pu`` and
    ``depth_percent`` are the worst excess of voltages and loadings.
    """

    day: str
    quantile: float | None
    status: str
    cost_eur: float
    penalty_eur: float
    short: int
    broken: int
    broken_upper: int
    broken_lower: int
    broken_loading: int
    broken_periods: int
    limits: int
    depth_pu: float
    depth_percent: float
    seconds: float


def plan_of(day: date) -> DayPlan:
    """Plan a day as `dso day` does; nothing is written."""
    feeder = load_feeder(FEEDER, day)
    rules = load_market(feeder.market, day)
    return plan_day(day=day, out=KEPT / "nothing", feeder=feeder, rules=rules)


def day_ahead_case(plan: DayPlan, forecast: Forecast) -> ClearingCase:
    """Make the day-ahead clearing from a forecast, without margins."""
    gate = plan.day_ahead_gate
    orders = make_orders(
        network=plan.network,
        forecast=forecast,
        periods=plan.periods,
        policy=plan.feeder.offers,
        submitted_at=gate,
    )
    case = make_case(
        plan,
        name=f"{FEEDER} {plan.delivery.day}",
        periods=plan.periods,
        profiles=expected_profiles(plan, forecast, gate),
        book=Book(orders=orders),
    )
    return canonical_case(case)


def replay_actuals(plan: DayPlan, case: ClearingCase, result: ClearingResult) -> ReplayReport:
    """Replay what really happened under the awards of a clearing."""
    setpoints = setpoints_from_position(
        orders=case.orders,
        position_mw=np.array([award.injection_mw[0] for award in result.awards]),
        position_mvar=np.array([award.injection_mvar[0] for award in result.awards]),
        periods=case.periods,
    )
    deliveries = simulate_fleet(
        setpoints=setpoints,
        orders=case.orders,
        recorded_mw=truth_of_assets(plan),
        day=plan.delivery.day,
        behaviour=OBEDIENT,
    )
    done = [
        AssetPower(
            asset=each.asset,
            bus=each.bus,
            injection_mw=each.injection_mw,
            injection_mvar=each.injection_mvar,
        )
        for each in deliveries
    ]
    return replay(plan.network, plan.limits, plan.recorded.during(plan.periods), done)


def cases_of(plan: DayPlan, forecast: Forecast) -> Iterator[tuple[float | None, ClearingCase]]:
    """Yield the day's clearing without margins, then with those of each quantile."""
    case = day_ahead_case(plan, forecast)
    yield None, case
    levels = [level for level in QUANTILES if level is not None]
    margins = margins_of_case(plan, case, forecast, plan.day_ahead_gate, levels)
    for level, found in zip(levels, margins, strict=True):
        yield level, canonical_case(dataclasses.replace(case, margins=found))


def measure(
    plan: DayPlan, case: ClearingCase, quantile: float | None, start: ClearingResult | None
) -> tuple[Outcome, ClearingResult]:
    """Clear a case of a day, replay what happened, count what broke.

    A schedule that keeps the drawn-in limits already is still the best one, for drawing in takes
    schedules away and adds none: ``start``, of a smaller quantile, is then not cleared again.
    """
    begin = time.perf_counter()
    if start is not None and start.status == "certified" and _keeps(case, start):
        result = start
    else:
        result = clear_case(case, start=start)
    report = replay_actuals(plan, case, result)
    excess = [
        (v, abs(v.value - v.limit), v.element_kind == "bus")
        for v in report.violations
        if abs(v.value - v.limit)
        > (VOLTAGE_TOLERANCE_PU if v.element_kind == "bus" else LOADING_TOLERANCE_PERCENT)
    ]
    network = plan.network
    elements = int(network.buses.in_service.sum()) - 1
    elements += int(network.lines.in_service.sum()) + int(network.trafos.in_service.sum())
    outcome = Outcome(
        day=plan.delivery.day.isoformat(),
        quantile=quantile,
        status=result.status,
        cost_eur=result.objective_eur,
        penalty_eur=result.penalty_eur,
        short=len(result.violations),
        broken=len({(v.element_kind, v.element, v.period) for v, _, _ in excess}),
        broken_upper=sum(1 for v, _, bus in excess if bus and v.side == "upper"),
        broken_lower=sum(1 for v, _, bus in excess if bus and v.side == "lower"),
        broken_loading=sum(1 for _, _, bus in excess if not bus),
        broken_periods=len({v.period for v, _, _ in excess}),
        limits=elements * len(plan.periods),
        depth_pu=max((over for _, over, bus in excess if bus), default=0.0),
        depth_percent=max((over for _, over, bus in excess if not bus), default=0.0),
        seconds=time.perf_counter() - begin,
    )
    return outcome, result


def _keeps(case: ClearingCase, result: ClearingResult) -> bool:
    """Tell whether a schedule lies within the drawn-in limits of a case."""
    if case.margins is None:
        return False
    margins, limits, network = case.margins, case.limits, case.network
    away = network.buses.in_service & (network.buses.index != network.slack_bus)
    vm_pu = result.grid.vm_pu[away]
    low = (limits.vm_pu_min[:, None] + margins.vm_pu_lower)[away]
    high = (limits.vm_pu_max[:, None] - margins.vm_pu_upper)[away]
    rows = {
        "line": {int(index): row for row, index in enumerate(network.lines.index)},
        "trafo": {int(index): row for row, index in enumerate(network.trafos.index)},
    }
    most = {
        "line": limits.line_loading_percent_max[:, None] - margins.line_loading_percent,
        "trafo": limits.trafo_loading_percent_max[:, None] - margins.trafo_loading_percent,
    }
    loaded = all(
        (
            flow.loading_percent <= most[flow.element_kind][rows[flow.element_kind][flow.element]]
        ).all()
        for flow in result.grid.branches
    )
    return loaded and bool(((vm_pu >= low) & (vm_pu <= high)).all())


def outcomes(days: Sequence[date], *, again: bool) -> Iterator[Outcome]:
    """Yield every day with every quantile; what was kept by an earlier run is not cleared again."""
    mark = engine_sha256()[:12]
    for day in days:
        places = {level: KEPT / f"{day}_{level or 'off'}.json" for level in QUANTILES}
        if all(place.exists() for place in places.values()) and not again:
            for place in places.values():
                yield Outcome(**json.loads(place.read_text(encoding="utf-8"))["outcome"])
            continue
        last: ClearingResult | None = None
        plan = plan_of(day)
        for quantile, case in cases_of(plan, make_day_ahead_forecast(plan)):
            place = places[quantile]
            found, last = measure(plan, case, quantile, last)
            kept: dict[str, Any] = {"engine": mark, "outcome": dataclasses.asdict(found)}
            write_atomically(place, pretty_json(kept))
            sys.stderr.write(
                f"{day} {quantile or 'off'}: {found.status}, {found.broken} broken, "
                f"{found.cost_eur:.2f} EUR, {found.seconds:.1f} s\n"
            )
            yield found


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """All days at one quantile; ``share_percent`` is of all period-elements."""

    quantile: float | None
    days: int
    share_percent: float
    broken: int
    upper: int
    lower: int
    loading: int
    days_broken: int
    depth_pu: float
    depth_percent: float
    lost_eur: float
    lost_eur_max: float
    with_slack: int
    not_certified: int


def sum_up(found: Sequence[Outcome]) -> tuple[Row, ...]:
    """Add up the days that every quantile has cleared."""
    by_key = {(one.day, one.quantile): one for one in found}
    days = sorted({one.day for one in found})
    days = [day for day in days if all((day, level) in by_key for level in QUANTILES)]
    rows = []
    for level in QUANTILES:
        of_level = [by_key[day, level] for day in days]
        lost = [one.cost_eur - by_key[one.day, None].cost_eur for one in of_level]
        rows.append(
            Row(
                quantile=level,
                days=len(days),
                share_percent=100.0
                * sum(one.broken for one in of_level)
                / max(sum(one.limits for one in of_level), 1),
                broken=sum(one.broken for one in of_level),
                upper=sum(one.broken_upper for one in of_level),
                lower=sum(one.broken_lower for one in of_level),
                loading=sum(one.broken_loading for one in of_level),
                days_broken=sum(1 for one in of_level if one.broken),
                depth_pu=max((one.depth_pu for one in of_level), default=0.0),
                depth_percent=max((one.depth_percent for one in of_level), default=0.0),
                lost_eur=sum(lost),
                lost_eur_max=max(lost, default=0.0),
                with_slack=sum(1 for one in of_level if one.status == "certified_with_slack"),
                not_certified=sum(
                    1 for one in of_level if one.status in ("uncertified", "infeasible")
                ),
            )
        )
    return tuple(rows)


def _level(row: Row) -> str:
    return "off" if row.quantile is None else f"{row.quantile:g}"


def describe(rows: Sequence[Row], found: Sequence[Outcome]) -> str:
    """Return the section of docs/benchmarks.md."""
    head = (
        "| quantile | period-elements over their limit | share | of these upper voltage / lower "
        "voltage / loading | days with any | deepest: voltage, loading | welfare lost, all days "
        "[EUR] | worst day [EUR] | certified / with slack / not |"
    )
    words = (
        (
            f"`make bench-margins`: {rows[0].days} of {len(DAYS)} days of {FEEDER}, every "
            f"{STEP_DAYS}th from {FIRST}, each forecast from readings before its day-ahead gate "
            "and cleared day-ahead alone; the recorded day replayed in power-grid-model with "
            "generators that keep their setpoints.\n"
        ),
        (
            f"- Taken {datetime.now(UTC):%Y-%m-%d}, engine source `{engine_sha256()[:12]}` "
            "(SHA-256 over what `opf.clearing` imports in `opf`)."
        ),
        f"- {describe_machine()}.",
        (
            f"- {found[0].limits:,} period-elements a day (voltages of buses, ratings of lines and "
            f"transformers); over by more than {VOLTAGE_TOLERANCE_PU:g} pu or "
            f"{LOADING_TOLERANCE_PERCENT:g} % counts."
        ),
        (
            "- Welfare lost: objective of the day-ahead clearing less that without margins. The "
            "stop tolerance of a clearing is worth some 0.01 EUR a day."
        ),
        f"- A clearing took {np.median([one.seconds for one in found]):.1f} s (median).\n",
    )
    table = [head, "|" + "---|" * (head.count("|") - 1)]
    for row in rows:
        sound = row.days - row.with_slack - row.not_certified
        table.append(
            f"| {_level(row)} | {row.broken:,} | {row.share_percent:.4f} % | "
            f"{row.upper} / {row.lower} / {row.loading} | {row.days_broken} | "
            f"{row.depth_pu:.4f} pu, {row.depth_percent:.1f} % | {row.lost_eur + 0.0:.2f} | "
            f"{row.lost_eur_max:.2f} | {sound} / {row.with_slack} / {row.not_certified} |"
        )
    return "\n".join(
        [*words, *table, "", "![What margins buy and cost](pictures/margins-light.png)"]
    )


def render(rows: Sequence[Row]) -> bytes:
    """Render the page with the two plots."""
    from dso.report.page import Tile
    from dso.studies.planner_page import PlannerPage, render_planner

    most, least = rows[0], rows[-1]
    return render_planner(
        PlannerPage(
            kind="Security margins",
            command="make bench-margins",
            title=f"Security margins on {rows[0].days} days of {FEEDER}",
            where="day-ahead schedules on forecasts from before the gate, replayed as it went",
            tone="good",
            verdict=f"From no margins to the quantile {_level(least)}: {most.broken:,} to "
            f"{least.broken:,} period-elements over their limit",
            explanation="Limits are drawn in by a quantile of what joint scenarios do to them; "
            "the price is paid by those who are moved although nothing would have happened.",
            tiles=(
                Tile(label="Without margins", value=f"{most.share_percent:.3f}", unit="%",
                     note="of period-elements over their limit"),
                Tile(label=f"Quantile {_level(least)}", value=f"{least.share_percent:.3f}",
                     unit="%", note="of period-elements over their limit"),
                Tile(label="Welfare lost", value=f"{least.lost_eur / max(least.days, 1):.2f}",
                     unit="EUR a day", note=f"at the quantile {_level(least)}, mean"),
            ),
            map=None,
            figures=(_share_figure(rows), _trade_figure(rows)),
            tables=(),
            simbench=True,
        )
    )  # fmt: skip


def _share_figure(rows: Sequence[Row]) -> Figure:
    levels = [_level(row) for row in rows]
    total = [row.share_percent / max(row.broken, 1) for row in rows]
    kinds = (
        ("Upper voltage", "@series2", [row.upper for row in rows]),
        ("Lower voltage", "@series4", [row.lower for row in rows]),
        ("Loading", "@series1", [row.loading for row in rows]),
    )
    return Figure(
        name="share",
        title="Limits broken by what really happened, by the quantile of the margin",
        label="Stacked bars: share of period-elements over their limit for each quantile.",
        reading="Bars: share of period-elements over their own limit in the AC replay of the "
        "recorded day, by kind.",
        source="docs/benchmarks.md",
        height_px=320,
        traces=[
            {
                "type": "bar", "name": name, "x": levels,
                "y": [round(count * each, 6) for count, each in zip(counts, total, strict=True)],
                "marker": {"color": colour},
                "hovertemplate": "%{y:.4f} %",
            }
            for name, colour, counts in kinds
        ],
        layout=_frame("quantile of the margin", "% of period-elements", category=True)
        | {"barmode": "stack", "hovermode": "x unified"},
    )  # fmt: skip


def _trade_figure(rows: Sequence[Row]) -> Figure:
    return Figure(
        name="trade",
        title="What a margin costs, and what it buys",
        label="Share of period-elements over their limit against welfare lost a day.",
        reading="Each point is a quantile: to the right the welfare lost by drawing limits in, "
        "upwards what still breaks.",
        source="docs/benchmarks.md",
        height_px=360,
        traces=[
            {
                "type": "scatter", "mode": "lines+markers+text", "name": "quantile",
                "x": [round(row.lost_eur / max(row.days, 1), 5) for row in rows],
                "y": [round(row.share_percent, 6) for row in rows],
                "text": [_level(row) for row in rows],
                "textposition": "top right",
                "textfont": {"color": "@ink"},
                "line": {"color": "@series1", "width": 2},
                "marker": {"size": 9},
                "hovertemplate": "%{text}: %{x:.3f} EUR a day, %{y:.4f} %<extra></extra>",
            }
        ],
        layout=_frame("welfare lost, EUR a day", "% of period-elements over their limit")
        | {"showlegend": False, "hovermode": "closest"},
    )  # fmt: skip


def _frame(x_title: str, y_title: str, *, category: bool = False) -> dict[str, object]:
    small = {"size": 12}
    return {
        "xaxis": {
            "title": {"text": x_title, "standoff": 6, "font": small}, "gridcolor": "@grid",
            "zerolinecolor": "@grid", "fixedrange": True,
            "type": "category" if category else "linear",
        },
        "yaxis": {
            "title": {"text": y_title, "standoff": 6, "font": small}, "gridcolor": "@grid",
            "zerolinecolor": "@grid", "fixedrange": True, "rangemode": "tozero",
        },
        "margin": {"l": 70, "r": 40, "t": 12, "b": 56},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "showlegend": True,
    }  # fmt: skip


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=len(DAYS), help="the first so many days")
    parser.add_argument("--again", action="store_true", help="also what an earlier run cleared")
    arguments = parser.parse_args()
    found = list(outcomes(DAYS[: arguments.days], again=arguments.again))
    rows = sum_up(found)
    text = describe(rows, found)
    sys.stdout.write(text + "\n")
    write_atomically(KEPT / "index.html", render(rows))
    if arguments.days == len(DAYS):
        replace_section(SECTION, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
