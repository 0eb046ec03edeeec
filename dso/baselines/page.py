"""The laboratory on one page: error and bias per method, and what is flagged around events."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dso.baselines.compare import Comparison, event_window_words
from dso.report.figures import Figure
from dso.report.numbers import fixed
from dso.report.page import Tile
from dso.report.plot_parts import Trace, axis, rounded
from dso.studies.planner_page import PlannerPage, PlannerTable, render_planner
from flexibility.baselines.gaming import flagged_among_all
from flexibility.baselines.laboratory import MethodScore

WIDE = 460


def render_comparison(comparison: Comparison) -> bytes:
    """Render the page; same comparison, same bytes."""
    ranked = sorted(comparison.scores, key=lambda score: score.error_median)
    best = ranked[0]
    window = event_window_words(comparison.rules)
    return render_planner(
        PlannerPage(
            kind="Baseline laboratory",
            command="dso baseline compare",
            title="What each baseline method would have said",
            where=f"{comparison.source} · {comparison.connections} connections · "
            f"{comparison.events} working days without event, {window} local time",
            tone="plain",
            verdict=f"Least error for one connection: {best.method}, "
            f"{_percent(best.error_median)} of its load",
            explanation="On days without event the meter is the truth, so error and bias are the "
            "method's own. A positive bias pays for reductions that nobody made, a negative one "
            "leaves delivery unpaid. Baselines are frozen at the gate of the day before."
            + "".join(f" Note: {note}." for note in comparison.notes),
            tiles=_tiles(comparison, ranked),
            map=None,
            figures=(
                _error_figure(ranked),
                _bias_figure(ranked),
                _detection_figure(comparison),
                *((_gaming_figure(comparison),) if comparison.gaming else ()),
            ),
            tables=(
                _methods_table(ranked),
                _detection_table(comparison),
                *((_gaming_table(comparison),) if comparison.gaming else ()),
                *((_delivery_table(comparison),) if comparison.delivery else ()),
            ),
            simbench=False,
        )
    )


def _percent(share: float, digits: int = 0) -> str:
    return fixed(100 * share, digits) + " %" if math.isfinite(share) else "n/a"


def _tiles(comparison: Comparison, ranked: Sequence[MethodScore]) -> tuple[Tile, ...]:
    study = comparison.detection
    straight = min(ranked, key=lambda score: abs(score.bias_median))
    together = min(ranked, key=lambda score: score.portfolio_error)
    alarms = float(study.raised[0]) if study.size_kw[0] == 0 else float("nan")
    return (
        Tile(label="Mean load in the events", value=fixed(comparison.mean_load_kw, 2), unit="kW",
             note="of one connection"),
        Tile(label="Least bias", value=_percent(straight.bias_median, 1), unit="",
             note=f"{straight.method}, median connection"),
        Tile(label="Portfolio", value=_percent(together.portfolio_error), unit="",
             note=f"least error of the sum of all connections, {together.method}"),
        Tile(label="False alarms", value=_percent(alarms, 1), unit="",
             note=f"of {study.trials} honest trials, stated rate "
             f"{_percent(comparison.rules.gaming.false_alarm_rate)}"),
    )  # fmt: skip


def _rows(scores: Sequence[MethodScore], values: list[tuple[float, float, float]], unit: str,
          single: str, portfolio: list[float]) -> list[Trace]:  # fmt: skip
    names = [score.method for score in scores]
    middle, low, high = (100 * np.array(part) for part in zip(*values, strict=True))
    return [
        {
            "type": "scatter", "mode": "markers",
            "name": single,
            "x": rounded(middle, 2), "y": names,
            "error_x": {
                "type": "data", "symmetric": False, "array": rounded(high - middle, 2),
                "arrayminus": rounded(middle - low, 2), "color": "@series1", "thickness": 2,
                "width": 5,
            },
            "marker": {"color": "@series1", "size": 11, "symbol": "circle"},
            "customdata": [[a, b] for a, b in zip(rounded(low, 1), rounded(high, 1), strict=True)],
            "hovertemplate": f"%{{y}}: %{{x:.1f}} {unit} (%{{customdata[0]:.1f}} to "
            f"%{{customdata[1]:.1f}} {unit})<extra>{single}</extra>",
        },
        {
            "type": "scatter", "mode": "markers", "name": "Sum of all connections",
            "x": rounded(100 * np.array(portfolio), 2), "y": names,
            "marker": {"color": "@series2", "size": 12, "symbol": "diamond"},
            "hovertemplate": f"%{{y}}: %{{x:.1f}} {unit}<extra>sum of all</extra>",
        },
    ]  # fmt: skip


def _row_layout(title: str) -> dict[str, object]:
    return {
        "xaxis": {
            "title": {"text": title, "standoff": 6, "font": {"size": 12}},
            "gridcolor": "@grid", "zerolinecolor": "@ink", "zeroline": True, "zerolinewidth": 2,
            "fixedrange": True,
        },
        "yaxis": {
            "autorange": "reversed", "type": "category", "automargin": True, "fixedrange": True,
            "dtick": 1, "tickfont": {"size": 12}, "ticks": "outside", "ticklen": 5,
            "tickcolor": "@none", "gridcolor": "@grid",
        },
        "hovermode": "closest",
        "margin": {"l": 40, "r": 24, "t": 8, "b": 62},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "showlegend": True,
    }  # fmt: skip


def _error_figure(ranked: Sequence[MethodScore]) -> Figure:
    values = [(s.error_median, s.error_low, s.error_high) for s in ranked]
    return Figure(
        name="error",
        title="Error: how far the baseline is from the meter",
        label="Error of each method for one connection and for the sum of all [% of mean load].",
        reading="Mean of |baseline − meter| over mean load in the events. Dots: median connection, "
        "bars: 10th to 90th percentile. Further left is better; the sum of many connections is "
        "easier to tell than one.",
        source="methods.csv",
        height_px=WIDE,
        traces=_rows(ranked, values, "%", "One connection", [s.portfolio_error for s in ranked]),
        layout=_row_layout("error [% of mean load]"),
    )


def _bias_figure(ranked: Sequence[MethodScore]) -> Figure:
    values = [(s.bias_median, s.bias_low, s.bias_high) for s in ranked]
    return Figure(
        name="bias",
        title="Bias: who would be paid too much",
        label="Bias of each method for one connection and for the sum of all [% of mean load].",
        reading="Mean of baseline − meter over mean load in the events. Right of zero the operator "
        "pays for reductions that nobody made, left of zero parties deliver unpaid.",
        source="methods.csv",
        height_px=WIDE,
        traces=_rows(ranked, values, "%", "One connection", [s.portfolio_bias for s in ranked]),
        layout=_row_layout("bias [% of mean load]"),
    )


def _detection_figure(comparison: Comparison) -> Figure:
    study, rate = comparison.detection, comparison.rules.gaming.false_alarm_rate
    groups = (
        ("Load raised before events", study.raised, "@series1", "circle", "solid"),
        ("Load shifted to after events", study.shifted, "@series2", "diamond", "dash"),
    )
    traces: list[Trace] = [
        {
            "type": "scatter", "mode": "lines+markers", "name": name,
            "x": list(study.size_kw), "y": rounded(100 * shares, 2),
            "line": {"color": colour, "width": 2, "dash": dash},
            "marker": {"color": colour, "size": 9, "symbol": symbol},
            "hovertemplate": f"%{{x:.2f}} kW: %{{y:.1f}} % flagged<extra>{name}</extra>",
        }
        for name, shares, colour, symbol, dash in groups
    ]  # fmt: skip
    return Figure(
        name="detection",
        title="What is flagged around events",
        label="Share of connections flagged over the size of the injected manipulation [kW].",
        reading=f"Injected into real series on {study.events} events, {study.trials} trials. At "
        f"0 kW everybody is honest: what is flagged there is the false-alarm rate, stated as "
        f"{_percent(rate)}. A shift takes its power out of the event and gives the energy back "
        "after it.",
        source="detection.csv",
        height_px=360,
        traces=traces,
        layout={
            "xaxis": {
                "title": {"text": "injected power [kW]", "standoff": 6, "font": {"size": 12}},
                "gridcolor": "@grid", "zeroline": False, "fixedrange": True,
            },
            "yaxis": axis("% of connections flagged")
            | {"range": [0, 104], "automargin": True, "zeroline": False},
            "hovermode": "closest",
            "shapes": [
                {
                    "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 100 * rate,
                    "y1": 100 * rate, "line": {"color": "@broken", "width": 1.5, "dash": "dot"},
                }
            ],
            "annotations": [
                {
                    "xref": "paper", "x": 1, "xanchor": "right", "y": 100 * rate,
                    "yanchor": "bottom", "text": f"false alarms allowed: {_percent(rate)}",
                    "showarrow": False, "font": {"color": "@broken", "size": 12},
                }
            ],
            "margin": {"l": 74, "r": 24, "t": 8, "b": 62},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "showlegend": True,
        },
    )  # fmt: skip


def _gaming_figure(comparison: Comparison) -> Figure:
    ranked = sorted(comparison.gaming, key=lambda g: -g.score)[:25]
    flagged = [g for g in ranked if g.raised_before]
    others = [g for g in ranked if not g.raised_before]
    groups = (("Flagged", flagged, "@broken", "star"), ("Not", others, "@series1", "circle"))
    traces: list[Trace] = [
        {
            "type": "scatter", "mode": "markers", "name": name,
            "x": rounded(np.array([g.score for g in judged]), 3),
            "y": [g.connection for g in judged],
            "marker": {"color": colour, "size": 11, "symbol": symbol},
            "hovertemplate": "%{y}: score %{x:.2f}<extra>" + name + "</extra>",
        }
        for name, judged, colour, symbol in groups
    ]  # fmt: skip
    layout = _row_layout("drift before events [standard deviations]")
    layout["yaxis"] = {
        **dict(layout["yaxis"]),  # type: ignore[call-overload]
        "categoryorder": "array", "categoryarray": [g.connection for g in ranked],
    }  # fmt: skip
    return Figure(
        name="gaming",
        title="Gaming score of the listed events",
        label="Drift before the events against placebo days, for each connection.",
        reading="Drift of the meter from its baseline in the window before the events, against "
        "the same window of days without event; the 25 highest. One by one "
        f"{_percent(comparison.rules.gaming.false_alarm_rate)} of the honest are flagged; the "
        "table says who remains among all.",
        source="gaming.csv",
        height_px=120 + 22 * len(ranked),
        traces=traces,
        layout=layout,
    )


def _methods_table(ranked: Sequence[MethodScore]) -> PlannerTable:
    return PlannerTable(
        name="methods",
        title="Methods",
        caption="Error and bias as shares of the mean load in the events",
        head=(
            ("Method", False), ("Error [%]", True), ("10th to 90th [%]", True), ("Bias [%]", True),
            ("10th to 90th [%]", True), ("Error of the sum [%]", True),
            ("Bias of the sum [%]", True), ("Refused", True),
        ),
        rows=tuple(
            (
                s.method, fixed(100 * s.error_median, 1),
                f"{fixed(100 * s.error_low, 0)} to {fixed(100 * s.error_high, 0)}",
                fixed(100 * s.bias_median, 1),
                f"{fixed(100 * s.bias_low, 0)} to {fixed(100 * s.bias_high, 0)}",
                fixed(100 * s.portfolio_error, 1), fixed(100 * s.portfolio_bias, 1),
                f"{s.refused} of {s.baselines}",
            )
            for s in ranked
        ),
        source="methods.csv",
    )  # fmt: skip


def _detection_table(comparison: Comparison) -> PlannerTable:
    study = comparison.detection
    return PlannerTable(
        name="detected",
        title="Flagged",
        caption=f"Share of {study.trials} trials flagged, {study.events} events each",
        head=(("Injected [kW]", False), ("Raised before [%]", True), ("Shifted [%]", True)),
        rows=tuple(
            (fixed(size, 2), fixed(100 * float(raised), 1), fixed(100 * float(shifted), 1))
            for size, raised, shifted in zip(
                study.size_kw, study.raised, study.shifted, strict=True
            )
        ),
        source="detection.csv",
    )


def _gaming_table(comparison: Comparison) -> PlannerTable:
    words = {True: "flagged", False: "no"}
    surely = flagged_among_all(comparison.gaming, comparison.rules.gaming)
    return PlannerTable(
        name="judged",
        title="Judged connections",
        caption="Drift against placebo days, and how often chance drifts as far; among all: the "
        "chance of any false alarm is held at the stated rate (Holm)",
        head=(
            ("Connection", False), ("Events", True), ("Before [kW]", True),
            ("In the event [kW]", True), ("After [kW]", True), ("Chance, before [%]", True),
            ("Chance, after [%]", True),
            ("Raised before", False), ("Among all", False), ("Shifted", False),
            ("Came back [%]", True),
        ),
        rows=tuple(
            (
                g.connection, str(g.events), fixed(g.before_mw * 1e3, 2),
                fixed(g.event_mw * 1e3, 2), fixed(g.after_mw * 1e3, 2),
                fixed(100 * g.before_p, 1), fixed(100 * g.after_p, 1),
                words[g.raised_before], words[g.connection in surely], words[g.shifted],
                fixed(100 * g.recovered, 0),
            )
            for g in sorted(comparison.gaming, key=lambda g: g.before_p)
        ),
        source="gaming.csv",
    )  # fmt: skip


def _delivery_table(comparison: Comparison) -> PlannerTable:
    return PlannerTable(
        name="delivered",
        title="Listed events, by every method",
        caption="What would be paid for if another method had been contracted",
        head=(
            ("Method", False), ("Events", True), ("Refused", True), ("Delivered [kWh]", True),
            ("Baseline less meter [kWh]", True),
        ),
        rows=tuple(
            (
                d.method, str(d.events), str(d.refused), fixed(d.delivered_mwh * 1e3, 1),
                fixed(d.net_mwh * 1e3, 1),
            )
            for d in sorted(comparison.delivery, key=lambda d: -d.delivered_mwh)
        ),
        source="delivery.csv",
    )  # fmt: skip
