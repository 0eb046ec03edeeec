"""The page of tap positions and capacitor steps."""

from __future__ import annotations

import math

import numpy as np

from dso.report.figures import Figure
from dso.report.numbers import fixed
from dso.report.page import STATUS_WORDS, Tile
from dso.report.plot_parts import Trace, rounded
from dso.studies.planner_page import PlannerPage, PlannerTable, render_planner, where_of
from dso.studies.planner_plots import bar_height, bar_layout, bars, position_layout
from dso.studies.taps import TapAnswer, settings_of_positions
from opf.problems.taps import Trial

SHOWN_MAX = 25


def render_taps(answer: TapAnswer) -> bytes:
    """Render the best positions; same answer, same bytes."""
    case = answer.study.case
    settings = ", ".join(map(str, settings_of_positions(answer.controls, answer.best.positions)))
    slack = answer.best.status != "certified"
    saving = None if answer.present is None else answer.present.total_eur - answer.best.total_eur
    return render_planner(
        PlannerPage(
            kind="Taps and capacitor banks",
            command="dso taps",
            title=f"Best positions on {case.network.name}",
            where=where_of([answer.name], case),
            tone="warn" if slack else "good",
            verdict=f"Least cost at {settings}",
            explanation="One position holds over all periods of the study. The market is cleared "
            "anew with the positions fixed, so prices are those of the grid as it then stands; "
            "limits that could not hold count at their scarcity price.",
            tiles=_tiles(answer, saving),
            map=None,
            figures=(_figure(answer),),
            tables=(_table(answer),),
            simbench="simbench" in case.network.name,
        )
    )


def _tiles(answer: TapAnswer, saving: float | None) -> tuple[Tile, ...]:
    best = answer.best
    tiles = [
        Tile(label="Cost", value=fixed(best.cost_eur, 2), unit="EUR",
             note=f"{STATUS_WORDS[best.status]}"
             + (f", slack {fixed(best.penalty_eur, 2)} EUR" if best.penalty_eur > 0 else "")),
        Tile(label="Saved against now", value="n/a" if saving is None else fixed(saving, 2),
             unit="EUR" if saving is not None else "",
             note="cost and priced slack at the present positions, minus those at the best"),
    ]  # fmt: skip
    if answer.by_sweep is not None:
        tiles.append(
            Tile(label="Sweep", value=str(answer.sweep_clearings), unit="clearings",
                 note=f"every combination; least {fixed(answer.by_sweep.total_eur, 2)} EUR")
        )  # fmt: skip
    if answer.by_relaxation is not None:
        tiles.append(
            Tile(label="Relax and round", value=str(answer.relaxation_clearings),
                 unit="clearings",
                 note=f"along the gradient; least {fixed(answer.by_relaxation.total_eur, 2)} EUR")
        )  # fmt: skip
    return tuple(tiles)


def _figure(answer: TapAnswer) -> Figure:
    whole = {trial.positions: trial for trial in answer.trials if trial.whole and trial.proven}
    if len(answer.controls) == 1:
        return _curve(answer, list(whole.values()))
    return _ranking(answer, list(whole.values()))


def _curve(answer: TapAnswer, whole: list[Trial]) -> Figure:
    """Draw cost over the positions of one control; bands where limits cannot hold."""
    control = answer.controls[0]
    held = sorted((t for t in whole if t.penalty_eur == 0), key=lambda t: t.positions)
    slack = sorted({t.positions[0] for t in whole if t.penalty_eur > 0})
    between = [t for t in answer.trials if not t.whole and t.proven and t.penalty_eur == 0]
    groups = (
        ("Cost, all limits hold", held, "@series1", "circle", "lines+markers"),
        ("On the way of the relaxation", between, "@series2", "diamond-open", "markers"),
        ("Best", [answer.best], "@ink", "star", "markers"),
    )
    traces: list[Trace] = [
        {
            "type": "scatter", "mode": mode, "name": name,
            "x": rounded(np.array([t.positions[0] for t in trials]), 4),
            "y": rounded(np.array([t.cost_eur for t in trials]), 5),
            "line": {"color": colour, "width": 2},
            "marker": {"color": colour, "symbol": symbol, "size": 15 if symbol == "star" else 9},
            "hovertemplate": f"position %{{x:.3~g}}: %{{y:,.3f}} EUR<extra>{name}</extra>",
        }
        for name, trials, colour, symbol, mode in groups
        if trials
    ]  # fmt: skip
    layout = position_layout(f"position of {control.name}", "EUR")
    layout["xaxis"] = dict(layout["xaxis"]) | {  # type: ignore[call-overload]
        "range": [control.first - 0.7, control.last + 0.7],
        "dtick": 1 if control.last - control.first <= 20 else None,
    }
    return Figure(
        name="positions",
        title="Cost over the position",
        label=f"Cost of the market over the position of {control.name}.",
        reading="Where limits hold, the cost moves with losses and with what the grid lets the "
        "market use. In the shaded positions some limit cannot hold: what the market costs there "
        "says nothing, because slack at the scarcity price is dearer than anything here.",
        source="trials.csv",
        height_px=380,
        traces=traces,
        layout=layout | _bands(slack),
    )


