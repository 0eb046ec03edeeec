"""The page of the value of reinforcement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from dso.report.figures import Figure
from dso.report.numbers import fixed
from dso.report.page import Tile
from dso.report.views import FeederView, Floats
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
from dso.studies.planner_plots import bar_height, bar_layout, bars, distinct
from dso.studies.reinforcement import BranchValue, OptionValue, ReinforcementValue

BRANCHES_SHOWN: Final = 15
WORTH: Final = ((0.5, "worth3"), (0.1, "worth2"), (0.0, "worth1"))
"""Lower bound of each class, as a share of the largest value."""


def render_reinforcement(found: ReinforcementValue) -> bytes:
    """Render what more rating is worth; same answer, same bytes."""
    worth = [branch for branch in found.branches if branch.eur_per_percent_year > 0]
    case = found.samples[0].study.case
    days = sum(sample.days for sample in found.samples)
    return render_planner(
        PlannerPage(
            kind="Value of reinforcement",
            command="dso reinforce",
            title=f"What more rating is worth on {case.network.name}",
            where=where_of(
                [f"{sample.name} for {sample.days:g} days" for sample in found.samples], case
            ),
            tone="plain",
            verdict=_verdict(found, worth),
            explanation="A shadow price says what a small change of a rating saves; a real "
            "reinforcement is cleared again with the larger rating. Only the rating changes, the "
            "impedance stays. Savings are of energy and flexibility in the sample; payback is "
            "cost over yearly saving, without interest.",
            tiles=_tiles(found, worth, days),
            map=_map(found, feeder_of(case)),
            figures=_figures(found, worth),
            tables=(_option_table(found.options), _branch_table(found.branches)),
            simbench="simbench" in case.network.name,
        )
    )


def _verdict(found: ReinforcementValue, worth: list[BranchValue]) -> str:
    paying = [o for o in found.options if math.isfinite(o.payback_years)]
    if paying:
        best = paying[0]
        return f"{best.name} pays back in {fixed(best.payback_years, 1)} years"
    if not worth:
        return "No rating is reached in the sample: more of it saves nothing"
    if found.options:
        return "None of the options saves anything"
    most = fixed(worth[0].eur_per_percent_year, 2)
    return f"{worth[0].name} is worth most: {most} EUR per % of rating and year"


def _tiles(found: ReinforcementValue, worth: list[BranchValue], days: float) -> tuple[Tile, ...]:
    hours = max((branch.hours_binding_per_year for branch in worth), default=0.0)
    return (
        Tile(label="Sample", value=fixed(days, 0), unit="days",
             note=f"{len(found.samples)} studies, weighted"),
        Tile(label="Cost of the sample", value=fixed(found.cost_eur_year, 0), unit="EUR per year",
             note="of awards, import and priced slack"),
        Tile(label="Ratings with a price", value=str(len(worth)), unit="branches",
             note=f"of {len(found.branches)}; the longest for {fixed(hours, 0)} h a year"),
        Tile(label="Options", value=str(len(found.options)), unit="cleared again",
             note="each alone, in every study of the sample"),
    )  # fmt: skip


def _figures(found: ReinforcementValue, worth: list[BranchValue]) -> tuple[Figure, ...]:
    shown = worth[:BRANCHES_SHOWN]
    names = distinct([b.name for b in shown], [b.element for b in shown])
    figures = []
    if shown:
        figures.append(
            Figure(
                name="branches",
                title="What one percent more rating saves",
                label="Yearly saving per percent of rating of each branch with a price.",
                reading="Shadow prices summed over the sample by the days each study stands for. "
                "A branch that is full in few hours of expensive periods may be worth more than "
                "one that is full all day.",
                source="branches.csv",
                height_px=bar_height(len(shown)),
                traces=[
                    bars(names, _column(shown, "eur_per_percent_year"), "Saving", "@series1",
                         "EUR per % and year")
                ],
                layout=bar_layout("EUR per percent of rating and year", legend=False),
            )
        )  # fmt: skip
    options = found.options
    if options:
        names = distinct(
            [f"{o.name}, +{o.option.added_mva:g} MVA" for o in options],
            [o.option.element for o in options],
        )
        figures.append(
            Figure(
                name="options",
                title="What each option saves in a year",
                label="Yearly saving of each option, by shadow prices and cleared again.",
                reading="The pale bar is what the option would save if every MVA saved as the "
                "first does; the full bar is what remains when the market is cleared again with "
                "the larger rating. The gap is congestion that the option removes before its "
                "last MVA is used.",
                source="options.csv",
                height_px=bar_height(len(options), 2),
                traces=[
                    bars(names, _column(options, "saving_marginal_eur_year"),
                         "By shadow prices", "@series5", "EUR per year"),
                    bars(names, _column(options, "saving_eur_year"), "Cleared again",
                         "@series3", "EUR per year"),
                ],
                layout=bar_layout("EUR per year", legend=True),
            )
        )  # fmt: skip
    return tuple(figures)


def _column(rows: Sequence[BranchValue] | Sequence[OptionValue], name: str) -> Floats:
    return np.array([getattr(row, name) for row in rows], dtype=float)


def _map(found: ReinforcementValue, feeder: FeederView) -> PlannerMap:
    by_key: dict[tuple[str, int], BranchValue] = {
        (b.element_kind, b.element): b for b in found.branches
    }
    most = max((b.eur_per_percent_year for b in found.branches), default=0.0)
    strokes, tips = [], []
    for k, key in enumerate(zip(feeder.branch_kind, feeder.branch_element, strict=True)):
        branch = by_key.get(key)
        value = 0.0 if branch is None else branch.eur_per_percent_year
        if not feeder.branch_in_service[k]:
            strokes.append(OPEN)
        elif value <= 0:
            strokes.append(IDLE)
        else:
            strokes.append(next(name for share, name in WORTH if value >= share * most))
        text = "Open" if branch is None else (
            f"{fixed(value, 2)} EUR per % and year\n"
            f"Rating {fixed(branch.rating_mva, 3)} MVA, "
            f"priced {fixed(branch.hours_binding_per_year, 0)} h a year"
        )  # fmt: skip
        tips.append(f"{feeder.branch_name[k]}\n{text}")
    return PlannerMap(
        title="Where more rating would save",
        label=f"Map of the feeder: {len(strokes)} lines and transformers by the value of rating",
        view=place_feeder(feeder, None, None),
        strokes=tuple(strokes),
        bus_tips=feeder.bus_name,
        branch_tips=tuple(tips),
        scale=None,
        scale_words="",
        legend=(
            ("worth3", "at least half of the largest value"),
            ("worth2", "at least a tenth of it"),
            ("worth1", "less than that, but reached"),
            (IDLE, "never reached: more rating saves nothing"),
            (OPEN, "open"),
        ),
        reading="Branches by what one percent more rating saves in a year.",
        source="branches.csv",
    )


def _option_table(options: tuple[OptionValue, ...]) -> PlannerTable:
    return PlannerTable(
        name="options-table",
        title="Options",
        caption="What could be built, the quickest payback first",
        head=(
            ("Branch", False), ("More rating [MVA]", True), ("Cost [EUR]", True),
            ("Saving by shadow prices [EUR/year]", True),
            ("Saving, cleared again [EUR/year]", True),
            ("Payback [years]", True),
        ),
        rows=tuple(
            (
                o.name, fixed(o.option.added_mva, 3), fixed(o.option.cost_eur, 0),
                fixed(o.saving_marginal_eur_year, 2), fixed(o.saving_eur_year, 2),
                fixed(o.payback_years, 1) if math.isfinite(o.payback_years) else "never",
            )
            for o in options
        ),
        source="options.csv",
    )  # fmt: skip


def _branch_table(branches: tuple[BranchValue, ...]) -> PlannerTable:
    return PlannerTable(
        name="branches-table",
        title="Branches",
        caption="Every branch whose rating is reached in the sample, the largest value first",
        head=(
            ("Branch", False), ("Rating [MVA]", True), ("Value [EUR per % and year]", True),
            ("Value [EUR per MVA and year]", True), ("Priced [h per year]", True),
        ),
        rows=tuple(
            (
                b.name, fixed(b.rating_mva, 3), fixed(b.eur_per_percent_year, 4),
                fixed(b.eur_per_mva_year, 2), fixed(b.hours_binding_per_year, 1),
            )
            for b in branches
            if b.eur_per_percent_year > 0
        ),
        source="branches.csv",
    )  # fmt: skip
