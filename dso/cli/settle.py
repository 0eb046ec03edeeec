"""`dso settle`: one settlement on plain files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

DESCRIPTION: Final = """\
Settle day-ahead, intraday rounds, imbalance and flexibility: read a settlement folder
(settlement.toml, positions.csv, prices.csv, substation.csv, activations.csv and, optionally,
rounds.csv, parts.csv) and write lines.csv, one statement per participant and summary.json. Every
market and period sums to zero in integer micro-EUR."""

EPILOG: Final = """\
examples:
  dso settle out/day/settlement --out out/money            the money of a day, once more
  dso settle out/day/settlement --out out/day/settlement   replace the output beside its input

exit codes:
  0  settled, every sum is zero
  2  bad input: all problems are listed, nothing is written"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso settle`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the settlement folder")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where lines and statements go"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="write into DIR although it holds files that are no previous output",
    )


def run(arguments: argparse.Namespace) -> int:
    """Settle the folder into the output folder."""
    from dso.cli.output_folder import staged_output
    from dso.settlement import settle_folder

    with staged_output(arguments.out, marker="summary.json", force=arguments.force) as folder:
        result = settle_folder(arguments.folder, folder)
    parties = {line.participant for line in result.lines}
    for remark in result.remarks:
        print(f"assumed: {remark}")
    print(
        f"{len(result.lines)} lines of {len(parties)} parties and accounts over "
        f"{result.periods.count} periods; every market and period sums to 0 micro-EUR"
    )
    print(f"lines and statements in {arguments.out}")
    return 0
