"""The cost of a clearing over its size, measured and fitted, as a picture for docs/pictures."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecast_pictures import FONT
from benchmarks.machine import REPOSITORY
from data.canonical import write_atomically
from dso.report.colours import THEMES

Floats = NDArray[np.float64]
FILE: Final = REPOSITORY / "docs" / "pictures" / "growth-light.png"
SIZE: Final = (1100, 640)
THEME: Final = THEMES["light"]


class AreaSize(Protocol):
    """What is cleared as one grid."""

    area_points: int
    area_buses: int
    area_resources: int
    periods: int


def draw_picture(
    names: Sequence[str],
    size: Floats,
    cost: Floats,
    law: tuple[float, float, float],
    area: AreaSize,
) -> None:
    """Draw runs, law and the size of an area.

    Parameters
    ----------
    names : sequence of str
        Of the runs; those that begin with 1-LV are low voltage.
    size : ndarray, shape (runs,)
        Periods times buses and resources.
    cost : ndarray, shape (runs,)
        Processor time [s].
    law : tuple of float
        Factor, exponent, and the factor within which nine of ten runs are.
    area : AreaSize
        Marked by a line.
    """
    from playwright.sync_api import sync_playwright

    html = _page(names, size, cost, law, area)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "growth.html"
        file.write_text(html, encoding="utf-8")
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("DSO_CHROMIUM", "/usr/bin/chromium"),
            args=["--headless", "--no-sandbox", "--disable-gpu"],
        )
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.goto(file.as_uri())
        page.wait_for_selector(".main-svg")
        write_atomically(FILE, page.screenshot())
        browser.close()


def _page(
    names: Sequence[str],
    size: Floats,
    cost: Floats,
    law: tuple[float, float, float],
    area: AreaSize,
) -> str:
    import plotly.graph_objects as go

    factor, exponent, spread = law
    target = area.periods * (area.area_buses + area.area_resources)
    across = np.geomspace(size.min(), max(target * 1.6, size.max()), 60)
    up = factor * across**exponent
    inside = across <= size.max()
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=np.concatenate([across, across[::-1]]),
            y=np.concatenate([up * spread, up[::-1] / spread]),
            fill="toself", fillcolor=THEME["band"], line={"width": 0}, hoverinfo="skip",
            name=f"nine of ten runs: within a factor of {spread:.1f}",
        )
    )  # fmt: skip
    for label, chosen, dash in (
        (f"law: size to the power {exponent:.2f}", inside, "solid"),
        ("law beyond the largest run", ~inside, "dot"),
    ):
        if chosen.any():
            figure.add_trace(
                go.Scatter(x=across[chosen], y=up[chosen], mode="lines", name=label,
                           line={"color": THEME["series1"], "width": 2.5, "dash": dash})
            )  # fmt: skip
    kinds = np.array([0 if n.startswith("1-LV") else 2 if "MVLV" in n else 1 for n in names])
    for kind, label, colour, symbol in (
        (0, "low voltage", "series3", "circle"),
        (1, "medium voltage", "series2", "diamond"),
        (2, "medium with its low voltage", "series4", "square"),
    ):
        if (kinds == kind).any():
            figure.add_trace(
                go.Scatter(
                    x=size[kinds == kind], y=cost[kinds == kind], mode="markers", name=label,
                    marker={"color": THEME[colour], "symbol": symbol, "size": 9,
                            "line": {"color": THEME["card"], "width": 1}},
                )
            )  # fmt: skip
    figure.add_vline(x=target, line={"color": THEME["broken"], "width": 2, "dash": "dash"})
    figure.add_annotation(
        x=np.log10(target), y=0.03, yref="paper", xanchor="right",
        text=f"one area of {area.area_points:,} points ",
        showarrow=False, font={"color": THEME["broken"], "size": 14},
    )  # fmt: skip
    _dress(figure)
    text: str = figure.to_html(include_plotlyjs=True, config={"displayModeBar": False})
    return text.replace("<body>", f'<body style="margin:0;background:{THEME["page"]}">')


def _dress(figure: Any) -> None:  # noqa: ANN401 - plotly has no types
    lines = {"gridcolor": THEME["grid"], "linecolor": THEME["edge"], "ticks": "outside",
             "tickcolor": THEME["edge"], "type": "log", "dtick": 1}  # fmt: skip
    figure.update_xaxes(title_text="size of the clearing: periods x (buses + resources)",
                        exponentformat="power", **lines)  # fmt: skip
    figure.update_yaxes(title_text="processor time of a cold clearing [s]", **lines)
    figure.update_layout(
        title={"text": "What a clearing costs, measured and fitted", "x": 0.02},
        width=SIZE[0], height=SIZE[1], paper_bgcolor=THEME["page"], plot_bgcolor=THEME["card"],
        font={"family": FONT, "size": 14, "color": THEME["ink"]},
        legend={"orientation": "h", "y": -0.16, "x": 0.0},
        margin={"l": 80, "r": 30, "t": 60, "b": 120},
    )  # fmt: skip
