"""The page of outages and restorations."""

from __future__ import annotations

from typing import Final

import numpy as np

from dso.report.figures import Figure
from dso.report.numbers import fixed
from dso.report.page import Tile
from dso.report.plot_parts import Trace, limit_lines, rounded
from dso.report.views import FeederView
from dso.studies.contingency import ContingencyAnswer, name_of, verdict_of
from dso.studies.hosting_page import reached_words
from dso.studies.planner_page import (
    IDLE,
    OPEN,
    PlannerMap,
    PlannerPage,
    PlannerTable,
    feeder_of,
    place_feeder,
    render_planner,
    where_of,
)
from dso.studies.planner_plots import position_layout
from opf.problems.contingency import Extreme, Restoration

STROKES: Final = {"holds": "held", "exceeded": "beyond", "dark": "lost", "none": "lost"}
WORDS: Final = {
    "holds": "Restored, limits hold",
    "exceeded": "Restored, limits exceeded",
    "dark": "Buses left dark",
    "none": "No power flow",
}
MARKS: Final = {
    "holds": ("@series3", "circle"),
    "exceeded": ("@series2", "square"),
    "dark": ("@broken", "x"),
    "none": ("@broken", "cross"),
}


def render_contingency(answer: ContingencyAnswer) -> bytes:
    """Render what outages come to; same answer, same bytes."""
    case = answer.study.case
    feeder = feeder_of(case)
    best = [answer.rows[place] for place in answer.best]
    verdicts = [verdict_of(row) for row in best]
    held = verdicts.count("holds")
    lost = verdicts.count("dark") + verdicts.count("none")
    return render_planner(
        PlannerPage(
            kind="Outages",
            command="dso contingency",
            title=f"Single outages on {case.network.name}",
            where=where_of([answer.name], case),
            tone="good" if held == len(best) else "bad" if lost else "warn",
            verdict=f"{held} of {len(best)} outages are restored within all limits",
            explanation="Each branch is opened alone; every normally-open point that reaches what "
            "it leaves dark is closed, one at a time, and an AC power flow of every period tells "
            "voltages and loadings. Loads and generators run at their profiles, no order is used.",
            tiles=_tiles(answer, best, verdicts),
            map=_map(answer, best, feeder),
            figures=_figures(answer, best, feeder),
            tables=_tables(answer, feeder),
            simbench="simbench" in case.network.name,
        )
    )


def _tiles(
    answer: ContingencyAnswer, best: list[Restoration], verdicts: list[str]
) -> tuple[Tile, ...]:
    dark = [row for row in best if row.dark]
    most = max((row.dark_mw for row in dark), default=0.0)
    beyond = verdicts.count("exceeded")
    return (
        Tile(label="Restored", value=str(verdicts.count("holds")), unit=f"of {len(best)} outages",
             note="every bus supplied, every limit holds", tone="good"),
        Tile(label="Limits exceeded", value=str(beyond), unit="outages",
             note="restored, but beyond a limit with every tie",
             tone="warn" if beyond else "plain"),
        Tile(label="Left dark", value=str(len(dark)), unit="outages",
             note=f"up to {fixed(most, 3)} MW of load without supply",
             tone="bad" if dark else "plain"),
        Tile(label="Normally-open points", value=str(len(answer.ties)), unit="",
             note=f"{len(answer.rows)} switching states solved"),
    )  # fmt: skip


def _map(answer: ContingencyAnswer, best: list[Restoration], feeder: FeederView) -> PlannerMap:
    by_key: dict[tuple[str, int], Restoration] = {
        (row.outage.kind, row.outage.element): row for row in best
    }
    network = answer.study.case.network
    strokes, tips = [], []
    for k, key in enumerate(zip(feeder.branch_kind, feeder.branch_element, strict=True)):
        row = by_key.get(key)
        text = "Not opened"
        if not feeder.branch_in_service[k]:
            strokes.append(OPEN)
            text = "Normally open"
        elif row is None:
            strokes.append(IDLE)
        else:
            strokes.append(STROKES[verdict_of(row)])
            text = WORDS[verdict_of(row)]
            if row.tie is not None:
                text += f"\nClose {name_of(network, row.tie)}"
            if row.dark:
                text += f"\n{len(row.dark)} buses, {fixed(row.dark_mw, 3)} MW dark"
        tips.append(f"{feeder.branch_name[k]}\n{text}")
    return PlannerMap(
        title="What happens when a branch is lost",
        label=f"Map of the feeder: {len(strokes)} branches by what their outage comes to",
        view=place_feeder(feeder, None, None),
        strokes=tuple(strokes),
        bus_tips=feeder.bus_name,
        branch_tips=tuple(tips),
        scale=None,
        scale_words="",
        legend=(
            ("held", "outage restored, all limits hold"),
            ("beyond", "restored, but a limit is exceeded"),
            ("lost", "buses left dark, or no power flow"),
            (IDLE, "not opened"),
            (OPEN, "normally open"),
        ),
        reading="Each branch by the best that can be done when it is out.",
        source="outages.csv",
    )


