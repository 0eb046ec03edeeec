"""The plots of a clearing, as plain Plotly specifications; the page's script moves them in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from dso.report.figures import Figure, short_names
from dso.report.plot_parts import Trace, axis, layout, limit_lines, rounded, step_line
from dso.report.views import FeederView, Floats
from dso.show.views import Selection, ShowView

ELEMENT_COLOURS: Final = ("@series2", "@series3", "@series4", "@broken")
PATTERNS: Final = ("", "/", "x", ".")
REST_STYLE: Final[dict[str, object]] = {
    "color": "@muted",
    "line": {"width": 0},
    "pattern": {"shape": "-", "bgcolor": "@muted", "fgcolor": "@card", "size": 7, "solidity": 0.2},
}
LIMITS_SHOWN: Final = 6
BRANCHES_SHOWN: Final = 6
LINE_COLOURS: Final = ("@series1", "@series2", "@series3", "@series4", "@ink", "@series5")


def all_figures(view: ShowView, selection: Selection) -> tuple[Figure, ...]:
    """Return every plot of the page, in its order."""
    return (
        path_parts(view, selection),
        voltage_profile(view, selection),
        loading_over_time(view),
        price_over_time(view, selection),
    )


def shown_names(feeder: FeederView) -> tuple[str, ...]:
    """Return bus names without what most begin with, unless only a number would be left."""
    return tuple(
        full if short.isdigit() else short
        for short, full in zip(short_names(feeder), feeder.bus_name, strict=True)
    )


def bar_style(rank: int) -> dict[str, object]:
    """Return how the bars of a limit look: colours first, then the same ones with a pattern."""
    colour = ELEMENT_COLOURS[rank % len(ELEMENT_COLOURS)]
    marker: dict[str, object] = {"color": colour, "line": {"width": 0}}
    shape = PATTERNS[(rank // len(ELEMENT_COLOURS)) % len(PATTERNS)]
    if shape:
        marker["pattern"] = {
            "shape": shape, "bgcolor": colour, "fgcolor": "@card", "size": 7, "solidity": 0.3,
        }  # fmt: skip
    return marker


def bars_at(view: ShowView, selection: Selection) -> list[tuple[str, Floats, int]]:
    """Return name, part at every bus, and rank of each limit shown; rank -1 is the rest together.

    Shown are those with the largest parts at the chosen bus in the chosen period.
    """
    found = []
    for rank, element in enumerate(view.elements):
        at = np.flatnonzero(element.periods == selection.period)
        if at.size:
            found.append((element.name, element.p_eur_per_mwh[int(at[0])], rank))
    found.sort(key=lambda item: (-abs(float(item[1][selection.bus])), item[2]))
    shown, rest = found[:LIMITS_SHOWN], found[LIMITS_SHOWN:]
    if rest:
        together = np.sum([part for _, part, _ in rest], axis=0)
        shown.append((f"{len(rest)} other limits", together, -1))
    return shown


def path_parts(view: ShowView, selection: Selection) -> Figure:
    """Stack the price parts at each bus from the substation to the chosen bus [EUR/MWh]."""
    path = list(view.reach.path(selection.bus))
    names = shown_names(view.feeder)
    period = selection.period
    bars = [
        _bar("Energy", view.energy[path, period], {"color": "@series5", "line": {"width": 0}}),
        _bar("Loss", view.loss[path, period], {"color": "@series1", "line": {"width": 0}}),
    ]
    bars += [
        _bar(name, part[path], bar_style(rank) if rank >= 0 else REST_STYLE)
        for name, part, rank in bars_at(view, selection)
    ]
    price: Trace = {
        "type": "scatter", "mode": "lines+markers", "name": "Price",
        "x": list(range(len(path))), "y": rounded(view.price[path, period], 4),
        "line": {"color": "@ink", "width": 1.5},
        "marker": {"color": "@ink", "size": 7, "symbol": "diamond"},
        "hovertemplate": "%{y:.2f} EUR/MWh",
    }  # fmt: skip
    return Figure(
        name="path",
        title="Why the price at this bus is what it is",
        label="Stacked price parts at each bus from the substation to the chosen bus.",
        reading="One bar per bus, from the substation on the left to the chosen bus on the right. "
        "Energy is the price at the substation, loss what one more MWh loses on its way, every "
        "other colour one limit that is reached, the largest ones at the chosen bus. Parts below "
        "zero take from the price; the diamonds are the price itself, the sum of the bar.",
        source="prices.csv, price_parts.csv",
        height_px=420,
        traces=[*bars, price],
        layout={
            "barmode": "relative",
            "bargap": 0.25,
            "xaxis": {
                "tickvals": list(range(len(path))),
                "ticktext": [names[bus] for bus in path],
                "tickangle": -45,
                "zeroline": False,
                "fixedrange": False,
                "automargin": True,
                "range": [-0.6, len(path) - 0.4],
            },
            "yaxis": axis("EUR/MWh") | {"zeroline": True, "zerolinecolor": "@muted"},
            "hovermode": "x unified",
            "margin": {"l": 62, "r": 24, "t": 8, "b": 90},
            "legend": {
                "orientation": "h",
                "x": 0,
                "y": 1.02,
                "yanchor": "bottom",
                "traceorder": "normal",
            },
            "showlegend": True,
        },
    )


def _bar(name: str, values: Floats, marker: dict[str, object]) -> Trace:
    return {
        "type": "bar",
        "name": name,
        "x": list(range(len(values))),
        "y": rounded(values, 4),
        "marker": marker,
        "hovertemplate": "%{y:.2f} EUR/MWh",
    }


def voltage_profile(view: ShowView, selection: Selection) -> Figure:
    """Draw voltages over the distance from the substation at the chosen period [pu]."""
    feeder, km = view.feeder, view.reach.distance_km
    names = short_names(feeder)
    known = np.flatnonzero(np.isfinite(km))
    period = selection.period
    low, high = np.nanmin(view.vm_pu[known], axis=1), np.nanmax(view.vm_pu[known], axis=1)
    path = list(view.reach.path(selection.bus))
    traces: list[Trace] = [
        _span_lines(km[known], low, high),
        _tree_lines(view, known, period),
        {
            "type": "scatter", "mode": "markers", "name": "Buses",
            "x": rounded(km[known], 4), "y": rounded(view.vm_pu[known, period], 5),
            "marker": {"color": "@series1", "size": 6}, "text": [names[bus] for bus in known],
            "hovertemplate": "%{text}<br>%{y:.4f} pu at %{x:.2f} km<extra></extra>",
        },
        {
            "type": "scatter", "mode": "lines+markers", "name": "Way to the chosen bus",
            "x": rounded(km[path], 4), "y": rounded(view.vm_pu[path, period], 5),
            "line": {"color": "@series2", "width": 3}, "marker": {"color": "@series2", "size": 6},
            "hoverinfo": "skip",
        },
    ]  # fmt: skip
    shapes, limits = _voltage_limits(view, known)
    reach_km = max(float(np.nanmax(km[known])), 1e-3)
    return Figure(
        name="profile",
        title="Voltage along the feeder",
        label="Voltage of every bus over its distance from the substation, with the limits.",
        reading="Each dot is a bus at the distance one must follow lines to reach it; dots are "
        "joined as the feeder is. The pale bars show the lowest and highest voltage of the whole "
        "time. Voltage falls away from the substation under load and rises under feed-in. The "
        "substation's own voltage is set from above and has no limit here.",
        source="buses.csv, study.toml",
        height_px=380,
        traces=[*traces, *limits],
        layout=shapes
        | {
            "xaxis": {
                "title": {"text": "distance from the substation [km]", "standoff": 6,
                          "font": {"size": 12}},
                "gridcolor": "@grid", "zeroline": False, "fixedrange": False,
                "range": [-0.02 * reach_km, 1.03 * reach_km],
            },
            "yaxis": axis("pu") | {"zeroline": False, "hoverformat": ".4f", "tickformat": ".3f"},
            "hovermode": "closest",
            "margin": {"l": 66, "r": 24, "t": 8, "b": 46},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "showlegend": True,
        },
    )  # fmt: skip


def _span_lines(km: Floats, low: Floats, high: Floats) -> Trace:
    x, y = np.full(3 * len(km), np.nan), np.full(3 * len(km), np.nan)
    x[0::3], x[1::3], y[0::3], y[1::3] = km, km, low, high
    return {
        "type": "scatter", "mode": "lines", "name": "Lowest to highest of all periods",
        "x": rounded(x, 4), "y": rounded(y, 5), "line": {"color": "@band", "width": 6},
        "hoverinfo": "skip",
    }  # fmt: skip


def _tree_lines(view: ShowView, known: Sequence[int] | np.ndarray, period: int) -> Trace:
    x: list[float] = []
    y: list[float] = []
    for bus in known:
        before = int(view.reach.parent[bus])
        if before >= 0:
            x += [view.reach.distance_km[before], view.reach.distance_km[bus], np.nan]
            y += [view.vm_pu[before, period], view.vm_pu[bus, period], np.nan]
    return {
        "type": "scatter", "mode": "lines", "name": "", "showlegend": False,
        "x": rounded(np.array(x), 4), "y": rounded(np.array(y), 5),
        "line": {"color": "@series5", "width": 1.5}, "hoverinfo": "skip",
    }  # fmt: skip


def _voltage_limits(view: ShowView, known: np.ndarray) -> tuple[dict[str, object], list[Trace]]:
    """Draw limits across the plot where all buses share them, else as a tick at each bus."""
    inside = known[~view.feeder.substation_node()[known]]
    lines: list[tuple[float, str]] = []
    ticks: list[Trace] = []
    for name, limit in (
        ("lower limit", view.feeder.vm_pu_min), ("upper limit", view.feeder.vm_pu_max),
    ):  # fmt: skip
        stated = limit[inside]
        if inside.size and np.all(stated == stated[0]):
            lines.append((float(stated[0]), f"{name} {stated[0]:.4g} pu"))
        elif inside.size:
            ticks.append(
                {
                    "type": "scatter", "mode": "markers", "name": name.capitalize(),
                    "x": rounded(view.reach.distance_km[inside], 4), "y": rounded(stated, 5),
                    "marker": {"symbol": "line-ew", "size": 9,
                               "line": {"color": "@broken", "width": 1.5}},
                    "hovertemplate": f"{name} %{{y:.3f}} pu<extra></extra>",
                }
            )  # fmt: skip
    return limit_lines(lines), ticks


def loading_over_time(view: ShowView) -> Figure:
    """Show the fullest lines and transformers over time, in percent of their limit."""
    share = 100.0 * view.loading_percent / view.feeder.loading_percent_max[:, None]
    peak = np.where(np.isfinite(share), share, -np.inf).max(axis=1, initial=-np.inf)
    order = [k for k in np.argsort(-peak, kind="stable").tolist() if np.isfinite(peak[k])]
    shown = order[:BRANCHES_SHOWN]
    traces = [
        step_line(view, share[k], view.feeder.branch_name[k], LINE_COLOURS[n], unit="%", digits=1)
        for n, k in enumerate(shown)
    ]
    rest = len(order) - len(shown)
    return Figure(
        name="loading",
        title="Loading over time",
        label="Loading of the fullest lines and transformers in percent of their limit, by period.",
        reading="Current of the fuller end in percent of its limit; the "
        f"{len(shown)} fullest lines and transformers"
        + (f", {rest} others stay below them at their peaks." if rest else "."),
        source="branches.csv",
        height_px=340,
        traces=traces,
        layout=layout(view, "% of the limit")
        | limit_lines([(100.0, "limit")])
        | {"yaxis": axis("% of the limit") | {"rangemode": "tozero", "hoverformat": ".1f"}},
    )


def price_over_time(view: ShowView, selection: Selection) -> Figure:
    """Show lowest and highest bus price, upstream price and that of the chosen bus [EUR/MWh]."""
    lines: tuple[tuple[str, Floats, str, Trace], ...] = (
        ("Lowest bus", np.nanmin(view.price, axis=0), "@series1", {}),
        ("Highest bus", np.nanmax(view.price, axis=0), "@series2",
         {"fill": "tonexty", "fillcolor": "@band"}),
        ("Upstream price", view.import_price_eur_per_mwh, "@ink", {}),
        ("Chosen bus", view.price[selection.bus], "@series4", {}),
    )  # fmt: skip
    return Figure(
        name="price",
        title="Prices over time",
        label="Lowest, highest and upstream price and the price of the chosen bus, by period.",
        reading="Without losses and limits all buses would have the upstream price. The band "
        "spans all buses; the chosen bus is the one picked above.",
        source="prices.csv, study.toml",
        height_px=340,
        traces=[
            step_line(view, values, name, colour, unit="EUR/MWh", digits=2) | extra
            for name, values, colour, extra in lines
        ],
        layout=layout(view, "EUR/MWh"),
    )
