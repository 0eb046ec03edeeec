"""Reliability, sharpness and skill by lead time as pictures for docs/pictures."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecast_sets import ScoredMonth
from dso.report.colours import THEMES
from forecasting.scores import pinball_losses, reliability, sharpness, skill_by_lead

Floats = NDArray[np.float64]
FONT: Final = "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
SIZE: Final = (1240, 900)
LINES: Final = (("series1", "circle", "solid"), ("series2", "diamond", "dash"))
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
LEVELS_SHOWN: Final = tuple(k / 100 for k in range(5, 100, 5))


def draw_pictures(
    sets: Mapping[str, Sequence[ScoredMonth]],
    lead_edges_h: Mapping[str, Sequence[float]],
    folder: Path,
) -> list[Path]:
    """Draw all plots on one picture, light and dark.

    Parameters
    ----------
    sets : mapping of str to scored months
        At most two sets, by name.
    lead_edges_h : mapping of str to sequence of float
        Classes of lead time of each set [h].
    folder : Path
        Where the pictures go.
    """
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    taken = []
    program = os.environ.get("DSO_CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as scratch:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        for scheme in SCHEMES:
            page_file = Path(scratch) / f"{scheme}.html"
            page_file.write_text(_page(sets, lead_edges_h, THEMES[scheme]), encoding="utf-8")
            page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
            page.goto(page_file.as_uri())
            page.wait_for_selector(".main-svg")
            path = folder / f"forecast-quality-{scheme}.png"
            page.screenshot(path=path)
            taken.append(path)
        browser.close()
    return taken


def _page(
    sets: Mapping[str, Sequence[ScoredMonth]],
    lead_edges_h: Mapping[str, Sequence[float]],
    theme: Mapping[str, str],
) -> str:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    leads = tuple(f"Skill over the naive forecast: {name}" for name in sets)
    figure = make_subplots(
        rows=2,
        cols=2,
        horizontal_spacing=0.1,
        vertical_spacing=0.16,
        subplot_titles=(
            "Reliability: how often it came out at or under each quantile",
            "Sharpness: mean width of the central bands",
            *leads,
        ),
    )
    figure.add_trace(
        go.Scatter(x=[0, 100], y=[0, 100], mode="lines", name="ideal",
                   line={"color": theme["series5"], "width": 1.5, "dash": "dot"}), 1, 1,
    )  # fmt: skip
    figure.add_trace(
        go.Scatter(x=[0, 100], y=[0, 0], mode="lines", showlegend=False,
                   line={"color": theme["none"]}), 1, 2,
    )  # fmt: skip
    for place, (name, months) in enumerate(sets.items()):
        colour, symbol, dash = LINES[place]
        style: dict[str, Any] = {
            "mode": "lines+markers", "name": name, "legendgroup": name,
            "line": {"color": theme[colour], "width": 2.5, "dash": dash},
            "marker": {"symbol": symbol, "size": 8},
        }  # fmt: skip
        level, under = _reliability(months)
        figure.add_trace(go.Scatter(x=100 * level, y=100 * under, **style), 1, 1)
        band, width = _sharpness(months)
        figure.add_trace(go.Scatter(x=100 * band, y=100 * width, showlegend=False, **style), 1, 2)
        edges = lead_edges_h[name]
        labels = [_lead_label(edges[k], edges[k + 1]) for k in range(len(edges) - 1)]
        skill = _skill(months, edges)
        seen = np.isfinite(skill)
        figure.add_trace(
            go.Scatter(
                x=[text for text, there in zip(labels, seen, strict=True) if there],
                y=100 * skill[seen],
                showlegend=False,
                **style,
            ),
            2,
            place + 1,
        )
    _dress(figure, theme)
    text: str = figure.to_html(include_plotlyjs=True, config={"displayModeBar": False})
    return text.replace("<body>", f'<body style="margin:0;background:{theme["page"]}">')


def _dress(figure: Any, theme: Mapping[str, str]) -> None:  # noqa: ANN401 - plotly has no types
    titles = (
        (1, 1, "nominal probability [%]", "observed frequency [%]"),
        (1, 2, "nominal coverage of the band [%]", "width [% of mean load or nominal power]"),
        (2, 1, "lead time", "1 - pinball / naive pinball [%]"),
        (2, 2, "lead time", "1 - pinball / naive pinball [%]"),
    )
    for row, column, across, up in titles:
        lines = {
            "gridcolor": theme["grid"],
            "zerolinecolor": theme["edge"],
            "linecolor": theme["edge"],
            "ticks": "outside",
            "tickcolor": theme["edge"],
        }
        figure.update_xaxes(title_text=across, row=row, col=column, **lines)
        figure.update_yaxes(title_text=up, row=row, col=column, **lines)
    figure.update_xaxes(tickfont={"size": 13}, title_font={"size": 13})
    figure.update_yaxes(tickfont={"size": 13}, title_font={"size": 13})
    figure.update_xaxes(range=[0, 100], dtick=20, row=1, col=1)
    figure.update_yaxes(range=[0, 100], dtick=20, row=1, col=1)
    figure.update_xaxes(range=[0, 100], dtick=20, row=1, col=2)
    figure.update_yaxes(rangemode="tozero", row=1, col=2)
    figure.update_yaxes(range=[0, 100], dtick=20, row=2)
    figure.update_layout(
        width=SIZE[0], height=SIZE[1], paper_bgcolor=theme["page"], plot_bgcolor=theme["card"],
        font={"family": FONT, "size": 14, "color": theme["ink"]},
        legend={"orientation": "h", "y": -0.09, "x": 0.5, "xanchor": "center"},
        margin={"l": 70, "r": 30, "t": 60, "b": 100},
    )  # fmt: skip
    figure.update_annotations(font={"size": 14, "color": theme["ink"]})


def _reliability(months: Sequence[ScoredMonth]) -> tuple[Floats, Floats]:
    # The dark hours of PV are certain: they would fill every level alike.
    kept = [m.served.max(axis=1) > 0.0 for m in months]
    value = np.concatenate([m.served[rows] for m, rows in zip(months, kept, strict=True)])
    actual = np.concatenate([m.actual[rows] for m, rows in zip(months, kept, strict=True)])
    found = reliability(value, actual, months[0].levels)
    places = [months[0].levels.index(level) for level in LEVELS_SHOWN]
    return np.array(LEVELS_SHOWN), found[places]


def _sharpness(months: Sequence[ScoredMonth]) -> tuple[Floats, Floats]:
    value = np.concatenate([m.served for m in months])
    actual = np.concatenate([m.actual for m in months])
    scale = float(actual.mean()) if actual.max() > 1.5 else 1.0
    band, width = sharpness(value, months[0].levels)
    shown = np.isin(np.round(band, 6), np.round(np.arange(0.1, 1.0, 0.1), 6))
    return band[shown], width[shown] / scale


def _skill(months: Sequence[ScoredMonth], edges_h: Sequence[float]) -> Floats:
    loss = np.concatenate([pinball_losses(m.served, m.actual, m.levels) for m in months])
    naive = np.concatenate([pinball_losses(m.others["naive"], m.actual, m.levels) for m in months])
    lead = np.concatenate([m.lead_h for m in months])
    lit = naive > 0.0
    return skill_by_lead(loss[lit], naive[lit], lead[lit], edges_h)


def _lead_label(first_h: float, last_h: float) -> str:
    if last_h <= 24.0:
        return f"{first_h:.0f}-{last_h:.0f} h"
    return f"day {first_h / 24 + 1:.0f}-{last_h / 24:.0f}"
