"""`dso outlook`: where limits may break, how likely, and the MW that would relieve them."""

from __future__ import annotations

import argparse
from typing import Final

from dso.cli.day import DEFAULT_FEEDER, iso_day
from dso.cli.planner_run import add_output, refuse_output, shown_progress, write_answer

MARKER: Final = "outlook.json"
SHOWN: Final = 5
DESCRIPTION: Final = """\
Forecast a delivery day from what was known at its day-ahead gate, draw joint scenarios of loads and
generation, and say of each limit how likely it is broken without a market, period by period, and
how many MW at the best bus would relieve it."""

EPILOG: Final = """\
examples:
  dso outlook --date 2016-07-25 --out out/outlook
  dso outlook --date 2016-03-22 --feeder 1-MV-rural--2-sw --out out/windy

writes outlook.csv (element_kind,element,side,period_start,limit,expected_value,unit,probability,
need_mw_mean,need_mw_q90; rows only where some scenario breaks the limit), outlook.json (what it
rests on, and each element summed up) and index.html

exit codes:
  0  done; 2 bad input, all problems listed, nothing written"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso outlook`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "--date", type=iso_day, required=True, metavar="DAY", help="local delivery day, YYYY-MM-DD"
    )
    parser.add_argument(
        "--feeder",
        default=DEFAULT_FEEDER,
        metavar="NAME",
        help=f"id of a feeder in configs/feeders, or a TOML file (default {DEFAULT_FEEDER})",
    )
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Forecast, draw, write; return the exit code."""
    from dso.config import load_feeder, load_market

    refuse_output(arguments, MARKER)
    feeder = load_feeder(arguments.feeder, arguments.date)
    rules = load_market(feeder.market, arguments.date)

    from dso.cycles.outlook_files import limits_at_risk
    from dso.cycles.plan import plan_day
    from dso.cycles.stage_forecast import make_day_ahead_forecast
    from dso.cycles.uncertainty import SCENARIOS, outlook_of
    from dso.studies.outlook_page import render_outlook

    with shown_progress(arguments) as progress:
        progress.stage("1/2 forecast")
        # a day folder of its own is not needed: nothing but the answer is written
        plan = plan_day(day=arguments.date, out=arguments.out / "day", feeder=feeder, rules=rules)
        forecast = make_day_ahead_forecast(plan)
        progress.stage("2/2 scenarios")
        outlook, files = outlook_of(plan, forecast)
    if outlook is None:
        print("no outlook: the expected powers have no AC power flow (outlook.json)")
    else:
        listed = limits_at_risk(outlook, plan.network, plan.periods.mtu_h)
        print(
            f"{len(listed)} of {len(outlook.limit)} limits break in some of {SCENARIOS} scenarios"
        )
        for each in listed[:SHOWN]:
            name = each["name"] or f"{each['element_kind']} {each['element']}"
            print(
                f"  {name}, {each['side']}: up to {100 * float(str(each['probability_max'])):.0f} %"
                f", {float(str(each['need_mw_q90_max'])):.2f} MW in 9 of 10 scenarios"
            )
    write_answer(arguments, MARKER, files, render_outlook(plan, forecast, outlook))
    return 0
