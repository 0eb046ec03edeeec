"""`dso contingency`: outages of single branches and what normally-open points restore."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Final

from dso.cli.planner_run import (
    add_output,
    read_studies,
    refuse_output,
    shown_progress,
    write_answer,
)

MARKER: Final = "contingency.json"
DESCRIPTION: Final = """\
Open each line and transformer alone, close each normally-open point that reaches what is left
dark, and solve an AC power flow of every period: voltages, loadings, limits exceeded, losses; or
which buses stay dark. On a radial feeder these are the branch exchanges: one tie closed, one branch
of the loop opened. Loads and generators run as the study says, without a market."""

EPILOG: Final = """\
examples:
  dso contingency study --out out/outages
  dso contingency study --outage line:3 --outage trafo:0 --tie line:93 --out out/some
  dso contingency study --tie switch:12-45 --out out/coupler

A normally-open point is a line or transformer out of service or with an open switch at an end; an
open bus-bus switch is named by its buses with --tie. Naming ties or outages leaves out the others.

writes outages.csv (every outage with every tie that helps), contingency.json and index.html

exit codes:
  0  solved, whatever was found
  2  bad input: every problem is listed, nothing is written"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso contingency`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("study", metavar="STUDY", help="the study folder")
    parser.add_argument(
        "--outage", action="append", default=[], metavar="KIND:ID",
        help="line:3 or trafo:0; may be repeated (default: every closed branch)",
    )  # fmt: skip
    parser.add_argument(
        "--tie", action="append", default=[], metavar="KIND:ID",
        help="line:93, trafo:1 or switch:BUS-BUS; may be repeated (default: every open branch)",
    )  # fmt: skip
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read, open, close, solve, write; return the exit code."""
    refuse_output(arguments, MARKER)
    ((name, study),) = read_studies([arguments.study])

    from dso.studies.contingency import contingency_files, find_restorations, verdict_of
    from dso.studies.contingency_page import render_contingency

    with shown_progress(arguments) as progress:
        answer = find_restorations(
            name, study, ties=arguments.tie, outages=arguments.outage, progress=progress
        )
    counts = Counter(verdict_of(answer.rows[place]) for place in answer.best)
    print(
        f"{len(answer.best)} outages, {len(answer.ties)} normally-open points: "
        f"{counts['holds']} restored within limits, {counts['exceeded']} restored beyond a limit, "
        f"{counts['dark']} leave buses dark, {counts['none']} without a power flow"
    )
    write_answer(arguments, MARKER, contingency_files(answer), render_contingency(answer))
    return 0
