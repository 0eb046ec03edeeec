"""`dso realtime`: a day of real time on a feeder, with devices that do not all obey."""

from __future__ import annotations

import argparse
from typing import Final

from dso.cli.day import DEFAULT_FEEDER, iso_day
from dso.cli.planner_run import add_output, refuse_output, shown_progress, write_answer

MARKER: Final = "realtime.json"
DESCRIPTION: Final = """\
Rehearse real time. Every device of the feeder gets an agent of its own; the desk measures,
estimates the state of the grid, corrects setpoints and sends signed letters once a simulated
minute, over an MQTT broker or inside this process. Some devices are late, fall silent, or lie about
their state of charge. The same minutes run once with the correction and once without, and another
power flow engine replays what the devices did."""

EPILOG: Final = """\
examples:
  dso realtime --date 2016-07-25 --out out/realtime
  dso realtime --date 2016-07-25 --from 10:00 --hours 2 --broker mqtt://127.0.0.1:1883 --out out/rt

writes minutes.csv (what each minute was short of), violations.csv (every limit broken, for how
long, and the devices behind it), realtime.json (figures of both runs) and index.html

exit codes:
  0  done; 2 bad input, all problems listed, nothing written"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso realtime`."""
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
    parser.add_argument(
        "--from", dest="begin", default="00:00", metavar="HH:MM", help="local start (default 00:00)"
    )
    parser.add_argument("--hours", type=float, metavar="N", help="length (default: to the end)")
    parser.add_argument(
        "--broker", metavar="URL", help="MQTT broker (default: inside this process)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of faults and variation (default 0)"
    )
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Forecast, clear, run twice, write; return the exit code."""
    from dso.config import load_feeder, load_market

    refuse_output(arguments, MARKER)
    feeder = load_feeder(arguments.feeder, arguments.date)
    rules = load_market(feeder.market, arguments.date)

    from dso.bootstrap import load_grid
    from dso.cycles.plan import plan_day
    from dso.realtime.day_files import day_files, draw_day
    from dso.realtime.rehearsal import rehearse

    with shown_progress(arguments) as progress:
        progress.stage("1/2 positions")
        grid = load_grid(feeder)
        plan = plan_day(
            day=arguments.date, out=arguments.out / "day", feeder=feeder, rules=rules, grid=grid
        )
        scene, runs = rehearse(
            plan,
            grid,
            begin=arguments.begin,
            hours=arguments.hours,
            seed=arguments.seed,
            broker=arguments.broker,
            told=progress.stage,
        )
    before, after = (run.figures for run in runs.values())
    print(f"without correction: {before.violated_mwh:.3f} MWh violated in {before.minutes} minutes")
    print(
        f"with correction:    {after.violated_mwh:.3f} MWh in {after.minutes} minutes, "
        f"longest {after.longest_minutes} minutes"
    )
    write_answer(arguments, MARKER, day_files(scene, runs), draw_day(scene, runs).encode())
    return 0
