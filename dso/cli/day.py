"""`dso day`: one delivery day, end to end."""

from __future__ import annotations

import argparse
import os
from datetime import date
from pathlib import Path
from typing import Final

DEFAULT_FEEDER: Final = "1-MV-rural--2-sw"

DESCRIPTION: Final = """\
Run one delivery day of a feeder: forecast at the gate, take the offers, clear day-ahead and every
hour intraday, dispatch, settle, post to the ledger, verify, and write one report."""

EPILOG: Final = """\
examples:
  dso day --date 2016-07-25 --out out/summer     a sunny day: too much voltage without the market
  dso day --date 2016-01-16 --out out/winter     a windy winter day
  dso day --date 2016-03-27 --out out/short      the day of 23 hours
  dso day --date 2016-07-25 --out out/pg \\
      --store postgresql+psycopg://user@host/gridclear
  dso day --date 2016-07-25 --out out/summer \\
      --anchor evm --chain chain.json --poster-key poster.key

what OUT holds afterwards:
  report.html            the day on one page; needs no network
  clearing/              study folder and output of the clearings (dso clear reads it)
  settlement/            settlement folder and its output (dso settle reads it)
  bundle/, operator.vkey what an auditor needs (dso audit verify)

Stopped half-way, the same command goes on where it stopped and ends with the same ledger root.

exit codes:
  0  done; 2 bad input, all problems listed, nothing written;
  3  a clearing is uncertified or infeasible; 4 a clearing needed slack on a limit"""


def default_keys() -> Path:
    """Return the key folder of this user: outside every output folder, which others may read."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "gridclear" / "keys"


def iso_day(text: str) -> date:
    """Read a day of an option; argparse says what is wrong with it."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day such as 2016-07-25") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso day`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "--date", type=iso_day, required=True, metavar="DAY", help="local delivery day, YYYY-MM-DD"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="OUT", help="folder for everything the day makes"
    )
    parser.add_argument(
        "--feeder",
        default=DEFAULT_FEEDER,
        metavar="NAME",
        help=f"id of a feeder in configs/feeders, or a TOML file (default {DEFAULT_FEEDER})",
    )
    parser.add_argument(
        "--keys",
        type=Path,
        default=None,
        metavar="DIR",
        help="operator's key folder, made on first use (default ~/.config/gridclear/keys)",
    )
    parser.add_argument(
        "--store",
        default=None,
        metavar="URL",
        help="database of the cycles (default: an SQLite file inside OUT)",
    )
    parser.add_argument(
        "--anchor", choices=("evm",), default=None, help="put the day's heads on a chain as well"
    )
    parser.add_argument(
        "--chain", type=Path, default=None, metavar="FILE", help="with --anchor: dso chain deploy's"
    )
    parser.add_argument(
        "--poster-key", type=Path, default=None, metavar="FILE", help="with --anchor: who posts"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, only the last line")


def run(arguments: argparse.Namespace) -> int:
    """Run the day and say where the report is."""
    from dso.cli.progress import make_progress
    from dso.config import load_feeder, load_market

    check_anchor(arguments)
    feeder = load_feeder(arguments.feeder, arguments.date)
    rules = load_market(feeder.market, arguments.date)
    # Only now: a slip in the options is answered before the heavy libraries load.
    from dso.cycles.day import run_day

    progress = make_progress(quiet=arguments.quiet)
    try:
        outcome = run_day(
            day=arguments.date,
            out=arguments.out,
            keys=arguments.keys or default_keys(),
            store_url=arguments.store,
            feeder=feeder,
            rules=rules,
            progress=progress,
        )
    finally:
        progress.close()
    for line in outcome.summary_lines:
        print(line)
    if arguments.anchor is not None:
        _anchor(arguments)
    print(f"Report: {outcome.report}")
    return int(outcome.exit_code)


def check_anchor(arguments: argparse.Namespace) -> None:
    """Refuse an anchor whose files cannot be read before the day begins."""
    from data.errors import InputError, Problem

    if arguments.anchor is None:
        return
    if arguments.chain is None or arguments.poster_key is None:
        what = "needs --chain FILE and --poster-key FILE"
        raise InputError([Problem(where="--anchor evm", what=what)])
    from ledger_adapter.evm.anchor import read_chain_file
    from ledger_adapter.evm.node import connect
    from ledger_adapter.evm.sender import read_account

    connect(read_chain_file(arguments.chain).url)
    read_account(arguments.poster_key)


def _anchor(arguments: argparse.Namespace) -> None:
    """Anchor the finished day; a chain that is down delays that and nothing else."""
    from dso.chain import anchor_day
    from dso.cli.chain import tell_anchoring
    from ledger_adapter.ports import LedgerError

    try:
        anchor, done = anchor_day(
            out=arguments.out,
            store=arguments.store,
            keys=arguments.keys,
            chain_file=arguments.chain,
            key=arguments.poster_key,
        )
    except LedgerError as error:
        print(f"Anchoring waits: {error} (dso chain anchor goes on)")
        return
    tell_anchoring(anchor, done)
