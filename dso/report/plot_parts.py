"""What the plots have in common: axes of periods, step lines, rounded numbers, limit lines."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from data.periods import Periods
from dso.report.views import Floats

Trace = dict[str, object]


class Horizon(Protocol):
    """What a plot over time needs to know: periods, and the market's clock."""

    @property
    def periods(self) -> Periods:
        """The periods."""
        ...

    @property
    def timezone(self) -> str:
        """IANA zone of the market."""
        ...

    def local_starts(self) -> tuple[datetime, ...]:
        """Start of each period on the market's clock."""
        ...


def rounded(values: Floats, digits: int) -> list[object]:
    """Return numbers as JSON takes them: rounded, None for NaN, no -0."""
    plain = np.where(np.isfinite(values), np.round(values, digits) + 0.0, np.nan)
    return _without_nan(plain.tolist())


def _without_nan(values: list[object]) -> list[object]:
    return [
        _without_nan(item) if isinstance(item, list) else (None if item != item else item)
        for item in values
    ]


def step_line(
    day: Horizon, values: Floats, name: str, colour: str, unit: str, digits: int
) -> Trace:
    """Draw a step line: the last value is repeated at the day's end so that it has a width."""
    y = rounded(np.append(values, values[-1]), digits + 1)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(range(len(day.periods) + 1)),
        "y": y,
        "line": {"color": colour, "width": 2, "shape": "hv"},
        "hovertemplate": f"%{{y:.{digits}f}} {unit}",
    }


def limit_lines(limits: Sequence[tuple[float, str]]) -> dict[str, object]:
    """Draw limits across the plot: (value, words) each."""
    return {
        "shapes": [
            {
                "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value,
                "line": {"color": "@broken", "width": 1.5, "dash": "dash"},
            }
            for value, _ in limits
        ],
        "annotations": [
            {
                "xref": "paper", "x": 1, "xanchor": "right", "y": value, "yanchor": "bottom",
                "text": text, "showarrow": False, "font": {"color": "@broken", "size": 12},
            }
            for value, text in limits
        ],
    }  # fmt: skip


def layout(day: Horizon, unit: str) -> dict[str, object]:
    """Return the frame all plots over the day share."""
    return {
        "xaxis": time_axis(day),
        "yaxis": axis(unit),
        "hovermode": "x unified",
        "margin": {"l": 62, "r": 24, "t": 8, "b": 44},
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "traceorder": "normal",
        },
        "showlegend": True,
    }


def time_axis(day: Horizon) -> dict[str, object]:
    """Place periods by their number, so that days of 92 and 100 quarter-hours stay even."""
    starts = day.local_starts()
    every_h = 3 if day.periods.count * day.periods.mtu > timedelta(hours=9) else 1
    marks = [k for k, start in enumerate(starts) if start.minute == 0 and start.hour % every_h == 0]
    end = starts[-1] + day.periods.mtu
    return {
        "range": [0, len(day.periods)],
        "tickvals": [*marks, len(day.periods)],
        "ticktext": [f"{starts[k]:%H:%M}" for k in marks]
        + ["24:00" if f"{end:%H:%M}" == "00:00" else f"{end:%H:%M}"],
        "gridcolor": "@grid",
        "zeroline": False,
        "title": {"text": f"local time, {day.timezone}", "standoff": 6, "font": {"size": 12}},
        "fixedrange": False,
    }


def axis(unit: str) -> dict[str, object]:
    """Return a vertical axis named by its unit."""
    return {
        "title": {"text": unit, "standoff": 6, "font": {"size": 12}},
        "gridcolor": "@grid",
        "zerolinecolor": "@grid",
        "fixedrange": True,
        "automargin": False,
    }


def middles(day: Horizon) -> list[float]:
    """Return the middle of each period, where its bar stands."""
    return [k + 0.5 for k in range(len(day.periods))]
