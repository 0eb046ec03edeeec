"""`dso explain`: a reason for a price or an order."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from data.errors import Problem

DESCRIPTION: Final = """\
Say in two sentences and one small table why a price is what it is, or why an order was (not)
accepted: parts by limit with sensitivity and shadow price, and the price or size that would have
been accepted. Block and curtail orders that were refused are tried by clearing again. Without
--order or --bus: what the clearing could not do, by how much, and what could have helped."""

EPILOG: Final = """\
examples:
  dso explain out/day --order pv-roof-12
  dso explain out/day --bus 42 --period 13:00
  dso explain out/again --bus "MV1.101 Bus 42" --period 2016-07-25T11:00:00Z --json
  dso explain out/again                                 limits that did not hold, if any

RUN is what dso clear --out or dso day --out wrote. --period takes a number from 0, a local start
(13:00, or 2016-07-25 13:00) or a start in UTC. --bus takes a number or a name of the network.

exit codes:
  0  explained
  2  bad input: no clearing there, another study than its own, no such order, bus or period"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso explain`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="a clearing, or a day's run")
    parser.add_argument("--order", metavar="ID", help="the order to explain")
    parser.add_argument("--bus", metavar="B", help="the bus whose price to explain")
    parser.add_argument("--period", metavar="T", help="the period of that price")
    parser.add_argument(
        "--study", type=Path, metavar="DIR", help="its study folder, where RUN does not hold it"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON document instead")


def run(arguments: argparse.Namespace) -> int:
    """Find what is asked for, explain it, print."""
    from data.errors import Problem, refuse_if_any
    from dso.explain.find import find_bus, find_order, find_period, read_run

    refuse_if_any(_misuse(arguments))
    case, result = read_run(arguments.run_folder, arguments.study)
    problems: list[Problem] = []
    order = arguments.order and find_order(case, arguments.order, problems)
    bus = find_bus(case, arguments.bus, problems) if arguments.bus is not None else None
    period = find_period(case, arguments.period, problems) if arguments.period else None
    if result.status == "infeasible" and bus is not None:
        problems.append(
            Problem(
                where=str(arguments.run_folder),
                what="is an infeasible clearing: it has no prices",
                remedy="leave --bus and --period out to see why",
            )
        )
    refuse_if_any(problems)

    # Only now: bad input is answered before the solvers load.
    from dso.explain.answer import answer_order, answer_price, answer_status
    from opf.explanations.published import publish

    published = publish(case, result)
    if order:
        answer = answer_order(published, order)
    elif bus is not None and period is not None:
        answer = answer_price(published, bus, period)
    else:
        answer = answer_status(published)
    print(answer.json() if arguments.json else answer.text())
    return 0


def _misuse(arguments: argparse.Namespace) -> list[Problem]:
    """Options that do not go together."""
    from data.errors import Problem

    where = "dso explain"
    if arguments.order is not None and (arguments.bus or arguments.period):
        return [Problem(where=where, what="--order and --bus are two questions", remedy="ask one")]
    if (arguments.bus is None) != (arguments.period is None):
        missing = "--period" if arguments.period is None else "--bus"
        what = "a price is at one bus in one period"
        return [Problem(where=where, what=what, remedy=f"add {missing}")]
    return []