def _bands(positions: list[float]) -> dict[str, object]:
    """Shade runs of neighbouring positions, each with its words."""
    runs: list[list[float]] = []
    for position in positions:
        if runs and position - runs[-1][1] <= 1:
            runs[-1][1] = position
        else:
            runs.append([position, position])
    return {
        "shapes": [
            {
                "type": "rect", "yref": "paper", "y0": 0, "y1": 1, "x0": first - 0.45,
                "x1": last + 0.45, "fillcolor": "@band", "line": {"width": 0}, "layer": "below",
            }
            for first, last in runs
        ],
        "annotations": [
            {
                "x": (first + last) / 2, "yref": "paper", "y": 0.98, "yanchor": "top",
                "text": "limits<br>cannot hold", "showarrow": False,
                "font": {"color": "@muted", "size": 12},
            }
            for first, last in runs
        ],
    }  # fmt: skip


def _ranking(answer: TapAnswer, whole: list[Trial]) -> Figure:
    """Draw what the best combinations cost beyond the best; those with slack dwarf all others."""
    held = [trial for trial in whole if trial.penalty_eur == 0]
    drawn = held or whole
    ranked = sorted(drawn, key=lambda t: (t.total_eur, t.positions))[:SHOWN_MAX]
    names = [", ".join(f"{position:g}" for position in trial.positions) for trial in ranked]
    beyond = np.array([trial.total_eur - answer.best.total_eur for trial in ranked])
    dearer, short = len(drawn) - len(ranked), len(whole) - len(drawn)
    return Figure(
        name="positions",
        title="What other positions cost beyond the best",
        label="Cost and slack of combinations beyond those of the best one [EUR].",
        reading=f"Positions of {'; '.join(control.name for control in answer.controls)}. "
        + (f"{dearer} dearer combinations are in trials.csv. " if dearer else "")
        + (f"At {short} more some limit cannot hold: far dearer." if short else ""),
        source="trials.csv",
        height_px=bar_height(len(ranked)),
        traces=[bars(names, beyond, "Beyond the best", "@series1", "EUR")],
        layout=bar_layout("EUR beyond the best", legend=False),
    )


def _table(answer: TapAnswer) -> PlannerTable:
    marks = {
        "by the sweep": answer.by_sweep,
        "by relaxation": answer.by_relaxation,
        "now": answer.present,
    }
    found: dict[tuple[float, ...], list[str]] = {}
    trials: dict[tuple[float, ...], Trial] = {}
    for words, trial in marks.items():
        if trial is not None:
            found.setdefault(trial.positions, []).append(words)
            trials[trial.positions] = trial
    return PlannerTable(
        name="ends",
        title="Where the methods ended",
        caption="Positions, and what the market costs there",
        head=(
            ("Found", False), *((control.name, True) for control in answer.controls),
            ("Status", False), ("Cost [EUR]", True), ("Slack [EUR]", True),
        ),
        rows=tuple(
            (
                ", ".join(words), *(f"{position:g}" for position in positions),
                STATUS_WORDS.get(trials[positions].status, trials[positions].status),
                _money(trials[positions].cost_eur), _money(trials[positions].penalty_eur),
            )
            for positions, words in found.items()
        ),
        source="taps.json",
    )  # fmt: skip


def _money(value: float) -> str:
    return fixed(value, 4) if math.isfinite(value) else "none"
