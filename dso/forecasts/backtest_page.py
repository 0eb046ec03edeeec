"""The page of a backtest: skill, reliability, sharpness, lead time, and the last week of it."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from dso.forecasts.backtest import (
    LOWER,
    UPPER,
    Backtest,
    reliability_of,
    sharpness_of,
    skill_by_lead_of,
)
from dso.report.figures import Figure
from dso.report.numbers import fixed
from dso.report.page import Tile, Tone
from dso.report.plot_parts import Trace, axis, rounded
from dso.studies.planner_page import PlannerPage, PlannerTable, render_planner

Floats = NDArray[np.float64]

COLOURS: Final = ("@series1", "@series2", "@series5")
DASHES: Final = ("solid", "dash", "dot")
KIND_WORDS: Final = {"load": "Load", "pv": "PV", "wind": "Wind", "net": "Net load"}
COVERAGE_AIM: Final = (0.78, 0.82)
WEEK_H: Final = 7 * 24


def _unit(answer: Backtest) -> tuple[float, str]:
    """Return what MW are multiplied by on the page, and the unit: small plants in kW."""
    largest = np.nanmax(np.abs(answer.actual_mw), initial=0.0)
    return (1000.0, "kW") if largest < 1.0 else (1.0, "MW")


def render_backtest(answer: Backtest) -> bytes:
    """Render the page; same backtest, same bytes."""
    question = answer.question
    name = answer.runs[0].name
    every = np.ones(len(answer.month), dtype=bool)
    loss, over_like_day, over_week, covered, width = answer.scores(answer.runs[0], every)
    won = over_like_day is not None and over_like_day > 0.0
    baseline = name == "like-day"
    verdict = (
        "Like days alone: the baseline"
        if baseline
        else f"{name} loses {_percent(abs(over_like_day or 0.0))} "
        f"{'less' if won else 'more'} than like days"
    )
    days = len(question.days())
    return render_planner(
        PlannerPage(
            kind="Forecast backtest",
            command="dso forecast backtest",
            title=f"{KIND_WORDS[answer.kind]}, {days} days forecast as they would have been",
            where=f"{len(answer.series)} series · {question.first_day} to {question.last_day} · "
            f"gate {question.gate:%H:%M} {answer.timezone} on the day before · fitted every "
            f"{question.retrain_days} days",
            tone="good" if won or baseline else "warn",
            verdict=verdict,
            explanation="Pinball loss, the mean over levels, periods and series. Every forecast "
            "used only what was known at its gate; the baselines ran the same way.",
            tiles=(
                Tile(label="Pinball loss", value=_significant(loss, width, answer),
                     unit=_unit(answer)[1],
                     note=f"{name}, mean"),
                Tile(label="Skill over like days", value=_percent(over_like_day), unit="",
                     note="1 - loss / loss of like days", tone="good" if won else "plain"),
                Tile(label="Skill over a week before", value=_percent(over_week), unit="",
                     note="same hour, a week before"),
                Tile(label="In the 80 % band", value=_percent(covered), unit="",
                     note="aim: 78 to 82 %", tone=_band_tone(covered)),
            ),
            map=None,
            figures=(_week(answer), _reliability(answer), _sharpness(answer), _lead(answer)),
            tables=(_table(answer), *_notes(answer)),
            simbench=False,
        )
    )  # fmt: skip


def _reliability(answer: Backtest) -> Figure:
    levels = 100.0 * np.array(answer.question.levels)
    traces: list[Trace] = [
        {
            "type": "scatter", "mode": "lines", "name": "as it should be",
            "x": [0, 100], "y": [0, 100], "hoverinfo": "skip",
            "line": {"color": "@muted", "width": 1, "dash": "dash"},
        }
    ]  # fmt: skip
    for place, run in enumerate(answer.runs):
        share = 100.0 * reliability_of(answer, run)
        traces.append(_line(place, run.name, levels, share, "%{y:.1f} % of readings below"))
    return Figure(
        name="reliability",
        title="Reliability",
        label="Share of readings below each level against the level, per model",
        reading="A point under the dashed line: fewer readings were below that level than it says.",
        source="reliability.csv",
        height_px=380,
        traces=traces,
        layout=_layout("Level of the forecast [%]", "Readings below it [%]", square=True),
    )


def _sharpness(answer: Backtest) -> Figure:
    factor, unit = _unit(answer)
    traces: list[Trace] = []
    for place, run in enumerate(answer.runs):
        nominal, width = sharpness_of(answer, run)
        traces.append(
            _line(place, run.name, 100.0 * nominal, factor * width, f"%{{y:.4~g}} {unit} wide")
        )
    return Figure(
        name="sharpness",
        title="Sharpness",
        label="Mean width of central bands against their nominal coverage, per model",
        reading="Of two reliable forecasts the narrower one knows more.",
        source="sharpness.csv",
        height_px=380,
        traces=traces,
        layout=_layout("Nominal coverage of the central band [%]", f"Mean width [{unit}]"),
    )


def _lead(answer: Backtest) -> Figure:
    traces: list[Trace] = []
    for place, run in enumerate(answer.runs):
        lead_h, skill = skill_by_lead_of(answer, run)
        traces.append(_line(place, run.name, lead_h, 100.0 * skill, "%{y:.1f} % over like days"))
    return Figure(
        name="lead",
        title="Skill by lead time",
        label="Skill over like days against hours from the gate, per model",
        reading="Above zero is better than like days. Hours in which nothing is uncertain, as PV "
        "at night, are left out.",
        source="skill_by_lead.csv",
        height_px=380,
        traces=traces,
        layout=_layout("Hours from the gate to the period [h]", "Skill over like days [%]"),
    )


def _week(answer: Backtest) -> Figure:
    """Draw the last week of the first series: bands, median, readings."""
    run, levels = answer.runs[0], answer.question.levels
    mtu_h = (answer.start[1] - answer.start[0]).total_seconds() / 3600.0
    rows = slice(max(0, len(answer.start) - round(WEEK_H / mtu_h)), len(answer.start))
    zone = ZoneInfo(answer.timezone)
    clock = [_wall(start, zone) for start in answer.start[rows]]
    factor, unit = _unit(answer)
    value = factor * run.value_mw[0, rows]
    traces: list[Trace] = []
    for low, high, words in ((LOWER, UPPER, "10-90 %, darker 30-70 %"), (0.3, 0.7, "")):
        edges = (value[:, levels.index(low)], value[:, levels.index(high)])
        traces.append(_edge(clock, edges[0], None, words))
        traces.append(_edge(clock, edges[1], "@band", words))
    traces.append(
        {
            "type": "scatter", "mode": "lines", "name": "median", "x": clock,
            "y": rounded(value[:, levels.index(0.5)], 9),
            "line": {"color": "@series1", "width": 2},
            "hovertemplate": f"%{{y:.5~g}} {unit}",
        }
    )  # fmt: skip
    traces.append(
        {
            "type": "scatter", "mode": "lines", "name": "read", "x": clock,
            "y": rounded(factor * answer.actual_mw[0, rows], 9),
            "line": {"color": "@ink", "width": 1.5, "dash": "dot"},
            "hovertemplate": f"%{{y:.5~g}} {unit}",
        }
    )  # fmt: skip
    layout = _layout(f"local time, {answer.timezone}", unit)
    layout["hovermode"] = "x unified"
    layout["xaxis"] = {**_dict(layout["xaxis"]), "type": "date", "tickformat": "%a %d %b"}
    return Figure(
        name="week",
        title=f"The last days of {answer.series[0]}, {run.name}",
        label="Bands and median of the forecasts of the last days, with what was read",
        reading="Each day was forecast at its own gate; bands are 10-90 % and 30-70 %.",
        source="forecasts.csv",
        height_px=400,
        traces=traces,
        layout=layout,
    )


def _edge(clock: list[str], value: Floats, fill: str | None, words: str) -> Trace:
    trace: Trace = {
        "type": "scatter", "mode": "lines", "x": clock, "y": rounded(value, 9),
        "line": {"width": 0, "color": "@none"}, "name": words, "legendgroup": words,
        "showlegend": fill is not None and bool(words), "hoverinfo": "skip",
    }  # fmt: skip
    if fill is not None:
        trace |= {"fill": "tonexty", "fillcolor": fill}
    return trace


def _line(place: int, name: str, x: Floats, y: Floats, words: str) -> Trace:
    return {
        "type": "scatter", "mode": "lines+markers", "name": name,
        "x": rounded(x, 3), "y": rounded(y, 9),
        "line": {"color": COLOURS[place % 3], "width": 2, "dash": DASHES[place % 3]},
        "marker": {"size": 6, "color": COLOURS[place % 3]},
        "hovertemplate": f"{words}<extra>{name}</extra>",
    }  # fmt: skip


def _layout(across: str, up: str, *, square: bool = False) -> dict[str, object]:
    vertical = axis(up) | {"automargin": True, "zeroline": True}
    horizontal: dict[str, object] = {
        "title": {"text": across, "standoff": 6, "font": {"size": 12}},
        "gridcolor": "@grid", "zeroline": False, "fixedrange": False,
    }  # fmt: skip
    if square:
        vertical |= {"range": [0, 100]}
        horizontal["range"] = [0, 100]
    return {
        "xaxis": horizontal,
        "yaxis": vertical,
        "hovermode": "closest",
        "margin": {"l": 74, "r": 24, "t": 8, "b": 62},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "showlegend": True,
    }


def _table(answer: Backtest) -> PlannerTable:
    rows = []
    width = answer.scores(answer.runs[0], np.ones(len(answer.month), dtype=bool))[-1]
    unit = _unit(answer)[1]
    for name, month, loss, like_day, week, covered, wide in answer.rows():
        cells = (_significant(loss, width, answer), _percent(like_day), _percent(week),
                 _percent(covered), _significant(wide, width, answer))  # fmt: skip
        rows.append((str(name), str(month), *cells))
    return PlannerTable(
        name="scores",
        title="Scores by month",
        caption="Pinball loss, skill over both baselines, share of readings in the 10-90 % band",
        head=(("Model", False), ("Month", False), (f"Pinball [{unit}]", True),
              ("Over like days", True), ("Over week before", True), ("In 80 % band", True),
              (f"Width of it [{unit}]", True)),
        rows=tuple(rows),
        source="scores.csv",
    )  # fmt: skip


def _notes(answer: Backtest) -> tuple[PlannerTable, ...]:
    rows = [
        (run.name, note, f"{days} days")
        for run in answer.runs
        for note, days in run.fallbacks.items()
    ]
    rows += [("all", warning, "") for warning in answer.warnings]
    rows += [(source.role, source.name, source.sha256[:16]) for source in answer.sources]
    return (
        PlannerTable(
            name="notes",
            title="Fallbacks, warnings and inputs",
            caption="What the models fell back on, what was assumed, and the files by SHA-256",
            head=(("Of", False), ("What", False), ("How often, or hash", False)),
            rows=tuple(rows),
            source="backtest.json",
        ),
    )


def _wall(start: datetime, zone: ZoneInfo) -> str:
    return start.astimezone(zone).strftime("%Y-%m-%dT%H:%M")


def _dict(value: object) -> dict[str, object]:
    assert isinstance(value, dict)  # made by _layout
    return value


def _band_tone(covered: float | None) -> Tone:
    if covered is None or not np.isfinite(covered):
        return "plain"
    return "good" if COVERAGE_AIM[0] <= covered <= COVERAGE_AIM[1] else "warn"


def _percent(share: object) -> str:
    known = isinstance(share, float) and np.isfinite(share)
    return f"{fixed(100.0 * float(share), 1)} %" if known else "-"  # type: ignore[arg-type]


def _significant(value: object, scale: object, answer: Backtest) -> str:
    """Write MW with three digits of the band's width, in kW where the page is in kW."""
    if not isinstance(value, float) or not np.isfinite(value):
        return "-"
    factor = _unit(answer)[0]
    size = float(scale) if isinstance(scale, float) and np.isfinite(scale) else abs(value)
    digits = int(np.clip(3 - np.floor(np.log10(max(factor * size, 1e-9))), 0, 9))
    return fixed(factor * value, digits)
