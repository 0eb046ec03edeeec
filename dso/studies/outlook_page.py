"""The page of the congestion outlook: a map of risk, a heat map over the day, a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from data.periods import Periods
from data.records.forecast import Forecast
from dso.cycles.outlook_files import limits_at_risk
from dso.cycles.plan import DayPlan
from dso.cycles.uncertainty import SCENARIOS
from dso.report.colours import SEQUENTIAL, Scale
from dso.report.forecast_figures import outlook_map
from dso.report.numbers import fixed
from dso.report.page import Tile
from dso.report.views import FeederView, OutlookView
from dso.show.feeder import view_feeder
from dso.studies.planner_page import (
    IDLE,
    OPEN,
    PlannerMap,
    PlannerPage,
    PlannerTable,
    place_feeder,
    render_planner,
)
from opf.problems.outlook import CongestionOutlook

SIDE_WORDS = {"upper": "too high", "lower": "too low"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlookHorizon:
    """The periods of a day on the market's clock, for the plots."""

    periods: Periods
    timezone: str

    def local_starts(self) -> tuple[datetime, ...]:
        """Start of each period on the market's clock."""
        zone = ZoneInfo(self.timezone)
        return tuple(start.astimezone(zone) for start in self.periods.starts)


def render_outlook(plan: DayPlan, forecast: Forecast, outlook: CongestionOutlook | None) -> bytes:
    """Render the page; same outlook, same bytes."""
    network = plan.network
    feeder = view_feeder(network, plan.limits)
    listed = [] if outlook is None else limits_at_risk(outlook, network, plan.periods.mtu_h)
    view = None if outlook is None or not listed else _view(outlook, listed, feeder)
    horizon = OutlookHorizon(periods=plan.periods, timezone=plan.delivery.timezone)
    likeliest = 0.0 if view is None else float(view.probability.max())
    tone, verdict = "good", "No scenario breaks a limit"
    if outlook is None:
        tone, verdict = "bad", "No outlook: the expected powers have no AC power flow"
    elif view is not None:
        verdict = (
            f"{len(listed)} limits may break, the likeliest in {fixed(100 * likeliest, 0)} % "
            "of the scenarios"
        )
        tone = "warn" if likeliest < 0.5 else "bad"
    return render_planner(
        PlannerPage(
            kind="Congestion outlook",
            command="dso outlook",
            title=f"Congestion outlook for {plan.delivery.day} on {plan.feeder.name}",
            where=f"{network.name} · {int(network.buses.in_service.sum())} buses · "
            f"{len(plan.periods)} periods of {plan.delivery.mtu_minutes} min · known at "
            f"{plan.day_ahead_gate:%Y-%m-%d %H:%M} UTC · {forecast.model_id}",
            tone="bad" if tone == "bad" else "warn" if tone == "warn" else "good",
            verdict=verdict,
            explanation="What loads and generators would do to the grid if nobody were moved: "
            f"{SCENARIOS} joint scenarios with the forecast's own quantiles and the dependence of "
            "past days, each through the linearised AC power flow.",
            tiles=_tiles(view, plan),
            map=None if view is None else _map(outlook, feeder),
            figures=() if view is None else (outlook_map(horizon, view, source="outlook.csv"),),
            tables=() if view is None else (_table(listed, view, plan),),
            simbench="simbench" in network.name,
        )
    )


def _view(
    outlook: CongestionOutlook, listed: list[dict[str, object]], feeder: FeederView
) -> OutlookView:
    row_of = {
        (kind, int(element), side): row
        for row, (kind, element, side) in enumerate(
            zip(outlook.element_kind, outlook.element, outlook.side, strict=True)
        )
    }
    rows = [
        row_of[str(each["element_kind"]), int(str(each["element"])), str(each["side"])]
        for each in listed
    ]
    names = []
    for each in listed:
        kind, element, side = str(each["element_kind"]), int(str(each["element"])), each["side"]
        words = SIDE_WORDS.get(str(side), "")
        names.append(f"{feeder.name_of(kind, element)}{', ' if words else ''}{words}")
    return OutlookView(
        elements=tuple(names),
        scenarios=SCENARIOS,
        probability=outlook.probability[rows],
        need_mw_mean=outlook.need_mw_mean[rows],
        need_mw_q90=outlook.need_mw_q90[rows],
    )


