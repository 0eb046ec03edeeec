"""`dso settle`: one settlement on plain files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

DESCRIPTION: Final = """\
Settle day-ahead, intraday rounds, imbalance, communities and flexibility: read a settlement folder
(settlement.toml, positions.csv, prices.csv, substation.csv, activations.csv; where there are any,
rounds.csv, parts.csv, availability.csv, reactive.csv, communities.toml; for reports tariff.toml,
meters.csv, emissions.csv, import_emissions.csv) and write lines.csv, one statement per participant,
key figures and summary.json. Every market and period sums to zero in integer micro-EUR.

A revision names the output of the run before and adds to its lines, never edits them."""

EPILOG: Final = """\
examples:
  dso settle out/day/settlement --out out/money            the money of a day, once more
  dso settle out/day/settlement --out out/day/settlement   replace the output beside its input
  dso settle corrected --out out/revised --earlier out/money --disputes disputes.csv
                                                           a late meter: deltas.csv, disputed
                                                           lines stand still
  dso settle out/day/settlement --out out/money --payments payments.toml
                                                           invoices and the remittance file

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
        "--earlier",
        type=Path,
        metavar="DIR",
        help="output of the run before: this run is its revision",
    )
    parser.add_argument(
        "--disputes", type=Path, metavar="FILE", help="list of disputes (CSV); open ones hold lines"
    )
    parser.add_argument(
        "--payments",
        type=Path,
        metavar="FILE",
        help="terms of payment (TOML): writes invoices/ and remittance.xml (ISO 20022 pain.001)",
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
        done = settle_folder(
            arguments.folder,
            folder,
            earlier=arguments.earlier,
            disputes=arguments.disputes,
            payments=arguments.payments,
        )
    result = done.result
    parties = {line.participant for line in result.lines}
    for remark in result.remarks:
        print(f"assumed: {remark}")
    print(
        f"{len(result.lines)} lines of {len(parties)} parties and accounts over "
        f"{result.periods.count} periods; every market and period sums to 0 micro-EUR"
    )
    if done.revision:
        taken_back = sum(addition.reverses for addition in done.additions)
        print(
            f"revision {done.revision}: {len(done.additions) - taken_back} lines booked, "
            f"{taken_back} taken back, in deltas.csv"
        )
    if done.balances:
        paid = sum(max(0, balance.due_cent) for balance in done.balances)
        owed = sum(max(0, -balance.due_cent) for balance in done.balances)
        print(f"payments: {paid / 100:.2f} EUR to be paid out, {owed / 100:.2f} EUR invoiced")
    print(f"lines and statements in {arguments.out}")
    return 0
