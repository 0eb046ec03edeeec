"""Files of a simulated real-time day: minutes, what was broken and by whom, and a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from data.canonical import pretty_json
from data.csv_table import Column, table_bytes
from data.periods import Periods
from dso.realtime.simulation import LEAD_QUARTERS, Run, Scene
from dso.report.colours import THEMES

LEAD_MINUTES: Final = 15 * LEAD_QUARTERS
FONT: Final = "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
SIZE: Final = (1240, 980)


def day_files(scene: Scene, runs: Mapping[str, Run]) -> dict[str, bytes]:
    """Return the files of the runs of one scene, by name.

    * ``minutes.csv``: run, minute, violated_mw, over_upper_pu, under_lower_pu, devices not counted
      on, letters of the correction's reason
    * ``violations.csv``: every episode of every run with the devices behind it
    * ``realtime.json``: figures of each run
    """
    return {
        "minutes.csv": _minutes(runs),
        "violations.csv": _violations(runs),
        "realtime.json": pretty_json(summary(scene, runs)),
    }


def summary(scene: Scene, runs: Mapping[str, Run]) -> dict[str, Any]:
    """Return the figures of the runs as plain values."""
    faults = scene.world.faults
    return {
        "feeder": scene.at.network.name,
        "from": _counted(scene).labels()[0],
        "minutes": scene.world.minutes - LEAD_MINUTES,
        "devices": len(scene.fleet.assets),
        "late": len(faults.late_minutes),
        "silent": len(faults.silent_from),
        "lying": len(faults.lying),
        "runs": {
            name: {
                "carrier": run.carrier,
                "engine": run.figures.engine,
                "violated_mwh": run.figures.violated_mwh,
                "violated_element_mwh": run.figures.violated_element_mwh,
                "minutes_violated": run.figures.minutes,
                "episodes": len(run.figures.episodes),
                "longest_episode_minutes": run.figures.longest_minutes,
                "fed_in_mwh": run.figures.fed_in_mwh,
                "losses_mwh": run.figures.losses_mwh,
                "letters": run.record.letters,
                "fallbacks": _fallbacks(run),
            }
            for name, run in runs.items()
        },
    }


def _fallbacks(run: Run) -> dict[str, int]:
    """Count the minutes in which an answer rested on a fallback, by its name."""
    found: dict[str, int] = {}
    for decision in run.record.decisions:
        text = (
            ""
            if decision is None or decision.correction is None
            else (decision.correction.fallback)
        )
        if text:
            name = text.partition(":")[0]
            found[name] = found.get(name, 0) + 1
    return found


def _counted(scene: Scene) -> Periods:
    periods = scene.positions.periods
    return periods.from_index(LEAD_QUARTERS)


def _minutes(runs: Mapping[str, Run]) -> bytes:
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            "run", "minute", "violated_mw", "over_upper_pu", "under_lower_pu", "not_counted_on",
            "corrected",
        )
    }  # fmt: skip
    for name, run in runs.items():
        figures, labels = run.figures, run.record.periods.labels()
        for minute in range(LEAD_MINUTES, len(labels)):
            decision = run.record.decisions[minute]
            columns["run"].append(name)
            columns["minute"].append(labels[minute])
            columns["violated_mw"].append(float(figures.short_mw[minute]))
            columns["over_upper_pu"].append(float(figures.over_upper_pu[minute]))
            columns["under_lower_pu"].append(float(figures.under_lower_pu[minute]))
            absent = 0 if decision is None else int(decision.taken_as_is.sum())
            columns["not_counted_on"].append(absent)
            moved = decision is not None and decision.correction is not None
            columns["corrected"].append(
                int(decision.correction.changed.sum()) if moved and decision else 0  # type: ignore[union-attr]
            )
    integers = ("not_counted_on", "corrected")
    table: dict[str, Column] = {
        name: values
        if isinstance(values[0], str)
        else np.array(values, dtype=np.int64 if name in integers else float)
        for name, values in columns.items()
    }
    return table_bytes(table)


def _violations(runs: Mapping[str, Run]) -> bytes:
    rows = [(name, run, each) for name, run in runs.items() for each in run.figures.episodes]
    table: dict[str, Column] = {
        "run": [name for name, _, _ in rows],
        "element_kind": [each.element_kind for _, _, each in rows],
        "element": np.array([each.element for _, _, each in rows], dtype=np.int64),
        "side": [each.side for _, _, each in rows],
        "from": [run.record.periods.labels()[each.first] for _, run, each in rows],
        "minutes": np.array([each.minutes for _, _, each in rows], dtype=np.int64),
        "value": np.array([each.value for _, _, each in rows], dtype=float),
        "limit": np.array([each.limit for _, _, each in rows], dtype=float),
        "unit": ["pu" if each.element_kind == "bus" else "percent" for _, _, each in rows],
        "mw_short": np.array([each.mw_short for _, _, each in rows], dtype=float),
        "devices": [
            "; ".join(f"{who.asset} {who.state} {who.off_mw:+.3f} MW" for who in each.culprits)
            for _, _, each in rows
        ],
    }
    return table_bytes(table)


def draw_day(scene: Scene, runs: Mapping[str, Run], theme: str = "light") -> str:
    """Draw both runs over the day: what was violated, the worst voltage, who did not follow.

    Returns
    -------
    str
        A page that needs no network.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    colours = THEMES[theme]
    figure = make_subplots(
        rows=3,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.08,
        row_heights=[0.36, 0.36, 0.28],
        subplot_titles=(
            "Violated: what the worst limit of each kind is short of [MW-equivalent]",
            "Worst voltage against its upper limit [pu]: above 0 the limit is broken",
            "Devices nobody counted on: silent, late, lying or off",
        ),
    )
    styles = dict(zip(runs, (("broken", "solid"), ("series1", "solid")), strict=False))
    for name, run in runs.items():
        colour, dash = styles[name]
        line = {"color": colours[colour], "width": 1.6, "dash": dash, "shape": "hv"}
        hours = (np.arange(run.record.periods.count) - LEAD_MINUTES) / 60.0
        kept = hours >= 0.0
        shown: dict[str, Any] = {"mode": "lines", "line": line, "legendgroup": name}
        label = f"{name}: {run.figures.violated_mwh:.3f} MWh in {run.figures.minutes} min"
        figure.add_trace(
            go.Scatter(x=hours[kept], y=run.figures.short_mw[kept], name=label, **shown), 1, 1
        )
        over = run.figures.over_upper_pu[kept]
        figure.add_trace(go.Scatter(x=hours[kept], y=over, showlegend=False, **shown), 2, 1)
        absent = [0 if d is None else int(d.taken_as_is.sum()) for d in run.record.decisions]
        if name != next(iter(runs)):
            y = np.array(absent)[kept]
            figure.add_trace(go.Scatter(x=hours[kept], y=y, showlegend=False, **shown), 3, 1)
    figure.add_hline(y=0.0, row=2, col=1, line={"color": colours["ink"], "width": 1.2})
    _dress(figure, colours, scene)
    text: str = figure.to_html(include_plotlyjs=True, config={"displayModeBar": False})
    return text.replace("<body>", f'<body style="margin:0;background:{colours["page"]}">')


