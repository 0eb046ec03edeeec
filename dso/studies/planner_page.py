"""The pages of planners' questions: headline, map, plots and tables, one template for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from data.records.clearing import ClearingCase
from dso.report.colours import SEQUENTIAL, Scale
from dso.report.feeder_map import MapView, draw_feeder
from dso.report.figures import Figure
from dso.report.page import Tile, Tone
from dso.report.page_parts import island, render_closed_page
from dso.report.views import FeederView, Floats
from dso.show.feeder import view_feeder

TEMPLATES: Final = Path(__file__).parent / "templates"
IDLE: Final = "idle"
OPEN: Final = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerTable:
    """A table as shown: ``head`` pairs each heading with whether its column holds numbers."""

    name: str
    title: str
    caption: str
    head: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[str, ...], ...]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerMap:
    """The feeder with what was found on it.

    Parameters
    ----------
    strokes : tuple of str
        Class of each branch in the style sheet, by position.
    bus_tips, branch_tips : tuple of str
        What is said of each when it is pointed at.
    scale : Scale or None
        Colours of the buses; None: all alike.
    legend : tuple of (class, words)
        Of the branches.
    """

    title: str
    label: str
    view: MapView
    strokes: tuple[str, ...]
    bus_tips: tuple[str, ...]
    branch_tips: tuple[str, ...]
    scale: Scale | None
    scale_words: str
    legend: tuple[tuple[str, str], ...]
    reading: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerPage:
    """One answer as a page; ``verdict`` is the answer in a sentence with its tone."""

    kind: str
    command: str
    title: str
    where: str
    tone: Tone
    verdict: str
    explanation: str
    tiles: tuple[Tile, ...]
    map: PlannerMap | None
    figures: tuple[Figure, ...]
    tables: tuple[PlannerTable, ...]
    simbench: bool


def render_planner(page: PlannerPage) -> bytes:
    """Render a page; same answer, same bytes."""
    tips: Mapping[str, object] = (
        {"bus": [], "branch": []}
        if page.map is None
        else {"bus": list(page.map.bus_tips), "branch": list(page.map.branch_tips)}
    )
    return render_closed_page(
        "planner.html.j2",
        folder=TEMPLATES,
        script="planner.js",
        style="planner.css",
        context={
            "page": page,
            "specifications": island({f.name: f.specification() for f in page.figures}),
            "feeder_data": island({"tips": tips}),
        },
    )


def where_of(names: Sequence[str], case: ClearingCase) -> str:
    """Say which studies and which time an answer is for."""
    network, periods = case.network, case.periods
    count = int(network.buses.in_service.sum())
    return (
        f"{network.name} · {count} buses · {', '.join(names)} · {len(periods)} "
        f"{'period' if len(periods) == 1 else 'periods'} of {periods.mtu_minutes} min each"
    )


def feeder_of(case: ClearingCase) -> FeederView:
    """Return the feeder of a case as it is drawn."""
    return view_feeder(case.network, case.limits)


def place_feeder(feeder: FeederView, values: Floats | None, scale: Scale | None) -> MapView:
    """Place the feeder and colour its buses; without values all are alike."""
    shown = np.full(len(feeder.bus), np.nan) if values is None else values
    loading = np.zeros(len(feeder.branch_name))
    return draw_feeder(feeder, shown, loading, scale or Scale(low=0, high=1, unit="", digits=0))


def size_scale(values: Floats, unit: str) -> Scale:
    """Return a scale from 0 to what nearly all values stay below, in round numbers.

    A few buses next to the substation host far more than the others; they get the end's colour.
    """
    finite = values[np.isfinite(values)]
    top = float(np.percentile(finite, 95.0)) if finite.size else 0.0
    if top <= 0:
        return Scale(low=0.0, high=1.0, unit=unit, digits=1, stops=SEQUENTIAL)
    step = 10.0 ** np.floor(np.log10(top)) / 2.0
    high = float(np.ceil(top / step) * step)
    digits = max(0, int(2 - np.floor(np.log10(high))))
    return Scale(low=0.0, high=high, unit=unit, digits=digits, stops=SEQUENTIAL)