def _tiles(view: OutlookView | None, plan: DayPlan) -> tuple[Tile, ...]:
    if view is None:
        return (Tile(label="Limits at risk", value="0", unit="", note="in no scenario"),)
    worst = np.unravel_index(int(np.argmax(view.probability)), view.probability.shape)
    zone = ZoneInfo(plan.delivery.timezone)
    when = plan.periods.starts[int(worst[1])].astimezone(zone)
    need = float(view.need_mw_q90.max())
    at_risk = int((view.probability > 0.0).any(axis=0).sum())
    return (
        Tile(label="Likeliest limit", value=fixed(100 * float(view.probability.max()), 0), unit="%",
             note=f"{view.elements[int(worst[0])]}, {when:%H:%M} {when:%Z}"),
        Tile(label="Limits at risk", value=str(len(view.elements)), unit="",
             note=f"break in at least one of {view.scenarios} scenarios"),
        Tile(label="Periods at risk", value=str(at_risk), unit=f"of {len(plan.periods)}",
             note="with at least one limit broken in a scenario"),
        Tile(label="MW needed", value=fixed(need, 2), unit="MW",
             note="enough in 9 of 10 scenarios, at the best bus, worst limit and period"),
    )  # fmt: skip


def _map(outlook: CongestionOutlook | None, feeder: FeederView) -> PlannerMap:
    assert outlook is not None
    highest: dict[tuple[str, int], float] = {}
    for kind, element, share in zip(
        outlook.element_kind, outlook.element, outlook.probability.max(axis=1), strict=True
    ):
        key = (kind, int(element))
        highest[key] = max(highest.get(key, 0.0), float(share))
    values = np.array([100.0 * highest.get(("bus", bus), 0.0) for bus in feeder.bus.tolist()])
    scale = Scale(
        low=0.0, high=max(10.0 * np.ceil(values.max() / 10.0), 10.0), unit="%", digits=0,
        stops=SEQUENTIAL,
    )  # fmt: skip
    strokes, tips = [], []
    for place, key in enumerate(zip(feeder.branch_kind, feeder.branch_element, strict=True)):
        share = highest.get(key, 0.0)
        on = bool(feeder.branch_in_service[place])
        strokes.append(OPEN if not on else "beyond" if share > 0.0 else IDLE)
        tips.append(f"{feeder.branch_name[place]}\nRating broken in {fixed(100 * share, 0)} %")
    return PlannerMap(
        title="Where it may break",
        label=f"Map of the feeder: {len(values)} buses coloured by the probability that their "
        "voltage limit breaks",
        view=place_feeder(feeder, values, scale),
        strokes=tuple(strokes),
        bus_tips=tuple(
            f"{name}\nVoltage limit broken in up to {fixed(float(value), 0)} %"
            for name, value in zip(feeder.bus_name, values, strict=True)
        ),
        branch_tips=tuple(tips),
        scale=scale,
        scale_words="Highest probability over the day that the voltage limit of the bus breaks",
        legend=(("beyond", "its rating may break"), (IDLE, "in service"), (OPEN, "open")),
        reading="Buses by the worst period of the day.",
        source="outlook.csv",
    )


def _table(listed: list[dict[str, object]], view: OutlookView, plan: DayPlan) -> PlannerTable:
    zone = ZoneInfo(plan.delivery.timezone)
    rows = []
    for row, each in enumerate(listed):
        when = plan.periods.starts[int(np.argmax(view.probability[row]))].astimezone(zone)
        rows.append(
            (
                view.elements[row],
                f"{100 * float(str(each['probability_max'])):.0f} %",
                f"{when:%H:%M}",
                f"{float(str(each['hours_expected'])):.2f} h",
                f"{float(str(each['need_mw_q90_max'])):.3f} MW",
                f"{float(str(each['need_mwh_mean'])):.3f} MWh",
            )
        )
    return PlannerTable(
        name="limits",
        title="Limits at risk",
        caption="Each limit that some scenario breaks, the likeliest first",
        head=(
            ("Limit", False), ("Highest probability", True), ("When", True),
            ("Hours expected", True), ("MW needed, 9 of 10", True), ("Energy needed, mean", True),
        ),
        rows=tuple(rows),
        source="outlook.json, outlook.csv",
    )  # fmt: skip
