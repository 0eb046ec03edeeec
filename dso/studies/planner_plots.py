"""Plots that planners' pages share: bars by name, and values over positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dso.report.plot_parts import Trace, axis, rounded
from dso.report.views import Floats


def bars(names: Sequence[str], values: Floats, series: str, colour: str, unit: str) -> Trace:
    """Draw one horizontal bar per name, the first on top."""
    return {
        "type": "bar", "orientation": "h", "name": series,
        "y": list(names), "x": rounded(values, 6),
        "marker": {"color": colour, "line": {"width": 0}},
        "hovertemplate": f"%{{y}}: %{{x:,.4~g}} {unit}<extra>{series}</extra>",
    }  # fmt: skip


def bar_layout(unit: str, *, legend: bool) -> dict[str, object]:
    """Return the frame of horizontal bars, names on the left."""
    return {
        "barmode": "group",
        "bargap": 0.3,
        "xaxis": {
            "title": {"text": unit, "standoff": 6, "font": {"size": 12}},
            "gridcolor": "@grid", "zerolinecolor": "@muted", "fixedrange": True,
            "rangemode": "tozero",
        },
        "yaxis": {
            "autorange": "reversed", "type": "category", "automargin": True, "fixedrange": True,
            "dtick": 1, "tickfont": {"size": 12}, "ticks": "outside", "ticklen": 5,
            "tickcolor": "@none",
        },
        "hovermode": "closest",
        "margin": {"l": 40, "r": 24, "t": 8, "b": 62},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "showlegend": legend,
    }  # fmt: skip


def bar_height(count: int, series: int = 1) -> int:
    """Return the height of a plot of bars [px]."""
    return 110 + count * (14 + 10 * series)


def position_layout(title: str, unit: str) -> dict[str, object]:
    """Return the frame of values over positions."""
    return {
        "xaxis": {
            "title": {"text": title, "standoff": 6, "font": {"size": 12}},
            "gridcolor": "@grid", "zeroline": False, "fixedrange": False,
        },
        "yaxis": axis(unit) | {"automargin": True, "zeroline": False},
        "hovermode": "closest",
        "margin": {"l": 74, "r": 24, "t": 8, "b": 62},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "showlegend": True,
    }  # fmt: skip


def distinct(names: Sequence[str], elements: Sequence[int]) -> tuple[str, ...]:
    """Return names that differ: where some are equal, their numbers follow."""
    counts = np.array([list(names).count(name) for name in names])
    return tuple(
        f"{name} ({element})" if count > 1 else name
        for name, element, count in zip(names, elements, counts, strict=True)
    )
