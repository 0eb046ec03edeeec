"""`dso clear`: one clearing on plain files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

DESCRIPTION: Final = """\
Clear one market with AC physics: read a study folder (study.toml, orders.json and, optionally,
profiles.csv, import_price.csv, position.csv, network.json) and write awards, prices with their
parts, grid state and the certificate as CSV and JSON. A copy of the study goes into the subfolder
study of the output, for dso explain and dso show.

[order_rules] in study.toml holds what the market demands of every order: price_min_eur_per_mwh,
price_max_eur_per_mwh, price_tick_eur_per_mwh, power_tick_mw, power_min_mw. Each is optional; orders
that break one are bad input."""

EPILOG: Final = """\
examples:
  dso clear out/day/clearing --out out/again         the day-ahead clearing of a day, once more
  dso clear my-study --out out/my-study              a study of your own
  dso clear my-study --out out/my-study --cone-bound and how far from the optimum it can be
  dso clear my-study --out out/my-study --force      into a folder that holds other files

exit codes:
  0  certified
  2  bad input: all problems are listed, the output folder is not created
  3  uncertified or infeasible: the result is written and says why
  4  certified with slack: limits that could not hold are priced and named"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso clear`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("study", type=Path, metavar="STUDY", help="the study folder")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where the result goes"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="write into DIR although it holds files that are no previous output",
    )
    parser.add_argument(
        "--cone-bound",
        action="store_true",
        help="where the linear programme proves no lower bound on the cost (an upper voltage limit "
        "has a price, or an import price is negative), solve the cone relaxation for one; a "
        "second solve, for a day of a medium-voltage feeder some 10 s; radial grids only",
    )


def run(arguments: argparse.Namespace) -> int:
    """Read, clear, write; return the exit code of the result's status."""
    from data.study import read_study
    from data.study.copy_study import STUDY_FOLDER, copy_study
    from dso.cli.output_folder import refuse_foreign_folder, staged_output
    from dso.clock import Stopwatch

    # Before the work and again when writing: nobody waits for a result that has no place to go.
    refuse_foreign_folder(arguments.out, marker="summary.json", force=arguments.force)
    watch = Stopwatch.start()
    case = read_study(arguments.study)
    timings = {"read_s": watch.elapsed_s()}

    # Only now: bad input is answered before the solvers load.
    from data.records.clearing import EXIT_CODES
    from data.results import write_result, write_timings
    from opf.clearing import clear_case

    watch = Stopwatch.start()
    result = clear_case(case, cone_bound=arguments.cone_bound)
    timings["clear_s"] = watch.elapsed_s()
    with staged_output(arguments.out, marker="summary.json", force=arguments.force) as folder:
        write_result(result, case, folder)
        write_timings(timings, folder)
        if not _within(arguments.study, arguments.out):
            copy_study(arguments.study, folder / STUDY_FOLDER)
    print(f"{case.name}: {result.status}. {result.message}".rstrip())
    print(f"objective {result.objective_eur:,.2f} EUR, {len(result.violations)} limits with slack")
    if result.bound_eur is not None:
        bound = f"{result.bound_eur:,.2f} EUR ({result.bound_kind})"
        print(f"no schedule within the limits costs less than {bound}")
    print(f"result in {arguments.out}")
    return EXIT_CODES[result.status]


def _within(study: Path, out: Path) -> bool:
    """Whether the study lies with the result already: it must not be copied onto itself."""
    return out.resolve() in (study.resolve(), *study.resolve().parents)
