"""`dso compare`: studies side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dso.studies.compare import Compared

DESCRIPTION: Final = """\
Set studies side by side; differences are to the first one. Prints cost, prices, curtailment,
losses, peaks and every limit that is part of prices; with --out also writes CSV, JSON and a page
with price duration curves, a map of price differences, and the extremes of loading and voltage.
A study that is not cleared yet is cleared, and its result kept in its subfolder "result"."""

EPILOG: Final = """\
examples:
  dso compare out/feeder out/with-battery --out out/comparison
  dso compare out/day/clearing out/what-if                      a run against a what-if
  dso compare my-study=out/my-result other                      an output that lies elsewhere

exit codes:
  0  compared
  2  bad input: every problem is listed; nothing is cleared or written
  3  compared, but a clearing among them is infeasible or not certified"""
LIMITS_SHOWN: Final = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso compare`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "studies", nargs="+", metavar="STUDY[=RESULT]", help="at least two; the first is the base"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where tables and page go")
    parser.add_argument(
        "--force",
        action="store_true",
        help="write into DIR although it holds files that are no previous output",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(arguments: argparse.Namespace) -> int:
    """Read, clear what is not, compare, write; return the exit code."""
    from data.canonical import write_atomically
    from data.errors import InputError, Problem
    from data.results import CERTIFIED
    from dso.cli.output_folder import refuse_foreign_folder, staged_output
    from dso.cli.progress import make_progress
    from dso.studies.compare import comparison_files, load_compared
    from dso.studies.compare_page import render_comparison

    if len(arguments.studies) < 2:
        problem = Problem(where="dso compare", what="one study is no comparison", remedy="name two")
        raise InputError([problem])
    if arguments.out is not None:
        refuse_foreign_folder(arguments.out, marker="compare.json", force=arguments.force)
    progress = make_progress(quiet=arguments.quiet)
    try:
        compared = load_compared(arguments.studies, progress=progress)
    finally:
        progress.close()
    _print(compared)
    if arguments.out is not None:
        with staged_output(arguments.out, marker="compare.json", force=arguments.force) as folder:
            for name, content in comparison_files(compared):
                write_atomically(folder / name, content)
            write_atomically(folder / "index.html", render_comparison(compared))
        print(f"tables and page in {arguments.out}")
    return 0 if all(each.result.status in CERTIFIED for each in compared) else 3


def _print(compared: Sequence[Compared]) -> None:
    from dso.report.numbers import fixed
    from dso.studies.compare import difference, when
    from dso.studies.key_figures import LABELS

    width = max(24, *(len(each.name) + 2 for each in compared))
    print(f"{'':32}" + "".join(f"{each.name:>{width}}" for each in compared))
    print(f"{'status':32}" + "".join(f"{each.result.status:>{width}}" for each in compared))
    for name, (label, unit, digits) in LABELS.items():
        base = getattr(compared[0].figures, name)
        line = f"{f'{label} [{unit}]':32}{fixed(base, digits):>{width}}"
        for each in compared[1:]:
            value = getattr(each.figures, name)
            change = difference(base, value)
            sign = "+" if change is not None and change >= 0 else ""
            text = f"{fixed(value, digits)} ({sign}{fixed(change, digits)})"
            line += f"{text:>{width}}"
        print(line)
    for each in compared:
        print(f"\nlimits in prices of {each.name}: {len(each.limits) or 'none'}")
        for limit in each.limits[:LIMITS_SHOWN]:
            price = fixed(limit.price_part_eur_per_mwh, 2)
            print(
                f"  {limit.name}: {fixed(limit.shadow_price, 2)} {limit.unit}, "
                f"up to {price} EUR/MWh, {when(each.case, limit.periods)}"
            )
        if len(each.limits) > LIMITS_SHOWN:
            print(f"  and {len(each.limits) - LIMITS_SHOWN} more (limits.csv with --out)")
