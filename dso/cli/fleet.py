"""`dso fleet`: devices as orders, and what the devices did with their awards."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path
from typing import Final

from dso.cli.day import iso_day

DEFAULT_FEEDER: Final = "1-LV-semiurb4--2-sw"
MICRO: Final = 1_000_000

DESCRIPTION: Final = """\
Offer a feeder's batteries, cars, heat pumps and PV plants to the market, and let them carry out
what they were awarded: portfolios are shared out to the watt, every device keeps its limits."""

EPILOG: Final = """\
examples:
  dso fleet offer out/fleet --date 2016-01-20 --weather outdoor.csv
  dso clear out/fleet --out out/fleet/result
  dso fleet run out/fleet out/fleet/result --out out/devices

Models, rules and limits: docs/devices.md

exit codes:
  0  done; a car that leaves short or a cold room is in the result, with its reason
  2  bad input: every problem is listed and nothing is written"""

OFFER_EPILOG: Final = """\
examples:
  dso fleet offer out/fleet --date 2016-01-20 --weather outdoor.csv
  dso fleet offer out/fleet --date 2016-01-20 --car-weeks 12 \\
      --weather data/series/victoria_weather.csv --weather-from 2014-05-07T14:00:00Z

FILE has the columns period_start and temperature_c. --weather-from takes the weather of another
day, or place, as a stand-in. STUDY is a study folder (dso clear reads it) with fleet.json beside
the orders: the devices themselves."""

RUN_EPILOG: Final = """\
examples:
  dso fleet run out/fleet out/fleet/result --out out/devices
  dso fleet run out/fleet out/fleet/result --out out/cold --colder 5 --late 60
  dso fleet run out/fleet out/fleet/result --out out/dimmed --limit 4.2 --limit-hours 0 7

