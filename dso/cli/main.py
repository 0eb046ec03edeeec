"""Entry point of the `dso` command: finds the subcommand, runs it, turns errors into exit codes."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final, Protocol, cast

from data.errors import InputError, UnsupportedComponent

# Small dense products everywhere: more BLAS threads only wait for each other (measured 5x slower
# on two busy cores), and one thread gives equal bytes on any number of cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

EXIT_BAD_INPUT: Final = 2
EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130

# name, module, summary. A module is imported only when its name stands on the command line.
COMMANDS: Final[tuple[tuple[str, str, str], ...]] = (
    ("day", "dso.cli.day", "run one delivery day on a feeder, from forecast to ledger and report"),
    (
        "outlook",
        "dso.cli.outlook",
        "say where limits may break tomorrow, how likely, and the MW needed",
    ),
    ("forecast", "dso.cli.forecast", "forecast from files; try models on the past; train; list"),
    ("clear", "dso.cli.clear", "clear one market: a study folder in, awards and prices out"),
    ("study", "dso.cli.study", "make a what-if study, change one thing in it, take that back"),
    ("compare", "dso.cli.compare", "compare studies: cost, prices, losses, peaks, binding limits"),
    ("sweep", "dso.cli.sweep", "clear many variants of a study in parallel, as a table and a plot"),
    ("cluster", "dso.cli.cluster", "run many feeders, studies or settlements on a Dask cluster"),
    ("reinforce", "dso.cli.reinforce", "value more rating of branches over weighted sample days"),
    ("hosting", "dso.cli.hosting", "find how much PV, EV charging or heat pumps each bus can host"),
    ("contingency", "dso.cli.contingency", "open each branch alone: what each open point restores"),
    ("taps", "dso.cli.taps", "find the tap positions and capacitor steps that cost least"),
    ("show", "dso.cli.show", "draw one clearing: price map, voltages, loadings, a price explained"),
    ("explain", "dso.cli.explain", "say why a price is what it is, why an order got what it got"),
    (
        "flexibility",
        "dso.cli.flexibility",
        "request flexibility, hold a tender, buy at least cost what the market did not solve",
    ),
    ("fleet", "dso.cli.fleet", "offer devices to the market, let them carry out their awards"),
    ("dispatch", "dso.cli.dispatch", "send instructions to devices, listen to them, follow each"),
    ("realtime", "dso.cli.realtime", "rehearse real time: a desk, devices that fail, a correction"),
    ("settle", "dso.cli.settle", "settle one folder: positions, meters and prices in, money out"),
    ("baseline", "dso.cli.baseline", "measure baseline methods, and behaviour around events"),
    ("meters", "dso.cli.meters", "validate readings, check sums against feeder meters, import"),
    ("simulate", "dso.cli.simulate", "run days of the market by themselves on a simulated clock"),
    ("serve", "dso.cli.serve", "run the scheduler and the API, with /health and /metrics"),
    ("access", "dso.cli.access", "give access to the API, take it back, replace the token key"),
    ("worker", "dso.cli.worker", "lease due cycles and perform them, in any number of processes"),
    ("run", "dso.cli.run", "run one cycle of the market as if it were the instant T"),
    ("release", "dso.cli.release", "sign a clearing that waits for people, or override"),
    ("store", "dso.cli.store", "save the database to one file, restore it, prove its ledger"),
    ("ledger", "dso.cli.ledger", "look after the log: check, publish, rotate keys, disclose"),
    ("chain", "dso.cli.chain", "put heads and energy certificates on an EVM chain"),
    ("audit", "dso.cli.audit", "check what was published, offline and without trusting anybody"),
)

DESCRIPTION: Final = """\
Gridclear: the local electricity market of a distribution system operator.
Forecasts, clears with a price at every bus, dispatches, settles and proves it."""

EPILOG: Final = """\
start here:
  dso day --date 2016-07-25 --out out/day
  dso audit verify out/day/bundle --key out/day/operator.vkey

one step at a time, on plain folders that you may edit:
  dso clear out/day/clearing --out out/again
  dso show out/day/clearing
  dso explain out/day --bus 42 --period 13:00
  dso settle out/day/settlement --out out/money

exit codes:
  0  done; a clearing is certified, a bundle holds
  1  failed, or a bundle does not hold
  2  bad input: every problem is listed and nothing is written
  3  clearing uncertified or infeasible (the result is written)
  4  clearing certified with slack: limits that could not hold are priced and named

Every command explains itself: dso day --help"""


class Command(Protocol):
    """What a subcommand's module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options, the description and the examples."""
        ...

    def run(self, arguments: argparse.Namespace) -> int:
        """Do the work; return the exit code."""
        ...


def build_parser(wanted: str | None) -> argparse.ArgumentParser:
    """Build the parser, with the options of the ``wanted`` subcommand only."""
    parser = argparse.ArgumentParser(
        prog="dso",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and end")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, module, summary in COMMANDS:
        subparser = subparsers.add_parser(
            name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name == wanted:
            command = cast("Command", importlib.import_module(module))
            command.add_arguments(subparser)
            subparser.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str or None
        Arguments without the program's name; None takes those of the process.

    Returns
    -------
    int
        Exit code; the table stands in the help text.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    names = {name for name, _, _ in COMMANDS}
    parser = build_parser(next((word for word in words if word in names), None))
    try:
        arguments = parser.parse_args(words)
    except SystemExit as ended:  # argparse ends the process itself: 0 after --help, 2 after misuse
        return int(ended.code or 0)
    if arguments.version:
        from importlib.metadata import version

        print(f"gridclear {version('gridclear')}")
        return 0
    if arguments.command is None:
        parser.print_help()
        return 0
    return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    name = f"dso {arguments.command}"
    try:
        return int(arguments.run(arguments))
    except InputError as error:
        count = len(error.problems)
        _complain(f"{name}: {count} {'problem' if count == 1 else 'problems'}; nothing written")
        for problem in error.problems:
            _complain(f"  - {problem}")
        return EXIT_BAD_INPUT
    except UnsupportedComponent as error:
        _complain(f"{name}: not modelled; nothing written\n  - {error}")
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        _complain(f"{name}: interrupted; the same command goes on or begins anew")
        return EXIT_INTERRUPTED
    except OSError as error:
        _complain(f"{name}: {error}")
        return EXIT_FAILED


def _complain(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
