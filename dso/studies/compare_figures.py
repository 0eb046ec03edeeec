"""The plots of a comparison, as plain Plotly specifications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from dso.report.figures import Figure
from dso.report.plot_parts import Trace, axis, limit_lines, rounded
from dso.show.feeder import reach_of
from dso.show.figures import shown_names
from dso.studies.compare import Compared

LINE_COLOURS: Final = ("@series1", "@series2", "@series3", "@series4", "@ink", "@series5")
DASHES: Final = ("solid", "dash", "dot")
POINTS: Final = 401
BRANCHES_SHOWN: Final = 12
LEGEND: Final[dict[str, object]] = {
    "orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal",
}  # fmt: skip


def drawable(compared: Sequence[Compared]) -> list[tuple[int, Compared]]:
    """Return the studies that have prices and voltages to draw, with their places."""
    return [(k, each) for k, each in enumerate(compared) if each.result.status != "infeasible"]


def colour_of(place: int) -> str:
    """Return the colour of a study."""
    return LINE_COLOURS[place % len(LINE_COLOURS)]


def _line(place: int) -> dict[str, object]:
    dash = DASHES[(place // len(LINE_COLOURS)) % len(DASHES)]
    return {"color": colour_of(place), "width": 2, "dash": dash}


def all_figures(compared: Sequence[Compared]) -> tuple[Figure, ...]:
    """Return every plot of the page, in its order."""
    return (price_durations(compared), voltage_extremes(compared), loading_extremes(compared))


def price_durations(compared: Sequence[Compared]) -> Figure:
    """Sort the prices of all buses and periods, highest first [EUR/MWh]."""
    share = np.linspace(0.0, 100.0, POINTS)
    traces: list[Trace] = []
    for place, each in drawable(compared):
        falling = np.percentile(each.prices(), 100.0 - share, method="inverted_cdf")
        traces.append(
            {
                "type": "scatter", "mode": "lines", "name": each.name,
                "x": rounded(share, 2), "y": rounded(falling, 4), "line": _line(place),
                "hovertemplate": "%{y:.2f} EUR/MWh",
            }
        )  # fmt: skip
    return Figure(
        name="durations",
        title="Price duration curves",
        label="Prices of all buses and periods of each study, sorted from the highest down.",
        reading="A point at 10 % says: in a tenth of all buses and periods the price is at least "
        "that high. Where curves lie on each other, the studies agree.",
        source="prices.csv",
        height_px=380,
        traces=traces,
        layout={
            "xaxis": {
                "title": {"text": "share of buses and periods [%]", "standoff": 6,
                          "font": {"size": 12}},
                "gridcolor": "@grid", "zeroline": False, "range": [0, 100],
            },
            "yaxis": axis("EUR/MWh") | {"automargin": True},
            "hovermode": "x unified",
            "margin": {"l": 66, "r": 24, "t": 8, "b": 46},
            "legend": LEGEND,
            "showlegend": True,
        },
    )  # fmt: skip


def voltage_extremes(compared: Sequence[Compared]) -> Figure:
    """Show the highest and lowest voltage of each bus over its distance [pu]."""
    traces: list[Trace] = []
    reach_km = 1e-3
    for place, each in drawable(compared):
        km = reach_of(each.feeder, each.case.network).distance_km
        vm_pu, names = each.voltages(), shown_names(each.feeder)
        known = np.flatnonzero(np.isfinite(km))
        known = known[np.argsort(km[known], kind="stable")]
        reach_km = max(reach_km, float(km[known].max()))
        for word, symbol, values in (
            ("highest", "triangle-up", vm_pu.max(axis=1)),
            ("lowest", "triangle-down-open", vm_pu.min(axis=1)),
        ):
            traces.append(
                {
                    "type": "scatter", "mode": "markers", "name": f"{each.name}, {word}",
                    "x": rounded(km[known], 4), "y": rounded(values[known], 5),
                    "marker": {"color": colour_of(place), "symbol": symbol,
                               "size": max(13 - 3 * place, 6)},
                    "text": [names[bus] for bus in known],
                    "hovertemplate": "%{text}<br>%{y:.4f} pu at %{x:.2f} km<extra>"
                    f"{each.name}, {word}</extra>",
                }
            )  # fmt: skip
    return Figure(
        name="voltages",
        title="Voltage extremes along the feeder",
        label="Highest and lowest voltage of every bus over its distance from the substation.",
        reading="Each bus twice per study: the highest voltage of the whole time (filled, pointing "
        "up) and the lowest (open, pointing down), at its distance from the substation; where "
        "studies agree, small marks lie on large ones. The dashed lines are the limits of the "
        "first study, where all its buses have the same.",
        source="buses.csv, study.toml",
        height_px=400,
        traces=traces,
        layout=_voltage_limits(compared[0])
        | {
            "xaxis": {
                "title": {"text": "distance from the substation [km]", "standoff": 6,
                          "font": {"size": 12}},
                "gridcolor": "@grid", "zeroline": False,
                "range": [-0.02 * reach_km, 1.03 * reach_km],
            },
            "yaxis": axis("pu") | {"zeroline": False, "tickformat": ".3f", "automargin": True},
            "hovermode": "closest",
            "margin": {"l": 66, "r": 24, "t": 8, "b": 46},
            "legend": LEGEND,
            "showlegend": True,
        },
    )  # fmt: skip


def _voltage_limits(first: Compared) -> dict[str, object]:
    inside = ~first.feeder.substation_node()
    lines = []
    for name, limit in (
        ("lower limit", first.feeder.vm_pu_min), ("upper limit", first.feeder.vm_pu_max),
    ):  # fmt: skip
        stated = limit[inside]
        if stated.size and np.all(stated == stated[0]):
            lines.append((float(stated[0]), f"{name} {stated[0]:.4g} pu"))
    return limit_lines(lines)


def loading_extremes(compared: Sequence[Compared]) -> Figure:
    """Show the highest loading of the fullest lines and transformers, percent of their limit."""
    peaks: dict[str, dict[int, float]] = {}
    for place, each in drawable(compared):
        share = 100.0 * each.loadings() / each.feeder.loading_percent_max[:, None]
        for row, name in enumerate(each.feeder.branch_name):
            known = share[row][np.isfinite(share[row])]
            if known.size:
                peaks.setdefault(name, {})[place] = float(known.max())
    order = sorted(peaks, key=lambda name: (-max(peaks[name].values()), name))
    shown = order[:BRANCHES_SHOWN]
    traces: list[Trace] = [
        {
            "type": "bar", "name": each.name, "x": shown,
            "y": [_rounded(peaks[name].get(place)) for name in shown],
            "marker": {"color": colour_of(place), "line": {"width": 0}},
            "hovertemplate": "%{y:.1f} % of its limit",
        }
        for place, each in drawable(compared)
    ]  # fmt: skip
    rest = len(order) - len(shown)
    return Figure(
        name="loadings",
        title="Highest loading",
        label="Highest loading of the fullest lines and transformers in each study.",
        reading="The highest loading of the whole time in percent of the limit, for the "
        f"{len(shown)} lines and transformers that come nearest to it in any study"
        + (f"; {rest} others stay below." if rest else "."),
        source="branches.csv",
        height_px=400,
        traces=traces,
        layout=limit_lines([(100.0, "limit")])
        | {
            "barmode": "group",
            "bargap": 0.3,
            "xaxis": {"type": "category", "tickangle": -45, "automargin": True},
            "yaxis": axis("% of the limit") | {"rangemode": "tozero", "automargin": True},
            "hovermode": "x unified",
            "margin": {"l": 66, "r": 24, "t": 8, "b": 110},
            "legend": LEGEND,
            "showlegend": True,
        },
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
