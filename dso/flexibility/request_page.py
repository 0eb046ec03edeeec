"""The page of requests: what each congestion point needs and where it has room, over the day."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.records.clearing import ClearingCase
from dso.flexibility.page import PurchaseHorizon, in_unit
from dso.flexibility.request import Requested
from dso.report.figures import Figure
from dso.report.page import Tile
from dso.report.plot_parts import Trace, layout, middles, rounded, step_line
from dso.studies.planner_page import PlannerPage, PlannerTable, render_planner
from flexibility.procurement.records import CongestionPoint, FlexRequest


def render_request(
    asked: Requested, case: ClearingCase, points: Sequence[CongestionPoint]
) -> bytes:
    """Render the page; same requests, same bytes."""
    network, periods = case.network, case.periods
    name = {point.id: point.name or point.id for point in points}
    asking = [request for request in asked.requests if request.requested.any()]
    verdict = (
        f"{len(asking)} of {len(asked.requests)} congestion points ask for flexibility"
        if asking
        else "No congestion point asks for flexibility"
    )
    return render_planner(
        PlannerPage(
            kind="Flexibility request",
            command="dso flexibility request",
            title=f"Flexibility requested for {case.name}",
            where=f"{network.name} · {int(network.buses.in_service.sum())} buses · "
            f"{len(periods)} periods of {periods.mtu_minutes} min",
            tone="warn" if asking else "good",
            verdict=verdict,
            explanation="Requested: power that relieves the point's limits in 9 of 10 scenarios, "
            "at its own buses. Available: room until the first limit of the whole grid is met at "
            "the expected powers.",
            tiles=tuple(_tile(request, name, periods.mtu_h) for request in asked.requests),
            map=None,
            figures=tuple(_figure(request, case, name) for request in asked.requests),
            tables=(_remarks(asked),),
            simbench="simbench" in network.name,
        )
    )


def _tile(request: FlexRequest, name: dict[str, str], mtu_h: float) -> Tile:
    power = np.where(request.requested, request.injection_mw_max + request.injection_mw_min, 0.0)
    worst = float(power[int(np.argmax(np.abs(power)))])
    unit = _unit(request)
    return Tile(
        label=name[request.congestion_point],
        value=in_unit(abs(worst), unit).partition(" ")[0],
        unit=unit,
        note=f"{'less' if worst < 0 else 'more'} injection at most, "
        f"{in_unit(float(np.abs(power).sum()) * mtu_h, unit)}h in "
        f"{int(request.requested.sum())} periods",
    )


def _unit(request: FlexRequest) -> str:
    """Return the unit a request is read in: kW where less than 0.1 MW is asked for."""
    asked = np.where(request.requested, request.injection_mw_max - request.injection_mw_min, 0.0)
    return "kW" if 0.0 < float(asked.max()) < 0.1 else "MW"


def _figure(request: FlexRequest, case: ClearingCase, name: dict[str, str]) -> Figure:
    day = PurchaseHorizon(periods=case.periods, timezone=case.timezone)
    need = np.where(request.requested, request.injection_mw_max + request.injection_mw_min, np.nan)
    room, unit = ~request.requested, _unit(request)
    shown, digits = (1e3, 2) if unit == "kW" else (1.0, 3)
    more = shown * np.where(room, request.injection_mw_max, np.nan)
    less = shown * np.where(room, request.injection_mw_min, np.nan)
    traces: list[Trace] = [
        {
            "type": "bar", "name": "Requested", "x": middles(day), "y": rounded(shown * need, 6),
            "marker": {"color": "@broken", "line": {"width": 0}}, "width": 1.0,
            "hovertemplate": f"%{{y:.{digits}f}} {unit}",
        },
        step_line(day, more, "Room to inject more", "@series1", unit, digits),
        step_line(day, less, "Room to withdraw more", "@series3", unit, digits),
    ]  # fmt: skip
    return Figure(
        name=f"request-{request.message_id}",
        title=name[request.congestion_point],
        label=f"Need and room of {name[request.congestion_point]} over the day.",
        reading="Injection is up, withdrawal down. Bars are requested, lines the room in the other "
        "periods. Offers may ask for a rebound within the room.",
        source="need.csv",
        height_px=300,
        traces=traces,
        layout=layout(day, f"{unit}, + = injection") | {"bargap": 0},
    )


def _remarks(asked: Requested) -> PlannerTable:
    return PlannerTable(
        name="remarks",
        title="What the requests cannot say",
        caption="Needs that are not part of a request",
        head=(("Remark", False),),
        rows=tuple((remark,) for remark in asked.remarks),
        source="request_summary.json",
    )
