"""`dso hosting`: how much of a technology each bus can host."""

from __future__ import annotations

import argparse
from typing import Final

from dso.cli.planner_run import (
    add_output,
    read_studies,
    refuse_output,
    shown_progress,
    write_answer,
)

MARKER: Final = "hosting.json"
DESCRIPTION: Final = """\
Find the largest addition of PV, EV charging or heat pumps at each bus alone with which an AC power
flow keeps every limit in every period of the studies. The addition runs as a profile says; what is
there already runs as the studies say, without a market. With --with-market the orders of the
studies may make room: storages, flexible demand, generators that can be curtailed."""

EPILOG: Final = """\
examples:
  dso hosting study --technology pv --profile PV5 --tick-mw 0.01 --out out/pv
  dso hosting summer winter --technology heat_pump --profile Soil_Alternative_2 \\
      --tick-mw 0.002 --power-factor 0.95 --out out/heat
  dso hosting study --technology ev --profile charging.csv --tick-mw 0.05 \\
      --bus 12 --bus "MV1.101 Bus 42" --with-market --out out/ev

--profile is the name of a profile recorded in the study's SimBench grid (a wrong name lists them),
or a CSV file with period_start,share: the power in each period over the size, 0 to 1.
A size is a whole number of ticks; a bus hosts 0 where a limit is exceeded already.

writes hosting.csv, hosting.json and index.html

exit codes:
  0  searched
  2  bad input: every problem is listed, nothing is written"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso hosting`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("studies", nargs="+", metavar="STUDY", help="limits hold in all of them")
    parser.add_argument(
        "--technology", required=True, choices=("pv", "ev", "heat_pump"), help="what is added"
    )
    parser.add_argument("--profile", required=True, metavar="NAME|FILE", help="how it runs")
    parser.add_argument(
        "--tick-mw", required=True, type=float, metavar="MW", help="step of the search"
    )
    parser.add_argument(
        "--power-factor", type=float, default=1.0, metavar="PF",
        help="of the addition, inductive (default 1)",
    )  # fmt: skip
    parser.add_argument(
        "--bus", action="append", default=[], metavar="B",
        help="number or name; may be repeated (default: every bus below the substation)",
    )  # fmt: skip
    parser.add_argument(
        "--with-market", action="store_true",
        help="search again with the orders making room: many clearings per bus",
    )  # fmt: skip
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read, search, write; return the exit code."""
    refuse_output(arguments, MARKER)
    studies = read_studies(arguments.studies)

    from dso.studies.hosting import HostingQuestion, find_hosting, hosting_files
    from dso.studies.hosting_page import render_hosting

    question = HostingQuestion(
        technology=arguments.technology,
        profile=arguments.profile,
        tick_mw=arguments.tick_mw,
        power_factor=arguments.power_factor,
    )
    with shown_progress(arguments) as progress:
        answer = find_hosting(
            studies,
            question,
            buses=arguments.bus,
            with_market=arguments.with_market,
            progress=progress,
        )
    sizes = [row.found.capacity_mw for row in answer.buses]
    print(f"{len(sizes)} buses host {min(sizes):g} to {max(sizes):g} MW each, alone")
    gains = [
        row.with_market_mw - row.found.capacity_mw
        for row in answer.buses
        if row.with_market_mw is not None
    ]
    if gains:
        print(f"with the market up to {max(gains):g} MW more")
    write_answer(arguments, MARKER, hosting_files(answer), render_hosting(answer))
    return 0