def _dress(figure: Any, colours: Mapping[str, str], scene: Scene) -> None:  # noqa: ANN401 - plotly has no types
    lines = {"gridcolor": colours["grid"], "linecolor": colours["edge"], "ticks": "outside",
             "tickcolor": colours["edge"], "zeroline": False}  # fmt: skip
    for row, title in ((1, "MW"), (2, "pu"), (3, "devices")):
        figure.update_yaxes(title_text=title, row=row, col=1, **lines)
        figure.update_xaxes(row=row, col=1, **lines)
    figure.update_yaxes(rangemode="tozero", row=1, col=1)
    figure.update_yaxes(rangemode="tozero", row=3, col=1)
    start = _counted(scene).labels()[0]
    figure.update_xaxes(title_text=f"hours after {start}", row=3, col=1)
    name = scene.at.network.name
    figure.update_layout(
        title={
            "text": f"{name}: {len(scene.fleet.assets)} devices, minute by minute",
            "x": 0.5, "font": {"size": 18},
        },
        width=SIZE[0], height=SIZE[1], paper_bgcolor=colours["page"],
        plot_bgcolor=colours["card"],
        font={"family": FONT, "size": 14, "color": colours["ink"]},
        legend={"orientation": "h", "y": -0.09, "x": 0.5, "xanchor": "center"},
        margin={"l": 80, "r": 30, "t": 90, "b": 110},
    )  # fmt: skip
    figure.update_annotations(font={"size": 14, "color": colours["ink"]})
