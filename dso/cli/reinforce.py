"""`dso reinforce`: what more rating of lines and transformers is worth."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dso.cli.planner_run import (
    add_output,
    read_studies,
    refuse_output,
    shown_progress,
    write_answer,
)

if TYPE_CHECKING:
    from dso.studies.reinforcement import ReinforcementValue

MARKER: Final = "reinforce.json"
DESCRIPTION: Final = """\
Value more rating of every line and transformer over a year, made of sample days with the days each
stands for: shadow prices say what a small change saves. With --costs, each option of the table is
also cleared again with the larger rating, and its saving set beside its cost. Only the rating
changes, not the impedance."""

EPILOG: Final = """\
examples:
  dso reinforce summer=150 winter=215 --out out/value
  dso reinforce summer=150 winter=215 --costs costs.csv --out out/value

costs.csv (no cost is assumed; more than one row per branch is allowed):
  element_kind,element,added_mva,cost_eur
  trafo,0,0.09,14000
  line,33,0.05,21500

writes branches.csv, options.csv, reinforce.json and index.html

exit codes:
  0  valued
  2  bad input: every problem is listed, nothing is written; also a sample that clears
     infeasible or without proof, because its shadow prices would say nothing"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso reinforce`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "samples", nargs="+", metavar="STUDY=DAYS", help="a study and how many days it stands for"
    )
    parser.add_argument("--costs", type=Path, metavar="FILE", help="options and what they cost")
    add_output(parser)


def _weights(samples: list[str]) -> list[tuple[str, float]]:
    """Split ``STUDY=DAYS``; all that are none in one error."""
    from data.errors import Problem, refuse_if_any

    found, problems = [], []
    for text in samples:
        folder, _, days = text.rpartition("=")
        try:
            weight = float(days)
        except ValueError:
            weight = math.nan
        if folder and weight > 0 and math.isfinite(weight):
            found.append((folder, weight))
        else:
            remedy = "e.g. summer=150"
            problems.append(Problem(where=text, what="is not STUDY=DAYS", remedy=remedy))
    refuse_if_any(problems)
    return found


def run(arguments: argparse.Namespace) -> int:
    """Read, clear, value, write; return the exit code."""
    refuse_output(arguments, MARKER)
    weights = _weights(arguments.samples)
    studies = read_studies([folder for folder, _ in weights])

    from dso.studies.reinforcement import (
        SampleDay,
        read_costs,
        reinforcement_files,
        value_reinforcement,
    )
    from dso.studies.reinforcement_page import render_reinforcement

    options = () if arguments.costs is None else read_costs(arguments.costs)
    samples = [
        SampleDay(name=name, study=study, days=days)
        for (name, study), (_, days) in zip(studies, weights, strict=True)
    ]
    with shown_progress(arguments) as progress:
        found = value_reinforcement(samples, options, progress=progress)
    _print(found)
    write_answer(arguments, MARKER, reinforcement_files(found), render_reinforcement(found))
    return 0


def _print(found: ReinforcementValue) -> None:
    worth = [branch for branch in found.branches if branch.eur_per_percent_year > 0]
    days = sum(sample.days for sample in found.samples)
    print(f"{len(worth)} of {len(found.branches)} ratings have a price in {days:g} days")
    for branch in worth[:10]:
        print(
            f"  {branch.name}: {branch.eur_per_percent_year:,.2f} EUR per % and year, "
            f"{branch.eur_per_mva_year:,.2f} EUR per MVA and year"
        )
    for option in found.options:
        payback = (
            f"pays back in {option.payback_years:,.1f} years"
            if math.isfinite(option.payback_years)
            else "never pays back"
        )
        print(
            f"  {option.name} +{option.option.added_mva:g} MVA for "
            f"{option.option.cost_eur:,.0f} EUR saves {option.saving_eur_year:,.2f} EUR per "
            f"year: {payback}"
        )