what OUT holds afterwards:
  fleet.html         the day on one page
  devices.csv        per device and period: told, metered [Wh], state
  not_followed.csv   minutes in which a device could not follow, and why
  portfolios.csv     shares of each device in its portfolio
  shortfalls.csv     cars that left with less than they asked for, why, and who pays
  grid.csv           import of the feeder, with and without instruction"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions of `dso fleet` and their options."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    offer = actions.add_parser(
        "offer", help="make a study whose orders are those of the devices", epilog=OFFER_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    offer.add_argument("study", type=Path, metavar="STUDY", help="the study folder to make")
    offer.add_argument(
        "--date", type=iso_day, required=True, metavar="DAY", help="local day of 2016, YYYY-MM-DD"
    )
    offer.add_argument(
        "--weather", type=Path, required=True, metavar="FILE", help="outdoor temperature [degC]"
    )
    offer.add_argument(
        "--weather-from", type=_instant, default=None, metavar="INSTANT",
        help="instant of FILE that the day begins with (default: the day's own start)",
    )  # fmt: skip
    offer.add_argument(
        "--feeder", default=DEFAULT_FEEDER, metavar="NAME",
        help=f"feeder in configs/feeders on a SimBench network (default {DEFAULT_FEEDER})",
    )  # fmt: skip
    offer.add_argument(
        "--participant", default="aggregator-north", metavar="NAME",
        help="who offers (default aggregator-north)",
    )  # fmt: skip
    offer.add_argument(
        "--car-weeks", type=int, default=1, metavar="N",
        help="join the charging sessions of this weekday of N weeks (default 1)",
    )  # fmt: skip
    offer.add_argument(
        "--loss-max", type=float, default=0.1, metavar="SHARE",
        help="most of a car's flexibility that a portfolio may cost it (default 0.1)",
    )  # fmt: skip
    carry = actions.add_parser(
        "run", help="share out the awards and let the devices follow them", epilog=RUN_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    carry.add_argument("study", type=Path, metavar="STUDY", help="made by dso fleet offer")
    carry.add_argument("result", type=Path, metavar="RESULT", help="made by dso clear")
    carry.add_argument("--out", type=Path, required=True, metavar="OUT", help="where it goes")
    carry.add_argument(
        "--shortfall-price", type=float, default=400.0, metavar="EUR",
        help="what a MWh missing in a car is worth [EUR/MWh] (default 400)",
    )  # fmt: skip
    carry.add_argument(
        "--colder", type=float, default=0.0, metavar="K", help="the day is colder by this [K]"
    )
    carry.add_argument(
        "--late", type=float, default=0.0, metavar="MIN", help="cars arrive later by this [min]"
    )
    carry.add_argument(
        "--limit", type=float, default=None, metavar="KW",
        help="no car or heat pump may draw more than this [kW]",
    )  # fmt: skip
    carry.add_argument(
        "--limit-hours", type=float, nargs=2, default=(0.0, 24.0), metavar=("FROM", "TO"),
        help="when --limit is in force [h since the start of the day] (default the whole day)",
    )  # fmt: skip
    for action in (offer, carry):
        action.add_argument(
            "--force", action="store_true", help="write into a folder that holds other files"
        )


def _instant(text: str) -> datetime:
    from data.periods import parse_utc

    try:
        return parse_utc(text)
    except ValueError:
        message = f"{text!r} is not an instant such as 2016-01-19T23:00:00Z"
        raise argparse.ArgumentTypeError(message) from None


def run(arguments: argparse.Namespace) -> int:
    """Do the action; return the exit code."""
    return _offer(arguments) if arguments.action == "offer" else _run(arguments)


def _offer(arguments: argparse.Namespace) -> int:
    from dso.cli.output_folder import refuse_foreign_folder, staged_output
    from dso.fleet.fleet_file import FLEET_FILE, write_fleet

    refuse_foreign_folder(arguments.study, marker=FLEET_FILE, force=arguments.force)

    from data.study.write_study import write_study
    from dso.fleet.offer import fleet_study
    from dso.fleet.simbench_fleet import FleetAssumptions
    from flexibility.portfolios.fleet import FleetTerms

    made = fleet_study(
        feeder=arguments.feeder,
        day=arguments.date,
        weather=arguments.weather,
        weather_from=arguments.weather_from,
        terms=FleetTerms(participant=arguments.participant, loss_share_max=arguments.loss_max),
        assumptions=FleetAssumptions(),
        car_weeks=arguments.car_weeks,
    )
    with staged_output(arguments.study, marker=FLEET_FILE, force=arguments.force) as folder:
        write_study(made.case, folder, made.network_ref)
        write_fleet(made.file, folder)
    fleet = made.file.fleet
    for kind in fleet.kinds():
        print(f"{len(getattr(fleet, kind).ids):4d} {kind}")
    print(
        f"{len(made.offer.orders)} orders; cars in {len(made.offer.portfolios)} portfolios that "
        f"lose at most {100 * made.offer.loss_share:.0f} % of any car's flexibility"
    )
    print(f"Study: {arguments.study}")
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from data.errors import InputError, Problem
    from data.study import read_study
    from dso.cli.output_folder import refuse_foreign_folder, staged_output
    from dso.fleet.fleet_file import read_fleet

    marker = "fleet.html"
    refuse_foreign_folder(arguments.out, marker=marker, force=arguments.force)
    if not 0.0 <= arguments.shortfall_price < float("inf"):
        what = f"is {arguments.shortfall_price}"
        raise InputError([Problem(where="--shortfall-price", what=what, remedy="0 or more")])
    case, file = read_study(arguments.study), read_fleet(arguments.study)

    from data.readers.result_folder import read_result
    from data.units import price_micro_eur
    from dso.fleet.outputs import write_run
    from dso.fleet.run import Surprises, run_fleet
    from flexibility.devices import ShortfallRule

    result = read_result(arguments.result, case)
    rule = ShortfallRule(price_micro_eur_per_mwh=price_micro_eur(arguments.shortfall_price))
    surprises = Surprises(
        colder_k=arguments.colder,
        late_h=arguments.late / 60.0,
        limit_mw=None if arguments.limit is None else arguments.limit / 1e3,
        limit_from_h=arguments.limit_hours[0],
        limit_to_h=arguments.limit_hours[1],
    )
    done = run_fleet(case, result, file, rule, surprises)
    with staged_output(arguments.out, marker=marker, force=arguments.force) as folder:
        write_run(case, file, done, folder)
    for kind, each in done.kinds.items():
        minutes = sum(sum(reasons.values()) for reasons in each.not_followed.values())
        print(f"{kind}: {len(each.ids)} devices, {minutes} minutes not followed")
    for short in done.shortfalls:
        amount = short.amount_micro_eur / MICRO
        print(
            f"{short.car} left {short.missing_wh / 1e3:.3f} kWh short: {short.reason}; "
            f"{short.payer} pays {amount:.2f} EUR"
        )
    cold = max(done.cold_kh.values(), default=0.0)
    print(f"cold rooms: {cold:.2f} K h; limits broken: {len(done.grid.violations)}")
    print(f"Page: {arguments.out / marker}")
    return 0
