"""The page of hosting capacities."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from dso.report.figures import Figure
from dso.report.numbers import fixed
from dso.report.page import Tile
from dso.report.views import FeederView, Floats
from dso.studies.hosting import TECHNOLOGIES, BusCapacity, HostingAnswer
from dso.studies.planner_page import (
    IDLE,
    OPEN,
    PlannerMap,
    PlannerPage,
    PlannerTable,
    feeder_of,
    place_feeder,
    render_planner,
    size_scale,
    where_of,
)
from dso.studies.planner_plots import bar_height, bar_layout, bars, distinct
from opf.problems.unmarketed import ReachedLimit

BUSES_SHOWN: Final = 40
LIMIT_WORDS: Final = {
    ("bus", "upper"): ("Upper voltage limit", "@series2"),
    ("bus", "lower"): ("Lower voltage limit", "@series4"),
    ("line", ""): ("Rating of a line", "@series1"),
    ("trafo", ""): ("Rating of a transformer", "@series3"),
    ("ext_grid", ""): ("Cap at the substation", "@ink"),
    ("", ""): ("No power flow beyond", "@broken"),
}


def render_hosting(answer: HostingAnswer) -> bytes:
    """Render what each bus can host; same answer, same bytes."""
    case = answer.studies[0][1].case
    feeder = feeder_of(case)
    name = TECHNOLOGIES[answer.question.technology][0]
    sizes = np.array([row.found.capacity_mw for row in answer.buses])
    least = answer.buses[int(np.argmin(sizes))] if len(sizes) else None
    blocked = bool(len(sizes)) and sizes.max() == 0
    verdict = "No bus was asked for"
    if blocked and least is not None and least.found.reached is not None:
        verdict = f"Nothing can be added: {reached_words(least.found.reached, feeder)}"
    elif least is not None:
        verdict = (
            f"{fixed(float(sizes.min()), 3)} to {fixed(float(sizes.max()), 3)} MW of {name}, "
            "depending on the bus"
        )
    return render_planner(
        PlannerPage(
            kind="Hosting capacity",
            command="dso hosting",
            title=f"Hosting capacity for {name} on {case.network.name}",
            where=where_of([name for name, _ in answer.studies], case),
            tone="bad" if blocked else "good",
            verdict=verdict,
            explanation=f"The largest addition at one bus alone, running as the profile "
            f"{Path(answer.question.profile).name} says, with which an AC power flow keeps every "
            "limit in every period. Additions at several buses share what the grid has: the "
            "numbers do not add up.",
            tiles=_tiles(answer, sizes),
            map=_map(answer, feeder),
            figures=_figures(answer, feeder),
            tables=(_table(answer, feeder),),
            simbench="simbench" in case.network.name,
        )
    )


def reached_words(reached: ReachedLimit | None, feeder: FeederView) -> str:
    """Say which limit stands in the way."""
    if reached is None:
        return "no AC power flow"
    if reached.element_kind == "ext_grid":
        return f"substation, {reached.side} cap"
    name = feeder.name_of(reached.element_kind, reached.element)
    return f"{name}, {reached.side} voltage" if reached.element_kind == "bus" else name


def _limit_key(reached: ReachedLimit | None) -> tuple[str, str]:
    if reached is None:
        return ("", "")
    return (reached.element_kind, reached.side if reached.element_kind == "bus" else "")


def _tiles(answer: HostingAnswer, sizes: Floats) -> tuple[Tile, ...]:
    tick = fixed(answer.question.tick_mw, 4).rstrip("0").rstrip(".")
    kinds = [LIMIT_WORDS[_limit_key(row.found.reached)][0] for row in answer.buses]
    common = max(set(kinds), key=lambda kind: (kinds.count(kind), kind), default="none")
    middle = float(np.median(sizes)) if len(sizes) else None
    tiles = [
        Tile(label="Buses searched", value=str(len(sizes)), unit="",
             note=f"tick of the search {tick} MW"),
        Tile(label="Middle bus", value=fixed(middle, 3), unit="MW",
             note="half of the buses host more, half less"),
        Tile(label="Most frequent limit", value=str(kinds.count(common)), unit="buses",
             note=common),
    ]  # fmt: skip
    market = [row for row in answer.buses if row.with_market_mw is not None]
    if market:
        gain = max((row.with_market_mw or 0.0) - row.found.capacity_mw for row in market)
        tiles.append(
            Tile(label="Gain by the market", value=fixed(gain, 3), unit="MW",
                 note="at the bus where the orders make most room")
        )  # fmt: skip
    return tuple(tiles)


def _map(answer: HostingAnswer, feeder: FeederView) -> PlannerMap:
    by_bus = {row.found.bus: row for row in answer.buses}
    values = np.array(
        [by_bus[b].found.capacity_mw if b in by_bus else np.nan for b in feeder.bus.tolist()]
    )
    scale = size_scale(values, "MW")
    tips = []
    for k, bus in enumerate(feeder.bus.tolist()):
        row = by_bus.get(bus)
        text = "Not searched" if row is None else (
            f"Hosts {fixed(row.found.capacity_mw, 3)} MW\n"
            f"Then: {reached_words(row.found.reached, feeder)}"
        )  # fmt: skip
        tips.append(f"{feeder.bus_name[k]}\n{text}")
    reached = {
        (row.found.reached.element_kind, row.found.reached.element)
        for row in answer.buses
        if row.found.reached is not None
    }
    strokes = []
    for key, on in zip(
        zip(feeder.branch_kind, feeder.branch_element, strict=True),
        feeder.branch_in_service.tolist(), strict=True,
    ):  # fmt: skip
        strokes.append(OPEN if not on else "beyond" if key in reached else IDLE)
    return PlannerMap(
        title="Where how much fits",
        label=f"Map of the feeder: {len(tips)} buses coloured by hosting capacity",
        view=place_feeder(feeder, values, scale),
        strokes=tuple(strokes),
        bus_tips=tuple(tips),
        branch_tips=feeder.branch_name,
        scale=scale,
        scale_words="Hosting capacity of the bus alone; beyond the end the same colour",
        legend=(
            ("beyond", "its rating bounds some bus"),
            (IDLE, "in service"),
            (OPEN, "open"),
        ),
        reading="Buses by what each could host alone; grey ones were not searched.",
        source="hosting.csv",
    )


def _figures(answer: HostingAnswer, feeder: FeederView) -> tuple[Figure, ...]:
    ranked = sorted(answer.buses, key=lambda row: (row.found.capacity_mw, row.found.bus))
    shown = ranked if len(ranked) <= BUSES_SHOWN else _spread(ranked)
    names = distinct([_bus_name(row, feeder) for row in shown], [row.found.bus for row in shown])
    sizes = np.array([row.found.capacity_mw for row in shown])
    keys = [_limit_key(row.found.reached) for row in shown]
    traces = [
        bars(
            [name for name, key in zip(names, keys, strict=True) if key == wanted],
            sizes[[k for k, key in enumerate(keys) if key == wanted]],
            words, colour, "MW",
        )
        for wanted, (words, colour) in LIMIT_WORDS.items()
        if wanted in keys
    ]  # fmt: skip
    with_market = [row.with_market_mw for row in shown]
    if any(value is not None for value in with_market):
        traces.append(
            {
                "type": "scatter", "mode": "markers", "name": "With the market",
                "y": list(names), "x": with_market,
                "marker": {"color": "@ink", "size": 9, "symbol": "diamond"},
                "hovertemplate": "%{y}: %{x:.4~g} MW with the market<extra></extra>",
            }
        )  # fmt: skip
    layout = bar_layout("MW", legend=True)
    layout |= {
        "barmode": "overlay",
        "yaxis": dict(layout["yaxis"])  # type: ignore[call-overload]
        | {"categoryorder": "array", "categoryarray": list(names)},
    }
    left_out = len(ranked) - len(shown)
    return (
        Figure(
            name="capacity",
            title="What each bus can host, and what stands in the way",
            label="Hosting capacity of each bus, coloured by the limit that bounds it.",
            reading="The colour says which kind of limit one more tick would exceed."
            + (f" {left_out} buses between those shown are in the table." if left_out else "")
            + (
                " Diamonds: what fits when the orders of the study make room, the addition firm."
                if any(value is not None for value in with_market)
                else ""
            ),
            source="hosting.csv",
            height_px=bar_height(len(shown)),
            traces=traces,
            layout=layout,
        ),
    )


def _spread(ranked: list[BusCapacity]) -> list[BusCapacity]:
    """Choose buses evenly from the least to the most."""
    places = np.linspace(0, len(ranked) - 1, BUSES_SHOWN).round().astype(int)
    return [ranked[k] for k in places]


def _bus_name(row: BusCapacity, feeder: FeederView) -> str:
    return feeder.name_of("bus", row.found.bus)


def _table(answer: HostingAnswer, feeder: FeederView) -> PlannerTable:
    market = any(row.with_market_mw is not None for row in answer.buses)
    studies = {name: study.case.periods.labels() for name, study in answer.studies}
    rows = []
    for row in answer.buses:
        reached = row.found.reached
        unit = "pu" if reached is not None and reached.element_kind == "bus" else "%"
        digits = 4 if unit == "pu" else 1
        cells = [_bus_name(row, feeder), fixed(row.found.capacity_mw, 4)]
        if market:
            cells.append(fixed(row.with_market_mw, 4))
        cells += [
            reached_words(reached, feeder),
            "" if reached is None else studies[row.study][reached.period],
            "" if reached is None else f"{fixed(reached.value, digits)} {unit}",
            "" if reached is None else f"{fixed(reached.limit, digits)} {unit}",
        ]
        rows.append(tuple(cells))
    return PlannerTable(
        name="buses",
        title="Buses",
        caption="What each bus hosts, and the limit that one more tick exceeds most",
        head=(
            ("Bus", False), ("Hosts [MW]", True),
            *((("With the market [MW]", True),) if market else ()),
            ("Then in the way", False), ("When (UTC)", False), ("Value", True), ("Limit", True),
        ),
        rows=tuple(rows),
        source="hosting.csv",
    )  # fmt: skip
