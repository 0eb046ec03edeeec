"""`dso show`: one clearing as a page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

DESCRIPTION: Final = """\
Draw what `dso clear` wrote as one HTML file that needs no network: the price map, the voltage
profile along the feeder with its limits, loading and prices over time, and the parts of a price
along the way from the substation to a bus. On the page a slider moves through the periods and a
click chooses another bus."""

EPILOG: Final = """\
examples:
  dso show out/day/clearing                          study and output in one folder
  dso show out/again --study my-study                output here, its study there
  dso show out/again --study my-study --period 13:00 --bus "MV1.101 Bus 42" --out noon.html

--period takes a number from 0, a local start (13:00) or a start in UTC (2016-07-25T11:00:00Z);
left out, the page opens where limits move prices most. --bus takes a number or a name of the
network; left out, the bus whose price differs most from the upstream price.

exit codes:
  0  written
  1  the file could not be written
  2  bad input: no output of dso clear, an infeasible one, another study than its own, no such
     period or bus"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso show`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("folder", type=Path, metavar="DIR", help="output of dso clear")
    parser.add_argument(
        "--study", type=Path, metavar="DIR", help="its study folder, where DIR does not hold it"
    )
    parser.add_argument("--period", metavar="T", help="period to open with")
    parser.add_argument("--bus", metavar="B", help="bus to explain")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="where the page goes (default: DIR.html)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Read, draw, write; return the exit code."""
    from data.canonical import write_atomically
    from dso.show import build_show

    folder: Path = arguments.folder
    page = build_show(folder, study=arguments.study, period=arguments.period, bus=arguments.bus)
    resolved = folder.resolve()
    out: Path = arguments.out or resolved.with_name(f"{resolved.name}.html")
    write_atomically(out, page)
    print(f"Page: {out}")
    return 0
