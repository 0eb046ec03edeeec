"""The page of a sweep: what came out best, a plot over what was varied, every variant's row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from dso.report.figures import Figure
from dso.report.numbers import fixed
from dso.report.page import STATUS_WORDS, Tile, Tone
from dso.report.page_parts import island, render_closed_page
from dso.report.plot_parts import axis
from dso.studies.key_figures import LABELS
from dso.studies.sweep_spec import Sweep
from dso.studies.variants import FAILED, Outcome

TEMPLATES: Final = Path(__file__).parent / "templates"
LINE_COLOURS: Final = ("@series1", "@series2", "@series3", "@series4", "@ink", "@series5")
SYMBOLS: Final = ("circle", "square", "diamond", "triangle-up", "x", "star")
TONES: Final[dict[str, Tone]] = {"certified": "good", "certified_with_slack": "warn"}
NUMBER_AXIS: Final = "Number of the variant"


def render_sweep(sweep: Sweep, outcomes: Sequence[Outcome]) -> bytes:
    """Render the page of a sweep; same outcomes, same bytes."""
    from dso.studies.sweep import cell_text, value_of

    values = [{key: value_of(variant, key) for key in sweep.keys} for variant in sweep.variants]
    figures = [{} if outcome.figures is None else asdict(outcome.figures) for outcome in outcomes]
    plot = _plot(sweep)
    rows = [
        {
            "name": variant.name,
            "cells": [cell_text(own[key]) for key in sweep.keys],
            "status": STATUS_WORDS.get(outcome.status, outcome.status),
            "tone": TONES.get(outcome.status, "bad"),
            "numbers": [
                fixed(numbers.get(name), digits) for name, (_, _, digits) in LABELS.items()
            ],
            "reason": outcome.reason,
            "folder": outcome.folder,
        }
        for variant, outcome, own, numbers in zip(
            sweep.variants, outcomes, values, figures, strict=True
        )
    ]
    return render_closed_page(
        "sweep.html.j2",
        folder=TEMPLATES,
        script="sweep.js",
        style="studies.css",
        context={
            "sweep": sweep,
            "tiles": _tiles(outcomes),
            "figures": {plot.name: plot},
            "labels": LABELS,
            "rows": rows,
            "networks": sorted({v.study.case.network.name for v in sweep.variants}),
            "specifications": island({plot.name: plot.specification()}),
            "feeder_data": island(_script_data(sweep, outcomes, values, figures)),
        },
    )


def _script_data(
    sweep: Sweep,
    outcomes: Sequence[Outcome],
    values: Sequence[Mapping[str, object]],
    figures: Sequence[Mapping[str, object]],
) -> dict[str, object]:
    return {
        "keys": list(sweep.keys),
        "numberAxis": NUMBER_AXIS,
        "labels": [[name, *label] for name, label in LABELS.items()],
        "colours": list(LINE_COLOURS),
        "symbols": list(SYMBOLS),
        "rows": [
            {
                "name": outcome.name,
                "values": dict(own),
                "figures": {name: numbers.get(name) for name in LABELS},
            }
            for outcome, own, numbers in zip(outcomes, values, figures, strict=True)
        ],
    }


def _plot(sweep: Sweep) -> Figure:
    return Figure(
        name="sweep",
        title="What the variants come to",
        label="The chosen figure of every variant over what was varied.",
        reading="One mark per variant. Choose above what goes up, what goes to the right and what "
        "tells lines apart; marks are joined where there is one per step. A variant that failed, "
        "or does not set what goes to the right, has no mark.",
        source="sweep.csv",
        height_px=420,
        traces=[],
        layout={
            "xaxis": {
                "title": {"text": sweep.keys[0] if sweep.keys else NUMBER_AXIS, "standoff": 6,
                          "font": {"size": 12}},
                "gridcolor": "@grid", "zeroline": False, "automargin": True,
            },
            "yaxis": axis("EUR") | {"automargin": True, "zeroline": False},
            "hovermode": "closest",
            "margin": {"l": 70, "r": 24, "t": 8, "b": 60},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "showlegend": True,
        },
    )  # fmt: skip


def _tiles(outcomes: Sequence[Outcome]) -> tuple[Tile, ...]:
    """Return the headline: how many are sound, which is cheapest, how far they lie apart."""
    count, failed = len(outcomes), sum(outcome.status == FAILED for outcome in outcomes)
    sound = [outcome for outcome in outcomes if outcome.status in TONES]
    kept = [outcome for outcome in sound if outcome.status == "certified"]
    costs = [
        (outcome.figures.objective_eur, outcome.name)
        for outcome in kept or sound
        if outcome.figures is not None and outcome.figures.objective_eur is not None
    ]
    tiles = [
        Tile(
            label="Certified",
            value=f"{len(sound)} of {count}",
            unit="variants",
            note=f"{failed} failed, {count - failed - len(sound)} cleared without certificate",
            tone="good" if len(sound) == count else "bad",
        )
    ]
    if not costs:
        return tuple(tiles)
    (least, cheapest), (most, dearest) = min(costs), max(costs)
    slack = len(sound) - len(kept)
    held = "every limit holds" if kept else "with slack"
    return (
        *tiles,
        Tile(label="Lowest cost", value=fixed(least, 2), unit="EUR", note=f"{cheapest}, {held}"),
        Tile(label="Highest cost", value=fixed(most, 2), unit="EUR", note=f"{dearest}, {held}"),
        Tile(
            label="With slack",
            value=str(slack),
            unit="variants",
            note="limits that could not hold are priced and named in their folders",
            tone="warn" if slack else "plain",
        ),
    )