def _figures(
    answer: ContingencyAnswer, best: list[Restoration], feeder: FeederView
) -> tuple[Figure, ...]:
    inside = ~feeder.substation_node()
    stated = {
        "loading": _shared(feeder.loading_percent_max[feeder.branch_in_service], "limit", "%"),
        "low": _shared(feeder.vm_pu_min[inside], "lower limit", "pu"),
        "high": _shared(feeder.vm_pu_max[inside], "upper limit", "pu"),
    }
    return (
        _extremes(
            answer, best, feeder, "loading", "Highest loading after restoration", "%",
            [row.loading_max for row in best], stated["loading"],
            "A mark per outage at the fullest branch of its best restoration.",
        ),
        _extremes(
            answer, best, feeder, "low", "Lowest voltage after restoration", "pu",
            [row.vm_min for row in best], stated["low"],
            "A mark per outage at the lowest voltage of its best restoration.",
        ),
        _extremes(
            answer, best, feeder, "high", "Highest voltage after restoration", "pu",
            [row.vm_max for row in best], stated["high"],
            "A mark per outage at the highest voltage of its best restoration.",
        ),
    )  # fmt: skip


def _shared(values: np.ndarray, words: str, unit: str) -> list[tuple[float, str]]:
    """Return a limit that all buses or branches share, in words."""
    if values.size and np.all(values == values[0]):
        return [(float(values[0]), f"{words} {values[0]:.4g} {unit}")]
    return []


def _extremes(
    answer: ContingencyAnswer, best: list[Restoration], feeder: FeederView, name: str,
    title: str, unit: str, extremes: list[Extreme | None], limits: list[tuple[float, str]],
    reading: str,
) -> Figure:  # fmt: skip
    """Draw one extreme of every outage, marked by what the outage comes to."""
    network, labels = answer.study.case.network, answer.study.case.periods.labels()
    digits = 1 if unit == "%" else 4
    traces: list[Trace] = []
    for verdict, (colour, symbol) in MARKS.items():
        chosen = [
            (k, row, extreme)
            for k, (row, extreme) in enumerate(zip(best, extremes, strict=True))
            if extreme is not None and verdict_of(row) == verdict
        ]
        if not chosen:
            continue
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": WORDS[verdict],
                "x": [k + 1 for k, _, _ in chosen],
                "y": rounded(np.array([e.value for _, _, e in chosen]), 5),
                "marker": {"color": colour, "symbol": symbol, "size": 9,
                           "line": {"width": 0}},
                "text": [
                    f"<b>{name_of(network, row.outage)} out</b><br>"
                    + ("" if row.tie is None else f"{name_of(network, row.tie)} closed<br>")
                    + f"{feeder.name_of(e.element_kind, e.element)}: {fixed(e.value, digits)} "
                    f"{unit}<br>{labels[e.period]}"
                    for _, row, e in chosen
                ],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )  # fmt: skip
    layout = position_layout("number of the outage in the table", unit) | limit_lines(limits)
    return Figure(
        name=name,
        title=title,
        label=f"{title} of every outage [{unit}].",
        reading=f"{reading} Point at a mark for branch, tie, element and period.",
        source="outages.csv",
        height_px=340,
        traces=traces,
        layout=layout,
    )


def _tables(answer: ContingencyAnswer, feeder: FeederView) -> tuple[PlannerTable, ...]:
    network = answer.study.case.network
    best = [answer.rows[place] for place in answer.best]
    dark = [row for row in best if row.dark]
    names = dict(zip(feeder.bus.tolist(), feeder.bus_name, strict=True))
    return (
        PlannerTable(
            name="outages",
            title="Outages",
            caption="Every outage with its best restoration",
            head=(
                ("Outage", False), ("No.", True), ("Close", False), ("Comes to", False),
                ("Voltage from [pu]", True), ("to [pu]", True), ("Loading up to [%]", True),
                ("Losses [MWh]", True), ("Limit exceeded most", False), ("Periods beyond", True),
            ),
            rows=tuple(
                (
                    name_of(network, row.outage),
                    str(number),
                    "nothing" if row.tie is None else name_of(network, row.tie),
                    WORDS[verdict_of(row)],
                    fixed(None if row.vm_min is None else row.vm_min.value, 4),
                    fixed(None if row.vm_max is None else row.vm_max.value, 4),
                    fixed(None if row.loading_max is None else row.loading_max.value, 1),
                    fixed(row.losses_mwh, 3),
                    "" if row.reached is None else reached_words(row.reached, feeder),
                    str(row.periods_exceeded),
                )
                for number, row in enumerate(best, start=1)
            ),
            source="outages.csv (there with every tie, not only the best)",
        ),
        PlannerTable(
            name="dark",
            title="Left dark",
            caption="Outages that no single tie restores",
            head=(("Outage", False), ("Load [MW]", True), ("Buses", True), ("Which", False)),
            rows=tuple(
                (
                    name_of(network, row.outage), fixed(row.dark_mw, 3), str(len(row.dark)),
                    ", ".join(names[bus] for bus in row.dark[:6])
                    + (f" and {len(row.dark) - 6} more" if len(row.dark) > 6 else ""),
                )
                for row in dark
            ),
            source="outages.csv",
        ),
    )  # fmt: skip
