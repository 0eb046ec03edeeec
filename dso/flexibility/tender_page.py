"""The page of a tender: which bids win, and what they cover over the season."""

from __future__ import annotations

import numpy as np

from data.units import MICRO_PER_UNIT
from dso.flexibility.page import in_unit
from dso.flexibility.tender import Tender
from dso.report.figures import Figure
from dso.report.numbers import fixed
from dso.report.page import Tile
from dso.report.plot_parts import Trace, axis, rounded
from dso.studies.planner_page import PlannerPage, PlannerTable, render_planner


def render_tender(tender: Tender) -> bytes:
    """Render the page; same tender, same bytes."""
    result, need = tender.result, tender.need
    short = float(result.short_mw.max(initial=0.0))
    unit = _unit(tender)
    verdict = (
        f"{len(tender.winners)} of {len(tender.bids)} bids win and cover the need"
        if not short
        else f"{len(tender.winners)} of {len(tender.bids)} bids win; up to {in_unit(short, unit)} "
        "stay uncovered"
    )
    return render_planner(
        PlannerPage(
            kind="Tender for availability",
            command="dso flexibility tender",
            title="Availability contracts for a season",
            where=f"{len(need.starts)} rows that stand for {fixed(float(need.hours.sum()), 0)} h",
            tone="bad" if short else "good",
            verdict=verdict,
            explanation="Bids are taken whole at least cost: their fee for being ready, the calls "
            "expected at their utilisation price, and the price of what nobody covers.",
            tiles=(
                Tile(label="For being ready", value=fixed(result.fee_eur, 2), unit="EUR",
                     note="fees of the season"),
                Tile(label="Expected calls", value=fixed(result.utilisation_eur, 2), unit="EUR",
                     note=f"{in_unit(float(result.called_mwh.sum()), unit)}h"),
                Tile(label="Largest need", unit=unit,
                     value=in_unit(float(need.need_mw.max()), unit).partition(" ")[0],
                     note="capacity that must stand ready"),
                Tile(label="Not covered", value=in_unit(short, unit).partition(" ")[0], unit=unit,
                     tone="bad" if short else "good", note="worst row"),
            ),
            map=None,
            figures=(_cover(tender),),
            tables=(_bids(tender),),
            simbench=False,
        )
    )  # fmt: skip


def _unit(tender: Tender) -> str:
    """Return the unit a tender is read in: kW where less than 0.1 MW is needed."""
    return "kW" if float(tender.need.need_mw.max()) < 0.1 else "MW"


def _cover(tender: Tender) -> Figure:
    """Draw need and cover by duration: rows by falling need, as wide as the hours they are."""
    need, result, unit = tender.need, tender.result, _unit(tender)
    shown = 1e3 if unit == "kW" else 1.0
    order = np.argsort(-need.need_mw, kind="stable")
    edges = np.concatenate([[0.0], np.cumsum(need.hours[order])])
    traces: list[Trace] = [
        {
            "type": "scatter", "mode": "lines", "name": name, "x": rounded(edges, 4),
            "y": rounded(shown * np.append(values[order], values[order][-1]), 6),
            "line": {"color": colour, "width": 2, "shape": "hv"},
            "hovertemplate": f"%{{y:.3f}} {unit}",
        }
        for name, values, colour in (
            ("Ready", result.covered_mw, "@series1"),
            ("Needed", need.need_mw, "@broken"),
            ("Expected to be called", need.expected_mw, "@series3"),
        )
    ]  # fmt: skip
    return Figure(
        name="cover",
        title="Need and cover",
        label="Need, expected calls and ready capacity over the hours of the season.",
        reading="The hours of the season by falling need. Ready capacity counts by its effect at "
        "the place where the need is stated.",
        source="tender.csv",
        height_px=320,
        traces=traces,
        layout={
            "xaxis": axis("hours of the season") | {"rangemode": "tozero"},
            "yaxis": axis(unit) | {"rangemode": "tozero"},
            "hovermode": "x unified",
            "margin": {"l": 62, "r": 24, "t": 8, "b": 52},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "showlegend": True,
        },
    )


def _bids(tender: Tender) -> PlannerTable:
    unit = _unit(tender)
    rows = [
        (
            bid.id,
            bid.participant,
            "wins" if tender.result.accepted[k] else "not taken",
            in_unit(bid.power_mw, unit),
            f"{fixed(float(tender.effect[k]), 2)}",
            f"{bid.from_time:%H:%M}–{bid.to_time:%H:%M}",
            f"{fixed(bid.availability_micro_eur_per_mw_h / MICRO_PER_UNIT, 2)} EUR/(MW h)",
            f"{fixed(bid.utilisation_micro_eur_per_mwh / MICRO_PER_UNIT, 2)} EUR/MWh",
            f"{in_unit(float(tender.result.called_mwh[k]), unit)}h",
        )
        for k, bid in enumerate(tender.bids)
    ]
    return PlannerTable(
        name="bids", title="Bids", caption="Every bid, and what it would be called for",
        head=(("Bid", False), ("Party", False), ("Outcome", False), ("Capacity", True),
              ("Effect", True), ("Window", False), ("Availability", True), ("Utilisation", True),
              ("Calls expected", True)),
        rows=tuple(rows), source="bids.csv",
    )  # fmt: skip
